//! Payload: the lines of a batch that is too large for the ring, in frames that nothing else uses.
//!
//! The frames are taken in memory only: the medium calls them free. They are filled and made durable before the record
//! that names them is appended, and are not used again before it is passed (LOG rule 2).

use super::record::{Extent, HEAD_BYTES, decode_lines, encode_lines};
use crate::error::{Error, Result};
use crate::region::Memory;
use crate::units::{FRAME_SIZE, FrameNo, LINE_SIZE};

/// Most frames of an extent: who reads one holds it in memory whole.
pub const EXTENT_FRAMES_MAX: usize = 256;
/// What a frame holds at least when it is an extent of its own, where an entry is split at its end.
const FRAME_YIELD: usize = FRAME_SIZE - HEAD_BYTES - LINE_SIZE - HEAD_BYTES;

/// How many frames hold entries of `bytes` bytes, however they are scattered.
#[must_use]
pub const fn frames_for(bytes: usize) -> usize {
    bytes.div_ceil(FRAME_YIELD) + 1
}

/// Fills frames with lines.
pub struct Writer<'m> {
    memory: &'m Memory,
    /// Runs of frames not begun, the next one last.
    runs: Vec<(FrameNo, usize)>,
    /// The extent that is being filled: its first frame and its size.
    open: Option<(FrameNo, usize)>,
    bytes: Vec<u8>,
    extents: Vec<Extent>,
}

impl<'m> Writer<'m> {
    /// A writer into `frames`.
    #[must_use]
    pub fn new(memory: &'m Memory, frames: &[FrameNo]) -> Self {
        let mut runs: Vec<(FrameNo, usize)> = Vec::new();
        for &frame in frames {
            match runs.last_mut() {
                Some((first, len)) if first.0 + *len as u32 == frame.0 && *len < EXTENT_FRAMES_MAX => {
                    *len += 1
                }
                _ => runs.push((frame, 1)),
            }
        }
        runs.reverse();
        Self { memory, runs, open: None, bytes: Vec::new(), extents: Vec::new() }
    }

    /// Adds lines of one frame.
    ///
    /// # Durability
    /// None before [`finish`](Self::finish).
    pub fn push(&mut self, offset: u64, lines: &[u8]) -> Result {
        let (mut offset, mut lines) = (offset, lines);
        while !lines.is_empty() {
            let room = self.open.map_or(0, |(_, size)| size - self.bytes.len()).saturating_sub(HEAD_BYTES);
            let now = lines.len().min(room / LINE_SIZE * LINE_SIZE);
            if now == 0 {
                self.close()?;
                let Some((frame, len)) = self.runs.pop() else {
                    return Err(Error::NoSpace { why: "the frames for a large batch are full".into() });
                };
                self.open = Some((frame, len * FRAME_SIZE));
                continue;
            }
            encode_lines(&mut self.bytes, offset, &lines[..now]);
            (offset, lines) = (offset + now as u64, &lines[now..]);
        }
        Ok(())
    }

    /// Ends the extent that is being filled.
    fn close(&mut self) -> Result {
        let Some((frame, _)) = self.open.take() else { return Ok(()) };
        let bytes = std::mem::take(&mut self.bytes);
        self.memory.write_nt(frame.offset(), &bytes)?;
        self.memory.write_through(frame.offset(), bytes.len())?;
        let checksum = crc32c::crc32c(&bytes);
        self.extents.push(Extent { frame, bytes: bytes.len() as u32, checksum });
        Ok(())
    }

    /// The extents, for the record.
    ///
    /// # Durability
    /// Durable on return, as far as the region's class can make it.
    pub fn finish(mut self) -> Result<Vec<Extent>> {
        self.close()?;
        self.memory.fence();
        Ok(self.extents)
    }
}

/// The lines in an extent.
pub fn read(memory: &Memory, extent: Extent) -> Result<Vec<(u64, Box<[u8]>)>> {
    let at = extent.frame.offset();
    let limit = EXTENT_FRAMES_MAX * FRAME_SIZE;
    if extent.bytes as usize > limit {
        return Err(Error::corrupt("payload of the log", at, format!("an extent of {} bytes", extent.bytes)));
    }
    let mut bytes = vec![0; extent.bytes as usize];
    memory.read(at, &mut bytes)?;
    if crc32c::crc32c(&bytes) != extent.checksum {
        return Err(Error::corrupt("payload of the log", at, "its checksum does not match"));
    }
    decode_lines(&bytes).ok_or_else(|| Error::corrupt("payload of the log", at, "it holds more than lines"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scattered_frames_hold_what_was_asked_for() {
        // The worst: single frames, and entries that never end where a frame does.
        for lines in 1..=64 {
            let entry = HEAD_BYTES + lines * LINE_SIZE;
            let entries = 200;
            let (mut frames, mut room) = (0, 0usize);
            for _ in 0..entries {
                let mut left = lines;
                while left > 0 {
                    let now = left.min(room.saturating_sub(HEAD_BYTES) / LINE_SIZE);
                    if now == 0 {
                        (frames, room) = (frames + 1, FRAME_SIZE);
                        continue;
                    }
                    (left, room) = (left - now, room - HEAD_BYTES - now * LINE_SIZE);
                }
            }
            assert!(frames <= frames_for(entries * entry), "{lines} lines: {frames} frames");
        }
    }
}
