//! The reaper: which thread lets closed regions go. What a region waits for, and how it goes, is `close`'s.

use super::map;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use crate::sync::{Global, Mutex};

/// Lets closed regions go, on one thread at a time: a thread that comes second finds them gone, and not merely in the
/// hands of the first.
#[derive(Default)]
pub(super) struct Reaper {
    at_work: Mutex<()>,
    /// Regions that are closed and not let go.
    closing: AtomicUsize,
    /// A thread came while another was at work: that one looks again.
    knocked: AtomicBool,
}

pub(super) static REAPER: Global<Reaper> = Global::new(Reaper::default);

impl Reaper {
    /// One more region closes.
    pub(super) fn closes(&self) {
        // ORDERING: Release: a put that finds its frame held finds this too (`last_put`).
        self.closing.fetch_add(1, Ordering::Release);
    }

    /// One of them is gone.
    pub(super) fn has_gone(&self) {
        // ORDERING: Relaxed: too many is a look in vain.
        self.closing.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether there are closed regions. Behind a fence, after a last put.
    pub(super) fn has_closing(&self) -> bool {
        // ORDERING: Relaxed: the fence.
        self.closing.load(Ordering::Relaxed) != 0
    }

    /// Runs `work` while no other thread is at it. A last put that came meanwhile found the lock taken and left the region
    /// to this thread, whatever `work` had already seen of it: so this looks again.
    pub(super) fn alone<R>(&self, work: impl FnOnce() -> R) -> R {
        let alone = self.at_work.lock();
        let done = work();
        drop(alone);
        // ORDERING: SeqCst: see `knock`.
        fence(Ordering::SeqCst);
        if self.knocked.load(Ordering::SeqCst) {
            self.knock();
        }
        done
    }

    /// Lets go of what may be let go, or has the thread that is at it look again.
    pub(super) fn knock(&self) {
        // ORDERING: SeqCst, with the fences: one thread knocks and finds the lock taken, another lets the lock go and
        // then looks for a knock; one of the two sees the other.
        self.knocked.store(true, Ordering::SeqCst);
        while self.knocked.load(Ordering::SeqCst) {
            fence(Ordering::SeqCst);
            let Some(_alone) = self.at_work.try_lock() else { return };
            self.look();
            drop(_alone);
            fence(Ordering::SeqCst);
        }
    }

    fn look(&self) {
        // ORDERING: SeqCst: see `knock`. Lowered first: a knock that comes during the look leads to another look.
        self.knocked.store(false, Ordering::SeqCst);
        for region in map::closed() {
            region.finish();
        }
    }
}

/// Lets go of what was closed while pinned, and of what was dropped without being closed.
pub(super) fn reap() {
    let reaper = REAPER.get();
    reaper.alone(|| {
        map::forgotten().into_iter().for_each(|region| region.refuse_pins());
        reaper.look();
    });
}
