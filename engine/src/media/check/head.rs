//! The fixed frames: superblock, lease, log header, root, reserved frames.

use super::Report;
use crate::error::{Error, Result};
use crate::media::layout::{
    COUNTER_MAX, LEASE_OFFSET, LOG_HEADER_OFFSETS, RESERVED_FRAMES, ROOT_FRAME, RootWord, SUPERBLOCK_OFFSETS,
    WORD_SIZE, file_bytes, initial_frames,
};
use crate::media::lease::Lease;
use crate::media::log::Log;
use crate::media::log::header::Header;
use crate::media::sector::Found;
use crate::media::superblock::Superblock;
use crate::media::words::{Shape, WORDS};
use crate::units::{FRAME_SIZE, FrameNo};

/// Byte offset of the features, in the first superblock.
const FEATURES: u64 = 16;
/// Words of the root frame that mean something.
const ROOT_WORDS: u64 = RootWord::Objects as u64 + 1;

/// Checks the fixed frames and returns the shape that the rest may be held against: never larger than the file.
pub(super) fn check(log: &Log, report: &mut Report) -> Result<Shape> {
    let region = log.region();
    match Superblock::read(region) {
        Ok(Some(copies)) => {
            if copies.other_bad {
                let bad = SUPERBLOCK_OFFSETS[1 - copies.live];
                report.remark("superblock-copy", bad, "the other copy is good; the next change writes it");
            }
            if let Some(at) = copies.newest.unknown_byte() {
                let at = SUPERBLOCK_OFFSETS[copies.live] + at as u64;
                report.find("superblock-field", at, "not zero");
            }
            if copies.newest.unknown_to_write() != 0 {
                report.find("unknown-features", FEATURES, format!("{:#x}", copies.newest.unknown_to_write()));
            }
        }
        Ok(None) => report.find("superblock-copy", 0, "both copies are blank"),
        Err(error @ Error::Io { .. }) => return Err(error),
        Err(Error::Features { bits }) => report.find("unknown-features", FEATURES, format!("{bits:#x}")),
        Err(error) => report.find("superblock-copy", 0, error.to_string()),
    }
    if Lease::read(region)? == Found::Torn {
        report.remark("lease", LEASE_OFFSET, "it is not whole; the next change writes it");
    }
    log_header(log, report)?;
    for frame in RESERVED_FRAMES.map(FrameNo) {
        if let Some(at) = nonzero(log, frame, 0)? {
            report.find("reserved-frame", at, "not zero");
        }
    }
    if let Some(at) = nonzero(log, ROOT_FRAME, ROOT_WORDS)? {
        report.find("root-word", at, "not zero");
    }
    let next = RootWord::NextObject.offset();
    if log.read(next)? >= COUNTER_MAX {
        report.find("root-word", next, "impossible number of the next object");
    }
    let (least, at) = (u64::from(initial_frames(log.frames())), RootWord::Frames.offset());
    let (frames, room) = (log.read(at)?, (region.len_bytes() / FRAME_SIZE as u64).saturating_sub(1));
    if !(least..=room).contains(&frames) {
        let file = file_bytes(room);
        report.find(
            "frames-word",
            at,
            format!("{frames} frames, at least {least}, in a file of {file} bytes"),
        );
    }
    report.counts.frames = frames.clamp(least.min(room), room);
    Ok(Shape { log_frames: log.frames(), frames: report.counts.frames })
}

fn log_header(log: &Log, report: &mut Report) -> Result {
    // The leader may be writing a copy just now: a bad copy is one that stays bad.
    for _ in 0..100 {
        if matches!(Header::read(log.region().memory(), log.frames()), Ok(header) if !header.other_bad) {
            return Ok(());
        }
        crate::sync::thread::yield_now();
    }
    match Header::read(log.region().memory(), log.frames()) {
        Ok(header) if !header.other_bad => {}
        Ok(_) => report.remark(
            "log-header-copy",
            LOG_HEADER_OFFSETS[0],
            "one copy is good; the next change writes the other",
        ),
        Err(error @ Error::Io { .. }) => return Err(error),
        Err(error) => report.find("log-header-copy", LOG_HEADER_OFFSETS[0], error.to_string()),
    }
    Ok(())
}

/// The first word of `frame`, from the `from`-th on, that is not zero.
fn nonzero(log: &Log, frame: FrameNo, from: u64) -> Result<Option<u64>> {
    for i in from..WORDS {
        let at = frame.offset() + i * WORD_SIZE;
        if log.read(at)? != 0 {
            return Ok(Some(at));
        }
    }
    Ok(None)
}
