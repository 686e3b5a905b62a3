//! The processor time of this thread: what other processes use does not count.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// The processor time of this thread so far, including the kernel's work for it.
#[must_use]
pub fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}

/// Nanoseconds per operation of `work`, which does `operations` of them.
pub fn timed(operations: u64, work: impl FnOnce()) -> f64 {
    let start = thread_time();
    work();
    (thread_time() - start).as_nanos() as f64 / operations as f64
}
