//! The pool like vmcache, read in its two ways.

use super::Reader;
use crate::pool::Pool;

/// Optimistically: read, and read again if a writer interfered.
pub struct Optimistic<'a>(pub &'a Pool);

/// Under a shared latch.
pub struct Latched<'a>(pub &'a Pool);

impl Reader for Optimistic<'_> {
    #[inline(always)]
    fn read(&self, page: u64) -> u64 {
        self.0.read_optimistic(page, |address| {
            // SAFETY: a page of a live pool; a volatile read whose result is discarded if a writer interfered.
            u64::from_le(unsafe { address.read_volatile() })
        })
    }
}

impl Reader for Latched<'_> {
    #[inline(always)]
    fn read(&self, page: u64) -> u64 {
        let fixed = self.0.fix_shared(page);
        // SAFETY: a page of the pool, under a shared latch.
        u64::from_le(unsafe { fixed.address().read_volatile() })
    }
}
