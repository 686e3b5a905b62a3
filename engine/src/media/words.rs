//! Words of the medium: how they are read, how a number in one is sealed, and which numbers may be frames.

use super::layout;
use super::log::{Log, Snapshot, Txn};
use crate::error::{Error, Result};
use crate::units::FrameNo;

/// Words in a frame.
pub(crate) const WORDS: u64 = layout::WORDS_PER_FRAME;

/// Anything that shows the medium's words, appended records included.
pub(crate) trait Words {
    /// The word at byte `at` of the region.
    fn word(&self, at: u64) -> Result<u64>;

    /// The words from byte `at` on, all of one frame, in one look.
    fn run(&self, at: u64, into: &mut [u64]) -> Result;

    /// All words of a frame, in one look.
    fn frame(&self, frame: FrameNo) -> Result<[u64; WORDS as usize]> {
        let mut words = [0; WORDS as usize];
        self.run(frame.offset(), &mut words)?;
        Ok(words)
    }

    /// `frame`, whose words are to be read as a node's: not one that was met as a page.
    fn node(&self, frame: FrameNo) -> Result<FrameNo>;

    /// What every check of the region is bound to.
    fn salt(&self) -> u64;

    /// The hash of a name, by the region's key.
    fn hash(&self, name: &[u8]) -> u64;
}

impl Words for Log {
    fn word(&self, at: u64) -> Result<u64> {
        self.read(at)
    }
    fn run(&self, at: u64, into: &mut [u64]) -> Result {
        self.read_run(at, into)
    }
    fn node(&self, frame: FrameNo) -> Result<FrameNo> {
        self.uses().refuse_page(frame).map(|()| frame)
    }
    fn salt(&self) -> u64 {
        self.drawn().salt
    }
    fn hash(&self, name: &[u8]) -> u64 {
        self.name_hash(name)
    }
}

impl Words for Txn<'_> {
    fn word(&self, at: u64) -> Result<u64> {
        self.read(at)
    }
    fn run(&self, at: u64, into: &mut [u64]) -> Result {
        self.read_run(at, into)
    }
    fn node(&self, frame: FrameNo) -> Result<FrameNo> {
        self.log().uses().refuse_page(frame).map(|()| frame)
    }
    fn salt(&self) -> u64 {
        self.log().drawn().salt
    }
    fn hash(&self, name: &[u8]) -> u64 {
        self.log().name_hash(name)
    }
}

impl Words for Snapshot<'_> {
    fn word(&self, at: u64) -> Result<u64> {
        let mut word = [0];
        self.read_run(at, &mut word)?;
        Ok(word[0])
    }
    fn run(&self, at: u64, into: &mut [u64]) -> Result {
        self.read_run(at, into)
    }
    fn node(&self, frame: FrameNo) -> Result<FrameNo> {
        // What the frame is used for now says nothing of that moment.
        Ok(frame)
    }
    fn salt(&self) -> u64 {
        self.log().drawn().salt
    }
    fn hash(&self, name: &[u8]) -> u64 {
        self.log().name_hash(name)
    }
}

/// What a sealed word belongs to. A word found under another owner, or in another place, does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seal {
    /// A word of object `id`'s map that covers the pages `prefix << (9 * level) ..`.
    Map {
        /// The object.
        id: u64,
        /// The first page covered, without the low `9 * level` bits.
        prefix: u64,
        /// 0: the word maps a page; else it names a node.
        level: u32,
    },
    /// A word at byte `at`: heads of lists in the root frame, words of directory nodes and of the busy table.
    Place {
        /// Its byte offset.
        at: u64,
    },
}

const VALUE_BITS: u32 = 48;
const VALUE_MASK: u64 = (1 << VALUE_BITS) - 1;

impl Seal {
    /// 16 bits over owner, place and value: a stray or stale word passes once in 65,536 times.
    fn check(self, value: u64) -> u64 {
        let seed = match self {
            Self::Map { id, prefix, level } => mix(id ^ 0x6d61_7000) ^ mix(prefix << 3 | u64::from(level)),
            Self::Place { at } => mix(at ^ 0x706c_6163_6500),
        };
        mix(seed ^ value) >> VALUE_BITS
    }

    /// `value` (48 bits, not 0) with its check bits; 0 stays 0, "nothing".
    pub(crate) fn close(self, value: u64) -> u64 {
        debug_assert!(value <= VALUE_MASK);
        if value == 0 { 0 } else { self.check(value) << VALUE_BITS | value }
    }

