//! Handing out frames: volatile takes, quarantine of what was freed, growth of the region.

use super::bitmap::{self, Group};
use super::layout::{GROUP_FRAMES, RootWord, file_bytes};
use super::log::Log;
use super::log::record::Sequence;
use super::rules::Rule;
use super::window::Window;
use super::words::{Shape, Words};
use crate::error::{Error, Result};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::units::{FRAME_SIZE, FrameNo, REGION_FRAMES_MAX};
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// Least and most bytes by which the region grows, where there is room for them.
const STEP_MIN: u64 = 256 << 10;
const STEP_MAX: u64 = 64 << 20;
/// Groups looked at for one contiguous run before scattered frames are good enough.
const GROUPS_TRIED: usize = 32;
/// Groups that one record begins at most.
const GROUPS_BEGUN: u64 = 32;
/// Frames that only freeing may take: pages that are cut off while pinned are noted in frames, and a region must not be
/// too full to be emptied.
pub(crate) const KEPT_FOR_FREEING: u64 = 4;

/// Frames that may be handed out, frames that soon may be, and where more come from.
pub(crate) struct Allocator {
    log: Arc<Log>,
    window: Arc<Window>,
    frames: AtomicU64,
    /// Held while the region grows: one at a time.
    growing: Mutex<()>,
    groups: Mutex<Groups>,
}

#[derive(Debug, Default)]
struct Groups {
    loaded: HashMap<u64, Group>,
    /// No group below this one has a free frame.
    low: u64,
    /// Freed by records that are not passed: a frame named by a live record keeps its role (log rule 2).
    quarantine: VecDeque<(Sequence, Vec<FrameNo>)>,
    quarantined: u64,
}

impl Allocator {
    /// The allocator of an open region; reads the `frames` word only.
    pub(crate) fn new(log: Arc<Log>, window: Arc<Window>) -> Result<Self> {
        let frames = log.read(RootWord::Frames.offset())?;
        Ok(Self {
            log,
            window,
            frames: AtomicU64::new(frames),
            growing: Mutex::new(()),
            groups: Mutex::default(),
        })
    }

    /// The frames there are now.
    pub(crate) fn shape(&self) -> Shape {
        // ORDERING: Acquire pairs with the Release in `grow`: who sees the frames sees their bits in the shadow.
        Shape { log_frames: self.log.frames(), frames: self.frames.load(Ordering::Acquire) }
    }

    /// Takes `n` frames out of what may be handed out: as one run after `near` if possible, else as one run, else in
    /// as few runs as come cheaply; the region grows where it has too few. The medium does not know of them until
    /// they are linked. `keep` frames stay free.
    pub(crate) fn allocate(&self, n: usize, near: Option<FrameNo>, keep: u64) -> Result<Vec<FrameNo>> {
        let mut waited = n == 0;
        loop {
            let (shape, missing) = {
                let (mut groups, shape) = self.settled()?;
                let missing = match groups.take_but(&*self.log, shape, n as u64, near, keep)? {
                    Ok(frames) => return Ok(frames),
                    // Growing while this many frames are only waiting for the tail would be growth without end.
                    Err(missing) if !waited && groups.quarantined >= missing.max(step(shape)) => None,
                    Err(missing) => Some(missing),
                };
                (shape, missing)
            };
            match missing.map(|missing| self.grow(shape, missing)) {
                Some(Ok(())) => {}
                Some(Err(Error::NoSpace { .. })) | None if !waited && self.groups.lock().quarantined > 0 => {
                    waited = true;
                    self.log.checkpoint()?;
                }
                Some(Err(error)) => return Err(error),
                None => waited = true,
            }
        }
    }

    /// Undoes `allocate` for frames that were not linked; a frame that was linked stays.
    pub(crate) fn release(&self, frames: &[FrameNo]) -> Result {
        if frames.is_empty() {
            return Ok(());
        }
        let mut groups = self.groups.lock();
        let shape = self.shape();
        for &frame in frames {
            let waits = groups.quarantine.iter().any(|(_, waiting)| waiting.contains(&frame));
            if shape.ordinary(frame) && !waits && !bitmap::allocated(&*self.log, shape, frame)? {
                groups.give(frame);
            }
        }
        Ok(())
    }

