//! The root: the words from which everything else is found. There are two, in frames that the superblock names.
//!
//! A root is 64 lines. A line is seven words, and one word with a count of its changes (32 bits) and a sum (32 bits),
//! which is bound to the region and to the line's place. One entry of the log changes a word in both roots.
//!
//! ```text
//! line 0   frames, next object, free slots, orphans, busy table, objects, nothing
//! line 1   directory, groups, shares (reserved), page sums (reserved), salt, key of the hash of names (2 words)
//! line 2   uuid (2 words), features (3 words), nothing (2 words)
//! line 3.. reserved; 8 to 63: areas, one a line
//! ```
//! A line is verified whenever it is read for a change: otherwise a sum that is computed anew would cover damaged words.
//! If it is not whole, the line of the other root counts, and the change writes the whole line in both.

use super::layout::{ROOT_LINES, RootWord, WORD_SIZE};
use super::rules::Rules;
use super::seal::Salt;
use crate::error::{Error, Result};
use crate::region::Memory;
use crate::units::{FrameNo, LINE_SIZE};

/// Words of a line: seven and their sum.
pub const LINE_WORDS: usize = LINE_SIZE / WORD_SIZE as usize;
/// Words of a line without the last.
const VALUES: usize = LINE_WORDS - 1;

/// What is needed to read any word of a region, from its superblock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Anchor {
    /// The salt of its checks.
    pub salt: Salt,
    /// The frames of the two roots.
    pub roots: [FrameNo; 2],
}

impl Anchor {
    /// The byte offsets in the region of the word at this byte of each root.
    #[must_use]
    pub fn places(&self, offset: u64) -> [u64; 2] {
        self.roots.map(|root| root.offset() + offset)
    }
}

/// A line of the root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    /// Its words without the last.
    pub words: [u64; VALUES],
    /// How often it was changed, modulo 2^32.
    pub count: u32,
}

impl Line {
    /// A line that was never changed.
    #[must_use]
    pub const fn new(words: [u64; VALUES]) -> Self {
        Self { words, count: 0 }
    }

    /// The line with this number, if its sum is right.
    fn open(salt: Salt, number: u64, found: &[u64; LINE_WORDS]) -> Option<Self> {
        let [words @ .., last] = *found;
        let line = Self { words, count: (last >> 32) as u32 };
        (line.close(salt, number)[VALUES] == last).then_some(line)
    }

    /// All its words, as the line with this number.
    #[must_use]
    pub fn close(&self, salt: Salt, number: u64) -> [u64; LINE_WORDS] {
        let sum = salt.line_sum(number * LINE_SIZE as u64, &self.words, self.count);
        let mut all = [u64::from(self.count) << 32 | u64::from(sum); LINE_WORDS];
        all[..VALUES].copy_from_slice(&self.words);
        all
    }

    /// The words to write in order to change the line that was `found` into this one, with their byte offsets in the root.
    pub(super) fn changes(mut self, found: &Found, salt: Salt, number: u64) -> Vec<(u64, u64)> {
        if self.words == found.line.words {
            return Vec::new();
        }
        self.count = found.line.count.wrapping_add(1);
        let offsets = (number * LINE_SIZE as u64..).step_by(WORD_SIZE as usize);
        let words = self.close(salt, number).into_iter().zip(found.line.close(salt, number));
        let all = offsets.zip(words);
        let changed = all.filter(|(_, (new, old))| !found.in_both || new != old);
        changed.map(|(offset, (new, _))| (offset, new)).collect()
    }
}

/// A line as it was read for a change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) line: Line,
    /// Whether both roots have the same line. If not, it is written whole in both.
    pub(super) in_both: bool,
}

/// The roots as an opening found them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Roots {
    anchor: Anchor,
    /// Lines, one bit for each, for which the second root counts.
    second: u64,
    /// Lines that are not whole in the root that does not count.
    bad: u64,
    /// Lines that are whole in both roots and differ: a write was lost.
    differing: u64,
}

impl Roots {
    /// Chooses, line by line, which root counts.
    ///
    /// # Errors
    /// `Corrupt` if a line is whole in neither.
    pub fn read(memory: &Memory, anchor: Anchor) -> Result<Self> {
        let mut roots = Self { anchor, second: 0, bad: 0, differing: 0 };
        for number in 0..ROOT_LINES {
            let bit = 1 << number;
            match copies(anchor, number, |at, into| memory.load_run(at, into))? {
                [Some(a), Some(b)] if a == b => {}
                [Some(a), Some(b)] => {
                    roots.differing |= bit;
                    // The count wraps around.
                    roots.second |= if (b.count.wrapping_sub(a.count) as i32) > 0 { bit } else { 0 };
                }
                [Some(_), None] => roots.bad |= bit,
                [None, Some(_)] => (roots.bad, roots.second) = (roots.bad | bit, roots.second | bit),
                [None, None] => return Err(neither(anchor, number)),
            }
        }
        Ok(roots)
    }

