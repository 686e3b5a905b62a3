//! Formatting and opening: from a region's bytes to its log.

use crate::error::{Error, Result};
use crate::media::ending::Recovery;
use crate::media::groups;
use crate::media::layout::{
    BITMAP_FRAMES, DIRECTORY_FRAME, LEASE_OFFSET, LOG_FRAMES_MAX, LOG_FRAMES_MIN, LOG_HEADER_OFFSETS,
    ROOT_FRAME, RootWord, SUPERBLOCK_OFFSETS, WORD_SIZE, WORDS_PER_FRAME, file_bytes, first_free_frame,
    initial_frames,
};
use crate::media::log::header::{FORMAT_WRITES, Header};
use crate::media::log::recovery::recover;
use crate::media::log::ring::Ring;
use crate::media::log::{Log, new_epoch};
use crate::media::rules::Rules;
use crate::media::seal::Salt;
use crate::media::superblock::{Drawn, Superblock};
use crate::region::Region;
use crate::units::{FRAME_SIZE, REGION_FRAMES_MAX};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Whether a region has been formatted. A head of zeros is one that never was, or whose format was cut short.
pub fn is_formatted(region: &Region) -> Result<bool> {
    Ok(Superblock::read(region)?.is_some())
}

/// Refuses a log of a size that none can have.
///
/// # Errors
/// `Invalid`.
pub fn check_log_frames(log_frames: u32) -> Result {
    if (LOG_FRAMES_MIN..=LOG_FRAMES_MAX).contains(&log_frames) {
        return Ok(());
    }
    Err(Error::Invalid(format!("a log has {LOG_FRAMES_MIN} to {LOG_FRAMES_MAX} frames, not {log_frames}")))
}

/// Formats an unformatted region with a log of `log_frames` frames. The superblock comes last: a format that is cut
/// short is none.
///
/// # Durability
/// Durable on return; unformatted if the power fails before.
///
/// # Errors
/// `Invalid` for a log size out of range, or for a region that is formatted already; `NoSpace`.
pub fn format(region: &Region, log_frames: u32) -> Result {
    check_log_frames(log_frames)?;
    if is_formatted(region)? {
        return Err(Error::Invalid("the region is formatted already".to_owned()));
    }
    let frames = initial_frames(log_frames);
    let bytes = file_bytes(frames.into());
    region.grow_to(bytes).map_err(|error| match error {
        Error::NoSpace { why } => Error::NoSpace {
            why: format!("a new region with a log of {log_frames} frames needs {bytes} bytes: {why}"),
        },
        error => error,
    })?;
    region.fill_gaps(std::iter::once(0..bytes))?;
    let memory = region.memory();
    let zeros = [0; FRAME_SIZE];
    for offset in (LOG_HEADER_OFFSETS[0]..first_free_frame(log_frames).offset()).step_by(FRAME_SIZE) {
        memory.write(offset, &zeros)?;
    }
    let drawn = Drawn::at_random()?;
    for (offset, word) in words(log_frames, Salt::new(drawn.salt)) {
        memory.store(offset, word)?;
    }
    let head = LOG_HEADER_OFFSETS[0]..first_free_frame(log_frames).offset();
    memory.flush(head.start, (head.end - head.start) as usize)?;
    memory.fence();
    memory.sync_file()?;
    let mut header = Header::fresh(new_epoch()?, log_frames);
    let tail = header.tail;
    for _ in 0..FORMAT_WRITES {
        header.advance(memory, tail, Rules::default())?;
    }
    let mut superblock = Superblock::of_format(log_frames, drawn);
    superblock.write(region, 1)?;
    superblock.sequence = 2;
    superblock.write(region, 0)
}

/// Formats a device anew, whatever it holds.
///
/// # Durability
/// As [`format`]; if the power fails before, the device holds what it held, or nothing that opens.
///
/// # Errors
/// `Invalid` for a region that is no device: another file is as good; else as [`format`].
pub fn format_over(region: &Region, log_frames: u32) -> Result {
    if !region.is_fixed() {
        return Err(Error::Invalid(
            "only a device is overwritten: remove the file, or name another one".to_owned(),
        ));
    }
    let memory = region.memory();
    for offset in SUPERBLOCK_OFFSETS {
        memory.write(offset, &[0; FRAME_SIZE])?;
        memory.flush(offset, FRAME_SIZE)?;
    }
    memory.fence();
    // The log's header tells an unfinished format from a region that lost its superblocks.
    for offset in LOG_HEADER_OFFSETS.into_iter().chain([LEASE_OFFSET]) {
        memory.write(offset, &[0; FRAME_SIZE])?;
        memory.flush(offset, FRAME_SIZE)?;
    }
    memory.fence();
    format(region, log_frames)
}

