//! The applied cursor: one word, the number of the last record whose homes are all stored.
//!
//! It is stored with one store, after the homes, and counts only after the death of a process (LOG rule 10). The word
//! holds the low 40 bits of the number, and 24 bits that depend on the region and the epoch: otherwise a worn word, or
//! one of a former life, could make a recovery leave out records whose homes are not stored.

use crate::error::Result;
use crate::media::layout::CURSOR_OFFSET;
use crate::media::log::header::Tail;
use crate::media::log::record::Sequence;
use crate::media::rules::{Rule, Rules};
use crate::media::seal::mix;
use crate::region::Memory;

const NUMBER_BITS: u32 = 40;
const NUMBER: u64 = (1 << NUMBER_BITS) - 1;

/// The word for a number in one life of the region.
#[must_use]
pub fn word(salt: u64, epoch: u64, applied: Sequence) -> u64 {
    mix(salt ^ epoch ^ applied.0) >> (u64::BITS - 24) << NUMBER_BITS | applied.0 & NUMBER
}

/// Stores the cursor.
///
/// # Durability
/// None: the cursor counts only after the death of a process.
pub fn store(memory: &Memory, salt: u64, epoch: u64, applied: Sequence) -> Result {
    memory.store(CURSOR_OFFSET, word(salt, epoch, applied))
}

/// Reads the cursor in a log that begins at `tail`; `None` if it is not of this life.
pub fn read(memory: &Memory, salt: u64, tail: Tail, rules: Rules) -> Result<Option<Sequence>> {
    let found = memory.load(CURSOR_OFFSET)?;
    Ok(number(found, salt, tail, rules.broken(Rule::CursorUnchecked)))
}

fn number(found: u64, salt: u64, tail: Tail, unchecked: bool) -> Option<Sequence> {
    // The cursor is never behind the tail, and no log has more records than the word can count.
    let least = tail.link.sequence.0 - 1;
    let number = least & !NUMBER | found & NUMBER;
    let number = Sequence(if number < least { number + NUMBER + 1 } else { number });
    (unchecked || word(salt, tail.link.epoch, number) == found).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::log::record::Link;

    const SALT: u64 = 0x1234_5678_9abc_def0;

    fn tail(epoch: u64, sequence: u64) -> Tail {
        Tail { link: Link { epoch, sequence: Sequence(sequence), predecessor: 0 }, position: 0 }
    }

    #[test]
    fn a_number_is_read_in_its_own_life_and_in_no_other() {
        for first in [1, 77, (1 << 40) - 3, (1 << 40) + 1, (1 << 61) - 2] {
            for applied in first - 1..first + 9 {
                let found = word(SALT, 5, Sequence(applied));
                assert_eq!(number(found, SALT, tail(5, first), false), Some(Sequence(applied)));
                assert_eq!(number(found, SALT, tail(7, first), false), None, "another epoch");
                assert_eq!(number(found, SALT ^ 2, tail(5, first), false), None, "another region");
                for bit in 0..64 {
                    assert_eq!(number(found ^ 1 << bit, SALT, tail(5, first), false), None, "bit {bit}");
                }
            }
        }
        assert_eq!(number(0, SALT, tail(5, 1), false), None, "it was never stored");
    }
}
