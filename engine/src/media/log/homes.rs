//! Homes: storing what a record carries, and remembering which lines must be flushed before the tail moves.

use super::payload;
use super::record::Entry;
use crate::error::Result;
use crate::region::Memory;
use crate::units::{FRAME_SIZE, FrameNo, LINE_SIZE, LINES_PER_FRAME};
use std::collections::BTreeMap;

/// Lines of homes, one bit each, frame by frame.
#[derive(Default)]
pub(super) struct Homes(BTreeMap<FrameNo, u64>);

impl Homes {
    /// Stores one change home and notes its lines.
    pub(super) fn store(&mut self, memory: &Memory, entry: &Entry) -> Result {
        match entry {
            Entry::Word(offset, value) => memory.store(*offset, *value)?,
            Entry::Zero(frame) => memory.write(frame.offset(), &[0; FRAME_SIZE])?,
            Entry::Lines(offset, bytes) => memory.write(*offset, bytes)?,
            Entry::Payload(extent) => {
                for (offset, bytes) in payload::read(memory, *extent)? {
                    memory.write(offset, &bytes)?;
                    self.note_bytes(offset, bytes.len());
                }
            }
        }
        if !matches!(entry, Entry::Payload(_)) { self.note(memory, entry) } else { Ok(()) }
    }

    /// Notes the lines of a change that is stored already.
    pub(super) fn note(&mut self, memory: &Memory, entry: &Entry) -> Result {
        match entry {
            Entry::Word(offset, _) => self.note_bytes(*offset, 8),
            Entry::Zero(frame) => self.note_bytes(frame.offset(), FRAME_SIZE),
            Entry::Lines(offset, bytes) => self.note_bytes(*offset, bytes.len()),
            Entry::Payload(extent) => {
                payload::read(memory, *extent)?
                    .iter()
                    .for_each(|(at, bytes)| self.note_bytes(*at, bytes.len()));
            }
        }
        Ok(())
    }

    /// Starts writing all noted lines back, and forgets them.
    ///
    /// # Durability
    /// On `CacheLine`, durable after this thread's next fence.
    pub(super) fn flush(&mut self, memory: &Memory) -> Result {
        for (frame, mut lines) in std::mem::take(&mut self.0) {
            while lines != 0 {
                let first = lines.trailing_zeros();
                let count = (lines >> first).trailing_ones();
                memory.flush(
                    frame.offset() + u64::from(first) * LINE_SIZE as u64,
                    count as usize * LINE_SIZE,
                )?;
                lines &= !mask(first as usize, count as usize);
            }
        }
        Ok(())
    }

    /// Bytes of one frame.
    fn note_bytes(&mut self, offset: u64, len: usize) {
        let (frame, at) = ((offset / FRAME_SIZE as u64) as u32, offset as usize % FRAME_SIZE);
        let (first, end) = (at / LINE_SIZE, (at + len).div_ceil(LINE_SIZE));
        *self.0.entry(FrameNo(frame)).or_default() |= mask(first, end - first);
    }
}

/// `count` bits from `first` on; at least one.
const fn mask(first: usize, count: usize) -> u64 {
    (u64::MAX >> (LINES_PER_FRAME - count)) << first
}
