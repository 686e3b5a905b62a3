//! Names of places in a region, for stories and for schedules that wait for an event at some place.

use pagestone::media::layout::{
    BITMAP_FRAMES, CURSOR_OFFSET, DIRECTORY_FRAME, GROUP_ROOT_FRAME, GROUP_TABLE_FRAME, LEASE_OFFSET,
    LOG_FRAME, LOG_HEADER_OFFSETS, ROOT_FRAMES, SUPERBLOCK_OFFSETS, first_free_frame,
};
use pagestone::units::{FRAME_SIZE, FrameNo};
use std::ops::Range;

/// The first frame that holds data in a region with the smallest log.
pub const FIRST_FREE: FrameNo = first_free_frame(super::life::LOG_FRAMES);

/// Bytes of the log.
#[must_use]
pub fn log_range(log_frames: u32) -> Range<u64> {
    LOG_FRAME.offset()..FrameNo(LOG_FRAME.0 + log_frames).offset()
}

/// The structure that holds a byte.
#[must_use]
pub fn name(offset: u64, log_frames: u32) -> String {
    let frame = offset / FRAME_SIZE as u64;
    let is = |start: u64| (start..start + 512).contains(&offset);
    if let Some(copy) = SUPERBLOCK_OFFSETS.iter().position(|&o| is(o)) {
        return format!("superblock copy {copy}");
    }
    if let Some(copy) = LOG_HEADER_OFFSETS.iter().position(|&o| is(o)) {
        return format!("log header copy {copy}");
    }
    if is(LEASE_OFFSET) {
        return "lease".into();
    }
    if is(CURSOR_OFFSET) {
        return "cursor".into();
    }
    if log_range(log_frames).contains(&offset) {
        return format!("log byte {:#x}", offset - LOG_FRAME.offset());
    }
    let [first, second] = ROOT_FRAMES;
    let named = [
        (first, "first root"),
        (second, "second root"),
        (GROUP_ROOT_FRAME, "root of the groups"),
        (GROUP_TABLE_FRAME, "table of groups"),
        (BITMAP_FRAMES[0], "bitmap"),
        (BITMAP_FRAMES[1], "bitmap ahead"),
        (DIRECTORY_FRAME, "directory root"),
    ];
    match named.iter().find(|(f, _)| u64::from(f.0) == frame) {
        Some((_, name)) => (*name).into(),
        None => format!("frame {frame}"),
    }
}
