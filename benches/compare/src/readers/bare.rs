//! The lower limit: the page is read in place, without protection.

use super::Reader;
use crate::pool::Pool;

/// Reads the memory of a pool without any check.
pub struct Bare<'a>(pub &'a Pool);

impl Reader for Bare<'_> {
    #[inline(always)]
    fn read(&self, page: u64) -> u64 {
        // SAFETY: a page of a live pool; it was loaded, and no thread writes it any more.
        u64::from_le(unsafe { self.0.address(page).read_volatile() })
    }
}
