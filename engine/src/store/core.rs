//! What all handles of one open store share.

use super::owed::Owed;
use super::shared::Shared;
use super::syncs::Syncs;
use crate::error::{Error, Result};
use crate::media::log::Log;
use crate::media::rules::Rules;
use crate::media::{AskFate, Fate, ObjectSlot, Volume};
use crate::page::{Detached, Pages};
use crate::space::{Owner, SpaceManager};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, thread};
use crate::units::{FrameNo, PageIndex};
use dashmap::DashMap;
use std::ops::Range;
use std::sync::{Arc, Weak};

/// An open store.
pub(super) struct Core {
    pub(super) pages: Arc<Pages>,
    pub(super) log: Arc<Log>,
    pub(super) volume: Volume,
    pub(super) rules: Rules,
    pub(super) syncs: Syncs,
    /// Batches committed.
    pub(super) batches: AtomicU64,
    /// Names, and which objects are open, change together under this.
    pub(super) names: Mutex<()>,
    /// With their numbers, so that one is found by its pages without becoming its holder.
    open: DashMap<ObjectSlot, (u64, Weak<Shared>)>,
    pub(super) owed: Mutex<Owed>,
    /// Whether `owed` has anything.
    pub(super) owes: AtomicBool,
    /// The region was closed in order: nothing is left for the drop.
    pub(super) closed: AtomicBool,
}

impl Core {
    pub(super) fn new(pages: Arc<Pages>, log: Arc<Log>, volume: Volume, rules: Rules) -> Result<Arc<Self>> {
        let owed = if pages.region().read_only() { Owed::default() } else { Owed::found(&volume)? };
        let core = Arc::new(Self {
            owes: AtomicBool::new(owed.is_due()),
            owed: Mutex::new(owed),
            pages,
            log,
            volume,
            rules,
            syncs: Syncs::default(),
            batches: AtomicU64::new(0),
            names: Mutex::new(()),
            open: DashMap::new(),
            closed: AtomicBool::new(false),
        });
        let manager: Weak<dyn SpaceManager> = Arc::<Self>::downgrade(&core);
        core.pages.manage(manager, Arc::clone(core.log.images()));
        core.pages.publish();
        Ok(core)
    }

    pub(super) fn ensure_usable(&self) -> Result {
        self.pages.region().ensure_usable()
    }

    /// As [`Self::ensure_usable`], and the file has not been cut: before what is not known to be there is touched.
    pub(super) fn ensure_whole(&self) -> Result {
        self.pages.region().check_length()
    }

    /// What every change begins with: the store can be changed, and some of the work that it owes is done.
    #[inline]
    pub(super) fn begin_change(&self) -> Result {
        let region = self.pages.region();
        region.ensure_usable()?;
        if region.read_only() || !region.admits_stores() || self.owes() || self.log.is_due() {
            return self.prepare_change();
        }
        Ok(())
    }

    #[cold]
    fn prepare_change(&self) -> Result {
        if self.pages.region().read_only() {
            return Err(Error::ReadOnly);
        }
        if !self.pages.region().admits_stores() {
            self.volume.prepare()?;
        }
        if self.owes() {
            self.settle_some()?;
        }
        self.log.keep_ahead()
    }

    /// Whether there is owed work.
    #[inline]
    fn owes(&self) -> bool {
        // ORDERING: Acquire: pairs with the Release in `owe`; what is missed is done by the next change.
        self.pages.has_released() || self.owes.load(Ordering::Acquire)
    }

    /// Runs a change. One that finds no room is tried again when all owed work is done: what is owed may be room.
    #[inline]
    pub(super) fn with_room<R>(&self, mut change: impl FnMut() -> Result<R>) -> Result<R> {
        let mut done = change();
        if done.as_ref().is_err_and(Error::is_full) && self.owes() {
            done = self.settle().and_then(|()| change());
        }
        // It may have freed something, and so does a change that failed.
        self.return_surplus(false);
        done
    }

    /// What a change begins with that walks the medium: names, lengths, maps.
    pub(super) fn begin_walk_and_change(&self) -> Result {
        self.ensure_whole()?;
        self.begin_change()
    }

    /// As [`Self::settle`], before an end: what a full disk leaves undone is the next opening's.
    pub(super) fn settle_at_end(&self) -> Result {
        match self.settle() {
            Err(Error::NoSpace { .. }) if !self.pages.region().admits_stores() => Ok(()),
            settled => settled,
        }
    }

    /// After something was freed, with no lock held: what is free beyond the limit goes back to the disk. `pass`: also what
    /// the log must be passed for.
    #[inline]
    pub(super) fn return_surplus(&self, pass: bool) {
        if self.volume.has_surplus() && !self.pages.region().read_only() && self.ensure_usable().is_ok() {
            // What does not go back stays free space; a log that failed has poisoned the region.
            let _ = self.volume.return_surplus(pass);
        }
    }

    pub(super) fn drop_steps(&self, slot: ObjectSlot) -> Result {
        self.steps(|fate| self.volume.drop_step(slot, fate))
    }

    pub(super) fn truncate_steps(&self, slot: ObjectSlot) -> Result {
        self.steps(|fate| self.volume.truncate_step(slot, fate))
    }

