//! What all handles of one open store share: objects, and what changes them, below their names.
//!
//! Which objects are open is decided above, under the lock of the names; here they are found by their slots.
#![forbid(unsafe_code)]

mod close;
mod commit;
mod flush;
mod lengths;
mod map;
mod object;
mod opened;
mod owners;
mod pending;
mod resize;
mod stage;
mod syncs;
mod write;

pub(crate) use close::let_go;
pub(crate) use commit::{Target, commit};
pub(crate) use object::{LEN_MAX, OpenObject, check_end};
pub(crate) use stage::Stage;
pub(crate) use write::Progress;

use crate::error::{Error, Result};
use crate::media::log::Log;
use crate::media::rules::{Rule, Rules};
use crate::media::{AskFate, Fate, Ledger, ObjectSlot};
use crate::page::{Detached, Pages};
use crate::space::SpaceManager;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, thread};
use crate::units::{FrameNo, PageIndex};
use opened::OpenObjects;
use pending::Pending;
use std::sync::{Arc, Weak};
use syncs::Syncs;

/// An open store.
pub(crate) struct Engine {
    pub(crate) pages: Arc<Pages>,
    pub(crate) log: Arc<Log>,
    pub(crate) ledger: Ledger,
    rules: Rules,
    pub(crate) syncs: Syncs,
    /// Batches committed.
    pub(crate) batches: AtomicU64,
    pub(crate) open: OpenObjects,
    /// Held for moments only: the thread that does the work holds `settling`.
    pending: Mutex<Pending>,
    /// Whether `pending` has anything that is to be done soon.
    due: AtomicBool,
    /// Held by the thread that does pending work, for as long as that takes.
    pub(crate) settling: Mutex<()>,
    /// The region was closed in order: nothing is left for the drop.
    closed: AtomicBool,
}

impl Engine {
    pub(crate) fn new(pages: Arc<Pages>, log: Arc<Log>, ledger: Ledger, rules: Rules) -> Result<Arc<Self>> {
        let pending = if pages.region().read_only() { Pending::default() } else { Pending::found(&ledger)? };
        let engine = Arc::new(Self {
            due: AtomicBool::new(pending.is_due()),
            pending: Mutex::new(pending),
            settling: Mutex::new(()),
            pages,
            log,
            ledger,
            rules,
            syncs: Syncs::default(),
            batches: AtomicU64::new(0),
            open: OpenObjects::default(),
            closed: AtomicBool::new(false),
        });
        let manager: Weak<dyn SpaceManager> = Arc::<Self>::downgrade(&engine);
        engine.pages.manage(manager);
        engine.pages.publish();
        Ok(engine)
    }

    fn ensure_usable(&self) -> Result {
        self.pages.region().ensure_usable()
    }

    /// As [`Self::ensure_usable`], and the file has not been cut: before what is not known to be there is touched.
    pub(crate) fn ensure_whole(&self) -> Result {
        self.pages.region().check_length()
    }

