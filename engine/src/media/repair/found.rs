//! Allocated frames without an owner. If something of an object was lost, they may be pages of it: they become pages of a
//! new object, so that they are not overwritten.

use super::super::names::now;
use super::super::record::{Head, ObjectKind, ObjectSlot, SLOTS};
use super::super::tree::{Map, Root, height_for, word_at};
use super::super::words::{WORDS, Words};
use super::groups::Groups;
use super::names::free_name;
use super::plan::Work;
use super::script::Step;
use crate::error::Result;
use crate::units::{FRAME_SIZE, FrameNo};

/// Gives such frames, if there are any, to a new object `lost+found-N`.
pub(super) fn collect<W: Words>(work: &mut Work<'_, W>, groups: &Groups) -> Result {
    if !work.misses_something || !work.renews_names {
        return Ok(());
    }
    let frames = without_owner(work, groups);
    if frames.is_empty() {
        return Ok(());
    }
    let slot = free_slot(work)?;
    let number = work.next;
    work.next += 1;
    let name = free_name(work)?;
    let mut head = work.heads.remove(&slot).expect("it is a slot");
    head.become_object(number, ObjectKind::PLAIN);
    let words = head.renamed(work.words, &name, Some(now()))?;
    work.names.insert(slot, words);
    head.set_size(frames.len() as u64 * FRAME_SIZE as u64);
    frames.iter().for_each(|frame| _ = work.space.owned.claim(*frame));
    head.set_root(map(work, number, head.slot, &frames)?);
    head.note_linked((0..).zip(frames.iter().copied()));
    let detail = format!(
        "{} frames that were allocated and have no owner become pages of object {:?}",
        frames.len(),
        String::from_utf8_lossy(&name)
    );
    work.found = Some((slot, name));
    work.repairs.say("lost+found", head.slot.offset(), detail);
    work.heads.insert(slot, head);
    Ok(())
}

/// Frames that are allocated by a sound bitmap and have no owner, without those of dropped structures and of the table of
/// groups.
fn without_owner<W: Words>(work: &Work<'_, W>, groups: &Groups) -> Vec<FrameNo> {
    let space = &work.space;
    let frames = (0..space.shape.frames).map(|frame| FrameNo(frame as u32));
    let lost = frames.filter(|frame| {
        space.shape.ordinary(*frame)
            && space.allocated(u64::from(frame.0)) == Some(true)
            && !space.owned.has(*frame)
            && !space.former.contains(frame)
            && !groups.holds(*frame)
    });
    lost.collect()
}

/// A free slot. If there is none, a new frame of records is begun.
fn free_slot<W: Words>(work: &mut Work<'_, W>) -> Result<u64> {
    if let Some((slot, _)) = work.heads.iter().find(|(_, head)| head.kind().is_none()) {
        return Ok(*slot);
    }
    let frame = work.space.take()?;
    work.script.found.push(Step::Zero(frame));
    let first = u64::from(frame.0) * SLOTS;
    for slot in first..first + SLOTS {
        let mut head = Head::fresh(work.words.salt(), ObjectSlot(slot));
        // The others are free ones before the first of them is an object's.
        let words = head.changes().into_iter().map(|(at, word)| Step::Word(at, word));
        work.script.found.extend(words);
        work.heads.insert(slot, head);
    }
    Ok(first)
}

/// Makes the nodes of a map whose first pages lie in these frames, and returns its root word.
fn map<W: Words>(work: &mut Work<'_, W>, number: u64, slot: ObjectSlot, frames: &[FrameNo]) -> Result<u64> {
    let salt = work.words.salt();
    let mut map = Map { salt, id: number, root: Map::empty_root(salt, number), at: slot.offset() + 24 };
    let height = height_for(frames.len() as u64 - 1);
    let mut below: Vec<FrameNo> = frames.to_vec();
    for level in 1..=height {
        let mut nodes = Vec::new();
        for (n, children) in (0..).zip(below.chunks(WORDS as usize)) {
            let (node, first) = (work.space.take()?, n * WORDS.pow(level));
            work.script.found.push(Step::Node(node, map.node(first, level)));
            for (page, child) in (first..).step_by(WORDS.pow(level - 1) as usize).zip(children) {
                let word = map.close(page, level - 1, *child);
                work.script.found.push(Step::Word(word_at(node, page, level - 1), word));
            }
            nodes.push(node);
        }
        below = nodes;
    }
    map.set_root(Root { height, frame: below[0] });
    Ok(map.root)
}
