//! Sums over parts of structures, bound to the region's salt.

/// The sum of an object record's head or name part: of the salt `K`, the slot and the words, in this order.
pub(crate) fn head_sum(salt: u64, slot: u64, words: &[u64]) -> u64 {
    let seed = crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), &slot.to_le_bytes());
    u64::from(words.iter().fold(seed, |sum, word| crc32c::crc32c_append(sum, &word.to_le_bytes())))
}
