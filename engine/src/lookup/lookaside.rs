//! What a pin reads instead of the map: the object's first run, and one word for each page outside the run.

use super::first_run::FirstRun;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{LazyArray, mutant};
use crate::units::{FrameNo, PageIndex};
use std::ops::Range;
use std::sync::OnceLock;

/// Words in a page of memory. Models use two, so that they stay small.
const MEMORY_PAGE: u64 = if cfg!(pagestone_loom) { 2 } else { 1024 };

/// From pages to frames, for the pages that were looked up.
///
/// A word is filled under the shared side of the object's `shape` lock. It is cleared under the exclusive side, before
/// the frame is detached, or left by its page, which moves. A hit takes no lock: it pins the frame that it read, and then reads the word again. Pin and
/// detachment are read-modify-writes of one descriptor. So either the detachment sees the pin, or the second look of
/// the pin sees that the word was cleared.
pub struct Lookaside {
    first_run: FirstRun,
    /// Frame numbers. 0, the superblock's frame, says that the page was not looked up. The array is reserved when the
    /// first page outside the first run is remembered, so that a handle by itself takes no addresses.
    words: OnceLock<Option<LazyArray<AtomicU32>>>,
    /// The number of pages that may have words.
    room: usize,
    /// No word from this page on is filled.
    filled: AtomicU64,
}

impl Lookaside {
    /// Room for `pages` pages, or for fewer where addresses are scarce. Pages without room are looked up each time.
    pub fn new(pages: usize) -> Self {
        Self {
            first_run: FirstRun::default(),
            words: OnceLock::new(),
            room: pages,
            filled: AtomicU64::new(0),
        }
    }

    /// Pins a page that was looked up before: calls `pin` with its frame. None if the page is not known, or if it was cut
    /// off meanwhile; the pin is dropped then.
    ///
    /// The path of the first run is kept short on purpose: a processor overlaps the cache misses of several pins only as
    /// far as it can look ahead, and each instruction counts against that.
    #[inline(always)]
    pub fn pin<P>(&self, index: PageIndex, pin: impl Fn(FrameNo) -> Option<P>) -> Option<P> {
        match self.first_run.find(index) {
            Some((frame, word)) => {
                let page = pin(frame)?;
                (self.first_run.is(word) || mutant("hit_without_second_look")).then_some(page)
            }
            None => {
                let word = self.word(index.0)?;
                let frame = known(word)?;
                let page = pin(frame)?;
                // The second look. It comes after the pin, whose read-modify-write acquires. A hit that reads a
                // cleared word sees what the clearing thread did before.
                (known(word) == Some(frame) || mutant("hit_without_second_look")).then_some(page)
            }
        }
    }

    /// The frame of a page, if it was looked up.
    pub(crate) fn get(&self, index: PageIndex) -> Option<FrameNo> {
        match self.first_run.find(index) {
            Some((frame, _)) => Some(frame),
            None => known(self.word(index.0)?),
        }
    }

    #[inline(always)]
    fn word(&self, index: u64) -> Option<&AtomicU32> {
        self.words.get()?.as_ref()?.get(usize::try_from(index).ok()?)
    }

    /// As [`Self::word`], but reserves the array if need be.
    fn word_to_fill(&self, index: u64) -> Option<&AtomicU32> {
        let words = self.words.get_or_init(|| {
            let lengths =
                std::iter::successors(Some(self.room), |len| Some(len / 2)).take_while(|len| *len > 0);
            lengths.map(LazyArray::reserve).find_map(Result::ok)
        });
        words.as_ref()?.get(usize::try_from(index).ok()?)
    }

    /// The page at which the map may show more of the first run; none if the run is known to end.
    pub(crate) fn run_to_look_for(&self) -> Option<PageIndex> {
        self.first_run.next()
    }

