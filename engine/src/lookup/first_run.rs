//! The first run of an object: the pages from 0 on whose frames follow each other.
//!
//! A page in it is found without memory of its own: one word, which every pin shares, says where page 0 is and how
//! many pages follow. Under a random access to many pages that saves a cache miss per pin.

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::mutant;
use crate::units::{FrameNo, PageIndex};

const PAGES_BITS: u32 = 32;
const PAGES_MASK: u64 = (1 << PAGES_BITS) - 1;

/// Filled and cut under the same locks as the [`Lookaside`](super::lookaside::Lookaside) it is part of.
#[derive(Default)]
pub(super) struct FirstRun {
    /// Frame of page 0 in the upper half, pages in the lower.
    word: AtomicU64,
    /// Pages of the run when it was seen to end there; all ones when that is unknown.
    ends_at: AtomicU32,
}

impl FirstRun {
    /// The frame of a page of the run, and the word that says so; its lower half is not zero.
    #[inline(always)]
    pub(super) fn find(&self, index: PageIndex) -> Option<(FrameNo, u64)> {
        // ORDERING: Acquire: as a word of the lookaside.
        let word = self.word.load(Ordering::Acquire);
        (index.0 < word & PAGES_MASK).then(|| (FrameNo(((word >> PAGES_BITS) + index.0) as u32), word))
    }

    /// Whether the word is still this one.
    #[inline(always)]
    pub(super) fn is(&self, word: u64) -> bool {
        // ORDERING: Acquire: as the lookaside's second look.
        self.word.load(Ordering::Acquire) == word
    }

    /// Takes in a page if it continues the run; whether it is part of it now.
    pub(super) fn push(&self, index: PageIndex, frame: FrameNo) -> bool {
        // ORDERING: Acquire, as `find`.
        let word = self.word.load(Ordering::Acquire);
        let (first, pages) = (word >> PAGES_BITS, word & PAGES_MASK);
        if index.0 < pages {
            return true;
        }
        let first = if pages == 0 { u64::from(frame.0) } else { first };
        if index.0 != pages || u64::from(frame.0) != first + pages || first == 0 || pages == PAGES_MASK {
            return false;
        }
        let longer = (first << PAGES_BITS) | (pages + 1);
        // ORDERING: Release: a thread that finds the frame here sees the bytes it was linked with. On a failure another
        // thread has pushed: the page is then found another way.
        let order = if mutant("relaxed_fill") { Ordering::Relaxed } else { Ordering::AcqRel };
        self.word.compare_exchange(word, longer, order, Ordering::Relaxed).is_ok()
    }

    /// The page that may continue the run, unless it was seen that none does.
    pub(super) fn next(&self) -> Option<PageIndex> {
        // ORDERING: Relaxed: a hint; a stale one costs a lookup.
        let pages = self.word.load(Ordering::Relaxed) & PAGES_MASK;
        (u64::from(self.ends_at.load(Ordering::Relaxed)) != pages + 1).then_some(PageIndex(pages))
    }

    /// Notes that the run does not go on for now.
    pub(super) fn ends(&self) {
        // ORDERING: Relaxed: a hint, as in `next`. Counted from one, so that zero says nothing.
        let pages = self.word.load(Ordering::Relaxed) & PAGES_MASK;
        self.ends_at.store((pages + 1) as u32, Ordering::Relaxed);
    }

    /// Cuts the run: no page from `first` on is in it.
    pub(super) fn cut(&self, first: u64) {
        // ORDERING: Acquire and Release: as the lookaside's `clear`. No thread pushes meanwhile: the caller is alone.
        let word = self.word.load(Ordering::Acquire);
        if first < word & PAGES_MASK {
            let shorter = if first == 0 { 0 } else { (word & !PAGES_MASK) | first };
            self.word.store(shorter, Ordering::Release);
        }
        self.ends_at.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_run_takes_what_follows_and_nothing_else() {
        let run = FirstRun::default();
        assert!(!run.push(PageIndex(1), FrameNo(8)), "page 0 comes first");
        assert!(run.push(PageIndex(0), FrameNo(7)) && run.push(PageIndex(1), FrameNo(8)));
        assert!(!run.push(PageIndex(2), FrameNo(10)) && !run.push(PageIndex(3), FrameNo(10)));
        let get = |n| run.find(PageIndex(n)).map(|found| found.0);
        assert_eq!([0, 1, 2].map(get), [Some(FrameNo(7)), Some(FrameNo(8)), None]);
        run.cut(1);
        assert_eq!([0, 1].map(get), [Some(FrameNo(7)), None]);
        assert!(run.push(PageIndex(1), FrameNo(8)));
        run.cut(0);
        assert!(get(0).is_none() && run.push(PageIndex(0), FrameNo(99)));
    }

    #[test]
    fn the_end_of_a_group_does_not_end_a_first_run_and_the_last_frame_is_part_of_one() {
        let run = FirstRun::default();
        for (index, frame) in (0..).zip(u32::MAX - 3..=u32::MAX) {
            assert!(run.push(PageIndex(index), FrameNo(frame)));
        }
        assert_eq!(run.find(PageIndex(3)).map(|found| found.0), Some(FrameNo(u32::MAX)));
        run.cut(0);
        for (index, frame) in [(0, 32766), (1, 32767), (2, 32768)] {
            assert!(run.push(PageIndex(index), FrameNo(frame)));
        }
        assert_eq!(run.find(PageIndex(2)).map(|found| found.0), Some(FrameNo(32768)));
    }
}
