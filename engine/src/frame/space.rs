//! The pfn space: which regions have which numbers.

use crate::error::{Error, Result};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::units::{FRAMES_PER_BLOCK, Pfn, PfnRange};
use std::ops::Range;

/// First fit among freed runs, then numbers above the highest one ever used. Pfn 0 is never used.
#[derive(Debug)]
pub(super) struct PfnSpace {
    /// Numbers from here on were never used. Changed under `free`; a forked child reads it without the lock.
    high: AtomicU64,
    end: u64,
    /// Ascending, never empty, never adjacent.
    free: Mutex<Vec<Range<u64>>>,
}

impl PfnSpace {
    pub(super) fn new(numbers: Range<u64>) -> Self {
        Self {
            high: AtomicU64::new(numbers.start.max(FRAMES_PER_BLOCK).next_multiple_of(FRAMES_PER_BLOCK)),
            end: numbers.end / FRAMES_PER_BLOCK * FRAMES_PER_BLOCK,
            free: Mutex::new(Vec::new()),
        }
    }

    /// Numbers from here on were never used.
    pub(super) fn high(&self) -> u64 {
        // ORDERING: Relaxed: changed under the lock, or read when no other thread exists.
        self.high.load(Ordering::Relaxed)
    }

    /// Allocates a run. `open` makes the descriptors below its end accessible; if that fails, nothing is allocated.
    pub(super) fn allocate(&self, frames: u64, open: impl FnOnce(u64) -> Result) -> Result<PfnRange> {
        let none = || Error::NoAddresses {
            why: format!(
                "the frame table of this process has no run of {frames} frames left: close a region, or say with \
                 `max_size` how large each may become"
            ),
        };
        let length = whole_blocks(frames).ok_or_else(none)?;
        let mut free = self.free.lock();
        let start = if let Some(i) = free.iter().position(|run| run.end - run.start >= length) {
            let start = free[i].start;
            free[i].start += length;
            if free[i].is_empty() {
                free.remove(i);
            }
            start
        } else {
            let start = self.high();
            let high = start.checked_add(length).filter(|high| *high <= self.end).ok_or_else(none)?;
            open(high)?;
            // ORDERING: Relaxed: as `high`.
            self.high.store(high, Ordering::Relaxed);
            start
        };
        Ok(PfnRange::new(Pfn::new(start), frames))
    }

    pub(super) fn free(&self, range: PfnRange) {
        let Some(length) = whole_blocks(range.frames) else { return };
        let mut run = range.start.get()..range.start.get() + length;
        let mut free = self.free.lock();
        let at = free.partition_point(|other| other.start < run.start);
        if at < free.len() && free[at].start == run.end {
            run.end = free.remove(at).end;
        }
        if at > 0 && free[at - 1].end == run.start {
            free[at - 1].end = run.end;
        } else {
            free.insert(at, run);
        }
    }

    /// Number of allocated frames, in whole blocks.
    pub(super) fn allocated(&self) -> u64 {
        let free = self.free.lock();
        let first = FRAMES_PER_BLOCK;
        self.high() - first - free.iter().map(|run| run.end - run.start).sum::<u64>()
    }
}

/// `frames` rounded up to blocks, at least one.
fn whole_blocks(frames: u64) -> Option<u64> {
    frames.max(1).checked_next_multiple_of(FRAMES_PER_BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_runs_merge_and_are_handed_out_again() {
        let space = PfnSpace::new(0..512 * 5);
        let allocate = |frames| space.allocate(frames, |_| Ok(()));
        let [a, b, c, d] = [1, 512, 513, 0].map(allocate);
        let [a, b, c] = [a, b, c].map(|range| range.expect("room"));
        assert!(
            matches!(d, Err(Error::NoAddresses { .. })),
            "{d:?}: four blocks, and block zero has no owner"
        );
        assert_eq!([a, b, c].map(|range| range.start.get()), [512, 1024, 1536]);
        assert_eq!(space.allocated(), 4 * 512);
        space.free(a);
        space.free(c);
        assert!(allocate(3 * 512).is_err(), "the hole is in the middle");
        space.free(b);
        assert_eq!(space.allocated(), 0);
        assert_eq!(allocate(4 * 512).expect("one run again").start.get(), 512);
        assert!(allocate(u64::MAX).is_err());
    }
}