    /// The anchor.
    #[must_use]
    pub const fn anchor(&self) -> Anchor {
        self.anchor
    }

    /// Lines, one bit for each, that are whole in one root only.
    #[must_use]
    pub const fn bad(&self) -> u64 {
        self.bad
    }

    /// Lines, one bit for each, that are whole in both roots and differ.
    #[must_use]
    pub const fn differing(&self) -> u64 {
        self.differing
    }

    /// Byte offset of the word in the root that counts.
    #[must_use]
    pub const fn at(&self, word: RootWord) -> u64 {
        self.root_of(word.line()).offset() + word.offset()
    }

    const fn root_of(&self, line: u64) -> FrameNo {
        self.anchor.roots[(self.second >> line & 1) as usize]
    }

    /// A line, read by `read` and verified.
    pub(super) fn line(&self, number: u64, read: impl Fn(u64, &mut [u64]) -> Result) -> Result<Found> {
        let [a, b] = copies(self.anchor, number, read)?;
        let (counts, other) = if self.second >> number & 1 == 0 { (a, b) } else { (b, a) };
        let line = counts.or(other).ok_or_else(|| neither(self.anchor, number))?;
        Ok(Found { line, in_both: a == b })
    }

    /// Writes lines that are bad or older anew, from those that count. Called before the first change of an opening. Here
    /// too each line is verified: a line that was whole at the opening may be damaged by now, and must not be copied over
    /// a whole one.
    ///
    /// # Durability
    /// Durable on return. Lines that count are not touched.
    pub fn mend(&self, memory: &Memory) -> Result {
        if self.bad | self.differing == 0 {
            return Ok(());
        }
        for number in (0..ROOT_LINES).filter(|number| (self.bad | self.differing) >> number & 1 == 1) {
            let found = self.line(number, |at, into| memory.load_run(at, into))?;
            if !found.in_both {
                let words = found.line.close(self.anchor.salt, number);
                for at in self.anchor.places(number * LINE_SIZE as u64) {
                    replace(memory, at, &words)?;
                }
            }
        }
        memory.fence();
        memory.sync_file()
    }
}

/// Stores the words of a line that differ.
fn replace(memory: &Memory, at: u64, words: &[u64; LINE_WORDS]) -> Result {
    let mut there = [0; LINE_WORDS];
    memory.load_run(at, &mut there)?;
    if there != *words {
        for (at, word) in (at..).step_by(WORD_SIZE as usize).zip(words) {
            memory.store(at, *word)?;
        }
        memory.flush(at, LINE_SIZE)?;
    }
    Ok(())
}

/// A line as each root has it.
fn copies(
    anchor: Anchor,
    number: u64,
    read: impl Fn(u64, &mut [u64]) -> Result,
) -> Result<[Option<Line>; 2]> {
    let mut found = [None; 2];
    for (at, found) in anchor.places(number * LINE_SIZE as u64).into_iter().zip(&mut found) {
        let mut words = [0; LINE_WORDS];
        read(at, &mut words)?;
        *found = Line::open(anchor.salt, number, &words);
    }
    Ok(found)
}

/// The anchor of a root in `frame`, if there is one: a line of it names the salt that the sum of this line is bound to.
pub(super) fn alone(memory: &Memory, frame: FrameNo) -> Result<Option<Anchor>> {
    let salt = Salt::new(memory.load(frame.offset() + RootWord::Salt.offset())?, Rules::KEPT);
    let anchor = Anchor { salt, roots: [frame; 2] };
    let line = copies(anchor, RootWord::Salt.line(), |at, into| memory.load_run(at, into))?[0];
    Ok(line.map(|_| anchor))
}

/// A word of the root, by the line that was changed last; `None` where the line is whole in neither.
pub(super) fn newest(memory: &Memory, anchor: Anchor, word: RootWord) -> Result<Option<u64>> {
    let found = copies(anchor, word.line(), |at, into| memory.load_run(at, into))?;
    let later = |a: Line, b: Line| if (b.count.wrapping_sub(a.count) as i32) > 0 { b } else { a };
    Ok(found.into_iter().flatten().reduce(later).map(|line| line.words[word.place()]))
}

/// Lines that are whole in neither root.
pub(super) fn lost_lines(memory: &Memory, anchor: Anchor) -> Result<Vec<u64>> {
    let mut lost = Vec::new();
    for number in 0..ROOT_LINES {
        if copies(anchor, number, |at, into| memory.load_run(at, into))? == [None, None] {
            lost.push(number);
        }
    }
    Ok(lost)
}

