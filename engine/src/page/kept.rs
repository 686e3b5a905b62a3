//! Ranges that stay latched as long as their holder wants. Their latches belong to no thread.

use crate::sync::Mutex;
use crate::units::FrameNo;

/// The kept ranges of a region's pages.
#[derive(Default)]
pub(super) struct Kept {
    ranges: Mutex<Ranges>,
}

#[derive(Default)]
struct Ranges {
    /// Indexed by place; empty places are in `free`.
    places: Vec<Option<Range>>,
    free: Vec<usize>,
}

struct Range {
    first: FrameNo,
    frames: u64,
}

impl Kept {
    /// Notes a range, and returns its place for [`Self::remove`].
    pub(super) fn add(&self, first: FrameNo, frames: u64) -> usize {
        let mut ranges = self.ranges.lock();
        let range = Some(Range { first, frames });
        match ranges.free.pop() {
            Some(place) => {
                ranges.places[place] = range;
                place
            }
            None => {
                ranges.places.push(range);
                ranges.places.len() - 1
            }
        }
    }

    /// Removes a range.
    pub(super) fn remove(&self, place: usize) {
        let mut ranges = self.ranges.lock();
        ranges.places[place] = None;
        ranges.free.push(place);
    }

    /// Whether a kept range contains the frame.
    pub(super) fn over(&self, frame: FrameNo) -> bool {
        let has = |range: &Range| {
            let behind = u64::from(frame.0).checked_sub(u64::from(range.first.0));
            behind.is_some_and(|behind| behind < range.frames)
        };
        self.ranges.lock().places.iter().flatten().any(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_over_a_frame_is_told_until_it_is_let_go() {
        let kept = Kept::default();
        let places = [(4, 2), (5, 3), (9, 1)].map(|(first, frames)| kept.add(FrameNo(first), frames));
        let over = |frame| kept.over(FrameNo(frame));
        assert_eq!([3, 4, 5, 7, 8, 9].map(over), [false, true, true, true, false, true]);
        kept.remove(places[0]);
        assert_eq!([4, 5].map(over), [false, true]);
        assert_eq!(kept.add(FrameNo(4), 1), places[0], "places are used again");
        assert!(over(4));
    }
}
