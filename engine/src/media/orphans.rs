//! The list of orphans: objects with unfinished work, namely unlinked ones and those being truncated.
//!
//! Because of it a truncate or an unlink is one small record, however large the object is: the next opening of the region
//! finds here what is still to be freed. It is doubly linked through the records, so that an object also leaves it in one
//! record. No object is on it twice.

use super::layout::RootWord;
use super::log::Txn;
use super::record::{Head, ObjectSlot};
use super::words::{Shape, Words};
use crate::error::{Error, Result};
use std::collections::BTreeSet;

const WHAT: &str = "list of orphans";

/// The first object on the list.
pub(crate) fn first(words: &impl Words, shape: Shape) -> Result<Option<ObjectSlot>> {
    let value = words.head(RootWord::Orphans, WHAT)?;
    ObjectSlot::read(shape, value, WHAT, words.roots().at(RootWord::Orphans))
}

fn set_first(t: &mut Txn<'_>, first: Option<ObjectSlot>) -> Result {
    t.set_head(RootWord::Orphans, ObjectSlot::stored(first))
}

/// Whether an object belongs on the list.
pub(crate) fn belongs(head: &Head) -> bool {
    head.unlinked() || head.cut().is_some()
}

/// Puts the object in front; the caller makes it belong there and writes its head. If the first entry cannot be read, the
/// object begins a new list. The objects of the old list then stay allocated; they are no reason to refuse work on
/// another object.
pub(crate) fn push(t: &mut Txn<'_>, shape: Shape, head: &mut Head) -> Result {
    debug_assert!(!belongs(head));
    // A root that cannot be read is an error; a list that cannot be read is not.
    t.root(RootWord::Orphans)?;
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

/// Takes the object off the list; the caller writes its head.
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

/// A neighbour must name `head`.
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
