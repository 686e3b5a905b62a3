//! The stores of a repair in their order, and the records that carry them.

use super::super::layout::{RootWord, file_bytes};
use super::super::log::record::NODE_ENTRIES;
use super::super::log::{Log, Txn};
use super::super::root::LINE_WORDS;
use super::super::seal::Node;
use super::anchor;
use crate::error::Result;
use crate::units::{FRAME_SIZE, FrameNo};
use std::collections::BTreeSet;

/// One store, or several.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Word(u64, u64),
    Zero(FrameNo),
    Node(FrameNo, Node),
    /// A word of a bitmap or of the table of groups.
    OfGroups(u64, u64),
    Bitmap(FrameNo),
    Table(FrameNo),
    Root(RootWord, u64),
    /// A sealed word of the root.
    Head(RootWord, u64),
    /// Stores of one record: they are all there after a crash, or none is.
    All(Vec<Step>),
}

/// The stores, in the order of the fields. A crash may come after each step: what is there then can be repaired again, and
/// comes to the same end.
#[derive(Default, Debug)]
pub(super) struct Script {
    /// First, every frame that will be used is allocated. None is freed: something may still lead to it.
    pub(super) space: Vec<Step>,
    /// Then the map of the object that gets what has no owner is stored. Nothing leads there.
    pub(super) found: Vec<Step>,
    /// Then, in one record, that object is made, and the words that lead to what is made anew are cleared: before it what was lost
    /// is still seen to be missing, and after it what was lost has an owner.
    pub(super) turn: Vec<Step>,
    /// Then nodes of maps and records are stored.
    pub(super) content: Vec<Step>,
    /// Then structures to which nothing leads.
    pub(super) built: Vec<Step>,
    /// Then, in one record, the words that lead to them.
    pub(super) ways: Vec<Step>,
    /// Last, frames that have no owner any more are freed.
    pub(super) freed: Vec<Step>,
    /// Bytes of the head from which on a frame is zeroed. The log changes nothing there.
    pub(super) rests: Vec<u64>,
}

impl Script {
    /// All steps in their order.
    fn steps(self) -> Vec<Step> {
        let (turn, ways) = (Step::All(self.turn), Step::All(self.ways));
        let parts = [self.space, self.found, vec![turn], self.content, self.built, vec![ways], self.freed];
        parts.into_iter().flatten().filter(|step| step.entries() > 0).collect()
    }

    /// Carries it out: so many of its steps, for tests. Says whether these were all.
    ///
    /// # Durability
    /// Appended, in order.
    pub(super) fn run(mut self, log: &Log, most: usize) -> Result<bool> {
        let rests = std::mem::take(&mut self.rests);
        let all = self.steps();
        fill(log, &all)?;
        // The first change of an opening writes bad copies of log header and superblock anew.
        log.take_lease()?;
        anchor::clear(log.region(), &rests)?;
        let mut left = &all[..all.len().min(most)];
        while !left.is_empty() {
            let part = |t: &mut Txn<'_>| {
                let mut done = 0;
                while let Some(step) = left.get(done).filter(|step| step.entries() <= t.room()) {
                    step.take(t)?;
                    done += 1;
                }
                Ok(done)
            };
            let (done, _) = log.append_as_one(part, || ())?;
            left = &left[done..];
        }
        Ok(most >= all.len())
    }
}

/// Makes the file as long as the region will be, and gives it blocks wherever the script stores.
fn fill(log: &Log, steps: &[Step]) -> Result {
    let region = log.region();
    let stores: Vec<&Step> = steps.iter().flat_map(Step::each).collect();
    for step in &stores {
        if let Step::Root(RootWord::Frames, frames) = step {
            region.grow_to(file_bytes(*frames))?;
        }
    }
    anchor::fill(region, log.frames(), log.roots().anchor().roots)?;
    let frames: BTreeSet<FrameNo> = stores.into_iter().filter_map(Step::frame).collect();
    region.fill_gaps(frames.into_iter().map(|frame| frame.offset()..frame.offset() + FRAME_SIZE as u64))
}

impl Step {
    /// The stores of it. None of them is several stores.
    fn each(&self) -> &[Self] {
        match self {
            Self::All(steps) => steps,
            _ => std::slice::from_ref(self),
        }
    }

    /// The frame that the step changes; `None` for the roots, and for one of several stores.
    fn frame(&self) -> Option<FrameNo> {
        match self {
            Self::Word(at, _) | Self::OfGroups(at, _) => Some(FrameNo((at / FRAME_SIZE as u64) as u32)),
            Self::Zero(frame) | Self::Node(frame, _) | Self::Bitmap(frame) | Self::Table(frame) => {
                Some(*frame)
            }
            Self::Root(..) | Self::Head(..) | Self::All(_) => None,
        }
    }

    /// How many entries of a record the step takes at most. Those of [`All`](Self::All) take far less than the smallest record
    /// has room for: a record and some words of the root.
    fn entries(&self) -> usize {
        match self {
            Self::Node(..) | Self::Table(_) => NODE_ENTRIES,
            Self::Root(..) | Self::Head(..) => LINE_WORDS,
            Self::All(steps) => steps.iter().map(Self::entries).sum(),
            _ => 1,
        }
    }

    fn take(&self, t: &mut Txn<'_>) -> Result {
        match *self {
            Self::Word(at, word) => t.write(at, word),
            Self::Zero(frame) => t.zero(frame),
            Self::Node(frame, node) => t.node(frame, node),
            Self::OfGroups(at, word) => t.write_of_groups(at, word),
            Self::Bitmap(frame) => t.zero_of_groups(frame),
            Self::Table(frame) => t.table_of_groups(frame),
            Self::Root(word, value) => t.set_root(word, value),
            Self::Head(word, value) => t.set_head(word, value),
            Self::All(ref steps) => steps.iter().try_for_each(|step| step.take(t)),
        }
    }
}
