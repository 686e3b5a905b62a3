//! The bytes that operations write. They show which operation wrote them.

use crate::op::ObjectNo;
use std::ops::Range;

/// The bytes that operation `op` writes to a range of an object.
pub type Pattern = fn(object: ObjectNo, op: u16, range: Range<u64>) -> Vec<u8>;

/// The word that operation `op` writes at the object's word `index`.
#[must_use]
pub fn word(object: ObjectNo, op: u16, index: u64) -> u64 {
    u64::from(object + 1) << 48 | u64::from(op + 1) << 32 | (index & 0xffff_ffff)
}

/// Words that name their object, their operation and their place.
#[must_use]
pub fn words(object: ObjectNo, op: u16, range: Range<u64>) -> Vec<u8> {
    range.map(|at| word(object, op, at / 8).to_le_bytes()[(at % 8) as usize]).collect()
}

/// Bytes of which none is zero, so that holes differ from all that was stored. Neighbouring bytes differ, and so do
/// operations.
#[must_use]
pub fn bytes(_: ObjectNo, op: u16, range: Range<u64>) -> Vec<u8> {
    range.map(|at| ((u64::from(op) * 37 + at * 7 + at / 253) % 255) as u8 + 1).collect()
}
