//! Blocks of the file for the frames of the region: blocks that are missing, and blocks that go back to the disk.
//!
//! Nothing on the medium says which frames are holes; only the file system knows. There are three moments:
//! - Before the first change of an opening, the region is asked for its [gaps](Gap). Frames in use get blocks of their
//!   own then. Free frames are noted as [holes](super::holes).
//! - A hole gets its blocks before a frame of it is handed out. If the disk has none, it stays a hole and does not count
//!   as space.
//! - Free runs whose freeing records are passed go back to the disk and become holes: all of them on request, otherwise
//!   what is beyond a limit. While a run is being punched it is taken, so that no thread stores to it.

use super::allocator::{Allocator, KEPT_FOR_FREEING};
use super::bitmap::Group;
use super::claim;
use super::layout::GROUP_FRAMES;
use super::loaded::Groups;
use super::rules::Rule;
use super::words::Shape;
use crate::error::{Error, Result};
use crate::region::Gap;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, Step};
use crate::units::{FRAME_SIZE, FrameNo};
use std::ops::Range;

/// The fewest frames of a hole that get blocks at once, if it has as many: one call of the file system serves many frames.
const FILLED_MIN: u64 = frames_in(256 << 10);
/// The fewest free frames that keep their blocks. In a large region a part of the region keeps them.
const KEPT_MIN: u64 = frames_in(16 << 20);
const KEPT_PART: u64 = 8;
/// The same after the disk was found full.
const KEPT_MIN_TIGHT: u64 = frames_in(1 << 20);
const KEPT_PART_TIGHT: u64 = 64;
/// Shorter runs do not go back without a request.
const RUN_MIN: u32 = 16;
/// The most runs that a change or a sync gives back. Each is a call of the file system, which takes milliseconds if it
/// passes them on to the disk. The next change goes on.
const RUNS_A_CHANGE: u64 = 8;
/// The most frames that go back in one call. During the call they cannot be handed out.
const RETURNED_MAX: u32 = frames_in(16 << 20) as u32;

/// The file system cannot make holes.
const EOPNOTSUPP: i32 = 95;

const fn frames_in(bytes: u64) -> u64 {
    bytes / FRAME_SIZE as u64
}

/// How many free frames keep their blocks, unless the disk was found full.
pub(super) fn kept(shape: Shape) -> u64 {
    KEPT_MIN.max(shape.frames / KEPT_PART)
}

/// How many runs one call may still give back.
struct Budget {
    runs: u64,
}

impl Budget {
    const fn runs(runs: u64) -> Self {
        Self { runs }
    }

    /// Takes one run from the budget. False if none is left.
    fn spend(&mut self) -> bool {
        let left = self.runs > 0;
        self.runs = self.runs.saturating_sub(1);
        left
    }

    const fn is_spent(&self) -> bool {
        self.runs == 0
    }
}

/// What the allocator knows about blocks, besides the set of free frames that have none.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// Gaps in use that have no blocks yet; `None` before the file was asked.
    lacking: Mutex<Option<Vec<Gap>>>,
    /// Whether there may be more free frames than keep their blocks.
    surplus: AtomicBool,
    /// The frames that were free after all long runs had gone back, if there were more than keep their blocks. Another
    /// search for long runs is of use only when many more are free.
    scattered: AtomicU64,
    /// Whether the disk was found full, and has not had room since.
    tight: AtomicBool,
    /// Whether the file system takes nothing back.
    refused: AtomicBool,
    /// Held while runs go back to the disk.
    returning: Mutex<()>,
}

impl Blocks {
    /// The disk had no room.
    pub(super) fn found_full(&self) {
        // ORDERING: Relaxed, here and below: hints, looked at again under the lock of the groups.
        self.tight.store(true, Ordering::Relaxed);
        self.scattered.store(0, Ordering::Relaxed);
        self.surplus.store(true, Ordering::Relaxed);
    }

    /// Whether the disk was found full, and has not had room since.
    pub(super) fn is_tight(&self) -> bool {
        // ORDERING: Relaxed: see `found_full`.
        self.tight.load(Ordering::Relaxed)
    }

