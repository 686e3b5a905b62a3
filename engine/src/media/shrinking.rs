//! Cutting the unused end off a region.
//!
//! Nothing is moved for it: what lies behind the last used frame is cut off. Bitmaps and frames of the table do not count
//! as used if only groups need them that are cut off too. The order:
//!
//! 1. The frames are taken, as for any use: no other thread gets one, and none is pinned.
//! 2. Records take them out of the region: each sets the number of frames, and changes table and bits of the groups that
//!    go.
//! 3. The log passes these records, so that no replay stores beyond the new end.
//! 4. The file is cut, durably.
//!
//! A crash before the last step leaves a file that is longer than the region, which is no defect: the next growth uses
//! the rest, or the next cut removes it.

use super::allocator::{Allocator, KEPT_FOR_FREEING};
use super::bitmap;
use super::blocks;
use super::claim;
use super::groups;
use super::holes::Holes;
use super::layout::{GROUP_FRAMES, GROUPS_MAX, RootWord, TABLE_GROUPS, file_bytes, initial_frames};
use super::loaded::Groups;
use super::log::Log;
use super::rules::Rule;
use super::words::Shape;
use crate::error::{Error, Result};
use crate::sync::atomic::Ordering;
use crate::units::{FRAME_SIZE, FrameNo};
use std::collections::BTreeMap;
use std::ops::Range;

/// The most groups that one record takes away.
const GROUPS_ENDED: u64 = 32;

/// Bitmaps and frames of the table that lie among other frames, and the first group that needs each.
type Needed = BTreeMap<FrameNo, u64>;

/// A run of frames, and whether they have no blocks.
type Run = (Range<u32>, bool);

/// Frames at the region's end that were free, and are taken.
struct End {
    /// The first of these frames.
    first: u64,
    /// Their runs, ascending.
    runs: Vec<Run>,
    /// Where the region ends by and by, each by a record.
    steps: Vec<u64>,
}

impl Allocator {
    /// Cuts off the free frames at the region's end except for `keep` of them. Returns how many bytes with blocks went.
    ///
    /// # Durability
    /// If anything was cut off, everything appended before is durable, and so is the new length.
    pub(super) fn cut_end(&self, keep: u64) -> Result<u64> {
        let region = self.log.region();
        let _one_at_a_time = self.growing.lock();
        let old = self.shape();
        let end = match self.take_end(old, keep) {
            Ok(end) => end,
            // If something there cannot be read, the end stays as it is.
            Err(Error::Corrupt { .. }) => None,
            Err(error) => return Err(error),
        };
        let mut given = 0;
        if let Some((end, needed)) = end {
            let left = self.leave(old, &end.steps, &needed);
            let (stay, gone) = split(&end.runs, self.shape().frames);
            self.give_end(&stay, true);
            let mut groups = self.groups.lock();
            groups.returning -= frames_of(&gone);
            // They are still frames of the file: the spare one in any case, and all if the file is not cut. A growth that
            // makes them part of the region gives them blocks.
            gone.iter().filter(|(_, hole)| *hole).for_each(|(run, _)| groups.holes.insert(run.clone()));
            drop(groups);
            left?;
            given = frames_of(&gone) * FRAME_SIZE as u64;
        }
        let bytes = file_bytes(self.shape().frames);
        if bytes < region.len_bytes() {
            if !self.log.rules().broken(Rule::CutEarly) {
                // A snapshot may still show bitmaps that were cut off.
                self.log.give_up_snapshot();
                self.log.checkpoint()?;
            }
            region.cut_to(bytes)?;
            let behind = (bytes / FRAME_SIZE as u64) as u32..u32::MAX;
            self.groups.lock().holes.remove(behind);
        }
        Ok(given)
    }

