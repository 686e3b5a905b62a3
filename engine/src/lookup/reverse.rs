//! From frames to pages: the page that each frame was last linked to.
//!
//! Nothing on the medium leads from a frame to its page. An entry here is a hint: the map of the object confirms it, or
//! does not. But after one walk over all maps no page is missing: a frame that has no hint, or one that is not confirmed,
//! holds no page. Nothing is noted before the first walk begins.
//!
//! # Invariants
//! - A thread that links a page notes that before the frame can be taken from the page again. So a hint is that of the
//!   frame's last link. A walk fills only entries that have no hint.
//! - If a walk begins beside a link, the walk finds the page, or the link is noted.
//! - An object that is renamed beside a walk is walked again: the walk may have looked for it under each name while it had
//!   the other name.

use crate::media::ObjectSlot;
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::{LazyArray, Mutex};
use crate::units::{FrameNo, PageIndex};
use std::io;
use std::sync::OnceLock;

/// A page, with its object's slot.
pub(crate) type Hint = (ObjectSlot, PageIndex);

/// The hints of one region.
#[derive(Default)]
pub(crate) struct Reverse {
    /// Two words for each frame: the object's slot (0 where nothing is known) and the page. Read and changed under `state`.
    words: OnceLock<LazyArray<AtomicU64>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The number of beginnings and ends of walks; odd during a walk.
    walks: u64,
    /// Whether one walk has gone over all maps.
    complete: bool,
    /// Objects to be walked once more.
    again: Vec<ObjectSlot>,
}

impl Reverse {
    /// Begins a walk over `frames` frames; from now on links are noted. Returns false if nothing is left to be walked.
    ///
    /// # Errors
    /// When the addresses for so many hints cannot be had.
    pub(crate) fn begin(&self, frames: u64) -> io::Result<bool> {
        let mut state = self.state.lock();
        if state.complete {
            return Ok(false);
        }
        if self.words.get().is_none() {
            let words = usize::try_from(frames).unwrap_or(usize::MAX).saturating_mul(2);
            let _ = self.words.set(LazyArray::reserve(words)?);
        }
        state.walks += 1;
        // ORDERING: SeqCst: the words are there before the walk reads a map; pairs with `note`.
        fence(Ordering::SeqCst);
        Ok(true)
    }

    /// Ends the walk; `complete`: it has gone over all maps.
    pub(crate) fn end(&self, complete: bool) {
        let mut state = self.state.lock();
        state.walks += 1;
        state.complete |= complete;
    }

    /// Notes pages that are about to be linked, or were just linked. Returns false if no walk has begun. The caller keeps
    /// the pages from being cut off.
    pub(crate) fn note(&self, slot: ObjectSlot, pages: &[(PageIndex, FrameNo)]) -> bool {
        // ORDERING: SeqCst: this thread links first and then looks for the words. A walk makes the words first and then
        // looks for links.
        fence(Ordering::SeqCst);
        if self.words.get().is_none() {
            return false;
        }
        let _state = self.state.lock();
        pages.iter().for_each(|&(index, frame)| self.put(frame, (slot, index)));
        true
    }

    /// Adds what a walk has found, for frames of which nothing is known.
    pub(crate) fn fill(&self, slot: ObjectSlot, pages: &[(PageIndex, FrameNo)]) {
        let _state = self.state.lock();
        for &(index, frame) in pages {
            if self.known(frame).is_none() {
                self.put(frame, (slot, index));
            }
        }
    }

    /// The hints for these frames; none until a walk has ended that missed nothing.
    pub(crate) fn get(&self, frames: &[FrameNo]) -> Option<Vec<Option<Hint>>> {
        let state = self.state.lock();
        let whole = state.complete && state.again.is_empty();
        whole.then(|| frames.iter().map(|frame| self.known(*frame)).collect())
    }

    /// The number of beginnings and ends of walks. A change of names reads it first, and asks [`Self::walked_since`] last.
    pub(crate) fn walks(&self) -> u64 {
        self.state.lock().walks
    }

