//! Pagestone: a pin, the page's address, the drop of the pin.

use super::{PAGE, Reader, Ring, gone};
use pagestone::store::{Object, Store};
use pagestone::units::PageIndex;

/// An object whose pages are pinned; if `GUARDED`, they are also read under a latch.
pub struct Pages<const GUARDED: bool>(Object);

impl Pages<false> {
    /// Makes an object of a store, with a page for each of the ring.
    ///
    /// # Errors
    /// Errors of the store.
    pub fn make(store: &Store, ring: &Ring) -> pagestone::Result<Self> {
        let object = store.create("pages")?;
        let bytes = ring.pages() * PAGE as u64;
        object.allocate(0, bytes)?;
        object.set_len(bytes)?;
        let mut frame = [0; 8];
        for page in 0..ring.pages() {
            ring.fill(page, &mut frame);
            object.write_at(page * PAGE as u64, &frame)?;
        }
        object.sync()?;
        Ok(Self(object))
    }

    /// The same pages, each read under a guard.
    pub fn guarded(&self) -> Pages<true> {
        Pages(self.0.clone())
    }
}

impl<const GUARDED: bool> Reader for Pages<GUARDED> {
    #[inline(always)]
    fn read(&self, page: u64) -> u64 {
        let Ok(Some(page)) = self.0.pin(PageIndex(page)) else { gone() };
        if GUARDED {
            return match page.read() {
                Ok(bytes) => super::word(&bytes[..]),
                Err(_) => gone(),
            };
        }
        // SAFETY: the page is pinned, and no thread writes it any more.
        u64::from_le(unsafe { page.address().cast::<u64>().read_volatile() })
    }
}