    /// Cuts off the free end beyond the limit that is kept, if at least as much is free there.
    pub(super) fn cut_surplus(&self) -> Result {
        let region = self.log.region();
        if !region.has_blocks() || !region.admits_stores() {
            return Ok(());
        }
        let _alone = self.wait_for_turn();
        let (groups, shape) = self.settled()?;
        let holes: u64 = groups.holes.within(0..shape.frames as u32).map(|run| run.len() as u64).sum();
        let (free, waits) = (groups.with_waiting() + holes, !groups.quarantined.is_empty());
        drop(groups);
        let kept = blocks::kept(shape);
        if free <= 2 * kept {
            return Ok(());
        }
        if waits {
            self.pass_freed()?;
        }
        self.cut_end(kept).map(drop)
    }

    /// Takes the free frames at the end, if there are more than are kept.
    fn take_end(&self, old: Shape, keep: u64) -> Result<Option<(End, Needed)>> {
        let needed = self.needed(old)?;
        self.load(needed.keys().copied())?;
        let mut taken = {
            let (mut groups, _) = self.settled()?;
            let Some(first) =
                groups.new_end(&self.log, old, &needed, keep, self.log.region().frames_together())?
            else {
                return Ok(None);
            };
            groups.take_end(old, first)
        };
        let claimed = self.claim_end(&taken);
        // Only frames behind the last used one may go, even if the bitmap calls that one free.
        if claimed > taken.first {
            let together = u64::from(self.log.region().frames_together());
            let first = (claimed + 1).next_multiple_of(together) - 1;
            let first = if is_end(old, first, &needed) { first } else { old.frames };
            let (stay, go) = split(&taken.runs, first);
            let (unclaimed, claimed) = split(&stay, claimed);
            self.give_end(&unclaimed, false);
            self.give_end(&claimed, true);
            taken = End { first, runs: go, steps: Vec::new() };
        }
        match steps(old, taken.first, &needed) {
            Some(steps) if !steps.is_empty() => Ok(Some((End { steps, ..taken }, needed))),
            _ => {
                self.give_end(&taken.runs, true);
                Ok(None)
            }
        }
    }

    /// The bitmaps and frames of the table that may go together with the groups that need them.
    fn needed(&self, old: Shape) -> Result<Needed> {
        let (log, mut needed) = (&*self.log, Needed::new());
        for group in 2..(old.groups() + 1).min(GROUPS_MAX) {
            if group % TABLE_GROUPS == 0 {
                needed.extend(groups::table(log, old, group)?.map(|table| (table, group)));
            }
            needed.extend(groups::look(log, old, group)?.map(|entry| (entry.bitmap, group)));
        }
        Ok(needed)
    }

    /// Claims the frames, last first. Returns the first frame from which on all are claimed.
    fn claim_end(&self, end: &End) -> u64 {
        for (run, hole) in end.runs.iter().rev() {
            for frame in run.clone().rev().map(FrameNo) {
                let claimed = match hole {
                    true => claim::take_unused(&self.log, frame),
                    false => self.claim_free(frame),
                };
                if !claimed {
                    return u64::from(frame.0) + 1;
                }
            }
        }
        end.first
    }

    /// As [`claim::claim`], without its error: the next call that wants the frame gets that.
    fn claim_free(&self, frame: FrameNo) -> bool {
        let claimed = claim::claim(&self.log, frame);
        if let Ok(false) = claimed {
            let _ = self.log.uses().free(frame);
        }
        matches!(claimed, Ok(true))
    }

    /// Gives frames back that were taken to be cut off.
    fn give_end(&self, runs: &[Run], claimed: bool) {
        let mut groups = self.groups.lock();
        for (run, hole) in runs {
            if claimed {
                run.clone().for_each(|frame| _ = self.log.uses().free(FrameNo(frame)));
            }
            if *hole {
                groups.holes.insert(run.clone());
            } else {
                groups.returning -= run.len() as u64;
                groups.give_run(run.start.into()..run.end.into());
            }
        }
    }

    /// Takes what lies beyond each of these ends from the region, one after the other.
    fn leave(&self, old: Shape, steps: &[u64], needed: &Needed) -> Result {
        let mut now = old;
        for &frames in steps {
            let next = Shape { frames, ..now };
            self.leave_part(now, next, needed)?;
            now = next;
        }
        Ok(())
    }