    /// Whether a walk has run, even in part, since `walks` was read.
    pub(crate) fn walked_since(&self, walks: u64) -> bool {
        walks % 2 == 1 || self.walks() != walks
    }

    /// Notes an object that is to be walked once more.
    pub(crate) fn walk_again(&self, slot: ObjectSlot) {
        self.state.lock().again.push(slot);
    }

    /// The objects that are to be walked once more.
    pub(crate) fn again(&self) -> Vec<ObjectSlot> {
        self.state.lock().again.clone()
    }

    /// Forgets the first `count` of them: they were walked.
    pub(crate) fn walked_again(&self, count: usize) {
        self.state.lock().again.drain(..count);
    }

    fn known(&self, frame: FrameNo) -> Option<Hint> {
        let [slot, index] = self.pair(frame)?;
        // ORDERING: Relaxed, here and in `put`: under `state`.
        let slot = slot.load(Ordering::Relaxed);
        (slot != 0).then(|| (ObjectSlot(slot), PageIndex(index.load(Ordering::Relaxed))))
    }

    fn put(&self, frame: FrameNo, (slot, index): Hint) {
        if let Some([slot_word, index_word]) = self.pair(frame) {
            // ORDERING: Relaxed: see `known`.
            slot_word.store(slot.get(), Ordering::Relaxed);
            index_word.store(index.0, Ordering::Relaxed);
        }
    }

    fn pair(&self, frame: FrameNo) -> Option<[&AtomicU64; 2]> {
        let (words, at) = (self.words.get()?, frame.0 as usize * 2);
        Some([words.get(at)?, words.get(at + 1)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: PageIndex = PageIndex(7);

    #[test]
    fn nothing_is_kept_before_a_walk_and_nothing_is_told_before_its_end() {
        let reverse = Reverse::default();
        assert!(!reverse.note(ObjectSlot(8), &[(PAGE, FrameNo(3))]));
        assert!(reverse.begin(10).unwrap());
        assert!(reverse.note(ObjectSlot(9), &[(PAGE, FrameNo(4))]));
        assert_eq!(reverse.get(&[FrameNo(4)]), None);
        reverse.end(false);
        assert_eq!(reverse.get(&[FrameNo(4)]), None);
        assert!(reverse.begin(10).unwrap());
        reverse.end(true);
        assert!(!reverse.begin(10).unwrap());
        assert_eq!(reverse.get(&[FrameNo(3), FrameNo(4)]), Some(vec![None, Some((ObjectSlot(9), PAGE))]));
    }

    #[test]
    fn what_a_walk_finds_late_does_not_hide_a_later_link() {
        let reverse = Reverse::default();
        reverse.begin(10).unwrap();
        // The walk has read one object's map. Then the frame goes to another object.
        reverse.note(ObjectSlot(9), &[(PAGE, FrameNo(3))]);
        reverse.fill(ObjectSlot(8), &[(PAGE, FrameNo(3))]);
        reverse.end(true);
        assert_eq!(reverse.get(&[FrameNo(3)]), Some(vec![Some((ObjectSlot(9), PAGE))]));
    }

    #[test]
    fn an_object_that_is_renamed_beside_a_walk_is_walked_again() {
        let reverse = Reverse::default();
        let before = reverse.walks();
        assert!(!reverse.walked_since(before), "no walk");
        reverse.begin(10).unwrap();
        let within = reverse.walks();
        assert!(reverse.walked_since(before) && reverse.walked_since(within));
        reverse.end(true);
        assert!(reverse.walked_since(before) && reverse.walked_since(within));
        assert!(!reverse.walked_since(reverse.walks()), "the walk is over");
        reverse.walk_again(ObjectSlot(8));
        assert_eq!((reverse.get(&[]), reverse.again()), (None, vec![ObjectSlot(8)]));
        reverse.walked_again(1);
        assert_eq!(reverse.get(&[]), Some(vec![]));
    }
}
