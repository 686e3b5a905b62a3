//! The pool in the manner of vmcache, read in its two ways.

use super::Reader;
use crate::pool::Pool;

/// By version: read, and read again if a writer came between.
pub struct Optimistic<'a>(pub &'a Pool);

/// Under a shared latch.
pub struct Latched<'a>(pub &'a Pool);

impl Reader for Optimistic<'_> {
    #[inline(always)]
    fn read(&self, page: u64) -> u64 {
        self.0.read_optimistic(page, |address| {
            // SAFETY: a page of the pool, which lives; a volatile read, whose answer is thrown away if a writer came between.
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