    pub(super) fn punch_steps(&self, slot: ObjectSlot, pages: Range<u64>) -> Result {
        let pages = PageIndex(pages.start)..PageIndex(pages.end);
        self.steps(|fate| self.volume.punch_step(slot, pages.clone(), fate))
    }

    /// Runs bounded steps to the end; between them others may go on.
    fn steps(&self, mut step: impl FnMut(AskFate<'_>) -> Result<bool>) -> Result {
        while !self.step(&mut step)? {
            // Roles and the busy table are free for a moment only: who waits for them shall have them.
            thread::yield_now();
        }
        Ok(())
    }

    /// Runs one step: the frames are detached, and the record that frees them is appended, while no role can change
    /// otherwise.
    pub(super) fn step(&self, step: impl FnOnce(AskFate<'_>) -> Result<bool>) -> Result<bool> {
        let mut roles = self.pages.roles();
        let mut fate = |_: PageIndex, frame: FrameNo| match roles.detach(frame) {
            Detached::Idle => Fate::Free,
            Detached::Busy => Fate::Busy,
        };
        step(&mut fate)
    }

    /// Whether somebody has the object with this number open. (To ask by `opened` could make the asker its last holder.)
    pub(super) fn is_open(&self, slot: ObjectSlot, id: u64) -> bool {
        self.open.get(&slot).is_some_and(|open| open.0 == id && open.1.strong_count() != 0)
    }

    /// The open object in a slot.
    pub(super) fn opened(&self, slot: ObjectSlot) -> Option<Arc<Shared>> {
        self.open.get(&slot).and_then(|open| open.1.upgrade())
    }

    /// The object in a slot, opened if nobody has it open. The caller holds `names`.
    pub(super) fn share(self: &Arc<Self>, slot: ObjectSlot) -> Result<Arc<Shared>> {
        if let Some(shared) = self.opened(slot) {
            return Ok(shared);
        }
        let shared = Arc::new(Shared::new(self, &self.volume.record(slot)?));
        self.open.insert(slot, (shared.id, Arc::downgrade(&shared)));
        Ok(shared)
    }

    /// The last handle of an object goes.
    pub(super) fn forget(&self, slot: ObjectSlot) {
        self.open.remove_if(&slot, |_, open| open.1.strong_count() == 0);
    }

    /// How many objects are open.
    pub(super) fn open_objects(&self) -> usize {
        self.open.iter().filter(|entry| entry.value().1.strong_count() != 0).count()
    }

    /// The open object that this may be a page of.
    pub(super) fn open_owner(&self, page: Owner) -> Option<ObjectSlot> {
        let owns = |id| Owner::new(id, page.index()) == page;
        self.open.iter().find(|entry| owns(entry.value().0)).map(|entry| *entry.key())
    }
}

#[cfg(test)]
mod tests {
    use crate::store::Store;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    #[test]
    fn a_change_that_begins_while_owed_work_is_done_does_not_wait_for_its_end() {
        let store = Store::options().open_memory(1 << 20).unwrap();
        let core = &store.core;
        let (slot, id) = store.create("a").map(|object| (object.shared.slot, object.shared.id)).unwrap();
        core.owe(slot, id);
        thread::scope(|scope| {
            // The worker comes as far as this lock.
            let roles = core.pages.roles();
            let worker = scope.spawn(|| core.begin_change());
            while core.owed.try_lock().is_some() {
                thread::yield_now();
            }
            let (send, done) = mpsc::channel();
            scope.spawn(move || send.send(core.begin_change()).unwrap());
            let begun = done.recv_timeout(Duration::from_secs(20));
            let unfinished = !worker.is_finished();
            drop(roles);
            begun.expect("a change waits for the owed work").unwrap();
            assert!(unfinished, "the work was done already");
            worker.join().unwrap().unwrap();
        });
        assert!(!core.owes());
    }

    #[test]
    fn names_are_free_while_what_lost_its_name_is_freed() {
        for replace in [false, true] {
            let store = Store::options().open_memory(1 << 20).unwrap();
            store.create("old").unwrap().append(&[1; 5000]).unwrap();
            store.create("new").unwrap();
            thread::scope(|scope| {
                // No page is freed while this is held.
                let roles = store.core.pages.roles();
                let freeing = scope.spawn(|| match replace {
                    false => store.unlink("old"),
                    true => store.rename("new", "old"),
                });
                let (send, done) = mpsc::channel();
                let store = &store;
                scope.spawn(move || {
                    while store.exists("old").unwrap() == Some(5000) {
                        thread::yield_now();
                    }
                    let again = store.create(if replace { "new" } else { "old" });
                    send.send(again.and_then(|_| store.list()).map(|list| list.len())).unwrap();
                });
                let waited = done.recv_timeout(Duration::from_secs(20));
                let unfinished = !freeing.is_finished();
                drop(roles);
                assert_eq!(waited.expect("a name waits for the freeing").unwrap(), 2);
                assert!(unfinished);
                freeing.join().unwrap().unwrap();
            });
            let report = store.check().unwrap();
            assert!(report.is_clean() && report.counts.orphans == 0, "{report:?}");
        }
    }
}
