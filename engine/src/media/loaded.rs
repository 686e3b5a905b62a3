//! The groups in memory: which frames may be handed out, and which of them are taken first.
//!
//! A group is loaded when a frame of it is wanted, or before a record changes its bits. A group that the table calls full
//! is not loaded for frames.
//!
//! Frames for pages are taken in runs: behind the last one, otherwise where a run is long enough. Frames for structures
//! are taken from blocks that structures have broken, lowest first, and then from the lowest whole block. So structures
//! break few blocks, and bitmaps of groups that begin one after the other lie side by side. Pages get frames in blocks
//! with structures only if nothing else is free: otherwise the nodes of an object's map would lie between its pages.

use super::bitmap::Group;
use super::blocks;
use super::groups;
use super::holes::Holes;
use super::layout::GROUP_FRAMES;
use super::log::Log;
use super::log::record::Sequence;
use super::runs::Longest;
use super::words::Shape;
use crate::error::Result;
use crate::units::{FRAMES_PER_BLOCK, FrameNo};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

/// How many groups are read in search of one long run before scattered frames are good enough. In groups that were read
/// before, the runs are known.
const GROUPS_TRIED: usize = 32;
/// If more frames than this are wanted, the longest runs are taken first; otherwise free frames from the lowest on.
const FEW: u64 = 256;

/// Frames of a region from which on pages keep out of blocks with structures.
pub(super) const STRUCTURED_FROM: u64 = 16 * FRAMES_PER_BLOCK;

/// The purpose of frames.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// Pages, behind this frame if one is given.
    Pages(Option<FrameNo>),
    /// Nodes, records and tables.
    Structures,
}

/// Where frames are looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    /// Blocks without structures.
    Unstructured,
    /// Everywhere.
    All,
}

#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) loaded: FxHashMap<u64, Group>,
    /// Frames of loaded groups that may be handed out.
    pub(super) free: u64,
    pub(super) longest: Longest,
    /// Free frames without blocks. In the groups they are marked as taken.
    pub(super) holes: Holes,
    /// No group below this one has a free frame.
    pub(super) low: u64,
    /// Groups that the table calls full and that are not loaded.
    full: FxHashSet<u64>,
    /// Blocks with structures, as far as they were met, and those among them that may have free frames.
    structured: FxHashSet<u64>,
    broken: BTreeSet<u64>,
    /// Frames that were freed by records that are not passed. A frame that a live record names keeps its role (LOG rule 2).
    pub(super) quarantine: VecDeque<(Sequence, Vec<FrameNo>)>,
    /// The frames in it.
    pub(super) quarantined: FxHashSet<FrameNo>,
    /// Frames that were pinned when they were to be handed out, most likely in vain. They are not used before their last
    /// pins have gone.
    pub(super) vain: Vec<FrameNo>,
    /// The number of frames that are going back to the file system at this moment. They become holes.
    pub(super) returning: u64,
}

impl Groups {
    /// Whether `n` frames wait only for the tail to move. For them, a look at one moment is given up only if they are so
    /// many that the region would grow much because of it.
    pub(super) fn has_waiting(&self, n: u64, shape: Shape, log: &Log) -> bool {
        let waiting = self.quarantined.len() as u64;
        waiting >= n && (waiting >= blocks::kept(shape) || !log.has_snapshot())
    }

