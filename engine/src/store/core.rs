//! What all handles of one open store share.

use super::pending::Pending;
use super::shared::Shared;
use super::syncs::Syncs;
use crate::error::{Error, Result};
use crate::media::log::Log;
use crate::media::rules::{Rule, Rules};
use crate::media::{AskFate, Fate, Ledger, ObjectSlot};
use crate::page::{Detached, Pages};
use crate::space::{Owner, SpaceManager};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, thread};
use crate::units::{FrameNo, PageIndex};
use dashmap::DashMap;
use std::sync::{Arc, Weak};

/// An open store.
pub(super) struct Core {
    pub(super) pages: Arc<Pages>,
    pub(super) log: Arc<Log>,
    pub(super) ledger: Ledger,
    pub(super) rules: Rules,
    pub(super) syncs: Syncs,
    /// Batches committed.
    pub(super) batches: AtomicU64,
    /// Names, and which objects are open, change together under this.
    pub(super) names: Mutex<()>,
    /// With their numbers, so that one is found by its pages without becoming its holder.
    open: DashMap<ObjectSlot, (u64, Weak<Shared>)>,
    /// Held for moments only: the thread that does the work holds `settling`.
    pub(super) pending: Mutex<Pending>,
    /// Whether `pending` has anything that is to be done soon.
    pub(super) due: AtomicBool,
    /// Held by the thread that does pending work, for as long as that takes.
    pub(super) settling: Mutex<()>,
    /// The region was closed in order: nothing is left for the drop.
    pub(super) closed: AtomicBool,
}