    /// What every change begins with: the store can be changed, and some of the work that is pending is done.
    #[inline]
    pub(crate) fn begin_change(&self) -> Result {
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
    pub(crate) fn is_due(&self) -> bool {
        // ORDERING: Acquire: pairs with the Release in `leave`; what is missed is done by the next change.
        self.pages.has_released() || self.due.load(Ordering::Acquire)
    }

    /// Whether pending work may be room, also what found none when it was tried last.
    fn may_be_room(&self) -> bool {
        self.is_due() || self.pending.lock().waits()
    }

    /// Runs a change. One that finds no room is tried again when all pending work is done: that may be room.
    #[inline]
    pub(crate) fn with_room<R>(&self, mut change: impl FnMut() -> Result<R>) -> Result<R> {
        let mut done = change();
        if done.as_ref().is_err_and(Error::is_full) && self.may_be_room() {
            done = self.settle().and_then(|()| change());
        }
        // It may have freed something, and so does a change that failed.
        self.return_surplus(false);
        done
    }

    /// What a change begins with that walks the medium: names, lengths, maps.
    pub(crate) fn begin_walk_and_change(&self) -> Result {
        self.ensure_whole()?;
        self.begin_change()
    }

    /// As [`Self::settle`], before an end: what a full disk leaves undone is the next opening's.
    fn settle_at_end(&self) -> Result {
        match self.settle() {
            Err(Error::NoSpace { .. }) if !self.pages.region().admits_stores() => Ok(()),
            settled => settled,
        }
    }

    /// After something was freed, with no lock held: what is free beyond the limit goes back to the disk. `pass`: also what
    /// the log must be passed for.
    #[inline]
    pub(crate) fn return_surplus(&self, pass: bool) {
        if self.ledger.has_surplus() && !self.pages.region().read_only() && self.ensure_usable().is_ok() {
            // What does not go back stays free space; a log that failed has poisoned the region.
            let _ = self.ledger.return_surplus(pass);
        }
    }

    /// Frees all that object `id` is on the list of orphans for.
    fn finish(&self, slot: ObjectSlot, id: u64) -> Result {
        self.steps(|| self.finish_step(slot, id))
    }

    /// A step of that; true when nothing is left to do: the object is gone, and its slot perhaps another's, or it is open
    /// without a name, and its last handle drops it.
    ///
    /// Asked and done under one hold of the roles, without which no slot is freed. What has lost its name and is then found
    /// not to be open will never be.
    fn finish_step(&self, slot: ObjectSlot, id: u64) -> Result<bool> {
        self.step(|fate| match self.ledger.resident(slot)? {
            Some((found, true)) if found == id => {
                if self.open.has(slot, id) {
                    Ok(true)
                } else {
                    self.ledger.drop_step(slot, fate)
                }
            }
            // A broken rule leaves this to the growth of an open object, which forgets it.
            Some((found, false))
                if found == id && self.rules.broken(Rule::GrowWhileTruncating) && self.open.has(slot, id) =>
            {
                Ok(true)
            }
            Some((found, false)) if found == id => self.ledger.truncate_step(slot, fate),
            _ => Ok(true),
        })
    }

    fn truncate_steps(&self, slot: ObjectSlot) -> Result {
        self.steps(|| self.step(|fate| self.ledger.truncate_step(slot, fate)))
    }

    /// Runs bounded steps to the end; between them others may go on.
    fn steps(&self, mut step: impl FnMut() -> Result<bool>) -> Result {
        while !step()? {
            self.between_steps()?;
        }
        Ok(())
    }

    /// Between two records of a call that appends many: the log's tail moves ahead of need here, where fewer wait for that
    /// than within a step. The caller holds nothing that a commit needs.
    fn between_steps(&self) -> Result {
        self.log.keep_ahead()?;
        // Roles and the busy table are free for a moment only: a thread that waits for them shall have them.
        thread::yield_now();
        Ok(())
    }

    /// Runs one step: the frames are detached, and the record that frees them is appended, while no role can change
    /// otherwise.
    fn step(&self, step: impl FnOnce(AskFate<'_>) -> Result<bool>) -> Result<bool> {
        let mut roles = self.pages.roles();
        let mut fate = |_: PageIndex, frame: FrameNo| match roles.detach(frame) {
            Detached::Idle => Fate::Free,
            Detached::Busy => Fate::Busy,
        };
        step(&mut fate)
    }

    /// The object in a slot, opened if it is not open. The caller keeps names from changing.
    pub(crate) fn share(self: &Arc<Self>, slot: ObjectSlot) -> Result<Arc<OpenObject>> {
        if let Some(shared) = self.open.get(slot) {
            return Ok(shared);
        }
        let shared = Arc::new(OpenObject::new(self, &self.ledger.record(slot)?));
        self.open.insert(&shared);
        Ok(shared)
    }
}