    /// The disk had all the room that was asked for.
    pub(super) fn found_room(&self) {
        // ORDERING: Relaxed: see `found_full`.
        self.tight.store(false, Ordering::Relaxed);
    }

    /// Notes how many frames are free, or will be. The lock of the groups is held.
    pub(super) fn note_free(&self, shape: Shape, free: u64) {
        let surplus = free > self.enough(shape, free);
        // ORDERING: Relaxed: see `found_full`.
        if surplus != self.surplus.load(Ordering::Relaxed) {
            self.surplus.store(surplus, Ordering::Relaxed);
        }
    }

    /// How many frames must be free, or soon will be, before a search for runs to give back is of use.
    fn enough(&self, shape: Shape, free: u64) -> u64 {
        let limit = self.limit(shape);
        // ORDERING: Relaxed: see `found_full`.
        let scattered = self.scattered.load(Ordering::Relaxed);
        if free < scattered {
            // Some of them were taken since. As many frames that are freed later may form long runs.
            self.scattered.store(free, Ordering::Relaxed);
        }
        match scattered.min(free) {
            scattered if scattered > limit => scattered + limit / 4,
            _ => limit,
        }
    }

    /// Waits until the runs that are going back have gone.
    pub(super) fn wait_for_returning(&self) {
        drop(self.returning.lock());
    }

    /// How many free frames keep their blocks.
    fn limit(&self, shape: Shape) -> u64 {
        // ORDERING: Relaxed: see `found_full`.
        match self.tight.load(Ordering::Relaxed) {
            false => kept(shape),
            true => KEPT_MIN_TIGHT.max(shape.frames / KEPT_PART_TIGHT),
        }
    }
}

impl Allocator {
    /// Called before the first store of an opening. Afterwards all frames in use have blocks of their own.
    ///
    /// # Errors
    /// `NoSpace`: the disk has too few blocks. The next call goes on from there.
    pub(crate) fn prepare(&self) -> Result {
        let region = self.log.region();
        let mut lacking = self.blocks.lacking.lock();
        if region.admits_stores() {
            return Ok(());
        }
        if lacking.is_none() {
            *lacking = Some(self.sort_out(&region.gaps(0..region.len_bytes())?)?);
        }
        let gaps = lacking.get_or_insert_default();
        while let Some(gap) = gaps.last() {
            region.fill_gap(gap)?;
            gaps.pop();
        }
        region.admit_stores();
        Ok(())
    }

    /// Notes free frames in gaps as holes. Returns the rest of the gaps, which is in use.
    fn sort_out(&self, gaps: &[Gap]) -> Result<Vec<Gap>> {
        let mut used = Vec::new();
        for gap in gaps {
            let mut at = gap.bytes.start / FRAME_SIZE as u64;
            let end = gap.bytes.end.div_ceil(FRAME_SIZE as u64);
            while at < end {
                // One group at a time, so that other calls can look at the groups in between.
                let part = at..end.min((at / GROUP_FRAMES + 1) * GROUP_FRAMES);
                at = part.end;
                let mut groups = self.groups.lock();
                let in_use = groups.note_holes(&self.log, self.shape(), part)?;
                used.extend(in_use.map(|run| Gap { bytes: bytes_of(&run), shared: gap.shared }));
            }
        }
        Ok(used)
    }

    /// Gives blocks to holes until `missing` more frames can be handed out, or no hole is left. Returns whether there was
    /// a hole.
    ///
    /// # Errors
    /// `NoSpace`: frames that got no blocks are still holes.
    pub(super) fn fill_holes(&self, missing: u64) -> Result<bool> {
        let (mut filled, mut wanted) = (0, missing.max(FILLED_MIN));
        while filled < missing {
            let wanted_now = u32::try_from(wanted).unwrap_or(u32::MAX);
            let Some(run) = self.take_hole(wanted_now) else { break };
            let given = self.give_blocks(&run);
            if let Err(Error::NoSpace { .. }) = &given {
                // Some file systems stop half-way and keep what they have allocated.
                self.punch_unused(&run);
            }
            let mut groups = self.groups.lock();
            match given {
                Ok(()) => {
                    if run.len() as u64 >= FILLED_MIN {
                        self.blocks.found_room();
                    }
                    groups.uncover(run.clone());
                    filled += run.len() as u64;
                    wanted = missing.max(FILLED_MIN).saturating_sub(filled);
                }
                Err(error) => {
                    groups.holes.insert(run);
                    // The disk may have room only for what is needed.
                    if !matches!(error, Error::NoSpace { .. }) || wanted <= missing - filled {
                        return Err(error);
                    }
                    wanted = missing - filled;
                }
            }
        }
        Ok(filled > 0)
    }

