//! Time that this thread ran: what other processes take does not count.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// What this thread has run so far, the kernel's work for it included.
#[must_use]
pub fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}

/// Nanoseconds that each of the `operations` took that `work` does.
pub fn timed(operations: u64, work: impl FnOnce()) -> f64 {
    let start = thread_time();
    work();
    (thread_time() - start).as_nanos() as f64 / operations as f64
}
