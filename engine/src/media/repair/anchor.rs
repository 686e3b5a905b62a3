//! Superblock and log header where neither copy is whole. The superblock is rebuilt from the root, which repeats it; the
//! log's header is begun anew.

use super::super::layout::{
    LOG_FRAMES_MAX, LOG_FRAMES_MIN, LOG_HEADER_OFFSETS, ROOT_FRAMES, RootWord, SUPERBLOCK_OFFSETS,
    first_free_frame,
};
use super::super::log::header::Header;
use super::super::log::new_epoch;
use super::super::root::{self, Anchor};
use super::super::sector::Sector;
use super::super::superblock::{Copies, Drawn, Hints, Superblock};
use super::Repairs;
use crate::error::{Error, Result};
use crate::region::Region;
use crate::units::{FRAME_SIZE, FrameNo};

/// The superblock, rebuilt if no copy of it is whole.
///
/// # Durability
/// What is rebuilt is durable on return.
pub(super) fn superblock(region: &Region, repairs: &mut Repairs) -> Result<Copies> {
    let found = match Superblock::read(region) {
        Ok(None) | Err(Error::Corrupt { .. } | Error::NotARegion { .. }) if Superblock::is_lost(region)? => {
            None
        }
        found => found?,
    };
    let copies = match found {
        Some(copies) => copies,
        None => rebuilt(region, repairs)?,
    };
    match copies.newest.unknown_to_write() {
        0 => Ok(copies),
        bits => Err(Error::Features { bits }),
    }
}

fn rebuilt(region: &Region, repairs: &mut Repairs) -> Result<Copies> {
    let memory = region.memory();
    let gone = |why: &str| Err(Error::corrupt("superblock", SUPERBLOCK_OFFSETS[0], why));
    let Some((frames, counter)) = Header::said(memory)? else {
        return gone("neither copy is whole, nor is one of the log's header: restore from a copy");
    };
    if !(LOG_FRAMES_MIN..=LOG_FRAMES_MAX).contains(&frames) {
        return gone(
            "neither copy is whole, and the log's header says an impossible length: restore from a copy",
        );
    }
    let Some(anchor) = roots(region)? else {
        return gone("neither copy is whole, and no root is found: restore from a copy");
    };
    if root::newest(memory, anchor, RootWord::Incompat)?.is_none() {
        return gone(
            "neither copy is whole, and no root says which features the region uses: restore from a copy",
        );
    }
    let word = |word: RootWord| root::newest(memory, anchor, word);
    let word = |at| word(at).map(Option::unwrap_or_default);
    let mut drawn = Drawn::all(0);
    for (half, [key, uuid]) in
        [[RootWord::NameKey0, RootWord::Uuid0], [RootWord::NameKey1, RootWord::Uuid1]].into_iter().enumerate()
    {
        drawn.name_key[half * 8..][..8].copy_from_slice(&word(key)?.to_le_bytes());
        drawn.uuid[half * 8..][..8].copy_from_slice(&word(uuid)?.to_le_bytes());
    }
    drawn.salt = anchor.salt.drawn();
    let features = [word(RootWord::Compat)?, word(RootWord::RoCompat)?, word(RootWord::Incompat)?];
    let hints = Hints {
        frames: word(RootWord::Frames)?,
        groups: word(RootWord::GroupRoot)? as u32,
        directory: word(RootWord::Directory)? as u32,
    };
    // Each opening that changes something writes the header, so there were no more such openings than this.
    let mut new = Superblock::of_root(frames, drawn, features, anchor.roots, hints, counter);
    // Before anything is stored: it may be of a newer release, or what it says may be impossible.
    new.check(region)?;
    repairs.say("superblock", SUPERBLOCK_OFFSETS[0], "both copies are written anew, from the root");
    fill(region, frames, anchor.roots)?;
    for copy in [1, 0] {
        put(region, new.encode(), SUPERBLOCK_OFFSETS[copy])?;
        new.sequence += 1;
    }
    match Superblock::read(region)? {
        Some(copies) => Ok(copies),
        None => gone("what was written is not there"),
    }
}

/// What the roots are bound to. They are where a format puts them: a page of an object may be a copy of another region's.
fn roots(region: &Region) -> Result<Option<Anchor>> {
    for frame in ROOT_FRAMES {
        if let Some(anchor) = root::alone(region.memory(), frame)? {
            return Ok(Some(Anchor { roots: ROOT_FRAMES, ..anchor }));
        }
    }
    Ok(None)
}

/// The number of frames of the log. Its header is begun anew if no copy of it is whole.
///
/// # Durability
/// What is written is durable on return.
pub(super) fn log_header(region: &Region, superblock: &Copies, repairs: &mut Repairs) -> Result {
    let frames = superblock.newest.log_frames;
    match Header::read(region.memory(), frames) {
        Err(Error::Corrupt { .. }) => {}
        read => return read.map(drop),
    }
    let lost = "both copies are written anew: the log is taken for empty, and what it held and was not in its place yet is lost";
    repairs.say("log-header", LOG_HEADER_OFFSETS[0], lost);
    fill(region, frames, superblock.newest.roots)?;
    let epoch = new_epoch()?;
    for (copy, at) in LOG_HEADER_OFFSETS.into_iter().enumerate() {
        put(region, Header::anew(epoch, frames, copy), at)?;
    }
    Ok(())
}

/// Zeroes frames of the head, each from the given byte on.
///
/// # Durability
/// Durable on return.
pub(super) fn clear(region: &Region, rests: &[u64]) -> Result {
    let memory = region.memory();
    for &rest in rests {
        let zeros = vec![0; FRAME_SIZE - rest as usize % FRAME_SIZE];
        memory.write(rest, &zeros)?;
        memory.flush(rest, zeros.len())?;
    }
    if rests.is_empty() {
        return Ok(());
    }
    memory.fence();
    memory.sync_file()
}

/// Gives the file blocks for the head of the region, its log and its roots, so that they can be stored to.
pub(super) fn fill(region: &Region, log_frames: u32, roots: [FrameNo; 2]) -> Result {
    let roots = roots.map(|root| root.offset()..root.offset() + FRAME_SIZE as u64);
    let head = 0..first_free_frame(log_frames).offset();
    region.fill_gaps(std::iter::once(head).chain(roots))
}

/// Writes a sector. For a region that is open read-only it is stored into this process's own view.
fn put(region: &Region, sector: Sector, at: u64) -> Result {
    match region.read_only() {
        true => sector.store(region.memory(), at),
        false => sector.write(region.memory(), at),
    }
}