    /// Loads the groups of `frames`: to be done before a record changes their bits.
    pub(crate) fn load(&self, frames: impl Iterator<Item = FrameNo>) -> Result {
        let mut groups = self.groups.lock();
        let shape = self.shape();
        for frame in frames {
            groups.group(&*self.log, shape, u64::from(frame.0) / GROUP_FRAMES)?;
        }
        Ok(())
    }

    /// Keeps `frames`, freed by the record `freed`, until it is passed.
    pub(crate) fn quarantine(&self, freed: Sequence, frames: Vec<FrameNo>) {
        let mut groups = self.groups.lock();
        if self.log.rules().broken(Rule::RoleReuse) {
            return frames.into_iter().for_each(|frame| groups.give(frame));
        }
        groups.quarantined += frames.len() as u64;
        // Appends return in any order: an entry behind a later one only waits a little longer.
        groups.quarantine.push_back((freed, frames));
    }

    /// Frames that are free or soon will be, over the whole region; loads every group.
    pub(crate) fn free_frames(&self) -> Result<u64> {
        let (mut groups, shape) = self.settled()?;
        let mut free = groups.quarantined;
        for group in 0..shape.groups() {
            free += u64::from(groups.group(&*self.log, shape, group)?.free());
        }
        Ok(free)
    }

    /// The groups, passed frames given back first, and the shape they are to be loaded with.
    fn settled(&self) -> Result<(MutexGuard<'_, Groups>, Shape)> {
        let mut groups = self.groups.lock();
        if !groups.quarantine.is_empty() {
            let passed = self.log.passed();
            let early = |freed| self.log.rules().broken(Rule::ReuseCommitted) && self.log.is_committed(freed);
            while groups.quarantine.front().is_some_and(|&(freed, _)| freed <= passed || early(freed)) {
                let (_, frames) = groups.quarantine.pop_front().unwrap_or((passed, Vec::new()));
                groups.quarantined -= frames.len() as u64;
                frames.into_iter().for_each(|frame| groups.give(frame));
            }
        }
        let shape = self.shape();
        Ok((groups, shape))
    }

    /// Adds at least `missing` frames to the `seen` ones; nothing to do if somebody else did.
    fn grow(&self, seen: Shape, missing: u64) -> Result {
        let _one_at_a_time = self.growing.lock();
        let old = self.shape();
        if old != seen {
            return Ok(());
        }
        // A group that begins costs its bitmap frame.
        let least = missing + missing / (GROUP_FRAMES - 1) + 2;
        let mut step = step(old).max(least);
        let frames = loop {
            let frames = (old.frames + step).min(REGION_FRAMES_MAX - 1);
            match self.log.region().grow_to(file_bytes(frames)) {
                Ok(()) if frames > old.frames => break frames,
                Ok(()) => return Err(Error::NoSpace { why: "a region cannot have more frames".into() }),
                Err(Error::NoSpace { .. }) if step > missing => step = (step / 2).max(missing),
                Err(error) => {
                    // Blocks that were refused change nothing; a length that could not be synced is a failed flush.
                    if self.log.region().poisoned().is_some() {
                        self.log.fail(&error);
                    }
                    return Err(error);
                }
            }
        };
        let mut now = old;
        while now.frames < frames {
            let part = frames.min((now.groups() + GROUPS_BEGUN) * GROUP_FRAMES);
            self.add(now, Shape { frames: part, ..now })?;
            now.frames = part;
        }
        Ok(())
    }

    /// Makes the frames between two ends part of the region, whose file has room for them.
    fn add(&self, old: Shape, new: Shape) -> Result {
        let mut change = None;
        self.log.append(|t| {
            change = Some(self.window.change());
            for group in old.groups()..new.groups() {
                t.zero(new.bitmap(group))?;
                t.write(new.bitmap(group).offset(), 1)?;
            }
            t.write(RootWord::Frames.offset(), new.frames)
        })?;
        drop(change);
        let mut groups = self.groups.lock();
        // ORDERING: Release, see `shape`. Under the lock of the groups, so that none is loaded with the old end now.
        self.frames.store(new.frames, Ordering::Release);
        groups.extend(old, new);
        Ok(())
    }
}

/// How many frames the region grows by when it can.
fn step(shape: Shape) -> u64 {
    (shape.frames * FRAME_SIZE as u64 / 8).clamp(STEP_MIN, STEP_MAX) / FRAME_SIZE as u64
}

