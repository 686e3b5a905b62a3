//! The state that all handles of one open store share: its objects, and the operations that change them. Names are a
//! level above.
//!
//! The level above decides which objects are open, under the lock of the names; here they are found by their slots.
#![forbid(unsafe_code)]

mod change;
mod close;
mod commit;
mod entry;
mod flush;
mod lengths;
mod map;
mod moves;
mod object;
mod opened;
mod owners;
mod pending;
mod resize;
mod stage;
mod syncs;
mod view;
mod write;

pub(crate) use change::Change;
pub(crate) use close::let_go;
pub(crate) use commit::{Target, commit};
pub use moves::Moved;
pub(crate) use object::{LEN_MAX, OpenObject, check_end};
pub(crate) use stage::Stage;
pub(crate) use write::Progress;

use crate::error::{Error, Result};
use crate::lookup::Reverse;
use crate::media::log::Log;
use crate::media::rules::{Rule, Rules};
use crate::media::{AskFate, Fate, Ledger, ObjectSlot};
use crate::page::{Detached, Pages};
use crate::space::SpaceManager;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, thread};
use change::Shown;
use opened::OpenObjects;
use pending::Pending;
use std::sync::{Arc, Weak};
use syncs::Syncs;

/// An open store.
pub(crate) struct Engine {
    pub(crate) pages: Arc<Pages>,
    pub(crate) log: Arc<Log>,
    pub(crate) ledger: Shown,
    rules: Rules,
    pub(crate) syncs: Syncs,
    /// The number of batches committed.
    pub(crate) batches: AtomicU64,
    pub(crate) open: OpenObjects,
    /// Which pages frames hold.
    pub(crate) reverse: Reverse,
    /// Held by the thread that walks all maps for `reverse`.
    walking: Mutex<()>,
    /// Held only briefly: the thread that does the work holds `settling`.
    pending: Mutex<Pending>,
    /// Whether `pending` has anything to be done soon.
    due: AtomicBool,
    /// Held by the thread that does pending work, for the whole time.
    pub(crate) settling: Mutex<()>,
    /// The region was closed in order: the drop has nothing left to do.
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
            ledger: Shown::new(ledger),
            rules,
            syncs: Syncs::default(),
            batches: AtomicU64::new(0),
            open: OpenObjects::default(),
            reverse: Reverse::default(),
            walking: Mutex::new(()),
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

    /// As [`Self::ensure_usable`], and also checks that the file has not been cut. Called before touching bytes that
    /// are not known to be there.
    pub(crate) fn ensure_whole(&self) -> Result {
        self.pages.region().check_length()
    }

    /// Whether there is pending work to be done soon.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        // ORDERING: Acquire: pairs with the Release in `leave`; the next change does what this one misses.
        self.pages.has_released() || self.due.load(Ordering::Acquire)
    }

    /// Whether pending work may free space, including work that found no space when it was last tried.
    fn may_be_room(&self) -> bool {
        self.is_due() || self.pending.lock().waits()
    }

    /// Runs a change. If it finds no space, all pending work is done, which may free some, and the change is tried
    /// again.
    #[inline]
    pub(crate) fn with_room<R>(&self, mut change: impl FnMut() -> Result<R>) -> Result<R> {
        let mut done = change();
        if done.as_ref().is_err_and(Error::is_full) && self.may_be_room() {
            done = self.settle().and_then(|()| change());
        }
        // It may have freed something, even if it failed.
        self.return_surplus(false);
        done
    }

    /// As [`Self::settle`], at the end of a store: work that a full disk prevents is left to the next opening.
    fn settle_at_end(&self) -> Result {
        match self.settle() {
            Err(Error::NoSpace { .. }) if !self.pages.region().admits_stores() => Ok(()),
            settled => settled,
        }
    }

    /// Frees everything for which object `id` is on the list of orphans.
    fn finish(&self, change: &Change<'_>, slot: ObjectSlot, id: u64) -> Result {
        self.steps(|| self.finish_step(change, slot, id))
    }

    /// One step of [`Self::finish`]. True: nothing is left to do. The object is gone, and its slot may be another
    /// object's; or it is open without a name, and its last handle will drop it.
    ///
    /// The check and the step hold the roles without a break, and no slot is freed without the roles. An object that
    /// has lost its name and is then found closed is never opened again.
    fn finish_step(&self, change: &Change<'_>, slot: ObjectSlot, id: u64) -> Result<bool> {
        self.step(id, |fate| match self.ledger.resident(slot)? {
            Some((found, true)) if found == id => {
                if self.open.has(slot, id) {
                    Ok(true)
                } else {
                    change.drop_step(slot, fate)
                }
            }
            // Under this broken rule, the growth of an open object does this and forgets it.
            Some((found, false))
                if found == id && self.rules.broken(Rule::GrowWhileTruncating) && self.open.has(slot, id) =>
            {
                Ok(true)
            }
            Some((found, false)) if found == id => change.truncate_step(slot, fate),
            _ => Ok(true),
        })
    }

    fn truncate_steps(&self, change: &Change<'_>, slot: ObjectSlot, id: u64) -> Result {
        self.steps(|| self.step(id, |fate| change.truncate_step(slot, fate)))
    }

    /// Runs bounded steps until done. Other threads may run between them.
    fn steps(&self, mut step: impl FnMut() -> Result<bool>) -> Result {
        while !step()? {
            self.between_steps()?;
        }
        Ok(())
    }

    /// Called between two records of a call that appends many. The log's tail moves ahead here, because fewer threads
    /// wait for it here than within a step. The caller holds nothing that a commit needs.
    fn between_steps(&self) -> Result {
        self.log.keep_ahead()?;
        // Roles and the busy table are free only for a moment: threads that wait for them get them now.
        thread::yield_now();
        Ok(())
    }

    /// Runs one step of an object: detaches the frames, takes them from its views, and appends the record that frees them,
    /// while no other thread can change a role.
    fn step(&self, id: u64, step: impl FnOnce(AskFate<'_>) -> Result<bool>) -> Result<bool> {
        let mut roles = self.pages.roles();
        let fate = |detached| match detached {
            Detached::Idle => Fate::Free,
            Detached::Busy => Fate::Busy,
        };
        step(&mut |pages| roles.cut_off(id, pages).into_iter().map(fate).collect())
    }

    /// The object in a slot; opens it if it is not open. The caller keeps names from changing.
    pub(crate) fn share(self: &Arc<Self>, slot: ObjectSlot) -> Result<Arc<OpenObject>> {
        if let Some(shared) = self.open.get(slot) {
            return Ok(shared);
        }
        let shared = Arc::new(OpenObject::new(self, &self.ledger.record(slot)?));
        self.open.insert(&shared);
        Ok(shared)
    }
}
