//! Payload: the lines of a batch that is too large for the ring, in frames that nothing else uses.
//!
//! The frames are taken in memory only: on the medium they are free. They are filled and made durable before the record
//! that names them is appended, and are not used again before it is passed (LOG rule 2).

use super::record::{Extent, HEAD_BYTES, decode_lines, encode_lines};
use crate::error::{Error, Result};
use crate::region::Memory;
use crate::sync::Step;
use crate::units::{FRAME_SIZE, FrameNo, LINE_SIZE};

/// Most frames of an extent. A reader holds a whole extent in memory.
pub const EXTENT_FRAMES_MAX: usize = 256;
/// Least bytes that a frame holds as an extent of its own: an entry is split at its end.
const FRAME_YIELD: usize = FRAME_SIZE - HEAD_BYTES - LINE_SIZE - HEAD_BYTES;

/// How many frames are enough for entries of `bytes` bytes, however scattered the frames are.
#[must_use]
pub const fn frames_for(bytes: usize) -> usize {
    bytes.div_ceil(FRAME_YIELD) + 1
}

/// The extents that these frames make in this order: the first frame and the number of frames of each.
pub fn extents_of(frames: &[FrameNo]) -> impl Iterator<Item = (FrameNo, usize)> {
    let runs = frames.chunk_by(|a, b| a.0 + 1 == b.0);
    runs.flat_map(|run| run.chunks(EXTENT_FRAMES_MAX)).map(|extent| (extent[0], extent.len()))
}

/// Writes lines into frames.
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
        let mut runs: Vec<_> = extents_of(frames).collect();
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

    /// Ends the last extent and returns all, for the record.
    ///
    /// # Durability
    /// Durable on return, as far as the region's class can make bytes durable.
    pub fn finish(mut self) -> Result<Vec<Extent>> {
        self.close()?;
        self.memory.fence();
        Step::PayloadWritten.reach();
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
    use crate::region::{Region, RegionOptions, Source};
    use proptest::prelude::*;
    use std::sync::Arc;

    /// The first frame that a payload may take here.
    const FIRST: usize = 2;

    fn region(frames: usize) -> Arc<Region> {
        let image = Source::Image(vec![0; frames * FRAME_SIZE]);
        Region::attach(image, &RegionOptions::default()).unwrap()
    }

    /// An extent over the whole of the region's frames from [`FIRST`] on that holds these bytes.
    fn extent(region: &Region, bytes: &[u8]) -> Extent {
        let frame = FrameNo(FIRST as u32);
        region.memory().write(frame.offset(), bytes).unwrap();
        Extent { frame, bytes: bytes.len() as u32, checksum: crc32c::crc32c(bytes) }
    }

    #[test]
    fn an_extent_is_read_up_to_its_most_and_refused_beyond() {
        let region = region(FIRST + EXTENT_FRAMES_MAX + 1);
        let mut bytes = Vec::new();
        for entry in 0..256 {
            encode_lines(&mut bytes, 0, &vec![1; if entry < 224 { 64 } else { 63 } * LINE_SIZE]);
        }
        assert_eq!(bytes.len(), EXTENT_FRAMES_MAX * FRAME_SIZE);
        assert_eq!(read(region.memory(), extent(&region, &bytes)).unwrap().len(), 256);
        encode_lines(&mut bytes, 0, &[1; LINE_SIZE]);
        let error = read(region.memory(), extent(&region, &bytes)).unwrap_err();
        assert!(error.to_string().contains("an extent of"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        /// Single frames and runs of them; entries of all sizes.
        #[test]
        fn what_was_pushed_is_read_back_and_no_extent_leaves_its_frames(
            taken in prop::collection::vec(any::<bool>(), 1..60),
            pushes in prop::collection::vec((0usize..64, 1usize..=64, 1u8..), 1..60),
        ) {
            let region = region(FIRST + taken.len());
            let frames: Vec<FrameNo> =
                (0..taken.len()).filter(|&at| taken[at]).map(|at| FrameNo((FIRST + at) as u32)).collect();
            let mut writer = Writer::new(region.memory(), &frames);
            let (mut pushed, mut bytes, mut full) = (Vec::new(), 0, false);
            for (at, (first, count, byte)) in pushes.into_iter().enumerate() {
                let (start, lines) = (at * 64 + first, vec![byte; count.min(64 - first) * LINE_SIZE]);
                full = writer.push((start * LINE_SIZE) as u64, &lines).is_err();
                if full {
                    break;
                }
                bytes += HEAD_BYTES + lines.len();
                pushed.extend((start..start + lines.len() / LINE_SIZE).map(|line| (line, byte)));
            }
            prop_assert!(!full || frames_for(bytes) > frames.len().saturating_sub(2), "it was not full");
            prop_assert!(full || bytes <= frames.len() * FRAME_SIZE);
            if full {
                return Ok(());
            }
            let mut found = Vec::new();
            for extent in writer.finish().unwrap() {
                for frame in 0..u64::from(extent.bytes).div_ceil(FRAME_SIZE as u64) {
                    prop_assert!(frames.contains(&FrameNo(extent.frame.0 + frame as u32)), "{extent:?}");
                }
                for (offset, lines) in read(region.memory(), extent).unwrap() {
                    let first = offset as usize / LINE_SIZE;
                    found.extend(lines.chunks(LINE_SIZE).enumerate().map(|(at, line)| (first + at, line[0])));
                }
            }
            prop_assert_eq!(found, pushed);
        }
    }

    #[test]
    fn scattered_frames_hold_what_was_asked_for() {
        // The worst case: single frames, and entries that never end where a frame ends.
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
