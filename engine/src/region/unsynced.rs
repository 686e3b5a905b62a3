//! How much of a file was stored to since its last sync: an estimate of the work of its next sync.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Bytes that are counted as one part.
const PART: u64 = 1 << 16;
/// Parts that are remembered. Two parts whose numbers differ by a multiple of this share a slot, and each is counted
/// anew when it replaces the other.
const SLOTS: usize = 512;

/// The parts that were stored to since the last sync began, each counted at least once.
///
/// A store costs two loads, unless it is its part's first since the sync. Only speed depends on the count.
#[derive(Debug)]
pub(super) struct Unsynced {
    /// The round in which a part was last noted, with the part's number in the upper bits.
    slots: Box<[AtomicU64]>,
    /// Counts the syncs, from 1: an empty slot belongs to no round.
    round: AtomicU32,
    parts: AtomicU64,
}

impl Unsynced {
    pub fn new() -> Self {
        let slots = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self { slots, round: AtomicU32::new(1), parts: AtomicU64::new(0) }
    }

    /// Notes a store.
    #[inline]
    pub fn note(&self, offset: u64, len: usize) {
        // ORDERING: Relaxed, here and below: an estimate, which publishes no other memory.
        let round = self.round.load(Ordering::Relaxed);
        let last = (offset + len.saturating_sub(1) as u64) / PART;
        for part in offset / PART..=last {
            let noted = part << u32::BITS | u64::from(round);
            let slot = &self.slots[part as usize % SLOTS];
            if slot.load(Ordering::Relaxed) != noted {
                slot.store(noted, Ordering::Relaxed);
                self.parts.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// A sync of the whole file begins: later stores count for the next one.
    pub fn begin_round(&self) {
        // ORDERING: Relaxed: a store between the two is counted for one of the rounds, or for none.
        self.round.fetch_add(1, Ordering::Relaxed);
        self.parts.store(0, Ordering::Relaxed);
    }

    /// The bytes of the parts that were stored to.
    pub fn bytes(&self) -> u64 {
        // ORDERING: Relaxed: an estimate.
        self.parts.load(Ordering::Relaxed).saturating_mul(PART)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_counts_once_between_two_syncs() {
        let unsynced = Unsynced::new();
        for offset in [0, 8, PART - 8, 5 * PART, PART - 8] {
            unsynced.note(offset, 8);
        }
        assert_eq!(unsynced.bytes(), 2 * PART);
        unsynced.note(PART - 1, 2);
        assert_eq!(unsynced.bytes(), 3 * PART);
        unsynced.begin_round();
        assert_eq!(unsynced.bytes(), 0);
        unsynced.note(0, 3 * PART as usize);
        assert_eq!(unsynced.bytes(), 3 * PART);
    }

    #[test]
    fn no_part_is_left_out_wherever_it_lies() {
        let unsynced = Unsynced::new();
        for n in 0..4 * SLOTS as u64 {
            unsynced.note(n * PART, 1);
            unsynced.note(n * PART, 0);
        }
        assert_eq!(unsynced.bytes(), 4 * SLOTS as u64 * PART);
    }
}
