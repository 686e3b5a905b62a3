//! The first run of an object: the pages from 0 on whose frames follow each other.
//!
//! A page of the run needs no word of its own. One word, which all pins share, says in which frame page 0 is and how many
//! pages follow. That saves a cache miss per pin where many pages are accessed at random.

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::mutant;
use crate::units::{FrameNo, PageIndex};

const PAGES_BITS: u32 = 32;
const PAGES_MASK: u64 = (1 << PAGES_BITS) - 1;

/// It is filled and cut under the same locks as the [`Lookaside`](super::lookaside::Lookaside) that it is part of.
#[derive(Default)]
pub(super) struct FirstRun {
    /// The frame of page 0 in the upper half, the number of pages in the lower half.
    word: AtomicU64,
    /// One more than the number of pages at which the run was seen to end; 0 where that is unknown.
    ends_at: AtomicU32,
}

impl FirstRun {
    /// The frame of a page of the run, and the word that was read. The word's lower half is not zero.
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

    /// Adds a page if it continues the run. Returns whether the page is in the run now.
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
        // ORDERING: Release: a thread that finds the frame here sees the bytes it was linked with. If the exchange fails,
        // another thread has added a page, and this page gets a word of its own.
        let order = if mutant("relaxed_fill") { Ordering::Relaxed } else { Ordering::AcqRel };
        self.word.compare_exchange(word, longer, order, Ordering::Relaxed).is_ok()
    }

    /// The page that may continue the run; none if the run was seen to end.
    pub(super) fn next(&self) -> Option<PageIndex> {
        // ORDERING: Relaxed: a hint; a stale one costs a lookup.
        let pages = self.word.load(Ordering::Relaxed) & PAGES_MASK;
        (u64::from(self.ends_at.load(Ordering::Relaxed)) != pages + 1).then_some(PageIndex(pages))
    }

    /// Notes that the run was seen to end. The next cut forgets this.
    pub(super) fn ends(&self) {
        // ORDERING: Relaxed: a hint, as in `next`.
        let pages = self.word.load(Ordering::Relaxed) & PAGES_MASK;
        self.ends_at.store((pages + 1) as u32, Ordering::Relaxed);
    }

    /// Cuts the run: afterwards no page from `first` on is in it.
    pub(super) fn cut(&self, first: u64) {
        // ORDERING: Acquire and Release: as the lookaside's `wipe`. No other thread adds a page: the caller excludes them.
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
