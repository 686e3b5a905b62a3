//! Records in the ring behind the end of the chain.
//!
//! A process appends one record after the other, and what it stored is there after its death. So if a whole record of its
//! life does not continue the chain, a record before it is damaged.

use super::header::Tail;
use super::record::{Content, MARK_BYTES, claimed_bytes, decode};
use super::ring::Ring;
use crate::error::Result;
use crate::media::layout::WORD_SIZE;
use crate::region::Memory;

/// How many whole operations of this life are in the ring from the place of the next record on. `next` is that record's
/// position and link; the ring is full at `full`.
pub(super) fn operations(memory: &Memory, ring: Ring, next: Tail, full: u64) -> Result<u64> {
    let mut rest = vec![0; (full - next.position) as usize];
    ring.read(memory, next.position, &mut rest)?;
    let (mut found, mut at) = (0, 0);
    while at + MARK_BYTES as usize <= rest.len() {
        let (content, bytes) = match whole(&rest[at..], ring, next) {
            Some(record) => record,
            None => {
                at += WORD_SIZE as usize;
                continue;
            }
        };
        found += u64::from(matches!(content, Content::Changes(_)));
        at += bytes;
    }
    Ok(found)
}

/// The record with which these bytes begin, if it is whole, of the same life, and later than `next`.
fn whole(bytes: &[u8], ring: Ring, next: Tail) -> Option<(Content, usize)> {
    let head = bytes.first_chunk::<24>()?;
    let word = |at: usize| head[at..].first_chunk().copied().map(u64::from_le_bytes);
    let mut link = next.link;
    link.sequence.0 = word(8).filter(|sequence| *sequence > next.link.sequence.0)?;
    link.predecessor = head[16..].first_chunk().copied().map(u32::from_le_bytes)?;
    let len = claimed_bytes(head, link).filter(|len| *len <= ring.record_bytes_max())?;
    let (content, _) = decode(bytes.get(..len as usize)?).ok()?;
    Some((content, len as usize))
}
