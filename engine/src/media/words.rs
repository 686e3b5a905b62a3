//! Words of the medium: how they are read, and which numbers may be frames.

use super::layout::{self, RootWord};
use super::log::{Log, Snapshot, Txn};
use super::root::Roots;
use super::seal::Salt;
use crate::error::{Error, Result};
use crate::units::{FRAME_SIZE, FrameNo};

/// Words in a frame.
pub(crate) const WORDS: u64 = layout::WORDS_PER_FRAME;

/// Anything that reads the medium's words, appended records included.
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

    /// Returns `frame`, whose words are to be read as those of a node. An error if it is known as a page.
    fn node(&self, frame: FrameNo) -> Result<FrameNo>;

    /// Returns `frame`, whose words are to be read as those of a bitmap or of the table of groups, and states this use.
    /// An error if the frame is known as anything else.
    fn of_groups(&self, frame: FrameNo) -> Result<FrameNo>;

    /// Which root counts for each of its lines.
    fn roots(&self) -> &Roots;

    /// The salt of the words' checks.
    fn salt(&self) -> Salt {
        self.roots().anchor().salt
    }

    /// A word of the root.
    fn root(&self, word: RootWord) -> Result<u64> {
        self.word(self.roots().at(word))
    }

    /// The value of a sealed word of the root, which is the head of a `what`.
    fn head(&self, word: RootWord, what: &'static str) -> Result<u64> {
        let found = self.root(word)?;
        let value = self.salt().place(word.offset()).open(found);
        value.ok_or_else(|| unsealed(what, self.roots().at(word), found))
    }

    /// The hash of a name, with the region's key.
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
        self.uses().refuse_as_node(frame).map(|()| frame)
    }
    fn of_groups(&self, frame: FrameNo) -> Result<FrameNo> {
        self.uses().of_groups(frame).map(|()| frame)
    }
    fn roots(&self) -> &Roots {
        self.roots()
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
        self.log().uses().refuse_as_node(frame).map(|()| frame)
    }
    fn of_groups(&self, frame: FrameNo) -> Result<FrameNo> {
        self.log().uses().of_groups(frame).map(|()| frame)
    }
    fn roots(&self) -> &Roots {
        self.log().roots()
    }
    fn root(&self, word: RootWord) -> Result<u64> {
        self.root(word)
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
        // The use of the frame now is not its use at that moment.
        Ok(frame)
    }
    fn of_groups(&self, frame: FrameNo) -> Result<FrameNo> {
        Ok(frame)
    }
    fn roots(&self) -> &Roots {
        self.roots()
    }
    fn hash(&self, name: &[u8]) -> u64 {
        self.log().name_hash(name)
    }
}

/// The error for `word` at byte `at`, in a `what`: it was not sealed for this place or owner.
pub(crate) fn unsealed(what: &'static str, at: u64, word: u64) -> Error {
    let (frame, place) = (at / FRAME_SIZE as u64, at % FRAME_SIZE as u64 / layout::WORD_SIZE);
    let found = if word == 0 { "zero, as nothing writes it" } else { "of another owner or place, or worn" };
    Error::corrupt(what, at, format!("word {place:#x} of frame {frame:#x} is {found}"))
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
    /// How many groups the region has. The last may be partial.
    pub(crate) const fn groups(self) -> u64 {
        self.frames.div_ceil(layout::GROUP_FRAMES)
    }

    /// Whether `frame` is part of what a format makes: head, log, the first bitmaps, the directory's root.
    pub(crate) const fn fixed(self, frame: FrameNo) -> bool {
        layout::is_of_format(frame, self.log_frames)
    }

    /// Whether `frame` exists and may be a structure that a word names: an ordinary frame, or one that a format makes.
    pub(crate) const fn found(self, frame: FrameNo) -> bool {
        let made = frame.0 >= layout::GROUP_ROOT_FRAME.0 && frame.0 <= layout::DIRECTORY_FRAME.0;
        made || self.ordinary(frame)
    }

    /// Whether `frame` exists and may belong to an object, a node or a record.
    pub(crate) const fn ordinary(self, frame: FrameNo) -> bool {
        (frame.0 as u64) < self.frames && !self.fixed(frame)
    }

    /// For the `word`-th word of all bitmaps: the bits of fixed frames, and the bits beyond the region's end.
    pub(crate) fn outside(self, word: u64) -> (u64, u64) {
        let first = word * 64;
        let fixed = layout::bits_of_format(self.log_frames, word);
        let beyond = match self.frames.saturating_sub(first) {
            0 => !0,
            inside @ 1..64 => !0 << inside,
            _ => 0,
        };
        (fixed, beyond)
    }

    /// `value`, which was read at `at` in a `what`, as an ordinary frame.
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
    fn shape_knows_the_fixed_frames() {
        let shape = Shape { log_frames: 64, frames: layout::GROUP_FRAMES + 10 };
        assert_eq!(shape.groups(), 2);
        assert!(!shape.ordinary(FrameNo(79)) && shape.ordinary(FrameNo(80)));
        assert!(!shape.ordinary(FrameNo(12)) && shape.ordinary(FrameNo(13)) && shape.ordinary(FrameNo(15)));
        assert!(shape.ordinary(FrameNo(layout::GROUP_FRAMES as u32)));
        for (frame, found) in [(7, false), (8, true), (15, true), (16, false), (79, false), (80, true)] {
            assert_eq!(shape.found(FrameNo(frame)), found, "{frame}");
        }
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
