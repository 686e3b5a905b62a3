//! The recorder's copy of a region: its initial contents, and every store that went through `persist` since. If the
//! region differs from it, a store has bypassed `persist`, and the crash images of the run are wrong.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a word, the unit of comparison.
const WORD: usize = size_of::<u64>();

/// The copy; empty before a region is attached.
#[derive(Debug, Default)]
pub(super) struct Replica(Vec<u8>);

impl Replica {
    /// The copy of a region with these bytes.
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The region has grown to `bytes` bytes; new ones are zeros.
    pub(super) fn grow(&mut self, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.0.resize(bytes.max(self.0.len()), 0);
    }

    /// The region was cut to `bytes` bytes.
    pub(super) fn cut(&mut self, bytes: u64) {
        self.0.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    /// Bytes were stored. Stores outside of the copy came before the region was attached and are in its initial
    /// contents.
    pub(super) fn store(&mut self, offset: u64, bytes: &[u8]) {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        if let Some(end) = start.checked_add(bytes.len()).filter(|&end| end <= self.0.len()) {
            self.0[start..end].copy_from_slice(bytes);
        }
    }

    /// The ranges in which `real` differs, except words that are `excused`. Each difference is found once.
    pub(super) fn differences(
        &mut self,
        real: &[AtomicU64],
        excused: impl Fn(u64) -> bool,
    ) -> Vec<Range<u64>> {
        let mut found: Vec<Range<u64>> = Vec::new();
        for (n, (copy, word)) in self.0.chunks_exact_mut(WORD).zip(real).enumerate() {
            // ORDERING: Relaxed: stores through the door are excluded by the recorder's lock; a store through a
            // user's latch may race, and is excused.
            let bytes = u64::from_le(word.load(Ordering::Relaxed)).to_le_bytes();
            let offset = (n * WORD) as u64;
            if copy == bytes || excused(offset) {
                continue;
            }
            copy.copy_from_slice(&bytes);
            match found.last_mut().filter(|last| last.end == offset) {
                Some(last) => last.end += WORD as u64,
                None => found.push(offset..offset + WORD as u64),
            }
        }
        found
    }
}