    fn leave_part(&self, now: Shape, next: Shape, needed: &Needed) -> Result {
        let goes = |group: u64| group > next.groups() && group <= now.groups();
        let gone: Vec<_> =
            needed.iter().filter(|(_, group)| goes(**group)).map(|(frame, _)| *frame).collect();
        let ((), sequence) = self.log.append_as_one(
            |t| {
                t.set_root(RootWord::Frames, next.frames)?;
                bitmap::clear(t, now, gone.iter().copied())?;
                // The group behind the last one has a bitmap already, but where a region cannot have that group.
                let ended = next.groups() + 1..(now.groups() + 1).min(GROUPS_MAX);
                ended.clone().try_for_each(|group| groups::end(t, now, group))?;
                ended
                    .filter(|group| group % TABLE_GROUPS == 0)
                    .try_for_each(|group| groups::end_table(t, now, group))
            },
            || self.seqlock.change(),
        )?;
        {
            let mut groups = self.groups.lock();
            // ORDERING: Release, see `shape`. Under the lock of the groups, so that none is loaded with the old end now.
            self.frames.store(next.frames, Ordering::Release);
            groups.cut(next);
        }
        // They have no use when they become part of the region again.
        (next.frames..now.frames).for_each(|frame| _ = self.log.uses().free(FrameNo(frame as u32)));
        let inside = gone.into_iter().filter(|frame| u64::from(frame.0) < next.frames);
        self.quarantine(sequence, inside.collect());
        Ok(())
    }
}

impl Groups {
    /// Where the region can end, if that is before its present end.
    fn new_end(
        &mut self,
        log: &Log,
        old: Shape,
        needed: &Needed,
        keep: u64,
        together: u32,
    ) -> Result<Option<u64>> {
        let Some((group, used)) = self.used_end(log, old, needed)? else { return Ok(None) };
        let least = u64::from(initial_frames(old.log_frames)).max(used);
        let aligned = |end: u64| (end + 1).next_multiple_of(u64::from(together)) - 1;
        // An empty group is not kept for them: rather fewer frames are kept.
        let kept = (used + keep.max(KEPT_FOR_FREEING)).min((group + 1) * GROUP_FRAMES).max(least);
        let mut ends = [aligned(kept), aligned(least)].into_iter();
        Ok(ends.find(|&end| end < old.frames && is_end(old, end, needed)))
    }

    /// The last group that is not empty, and the end of its used frames.
    fn used_end(&mut self, log: &Log, old: Shape, needed: &Needed) -> Result<Option<(u64, u64)>> {
        for group in (0..old.groups()).rev() {
            let first = group * GROUP_FRAMES;
            let places = 0..(old.frames - first).min(GROUP_FRAMES) as u32;
            let loaded = self.group(log, old, group)?;
            if loaded.bitmap().is_none() {
                return Ok(None);
            }
            let (_, taken) = loaded.parts(places);
            let used: Vec<_> = taken
                .into_iter()
                .flat_map(|run| without(first as u32 + run.start..first as u32 + run.end, &self.holes))
                .collect();
            let stays =
                |frame: &u32, with: u64| needed.get(&FrameNo(*frame)).is_none_or(|need| *need <= with);
            // A whole group goes if only groups that go need what lies in it.
            if used.iter().cloned().flatten().all(|frame| !stays(&frame, group)) {
                continue;
            }
            let last = used.into_iter().rev().flat_map(Iterator::rev).find(|frame| stays(frame, group + 1));
            return Ok(Some((group, last.map_or(first, |last| u64::from(last) + 1))));
        }
        Ok(None)
    }

