//! Random numbers: the same ones for the same seed, on every machine.

use std::hash::{BuildHasher, RandomState};

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(mix(seed ^ GAMMA))
    }

    /// One of many sequences of `seed`, as for a thread or a round.
    #[must_use]
    pub const fn of(seed: u64, stream: u64) -> Self {
        Self::new(seed ^ mix(!stream))
    }

    /// The next 64 bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mix(self.0)
    }

    /// A number below `limit`, without a division; 0 if `limit` is 0.
    #[inline]
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(limit)) >> 64) as u64
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of `items`.
    ///
    /// # Panics
    /// When there are none.
    pub fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// Puts `items` into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.next_u64());
        let mut bytes: Vec<u8> = words.take(len.div_ceil(8)).flat_map(u64::to_le_bytes).collect();
        bytes.truncate(len);
        bytes
    }
}

/// Spreads each bit over all others. No two numbers give the same result. (The finaliser of SplitMix64.)
#[must_use]
#[inline]
pub const fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A seed that no other run has.
#[must_use]
pub fn fresh_seed() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_gives_its_sequence_again_and_each_stream_another() {
        let draw = |mut random: Random| (0..100).map(|_| random.below(1000)).collect::<Vec<_>>();
        assert_eq!(draw(Random::new(7)), draw(Random::new(7)));
        let all: BTreeSet<_> =
            (0..50).map(|n| draw(Random::of(7, n))).chain([draw(Random::new(7))]).collect();
        assert_eq!(all.len(), 51);
    }

    #[test]
    fn every_number_below_the_limit_comes_and_no_other() {
        let mut random = Random::new(1);
        let seen: BTreeSet<_> = (0..1000).map(|_| random.below(6)).collect();
        assert!(seen.into_iter().eq(0..6));
        assert_eq!(random.below(0), 0);
        let mut order: Vec<_> = (0..100).collect();
        random.shuffle(&mut order);
        assert!(!order.is_sorted());
        order.sort_unstable();
        assert!(order.into_iter().eq(0..100));
        assert_eq!(random.bytes(13).len(), 13);
    }
}
