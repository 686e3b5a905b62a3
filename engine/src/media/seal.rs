//! Checks: how a word of the medium is told from a damaged one.
//!
//! Each check is bound to the region's salt, so that nothing that a former region left on the medium passes, and to a
//! place or an owner, so that a word that was written to the wrong place does not pass either.
//!
//! ```text
//! word seal   42 bits of value, 22 of check    words of maps, directory nodes, busy table, heads of lists
//! line sum    32 bits over 7 words and a count lines of the root
//! head sum    32 bits over 15 words            heads of object records; names with 47
//! tally       16 bits of count, 48 of seal     a group's bitmap, 512 words
//! map seal    count 37, digest 27              one an object, over all pages of its map (`map_seal`)
//! ```
//! The check of a word is linear in its value, and up to four flipped bits never pass, whichever they are. Garbage passes
//! once in four million times. "Nothing" is the value 0, and is sealed like any other: so a frame of zeros, from a hole
//! in the file or a lost write, is no empty node.

use super::layout::WORD_SIZE;
use super::rules::{Rule, Rules};
use crate::units::FrameNo;

/// Bits of a sealed word that hold its value.
pub(crate) const VALUE_BITS: u32 = 42;
/// See [`VALUE_BITS`].
pub(crate) const VALUE_MASK: u64 = (1 << VALUE_BITS) - 1;
const MAP: u64 = 0x6d_6170;
const PLACE: u64 = 0x70_6c61_6365;
const BITMAP: u64 = 0x6269_746d_6170;
const TALLY_BITS: u32 = 48;
/// Bits of a tally that are its seal.
pub(crate) const TALLY_MASK: u64 = (1 << TALLY_BITS) - 1;
const MAP_SEAL: u64 = 0x6d61_7073_6561_6c00;

/// The random number that all checks of a region are bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Salt {
    drawn: u64,
    rules: Rules,
}

/// The owner and place of a sealed word. A word found under another owner, in another place or in another region does not
/// open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seal {
    seed: u64,
    rules: Rules,
}

/// An empty node, by the owner or place of its words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Node {
    /// The tree whose map it belongs to. 0: its words are bound to their places.
    pub tree: u64,
    /// For a map: the prefix of its first word, shifted by 3, and in the low 3 bits its level.
    pub first: u64,
}

/// What a whole frame is made before single words of it are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Blank {
    /// All zero.
    Zero,
    /// An empty node.
    Node(Node),
}

impl Node {
    /// A node whose words are bound to their places.
    pub const PLACES: Self = Self { tree: 0, first: 0 };
    /// Levels of words that lie in nodes.
    const LEVELS: u64 = 4;

    /// A node of a map: its words are of `level`, and the first has this prefix.
    pub(crate) const fn map(tree: u64, prefix: u64, level: u32) -> Self {
        Self { tree, first: prefix << 3 | level as u64 }
    }

    /// Whether there can be such a node.
    #[must_use]
    pub const fn is_possible(self) -> bool {
        let (prefix, level) = (self.first >> 3, self.first & 7);
        if self.tree == 0 {
            self.first == 0
        } else {
            level < Self::LEVELS && prefix % 512 == 0 && prefix >> 36 == 0
        }
    }
}

impl Salt {
    /// The salt from the random number that a format drew.
    #[must_use]
    pub const fn new(drawn: u64, rules: Rules) -> Self {
        Self { drawn, rules }
    }

    /// The seal of a word of the map of `tree` that covers the pages from `prefix << (9 * level)` on. At level 0 the word
    /// maps a page, at higher levels it names a node.
    pub(crate) const fn map(self, tree: u64, prefix: u64, level: u32) -> Seal {
        Seal { seed: mix(self.drawn ^ tree ^ MAP) ^ mix(prefix << 3 | level as u64), rules: self.rules }
    }

    /// The seal of a word at byte `at` that is no word of a map.
    pub(crate) const fn place(self, at: u64) -> Seal {
        Seal { seed: mix(self.drawn ^ at ^ PLACE), rules: self.rules }
    }

    /// Fills `into` with the words of `frame` from `place` on, as they are when the frame was just made `blank`.
    pub(crate) fn blank(self, frame: FrameNo, blank: Blank, place: u16, into: &mut [u64]) {
        let places = u64::from(place)..;
        match blank {
            Blank::Zero => into.fill(0),
            Blank::Node(Node { tree: 0, .. }) => places.zip(into).for_each(|(place, word)| {
                *word = self.place(frame.offset() + place * WORD_SIZE).nothing();
            }),
            Blank::Node(Node { tree, first }) => places.zip(into).for_each(|(place, word)| {
                *word = self.map(tree, (first >> 3) + place, first as u32 & 7).nothing();
            }),
        }
    }

