//! The list of orphans: objects with work to finish, unlinked ones and those being truncated.
//!
//! It is what makes a truncate or an unlink one small record however large the object: the next opening of the region
//! finds here what remains to be freed. Doubly linked through the records, so that an object leaves it in one record
//! too; no object is on it twice.

use super::layout::RootWord;
use super::log::Txn;
use super::record::{Head, ObjectSlot};
use super::words::{Shape, Words};
use crate::error::{Error, Result};
use std::collections::BTreeSet;

const WHAT: &str = "list of orphans";
const AT: u64 = RootWord::Orphans.offset();

/// The first object on the list.
pub(crate) fn first(words: &impl Words, shape: Shape) -> Result<Option<ObjectSlot>> {
    let value = words.salt().place(AT).open(words.word(AT)?);
    let value = value.ok_or_else(|| Error::corrupt(WHAT, AT, "check bits do not match"))?;
    ObjectSlot::read(shape, value, WHAT, AT)
}

fn set_first(t: &mut Txn<'_>, first: Option<ObjectSlot>) -> Result {
    t.write(AT, t.salt().place(AT).close(ObjectSlot::stored(first)))
}

/// Whether an object belongs on the list.
pub(crate) fn belongs(head: &Head) -> bool {
    head.unlinked() || head.cut().is_some()
}

/// Puts the object in front; the caller makes it belong there and writes its head. Of a list that cannot be read there it
/// is the first of a new one: what was on the old one stays taken, and is no reason to refuse an object that has nothing
/// to do with it.
pub(crate) fn push(t: &mut Txn<'_>, shape: Shape, head: &mut Head) -> Result {
    debug_assert!(!belongs(head));
    let next = first(t, shape).and_then(|next| next.map(|next| Head::live(t, next)).transpose());
    let mut next = if let Err(Error::Corrupt { .. }) = next { None } else { next? };
    if let Some(next) = &mut next {
        next.set_previous(Some(head.slot));
        next.write(t)?;
    }
    head.set_previous(None);
    head.set_next(next.map(|next| next.slot));
    set_first(t, Some(head.slot))
}

/// Takes the object off; the caller writes its head.
pub(crate) fn remove(t: &mut Txn<'_>, shape: Shape, head: &mut Head) -> Result {
    let (previous, next) = (head.previous(shape)?, head.next(shape)?);
    match previous {
        None if first(t, shape)? != Some(head.slot) => {
            return Err(Error::corrupt(WHAT, head.slot.offset(), "the object is not on it"));
        }
        None => set_first(t, next)?,
        Some(previous) => {
            let mut previous = Head::live(t, previous)?;
            expect(previous.next(shape)?, head)?;
            previous.set_next(next);
            previous.write(t)?;
        }
    }
    if let Some(next) = next {
        let mut next = Head::live(t, next)?;
        expect(next.previous(shape)?, head)?;
        next.set_previous(previous);
        next.write(t)?;
    }
    head.set_previous(None);
    head.set_next(None);
    Ok(())
}

/// A neighbour must know `head`.
fn expect(found: Option<ObjectSlot>, head: &Head) -> Result {
    if found == Some(head.slot) {
        return Ok(());
    }
    Err(Error::corrupt(WHAT, head.slot.offset(), "a neighbour does not name the object"))
}

/// Shows every object on the list, the newest first.
pub(crate) fn walk(words: &impl Words, shape: Shape, mut see: impl FnMut(&Head)) -> Result {
    let mut seen = BTreeSet::new();
    let mut at = first(words, shape)?;
    while let Some(slot) = at {
        if !seen.insert(slot) {
            return Err(Error::corrupt(WHAT, slot.offset(), "it has a cycle"));
        }
        let head = Head::live(words, slot)?;
        see(&head);
        at = head.next(shape)?;
    }
    Ok(())
}
