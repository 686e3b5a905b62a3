//! Which data frames have bytes in live records (LOG rule 6).
//!
//! After a power loss a record that is not passed is replayed over all that was stored in place since. So before a sync
//! of such a frame, and before a growth that uncovers bytes of it, the tail is moved past its last record.

use super::record::Sequence;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::units::FrameNo;
use rustc_hash::FxHashMap;

/// For each frame, the last live record that carries bytes of it.
#[derive(Default)]
pub struct Images {
    last: Mutex<FxHashMap<FrameNo, Sequence>>,
    count: AtomicUsize,
}

impl Images {
    /// Notes an appended record. The caller holds the append lock, and its caller the frames' exclusive latches.
    pub(super) fn add(&self, sequence: Sequence, frames: Vec<FrameNo>) {
        if frames.is_empty() {
            return;
        }
        let mut last = self.last.lock();
        frames.into_iter().for_each(|frame| {
            last.insert(frame, sequence);
        });
        // ORDERING: Release: see `last`.
        self.count.store(last.len(), Ordering::Release);
    }

    /// All records before `tail` are passed.
    pub(super) fn pass(&self, tail: Sequence) {
        let mut last = self.last.lock();
        last.retain(|_, sequence| *sequence >= tail);
        // ORDERING: Release: see `last`.
        self.count.store(last.len(), Ordering::Release);
    }

    /// The last live record with bytes of one of these frames.
    #[must_use]
    pub fn last(&self, frames: impl Iterator<Item = FrameNo>) -> Option<Sequence> {
        // ORDERING: Acquire: a thread that latched a frame after a batch released it sees the batch's count.
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let last = self.last.lock();
        frames.filter_map(|frame| last.get(&frame)).max().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_live_record_of_a_frame_is_known_until_it_is_passed() {
        let images = Images::default();
        let last = |frames: &[u32]| images.last(frames.iter().copied().map(FrameNo));
        assert_eq!(last(&[1, 2, 3]), None);
        images.add(Sequence(5), vec![FrameNo(1), FrameNo(2)]);
        images.add(Sequence(6), vec![]);
        images.add(Sequence(7), vec![FrameNo(2)]);
        assert_eq!((last(&[1]), last(&[2]), last(&[3])), (Some(Sequence(5)), Some(Sequence(7)), None));
        assert_eq!(last(&[2, 1, 3]), Some(Sequence(7)));
        images.pass(Sequence(5));
        assert_eq!(last(&[1]), Some(Sequence(5)), "record 5 is where the tail stands: a replay finds it");
        images.pass(Sequence(6));
        assert_eq!((last(&[1]), last(&[2])), (None, Some(Sequence(7))));
        images.pass(Sequence(8));
        assert_eq!(last(&[1, 2]), None);
    }
}
