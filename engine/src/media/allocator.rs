//! Handing out frames: volatile takes, quarantine of what was freed, growth of the region.

use super::bitmap::{self, Group};
use super::blocks::{self, Blocks};
use super::claim::{self, SetAside};
use super::holes::Holes;
use super::layout::{GROUP_FRAMES, RootWord, file_bytes};
use super::log::record::Sequence;
use super::log::{Log, Txn};
use super::rules::Rule;
use super::runs::Longest;
use super::words::{Shape, Words};
use crate::error::{Error, Result};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, Seqlock};
use crate::units::{FRAME_SIZE, FrameNo, REGION_FRAMES_MAX};
use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// Least and most bytes by which the region grows, where there is room for them.
const STEP_MIN: u64 = 256 << 10;
const STEP_MAX: u64 = 64 << 20;
/// Groups read for one contiguous run before scattered frames are good enough; of those read before the runs are known.
const GROUPS_TRIED: usize = 32;
/// Of more frames than these the long runs are taken first, and of fewer what is free, lowest first.
const FEW: u64 = 256;
/// Groups that one record begins at most.
const GROUPS_BEGUN: u64 = 32;
/// Frames that only freeing may take: pages that are cut off while pinned are noted in frames, and a region must not be
/// too full to be emptied.
pub(crate) const KEPT_FOR_FREEING: u64 = 4;

/// Frames that may be handed out, frames that soon may be, and where more come from.
pub(crate) struct Allocator {
    pub(super) log: Arc<Log>,
    seqlock: Arc<Seqlock>,
    frames: AtomicU64,
    /// Held while the region grows: one at a time.
    growing: Mutex<()>,
    pub(super) groups: Mutex<Groups>,
    pub(super) blocks: Blocks,
    aside: SetAside,
}

#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) loaded: HashMap<u64, Group>,
    /// Frames of loaded groups that may be handed out.
    pub(super) free: u64,
    pub(super) longest: Longest,
    /// Free frames without blocks: they are taken in the groups.
    pub(super) holes: Holes,
    /// No group below this one has a free frame.
    pub(super) low: u64,
    /// Freed by records that are not passed: a frame named by a live record keeps its role (LOG rule 2).
    quarantine: VecDeque<(Sequence, Vec<FrameNo>)>,
    /// The frames in it.
    pub(super) quarantined: HashSet<FrameNo>,
    /// Frames that were pinned when they were to be handed out, most likely in vain: not before their last pin is gone.
    vain: Vec<FrameNo>,
    /// Frames that are going back to the file system at this moment: they come back as holes.
    pub(super) returning: u64,
}

impl Allocator {
    /// The allocator of an open region; reads the `frames` word only.
    pub(crate) fn new(log: Arc<Log>, seqlock: Arc<Seqlock>) -> Result<Self> {
        let frames = log.root(RootWord::Frames)?;
        Ok(Self {
            log,
            seqlock,
            frames: AtomicU64::new(frames),
            growing: Mutex::new(()),
            groups: Mutex::default(),
            blocks: Blocks::default(),
            aside: SetAside::default(),
        })
    }

    /// The frames there are now.
    pub(crate) fn shape(&self) -> Shape {
        // ORDERING: Acquire pairs with the Release in `grow`: a thread that sees the frames sees their shadow bits.
        Shape { log_frames: self.log.frames(), frames: self.frames.load(Ordering::Acquire) }
    }

