//! The guards that each thread holds.
//!
//! Each thread notes its guards, so that it knows two things before it waits. If it holds a guard of the region, it
//! goes before a waiting writer, because that writer may be waiting for this guard. If it holds a guard of the same
//! page, it would wait for itself. Noting is a store and an addition; only a thread that must wait anyway reads the
//! notes.
//!
//! A forgotten guard leaves its note. Its latch may be released by other means, and the frame may go to another page.
//! So a note counts only if the frame has a latch for it.
//!
//! Latches without a guard belong to no thread: those of a [`ReadRange`](super::ReadRange), and those that `into_raw`
//! left.

use super::pages::Pages;
use crate::error::{Error, Result};
use crate::frame::{FrameTable, Manner};
use crate::units::Pfn;
use std::cell::Cell;
use std::marker::PhantomData;

/// Number of a thread's guards that are noted individually.
const KNOWN: usize = 16;

/// The notes of a thread. Guards of the same page and kind have equal notes, as many as the thread holds,
/// individually or in `beyond`.
struct Guards {
    known: [Cell<u64>; KNOWN],
    len: Cell<usize>,
    /// Number of guards for which there was no room.
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

    /// Usually the last guard is dropped first.
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

    /// The first note that satisfies `wanted`. Notes without as many `latches` belong to forgotten guards and are
    /// removed.
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

/// The note of a guard.
fn note(pfn: Pfn, alone: bool) -> u64 {
    pfn.get() << 1 | u64::from(alone)
}

/// The page of a note.
fn page_of(note: u64) -> Pfn {
    Pfn::new(note >> 1)
}

/// Part of each guard, which keeps it on its thread, as a mutex guard is.
pub(super) type Held = PhantomData<std::sync::MutexGuard<'static, ()>>;

/// Notes a guard of this thread; `alone`: the exclusive one.
#[inline]
pub(super) fn given(pfn: Pfn, alone: bool) -> Held {
    GUARDS.with(|guards| guards.add(note(pfn, alone)));
    PhantomData
}

/// Removes the note of a guard that was dropped.
#[inline]
pub(super) fn returned(pfn: Pfn, alone: bool) {
    GUARDS.with(|guards| guards.remove(note(pfn, alone)));
}

/// Called when the exclusive latch of the page is released without a guard: if this thread has a note of one, that
/// guard was forgotten.
pub(super) fn forgotten(pfn: Pfn) {
    let _ = GUARDS.with(|guards| guards.find(|known| known == note(pfn, true), |_| 0));
}

/// The current number of latches for guards with this note.
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

/// Returns an error if this thread is known to hold a guard that blocks the latch for which it is about to wait.
/// `alone`: the exclusive one, which waits for all guards of the page.
pub(super) fn must_not_wait_for_itself(pfn: Pfn, alone: bool) -> Result {
    let hinders = |held: u64| held == note(pfn, true) || (alone && held == note(pfn, false));
    match GUARDS.with(|guards| guards.find(hinders, latches)) {
        None => Ok(()),
        Some(held) if held & 1 == 1 => Err(itself("the write guard", pfn)),
        Some(_) => Err(itself("a read guard", pfn)),
    }
}

/// Returns an error if this thread is known to hold a guard on a page of `pages`.
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
