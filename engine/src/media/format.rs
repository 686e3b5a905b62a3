//! Formatting a region, and opening it: from its bytes to its log.

use crate::error::{Error, Result};
use crate::media::ending::Recovery;
use crate::media::groups;
use crate::media::layout::{
    BITMAP_FRAMES, DIRECTORY_FRAME, GROUP_ROOT_FRAME, GROUP_TABLE_FRAME, LEASE_OFFSET, LOG_FRAMES_MAX,
    LOG_FRAMES_MIN, LOG_HEADER_OFFSETS, ROOT_FRAMES, RootWord, SUPERBLOCK_OFFSETS, WORD_SIZE,
    WORDS_PER_FRAME, bits_of_format, file_bytes, first_free_frame, initial_frames,
};
use crate::media::log::header::{FORMAT_WRITES, Header};
use crate::media::log::recovery::recover;
use crate::media::log::ring::Ring;
use crate::media::log::{Log, new_epoch};
use crate::media::root::{self, Anchor, Roots};
use crate::media::rules::Rules;
use crate::media::seal::{self, Blank, Node};
use crate::media::superblock::{Copies, Drawn, Superblock};
use crate::region::Region;
use crate::units::{FRAME_SIZE, FrameNo, REGION_FRAMES_MAX};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Whether a region has been formatted. If its head is zeros, it never was, or the format was cut short.
pub fn is_formatted(region: &Region) -> Result<bool> {
    Ok(Superblock::read(region)?.is_some())
}

/// Refuses an impossible size of a log.
///
/// # Errors
/// `Invalid`.
pub fn check_log_frames(log_frames: u32) -> Result {
    if (LOG_FRAMES_MIN..=LOG_FRAMES_MAX).contains(&log_frames) {
        return Ok(());
    }
    Err(Error::Invalid(format!("a log has {LOG_FRAMES_MIN} to {LOG_FRAMES_MAX} frames, not {log_frames}")))
}

/// Formats an unformatted region with a log of `log_frames` frames. The superblock is written last, so a format that is
/// cut short leaves an unformatted region.
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
    let mut superblock = Superblock::of_format(log_frames, Drawn::at_random()?);
    for (offset, word, _) in words(&superblock) {
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
    superblock.write(region, 1)?;
    superblock.sequence = 2;
    superblock.write(region, 0)
}

/// Formats a device anew, whatever it holds.
///
/// # Durability
/// As [`format()`]. If the power fails before, the device holds what it held before, or nothing that opens.
///
/// # Errors
/// `Invalid` for a region that is no device, since another file can be used instead. Otherwise as [`format()`].
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
    // By the log's header an unfinished format differs from a region that has lost its superblocks.
    for offset in LOG_HEADER_OFFSETS.into_iter().chain([LEASE_OFFSET]) {
        memory.write(offset, &[0; FRAME_SIZE])?;
        memory.flush(offset, FRAME_SIZE)?;
    }
    memory.fence();
    format(region, log_frames)
}