    /// Takes `n` frames out of what may be handed out: as one run after `near` if possible, else as one run, else in
    /// as few runs as come cheaply; the region grows where it has too few. The medium does not know of them until
    /// they are linked. `keep` frames stay free.
    pub(crate) fn allocate(&self, n: usize, near: Option<FrameNo>, keep: u64) -> Result<Vec<FrameNo>> {
        let (mut waited, mut looked_again) = (n == 0, false);
        loop {
            let (shape, missing, returning) = {
                let (mut groups, shape) = self.settled()?;
                let returning = groups.returning > 0;
                let missing = match groups.take_but(&*self.log, shape, n as u64, near, keep)? {
                    Ok(frames) => {
                        drop(groups);
                        match self.ask(frames)? {
                            Some(frames) => return Ok(frames),
                            None => continue,
                        }
                    }
                    // Growing while this many frames are only waiting for the tail would be growth without end.
                    Err(missing)
                        if !waited && groups.has_waiting(missing.max(step(shape)), shape, &self.log) =>
                    {
                        None
                    }
                    Err(missing) => Some(missing),
                };
                (shape, missing, returning)
            };
            match missing.map(|missing| self.more(shape, missing)) {
                Some(Ok(())) => {}
                Some(Err(error)) if error.is_full() && returning && !looked_again => {
                    looked_again = true;
                    self.blocks.wait_for_returning();
                }
                Some(Err(error))
                    if waited || !error.is_full() || self.groups.lock().quarantined.is_empty() =>
                {
                    return Err(error);
                }
                None if waited || self.groups.lock().quarantined.is_empty() => waited = true,
                Some(Err(_)) | None => {
                    waited = true;
                    self.log.give_up_snapshot();
                    self.log.checkpoint()?;
                }
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
            let waits = groups.quarantined.contains(&frame);
            if shape.ordinary(frame) && !waits && !bitmap::allocated(&*self.log, shape, frame)? {
                self.give(&mut groups, &[frame]);
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
            return self.give(&mut groups, &frames);
        }
        groups.quarantined.extend(&frames);
        // Appends return in any order: an entry behind a later one only waits a little longer.
        groups.quarantine.push_back((freed, frames));
        self.blocks.note_free(self.shape(), groups.with_waiting());
    }

    /// Keeps frames that were not linked and that are pinned, until the last pin is gone.
    pub(crate) fn release_when_unpinned(&self, frames: impl IntoIterator<Item = FrameNo>) {
        self.groups.lock().vain.extend(frames);
    }

    /// Words and nodes that searches for frames have looked at so far.
    #[cfg(test)]
    pub(crate) fn looks(&self) -> u64 {
        let groups = self.groups.lock();
        groups.longest.looks.get() + groups.loaded.values().map(Group::looks).sum::<u64>()
    }

    /// Frames that are free or soon will be, over the whole region; loads every group.
    pub(crate) fn free_frames(&self) -> Result<u64> {
        let free = self.free_with_blocks()?;
        let end = self.shape().frames as u32;
        Ok(free + self.groups.lock().holes.within(0..end).map(|run| run.len() as u64).sum::<u64>())
    }

    /// As [`free_frames`](Self::free_frames), without those in holes.
    pub(super) fn free_with_blocks(&self) -> Result<u64> {
        // A group at a time: others want the lock while the medium is read.
        for group in 0..self.shape().groups() {
            self.groups.lock().group(&*self.log, self.shape(), group)?;
        }
        let (groups, _) = self.settled()?;
        Ok(groups.free + groups.returning + (groups.quarantined.len() + groups.vain.len()) as u64)
    }

    /// How many frames a caller that wants `wanted` can have at most: those that growth may add; and if these are too
    /// few, the free ones too.
    pub(crate) fn most_frames(&self, wanted: u64) -> Result<u64> {
        let region = self.log.region();
        let more = region.max_bytes().saturating_sub(region.len_bytes()) / FRAME_SIZE as u64;
        if wanted <= more { Ok(more) } else { Ok(more + self.free_frames()?) }
    }

    /// The groups, passed frames given back first, and the shape they are to be loaded with.
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

    /// Makes `missing` more frames to hand out: of holes, else by growth.
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

    /// Frames may be handed out again: they are used for nothing.
    fn give(&self, groups: &mut Groups, frames: &[FrameNo]) {
        frames.iter().for_each(|&frame| self.log.uses().free(frame));
        groups.give(frames);
    }

    /// Gives back what waits for its records (a broken rule).
    pub(super) fn forget_quarantine(&self) {
        let mut groups = self.groups.lock();
        groups.quarantined.clear();
        for (_, frames) in std::mem::take(&mut groups.quarantine) {
            self.give(&mut groups, &frames);
        }
    }

    /// Asks of each frame that is to be handed out whether it is as free as the bitmap says. One that is used is set
    /// aside for this opening, and the call that met it is told. One that another thread is just looking at is left
    /// alone, and `None` says that others are to be taken.
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

    /// How many frames the bitmap calls free that were met in use.
    pub(crate) fn count_aside(&self) -> usize {
        self.aside.count()
    }

    /// Frames that the bitmap calls free and that are used, and why they are known to be.
    pub(crate) fn set_aside(&self) -> Vec<(FrameNo, String)> {
        self.aside.list()
    }

    /// Adds at least `missing` frames to the `seen` ones; nothing to do if another thread did.
    fn grow(&self, seen: Shape, missing: u64) -> Result {
        let _one_at_a_time = self.growing.lock();
        let old = self.shape();
        if old != seen {
            return Ok(());
        }
        // A group that begins costs its bitmap frame.
        let least = missing + missing / (GROUP_FRAMES - 1) + 2;
        let wanted = step(old).max(least);
        let mut step = wanted;
        let frames = loop {
            let frames = (old.frames + step).min(REGION_FRAMES_MAX - 1);
            let longer = self.log.region().grow_to(file_bytes(frames));
            match longer.and_then(|()| self.fill_growth(old.frames..frames + 1)) {
                Ok(()) if frames > old.frames => {
                    if step == wanted {
                        self.blocks.found_room();
                    }
                    break frames;
                }
                Ok(()) => return Err(Error::NoSpace { why: "a region cannot have more frames".into() }),
                Err(error) if error.is_full() && step > missing => step = (step / 2).max(missing),
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
        let change = |t: &mut Txn<'_>| {
            for group in old.groups()..new.groups() {
                t.zero(new.bitmap(group))?;
                t.write(new.bitmap(group).offset(), 1)?;
            }
            t.set_root(RootWord::Frames, new.frames)
        };
        self.log.append_as_one(change, || self.seqlock.change())?;
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
    /// Whether `n` frames wait for the tail, and for nothing else: a look at one moment is given up for them only when they
    /// are so many that the region would grow much for its sake.
    fn has_waiting(&self, n: u64, shape: Shape, log: &Log) -> bool {
        let waiting = self.quarantined.len() as u64;
        waiting >= n && (waiting >= blocks::kept(shape) || !log.has_snapshot())
    }

    pub(super) fn group(&mut self, words: &impl Words, shape: Shape, group: u64) -> Result<&mut Group> {
        use std::collections::hash_map::Entry;
        match self.loaded.entry(group) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let mut loaded = Group::load(words, shape, group)?;
                let first = (group * GROUP_FRAMES) as u32;
                let end = shape.frames.min((group + 1) * GROUP_FRAMES) as u32;
                for run in self.holes.within(first..end) {
                    loaded.take(run.start - first..run.end - first);
                }
                self.longest.extend(shape.groups());
                self.longest.set(group, loaded.longest());
                self.free += u64::from(loaded.free());
                Ok(entry.insert(loaded))
            }
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
        if frames.is_empty() || self.has_free(words, shape, keep)? {
            return Ok(Ok(frames));
        }
        let left = self.free;
        self.give(&frames);
        Ok(Err(keep - left))
    }

    /// Whether `n` frames may be handed out; loads groups only as far as that takes.
    fn has_free(&mut self, words: &impl Words, shape: Shape, n: u64) -> Result<bool> {
        let mut unloaded = 0..shape.groups();
        while self.free < n && (self.loaded.len() as u64) < shape.groups() {
            let Some(group) = unloaded.find(|group| !self.loaded.contains_key(group)) else { break };
            self.group(words, shape, group)?;
        }
        Ok(self.free >= n)
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
        if n == 0 {
            return Ok(Ok(frames));
        }
        let mut near = near;
        while let Some(run) = self.best_run(words, shape, n - frames.len() as u64, near.take())? {
            self.take_run(run, &mut frames);
            if n - frames.len() as u64 <= FEW {
                break;
            }
        }
        self.longest.extend(shape.groups());
        while (frames.len() as u64) < n {
            // Sweep: whatever is free, lowest first.
            let Some(low) = self.longest.first(self.low, 1) else { break };
            self.low = low;
            let (group, left) = (self.group(words, shape, low)?, n - frames.len() as u64);
            if let Some(frame) = group.first(0, 1) {
                let run = group.extent(frame.start, left);
                self.take_run((low, run), &mut frames);
            }
        }
        let missing = n - frames.len() as u64;
        if missing > 0 {
            self.give(&frames);
            return Ok(Err(missing));
        }
        Ok(Ok(frames))
    }

    /// A run of `n` frames: behind `near`, else the first; else the longest of those known, if worth starting with.
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
            let run = self.group(words, shape, group)?.first(near.0 % GROUP_FRAMES as u32 + 1, wanted);
            if let Some(run) = run {
                return Ok(Some((group, run)));
            }
        }
        self.longest.extend(shape.groups());
        let mut best = (0, 0);
        for _ in 0..GROUPS_TRIED {
            let Some(group) = self.longest.first(self.low, wanted) else {
                best = self.longest.greatest().unwrap_or(best);
                break;
            };
            let loaded = self.group(words, shape, group)?;
            match loaded.first(0, wanted) {
                Some(run) => return Ok(Some((group, run))),
                // It was unknown.
                None if loaded.longest() > best.1 => best = (group, loaded.longest()),
                None => {}
            }
        }
        let (group, longest) = best;
        if longest == 0 || longest < wanted / 4 {
            return Ok(None);
        }
        let run = self.group(words, shape, group)?.first(0, longest);
        Ok(run.map(|run| (group, run)))
    }

    fn take_run(&mut self, (group, run): (u64, Range<u32>), frames: &mut Vec<FrameNo>) {
        if let Some(loaded) = self.loaded.get_mut(&group) {
            loaded.take(run.clone());
            self.free -= run.len() as u64;
            self.longest.set(group, loaded.longest());
            frames.extend(run.map(|place| FrameNo((group * GROUP_FRAMES) as u32 + place)));
        }
    }

    /// Takes frames back, those of groups that are not loaded excepted: they are free there already.
    fn give(&mut self, frames: &[FrameNo]) {
        for run in frames.chunk_by(|a, b| a.0 + 1 == b.0) {
            self.give_run(u64::from(run[0].0)..u64::from(run[0].0) + run.len() as u64);
        }
    }

    pub(super) fn give_run(&mut self, frames: Range<u64>) {
        let mut first = frames.start;
        while first < frames.end {
            let (group, place) = (first / GROUP_FRAMES, first % GROUP_FRAMES);
            let count = (GROUP_FRAMES - place).min(frames.end - first);
            if let Some(loaded) = self.loaded.get_mut(&group) {
                let given = loaded.give(place as u32..(place + count) as u32);
                if given > 0 {
                    self.low = self.low.min(group);
                    self.free += u64::from(given);
                }
                self.longest.set(group, loaded.longest());
            }
            first += count;
        }
    }

    /// The region grew: the frames between the old and the new end of a loaded group may be handed out.
    fn extend(&mut self, old: Shape, new: Shape) {
        let group = old.groups() - 1;
        self.longest.extend(new.groups());
        self.give_run(old.frames..new.frames.min(old.groups() * GROUP_FRAMES));
        self.low = self.low.min(group);
    }
}