impl Groups {
    fn group(&mut self, words: &impl Words, shape: Shape, group: u64) -> Result<&mut Group> {
        use std::collections::hash_map::Entry;
        match self.loaded.entry(group) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => Ok(entry.insert(Group::load(words, shape, group)?)),
        }
    }

    /// As [`Self::take`], if `keep` more frames are free.
    fn take_but(
        &mut self,
        words: &impl Words,
        shape: Shape,
        n: u64,
        near: Option<FrameNo>,
        keep: u64,
    ) -> Result<Result<Vec<FrameNo>, u64>> {
        let frames = match self.take(words, shape, n, near)? {
            Ok(frames) => frames,
            Err(missing) => return Ok(Err(missing + keep)),
        };
        let mut left = 0;
        for group in self.low..shape.groups() {
            if left >= keep {
                break;
            }
            left += u64::from(self.group(words, shape, group)?.free());
        }
        if left >= keep || frames.is_empty() {
            return Ok(Ok(frames));
        }
        frames.into_iter().for_each(|frame| self.give(frame));
        Ok(Err(keep - left))
    }

    /// `n` frames, or how many are missing.
    fn take(
        &mut self,
        words: &impl Words,
        shape: Shape,
        n: u64,
        near: Option<FrameNo>,
    ) -> Result<Result<Vec<FrameNo>, u64>> {
        let mut frames = Vec::new();
        if let Some(run) = self.best_run(words, shape, n, near)? {
            self.take_run(run, &mut frames);
        }
        while (frames.len() as u64) < n && self.low < shape.groups() {
            // Sweep: whatever is free, lowest first.
            let (low, left) = (self.low, n - frames.len() as u64);
            let group = self.group(words, shape, low)?;
            match group.run(0, u32::try_from(left).unwrap_or(u32::MAX).min(1)) {
                run if run.is_empty() => self.low += 1,
                run => {
                    let run = group.extent(run.start, left);
                    self.take_run((low, run), &mut frames);
                }
            }
        }
        let missing = n - frames.len() as u64;
        if missing > 0 {
            frames.into_iter().for_each(|frame| self.give(frame));
            return Ok(Err(missing));
        }
        Ok(Ok(frames))
    }

    /// A run of `n` frames: behind `near`, else the first; else the longest of those seen, if worth starting with.
    fn best_run(
        &mut self,
        words: &impl Words,
        shape: Shape,
        n: u64,
        near: Option<FrameNo>,
    ) -> Result<Option<(u64, Range<u32>)>> {
        let wanted = u32::try_from(n).unwrap_or(u32::MAX).min(GROUP_FRAMES as u32);
        if let Some(near) = near.filter(|&near| shape.ordinary(near)) {
            let group = u64::from(near.0) / GROUP_FRAMES;
            let run = self.group(words, shape, group)?.run(near.0 % GROUP_FRAMES as u32 + 1, wanted);
            if run.len() as u32 == wanted {
                return Ok(Some((group, run)));
            }
        }
        let mut best = (0, 0..0);
        for group in (self.low..shape.groups()).take(GROUPS_TRIED) {
            let run = self.group(words, shape, group)?.run(0, wanted);
            if run.len() > best.1.len() {
                best = (group, run);
            }
            if best.1.len() as u32 == wanted {
                break;
            }
        }
        Ok(Some(best).filter(|(_, run)| !run.is_empty() && run.len() as u32 >= wanted / 4))
    }

    fn take_run(&mut self, (group, run): (u64, Range<u32>), frames: &mut Vec<FrameNo>) {
        if let Some(loaded) = self.loaded.get_mut(&group) {
            loaded.take(run.clone());
            frames.extend(run.map(|place| FrameNo((group * GROUP_FRAMES) as u32 + place)));
        }
    }

    fn give(&mut self, frame: FrameNo) {
        let group = u64::from(frame.0) / GROUP_FRAMES;
        if self.loaded.get_mut(&group).is_some_and(|loaded| loaded.give(frame.0 % GROUP_FRAMES as u32)) {
            self.low = self.low.min(group);
        }
    }

    /// The region grew: the frames between the old and the new end of a loaded group may be handed out.
    fn extend(&mut self, old: Shape, new: Shape) {
        let group = old.groups() - 1;
        for frame in old.frames..new.frames.min(old.groups() * GROUP_FRAMES) {
            self.give(FrameNo(frame as u32));
        }
        self.low = self.low.min(group);
    }
}
