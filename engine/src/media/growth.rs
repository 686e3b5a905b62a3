//! Growth: first the file gets blocks and length, then one record makes the frames part of the region.
//!
//! The record that begins a group also makes the bitmap of the group behind it. A crash before the record leaves a file
//! that is longer than the region, which is no defect.
//!
//! A group that begins holds nothing, so its bitmap is known to be all zeros. If it is damaged, it is made anew.

use super::allocator::{Allocator, KEPT_FOR_FREEING};
use super::bitmap;
use super::groups;
use super::layout::{GROUP_FRAMES, GROUPS_MAX, RootWord, TABLE_GROUPS, file_bytes};
use super::loaded::Purpose;
use super::log::Txn;
use super::rules::Rule;
use super::words::{Shape, Words};

use crate::error::{Error, Result};
use crate::sync::Step;
use crate::sync::atomic::Ordering;
use crate::units::{FRAME_SIZE, FrameNo, REGION_FRAMES_MAX};
use std::collections::BTreeSet;

/// The fewest bytes by which the region grows, if there is room for them, and then the most.
const STEP_MIN: u64 = 256 << 10;
const STEP_MAX: u64 = 64 << 20;
/// The most groups that one record begins.
const GROUPS_BEGUN: u64 = 32;
/// Frames that growth adds besides the wanted ones and the ones that the new groups cost.
const BESIDES: u64 = 4;

/// The structures that a growth makes.
#[derive(Default)]
struct Ahead {
    /// Groups that get a bitmap, ascending.
    groups: Vec<u64>,
    /// One group for each part of the table that has no frame yet.
    tables: Vec<u64>,
    /// The frames for both, tables first.
    frames: Vec<FrameNo>,
}

