//! Which guards a thread holds.
//!
//! Each guard is noted by its thread, so that a thread knows two things before it waits. If it holds a guard of the
//! region, it goes before a writer that waits, which may be waiting for that guard. If it holds a guard of the very
//! page, it would wait for itself. Noting is a store and an addition; only a thread that has to wait anyway looks.
//!
//! A guard that is forgotten leaves its note. Its latch may be given back by other means, and the frame's number go to
//! another page: so a note counts as far as the frame has latches for it.
//!
//! Latches without a guard belong to no thread: those of a [`ReadRange`](super::ReadRange), and those that `into_raw` left.

use super::pages::Pages;
use crate::error::{Error, Result};
use crate::frame::{FrameTable, Manner};
use crate::units::Pfn;
use std::cell::Cell;
use std::marker::PhantomData;

/// Guards of a thread that are known one by one.
const KNOWN: usize = 16;

/// A thread's guards. Those of one page and kind are the same to it: of each, as many are here as the thread holds, known
/// or beyond.
struct Guards {
    known: [Cell<u64>; KNOWN],
    len: Cell<usize>,
    /// Guards that found no room, of whatever page.
    beyond: Cell<usize>,
}

impl Guards {
    const fn new() -> Self {
        Self { known: [const { Cell::new(0) }; KNOWN], len: Cell::new(0), beyond: Cell::new(0) }
    }

    #[inline]
    fn add(&self, note: u64) {
        match self.known.get(self.len.get()) {
            Some(free) => {
                free.set(note);
                self.len.set(self.len.get() + 1);
            }
            None => self.beyond.set(self.beyond.get() + 1),
        }
    }

    /// Mostly the one that came last goes first.
    #[inline]
    fn remove(&self, note: u64) {
        let last = self.len.get().wrapping_sub(1);
        match self.known.get(last) {
            Some(known) if known.get() == note => self.len.set(last),
            _ => self.remove_another(note),
        }
    }

    #[cold]
    fn remove_another(&self, note: u64) {
        match self.known().position(|known| known == note) {
            Some(at) => {
                let last = self.len.get() - 1;
                self.known[at].swap(&self.known[last]);
                self.len.set(last);
            }
            None => self.beyond.set(self.beyond.get().saturating_sub(1)),
        }
    }

    /// The first note that `wanted` holds of. Notes for which there are no such `latches` were of forgotten guards, and go.
    #[cold]
    fn find(&self, wanted: impl Fn(u64) -> bool, latches: impl Fn(u64) -> usize) -> Option<u64> {
        let found = self.known().find(|note| wanted(*note))?;
        let held = self.known().filter(|note| *note == found).count();
        if held <= latches(found) {
            return Some(found);
        }
        self.remove(found);
        self.find(wanted, latches)
    }

    fn known(&self) -> impl Iterator<Item = u64> + '_ {
        self.known.iter().take(self.len.get()).map(Cell::get)
    }
}

#[cfg(not(pagestone_shuttle))]
thread_local! {
    static GUARDS: Guards = const { Guards::new() };
}
#[cfg(pagestone_shuttle)]
shuttle::thread_local! {
    static GUARDS: Guards = Guards::new();
}

/// How a guard of a page is noted.
fn note(pfn: Pfn, alone: bool) -> u64 {
    pfn.get() << 1 | u64::from(alone)
}

/// The page of a note.
fn page_of(note: u64) -> Pfn {
    Pfn::new(note >> 1)
}

/// Part of each guard: it stays with its thread, as a mutex's does.
pub(super) type Held = PhantomData<std::sync::MutexGuard<'static, ()>>;

/// This thread was given a guard; `alone`: the exclusive one.
#[inline]
pub(super) fn given(pfn: Pfn, alone: bool) -> Held {
    GUARDS.with(|guards| guards.add(note(pfn, alone)));
    PhantomData
}

/// It gave one back.
#[inline]
pub(super) fn returned(pfn: Pfn, alone: bool) {
    GUARDS.with(|guards| guards.remove(note(pfn, alone)));
}

/// The exclusive latch of the page is given back without a guard: one that this thread is noted to have was forgotten.
pub(super) fn forgotten(pfn: Pfn) {
    let _ = GUARDS.with(|guards| guards.find(|known| known == note(pfn, true), |_| 0));
}

/// How many latches there are now for guards that are noted so.
fn latches(note: u64) -> usize {
    let now = FrameTable::global().peek(page_of(note));
    now.filter(|now| !now.claimed())
        .map_or(0, |now| if note & 1 == 1 { now.exclusive().into() } else { now.shared() as usize })
}

/// How this thread's shared latches treat a writer that waits for a page of `pages`.
pub(super) fn manner(pages: &Pages) -> Manner {
    let holds_any = GUARDS.with(|guards| {
        let range = pages.pfns();
        guards.beyond.get() != 0 || guards.find(|note| range.contains(page_of(note)), latches).is_some()
    });
    if holds_any { Manner::GoesFirst } else { Manner::GivesWay }
}

/// An error where this thread is known to hold a guard that keeps it from the latch it is about to wait for; `alone`: the
/// exclusive one, which waits for all guards of the page.
pub(super) fn must_not_wait_for_itself(pfn: Pfn, alone: bool) -> Result {
    let hinders = |held: u64| held == note(pfn, true) || (alone && held == note(pfn, false));
    match GUARDS.with(|guards| guards.find(hinders, latches)) {
        None => Ok(()),
        Some(held) if held & 1 == 1 => Err(itself("the write guard", pfn)),
        Some(_) => Err(itself("a read guard", pfn)),
    }
}

/// An error where this thread is known to hold a guard on a page of `pages`.
pub(crate) fn must_hold_none(pages: &Pages) -> Result {
    let range = pages.pfns();
    let held = GUARDS.with(|guards| guards.find(|note| range.contains(page_of(note)), latches));
    held.map_or(Ok(()), |note| Err(itself("a guard", page_of(note))))
}

fn itself(what: &str, pfn: Pfn) -> Error {
    Error::WaitsForItself { what: format!("{what} of frame {pfn}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn guards_are_given_back_in_any_order_and_none_is_left() {
        let guards = Guards::new();
        let notes: Vec<_> = (0..3 * KNOWN as u64).map(|n| n % 5).collect();
        for reversed in [false, true] {
            notes.iter().for_each(|note| guards.add(*note));
            assert_eq!((guards.known().count(), guards.beyond.get()), (KNOWN, 2 * KNOWN));
            let mut back = notes.clone();
            if reversed {
                back.reverse();
            }
            back.iter().for_each(|note| guards.remove(*note));
            assert_eq!((guards.known().count(), guards.beyond.get()), (0, 0));
        }
    }

    proptest! {
        #[test]
        fn no_guard_is_known_that_is_not_held(ops in prop::collection::vec((0u64..6, any::<bool>()), 0..200)) {
            let (guards, mut held) = (Guards::new(), Vec::new());
            for (note, give) in ops {
                match held.iter().position(|h| *h == note) {
                    Some(at) if !give => {
                        held.swap_remove(at);
                        guards.remove(note);
                    }
                    _ => {
                        held.push(note);
                        guards.add(note);
                    }
                }
                let count = |note| held.iter().filter(|h| **h == note).count();
                for note in 0..6 {
                    prop_assert!(guards.known().filter(|known| *known == note).count() <= count(note));
                }
                prop_assert_eq!(guards.known().count() + guards.beyond.get(), held.len());
            }
        }
    }
}