    /// The number that was drawn.
    pub(crate) const fn drawn(self) -> u64 {
        self.drawn
    }

    /// The sum of a line at byte `at` of the root that was changed `count` times.
    pub(crate) fn line_sum(self, at: u64, words: &[u64], count: u32) -> u32 {
        let sum = [self.drawn, at].iter().chain(words).copied().fold(0, sum);
        crc32c::crc32c_append(sum, &count.to_le_bytes())
    }

    /// The seal of the bitmap of `group`, wherever that lies.
    pub(crate) const fn bitmap(self, group: u64) -> BitmapSeal {
        BitmapSeal { base: mix(self.drawn ^ mix(group ^ BITMAP)) }
    }

    /// The key of the parts of the seal of the map of `tree`.
    pub(crate) const fn map_parts(self, tree: u64) -> u64 {
        mix(self.drawn ^ mix(tree ^ MAP_SEAL))
    }

    /// The sum of one part of the object record in `slot`: its head or its name.
    pub(crate) fn head_sum(self, slot: u64, words: &[u64]) -> u64 {
        u64::from([self.drawn, slot].iter().chain(words).copied().fold(0, sum))
    }
}

impl Seal {
    /// `value` (42 bits) with its check bits; 0 is "nothing".
    pub(crate) fn close(self, value: u64) -> u64 {
        debug_assert!(value <= VALUE_MASK);
        if value == 0 { self.nothing() } else { self.check(value) << VALUE_BITS | value }
    }

    /// The word that says "nothing".
    pub(crate) const fn nothing(self) -> u64 {
        if self.rules.broken(Rule::EmptyZero) { 0 } else { mix(self.seed) >> VALUE_BITS << VALUE_BITS }
    }

    /// The value, if the word was closed for this owner and place.
    pub(crate) fn open(self, word: u64) -> Option<u64> {
        let value = word & VALUE_MASK;
        let zero = word == 0 && self.rules.broken(Rule::EmptyZero);
        (zero || self.check(value) == word >> VALUE_BITS).then_some(value)
    }

    fn check(self, value: u64) -> u64 {
        u64::from(linear(value) >> (u32::BITS - (u64::BITS - VALUE_BITS))) ^ mix(self.seed) >> VALUE_BITS
    }
}

/// The seal of a group's bitmap. The bitmap is compared with its tally: how many bits are zero, and a digest of its words
/// by their places.
///
/// Each word has a part of its own in the digest, so a change of some words changes the digest by their parts. The part
/// of a zero word is 0, so the tally of a bitmap of zeros is known without reading it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BitmapSeal {
    base: u64,
}

impl BitmapSeal {
    /// The tally of a bitmap of zeros with `bits` bits.
    pub(crate) const fn of_zeros(self, bits: u64) -> u64 {
        bits << TALLY_BITS | self.base & TALLY_MASK
    }

    /// The tally of these words.
    pub(crate) fn of(self, words: &[u64]) -> u64 {
        let zeros = self.of_zeros(u64::from(u64::BITS) * words.len() as u64);
        let words = words.iter().enumerate();
        words.fold(zeros, |tally, (place, &word)| self.changed(tally, place as u64, 0, word))
    }

    /// The tally after the word at `place`, which was `old`, became `new`.
    pub(crate) const fn changed(self, tally: u64, place: u64, old: u64, new: u64) -> u64 {
        let seal = (tally ^ self.part(place, old) ^ self.part(place, new)) & TALLY_MASK;
        // A count that damage made wrong stays wrong by as much.
        let free = Self::free(tally) + new.count_zeros() as u64 + (1 << 16) - old.count_zeros() as u64;
        free << TALLY_BITS | seal
    }

    /// The number of zero bits in a tally.
    pub(crate) const fn free(tally: u64) -> u64 {
        tally >> TALLY_BITS
    }

    const fn part(self, place: u64, word: u64) -> u64 {
        let seed = mix(self.base ^ place);
        mix(seed ^ word) ^ mix(seed)
    }
}

/// Eight bytes, aligned for the processor's crc32c instruction.
#[repr(align(8))]
struct Aligned([u8; 8]);

