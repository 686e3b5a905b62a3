//! Free slots for object records, and the frames in which they lie.
//!
//! Free slots form a list through their records. It is doubly linked, so that all slots of a frame leave it in one
//! record. If all eight slots of a frame are free and more than 64 other slots are, the frame goes back to the allocator,
//! in the record that frees its last slot: so names that come and go do not keep frames for ever. A frame of slots can
//! therefore become something else. Only the directory's chains, the lists and open objects name a slot.

use super::bitmap;
use super::layout::{GROUP_FRAMES, RootWord};
use super::log::Txn;
use super::record::{Head, ObjectSlot, RECORD, SLOTS};
use super::rules::Rule;
use super::words::{Shape, WORDS, Words};
use crate::error::{Error, Result};
use crate::sync::Mutex;
use crate::units::FrameNo;
use std::collections::HashSet;

const WHAT: &str = "list of free slots";
/// Free slots that are kept for the next objects, besides those of the frame that may go.
const KEPT: usize = 64;
/// Most changes for taking a frame off the list: the links and sums of the two neighbours of each run of its slots, the
/// head of the list, the bit of the frame, and the slot that becomes free.
const CHANGES: usize = 56;

/// The first free slot.
pub(crate) fn first_free(words: &impl Words, shape: Shape) -> Result<Option<ObjectSlot>> {
    let value = words.head(RootWord::FreeSlots, WHAT)?;
    ObjectSlot::read(shape, value, WHAT, words.roots().at(RootWord::FreeSlots))
}

fn set_first(t: &mut Txn<'_>, first: Option<ObjectSlot>) -> Result {
    t.set_head(RootWord::FreeSlots, ObjectSlot::stored(first))
}

/// The head of a slot that the list names.
fn read_free(words: &impl Words, slot: ObjectSlot) -> Result<Head> {
    let head = Head::read(words, slot)?;
    match head.kind() {
        None => Ok(head),
        Some(_) => Err(Error::corrupt(WHAT, slot.offset(), "a record in use is on it")),
    }
}

/// The head of the first free slot. `None` if it cannot be read: then new slots begin another list.
pub(crate) fn readable_free(words: &impl Words, shape: Shape) -> Result<Option<Head>> {
    // A root that cannot be read is an error; a list that cannot be read is not.
    words.root(RootWord::FreeSlots)?;
    let first = first_free(words, shape).and_then(|slot| slot.map(|slot| read_free(words, slot)).transpose());
    match first {
        Ok(Some(head)) if head.next(shape).is_err() => Ok(None),
        Err(Error::Corrupt { .. }) => Ok(None),
        first => first,
    }
}

/// Takes the first free slot. Its head is still that of a free one.
pub(crate) fn take_free(t: &mut Txn<'_>, shape: Shape) -> Result<Option<Head>> {
    let Some(head) = readable_free(t, shape)? else { return Ok(None) };
    // If the next slot cannot be read, the rest of the list is given up: new slots begin another list.
    let next = head.next(shape)?.map(|next| read_free(t, next)).transpose();
    let mut next = if let Err(Error::Corrupt { .. }) = next { None } else { next? };
    if let Some(next) = &mut next {
        next.set_previous(None);
        next.write(t)?;
    }
    set_first(t, next.map(|next| next.slot))?;
    Ok(Some(head))
}

/// Gives the slot of `head` back. Returns the frame that becomes free with it, if one does; its bit is cleared.
pub(crate) fn put_free(t: &mut Txn<'_>, shape: Shape, head: &mut Head) -> Result<Option<FrameNo>> {
    head.become_free();
    let Some(gaps) = gaps(t, shape, head.slot)? else {
        push(t, shape, head)?;
        return Ok(None);
    };
    // The head is written even so: a search for records in frames that nothing names must find none there.
    head.write(t)?;
    gaps.into_iter().try_for_each(|gap| gap.close(t))?;
    let frame = head.slot.frame();
    if !t.log().rules().broken(Rule::SlotsSplit) {
        bitmap::clear(t, shape, [frame].into_iter())?;
    }
    Ok(Some(frame))
}

/// Puts a slot in front of the list.
fn push(t: &mut Txn<'_>, shape: Shape, head: &mut Head) -> Result {
    let first = readable_free(t, shape)?;
    head.set_next(first.as_ref().map(|first| first.slot));
    if let Some(mut first) = first {
        first.set_previous(Some(head.slot));
        first.write(t)?;
    }
    set_first(t, Some(head.slot))?;
    head.write(t)
}

