//! The allocator hands out frames. It takes them in memory only, and keeps freed ones in quarantine.

use super::bitmap;
#[cfg(test)]
use super::bitmap::Group;
use super::blocks::Blocks;
use super::claim::{self, SetAside};
use super::growth;
use super::layout::{GROUP_FRAMES, RootWord, WORDS_PER_FRAME, file_bytes, first_free_frame};
use super::loaded::{Groups, Purpose, STRUCTURED_FROM};
use super::log::Log;
use super::log::record::Sequence;
use super::rules::Rule;
use super::uses::Use;
use super::words::Shape;
use crate::error::{Error, Result};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, Seqlock};
use crate::units::{FRAME_SIZE, FRAMES_PER_BLOCK, FrameNo};
use std::sync::Arc;

/// Frames that only freeing may take. Pages that are cut off while they are pinned are noted in frames, so a region must
/// never be too full to be emptied.
pub(crate) const KEPT_FOR_FREEING: u64 = 4;

/// Frames that pages leave free for structures where the region can grow instead.
const LEFT_FOR_STRUCTURES: u64 = FRAMES_PER_BLOCK;
/// How often room for many pages is made, where other threads take it.
const ROOM_TRIES: usize = 3;
/// How often a call passes the log for frames in quarantine before it finds the region full: other threads may take them.
const PASSES: u32 = 16;

/// Frames that may be handed out, frames that soon may be, and the sources of more.
pub(crate) struct Allocator {
    pub(super) log: Arc<Log>,
    pub(super) seqlock: Arc<Seqlock>,
    pub(super) frames: AtomicU64,
    /// Held while the region grows: one growth at a time.
    pub(super) growing: Mutex<()>,
    pub(super) groups: Mutex<Groups>,
    pub(super) blocks: Blocks,
    aside: SetAside,
    /// Bitmaps that growth found damaged and made anew, each with place and reason.
    pub(super) made_anew: Mutex<Vec<(u64, String)>>,
}

impl Allocator {
    /// The allocator of an open region. It reads only the `frames` word.
    pub(crate) fn new(log: Arc<Log>, seqlock: Arc<Seqlock>) -> Result<Self> {
        let frames = log.root(RootWord::Frames)?;
        let mut groups = Groups::default();
        // The structures that a format makes lie before it.
        let behind = first_free_frame(log.frames());
        (0..=behind.0)
            .step_by(FRAMES_PER_BLOCK as usize)
            .for_each(|frame| groups.note_structure(FrameNo(frame)));
        groups.note_structure(behind);
        Ok(Self {
            log,
            seqlock,
            frames: AtomicU64::new(frames),
            growing: Mutex::new(()),
            groups: Mutex::new(groups),
            blocks: Blocks::default(),
            aside: SetAside::default(),
            made_anew: Mutex::default(),
        })
    }

    /// The shape of the region now.
    pub(crate) fn shape(&self) -> Shape {
        // ORDERING: Acquire pairs with the Release in `grow`: a thread that sees the frames sees their shadow bits.
        Shape { log_frames: self.log.frames(), frames: self.frames.load(Ordering::Acquire) }
    }

    /// Takes `n` frames that may be handed out. Frames for pages come as one run behind the named one if possible,
    /// otherwise as one run, otherwise in as few runs as are found cheaply. The region grows if it has too few. The
    /// medium does not know of the frames until they are linked. `keep` frames stay free.
    pub(crate) fn allocate(&self, n: usize, purpose: Purpose, keep: u64) -> Result<Vec<FrameNo>> {
        self.log.own_copies()?;
        let (mut waited, mut looked_again) = (n == 0, false);
        let mut passes = if n == 0 { PASSES } else { 0 };
        let mut left = if let Purpose::Pages(_) = purpose { self.left_for_structures() } else { 0 };
        loop {
            let (shape, missing, returning) = {
                let (mut groups, shape) = self.settled()?;
                let returning = groups.returning > 0;
                let missing = match groups.take_but(&self.log, shape, n as u64, purpose, keep.max(left))? {
                    Ok(frames) => {
                        drop(groups);
                        match self.ask(frames)? {
                            Some(frames) => return Ok(frames),
                            None => continue,
                        }
                    }
                    // If so many frames only wait for the tail, the region must not grow: that growth would have no end.
                    Err(missing)
                        if !waited
                            && groups.has_waiting(missing.max(growth::step(shape)), shape, &self.log) =>
                    {
                        None
                    }
                    Err(missing) => Some(missing),
                };
                (shape, missing, returning)
            };
            match missing.map(|missing| self.more(shape, missing)) {
                Some(Ok(())) => {}
                Some(Err(_)) if left > 0 && self.log.region().poisoned().is_none() => left = 0,
                Some(Err(error)) if error.is_full() && returning && !looked_again => {
                    looked_again = true;
                    self.blocks.wait_for_returning();
                }
                // Others may take what comes out of quarantine, so it is tried several times.
                Some(Err(error))
                    if passes == PASSES || !error.is_full() || self.groups.lock().quarantined.is_empty() =>
                {
                    return Err(error);
                }
                None if waited || self.groups.lock().quarantined.is_empty() => waited = true,
                Some(Err(_)) | None => {
                    waited = true;
                    passes += 1;
                    self.log.give_up_snapshot();
                    self.log.checkpoint()?;
                }
            }
        }
    }