/// The next crc32c over a word.
fn sum(before: u32, word: u64) -> u32 {
    crc32c::crc32c_append(before, &Aligned(word.to_le_bytes()).0)
}

/// crc32c without initial value and final complement. It is linear: the sum of `a ^ b` is the sum of `a` ^ the sum of `b`.
fn linear(value: u64) -> u32 {
    !sum(!0, value)
}

/// A bijection that spreads every bit over all others (the finalizer of MurmurHash3): part of the format.
pub(crate) const fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ x >> 33
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SALT: Salt = salt(0x1234_5678_9abc_def0);

    const fn salt(drawn: u64) -> Salt {
        Salt { drawn, rules: Rules::KEPT }
    }

    #[test]
    fn a_sealed_word_opens_only_for_its_region_owner_and_place() {
        let seal = SALT.map(7, 3, 0);
        let word = seal.close(99);
        assert_eq!(seal.open(word), Some(99));
        for other in [
            SALT.map(8, 3, 0),
            SALT.map(7, 4, 0),
            SALT.map(7, 3, 1),
            SALT.place(4096),
            salt(SALT.drawn ^ 1).map(7, 3, 0),
        ] {
            assert_eq!(other.open(word), None, "{other:?}");
        }
    }

    #[test]
    fn nothing_is_sealed_and_zero_is_damage() {
        let seals = [SALT.map(7, 3, 0), SALT.place(4096)];
        for seal in seals {
            let nothing = seal.close(0);
            assert_eq!((seal.nothing(), seal.open(nothing), seal.open(0)), (nothing, Some(0), None));
        }
        assert_eq!(seals[0].open(seals[1].nothing()), None);
    }

    #[test]
    fn a_blank_node_has_nothing_in_each_of_its_words() {
        let frame = FrameNo(9);
        let words = |blank, place, n| {
            let mut words = vec![1; n];
            SALT.blank(frame, blank, place, &mut words);
            words
        };
        assert_eq!(words(Blank::Zero, 3, 9), [0; 9]);
        let of_map = words(Blank::Node(Node::map(5, 3 << 9, 1)), 510, 2);
        assert_eq!(of_map, [510, 511].map(|n| SALT.map(5, 3 << 9 | n, 1).nothing()));
        let of_places = words(Blank::Node(Node::PLACES), 1, 2);
        assert_eq!(of_places, [1, 2].map(|n| SALT.place(frame.offset() + n * 8).nothing()));
    }

    #[test]
    fn a_node_that_no_map_has_is_impossible() {
        for possible in
            [Node::PLACES, Node::map(1, 0, 0), Node::map(u64::MAX, ((1 << 36) - 1) << 9 >> 9 & !511, 3)]
        {
            assert!(possible.is_possible(), "{possible:?}");
        }
        for impossible in [
            Node::map(0, 0, 1),
            Node::map(0, 512, 0),
            Node::map(1, 0, 4),
            Node::map(1, 1, 0),
            Node::map(1, 1 << 36, 0),
        ] {
            assert!(!impossible.is_possible(), "{impossible:?}");
        }
    }

    /// For each bit of a word, how a flip of it changes the difference between the stored check and the right one.
    fn columns() -> Vec<u64> {
        let (seal, word) = (SALT.place(8), SALT.place(8).close(1));
        let off = |word: u64| word >> VALUE_BITS ^ seal.check(word & VALUE_MASK);
        (0..u64::BITS).map(|bit| off(word ^ 1 << bit)).collect()
    }

    #[test]
    fn no_pattern_of_up_to_four_flipped_bits_passes() {
        // A flip changes every word in the same way: see the property below.
        let columns = columns();
        let mut patterns = 0;
        for a in 0..columns.len() {
            assert_ne!(columns[a], 0, "{a}");
            for b in 0..a {
                let two = columns[a] ^ columns[b];
                assert_ne!(two, 0, "{a} {b}");
                for c in 0..b {
                    let three = two ^ columns[c];
                    assert_ne!(three, 0, "{a} {b} {c}");
                    for (d, fourth) in columns[..c].iter().enumerate() {
                        assert_ne!(three, *fourth, "{a} {b} {c} {d}");
                        patterns += 1;
                    }
                }
            }
        }
        assert_eq!(patterns, 635_376);
    }

    #[test]
    fn a_check_never_changes() {
        let salt = salt(1);
        assert_eq!(mix(1), 0xb456_bcfc_34c2_cb2c);
        assert_eq!(linear(1), 0x493c_7d27);
        let seals = [salt.map(2, 3, 1).close(4), salt.place(4096).close(5)];
        assert_eq!(seals, [0x1833_5000_0000_0004, 0xea4e_4400_0000_0005]);
        assert_eq!(salt.head_sum(9, &[1, 2, 3]), 0xd11c_aa7e);
    }

    /// The tally of a group after these words were changed one by one, and the words.
    fn changed(seal: BitmapSeal, changes: &[(u64, u64)]) -> (u64, Vec<u64>) {
        let mut words = vec![0; 512];
        let mut tally = seal.of_zeros(512 * 64);
        for &(place, word) in changes {
            let old = std::mem::replace(&mut words[place as usize], word);
            tally = seal.changed(tally, place, old, word);
        }
        (tally, words)
    }

    #[test]
    fn every_flipped_bit_and_every_two_words_in_each_others_place_change_the_tally() {
        let seal = SALT.bitmap(7);
        let words: Vec<u64> = (0..512).map(|n| if n % 3 == 0 { 0 } else { mix(n) }).collect();
        let tally = seal.of(&words);
        assert_eq!(
            BitmapSeal::free(tally),
            words.iter().map(|word| u64::from(word.count_zeros())).sum::<u64>()
        );
        for (place, &word) in words.iter().enumerate() {
            for bit in 0..64 {
                let flipped = seal.changed(tally, place as u64, word, word ^ 1 << bit);
                assert_ne!(flipped & TALLY_MASK, tally & TALLY_MASK, "word {place}, bit {bit}");
            }
            let other = words[(place + 1) % 512];
            let moved = seal.changed(tally, place as u64, word, other);
            let moved = seal.changed(moved, (place as u64 + 1) % 512, other, word);
            assert_eq!(moved == tally, word == other, "word {place}");
        }
        for group in (0..2000).filter(|group| *group != 7) {
            assert_ne!(SALT.bitmap(group).of(&words), tally, "the bitmap of group {group}");
        }
    }

    proptest! {
        #[test]
        fn flipped_bits_do_the_same_to_every_word(
            value in 0..=VALUE_MASK, drawn: u64, tree: u64, prefix in 0u64..1 << 36, level in 0u32..5,
            flips in prop::collection::btree_set(0u32..64, 1..5)
        ) {
            let seal = salt(drawn).map(tree, prefix, level);
            let flipped = flips.iter().fold(seal.close(value), |word, bit| word ^ 1 << bit);
            let columns = columns();
            let off = flips.iter().fold(0, |off, &bit| off ^ columns[bit as usize]);
            prop_assert_eq!(flipped >> VALUE_BITS ^ seal.check(flipped & VALUE_MASK), off);
            prop_assert_eq!(seal.open(flipped), None);
        }

        #[test]
        fn a_head_sum_is_of_its_words_slot_and_region(
            mut words in prop::collection::vec(any::<u64>(), 1..48), slot: u64, drawn: u64, at: prop::sample::Index, bit in 0u32..64
        ) {
            let sum = salt(drawn).head_sum(slot, &words);
            prop_assert_ne!(sum, salt(drawn ^ 1 << bit).head_sum(slot, &words));
            prop_assert_ne!(sum, salt(drawn).head_sum(slot ^ 1 << bit, &words));
            let place = at.index(words.len());
            words[place] ^= 1 << bit;
            prop_assert_ne!(sum, salt(drawn).head_sum(slot, &words));
        }

        #[test]
        fn a_tally_by_difference_is_that_of_all_words_and_keeps_what_rotted(
            changes in prop::collection::vec((0u64..512, any::<u64>()), 1..200), group in 0u64..1 << 17,
            rot in prop::collection::btree_set(0u64..512 * 64, 1..4), then in (0u64..512, any::<u64>())
        ) {
            let seal = SALT.bitmap(group);
            let (tally, mut words) = changed(seal, &changes);
            prop_assert_eq!(tally, seal.of(&words));
            rot.iter().for_each(|bit| words[(bit / 64) as usize] ^= 1 << (bit % 64));
            prop_assert_ne!(tally, seal.of(&words));
            let old = std::mem::replace(&mut words[then.0 as usize], then.1);
            prop_assert_ne!(seal.changed(tally, then.0, old, then.1), seal.of(&words), "it was sealed in");
        }
    }
}