    /// Takes frames of a hole inside the region. The end is looked at under the lock under which a cut changes it: behind
    /// it there may be holes, too.
    fn take_hole(&self, wanted: u32) -> Option<Range<u32>> {
        let mut groups = self.groups.lock();
        groups.holes.take(wanted, self.log.region().frames_together(), self.shape().frames as u32)
    }

    /// Keeps other threads from giving blocks back, and waits for those that do.
    pub(super) fn wait_for_turn(&self) -> MutexGuard<'_, ()> {
        self.blocks.returning.lock()
    }

    /// Gives blocks to the bytes that a growth adds, if the file had these bytes before.
    pub(super) fn fill_growth(&self, added: Range<u64>) -> Result {
        let added = frame_numbers(added);
        let holes: Vec<_> = self.groups.lock().holes.within(added).collect();
        for hole in holes {
            self.give_blocks(&hole)?;
            self.groups.lock().holes.remove(hole);
        }
        Ok(())
    }

    /// Gives blocks to a run. It asks again what the run lacks: a part may be a hole, or share blocks with another file.
    fn give_blocks(&self, run: &Range<u32>) -> Result {
        let region = self.log.region();
        region.gaps(bytes_of(run))?.iter().try_for_each(|gap| region.fill_gap(gap))
    }

    /// Whether [`return_surplus`](Self::return_surplus) may have something to do.
    #[inline]
    pub(crate) fn has_surplus(&self) -> bool {
        // ORDERING: Relaxed: see `Blocks::found_full`.
        self.blocks.surplus.load(Ordering::Relaxed)
            && !self.blocks.refused.load(Ordering::Relaxed)
            && self.log.region().has_blocks()
    }

    /// Gives back what is free beyond the limit. Frames that were freed since the last move of the tail are included only
    /// with `pass`, or if the disk was found full: the tail is moved for that.
    ///
    /// # Errors
    /// Those of the log and of the file system.
    pub(crate) fn return_surplus(&self, pass: bool) -> Result {
        let Some(_alone) = self.blocks.returning.try_lock() else { return Ok(()) };
        // ORDERING: Relaxed: see `Blocks::found_full`.
        let pass = pass || self.blocks.tight.load(Ordering::Relaxed);
        let waits = !self.groups.lock().quarantined.is_empty();
        if pass && waits {
            self.log.checkpoint()?;
        }
        let (groups, shape) = self.settled()?;
        let (free, all) = (groups.free, groups.with_waiting());
        let (limit, enough) = (self.blocks.limit(shape), self.blocks.enough(shape, all));
        let loaded = groups.loaded_groups();
        self.blocks.note_free(shape, all);
        drop(groups);
        if free > enough {
            // Less than the limit is kept, so that the file system is not called for each page that is freed later.
            let mut budget = Budget::runs(RUNS_A_CHANGE);
            self.punch(loaded.into_iter(), limit - limit / 4, RUN_MIN, &mut budget)?;
            let groups = self.groups.lock();
            if !budget.is_spent() {
                // ORDERING: Relaxed: see `Blocks::found_full`.
                self.blocks.scattered.store(groups.free, Ordering::Relaxed);
            }
            self.blocks.note_free(shape, groups.with_waiting());
        }
        Ok(())
    }

    /// Cuts the free end off, and gives all other free runs back, but for a few frames without which a region on a full
    /// disk could not be emptied: how many bytes.
    ///
    /// # Durability
    /// What was freed before is passed: everything appended is durable.
    ///
    /// # Errors
    /// As [`Self::return_surplus`].
    pub(crate) fn compact(&self) -> Result<u64> {
        if !self.log.region().has_blocks() {
            return Ok(0);
        }
        let _alone = self.wait_for_turn();
        if self.log.rules().broken(Rule::PunchEarly) {
            self.forget_quarantine();
        } else {
            self.pass_freed()?;
        }
        // Where the file cannot be cut, what is free goes back all the same.
        let cut = self.cut_end(KEPT_FOR_FREEING);
        let (groups, shape) = self.settled()?;
        drop(groups);
        let frames = self.punch(0..shape.groups(), KEPT_FOR_FREEING, 1, &mut Budget::runs(u64::MAX))?;
        Ok(cut? + frames * FRAME_SIZE as u64)
    }

    /// Passes the records by which frames were freed, so that all of these can go. A snapshot that keeps some of them is given
    /// up: its check walks again.
    pub(super) fn pass_freed(&self) -> Result {
        self.log.checkpoint()?;
        let waits = !self.settled()?.0.quarantined.is_empty();
        if waits {
            self.log.give_up_snapshot();
        }
        Ok(())
    }

    /// Punches the free runs of these groups, ascending, but for the first `keep` frames and runs of fewer than `least`, as
    /// far as the budget goes: how many frames.
    fn punch(
        &self,
        groups: impl Iterator<Item = u64>,
        keep: u64,
        least: u32,
        budget: &mut Budget,
    ) -> Result<u64> {
        let region = self.log.region();
        self.log.own_copies()?;
        let (mut kept, mut punched) = (0, 0);
        for group in groups {
            let mut from = 0;
            loop {
                let shape = self.shape();
                let run = self.groups.lock().next_free(&self.log, shape, group, from)?;
                let Some(run) = run else { break };
                from = run.end;
                let stays = keep.saturating_sub(kept).min(run.len() as u64) as u32;
                kept += u64::from(stays);
                let together = region.frames_together();
                let run = (run.start + stays).next_multiple_of(together)..run.end / together * together;
                if run.start >= run.end || (run.len() as u32) < least {
                    continue;
                }
                for start in run.clone().step_by(RETURNED_MAX as usize) {
                    if !budget.spend() {
                        return Ok(punched);
                    }
                    punched += self.punch_run(group, start..run.end.min(start + RETURNED_MAX))?;
                }
            }
        }
        Ok(punched)
    }

    /// Punches the frames of a run that are still free. Returns their number.
    fn punch_run(&self, group: u64, places: Range<u32>) -> Result<u64> {
        let Some(run) = self.groups.lock().take_free(group, places) else { return Ok(0) };
        let frames = run.len() as u64;
        // A used frame keeps its bytes, even if the bitmap calls it free.
        let all_free = matches!(self.ask(run.clone().map(FrameNo).collect()), Ok(Some(_)));
        let taken = if all_free { self.log.region().take_blocks(bytes_of(&run)) } else { Ok(()) };
        Step::BlocksReturned.reach();
        let mut groups = self.groups.lock();
        groups.returning -= frames;
        if !all_free {
            return Ok(0);
        }
        run.clone().for_each(|frame| _ = self.log.uses().free(FrameNo(frame)));
        if matches!(&taken, Err(Error::Io { source, .. }) if source.raw_os_error() == Some(EOPNOTSUPP)) {
            // ORDERING: Relaxed: see `Blocks::found_full`.
            self.blocks.refused.store(true, Ordering::Relaxed);
            groups.uncover(run);
            return taken.map(|()| 0);
        }
        // Also after another error: some blocks may have gone, and giving blocks to a frame that has them does no harm.
        groups.holes.insert(run);
        taken.map(|()| frames)
    }
}

