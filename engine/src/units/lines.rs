//! A set of cache lines of a frame.

use super::{LINE_SIZE, LINES_PER_FRAME};
use std::fmt;
use std::ops::Range;

/// A set of a frame's cache lines: bit n is line n.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Lines(u64);

impl Lines {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const ALL: Self = Self(u64::MAX);

    /// The lines whose bits are set.
    #[must_use]
    pub const fn new(bits: u64) -> Self {
        Self(bits)
    }
    /// The bits, one for each line.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
    /// The lines that contain these bytes of a frame, which must not be empty.
    #[must_use]
    #[inline]
    pub const fn of(bytes: &Range<usize>) -> Self {
        let (first, last) = (bytes.start / LINE_SIZE, (bytes.end - 1) / LINE_SIZE);
        Self((u64::MAX << first) & (u64::MAX >> (LINES_PER_FRAME - 1 - last)))
    }
    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// The union with `others`.
    #[must_use]
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }
    /// The intersection with `others`.
    #[must_use]
    pub const fn among(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }
    /// The runs of adjacent lines, in order, as byte ranges of the frame.
    pub fn runs(self) -> impl Iterator<Item = Range<usize>> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let start = left.trailing_zeros() as usize;
            let count = (left >> start).trailing_ones() as usize;
            left &= !((u64::MAX >> (LINES_PER_FRAME - count)) << start);
            Some(start * LINE_SIZE..(start + count) * LINE_SIZE)
        })
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lines {:#x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::FRAME_SIZE;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_cover_their_bytes_and_no_more() {
        for start in 0..FRAME_SIZE {
            for end in [start + 1, start + 63, start + 64, start + 65, FRAME_SIZE] {
                let range = start..end.min(FRAME_SIZE);
                let lines = Lines::of(&range).get();
                for line in 0..LINES_PER_FRAME {
                    let hit = range.start < (line + 1) * LINE_SIZE && range.end > line * LINE_SIZE;
                    assert_eq!(lines >> line & 1 == 1, hit, "line {line} of {range:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn runs_are_the_set_bits_in_order(bits: u64) {
            let mut seen = Lines::NONE;
            let mut last_end = None;
            for run in Lines::new(bits).runs() {
                prop_assert!(last_end.is_none_or(|end| run.start > end));
                last_end = Some(run.end);
                seen = seen.with(Lines::of(&run));
            }
            prop_assert_eq!(seen.get(), bits);
        }
    }
}
