//! Closing an open store.

use super::Engine;
use crate::error::{Error, Result};
use crate::media::log::Log;
use crate::page::Pages;
use crate::region::{Detach, Region};
use crate::sync::atomic::Ordering;
use crate::units::Durability;
use std::sync::Arc;
use std::time::Duration;

/// A region, its pages and its log, after the store is gone: pins still need the first two, and may store.
struct Remains {
    pages: Arc<Pages>,
    log: Arc<Log>,
}

impl Engine {
    pub(crate) fn close(self: &Arc<Self>) -> Result {
        self.ready_to_close()?;
        self.pages.withdraw();
        let ended = self.refuse_pinned().and_then(|()| self.end());
        match &ended {
            // ORDERING: Release: the drop that follows reads it.
            Ok(()) => self.closed.store(true, Ordering::Release),
            Err(_) => self.pages.publish(),
        }
        ended
    }

    /// Checks that nothing prevents the close. Frames that were released and not yet freed would look pinned, so this
    /// frees them.
    pub(crate) fn ready_to_close(self: &Arc<Self>) -> Result {
        self.pages.region().ensure_own()?;
        self.refuse_in_use()?;
        let settled = if self.pages.region().read_only() { Ok(()) } else { self.settle_at_end() };
        match &settled {
            Ok(()) => self.refuse_pinned(),
            Err(Error::Forked) => settled,
            // A store that has failed is not closed any earlier: its pins could not be given back. A forgotten latch
            // does not count: no page of a failed store can be pinned again to release it.
            Err(_) => {
                self.note_released();
                match self.pages.count_pinned() {
                    0 => settled,
                    pages => Err(pinned(pages)),
                }
            }
        }
    }

    fn refuse_in_use(self: &Arc<Self>) -> Result {
        let busy = |why| Err(Error::Busy { what: "store", why });
        match self.open.count() {
            0 => (),
            objects => return busy(format!("{objects} objects are open: drop their handles first")),
        }
        match Arc::strong_count(self) {
            1 => Ok(()),
            handles => busy(format!("it has {} more handles or batches: drop them first", handles - 1)),
        }
    }

    fn refuse_pinned(&self) -> Result {
        let busy = |why| Err(Error::Busy { what: "store", why });
        match (self.pages.count_pinned(), self.pages.forgotten_latch()) {
            (0, None) => Ok(()),
            (0, Some(page)) => {
                let latch = if page.exclusive { "exclusively" } else { "for reading" };
                let what = page.owner.map_or_else(String::new, |owner| {
                    format!(" (page {} of object {})", owner.index.0, owner.object)
                });
                let way = if page.detached {
                    "its page was cut off, so it cannot be given back: drop the store"
                } else {
                    "pin the page again and give the latch back, or drop the store"
                };
                busy(format!(
                    "frame {}{what} is latched {latch} and not pinned, so the latch was forgotten: {way}",
                    page.pfn
                ))
            }
            (pages, _) => Err(pinned(pages)),
        }
    }

    /// Does all pending work, then makes everything durable, then marks the region clean.
    fn end(&self) -> Result {
        if self.pages.region().read_only() {
            return Ok(());
        }
        self.ensure_usable()?;
        self.settle_at_end()?;
        self.sync_everything()?;
        if let Err(error) = self.change_of_pending()?.cut_surplus() {
            // A file that could not be cut is as good as one that was not.
            self.ensure_usable().map_err(|_| error)?;
        }
        self.log.close()?;
        self.pages.region().memory().touch();
        Ok(())
    }
}

fn pinned(pages: usize) -> Error {
    Error::Busy { what: "store", why: format!("{pages} pages are pinned: release them first") }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.pages.withdraw();
        // ORDERING: Acquire: pairs with `close`.
        let closed = self.closed.load(Ordering::Acquire);
        let remains = Remains { pages: Arc::clone(&self.pages), log: Arc::clone(&self.log) };
        if !closed {
            // No caller is left to receive an error; the next opening recovers from what this leaves.
            let _ = self.ensure_whole().and_then(|()| self.settle()).and_then(|()| self.sync_everything());
        }
        remains.end_or_leave();
    }
}

impl Remains {
    /// Ends the region in order if no page of it is pinned; otherwise leaves that to the last pin.
    ///
    /// A drop must not wait for the medium. So the last pin ends the region in order only where that needs no system
    /// call. Elsewhere it leaves the region as the death of its process would: everything was synced when the store
    /// went, and the next opening takes over what was stored through pins since.
    fn end_or_leave(self) {
        let region = Arc::clone(self.pages.region());
        if matches!(region.ensure_usable(), Err(Error::Forked)) {
            // It is the parent's: nothing of it may be touched here, least of all the pages.
            std::mem::forget(self);
        } else if self.is_idle() {
            self.end();
            let _ = let_go(region);
        } else {
            let needs_no_call = region.protocol() != Durability::Fdatasync || region.is_fixed();
            region.close_and_then(Box::new(move || {
                if needs_no_call {
                    self.end()
                }
            }));
        }
    }

    fn is_idle(&self) -> bool {
        // Released frames are no longer freed here: they are in the busy table, and the next opening frees them.
        self.pages.roles().take_released();
        self.pages.count_pinned() == 0
    }

    /// Makes durable what was stored through pins after the store was gone, and marks the region clean.
    fn end(&self) {
        let region = self.pages.region();
        if !region.read_only() {
            let _ = region.check_length().and_then(|()| self.flush()).and_then(|()| self.log.close());
            region.memory().touch();
        }
    }

    fn flush(&self) -> Result {
        let dirt = self.pages.take_all_dirt();
        if dirt.is_empty() {
            return Ok(());
        }
        dirt.flush(&self.pages)?;
        self.pages.region().memory().fence();
        self.pages.region().memory().sync_file()
    }
}

/// Detaches a region none of whose pages is pinned.
pub(crate) fn let_go(region: Arc<Region>) -> Result {
    region.detach(Detach::Drain { deadline: Some(Duration::ZERO) })
}
