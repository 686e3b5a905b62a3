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

/// One store.
#[derive(Clone, Copy, Debug)]
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
}

/// The stores, in the order of the fields.
#[derive(Default, Debug)]
pub(super) struct Script {
    /// First, the words that lead to what is made anew are cleared.
    pub(super) breaks: Vec<Step>,
    /// Then every frame that will be used is allocated.
    pub(super) space: Vec<Step>,
    /// Then nodes of maps and records are stored.
    pub(super) content: Vec<Step>,
    /// Last, the words that lead to structures, each after what it leads to.
    pub(super) ways: Vec<Step>,
    /// Bytes of the head from which on a frame is zeroed. The log changes nothing there.
    pub(super) rests: Vec<u64>,
}

impl Script {
    fn steps(&self) -> impl Iterator<Item = &Step> {
        [&self.breaks, &self.space, &self.content, &self.ways].into_iter().flatten()
    }

    /// Carries all of it out.
    ///
    /// # Durability
    /// Appended, in order.
    pub(super) fn run(self, log: &Log) -> Result {
        fill(log, &self)?;
        // The first change of an opening writes bad copies of log header and superblock anew.
        log.take_lease()?;
        anchor::clear(log.region(), &self.rests)?;
        let all: Vec<Step> = self.steps().copied().collect();
        let mut left = &all[..];
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
        Ok(())
    }
}

/// Makes the file as long as the region will be, and gives it blocks wherever the script stores.
fn fill(log: &Log, script: &Script) -> Result {
    let region = log.region();
    for step in script.steps() {
        if let Step::Root(RootWord::Frames, frames) = step {
            region.grow_to(file_bytes(*frames))?;
        }
    }
    anchor::fill(region, log.frames(), log.roots().anchor().roots)?;
    let frames: BTreeSet<FrameNo> = script.steps().filter_map(Step::frame).collect();
    region.fill_gaps(frames.into_iter().map(|frame| frame.offset()..frame.offset() + FRAME_SIZE as u64))
}

impl Step {
    /// The frame that the step changes; `None` for the roots.
    fn frame(&self) -> Option<FrameNo> {
        match self {
            Self::Word(at, _) | Self::OfGroups(at, _) => Some(FrameNo((at / FRAME_SIZE as u64) as u32)),
            Self::Zero(frame) | Self::Node(frame, _) | Self::Bitmap(frame) | Self::Table(frame) => {
                Some(*frame)
            }
            Self::Root(..) | Self::Head(..) => None,
        }
    }

    /// How many entries of a record the step takes at most.
    fn entries(&self) -> usize {
        match self {
            Self::Node(..) | Self::Table(_) => NODE_ENTRIES,
            Self::Root(..) | Self::Head(..) => LINE_WORDS,
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
        }
    }
}