impl Allocator {
    /// Punches the unused frames of a run of holes, best effort. A used frame keeps its bytes, even if the bitmap calls
    /// it free.
    fn punch_unused(&self, run: &Range<u32>) {
        let unused: Vec<u32> =
            run.clone().filter(|&frame| claim::take_unused(&self.log, FrameNo(frame))).collect();
        for part in unused.chunk_by(|a, b| a + 1 == *b) {
            let _ = self.log.region().take_blocks(bytes_of(&(part[0]..part[part.len() - 1] + 1)));
        }
        unused.into_iter().for_each(|frame| _ = self.log.uses().free(FrameNo(frame)));
    }
}

impl Groups {
    /// For frames of one group that lie in a gap: notes the free ones, and those beyond the region's end, as holes.
    /// Returns the runs that are in use.
    fn note_holes(
        &mut self,
        log: &super::log::Log,
        shape: Shape,
        frames: Range<u64>,
    ) -> Result<impl Iterator<Item = Range<u32>> + use<>> {
        let inside = frames.start..frames.end.min(shape.frames).max(frames.start);
        let mut used: Vec<Range<u32>> = Vec::new();
        if !inside.is_empty() {
            let number = inside.start / GROUP_FRAMES;
            let first = (number * GROUP_FRAMES) as u32;
            let read;
            let group = match self.loaded.get(&number) {
                Some(loaded) => loaded,
                // The group is not kept in memory: a region may be all holes.
                None => {
                    read = Group::load(log, shape, number)?;
                    &read
                }
            };
            let places = inside.start as u32 - first..(inside.end - u64::from(first)) as u32;
            let (free, taken) = group.parts(places);
            used.extend(taken.into_iter().map(|run| first + run.start..first + run.end));
            for run in free {
                if let Some(loaded) = self.loaded.get_mut(&number) {
                    loaded.take(run.clone());
                    self.free -= run.len() as u64;
                    self.longest.set(number, loaded.longest());
                }
                self.holes.insert(first + run.start..first + run.end);
            }
        }
        let beyond = frames.start.max(shape.frames)..frames.end;
        if !beyond.is_empty() {
            self.holes.insert(frame_numbers(beyond));
        }
        Ok(used.into_iter())
    }