    /// The value, if the word is nothing (0) or was closed for this owner and place.
    pub(crate) fn open(self, word: u64) -> Option<u64> {
        let value = word & VALUE_MASK;
        (word == 0 || (value != 0 && self.check(value) == word >> VALUE_BITS)).then_some(value)
    }
}

/// A bijection that spreads every bit over all others (the finalizer of MurmurHash3): part of the format.
pub(crate) const fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ x >> 33
}

/// Which frame numbers exist, and which of them may belong to a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Frames of the log.
    pub(crate) log_frames: u32,
    /// Frames of the region.
    pub(crate) frames: u64,
}

impl Shape {
    /// How many groups the region has; the last may be partial.
    pub(crate) const fn groups(self) -> u64 {
        self.frames.div_ceil(layout::GROUP_FRAMES)
    }

    /// The frame that holds group `group`'s bits.
    pub(crate) const fn bitmap(self, group: u64) -> FrameNo {
        layout::bitmap_frame(group)
    }

    /// Whether `frame` is part of the fixed furniture: head, log, directory root, bitmaps.
    pub(crate) const fn fixed(self, frame: FrameNo) -> bool {
        frame.0 < layout::first_free_frame(self.log_frames).0 || frame.0 as u64 % layout::GROUP_FRAMES == 0
    }

    /// Whether `frame` exists and may belong to an object, a node or a record.
    pub(crate) const fn ordinary(self, frame: FrameNo) -> bool {
        (frame.0 as u64) < self.frames && !self.fixed(frame)
    }

    /// The bits of the `word`-th word of all bitmaps that belong to fixed frames, and those beyond the region's end.
    pub(crate) fn outside(self, word: u64) -> (u64, u64) {
        let first = word * 64;
        // Fixed frames are at the front of group 0 and the first of each other group.
        let fixed = if first < layout::GROUP_FRAMES { first..first + 64 } else { first..first + 1 };
        let fixed = fixed
            .filter(|&frame| frame < self.frames && self.fixed(FrameNo(frame as u32)))
            .fold(0, |bits, frame| bits | 1 << (frame - first));
        let beyond = match self.frames.saturating_sub(first) {
            0 => !0,
            inside @ 1..64 => !0 << inside,
            _ => 0,
        };
        (fixed, beyond)
    }

    /// `value`, read at `at` as part of a `what`, as an ordinary frame.
    pub(crate) fn frame(self, value: u64, what: &'static str, at: u64) -> Result<FrameNo> {
        match u32::try_from(value).map(FrameNo) {
            Ok(frame) if self.ordinary(frame) => Ok(frame),
            _ => Err(Error::corrupt(what, at, format!("frame {value} does not exist or is a fixed one"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_word_opens_only_for_its_owner_and_place() {
        let seal = Seal::Map { id: 7, prefix: 3, level: 0 };
        let word = seal.close(99);
        assert_eq!(seal.open(word), Some(99));
        for other in [
            Seal::Map { id: 8, prefix: 3, level: 0 },
            Seal::Map { id: 7, prefix: 4, level: 0 },
            Seal::Map { id: 7, prefix: 3, level: 1 },
            Seal::Place { at: 4096 },
        ] {
            assert_eq!(other.open(word), None, "{other:?}");
        }
        for bit in 0..64 {
            assert_eq!(seal.open(word ^ 1 << bit), None, "bit {bit}");
        }
        assert_eq!((seal.close(0), seal.open(0), seal.open(1 << 48)), (0, Some(0), None));
    }

    #[test]
    fn shape_knows_the_fixed_frames() {
        let shape = Shape { log_frames: 64, frames: layout::GROUP_FRAMES + 10 };
        assert_eq!(shape.groups(), 2);
        assert_eq!((shape.bitmap(0), shape.bitmap(1)), (FrameNo(10), FrameNo(layout::GROUP_FRAMES as u32)));
        assert!(!shape.ordinary(FrameNo(79)) && shape.ordinary(FrameNo(80)));
        assert!(!shape.ordinary(FrameNo(layout::GROUP_FRAMES as u32)));
        assert!(shape.ordinary(FrameNo(layout::GROUP_FRAMES as u32 + 9)));
        assert!(!shape.ordinary(FrameNo(layout::GROUP_FRAMES as u32 + 10)));
        for word in 0..2 * layout::GROUP_FRAMES / 64 {
            let (fixed, beyond) = shape.outside(word);
            for bit in 0..64 {
                let frame = word * 64 + bit;
                let inside = frame < shape.frames;
                assert_eq!(beyond >> bit & 1 == 0, inside);
                assert_eq!(fixed >> bit & 1 == 1, inside && shape.fixed(FrameNo(frame as u32)));
            }
        }
    }
}
