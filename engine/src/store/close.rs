//! The end of a store.

use super::Store;
use super::core::Core;
use crate::error::{Error, Result};
use crate::media::log::Log;
use crate::page::Pages;
use crate::region::{Detach, Region};
use crate::sync::atomic::Ordering;
use crate::sync::{Global, Mutex};
use std::sync::Arc;
use std::time::Duration;

/// What is left of stores that were dropped while pages were pinned.
static CLOSING: Global<Mutex<Vec<Remains>>> = Global::new(Mutex::default);

/// A region, its pages and its log, after the store: pins still need the first two, and may store.
struct Remains {
    pages: Arc<Pages>,
    log: Arc<Log>,
}

impl Store {
    /// Ends the store in order: everything is durable, the region is marked clean, unmapped and free for others.
    ///
    /// # Durability
    /// As [`sync`](Self::sync).
    ///
    /// # Errors
    /// `Busy` while there are other handles, open objects or pinned pages; the store comes back, unharmed. Any other
    /// error is of what was tried; the store comes back too, to be closed again or dropped.
    pub fn close(self) -> Result<(), (Self, Error)> {
        match self.core.close() {
            Ok(()) => Ok(()),
            Err(error) => Err((self, error)),
        }
    }
}

impl Core {
    fn close(self: &Arc<Self>) -> Result {
        self.refuse_in_use(self)?;
        if !self.pages.region().read_only() {
            self.ensure_whole()?;
            // Frames that were released and not yet freed would look pinned.
            self.settle()?;
        }
        self.pages.withdraw();
        let ended = self.refuse_pinned().and_then(|()| self.end());
        match &ended {
            // ORDERING: Release: the drop that follows reads it.
            Ok(()) => self.closed.store(true, Ordering::Release),
            Err(_) => self.pages.publish(),
        }
        ended
    }

    fn refuse_in_use(&self, this: &Arc<Self>) -> Result {
        let busy = |why| Err(Error::Busy { what: "store", why });
        match self.open_objects() {
            0 => (),
            objects => return busy(format!("{objects} objects are open: drop their handles first")),
        }
        match Arc::strong_count(this) {
            1 => Ok(()),
            handles => busy(format!("it has {} more handles or batches: drop them first", handles - 1)),
        }
    }

    fn refuse_pinned(&self) -> Result {
        match self.pages.pinned() {
            0 => Ok(()),
            pages => Err(Error::Busy {
                what: "store",
                why: format!("{pages} pages are pinned: release them first"),
            }),
        }
    }

    /// Everything that is owed, then everything durable, then the clean mark.
    fn end(&self) -> Result {
        if self.pages.region().read_only() {
            return Ok(());
        }
        self.ensure_usable()?;
        self.settle()?;
        self.sync_everything()?;
        self.log.close()
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.pages.withdraw();
        // ORDERING: Acquire: pairs with `close`.
        let closed = self.closed.load(Ordering::Acquire);
        let remains = Remains { pages: Arc::clone(&self.pages), log: Arc::clone(&self.log) };
        if !closed {
            // Nobody is there to be told of an error; the next opening recovers what this leaves.
            let _ = self.ensure_whole().and_then(|()| self.settle()).and_then(|()| self.sync_everything());
        }
        remains.finish_or_keep();
        reap();
    }
}

impl Remains {
    /// Closes the region if nobody pins a page of it, else leaves it to a later `reap`.
    fn finish_or_keep(self) {
        if matches!(self.pages.region().ensure_usable(), Err(Error::Forked)) {
            // The parent's: nothing of it may be touched here, the pages least of all.
            std::mem::forget(self);
        } else if self.is_idle() {
            self.finish();
        } else {
            CLOSING.get().lock().push(self);
        }
    }

    fn is_idle(&self) -> bool {
        // Released frames that nobody frees any more: the next opening does, they are in the busy table.
        self.pages.roles().take_released();
        self.pages.pinned() == 0
    }

    fn finish(self) {
        let region = Arc::clone(self.pages.region());
        if !region.read_only() {
            let _ = region.check_length().and_then(|()| self.flush()).and_then(|()| self.log.close());
        }
        drop(self);
        let _ = let_go(region);
    }

    /// What was stored through pins after the store had gone.
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

/// Closes regions whose last pin has gone since.
pub(super) fn reap() {
    // One at a time: whoever comes second must find the regions gone, not merely in the other's hands.
    static REAPING: Global<Mutex<()>> = Global::new(Mutex::default);
    let _reaping = REAPING.get().lock();
    let ready: Vec<_> = {
        let mut closing = CLOSING.get().lock();
        let (ready, kept) = std::mem::take(&mut *closing).into_iter().partition(Remains::is_idle);
        *closing = kept;
        ready
    };
    ready.into_iter().for_each(Remains::finish);
}

/// Detaches a region of which no page is pinned.
pub(super) fn let_go(region: Arc<Region>) -> Result {
    region.detach(Detach::Drain { deadline: Some(Duration::ZERO) })
}
