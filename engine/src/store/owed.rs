//! Work that a crash or a failure left: each change does a part of it first.
//!
//! What cannot be done because the medium is damaged there is set aside, in memory: it takes room and is named by `check`
//! and counted in the stats, and no change of anything else fails for it, in this opening or the next.

use super::core::Core;
use crate::error::{Error, Result};
use crate::media::check::Report;
use crate::media::{ObjectSlot, Volume};
use crate::sync::atomic::Ordering;
use crate::units::FrameNo;
use std::collections::VecDeque;

/// Steps of owed work that a change does before its own.
const STEPS_A_CHANGE: usize = 16;
/// Frames whose last pin is gone that a change frees before its own work.
const FRAMES_A_CHANGE: usize = 4096;

/// What is owed.
#[derive(Default)]
pub(super) struct Owed {
    /// Objects to be dropped or cut to the end, by slot and number: a slot goes to another object once its own is gone.
    /// The next one is the last.
    objects: VecDeque<(ObjectSlot, u64)>,
    /// Frames whose last pin is gone.
    frames: Vec<FrameNo>,
    aside: Vec<Aside>,
}

/// Something that cannot be freed.
struct Aside {
    /// Byte offset of what is damaged, or of what cannot be freed.
    at: u64,
    detail: String,
}

impl Owed {
    /// What the last opening left.
    pub(super) fn found(volume: &Volume) -> Result<Self> {
        let (objects, broken_list) = volume.orphans_found()?;
        let (frames, broken_entries) = volume.busy_found()?;
        let mut owed = Self { objects: objects.into(), frames, aside: Vec::new() };
        let broken = broken_list.into_iter().chain(broken_entries);
        broken.for_each(|error| owed.set_aside("what the last opening left to be freed", 0, &error));
        Ok(owed)
    }

    /// Whether there is anything that can be done.
    pub(super) fn is_due(&self) -> bool {
        !self.objects.is_empty() || !self.frames.is_empty()
    }

    fn owe(&mut self, slot: ObjectSlot, id: u64) {
        if !self.objects.contains(&(slot, id)) {
            self.objects.push_back((slot, id));
        }
    }

    fn set_aside(&mut self, what: &str, at: u64, why: &Error) {
        let at = if let Error::Corrupt { at, .. } = why { *at } else { at };
        self.aside.push(Aside { at, detail: format!("{what} cannot be freed: {why}") });
    }
}

impl Core {
    /// Frees all frames whose last pin is gone, and finishes all objects that were not finished.
    #[cold]
    pub(super) fn settle(&self) -> Result {
        self.ensure_whole()?;
        self.work_off(&mut self.owed.lock(), usize::MAX, usize::MAX)
    }

    /// A bounded part of that. Nobody waits for another thread that does it: none of it is needed to go on.
    #[cold]
    pub(super) fn settle_some(&self) -> Result {
        self.ensure_whole()?;
        match self.owed.try_lock() {
            Some(mut owed) => self.work_off(&mut owed, FRAMES_A_CHANGE, STEPS_A_CHANGE),
            None => Ok(()),
        }
    }

    fn work_off(&self, owed: &mut Owed, frames: usize, steps: usize) -> Result {
        if owed.is_due() {
            self.volume.prepare()?;
        }
        let freed = self.free_released(owed, frames);
        let result = freed.and_then(|()| self.finish_some(owed, steps));
        // ORDERING: Release: pairs with `owes`. Only lowered under this lock.
        self.owes.store(owed.is_due(), Ordering::Release);
        result
    }

    /// Takes over the frames that were released, to be freed some time: they look pinned no more.
    pub(super) fn note_released(&self) {
        let mut owed = self.owed.lock();
        owed.frames.extend(self.pages.roles().take_released());
        // ORDERING: Release: pairs with `owes`.
        self.owes.store(owed.is_due(), Ordering::Release);
    }

