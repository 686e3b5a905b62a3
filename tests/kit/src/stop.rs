//! The end of threads that work beside a test.

use std::sync::atomic::{AtomicBool, Ordering};

/// Makes other threads end when it is dropped, by a failed test too, which waits for their end.
pub struct Stop<'s>(pub &'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        // ORDERING: the threads only look whether to go on; what they did is seen by joining them.
        self.0.store(true, Ordering::Relaxed);
    }
}