    /// Frames that pages leave free, so that structures need not be put between them.
    fn left_for_structures(&self) -> u64 {
        let frames = self.shape().frames;
        let grows = file_bytes(frames + LEFT_FOR_STRUCTURES) <= self.log.region().max_bytes();
        if frames >= STRUCTURED_FROM && grows && !self.blocks.is_tight() { LEFT_FOR_STRUCTURES } else { 0 }
    }

    /// Makes room for so many pages at once, and for the nodes of their map where no page comes between them. It is no
    /// promise: where there are too few frames, the pages are taken as far as they go.
    pub(crate) fn make_room(&self, pages: u64) -> Result {
        let nodes = pages / WORDS_PER_FRAME + pages / WORDS_PER_FRAME / WORDS_PER_FRAME + 2;
        // Other threads may take what was made, or give it back to the disk.
        for _ in 0..ROOM_TRIES {
            let (mut groups, shape) = self.settled()?;
            let missing = groups.missing(&self.log, shape, pages + nodes + LEFT_FOR_STRUCTURES)?;
            if missing == 0 {
                return groups.break_ahead(&self.log, shape, nodes);
            }
            drop(groups);
            if let Err(error) = self.more(shape, missing) {
                return if self.log.region().poisoned().is_some() { Err(error) } else { Ok(()) };
            }
        }
        Ok(())
    }

    /// Undoes `allocate` for frames that were not linked. A frame that was linked stays allocated.
    pub(crate) fn release(&self, frames: &[FrameNo]) -> Result {
        if frames.is_empty() {
            return Ok(());
        }
        let mut groups = self.groups.lock();
        let shape = self.shape();
        for &frame in frames {
            let waits = groups.quarantined.contains(&frame);
            let sound = self.log.uses().expect_group(u64::from(frame.0) / GROUP_FRAMES).is_ok();
            if shape.ordinary(frame) && !waits && sound && !bitmap::allocated(&*self.log, shape, frame)? {
                self.give(&mut groups, &[frame]);
            }
        }
        Ok(())
    }

    /// Loads the groups of `frames`, which must be done before a record changes their bits. The record changes no bit of
    /// a group that is left alone.
    pub(crate) fn load(&self, frames: impl Iterator<Item = FrameNo>) -> Result {
        let mut groups = self.groups.lock();
        let shape = self.shape();
        for frame in frames {
            groups.group(&self.log, shape, u64::from(frame.0) / GROUP_FRAMES)?;
        }
        Ok(())
    }

    /// Keeps `frames`, which the record `freed` has freed, until that record is passed. Those of groups that are left
    /// alone are free for nothing.
    pub(crate) fn quarantine(&self, freed: Sequence, frames: Vec<FrameNo>) {
        let frames = self.log.uses().let_go(frames);
        let mut groups = self.groups.lock();
        if self.log.rules().broken(Rule::RoleReuse) {
            return self.give(&mut groups, &frames);
        }
        groups.quarantined.extend(&frames);
        // Appends may return in any order. An entry behind a later one only waits a little longer.
        groups.quarantine.push_back((freed, frames));
        self.blocks.note_free(self.shape(), groups.with_waiting());
    }

    /// Keeps frames that were not linked and are pinned, until their last pins have gone.
    pub(crate) fn release_when_unpinned(&self, frames: impl IntoIterator<Item = FrameNo>) {
        self.groups.lock().vain.extend(frames);
    }

    /// Words and nodes that searches for frames have looked at so far.
    #[cfg(test)]
    pub(crate) fn looks(&self) -> u64 {
        let groups = self.groups.lock();
        groups.longest.looks.get() + groups.loaded.values().map(Group::looks).sum::<u64>()
    }

    /// The number of frames in the whole region that are free or soon will be. Loads every group.
    pub(crate) fn free_frames(&self) -> Result<u64> {
        let free = self.free_with_blocks()?;
        let end = self.shape().frames as u32;
        Ok(free + self.groups.lock().holes.within(0..end).map(|run| run.len() as u64).sum::<u64>())
    }