impl Allocator {
    /// Adds at least `missing` frames to the `seen` ones, unless another thread has done so.
    pub(super) fn grow(&self, seen: Shape, missing: u64) -> Result {
        let _one_at_a_time = self.growing.lock();
        let old = self.shape();
        if old != seen {
            return Ok(());
        }
        // Each new group costs a frame for the bitmap of the next one, and some cost a frame of the table.
        let least = missing + 2 * missing / GROUP_FRAMES + BESIDES + self.left_alone(old);
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
                    // Refused blocks change nothing. A length that could not be synced is a failed flush.
                    if self.log.region().poisoned().is_some() {
                        self.log.fail(&error);
                    }
                    return Err(error);
                }
            }
        };
        Step::FileGrown.reach();
        let mut now = old;
        while now.frames < frames {
            let part = frames.min((now.groups() + GROUPS_BEGUN) * GROUP_FRAMES);
            self.add(now, Shape { frames: part, ..now })?;
            now.frames = part;
        }
        Ok(())
    }

    /// How many frames growth adds in vain first: those of the last group, if it is left alone.
    fn left_alone(&self, shape: Shape) -> u64 {
        match self.log.uses().expect_group(shape.groups() - 1) {
            Ok(()) => 0,
            Err(_) => shape.groups() * GROUP_FRAMES - shape.frames,
        }
    }

    /// Makes the frames between the old and the new end part of the region. The file has room for them.
    fn add(&self, old: Shape, new: Shape) -> Result {
        let ahead = self.ahead(old, new)?;
        let later = self.log.rules().broken(Rule::BitmapLater);
        let change = |t: &mut Txn<'_>| {
            t.set_root(RootWord::Frames, new.frames)?;
            if later { Ok(()) } else { ahead.begin(t, new) }
        };
        let mut added = self.log.append_as_one(change, || self.seqlock.change()).map(drop);
        if later && added.is_ok() {
            added = self.log.append_as_one(|t| ahead.begin(t, new), || ()).map(drop);
        }
        let is_new = |frame: &&FrameNo| u64::from(frame.0) >= old.frames;
        let mut groups = self.groups.lock();
        if let Err(error) = added {
            let old_ones: Vec<_> = ahead.frames.iter().filter(|frame| !is_new(frame)).copied().collect();
            self.give(&mut groups, &old_ones);
            return Err(error);
        }
        // ORDERING: Release, see `shape`. Under the lock of the groups, so that none is loaded with the old end now.
        self.frames.store(new.frames, Ordering::Release);
        groups.extend(old, new);
        for frame in ahead.frames.iter().filter(is_new) {
            let (group, place) = (u64::from(frame.0) / GROUP_FRAMES, frame.0 % GROUP_FRAMES as u32);
            // If a group is not loaded, its load will find the frame taken.
            groups.take_run((group, place..place + 1), &mut Vec::new());
        }
        ahead.frames.iter().for_each(|frame| groups.note_structure(*frame));
        Ok(())
    }

    /// What the record needs that makes `old` `new`. Its frames are taken in memory.
    fn ahead(&self, old: Shape, new: Shape) -> Result<Ahead> {
        if old.groups() == new.groups() {
            return Ok(Ahead::default());
        }
        let (mut lacking, mut tables) = (Vec::new(), BTreeSet::new());
        for group in old.groups()..(new.groups() + 1).min(GROUPS_MAX) {
            if self.has_table(old, group)? {
                if !self.has_empty_bitmap(old, group)? {
                    lacking.push(group);
                }
            } else {
                tables.insert(group / TABLE_GROUPS * TABLE_GROUPS);
                lacking.push(group);
            }
        }
        let frames = self.frames_ahead(old, new, lacking.len() + tables.len())?;
        Ok(Ahead { groups: lacking, tables: tables.into_iter().collect(), frames })
    }

    /// Whether the table has a frame for a group that has not begun. One that cannot be found is made anew, if no group
    /// that has begun is in it.
    fn has_table(&self, old: Shape, group: u64) -> Result<bool> {
        match groups::table(&*self.log, old, group) {
            Ok(table) => Ok(table.is_some()),
            Err(Error::Corrupt { at, why, .. }) if group / TABLE_GROUPS * TABLE_GROUPS >= old.groups() => {
                self.note_made_anew(group, at, &why);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a group that has not begun has a bitmap, in which then every frame is free.
    fn has_empty_bitmap(&self, old: Shape, group: u64) -> Result<bool> {
        let log = &*self.log;
        let entry = match groups::look(log, old, group) {
            Ok(Some(entry)) => entry,
            Ok(None) => {
                if group == old.groups() {
                    self.note_made_anew(group, 0, "the table of groups names none");
                }
                return Ok(false);
            }
            Err(Error::Corrupt { at, why, .. }) => {
                self.note_made_anew(group, at, &why);
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        if entry.is_of_zeros(log, &log.frame(entry.bitmap)?) {
            return Ok(true);
        }
        // In a record of its own, since the record of the growth may set bits in it.
        self.log.append_as_one(|t| groups::begin(t, old, group, entry.bitmap), || self.seqlock.change())?;
        self.note_made_anew(group, entry.bitmap.offset(), "it did not say that all of the group is free");
        Ok(true)
    }

    fn note_made_anew(&self, group: u64, at: u64, why: &str) {
        let why = format!(
            "the bitmap of group {group} was damaged before the group began, and was made anew: {why}"
        );
        self.made_anew.lock().push((at, why));
    }

    /// Frames for `n` structures: free ones beside other structures, or the first of the new frames if nothing else is
    /// free.
    fn frames_ahead(&self, old: Shape, new: Shape, n: usize) -> Result<Vec<FrameNo>> {
        if n == 0 {
            return Ok(Vec::new());
        }
        let free = {
            let (mut groups, _) = self.settled()?;
            match groups.free >= n as u64 + KEPT_FOR_FREEING {
                true => groups.take(&self.log, old, n as u64, Purpose::Structures)?.unwrap_or_default(),
                false => Vec::new(),
            }
        };
        // A frame that turns out to be used is set aside, and `check` names it.
        if let (false, Ok(Some(free))) = (free.is_empty(), self.ask(free)) {
            return Ok(free);
        }
        let last = old.groups() - 1;
        let mut first = old.frames;
        if first < old.groups() * GROUP_FRAMES {
            self.groups.lock().group(&self.log, old, last)?;
            if self.log.uses().expect_group(last).is_err() {
                first = old.groups() * GROUP_FRAMES;
            }
        }
        let frames: Vec<_> = (first..new.frames).take(n).map(|frame| FrameNo(frame as u32)).collect();
        if frames.len() < n {
            return Err(Error::NoSpace { why: "no frame for the bitmap of the next group".into() });
        }
        Ok(frames)
    }
}

impl Ahead {
    /// Adds the changes of the table and of the bits to the record.
    fn begin(&self, t: &mut Txn<'_>, shape: Shape) -> Result {
        let (tables, bitmaps) = self.frames.split_at(self.tables.len());
        self.tables
            .iter()
            .zip(tables)
            .try_for_each(|(&group, &frame)| groups::begin_table(t, shape, group, frame))?;
        for (&group, &frame) in self.groups.iter().zip(bitmaps) {
            groups::begin(t, shape, group, frame)?;
        }
        bitmap::set(t, shape, self.frames.iter().copied())
    }
}

/// By how many frames the region grows if it can.
pub(super) fn step(shape: Shape) -> u64 {
    (shape.frames * FRAME_SIZE as u64 / 8).clamp(STEP_MIN, STEP_MAX) / FRAME_SIZE as u64
}
