//! Work that a crash or a failure left. Each change first does a part of it.
//!
//! Work that is impossible because the medium is damaged there is set aside, in memory. It takes space, `check` names
//! it, and the stats count it. No other change fails because of it, in this opening or the next.

use super::{Change, Engine};
use crate::error::{Error, Result};
use crate::media::check::Report;
use crate::media::{ObjectSlot, Structures};
use crate::page::Roles;
use crate::sync::atomic::Ordering;
use crate::units::FrameNo;
use std::collections::VecDeque;

/// Steps of pending work that a change does before its own work.
const STEPS_A_CHANGE: usize = 16;
/// Frames whose last pin is gone that a change frees before its own work.
const FRAMES_A_CHANGE: usize = 4096;

/// The pending work.
#[derive(Default)]
pub(super) struct Pending {
    /// Objects that still have to be dropped or cut, by slot and number: a slot goes to another object once its own
    /// is gone. The last one comes next.
    objects: VecDeque<(ObjectSlot, u64)>,
    /// Those whose pages are pinned and could not be noted for lack of space. They are tried again when all work is
    /// done, or when a pin is gone.
    full: Vec<(ObjectSlot, u64)>,
    /// Frames whose last pin is gone.
    frames: Vec<FrameNo>,
    aside: Vec<Aside>,
}

/// Something that cannot be freed.
struct Aside {
    /// The byte offset of the damage, or of what cannot be freed.
    at: u64,
    detail: String,
}

impl Pending {
    /// The work that the last opening left.
    pub(super) fn found(structures: &Structures) -> Result<Self> {
        let (objects, broken_list) = structures.orphans_found()?;
        let (frames, broken_entries) = structures.busy_found()?;
        let mut pending = Self { objects: objects.into(), frames, ..Self::default() };
        let broken = broken_list.into_iter().chain(broken_entries);
        broken.for_each(|error| pending.set_aside("what the last opening left to be freed", 0, &error));
        Ok(pending)
    }

    /// Whether there is anything to be done soon.
    pub(super) fn is_due(&self) -> bool {
        !self.objects.is_empty() || !self.frames.is_empty()
    }

    /// Whether there is anything that found no space.
    pub(super) fn waits(&self) -> bool {
        !self.full.is_empty()
    }

    fn add(&mut self, slot: ObjectSlot, id: u64) {
        if !self.objects.contains(&(slot, id)) && !self.full.contains(&(slot, id)) {
            self.objects.push_back((slot, id));
        }
    }

    /// Makes work that found no space due again.
    fn try_again(&mut self) {
        let full = std::mem::take(&mut self.full);
        full.into_iter().for_each(|object| self.objects.push_front(object));
    }

    fn set_aside(&mut self, what: &str, at: u64, why: &Error) {
        let at = if let Error::Corrupt { at, .. } = why { *at } else { at };
        self.aside.push(Aside { at, detail: format!("{what} cannot be freed: {why}") });
    }
}

impl Engine {
    /// Frees all frames whose last pin is gone, and finishes all unfinished objects.
    #[cold]
    pub(crate) fn settle(&self) -> Result {
        let change = self.change_of_pending()?;
        let _alone = self.settling.lock();
        self.pending.lock().try_again();
        self.work_off(&change, usize::MAX, usize::MAX)
    }

    /// A bounded part of [`Self::settle`]. A thread does not wait for another one that does it: no change needs this
    /// work to go on.
    #[cold]
    pub(crate) fn settle_some(&self) -> Result {
        let change = self.change_of_pending()?;
        match self.settling.try_lock() {
            Some(_alone) => self.work_off(&change, FRAMES_A_CHANGE, STEPS_A_CHANGE),
            None => Ok(()),
        }
    }

    /// The caller holds `settling`.
    fn work_off(&self, change: &Change<'_>, frames: usize, steps: usize) -> Result {
        if self.pending.lock().is_due() {
            self.ledger.prepare()?;
        }
        let freed = self.free_released(change, frames);
        let result = freed.and_then(|()| self.finish_some(change, steps));
        let pending = self.pending.lock();
        // ORDERING: Release: pairs with `is_due`. Cleared only under this lock.
        self.due.store(pending.is_due(), Ordering::Release);
        result
    }

    /// Takes over the released frames, to be freed later: they no longer look pinned.
    pub(super) fn note_released(&self) {
        self.take_released(&mut self.pages.roles());
    }