    /// Adds what the map shows from `first` on, as far as it continues the first run. The caller holds `shape` shared.
    pub(crate) fn extend_run(&self, first: PageIndex, frames: &[FrameNo]) {
        let continued =
            frames.iter().zip(first.0..).all(|(frame, index)| self.first_run.push(PageIndex(index), *frame));
        if !continued {
            self.first_run.ends();
        }
    }

    /// Remembers a lookup. The caller holds `shape` shared.
    pub fn fill(&self, index: PageIndex, frame: FrameNo) {
        if self.first_run.push(index, frame) {
            return;
        }
        let Some(word) = self.word_to_fill(index.0) else { return };
        // ORDERING: Relaxed: only read under the exclusive side of `shape`.
        self.filled.fetch_max(index.0 + 1, Ordering::Relaxed);
        // ORDERING: Release: a thread that finds the frame here sees the bytes it was linked with. A word that is
        // filled already holds the same frame: `shape` is shared, so nothing was detached since.
        let order = if mutant("relaxed_fill") { Ordering::Relaxed } else { Ordering::Release };
        let _ = word.compare_exchange(0, frame.0, order, Ordering::Relaxed);
    }

    /// Forgets pages. The caller holds `shape` exclusively, and detaches their frames afterwards.
    pub fn clear(&self, pages: Range<u64>) {
        self.first_run.cut(pages.start);
        // ORDERING: Relaxed: written under the shared side of `shape`.
        let filled = self.filled.load(Ordering::Relaxed);
        self.wipe(pages.start..pages.end.min(filled));
        if pages.start < filled && filled <= pages.end {
            self.filled.store(pages.start, Ordering::Relaxed);
        }
    }

    /// Clears words. Memory that holds no other words is given back, not written: in a sparse object a store would populate
    /// memory only to clear it.
    fn wipe(&self, pages: Range<u64>) {
        let whole = pages.start.next_multiple_of(MEMORY_PAGE)..pages.end / MEMORY_PAGE * MEMORY_PAGE;
        let Some(Some(words)) = self.words.get() else { return };
        let punched =
            whole.start < whole.end && words.punch(whole.start as usize..whole.end as usize).is_ok();
        let mut index = pages.start;
        while index < pages.end {
            if punched && index == whole.start {
                index = whole.end;
                continue;
            }
            if let Some(word) = self.word(index) {
                // ORDERING: Release. The detachment comes later, and its read-modify-write orders this store before it.
                word.store(0, Ordering::Release);
            }
            index += 1;
        }
    }
}

/// What a word of the lookaside says.
#[inline(always)]
fn known(word: &AtomicU32) -> Option<FrameNo> {
    // ORDERING: Acquire: a thread that finds the frame sees the bytes it was linked with.
    match word.load(Ordering::Acquire) {
        0 => None,
        frame => Some(FrameNo(frame)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cleared_range_is_empty_and_its_neighbours_are_not() {
        for range in [5..9, 0..1024, 1000..5000, 1024..4096, 3000..u64::MAX] {
            let lookaside = Lookaside::new(8192);
            // Frames that do not follow each other: none but page 0 is in the first run, which a cut shortens for good.
            let frame = |index: u64| FrameNo(index as u32 * 2 + 1);
            (0..6000).for_each(|index| lookaside.fill(PageIndex(index), frame(index)));
            lookaside.clear(range.clone());
            for index in 0..6000 {
                let expected = (!range.contains(&index)).then_some(frame(index));
                assert_eq!(lookaside.get(PageIndex(index)), expected, "{index} of {range:?}");
            }
        }
    }

    #[test]
    fn pages_beyond_its_room_are_never_remembered() {
        let lookaside = Lookaside::new(16);
        lookaside.fill(PageIndex(16), FrameNo(1));
        lookaside.fill(PageIndex(u64::MAX - 1), FrameNo(1));
        assert_eq!(lookaside.get(PageIndex(16)), None);
        assert_eq!(lookaside.get(PageIndex(u64::MAX - 1)), None);
        lookaside.clear(0..u64::MAX);
    }
}