/// Stores a line in both roots without the log: where none is whole, no record can change it.
///
/// # Durability
/// None before a fence and a sync of the file.
pub(super) fn set_line(memory: &Memory, anchor: Anchor, number: u64, line: &Line) -> Result {
    let words = line.close(anchor.salt, number);
    let places = anchor.places(number * LINE_SIZE as u64);
    places.into_iter().try_for_each(|at| replace(memory, at, &words))
}

fn neither(anchor: Anchor, number: u64) -> Error {
    let [first, second] = anchor.places(number * LINE_SIZE as u64);
    let why = format!(
        "line {number} holds together neither here nor in the other root, at byte {second:#x}: restore from a copy"
    );
    Error::corrupt("root", first, why)
}

/// The number of frames in the root, before the log is recovered. It may be out of date. `None` if a crash cut a change
/// of the line short.
pub fn frames_before_recovery(memory: &Memory, anchor: Anchor) -> Result<Option<u64>> {
    newest(memory, anchor, RootWord::Frames)
}

/// The words of a root in which these are set and all others are 0.
pub fn fresh(salt: Salt, set: &[(RootWord, u64)]) -> Vec<u64> {
    let mut lines = [Line::new([0; VALUES]); ROOT_LINES as usize];
    for &(word, value) in set {
        lines[word.line() as usize].words[word.place()] = value;
    }
    (0..).zip(lines).flat_map(|(number, line)| line.close(salt, number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::layout::ROOT_FRAMES;
    use crate::region::{Region, RegionOptions, Source};
    use crate::units::FRAME_SIZE;
    use proptest::prelude::*;
    use std::sync::Arc;

    const SALT: Salt = Salt::new(0x1234_5678_9abc_def0, Rules::KEPT);
    const ANCHOR: Anchor = Anchor { salt: SALT, roots: ROOT_FRAMES };
    const WORD: RootWord = RootWord::Directory;

    /// A region with two fresh roots, of which `WORD` is 7.
    fn region() -> Arc<Region> {
        let image = Source::Image(vec![0; 9 * FRAME_SIZE]);
        let region = Region::attach(image, &RegionOptions::default()).unwrap();
        for root in ROOT_FRAMES {
            let words = fresh(SALT, &[(WORD, 7), (RootWord::NextObject, 1)]);
            for (at, word) in (root.offset()..).step_by(8).zip(words) {
                region.memory().store(at, word).unwrap();
            }
        }
        region
    }

    fn read(region: &Region) -> Result<Roots> {
        Roots::read(region.memory(), ANCHOR)
    }

    /// The value in the root that counts.
    fn value(region: &Region) -> u64 {
        region.memory().load(read(region).unwrap().at(WORD)).unwrap()
    }

    /// Writes the line of `WORD` to one root, as changed `count` times.
    fn set(region: &Region, root: usize, value: u64, count: u32) {
        let mut line = Line { words: [0; VALUES], count };
        line.words[WORD.place()] = value;
        let at = ROOT_FRAMES[root].offset() + WORD.line() * LINE_SIZE as u64;
        for (at, word) in (at..).step_by(8).zip(line.close(SALT, WORD.line())) {
            region.memory().store(at, word).unwrap();
        }
    }

    fn frames_are_one(region: &Region) -> bool {
        let [a, b] = ROOT_FRAMES.map(|root| {
            let mut bytes = vec![0; FRAME_SIZE];
            region.memory().read(root.offset(), &mut bytes).unwrap();
            bytes
        });
        a == b
    }

    #[test]
    fn one_root_that_is_worn_or_zero_costs_nothing_and_is_written_anew() {
        for root in ROOT_FRAMES {
            for fill in [0, 0x40, 0xff] {
                let region = region();
                region.memory().write(root.offset(), &[fill; FRAME_SIZE]).unwrap();
                let roots = read(&region).unwrap();
                assert_eq!((roots.bad(), roots.differing()), (u64::MAX, 0));
                assert_eq!(value(&region), 7);
                roots.mend(region.memory()).unwrap();
                assert!(frames_are_one(&region));
                assert_eq!(read(&region).unwrap().bad(), 0);
            }
        }
    }

    #[test]
    fn each_root_may_have_lost_another_line() {
        let region = region();
        for (root, line) in [(0, 0), (1, 1), (0, 63), (1, 5)] {
            region.memory().write(ROOT_FRAMES[root].offset() + line * 64 + 8, &[0x55]).unwrap();
        }
        let roots = read(&region).unwrap();
        assert_eq!(roots.bad(), 1 | 1 << 1 | 1 << 63 | 1 << 5);
        assert_eq!(value(&region), 7);
        roots.mend(region.memory()).unwrap();
        assert!(frames_are_one(&region));
        assert_eq!(value(&region), 7);
    }

    #[test]
    fn what_is_worn_since_the_opening_is_not_copied_over_what_is_whole() {
        let region = region();
        set(&region, 0, 1, 5);
        set(&region, 1, 2, 6);
        let roots = read(&region).unwrap();
        region.memory().store(roots.at(WORD), 9).unwrap();
        roots.mend(region.memory()).unwrap();
        assert!(frames_are_one(&region));
        assert_eq!(value(&region), 1, "the older line is what is left");
    }

    #[test]
    fn a_line_that_is_whole_in_neither_is_named() {
        let region = region();
        for root in ROOT_FRAMES {
            region.memory().write(root.offset() + 3 * 64, &[1]).unwrap();
        }
        let error = read(&region).unwrap_err();
        let Error::Corrupt { what: "root", at, why } = error else { panic!("{error}") };
        assert_eq!(at, ROOT_FRAMES[0].offset() + 3 * 64);
        assert!(why.contains("line 3") && why.contains("0x70c0"), "{why}");
    }

    #[test]
    fn of_two_that_differ_the_later_counts_and_a_count_comes_around() {
        for (first, second, expected) in [
            (1, 2, 2),
            (2, 1, 1),
            (u32::MAX, 0, 2),
            (0, u32::MAX, 1),
            (5, 5, 1),
            (u32::MAX - 3, 3, 2),
            (1, 1 << 30, 2),
        ] {
            let region = region();
            set(&region, 0, 1, first);
            set(&region, 1, 2, second);
            let roots = read(&region).unwrap();
            assert_eq!((roots.bad(), roots.differing()), (0, 1 << WORD.line()));
            assert_eq!(value(&region), expected, "{first} and {second}");
            roots.mend(region.memory()).unwrap();
            assert!(frames_are_one(&region) && value(&region) == expected);
        }
    }

    #[test]
    fn a_change_renews_the_sum_of_what_was_verified_and_nothing_else() {
        let region = region();
        let look = |at, into: &mut [u64]| region.memory().load_run(at, into);
        let roots = read(&region).unwrap();
        let change = |value| {
            let found = roots.line(WORD.line(), look).unwrap();
            let mut line = found.line;
            line.words[WORD.place()] = value;
            line.changes(&found, SALT, WORD.line())
        };
        assert_eq!(change(7), [], "it stays as it is");
        let changes = change(9);
        assert_eq!(changes.iter().map(|&(at, _)| at).collect::<Vec<_>>(), [64, 120], "a word and the sum");
        // The first root rots in mid-life: the second counts, and all of the line is written.
        region.memory().store(roots.at(WORD), 8).unwrap();
        let whole = change(9);
        assert_eq!(whole.len(), LINE_WORDS);
        assert!(changes.iter().all(|change| whole.contains(change)));
        for (offset, value) in whole {
            ANCHOR.places(offset).into_iter().for_each(|at| region.memory().store(at, value).unwrap());
        }
        assert!(frames_are_one(&region) && value(&region) == 9);
        // Both rot: a change is refused, and seals nothing in.
        ANCHOR.places(WORD.offset()).into_iter().for_each(|at| region.memory().store(at, 8).unwrap());
        assert!(matches!(roots.line(WORD.line(), look), Err(Error::Corrupt { what: "root", .. })));
    }

    #[test]
    fn frames_are_known_before_a_recovery_unless_the_crash_came_into_them() {
        let region = region();
        let frames = || frames_before_recovery(region.memory(), ANCHOR).unwrap();
        assert_eq!(frames(), Some(0));
        region.memory().store(ROOT_FRAMES[0].offset(), 9).unwrap();
        assert_eq!(frames(), Some(0), "the other one is whole");
        region.memory().store(ROOT_FRAMES[1].offset(), 9).unwrap();
        assert_eq!(frames(), None);
    }

    proptest! {
        #[test]
        fn a_line_with_any_bits_flipped_is_none(
            words: [u64; VALUES], count: u32, number in 0..ROOT_LINES,
            flips in prop::collection::btree_set(0usize..512, 1..4)
        ) {
            let line = Line { words, count };
            let mut found = line.close(SALT, number);
            prop_assert_eq!(Line::open(SALT, number, &found), Some(line));
            prop_assert_eq!(Line::open(SALT, (number + 1) % ROOT_LINES, &found), None);
            prop_assert_eq!(Line::open(Salt::new(1, Rules::KEPT), number, &found), None);
            flips.iter().for_each(|flip| found[flip / 64] ^= 1 << (flip % 64));
            prop_assert_eq!(Line::open(SALT, number, &found), None);
        }
    }
}