impl Core {
    pub(super) fn new(pages: Arc<Pages>, log: Arc<Log>, ledger: Ledger, rules: Rules) -> Result<Arc<Self>> {
        let pending = if pages.region().read_only() { Pending::default() } else { Pending::found(&ledger)? };
        let core = Arc::new(Self {
            due: AtomicBool::new(pending.is_due()),
            pending: Mutex::new(pending),
            settling: Mutex::new(()),
            pages,
            log,
            ledger,
            rules,
            syncs: Syncs::default(),
            batches: AtomicU64::new(0),
            names: Mutex::new(()),
            open: DashMap::new(),
            closed: AtomicBool::new(false),
        });
        let manager: Weak<dyn SpaceManager> = Arc::<Self>::downgrade(&core);
        core.pages.manage(manager);
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

    /// What every change begins with: the store can be changed, and some of the work that is pending is done.
    #[inline]
    pub(super) fn begin_change(&self) -> Result {
        let region = self.pages.region();
        region.ensure_usable()?;
        if region.read_only() || !region.admits_stores() || self.is_due() || self.log.is_due() {
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
            self.ledger.prepare()?;
        }
        if self.is_due() {
            self.settle_some()?;
        }
        self.log.keep_ahead()
    }

    /// Whether there is pending work to be done soon.
    #[inline]
    fn is_due(&self) -> bool {
        // ORDERING: Acquire: pairs with the Release in `leave`; what is missed is done by the next change.
        self.pages.has_released() || self.due.load(Ordering::Acquire)
    }

    /// Whether pending work may be room, also what found none when it was tried last.
    fn may_be_room(&self) -> bool {
        self.is_due() || self.pending.lock().waits()
    }

    /// Runs a change. One that finds no room is tried again when all pending work is done: that may be room.
    #[inline]
    pub(super) fn with_room<R>(&self, mut change: impl FnMut() -> Result<R>) -> Result<R> {
        let mut done = change();
        if done.as_ref().is_err_and(Error::is_full) && self.may_be_room() {
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
        if self.ledger.has_surplus() && !self.pages.region().read_only() && self.ensure_usable().is_ok() {
            // What does not go back stays free space; a log that failed has poisoned the region.
            let _ = self.ledger.return_surplus(pass);
        }
    }

    /// Frees all that object `id` is on the list of orphans for.
    pub(super) fn finish(&self, slot: ObjectSlot, id: u64) -> Result {
        self.steps(|| self.finish_step(slot, id))
    }

    /// A step of that; true when nothing is left to do: the object is gone, and its slot perhaps another's, or it is open
    /// without a name, and its last handle drops it.
    ///
    /// Asked and done under one hold of the roles, without which no slot is freed. What has lost its name and is then found
    /// not to be open will never be.
    pub(super) fn finish_step(&self, slot: ObjectSlot, id: u64) -> Result<bool> {
        self.step(|fate| match self.ledger.resident(slot)? {
            Some((found, true)) if found == id => {
                if self.is_open(slot, id) {
                    Ok(true)
                } else {
                    self.ledger.drop_step(slot, fate)
                }
            }
            // A broken rule leaves this to the growth of an open object, which forgets it.
            Some((found, false))
                if found == id && self.rules.broken(Rule::GrowWhileTruncating) && self.is_open(slot, id) =>
            {
                Ok(true)
            }
            Some((found, false)) if found == id => self.ledger.truncate_step(slot, fate),
            _ => Ok(true),
        })
    }

    pub(super) fn truncate_steps(&self, slot: ObjectSlot) -> Result {
        self.steps(|| self.step(|fate| self.ledger.truncate_step(slot, fate)))
    }

    /// Runs bounded steps to the end; between them others may go on.
    pub(super) fn steps(&self, mut step: impl FnMut() -> Result<bool>) -> Result {
        while !step()? {
            self.between_steps()?;
        }
        Ok(())
    }

    /// Between two records of a call that appends many: the log's tail moves ahead of need here, where fewer wait for that
    /// than within a step. The caller holds nothing that a commit needs.
    pub(super) fn between_steps(&self) -> Result {
        self.log.keep_ahead()?;
        // Roles and the busy table are free for a moment only: a thread that waits for them shall have them.
        thread::yield_now();
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

    /// Whether the object with this number is open. (To ask by `opened` could make the asker its last holder.)
    pub(super) fn is_open(&self, slot: ObjectSlot, id: u64) -> bool {
        self.open.get(&slot).is_some_and(|open| open.0 == id && open.1.strong_count() != 0)
    }

    /// The open object in a slot.
    pub(super) fn opened(&self, slot: ObjectSlot) -> Option<Arc<Shared>> {
        self.open.get(&slot).and_then(|open| open.1.upgrade())
    }

    /// The object in a slot, opened if it is not open. The caller holds `names`.
    pub(super) fn share(self: &Arc<Self>, slot: ObjectSlot) -> Result<Arc<Shared>> {
        if let Some(shared) = self.opened(slot) {
            return Ok(shared);
        }
        let shared = Arc::new(Shared::new(self, &self.ledger.record(slot)?));
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
        core.leave(slot, id);
        thread::scope(|scope| {
            // The worker comes as far as this lock. A change that finds the look below at work does nothing.
            let roles = core.pages.roles();
            let worker = scope.spawn(|| -> crate::error::Result {
                while core.is_due() {
                    core.begin_change()?;
                }
                Ok(())
            });
            while core.settling.try_lock().is_some() {
                thread::yield_now();
            }
            let (send, done) = mpsc::channel();
            scope.spawn(move || send.send(core.begin_change()).unwrap());
            let begun = done.recv_timeout(Duration::from_secs(20));
            let unfinished = !worker.is_finished();
            drop(roles);
            begun.expect("a change waits for the pending work").unwrap();
            assert!(unfinished, "the work was done already");
            worker.join().unwrap().unwrap();
        });
        assert!(!core.is_due());
    }

    #[test]
    fn what_is_owed_is_owed_to_an_object_and_not_to_the_next_one_in_its_slot() {
        let store = Store::options().open_memory(1 << 20).unwrap();
        let core = &store.core;
        let old = store.create("old").unwrap();
        old.append(&[1; 9000]).unwrap();
        let (slot, id) = (old.shared.slot, old.shared.id);
        drop(old);
        core.ledger.unlink(b"old").unwrap();
        core.drop_object(slot, id);
        // Another thread had the same to do, and comes late.
        let new = store.create("new").unwrap();
        assert_eq!(new.shared.slot, slot);
        new.append(&[2; 9000]).unwrap();
        for unlinked in [false, true] {
            if unlinked {
                store.unlink("new").unwrap();
            }
            core.drop_object(slot, id);
            core.leave(slot, id);
            // Of an object that is open nothing is freed either: its last handle does that.
            core.leave(slot, new.id());
            core.settle().unwrap();
            // What was looked up before shows its bytes even where it is freed.
            assert_eq!(core.ledger.resident(slot).unwrap(), Some((new.id(), unlinked)));
            let mut bytes = vec![0; 9000];
            store.create(format!("{unlinked}")).unwrap().append(&[3; 9000]).unwrap();
            assert_eq!(new.read_at(0, &mut bytes).unwrap(), 9000);
            assert_eq!(bytes, [2; 9000], "unlinked: {unlinked}");
        }
        assert_eq!(store.stats().set_aside, 0);
        drop(new);
        let report = store.check().unwrap();
        assert!(report.is_clean() && report.counts.orphans == 0, "{report:?}");
    }

    #[test]
    fn who_does_no_owed_work_waits_for_none() {
        let store = Store::options().open_memory(1 << 20).unwrap();
        let core = &store.core;
        let object = store.create("a").unwrap();
        let (slot, id) = (object.shared.slot, object.shared.id);
        core.leave(slot, id);
        thread::scope(|scope| {
            // No step is done while this is held.
            let roles = core.pages.roles();
            let worker = scope.spawn(|| core.settle());
            while core.settling.try_lock().is_some() {
                thread::yield_now();
            }
            let (send, done) = mpsc::channel();
            scope.spawn(move || {
                let aside = core.set_aside();
                core.leave(slot, id);
                let mut report = crate::media::check::Report::default();
                core.name_set_aside(&mut report);
                send.send(aside).unwrap();
            });
            let waited = done.recv_timeout(Duration::from_secs(20));
            let unfinished = !worker.is_finished();
            drop(roles);
            assert_eq!(waited, Ok(0));
            assert!(unfinished);
            worker.join().unwrap().unwrap();
        });
    }

    #[test]
    fn what_found_no_room_costs_the_next_changes_nothing() {
        const NOTES: u64 = 4 * 511;
        let store = Store::options().max_size(12 << 20).log_frames(8).open_memory(1 << 20).unwrap();
        let make = |name: &str| {
            let object = store.create(name).unwrap();
            object.append(&[1; 4096]).unwrap();
            object
        };
        let pin = |object: &crate::store::Object| object.pin(crate::units::PageIndex(0)).unwrap();
        let (pinned, other) = (make("pinned"), make("other"));
        let page = pin(&pinned);
        // These use up what a full store keeps for freeing.
        let crowd: Vec<_> = (0..NOTES).map(|n| pin(&make(&format!("crowd {n}")))).collect();
        let filler = make("filler");
        for pages in [64, 8, 1] {
            while filler.append(&vec![1; pages * 4096]).is_ok() {}
        }
        (0..NOTES).for_each(|n| store.open(format!("crowd {n}")).unwrap().set_len(0).unwrap());
        store.unlink("pinned").unwrap();
        drop(pinned);
        let looks = || {
            let before = store.core.log.looks();
            other.write_at(0, b"in place").unwrap();
            store.core.log.looks() - before
        };
        looks();
        assert_eq!(looks(), 0);
        drop((page, crowd));
        other.write_at(0, b"in place").unwrap();
        let counts = store.check().unwrap().counts;
        assert_eq!((counts.orphans, counts.busy), (0, 0), "a pin that goes is a reason to try again");
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