    /// As [`free_frames`](Self::free_frames), without those in holes.
    pub(super) fn free_with_blocks(&self) -> Result<u64> {
        // One group at a time, because other calls need the lock while the medium is read.
        for group in 0..self.shape().groups() {
            self.groups.lock().unless_full(&self.log, self.shape(), group)?;
        }
        let (groups, _) = self.settled()?;
        Ok(groups.free + groups.returning + (groups.quarantined.len() + groups.vain.len()) as u64)
    }

    /// The most frames that a caller can have that wants `wanted`: those that growth may add and, if these are too few,
    /// the free ones. Growth adds what the medium has beyond the region's frames too: a device does not change its length.
    pub(crate) fn most_frames(&self, wanted: u64) -> Result<u64> {
        let has = file_bytes(self.shape().frames);
        let more = self.log.region().max_bytes().saturating_sub(has) / FRAME_SIZE as u64;
        if wanted <= more { Ok(more) } else { Ok(more + self.free_frames()?) }
    }

    /// The groups, and the shape with which they are loaded. Frames whose freeing records are passed are given back first.
    pub(super) fn settled(&self) -> Result<(MutexGuard<'_, Groups>, Shape)> {
        let mut groups = self.groups.lock();
        if !groups.quarantine.is_empty() {
            let passed = self.log.reusable();
            let early = |freed| self.log.rules().broken(Rule::ReuseCommitted) && self.log.is_committed(freed);
            while groups.quarantine.front().is_some_and(|&(freed, _)| freed <= passed || early(freed)) {
                let (_, frames) = groups.quarantine.pop_front().unwrap_or((passed, Vec::new()));
                for frame in &frames {
                    groups.quarantined.remove(frame);
                }
                self.give(&mut groups, &frames);
            }
        }
        if !groups.vain.is_empty() {
            let (stay, idle): (Vec<_>, Vec<_>) =
                std::mem::take(&mut groups.vain).into_iter().partition(|&f| claim::is_pinned(&self.log, f));
            groups.vain = stay;
            self.give(&mut groups, &idle);
        }
        let shape = self.shape();
        Ok((groups, shape))
    }

    /// Makes `missing` more frames available: from holes, otherwise by growth.
    fn more(&self, seen: Shape, missing: u64) -> Result {
        let more = match self.fill_holes(missing) {
            Ok(false) => self.grow(seen, missing),
            filled => filled.map(drop),
        };
        let room = self.log.region().max_bytes() > file_bytes(seen.frames + missing);
        if room && matches!(more, Err(Error::NoSpace { .. })) {
            self.blocks.found_full();
        }
        more
    }

    /// Gives back frames that have no use: they may be handed out again.
    pub(super) fn give(&self, groups: &mut Groups, frames: &[FrameNo]) {
        for &frame in frames {
            if self.log.uses().free(frame) == Use::Structure {
                groups.note_structure(frame);
            }
        }
        groups.give(frames);
    }

    /// Gives back frames that wait for their records to be passed (a broken rule).
    pub(super) fn forget_quarantine(&self) {
        let mut groups = self.groups.lock();
        groups.quarantined.clear();
        for (_, frames) in std::mem::take(&mut groups.quarantine) {
            self.give(&mut groups, &frames);
        }
    }

    /// Asks whether frames that are to be handed out are as free as the bitmap says. A frame that is used is set aside
    /// for this opening, and the call that met it gets an error. A frame that another thread is looking at just now is
    /// left alone: `None` says that other frames must be taken.
    pub(super) fn ask(&self, frames: Vec<FrameNo>) -> Result<Option<Vec<FrameNo>>> {
        let (mut good, mut error, mut vain) = (Vec::with_capacity(frames.len()), None, Vec::new());
        for frame in frames {
            match claim::claim(&self.log, frame) {
                Ok(true) => good.push(frame),
                Ok(false) => vain.push(frame),
                Err(why) => {
                    self.aside.add(frame, &why);
                    error.get_or_insert(why);
                }
            }
        }
        if error.is_none() && vain.is_empty() {
            return Ok(Some(good));
        }
        let mut groups = self.groups.lock();
        groups.vain.extend(vain);
        self.give(&mut groups, &good);
        error.map_or(Ok(None), Err)
    }

    /// The number of frames that the bitmap calls free and that were found in use.
    pub(crate) fn count_aside(&self) -> usize {
        self.aside.count()
    }

    /// Frames that the bitmap calls free and that are used, and groups that do not match their seals, each with place and
    /// reason.
    pub(crate) fn set_aside(&self) -> Vec<(u64, String)> {
        let frames = self.aside.list().into_iter().map(|(frame, why)| (frame.offset(), why));
        frames.chain(self.log.uses().refused_groups()).collect()
    }
}
