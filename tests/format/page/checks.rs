//! Checks of words and sums, by the formulas of the page.

use super::tables::{Page, low};
use super::{Result, same};

/// The finalizer of MurmurHash3.
pub const fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ x >> 33
}

/// crc32c of numbers and then bytes, joined.
pub fn sum(numbers: &[u64], bytes: &[u8]) -> u64 {
    let numbers = numbers.iter().fold(0, |sum, n| crc32c::crc32c_append(sum, &n.to_le_bytes()));
    crc32c::crc32c_append(numbers, bytes).into()
}

/// crc32c of a number, without initial value and final complement.
fn linear(value: u64) -> u64 {
    (!crc32c::crc32c_append(!0, &value.to_le_bytes())).into()
}

/// The way in which words are sealed in a region.
#[derive(Clone, Copy, Debug)]
pub struct Seals {
    salt: u64,
    /// Where the check begins, and how many bits it has.
    start: u64,
    width: u64,
    map: u64,
    place: u64,
}

impl Seals {
    /// As the page says.
    pub fn of(page: &Page, salt: u64) -> Result<Self> {
        let (value, check) = (page.part("Sealed word", "value")?, page.part("Sealed word", "check")?);
        same("where the value of a word ends", value.end, check.start)?;
        let (start, width) = (check.start, check.end - check.start);
        Ok(Self { salt, start, width, map: page.value("map seed")?, place: page.value("place seed")? })
    }

    /// The value of a word with this seed.
    pub fn open(&self, word: u64, seed: u64) -> Result<u64> {
        let value = low(word, self.start);
        let expected = linear(value) >> 32_u64.saturating_sub(self.width) ^ mix(seed) >> (64 - self.width);
        if word >> self.start == expected {
            Ok(value)
        } else {
            Err(format!("the word {word:#x} does not open"))
        }
    }

    /// The word with this seed that says "nothing".
    pub const fn nothing(&self, seed: u64) -> u64 {
        mix(seed) >> self.start << self.start
    }

    /// The seed of a word that is bound to its place.
    pub const fn place(&self, at: u64) -> u64 {
        mix(self.salt ^ at ^ self.place)
    }

    /// The seed of a word of a map.
    pub const fn map(&self, tree: u64, prefix: u64, level: u64) -> u64 {
        mix(self.salt ^ tree ^ self.map) ^ mix(prefix << 3 ^ level)
    }
}

/// The tally of a bitmap: its zero bits and its seal.
pub fn tally(page: &Page, salt: u64, group: u64, bitmap: &[u64]) -> Result<(u64, u64)> {
    let base = mix(salt ^ mix(group ^ page.value("bitmap seed")?));
    let part = |(i, w): (u64, &u64)| mix(mix(base ^ i) ^ w) ^ mix(mix(base ^ i));
    let seal = (0..).zip(bitmap).fold(base, |seal, word| seal ^ part(word));
    let bits = page.part("Tally", "seal")?;
    let free = bitmap.iter().map(|word| u64::from(word.count_zeros())).sum();
    Ok((free, low(seal, bits.end - bits.start)))
}

/// The digest of the pages of a map.
pub fn digest(page: &Page, salt: u64, tree: u64, pages: impl Iterator<Item = (u64, u64)>) -> Result<u64> {
    let base = mix(salt ^ mix(tree ^ page.value("map seal seed")?));
    let bits = page.part("Map seal", "digest")?;
    Ok(pages.fold(0, |digest, (p, f)| digest ^ low(mix(mix(base ^ p) ^ f), bits.end - bits.start)))
}
