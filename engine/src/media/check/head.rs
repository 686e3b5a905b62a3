//! The fixed frames: superblock, lease, log header, root.

use super::{Report, rest, root};
use crate::error::{Error, Result};
use crate::media::layout::{LEASE_OFFSET, LOG_HEADER_OFFSETS, SUPERBLOCK_OFFSETS};
use crate::media::lease::Lease;
use crate::media::log::Log;
use crate::media::log::header::Header;
use crate::media::sector::Found;
use crate::media::superblock::Superblock;
use crate::media::words::Shape;

/// Byte offset of the features, in the first superblock.
const FEATURES: u64 = 16;

/// Checks the fixed frames, while no thread leads or appends (`Log::at_rest`). Returns the shape with which the rest may be
/// compared: it is never larger than the file.
pub(super) fn check(log: &Log, report: &mut Report) -> Result<Shape> {
    let region = log.region();
    let mut superblock = None;
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
            superblock = Some(copies.newest);
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
    rest::check(log, superblock.as_ref(), report)?;
    report.counts.frames = root::check(log, superblock.as_ref(), report)?;
    Ok(Shape { log_frames: log.frames(), frames: report.counts.frames })
}

fn log_header(log: &Log, report: &mut Report) -> Result {
    match Header::read(log.region().memory(), log.frames()) {
        Ok(header) if !header.other_bad => {}
        Ok(header) => report.remark(
            "log-header-copy",
            header.other(),
            "the other copy is good; the next change writes it",
        ),
        Err(error @ Error::Io { .. }) => return Err(error),
        Err(error) => report.find("log-header-copy", LOG_HEADER_OFFSETS[0], error.to_string()),
    }
    Ok(())
}