    /// Notes that these frames, which were taken out of the holes, have blocks now.
    fn uncover(&mut self, run: Range<u32>) {
        let group = u64::from(run.start) / GROUP_FRAMES;
        self.low = self.low.min(group);
        // If a group is not loaded, its load will find them free.
        self.give_run(run.start.into()..run.end.into());
    }

    /// The first run of free places of a group at or behind `from`.
    fn next_free(
        &mut self,
        log: &super::log::Log,
        shape: Shape,
        group: u64,
        from: u32,
    ) -> Result<Option<Range<u32>>> {
        let run = self.group(log, shape, group)?.next_free(from);
        Ok(Some(run).filter(|run| !run.is_empty()))
    }

    /// Frames that may be handed out, now or soon.
    pub(super) fn with_waiting(&self) -> u64 {
        self.free + self.quarantined.len() as u64
    }

    /// Takes the first run of free frames in these places, which is to go back.
    fn take_free(&mut self, group: u64, places: Range<u32>) -> Option<Range<u32>> {
        let loaded = self.loaded.get_mut(&group)?;
        let run = loaded.next_free(places.start);
        let run = run.start..run.end.min(places.end);
        if run.start >= run.end {
            return None;
        }
        loaded.take(run.clone());
        self.free -= run.len() as u64;
        self.returning += run.len() as u64;
        self.longest.set(group, loaded.longest());
        let first = (group * GROUP_FRAMES) as u32;
        Some(first + run.start..first + run.end)
    }

    /// The groups that are loaded, ascending.
    fn loaded_groups(&self) -> Vec<u64> {
        let mut loaded: Vec<_> = self.loaded.keys().copied().collect();
        loaded.sort_unstable();
        loaded
    }
}

/// A run of frames by their numbers. The spare frame behind the largest region has no number.
fn frame_numbers(frames: Range<u64>) -> Range<u32> {
    let number = |frame: u64| u32::try_from(frame).unwrap_or(u32::MAX);
    number(frames.start)..number(frames.end)
}

fn bytes_of(run: &Range<u32>) -> Range<u64> {
    FrameNo(run.start).offset()..u64::from(run.end) * FRAME_SIZE as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::REGION_FRAMES_MAX;

    #[test]
    fn frames_of_the_largest_region_have_numbers() {
        assert_eq!(frame_numbers(7..REGION_FRAMES_MAX - 1), 7..u32::MAX);
        assert_eq!(frame_numbers(7..REGION_FRAMES_MAX), 7..u32::MAX);
    }
}
