//! The first extent of an object: the pages from 0 on whose frames follow each other.
//!
//! A page in it is found without memory of its own: one word, which every pin shares, says where page 0 is and how
//! many pages follow. Under a random access to many pages that saves a cache miss per pin. The bitmaps that begin each
//! group of frames interrupt a run of frames but no run of *ranks*, so the extent is counted in these.

use crate::media::layout::{RANKS_MAX, frame_of_rank, rank_of};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::mutant;
use crate::units::{FrameNo, PageIndex};

const PAGES_BITS: u32 = 32;
const PAGES_MASK: u64 = (1 << PAGES_BITS) - 1;

/// Filled and cut under the same locks as the [`Lookaside`](super::lookaside::Lookaside) it is part of.
#[derive(Default)]
pub(super) struct Extent {
    /// Rank of page 0 in the upper half, pages in the lower.
    word: AtomicU64,
    /// Pages of the extent when it was seen to end there; all ones when that is unknown.
    ends_at: AtomicU32,
}

impl Extent {
    /// The frame of a page of the extent, and the word that says so; its lower half is not zero.
    #[inline(always)]
    pub(super) fn find(&self, index: PageIndex) -> Option<(FrameNo, u64)> {
        // ORDERING: Acquire: as a word of the lookaside.
        let word = self.word.load(Ordering::Acquire);
        let frame = || frame_of_rank(((word >> PAGES_BITS) + index.0) as u32);
        (index.0 < word & PAGES_MASK).then(|| (frame(), word))
    }

    /// Whether the word is still this one.
    #[inline(always)]
    pub(super) fn is(&self, word: u64) -> bool {
        // ORDERING: Acquire: as the lookaside's second look.
        self.word.load(Ordering::Acquire) == word
    }

    /// Takes in a page if it continues the extent; whether it is part of it now.
    pub(super) fn push(&self, index: PageIndex, frame: FrameNo) -> bool {
        // ORDERING: Acquire, as `find`.
        let word = self.word.load(Ordering::Acquire);
        let (rank, pages) = (word >> PAGES_BITS, word & PAGES_MASK);
        if index.0 < pages {
            return true;
        }
        let expected = if pages == 0 { u64::from(rank_of(frame)) } else { rank + pages };
        let possible = expected != 0 && expected <= RANKS_MAX.into() && pages < PAGES_MASK;
        if index.0 != pages || u64::from(rank_of(frame)) != expected || !possible {
            return false;
        }
        let longer = ((expected - pages) << PAGES_BITS) | (pages + 1);
        // ORDERING: Release: a thread that finds the frame here sees the bytes it was linked with. On a failure another
        // thread has pushed: the page is then found another way.
        let order = if mutant("relaxed_fill") { Ordering::Relaxed } else { Ordering::AcqRel };
        self.word.compare_exchange(word, longer, order, Ordering::Relaxed).is_ok()
    }

    /// The page that may continue the extent, unless it was seen that none does.
    pub(super) fn next(&self) -> Option<PageIndex> {
        // ORDERING: Relaxed: a hint; a stale one costs a lookup.
        let pages = self.word.load(Ordering::Relaxed) & PAGES_MASK;
        (u64::from(self.ends_at.load(Ordering::Relaxed)) != pages + 1).then_some(PageIndex(pages))
    }

    /// Notes that the extent does not go on for now.
    pub(super) fn ends(&self) {
        // ORDERING: Relaxed: a hint, as in `next`. Counted from one, so that zero says nothing.
        let pages = self.word.load(Ordering::Relaxed) & PAGES_MASK;
        self.ends_at.store((pages + 1) as u32, Ordering::Relaxed);
    }

    /// Cuts the extent: no page from `first` on is in it.
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
    fn an_extent_takes_what_follows_and_nothing_else() {
        let extent = Extent::default();
        assert!(!extent.push(PageIndex(1), FrameNo(8)), "page 0 comes first");
        assert!(extent.push(PageIndex(0), FrameNo(7)) && extent.push(PageIndex(1), FrameNo(8)));
        assert!(!extent.push(PageIndex(2), FrameNo(10)) && !extent.push(PageIndex(3), FrameNo(10)));
        let get = |n| extent.find(PageIndex(n)).map(|found| found.0);
        assert_eq!([0, 1, 2].map(get), [Some(FrameNo(7)), Some(FrameNo(8)), None]);
        extent.cut(1);
        assert_eq!([0, 1].map(get), [Some(FrameNo(7)), None]);
        assert!(extent.push(PageIndex(1), FrameNo(8)));
        extent.cut(0);
        assert!(get(0).is_none() && extent.push(PageIndex(0), FrameNo(99)));
    }

    #[test]
    fn a_bitmap_between_two_groups_does_not_end_an_extent() {
        let extent = Extent::default();
        for (index, frame) in [(0, 32766), (1, 32767), (2, 32769)] {
            assert!(extent.push(PageIndex(index), FrameNo(frame)));
        }
        assert_eq!(extent.find(PageIndex(2)).map(|found| found.0), Some(FrameNo(32769)));
    }
}
