//! Which frames have an owner: one bit each, in memory.

use super::bitmap::GROUP_WORDS;
use super::words::Shape;
use crate::units::FrameNo;

/// One bit for each frame of a region: whether it has an owner.
pub(super) struct Owned {
    bits: Vec<u64>,
}

impl Owned {
    pub(super) fn new(shape: Shape) -> Self {
        Self { bits: vec![0; (shape.groups() * GROUP_WORDS) as usize] }
    }

    /// Gives the frame an owner. False if it has one already.
    pub(super) fn claim(&mut self, frame: FrameNo) -> bool {
        let (word, bit) = (frame.0 as usize / 64, 1 << (frame.0 % 64));
        if word >= self.bits.len() {
            self.bits.resize((word as u64 + 1).next_multiple_of(GROUP_WORDS) as usize, 0);
        }
        let free = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        free
    }

    /// Takes the frame's owner away.
    pub(super) fn release(&mut self, frame: FrameNo) {
        if let Some(bits) = self.bits.get_mut(frame.0 as usize / 64) {
            *bits &= !(1 << (frame.0 % 64));
        }
    }

    /// Whether the frame has an owner.
    pub(super) fn has(&self, frame: FrameNo) -> bool {
        self.word(u64::from(frame.0) / 64) >> (frame.0 % 64) & 1 == 1
    }

    /// The bits of 64 frames.
    pub(super) fn word(&self, word: u64) -> u64 {
        self.bits.get(word as usize).copied().unwrap_or(0)
    }
}