    /// A frame that is not in the busy table now is left out: it may be there later for another page, which is pinned
    /// then.
    fn take_released(&self, roles: &mut Roles<'_>) {
        let released = roles.take_released();
        if released.is_empty() {
            return;
        }
        // If the table cannot be read, it is read again when the frames are freed.
        let busy = self.ledger.busy_among(&released).unwrap_or(released);
        let mut pending = self.pending.lock();
        pending.try_again();
        pending.frames.extend(busy);
        if pending.is_due() {
            // ORDERING: Release: pairs with `is_due`.
            self.due.store(true, Ordering::Release);
        }
    }

    fn free_released(&self, change: &Change<'_>, most: usize) -> Result {
        let mut roles = self.pages.roles();
        self.take_released(&mut roles);
        let mut frames = {
            let mut pending = self.pending.lock();
            let kept = pending.frames.len().saturating_sub(most);
            pending.frames.split_off(kept)
        };
        if frames.is_empty() {
            return Ok(());
        }
        let freed = match change.free_busy(&frames) {
            Err(Error::Corrupt { .. }) => self.free_one_by_one(change, &mut frames),
            freed => freed.map(|()| frames.clear()),
        };
        self.pending.lock().frames.append(&mut frames);
        freed
    }

    /// Frees frames one by one; those that are left were not tried.
    fn free_one_by_one(&self, change: &Change<'_>, frames: &mut Vec<FrameNo>) -> Result {
        while let Some(&frame) = frames.last() {
            match change.free_busy(&[frame]) {
                Err(error @ Error::Corrupt { .. }) => {
                    self.pending.lock().set_aside(&format!("frame {}", frame.0), frame.offset(), &error);
                }
                freed => freed?,
            }
            frames.pop();
        }
        Ok(())
    }

    /// Finishes objects, last first, with up to this many steps. An object whose pages are pinned and cannot be noted
    /// for lack of space is left for later: no other call has to wait for these pins, least of all one that needs
    /// space.
    fn finish_some(&self, change: &Change<'_>, mut steps: usize) -> Result {
        loop {
            let Some((slot, id)) = self.pending.lock().objects.pop_back() else { return Ok(()) };
            let step = || {
                if steps == 0 {
                    return Ok(None);
                }
                steps -= 1;
                self.finish_step(change, slot, id).map(Some)
            };
            match self.finish_in(step) {
                Ok(true) => {}
                Err(error @ Error::Corrupt { .. }) => {
                    self.pending.lock().set_aside(&format!("object {id}"), slot.offset(), &error);
                }
                Err(error) if error.is_full() => self.pending.lock().full.push((slot, id)),
                left => {
                    self.pending.lock().objects.push_back((slot, id));
                    return left.map(drop);
                }
            }
        }
    }

    /// Runs steps until one is the last, or none is left. Returns whether the last one was done.
    fn finish_in(&self, mut step: impl FnMut() -> Result<Option<bool>>) -> Result<bool> {
        loop {
            match step()? {
                None => return Ok(false),
                Some(true) => return Ok(true),
                Some(false) => self.between_steps()?,
            }
        }
    }

    /// Drops an object that has lost its name and was not open at that moment; `resident` is what its slot said then.
    pub(crate) fn drop_nameless(&self, slot: ObjectSlot, resident: Result<Option<(u64, bool)>>) {
        match resident {
            Ok(resident) => resident.into_iter().for_each(|(id, _)| self.drop_object(slot, id)),
            Err(error) => self.pending.lock().set_aside("an object without a name", slot.offset(), &error),
        }
    }

    /// Drops an unlinked object whose last handle is gone. If that fails, it stays pending or is set aside.
    pub(crate) fn drop_object(&self, slot: ObjectSlot, id: u64) {
        match self.change_of_pending().and_then(|change| self.finish(&change, slot, id)) {
            Ok(()) => {}
            Err(error @ Error::Corrupt { .. }) => {
                self.pending.lock().set_aside(&format!("object {id}"), slot.offset(), &error);
            }
            Err(_) => self.leave(slot, id),
        }
    }

    /// Leaves the work for an object on the list of orphans to a later change.
    pub(crate) fn leave(&self, slot: ObjectSlot, id: u64) {
        let mut pending = self.pending.lock();
        pending.add(slot, id);
        // ORDERING: Release: pairs with `is_due`.
        self.due.store(true, Ordering::Release);
    }

    /// How many things are set aside.
    pub(crate) fn set_aside(&self) -> u64 {
        self.pending.lock().aside.len() as u64 + self.ledger.frames_aside().len() as u64
    }

    /// Names what is set aside.
    pub(crate) fn name_set_aside(&self, report: &mut Report) {
        for aside in &self.pending.lock().aside {
            report.set_aside(aside.at, &aside.detail);
        }
        for (at, why) in self.ledger.frames_aside() {
            report.set_aside(at, &why);
        }
        for (at, why) in self.ledger.made_anew() {
            report.made_anew(at, &why);
        }
    }
}