/// Whether an unformatted region holds only what formats leave that are cut short, with logs of these sizes. Then
/// nothing is lost if it is formatted. A device is read to its end.
pub fn is_unfinished(region: &Region, log_frames: &[u32]) -> Result<bool> {
    let (memory, len) = (region.memory(), region.len_bytes());
    let longest =
        log_frames.iter().copied().max().map_or(0, |frames| file_bytes(initial_frames(frames).into()));
    if len > longest && !region.is_fixed() {
        return Ok(false);
    }
    // Of two formats that were cut short, each may have left a part.
    let left: Vec<_> = log_frames.iter().map(|&frames| may_be_left(frames)).collect();
    let number = |word: &[u8]| word.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let is_left = |(at, word): (u64, &[u8])| {
        word.iter().all(|&byte| byte == 0)
            || left
                .iter()
                .filter_map(|left| left.get(&at))
                .any(|(value, same)| (number(word) ^ value) & same == 0)
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

/// The words that a format may leave when it is cut short, by their places, with the bits that are the same in all
/// regions. A format with a whole superblock was not cut short, so the copy that is written last is not among them.
fn may_be_left(log_frames: u32) -> BTreeMap<u64, (u64, u64)> {
    // Made twice, from two different random numbers: the words that differ depend on these.
    let superblocks = [0, u8::MAX].map(|byte| Superblock::of_format(log_frames, Drawn::all(byte)));
    let superblock = superblocks.each_ref().map(Superblock::encode);
    let header = |copy| [0, u64::MAX].map(|epoch| Header::of_format(epoch, log_frames, copy));
    let sectors = [
        (SUPERBLOCK_OFFSETS[1], superblock),
        (LOG_HEADER_OFFSETS[0], header(0)),
        (LOG_HEADER_OFFSETS[1], header(1)),
    ];
    let of_sectors = sectors.into_iter().flat_map(|(offset, [one, other])| {
        let values = one.words(offset).zip(other.words(offset));
        let places = (offset..).step_by(WORD_SIZE as usize);
        places.zip(values.map(|(one, other)| (one, if one == other { u64::MAX } else { 0 })))
    });
    let words = words(&superblocks[0]).map(|(offset, word, same)| (offset, (word, same)));
    words.chain(of_sectors).collect()
}

/// The words of the roots, of the table of groups, of the first bitmap and of the directory's root, with their places,
/// and the bits of each that are the same in every region.
fn words(superblock: &Superblock) -> impl Iterator<Item = (u64, u64, u64)> {
    let (salt, log_frames) = (superblock.anchor(Rules::KEPT).salt, superblock.log_frames);
    let frame = |frame: FrameNo| (frame.offset()..).step_by(WORD_SIZE as usize);
    let root = root::fresh(salt, &root_words(superblock));
    let roots = ROOT_FRAMES.into_iter().flat_map(move |at| frame(at).zip(root.clone())).map(|(at, word)| {
        let place = (at % FRAME_SIZE as u64 / WORD_SIZE) as usize;
        let drawn = RootWord::Salt as usize..=RootWord::Uuid1 as usize;
        let sealed = RootWord::FreeSlots as usize..=RootWord::BusyTable as usize;
        let same = match place % root::LINE_WORDS {
            7 => !u64::from(u32::MAX),
            _ if drawn.contains(&place) => 0,
            _ if sealed.contains(&place) => seal::VALUE_MASK,
            _ => u64::MAX,
        };
        (at, word, same)
    });
    let bitmap: Vec<_> = (0..WORDS_PER_FRAME).map(|word| bits_of_format(log_frames, word)).collect();
    let groups = groups::of_format(salt, &bitmap).into_iter().flat_map(move |(at, words)| {
        let entries = at == GROUP_TABLE_FRAME;
        frame(at).zip(words).enumerate().map(move |(place, (at, word))| match (entries, place) {
            (true, 1 | 3) => (at, word, !seal::TALLY_MASK),
            _ => (at, word, seal::VALUE_MASK),
        })
    });
    let bitmap = frame(BITMAP_FRAMES[0]).zip(bitmap).filter(|(_, bits)| *bits != 0);
    let mut directory = [0; WORDS_PER_FRAME as usize];
    salt.blank(DIRECTORY_FRAME, Blank::Node(Node::PLACES), 0, &mut directory);
    roots
        .chain(groups)
        .chain(bitmap.map(|(at, word)| (at, word, u64::MAX)))
        .chain(frame(DIRECTORY_FRAME).zip(directory).map(|(at, word)| (at, word, seal::VALUE_MASK)))
}

/// The words of a fresh root.
fn root_words(superblock: &Superblock) -> Vec<(RootWord, u64)> {
    let salt = superblock.anchor(Rules::KEPT).salt;
    let nothing = |word: RootWord| (word, salt.place(word.offset()).nothing());
    let own = [
        (RootWord::Frames, initial_frames(superblock.log_frames).into()),
        (RootWord::NextObject, 1),
        nothing(RootWord::FreeSlots),
        nothing(RootWord::Orphans),
        nothing(RootWord::BusyTable),
        (RootWord::Directory, DIRECTORY_FRAME.0.into()),
        (RootWord::GroupRoot, GROUP_ROOT_FRAME.0.into()),
    ];
    own.into_iter().chain(superblock.repeated()).collect()
}

/// Opens a formatted region: recovers its log.
///
/// # Durability
/// What was recovered is durable on return, unless the region is read-only. A clean region is not written.
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
    open_as(region, superblock, rules, |_| Ok(()))
}

/// As [`open`], of a region with this superblock; `mend` may rebuild lines of the root, when the log is recovered.
///
/// # Durability
/// As [`open`].
pub(super) fn open_as(
    region: Arc<Region>,
    superblock: Copies,
    rules: Rules,
    mend: impl FnOnce(Anchor) -> Result,
) -> Result<(Log, Recovery)> {
    let (log_frames, anchor) = (superblock.newest.log_frames, superblock.newest.anchor(rules));
    if let Some(frames) = root::frames_before_recovery(region.memory(), anchor)? {
        check_frames(&region, log_frames, frames)?;
    }
    let (header, recovery) = recover(&region, Ring::new(log_frames), anchor, rules)?;
    mend(anchor)?;
    let roots = Roots::read(region.memory(), anchor)?;
    let log = Log::new(region, superblock, header, roots, recovery, rules);
    check_frames(log.region(), log_frames, log.root(RootWord::Frames)?)?;
    Ok((log, recovery))
}

/// Compares the `frames` word with the file. Its home may be older than the log's word, but never larger, since growth
/// only adds.
fn check_frames(region: &Region, log_frames: u32, frames: u64) -> Result {
    if !(u64::from(initial_frames(log_frames))..REGION_FRAMES_MAX).contains(&frames) {
        let why = format!("a region of {frames} frames");
        return Err(Error::corrupt("root", ROOT_FRAMES[0].offset(), why));
    }
    let (expected, found) = (file_bytes(frames), region.len_bytes());
    if found < expected { Err(Error::Truncated { expected, found }) } else { Ok(()) }
}