    fn free_released(&self, owed: &mut Owed, most: usize) -> Result {
        let mut roles = self.pages.roles();
        owed.frames.extend(roles.take_released());
        let kept = owed.frames.len().saturating_sub(most);
        if owed.frames.len() == kept {
            return Ok(());
        }
        match self.volume.free_busy(&owed.frames[kept..]) {
            Err(Error::Corrupt { .. }) => self.free_one_by_one(owed, kept),
            freed => {
                freed?;
                owed.frames.truncate(kept);
                Ok(())
            }
        }
    }

    /// Frees the frames behind the first `kept`, each alone.
    fn free_one_by_one(&self, owed: &mut Owed, kept: usize) -> Result {
        while let Some(&frame) = owed.frames.get(kept..).and_then(<[FrameNo]>::last) {
            match self.volume.free_busy(&[frame]) {
                Err(error @ Error::Corrupt { .. }) => {
                    owed.set_aside(&format!("frame {}", frame.0), frame.offset(), &error);
                }
                freed => freed?,
            }
            owed.frames.pop();
        }
        Ok(())
    }

    /// Finishes objects, last first, as far as these steps go. One whose pages are pinned, with no room to note them, is
    /// put back: nobody who wants something else, room least of all, has to wait for these pins.
    fn finish_some(&self, owed: &mut Owed, mut steps: usize) -> Result {
        for _ in 0..owed.objects.len() {
            let Some(&(slot, id)) = owed.objects.back() else { break };
            loop {
                if steps == 0 {
                    return Ok(());
                }
                steps -= 1;
                // An object that is open again, nameless, is dropped by its last handle.
                let done = self.is_open(slot, id)
                    || match self.step(|fate| self.volume.finish_step(slot, id, fate)) {
                        Err(error) if error.is_full() => {
                            owed.objects.push_front((slot, id));
                            true
                        }
                        Err(error @ Error::Corrupt { .. }) => {
                            owed.set_aside(&format!("object {id}"), slot.offset(), &error);
                            true
                        }
                        step => step?,
                    };
                if done {
                    owed.objects.pop_back();
                    break;
                }
            }
        }
        Ok(())
    }

    /// Drops an object that has lost its name and was not open then; `resident` is what its slot said at that moment.
    pub(super) fn drop_nameless(&self, slot: ObjectSlot, resident: Result<Option<(u64, bool)>>) {
        match resident {
            Ok(resident) => resident.into_iter().for_each(|(id, _)| self.drop_object(slot, id)),
            Err(error) => self.owed.lock().set_aside("an object without a name", slot.offset(), &error),
        }
    }

    /// Drops an unlinked object whose last handle is gone. What fails is owed, or set aside.
    pub(super) fn drop_object(&self, slot: ObjectSlot, id: u64) {
        match self.ensure_whole().and_then(|()| self.drop_steps(slot)) {
            Ok(()) => {}
            Err(error @ Error::Corrupt { .. }) => {
                self.owed.lock().set_aside(&format!("object {id}"), slot.offset(), &error);
            }
            Err(_) => self.owe(slot, id),
        }
    }

    /// Leaves what an object is on the list of orphans for to a later change.
    pub(super) fn owe(&self, slot: ObjectSlot, id: u64) {
        self.owed.lock().owe(slot, id);
        // ORDERING: Release: pairs with `begin_change`.
        self.owes.store(true, Ordering::Release);
    }

    /// How many things are set aside.
    pub(super) fn set_aside(&self) -> u64 {
        self.owed.lock().aside.len() as u64 + self.volume.frames_aside().len() as u64
    }

    /// Names what is set aside.
    pub(super) fn name_set_aside(&self, report: &mut Report) {
        for aside in &self.owed.lock().aside {
            report.set_aside(aside.at, &aside.detail);
        }
        for (frame, why) in self.volume.frames_aside() {
            report.set_aside(frame.offset(), &why);
        }
    }
}