    /// Takes what is free from `first` on.
    fn take_end(&mut self, old: Shape, first: u64) -> End {
        let holes: Vec<_> = self.holes.within(first as u32..old.frames as u32).collect();
        self.holes.remove(first as u32..old.frames as u32);
        let mut runs: Vec<_> = holes.into_iter().map(|run| (run, true)).collect();
        for group in first / GROUP_FRAMES..old.groups() {
            let begin = group * GROUP_FRAMES;
            let Some(loaded) = self.loaded.get_mut(&group) else { continue };
            let places = first.saturating_sub(begin) as u32..(old.frames - begin).min(GROUP_FRAMES) as u32;
            for run in loaded.parts(places).0 {
                loaded.take(run.clone());
                self.free -= run.len() as u64;
                self.returning += run.len() as u64;
                runs.push((begin as u32 + run.start..begin as u32 + run.end, false));
            }
            self.longest.set(group, loaded.longest());
        }
        runs.sort_by_key(|(run, _)| run.start);
        End { first, runs, steps: Vec::new() }
    }
}

/// The ends by which a region gets from `old` to `first`, each at most so many groups before the one before as a record
/// takes away. `None`: what a group needs that stays lies in the way, as a repair may have put it.
fn steps(old: Shape, first: u64, needed: &Needed) -> Option<Vec<u64>> {
    let (mut steps, mut now) = (Vec::new(), old);
    while now.frames > first {
        let least = first.max((now.groups() - 1).saturating_sub(GROUPS_ENDED) * GROUP_FRAMES);
        let others = (least / GROUP_FRAMES + 1..now.groups()).map(|group| group * GROUP_FRAMES);
        let mut ends = std::iter::once(least).chain(others.filter(|end| *end < now.frames));
        let end = ends.find(|&end| is_end(old, end, needed))?;
        steps.push(end);
        now.frames = end;
    }
    Some(steps)
}

/// Frames of these runs that have blocks.
fn frames_of(runs: &[Run]) -> u64 {
    runs.iter().filter(|(_, hole)| !hole).map(|(run, _)| run.len() as u64).sum()
}

/// Whether a region can end there: behind it lies nothing that a remaining group needs, or the group behind these.
fn is_end(old: Shape, end: u64, needed: &Needed) -> bool {
    let groups = Shape { frames: end, ..old }.groups();
    needed.range(FrameNo(end as u32)..).all(|(_, need)| *need > groups)
}

/// The parts of a run that are no holes.
fn without(run: Range<u32>, holes: &Holes) -> Vec<Range<u32>> {
    let (mut parts, mut at) = (Vec::new(), run.start);
    for hole in holes.within(run.clone()) {
        parts.push(at..hole.start);
        at = hole.end;
    }
    parts.push(at..run.end);
    parts.retain(|part| !part.is_empty());
    parts
}

/// The parts of runs before a frame, and those from it on.
fn split(runs: &[Run], at: u64) -> (Vec<Run>, Vec<Run>) {
    let at = u32::try_from(at).unwrap_or(u32::MAX);
    let part = |of: Range<u32>| {
        let cut = move |(run, hole): &Run| (run.start.max(of.start)..run.end.min(of.end), *hole);
        runs.iter().map(cut).filter(|(run, _)| !run.is_empty()).collect()
    };
    (part(0..at), part(at..u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first frame of a group.
    const fn at(group: u64) -> u64 {
        group * GROUP_FRAMES
    }

    fn needed(places: &[(u64, u64)]) -> Needed {
        places.iter().map(|(frame, group)| (FrameNo(*frame as u32), *group)).collect()
    }

    fn of(groups: u64) -> Shape {
        Shape { log_frames: 64, frames: at(groups) }
    }

    #[test]
    fn a_region_is_cut_by_so_many_groups_at_a_time_as_a_record_takes() {
        assert_eq!(steps(of(100), at(10) + 5, &Needed::new()), Some(vec![at(67), at(34), at(10) + 5]));
        assert_eq!(steps(of(3), at(3), &Needed::new()), Some(vec![]));
    }

    /// A repair puts a bitmap where there is room.
    #[test]
    fn no_step_of_a_cut_leaves_behind_what_a_group_needs_that_stays_for_now() {
        let high = needed(&[(at(70) + 5, 60), (at(2), 3)]);
        assert_eq!(steps(of(100), at(10), &high), Some(vec![at(71), at(38), at(10)]));
        assert_eq!(steps(of(100), at(10), &needed(&[(at(99) + 5, 3)])), None);
    }
}