/// The gaps in the list that are to be closed when the frame of a freed slot goes. `None` if the frame stays, because a
/// record is in use in it, too few other slots are free, or something that would change cannot be read.
fn gaps(t: &Txn<'_>, shape: Shape, freed: ObjectSlot) -> Result<Option<Vec<Gap>>> {
    if t.room() < CHANGES {
        return Ok(None);
    }
    let mut gaps = Vec::new();
    let mut look = || {
        // If the group was set aside, the frame stays as it is; the object is dropped even so.
        t.log().uses().expect_group(u64::from(freed.frame().0) / GROUP_FRAMES)?;
        if !bitmap::allocated(t, shape, freed.frame())? {
            return Ok(false);
        }
        for slot in others(freed) {
            if Head::read(t, slot)?.kind().is_some() {
                return Ok(false);
            }
        }
        if !has_others(t, shape, freed.frame())? {
            return Ok(false);
        }
        others(freed).try_for_each(|slot| Gap::behind(t, shape, slot).map(|gap| gaps.extend(gap)))?;
        Ok(true)
    };
    match look() {
        Ok(true) => Ok(Some(gaps)),
        Ok(false) | Err(Error::Corrupt { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether more than [`KEPT`] slots of other frames are on the list, which is walked only as far as needed. The walk
/// cannot run in a cycle: each record must name the one before it, and the first must name none.
fn has_others(t: &Txn<'_>, shape: Shape, frame: FrameNo) -> Result<bool> {
    let (mut elsewhere, mut previous, mut next) = (0, None, first_free(t, shape)?);
    while let Some(slot) = next {
        let head = read_free(t, slot)?;
        if head.previous(shape)? != previous {
            return Err(Error::corrupt(WHAT, slot.offset(), "the record does not name the one before it"));
        }
        elsewhere += usize::from(slot.frame() != frame);
        if elsewhere > KEPT {
            return Ok(true);
        }
        (previous, next) = (Some(slot), head.next(shape)?);
    }
    Ok(false)
}

/// The other slots of a slot's frame.
fn others(slot: ObjectSlot) -> impl Iterator<Item = ObjectSlot> {
    let first = slot.0 / SLOTS * SLOTS;
    (first..first + SLOTS).map(ObjectSlot).filter(move |other| *other != slot)
}

/// A run of the list in one frame: the slot before it, and the slot after it.
struct Gap {
    previous: Option<ObjectSlot>,
    next: Option<ObjectSlot>,
}

impl Gap {
    /// The run that begins with `first`, if one does.
    fn behind(t: &Txn<'_>, shape: Shape, first: ObjectSlot) -> Result<Option<Self>> {
        let inside = |slot: Option<ObjectSlot>| slot.filter(|slot| slot.frame() == first.frame());
        let previous = read_free(t, first)?.previous(shape)?;
        if inside(previous).is_some() {
            return Ok(None);
        }
        let named = match previous {
            None => first_free(t, shape)?,
            Some(previous) => read_free(t, previous)?.next(shape)?,
        };
        let (mut last, mut next) = (first, read_free(t, first)?.next(shape)?);
        for _ in 0..SLOTS {
            let Some(slot) = inside(next) else { break };
            (last, next) = (slot, read_free(t, slot)?.next(shape)?);
        }
        let back = next.map(|next| read_free(t, next)?.previous(shape)).transpose()?;
        if named != Some(first) || inside(next).is_some() || back.is_some_and(|back| back != Some(last)) {
            return Err(Error::corrupt(WHAT, first.offset(), "a neighbour does not name the record"));
        }
        Ok(Some(Self { previous, next }))
    }

    /// Lets the neighbours name each other.
    fn close(self, t: &mut Txn<'_>) -> Result {
        match self.previous {
            None => set_first(t, self.next)?,
            Some(previous) => {
                let mut previous = read_free(t, previous)?;
                previous.set_next(self.next);
                previous.write(t)?;
            }
        }
        if let Some(next) = self.next {
            let mut next = read_free(t, next)?;
            next.set_previous(self.previous);
            next.write(t)?;
        }
        Ok(())
    }
}

/// Makes `frame` a record frame: eight free slots, lowest first.
pub(crate) fn add_frame(t: &mut Txn<'_>, shape: Shape, frame: FrameNo) -> Result {
    t.zero(frame)?;
    let first = u64::from(frame.0) * SLOTS;
    debug_assert_eq!(SLOTS * RECORD, WORDS * 8);
    let salt = t.salt();
    (first..first + SLOTS).rev().try_for_each(|slot| push(t, shape, &mut Head::fresh(salt, ObjectSlot(slot))))
}

/// Record frames that were given back in this opening. What lies in one of them is no slot any more, whatever its bytes
/// are.
#[derive(Default)]
pub(super) struct GivenBack(Mutex<HashSet<FrameNo>>);

impl GivenBack {
    /// Notes that the frame was given back. To be called before it can get another use.
    pub(super) fn add(&self, frame: FrameNo) {
        self.0.lock().insert(frame);
    }
    /// Notes that the frame holds records again.
    pub(super) fn remove(&self, frame: FrameNo) {
        self.0.lock().remove(&frame);
    }
    /// Whether a slot lies in one of them.
    pub(super) fn has(&self, slot: ObjectSlot) -> bool {
        self.0.lock().contains(&slot.frame())
    }
}