    /// The group, loaded.
    pub(super) fn group(&mut self, log: &Log, shape: Shape, group: u64) -> Result<&mut Group> {
        use std::collections::hash_map::Entry;
        match self.loaded.entry(group) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let mut loaded = Group::load(log, shape, group)?;
                let first = (group * GROUP_FRAMES) as u32;
                let end = shape.frames.min((group + 1) * GROUP_FRAMES) as u32;
                // A group that is left alone has no free frame.
                if let Some(bitmap) = loaded.bitmap() {
                    for run in self.holes.within(first..end) {
                        loaded.take(run.start - first..run.end - first);
                    }
                    self.structured.insert(block_of(bitmap));
                    self.broken.insert(block_of(bitmap));
                }
                self.full.remove(&group);
                self.longest.extend(shape.groups());
                self.longest.set(group, loaded.longest());
                self.free += u64::from(loaded.free());
                Ok(entry.insert(loaded))
            }
        }
    }

    /// As [`Self::group`]; none if the table says that no frame of it is free. Then it need not be read.
    pub(super) fn unless_full(&mut self, log: &Log, shape: Shape, group: u64) -> Result<Option<&mut Group>> {
        if self.full.contains(&group) {
            return Ok(None);
        }
        // If the table cannot be read here, the load of the group reports that.
        let full = !self.loaded.contains_key(&group)
            && matches!(groups::find(log, shape, group), Ok(entry) if entry.free() == 0);
        if full {
            self.longest.extend(shape.groups());
            self.longest.set(group, 0);
            self.full.insert(group);
            return Ok(None);
        }
        self.group(log, shape, group).map(Some)
    }

    /// As [`Self::take`], but only if `keep` further frames are free.
    pub(super) fn take_but(
        &mut self,
        log: &Log,
        shape: Shape,
        n: u64,
        purpose: Purpose,
        keep: u64,
    ) -> Result<Result<Vec<FrameNo>, u64>> {
        let frames = match self.take(log, shape, n, purpose)? {
            Ok(frames) => frames,
            Err(missing) => return Ok(Err(missing + keep)),
        };
        let missing = if frames.is_empty() { 0 } else { self.missing(log, shape, keep)? };
        if missing == 0 {
            return Ok(Ok(frames));
        }
        self.give(&frames);
        Ok(Err(missing))
    }

    /// How many frames are missing until `n` may be handed out. Loads groups only as far as needed.
    pub(super) fn missing(&mut self, log: &Log, shape: Shape, n: u64) -> Result<u64> {
        let mut unloaded = 0..shape.groups();
        while self.free < n && ((self.loaded.len() + self.full.len()) as u64) < shape.groups() {
            let known = |group: &u64| self.loaded.contains_key(group) || self.full.contains(group);
            let Some(group) = unloaded.find(|group| !known(group)) else { break };
            self.unless_full(log, shape, group)?;
        }
        Ok(n.saturating_sub(self.free))
    }

    /// Takes `n` frames, or says how many are missing.
    pub(super) fn take(
        &mut self,
        log: &Log,
        shape: Shape,
        n: u64,
        purpose: Purpose,
    ) -> Result<Result<Vec<FrameNo>, u64>> {
        let mut frames = Vec::new();
        if n == 0 {
            return Ok(Ok(frames));
        }
        let mut near = match purpose {
            Purpose::Pages(near) => near,
            Purpose::Structures => {
                self.take_for_structures(log, shape, n as usize, &mut frames)?;
                None
            }
        };
        // In a small region there is little beside the blocks with structures.
        let parts: &[Part] =
            if shape.frames < STRUCTURED_FROM { &[Part::All] } else { &[Part::Unstructured, Part::All] };
        for &part in parts {
            while (frames.len() as u64) < n {
                let Some(run) = self.best_run(log, shape, n - frames.len() as u64, near, part)? else {
                    break;
                };
                let goes_on = u64::from(run.1.end) == GROUP_FRAMES;
                self.take_run(run, &mut frames);
                near = frames.last().copied();
                if n - frames.len() as u64 <= FEW && !goes_on {
                    break;
                }
            }
            self.sweep(log, shape, n, part, &mut frames)?;
        }
        let missing = n - frames.len() as u64;
        if missing > 0 {
            self.give(&frames);
            return Ok(Err(missing));
        }
        Ok(Ok(frames))
    }

    /// Takes whatever is free, lowest first, until there are `n` frames.
    fn sweep(&mut self, log: &Log, shape: Shape, n: u64, part: Part, frames: &mut Vec<FrameNo>) -> Result {
        self.longest.extend(shape.groups());
        let (mut from, mut tries) = (self.low, 0);
        while (frames.len() as u64) < n && (part == Part::All || tries < GROUPS_TRIED) {
            let Some(group) = self.longest.first(from, 1) else { break };
            if part == Part::All {
                self.low = group;
            }
            from = group;
            let left = n - frames.len() as u64;
            let Some(loaded) = self.unless_full(log, shape, group)? else { continue };
            let all = loaded.first(0, 1).map(|frame| loaded.extent(frame.start, left));
            match if part == Part::All { all } else { self.run_outside(group, left) } {
                Some(run) => self.take_run((group, run), frames),
                None if part == Part::All => {}
                None => (from, tries) = (group + 1, tries + 1),
            }
        }
        Ok(())
    }

    /// The first free frames of a loaded group in blocks without structures, `most` at most.
    fn run_outside(&self, group: u64, most: u64) -> Option<Range<u32>> {
        const BLOCK: u32 = FRAMES_PER_BLOCK as u32;
        let first = self.run_in(group, 0, 1, Part::Unstructured)?;
        let run = self.loaded.get(&group)?.extent(first.start, most);
        let blocks = run.start / BLOCK..run.end.div_ceil(BLOCK);
        let ends = blocks
            .clone()
            .take_while(|block| self.last_structured(group, &(block * BLOCK..(block + 1) * BLOCK)).is_none());
        let end = ends.last().map_or(first.end, |block| (block + 1) * BLOCK);
        Some(run.start..run.end.min(end))
    }

    /// A run of `n` frames: behind `near`, otherwise the first one; if there is none, the longest known run that is worth
    /// starting with. At the end of a group it may be shorter: the free frames there, if they are right behind `near`.
    fn best_run(
        &mut self,
        log: &Log,
        shape: Shape,
        n: u64,
        near: Option<FrameNo>,
        part: Part,
    ) -> Result<Option<(u64, Range<u32>)>> {
        let wanted = u32::try_from(n).unwrap_or(u32::MAX).min(GROUP_FRAMES as u32);
        let behind = near.filter(|&near| shape.ordinary(near)).map(|near| u64::from(near.0) + 1);
        if let Some(behind) = behind.filter(|&behind| behind < shape.frames) {
            let (group, place) = (behind / GROUP_FRAMES, (behind % GROUP_FRAMES) as u32);
            let next = self.unless_full(log, shape, group)?.map(|loaded| loaded.extent(place, n));
            // Right behind, whatever else lies in the block: a page there is better than one that is not adjacent.
            let goes_on = |run: &Range<u32>| run.len() as u32 == wanted || u64::from(run.end) == GROUP_FRAMES;
            if let Some(run) = next
                .filter(|run| !run.is_empty() && goes_on(run))
                .or_else(|| self.run_in(group, place, wanted, part))
            {
                return Ok(Some((group, run)));
            }
        }
        self.longest.extend(shape.groups());
        let (mut best, mut from) = ((0, 0), self.low);
        for _ in 0..GROUPS_TRIED {
            let Some(group) = self.longest.first(from, wanted) else {
                best = self.longest.greatest().unwrap_or(best);
                break;
            };
            let Some(loaded) = self.unless_full(log, shape, group)? else { continue };
            let longest = loaded.longest();
            if let Some(run) = self.run_in(group, 0, wanted, part) {
                return Ok(Some((group, run)));
            }
            // The longest run was unknown, or is in blocks with structures.
            if longest > best.1 {
                best = (group, longest);
            }
            if longest >= wanted {
                from = group + 1;
            }
        }
        let (group, longest) = best;
        if longest == 0 || longest < wanted / 4 {
            return Ok(None);
        }
        self.group(log, shape, group)?;
        Ok(self.run_in(group, 0, longest.min(wanted), part).map(|run| (group, run)))
    }

    /// The first run of `wanted` free frames of a loaded group, from `from` on, in this part of the region.
    fn run_in(&self, group: u64, mut from: u32, wanted: u32, part: Part) -> Option<Range<u32>> {
        let loaded = self.loaded.get(&group)?;
        loop {
            let run = loaded.first(from, wanted)?;
            match self.last_structured(group, &run).filter(|_| part == Part::Unstructured) {
                None => return Some(run),
                Some(end) => from = end,
            }
        }
    }

    /// The end of the last block with structures that a run of a group touches.
    fn last_structured(&self, group: u64, run: &Range<u32>) -> Option<u32> {
        const BLOCK: u32 = FRAMES_PER_BLOCK as u32;
        let first = group * (GROUP_FRAMES / FRAMES_PER_BLOCK);
        let mut blocks = (run.start / BLOCK..run.end.div_ceil(BLOCK)).rev();
        blocks
            .find(|block| self.structured.contains(&(first + u64::from(*block))))
            .map(|block| (block + 1) * BLOCK)
    }

    /// Takes up to `n` frames from blocks that structures have broken, lowest first, and then breaks the lowest whole ones.
    pub(super) fn take_for_structures(
        &mut self,
        log: &Log,
        shape: Shape,
        n: usize,
        frames: &mut Vec<FrameNo>,
    ) -> Result {
        let mut from = 0;
        while frames.len() < n {
            let broken = self.broken.range(from..).next().copied();
            let Some(block) = broken.map_or_else(|| self.whole_block(log, shape), |block| Ok(Some(block)))?
            else {
                break;
            };
            let (group, first) =
                (block * FRAMES_PER_BLOCK / GROUP_FRAMES, block * FRAMES_PER_BLOCK % GROUP_FRAMES);
            let end = (first + FRAMES_PER_BLOCK) as u32;
            while frames.len() < n && block * FRAMES_PER_BLOCK < shape.frames {
                let Some(loaded) = self.unless_full(log, shape, group)? else { break };
                let Some(run) = loaded.first(first as u32, 1).filter(|run| run.start < end) else { break };
                let run = loaded.extent(run.start, (n - frames.len()) as u64);
                self.take_run((group, run.start..run.end.min(end)), frames);
            }
            self.structured.insert(block);
            if frames.len() < n {
                self.broken.remove(&block);
            } else {
                self.broken.insert(block);
            }
            from = block + 1;
        }
        Ok(())
    }

    /// Breaks whole blocks for structures now, so that `n` frames for them are free. Then pages that are taken next lie
    /// behind them in one run.
    pub(super) fn break_ahead(&mut self, log: &Log, shape: Shape, n: u64) -> Result {
        let mut frames = Vec::new();
        self.take_for_structures(log, shape, n as usize, &mut frames)?;
        self.give(&frames);
        Ok(())
    }

    /// The lowest whole block in the groups that are searched first.
    fn whole_block(&mut self, log: &Log, shape: Shape) -> Result<Option<u64>> {
        self.longest.extend(shape.groups());
        let mut from = self.low;
        for _ in 0..GROUPS_TRIED {
            let Some(group) = self.longest.first(from, FRAMES_PER_BLOCK as u32) else { break };
            if let Some(block) = self.unless_full(log, shape, group)?.and_then(|group| group.whole_block()) {
                return Ok(Some(group * (GROUP_FRAMES / FRAMES_PER_BLOCK) + u64::from(block)));
            }
            from = group + 1;
        }
        Ok(None)
    }

    /// Notes that a structure lies, or lay, in this frame.
    pub(super) fn note_structure(&mut self, frame: FrameNo) {
        self.structured.insert(block_of(frame));
        self.broken.insert(block_of(frame));
    }

    pub(super) fn take_run(&mut self, (group, run): (u64, Range<u32>), frames: &mut Vec<FrameNo>) {
        if let Some(loaded) = self.loaded.get_mut(&group) {
            loaded.take(run.clone());
            self.free -= run.len() as u64;
            self.longest.set(group, loaded.longest());
            frames.extend(run.map(|place| FrameNo((group * GROUP_FRAMES) as u32 + place)));
        }
    }

    /// Takes frames back. Frames of groups that are not loaded need nothing: their loads will find them free.
    pub(super) fn give(&mut self, frames: &[FrameNo]) {
        for run in frames.chunk_by(|a, b| a.0 + 1 == b.0) {
            self.give_run(u64::from(run[0].0)..u64::from(run[0].0) + run.len() as u64);
        }
    }

    pub(super) fn give_run(&mut self, frames: Range<u64>) {
        let blocks = frames.start / FRAMES_PER_BLOCK..frames.end.div_ceil(FRAMES_PER_BLOCK);
        self.broken.extend(blocks.filter(|block| self.structured.contains(block)));
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

    /// Forgets the frames beyond the new end of a region that was cut. All of them must be taken, or be in quarantine:
    /// bitmaps that an earlier step of the cut has freed.
    pub(super) fn cut(&mut self, new: Shape) {
        let stays = |frame: &FrameNo| u64::from(frame.0) < new.frames;
        self.quarantined.retain(stays);
        self.quarantine.iter_mut().for_each(|(_, frames)| frames.retain(stays));
        let groups = new.groups();
        self.loaded.retain(|group, _| *group < groups);
        self.full.retain(|group| *group < groups);
        self.longest.shorten(groups);
        let blocks = new.frames.div_ceil(FRAMES_PER_BLOCK);
        self.structured.retain(|block| *block < blocks);
        self.broken.retain(|block| *block < blocks);
    }

    /// The region grew: frames of a loaded group between the old and the new end may be handed out from now on.
    pub(super) fn extend(&mut self, old: Shape, new: Shape) {
        let group = old.groups() - 1;
        self.longest.extend(new.groups());
        self.give_run(old.frames..new.frames.min(old.groups() * GROUP_FRAMES));
        self.low = self.low.min(group);
    }
}

/// The number of a frame's block.
const fn block_of(frame: FrameNo) -> u64 {
    frame.0 as u64 / FRAMES_PER_BLOCK
}
