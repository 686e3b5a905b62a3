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

    /// Its size.
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

    /// Makes a range of the log durable, in order: at the wrap by two writes.
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
