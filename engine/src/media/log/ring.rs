//! The log's memory: a ring of frames in the region, addressed by positions that only grow.

use crate::error::Result;
use crate::media::layout::LOG_FRAME;
use crate::region::Memory;
use crate::units::FRAME_SIZE;

/// The place of the log in the region.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    bytes: u64,
}

impl Ring {
    /// The ring of a log of `frames` frames.
    #[must_use]
    pub const fn new(frames: u32) -> Self {
        Self { bytes: frames as u64 * FRAME_SIZE as u64 }
    }

    /// Its size in frames.
    #[must_use]
    pub const fn frames(self) -> u32 {
        (self.bytes / FRAME_SIZE as u64) as u32
    }

    /// Its size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.bytes
    }

    /// Most bytes a record may have.
    #[must_use]
    pub const fn record_bytes_max(self) -> u64 {
        self.bytes / 4
    }

    /// The one or two places (region offset, bytes) of `bytes` bytes from `position`.
    fn pieces(self, position: u64, bytes: u64) -> [(u64, u64); 2] {
        let at = position % self.bytes;
        let first = bytes.min(self.bytes - at);
        [(LOG_FRAME.offset() + at, first), (LOG_FRAME.offset(), bytes - first)]
    }

    /// Stores record bytes.
    pub fn write(self, memory: &Memory, position: u64, bytes: &[u8]) -> Result {
        let [(first, length), (second, _)] = self.pieces(position, bytes.len() as u64);
        let (head, rest) = bytes.split_at(length as usize);
        memory.write(first, head)?;
        if rest.is_empty() { Ok(()) } else { memory.write(second, rest) }
    }

    /// Reads record bytes.
    pub fn read(self, memory: &Memory, position: u64, bytes: &mut [u8]) -> Result {
        let [(first, length), (second, _)] = self.pieces(position, bytes.len() as u64);
        let (head, rest) = bytes.split_at_mut(length as usize);
        memory.read(first, head)?;
        if rest.is_empty() { Ok(()) } else { memory.read(second, rest) }
    }

    /// Makes a range of the log durable. A range that wraps around is made durable by two writes, in order.
    ///
    /// # Durability
    /// The range is durable on return.
    pub fn persist(self, memory: &Memory, from: u64, to: u64) -> Result {
        for (offset, bytes) in self.pieces(from, to - from) {
            if bytes > 0 {
                memory.flush(offset, bytes as usize)?;
                memory.write_through(offset, bytes as usize)?;
            }
        }
        memory.fence();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::{Event, Recorder};
    use crate::region::{Region, RegionOptions, Source};
    use crate::units::{Durability, LINE_SIZE};
    use std::sync::Arc;

    const RING: Ring = Ring::new(2);
    const START: u64 = LOG_FRAME.offset();
    const END: u64 = START + 2 * FRAME_SIZE as u64;

    fn region(class: Durability) -> (Arc<Region>, Arc<Recorder>) {
        let recorder = Recorder::new();
        let options = RegionOptions {
            assume: Some(class),
            recorder: Some(Arc::clone(&recorder)),
            ..RegionOptions::default()
        };
        let image = Source::Image(vec![0; END as usize + 2 * FRAME_SIZE]);
        (Region::attach(image, &options).unwrap(), recorder)
    }

    #[test]
    fn what_reaches_the_end_goes_on_at_the_beginning() {
        let (region, _) = region(Durability::Fdatasync);
        let memory = region.memory();
        let written: Vec<u8> = (1..=48).collect();
        // The third time around, 16 bytes before the end.
        let position = 3 * RING.bytes() - 16;
        RING.write(memory, position, &written).unwrap();
        let mut whole = vec![0; region.len_bytes() as usize];
        memory.read(0, &mut whole).unwrap();
        let (start, end) = (START as usize, END as usize);
        assert_eq!(whole[end - 16..end], written[..16]);
        assert_eq!(whole[start..start + 32], written[16..]);
        assert_eq!(whole.iter().filter(|&&byte| byte != 0).count(), 48, "nothing outside the log");
        let mut read = [0; 48];
        RING.read(memory, position, &mut read).unwrap();
        assert_eq!(read[..], written);
    }

    #[test]
    fn a_range_is_made_durable_whole_and_nothing_else_is() {
        let (before, line) = (RING.bytes() - 64, LINE_SIZE as u64);
        for (from, to, wanted) in [
            (8, 72, vec![(START + 8, 64)]),
            (RING.bytes() + before, 2 * RING.bytes(), vec![(END - 64, 64)]),
            (before, before + 192, vec![(END - 64, 64), (START, 128)]),
            (64, 64, vec![]),
        ] {
            let (region, recorder) = region(Durability::Fdatasync);
            let _ = recorder.take();
            RING.persist(region.memory(), from, to).unwrap();
            let through = |event| match event {
                Event::WriteThroughEnd { offset, len, .. } => Some((offset, len)),
                _ => None,
            };
            assert_eq!(recorder.take().into_iter().filter_map(through).collect::<Vec<_>>(), wanted);

            let (region, recorder) = self::region(Durability::CacheLine);
            let _ = recorder.take();
            RING.persist(region.memory(), from, to).unwrap();
            let events = recorder.take();
            let flushed = |event: &Event| match event {
                Event::Flush { line_offset, .. } => Some(*line_offset),
                _ => None,
            };
            let lines = |(at, len): &(u64, u64)| (at / line * line..at + len).step_by(LINE_SIZE);
            let wanted: Vec<u64> = wanted.iter().flat_map(lines).collect();
            assert_eq!(events.iter().filter_map(flushed).collect::<Vec<_>>(), wanted);
            assert!(matches!(events.last(), Some(Event::Fence { .. })));
        }
    }

    #[test]
    fn a_record_has_at_most_a_quarter_of_the_log() {
        assert_eq!(RING.record_bytes_max() * 4, RING.bytes());
        assert_eq!(RING.bytes(), END - START);
    }
}
