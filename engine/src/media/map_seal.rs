//! The seal of an object's map: how many pages it has, and a digest of the frame of each.
//!
//! Each word of a map is sealed by itself, so a node that is an old version of itself, after a lost write, holds together
//! and is wrong. The record of the object holds count and digest of the whole map. They are changed by difference: each
//! page that is linked or cut is added or taken out. So damage that was there before a change is still seen after it.

use super::seal::{Salt, mix};
use crate::units::FrameNo;

/// Bits of the digest; the count has the upper 37.
const DIGEST_BITS: u32 = 27;
const DIGEST: u64 = (1 << DIGEST_BITS) - 1;

/// The key of the parts of one map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts(u64);

impl Parts {
    /// The key for the map of `tree`, in the region with this salt.
    pub(crate) const fn of(salt: Salt, tree: u64) -> Self {
        Self(salt.map_parts(tree))
    }

    /// What `page` adds to the digest.
    const fn part(self, page: u64, frame: FrameNo) -> u64 {
        mix(mix(self.0 ^ page) ^ frame.0 as u64) & DIGEST
    }
}

/// Count of pages and digest, as in a record. 0 for a map without pages.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct MapSeal(u64);

impl MapSeal {
    /// The seal in this word of a record.
    pub(crate) const fn of_word(word: u64) -> Self {
        Self(word)
    }
    /// The word of a record.
    pub(crate) const fn word(self) -> u64 {
        self.0
    }
    /// How many pages are mapped, modulo 2^37.
    pub(crate) const fn pages(self) -> u64 {
        self.0 >> DIGEST_BITS
    }
    /// The digest of them.
    pub(crate) const fn digest(self) -> u64 {
        self.0 & DIGEST
    }

    /// Adds `page`, which is mapped to `frame` from now on.
    pub(crate) fn link(&mut self, parts: Parts, page: u64, frame: FrameNo) {
        self.change(parts, page, frame, 1);
    }

    /// Takes out `page`, which was mapped to `frame`.
    pub(crate) fn cut(&mut self, parts: Parts, page: u64, frame: FrameNo) {
        self.change(parts, page, frame, u64::MAX);
    }

    /// The count wraps at its 37 bits: a count that was wrong before the change is wrong by as much after it.
    fn change(&mut self, parts: Parts, page: u64, frame: FrameNo, by: u64) {
        let pages = self.pages().wrapping_add(by) << DIGEST_BITS;
        self.0 = pages | (self.digest() ^ parts.part(page, frame));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::rules::Rules;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn anew(parts: Parts, map: &BTreeMap<u64, FrameNo>) -> MapSeal {
        let mut seal = MapSeal::default();
        map.iter().for_each(|(&page, &frame)| seal.link(parts, page, frame));
        seal
    }

    proptest! {
        #[test]
        fn a_seal_changed_by_difference_is_the_one_computed_anew(
            salt: u64, tree: u64,
            steps in prop::collection::vec((0..50u64, any::<u32>(), any::<bool>()), 0..200)
        ) {
            let (parts, mut map, mut seal) = (Parts::of(Salt::new(salt, Rules::KEPT), tree), BTreeMap::new(), MapSeal::default());
            for (page, frame, link) in steps {
                if let Some(old) = map.remove(&page) {
                    seal.cut(parts, page, old);
                }
                if link {
                    map.insert(page, FrameNo(frame));
                    seal.link(parts, page, FrameNo(frame));
                }
                prop_assert_eq!(seal.pages(), map.len() as u64);
            }
            prop_assert_eq!(seal, anew(parts, &map));
        }

        #[test]
        fn what_was_wrong_before_a_change_is_as_wrong_behind_it(wrong in 1..u64::MAX, page: u64, frame: u32) {
            let parts = Parts::of(Salt::new(1, Rules::KEPT), 2);
            let (mut right, mut other) = (MapSeal::of_word(5 << DIGEST_BITS | 9), MapSeal::of_word(wrong));
            prop_assume!(right != other);
            for seal in [&mut right, &mut other] {
                seal.link(parts, page, FrameNo(frame));
                seal.cut(parts, page / 2, FrameNo(frame / 2));
            }
            prop_assert_ne!(right, other);
        }
    }

    #[test]
    fn a_seal_tells_pages_frames_trees_and_regions_apart() {
        let one = |salt, tree, page, frame| {
            let mut seal = MapSeal::default();
            seal.link(Parts::of(Salt::new(salt, Rules::KEPT), tree), page, FrameNo(frame));
            seal
        };
        let base = one(1, 2, 3, 4);
        for other in [one(9, 2, 3, 4), one(1, 9, 3, 4), one(1, 2, 9, 4), one(1, 2, 3, 9), one(1, 2, 4, 3)] {
            assert_ne!(base, other);
        }
        let swapped = |a, b| {
            let mut seal = one(1, 2, 0, a);
            seal.link(Parts::of(Salt::new(1, Rules::KEPT), 2), 1, FrameNo(b));
            seal
        };
        assert_ne!(swapped(7, 8), swapped(8, 7));
    }
}
