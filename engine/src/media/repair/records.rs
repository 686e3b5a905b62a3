//! Which frames hold object records.
//!
//! They are found through directory, orphans and free slots. If one of these is damaged, all frames are read: a frame is
//! one of records if the sums of a record in it prove it, and no object has it as a page.

use super::super::directory::{self, LEVELS, Slot};
use super::super::layout::FIRST_MOVABLE;
use super::super::record::{self, Head, ObjectSlot, SLOTS};
use super::super::seal::Salt;
use super::super::words::{Shape, WORDS, Words};
use super::super::{orphans, slots};
use super::names::is_number;
use super::plan::{Frames, Work};
use crate::error::Result;
use crate::region::Region;
use crate::units::FrameNo;
use std::collections::BTreeSet;

/// What was found.
pub(super) struct Records {
    /// Frames of records that something names.
    pub(super) linked: BTreeSet<FrameNo>,
    /// Frames that nothing names and whose records prove themselves.
    pub(super) scattered: BTreeSet<FrameNo>,
    /// Nodes of the directory.
    pub(super) nodes: Frames,
}

/// Slots that are named, as far as the structures can be read.
struct Links<'w, W> {
    words: &'w W,
    shape: Shape,
    slots: BTreeSet<u64>,
    /// The slots among them that should hold an object, with a name or as an orphan.
    in_use: BTreeSet<u64>,
    nodes: Frames,
}

/// Finds the frames, and reads the heads of named ones.
pub(super) fn find<W: Words>(work: &mut Work<'_, W>) -> Result<Records> {
    let mut links = Links {
        words: work.words,
        shape: work.space.shape,
        slots: BTreeSet::new(),
        in_use: BTreeSet::new(),
        nodes: Frames::new(),
    };
    links.follow()?;
    let Links { slots, in_use, nodes, .. } = links;
    let mut linked = BTreeSet::new();
    for frame in slots.iter().map(|slot| ObjectSlot(*slot).frame()).collect::<BTreeSet<_>>() {
        let states = record::look(work.words.salt(), frame, &work.words.frame(frame)?);
        if states.iter().any(|state| *state != record::State::Bad) {
            linked.insert(frame);
            read(work, frame, &in_use)?;
        } else {
            work.space.former.insert(frame);
            // One of them may be behind another in a chain, so that nothing that can be read names it.
            (0..SLOTS).for_each(|place| lost(work, u64::from(frame.0) * SLOTS + place));
        }
    }
    // What has no owner may be of an object that is flagged, and an object is made for it.
    work.renews_names |= work.leaks && work.live().any(|(_, head)| head.damaged());
    let scattered = if work.renews_names { scan(work, &linked)? } else { BTreeSet::new() };
    Ok(Records { linked, scattered, nodes })
}

/// Reads the heads of a frame. A slot that cannot be read becomes a free one.
pub(super) fn read<W: Words>(work: &mut Work<'_, W>, frame: FrameNo, in_use: &BTreeSet<u64>) -> Result {
    for slot in u64::from(frame.0) * SLOTS..(u64::from(frame.0) + 1) * SLOTS {
        let head = match Head::read(work.words, ObjectSlot(slot)) {
            Ok(head) => head,
            Err(crate::Error::Corrupt { .. }) => {
                lost(work, slot);
                let mut head = Head::unverified(work.words, ObjectSlot(slot))?;
                head.become_free();
                head
            }
            Err(error) => return Err(error),
        };
        if head.kind().is_none() && in_use.contains(&slot) && Head::read(work.words, ObjectSlot(slot)).is_ok()
        {
            lost(work, slot);
        }
        work.heads.insert(slot, head);
    }
    Ok(())
}

fn lost<W: Words>(work: &mut Work<'_, W>, slot: u64) {
    work.misses_something = true;
    let detail = "the object that it had, if any, is lost: the slot becomes a free one";
    work.repairs.say("record-lost", ObjectSlot(slot).offset(), detail);
}

impl<W: Words> Links<'_, W> {
    fn follow(&mut self) -> Result {
        let root = directory::root(self.words, self.shape);
        if let Some(root) = readable(root)? {
            self.node(root, 0)?;
        }
        let (words, shape) = (self.words, self.shape);
        let listed = self.list(readable(orphans::first(words, shape))?.flatten())?;
        self.in_use.extend(&listed);
        self.slots.extend(listed);
        let free = self.list(readable(slots::first_free(words, shape))?.flatten())?;
        self.slots.extend(free);
        Ok(())
    }

    fn node(&mut self, node: FrameNo, level: u32) -> Result {
        if !self.nodes.insert(node) {
            return Ok(());
        }
        for i in directory::used_words(self.words, node)? {
            match readable(Slot::read(self.words, self.shape, node.offset() + i * 8))? {
                Some(Slot::Chain(first)) => self.chain(first)?,
                Some(Slot::Node(below)) if level + 1 < LEVELS => self.node(below, level + 1)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn chain(&mut self, first: ObjectSlot) -> Result {
        let mut next = Some(first);
        while let Some(slot) = next.filter(|slot| self.in_use.insert(slot.0)) {
            self.slots.insert(slot.0);
            let head = readable(Head::read(self.words, slot))?.filter(|head| head.kind().is_some());
            next = head.and_then(|head| head.chain(self.shape).ok().flatten());
        }
        Ok(())
    }

    /// The slots of a list.
    fn list(&self, first: Option<ObjectSlot>) -> Result<BTreeSet<u64>> {
        let (mut listed, mut next) = (BTreeSet::new(), first);
        while let Some(slot) = next.filter(|slot| listed.insert(slot.0)) {
            let head = readable(Head::read(self.words, slot))?;
            next = head.and_then(|head| head.next(self.shape).ok().flatten());
        }
        Ok(listed)
    }
}

/// Searches all frames for those that hold records and that nothing names.
fn scan<W: Words>(work: &Work<'_, W>, linked: &BTreeSet<FrameNo>) -> Result<BTreeSet<FrameNo>> {
    let (shape, mut found) = (work.space.shape, BTreeSet::new());
    for frame in u64::from(FIRST_MOVABLE.0)..shape.frames {
        let frame = FrameNo(frame as u32);
        if shape.ordinary(frame)
            && !linked.contains(&frame)
            && proven(work.words.salt(), frame, &work.words.frame(frame)?).next().is_some()
        {
            found.insert(frame);
        }
    }
    Ok(found)
}

/// Numbers of objects in a frame, if records prove it to be one of theirs. One in use is enough, by the sum of its head, whether
/// its name can be read or not: a frame of free slots alone may have been given back.
fn proven(salt: Salt, frame: FrameNo, words: &[u64; WORDS as usize]) -> impl Iterator<Item = u64> {
    record::look(salt, frame, words).into_iter().filter_map(|state| match state {
        record::State::Live(number) | record::State::Nameless(number) => Some(number),
        record::State::Free | record::State::Bad => None,
    })
}

/// The highest number of an object in the whole region.
pub(super) fn highest_number(region: &Region, salt: Salt) -> Result<u64> {
    let mut highest = 0;
    for frame in u64::from(FIRST_MOVABLE.0)..super::frames_of_file(region) {
        let (frame, mut words) = (FrameNo(frame as u32), [0; WORDS as usize]);
        region.memory().load_run(frame.offset(), &mut words)?;
        highest = proven(salt, frame, &words).filter(|number| is_number(*number)).fold(highest, u64::max);
    }
    Ok(highest)
}

/// What was read, or `None` if it is damaged.
pub(super) fn readable<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(crate::Error::Corrupt { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