/// Whether an unformatted region holds nothing but what a format with such a log leaves when it is cut short: then it
/// is no loss to format it. A device is read to its end.
pub fn is_unfinished(region: &Region, log_frames: u32) -> Result<bool> {
    let (memory, len) = (region.memory(), region.len_bytes());
    if len > file_bytes(initial_frames(log_frames).into()) && !region.is_fixed() {
        return Ok(false);
    }
    let left = may_be_left(log_frames);
    let is_left = |(at, word): (u64, &[u8])| {
        word.iter().all(|&byte| byte == 0)
            || left.get(&at).is_some_and(|value| value.is_none_or(|value| word == value.to_le_bytes()))
    };
    let mut frame = [0; FRAME_SIZE];
    for offset in (0..len).step_by(FRAME_SIZE) {
        let part = &mut frame[..(len - offset).min(FRAME_SIZE as u64) as usize];
        memory.read(offset, part)?;
        let words = part.chunks(WORD_SIZE as usize);
        if !(offset..).step_by(WORD_SIZE as usize).zip(words).all(is_left) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The words that a format which is cut short may leave, by their places; no value: any may stand there. Where a superblock is
/// whole the format was not cut short, so the copy that comes last is not among them.
fn may_be_left(log_frames: u32) -> BTreeMap<u64, Option<u64>> {
    // Made of two random numbers: the words that differ are those which depend on them.
    let superblock = [0, u8::MAX].map(|byte| Superblock::of_format(log_frames, Drawn::all(byte)).encode());
    let header = |copy| [0, u64::MAX].map(|epoch| Header::of_format(epoch, log_frames, copy));
    let sectors = [
        (SUPERBLOCK_OFFSETS[1], superblock),
        (LOG_HEADER_OFFSETS[0], header(0)),
        (LOG_HEADER_OFFSETS[1], header(1)),
    ];
    let of_sectors = sectors.into_iter().flat_map(|(offset, [one, other])| {
        let values = one.words(offset).zip(other.words(offset));
        let places = (offset..).step_by(WORD_SIZE as usize);
        places.zip(values.map(|(one, other)| (one == other).then_some(one)))
    });
    let [one, other] = [0, u64::MAX].map(|salt| words(log_frames, Salt::new(salt)));
    let of_words = one.into_iter().zip(other);
    let of_words = of_words.map(|((at, one), (_, other))| (at, (one == other).then_some(one)));
    of_words.chain(of_sectors).collect()
}

/// Words of the root, of the table of groups and of the first bitmap, with their places.
fn words(log_frames: u32, salt: Salt) -> Vec<(u64, u64)> {
    let root = [
        (RootWord::Frames.offset(), initial_frames(log_frames).into()),
        (RootWord::NextObject.offset(), 1),
        (RootWord::Directory.offset(), DIRECTORY_FRAME.0.into()),
    ];
    let fixed = u64::from(first_free_frame(log_frames).0);
    let bits = |word: u64| match fixed.saturating_sub(word * 64) {
        0 => 0,
        front => u64::MAX >> (64 - front.min(64)),
    };
    let bitmap: Vec<_> = (0..WORDS_PER_FRAME).map(bits).collect();
    let places = (BITMAP_FRAMES[0].offset()..).step_by(WORD_SIZE as usize);
    let used = places.zip(bitmap.iter().copied()).filter(|(_, bits)| *bits != 0);
    root.into_iter().chain(groups::of_format(salt, &bitmap)).chain(used).collect()
}

/// Opens a formatted region: recovers its log.
///
/// # Durability
/// What was recovered is durable on return, unless the region is read-only. A clean region is not written to.
///
/// # Errors
/// `NotARegion`, `Version`, `Features`, `Truncated`, `Corrupt`: nothing was changed.
pub fn open(region: Arc<Region>, rules: Rules) -> Result<(Log, Recovery)> {
    let Some(superblock) = Superblock::read(&region)? else {
        let hint = "its head is blank: restore it from a copy, or create a region in its place".to_owned();
        return Err(Error::NotARegion {
            path: region.path().map(Path::to_path_buf).unwrap_or_default(),
            hint,
        });
    };
    let (log_frames, salt) = (superblock.newest.log_frames, superblock.newest.drawn.salt);
    check_frames(&region, log_frames, region.memory().load(RootWord::Frames.offset())?)?;
    let (header, recovery) = recover(&region, Ring::new(log_frames), salt, rules)?;
    let log = Log::new(region, superblock, header, recovery, rules);
    check_frames(log.region(), log_frames, log.read(RootWord::Frames.offset())?)?;
    Ok((log, recovery))
}

/// The `frames` word against the file. Its home may be older than the log's, but never larger: growth only adds.
fn check_frames(region: &Region, log_frames: u32, frames: u64) -> Result {
    if !(u64::from(initial_frames(log_frames))..REGION_FRAMES_MAX).contains(&frames) {
        let why = format!("a region of {frames} frames");
        return Err(Error::corrupt("root", ROOT_FRAME.offset(), why));
    }
    let (expected, found) = (file_bytes(frames), region.len_bytes());
    if found < expected { Err(Error::Truncated { expected, found }) } else { Ok(()) }
}
