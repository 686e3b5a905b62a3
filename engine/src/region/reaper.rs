//! The reaper: which thread releases closed regions. `close` has what a region waits for and how it is released.

use super::map;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use crate::sync::{Global, Mutex};

/// Releases closed regions, on one thread at a time. A second thread waits, so that it finds them released, not
/// merely in the hands of the first.
#[derive(Default)]
pub(super) struct Reaper {
    at_work: Mutex<()>,
    /// The number of regions that are closed and not yet released.
    closing: AtomicUsize,
    /// Set when a thread came while another was at work: the other one then looks again.
    knocked: AtomicBool,
}

pub(super) static REAPER: Global<Reaper> = Global::new(Reaper::default);

impl Reaper {
    /// One more region is closing.
    pub(super) fn closes(&self) {
        // ORDERING: Release: a put that sees its frame held sees this count too (`last_put`).
        self.closing.fetch_add(1, Ordering::Release);
    }

    /// One of them has been released.
    pub(super) fn has_gone(&self) {
        // ORDERING: Relaxed: a count that is too high costs one unneeded look.
        self.closing.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether there are closed regions. Called after a fence that follows a last put.
    pub(super) fn has_closing(&self) -> bool {
        // ORDERING: Relaxed: the fence orders it.
        self.closing.load(Ordering::Relaxed) != 0
    }

    /// Runs `work` while no other thread is at it. A last put that came meanwhile found the lock taken and left the
    /// region to this thread, whatever `work` had already seen of it: so this thread looks again.
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

    /// Releases the regions that can be released, or makes the thread at work look again.
    pub(super) fn knock(&self) {
        // ORDERING: SeqCst, with the fences: one thread knocks and finds the lock taken; another releases the lock
        // and then looks for a knock. One of the two sees the other.
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
        // ORDERING: SeqCst: see `knock`. Cleared first: a knock that comes during the look leads to another look.
        self.knocked.store(false, Ordering::SeqCst);
        for region in map::closed() {
            region.finish();
        }
    }
}

/// Releases regions that were closed while pinned, and regions that were dropped without being closed.
pub(super) fn reap() {
    let reaper = REAPER.get();
    reaper.alone(|| {
        map::forgotten().into_iter().for_each(|region| region.refuse_pins());
        reaper.look();
    });
}
