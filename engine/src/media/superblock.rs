//! The superblock: what region this is. Two copies, each a sector; one is never touched before the other is durable.

use crate::error::{Error, Result};
use crate::media::layout::{
    COUNTER_MAX, GROUP_FRAMES, LEASE_OFFSET, LEAST_BYTES, LOG_FRAMES_MAX, LOG_FRAMES_MIN, ROOT_FRAME,
    SUPERBLOCK_OFFSETS, file_bytes, initial_frames,
};
use crate::media::log::header::Header;
use crate::media::rules::{Rule, Rules};
use crate::media::sector::{Found, Sector};
use crate::region::{Memory, Region};
use crate::units::FRAME_SIZE;
use std::path::Path;

const MAGIC: &[u8; 8] = b"PAGESTN\x01";
/// Newest format version that this release reads and writes.
pub const VERSION: u32 = 1;

/// Fields of the superblock. Those without a remark never change after the format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Grows with each write of a copy: tells the newer copy from the older.
    pub sequence: u64,
    /// Identity of the region, kept by copies of the file.
    pub uuid: [u8; 16],
    /// Grows with each opening that changed something: tells a copy of the file from its original.
    pub generation: u64,
    /// Frames of the log: with the layout's constants, all geometry there is.
    pub log_frames: u32,
}

/// The superblock as found, and what was wrong with its copies.
#[derive(Clone, Debug)]
pub struct Copies {
    /// The newer whole copy.
    pub newest: Superblock,
    /// Which copy (0 or 1) that is.
    pub live: usize,
    /// Whether the other copy is not whole: the next opening that changes something writes it anew.
    pub other_bad: bool,
}

impl Superblock {
    /// Reads both copies. `None`: both are blank, the region was never formatted (or a format was cut short).
    pub fn read(region: &Region) -> Result<Option<Copies>> {
        let memory = region.memory();
        if region.len_bytes() < LEAST_BYTES {
            return if region.len_bytes() == 0 { Ok(None) } else { Err(not_a_region(region)) };
        }
        let found = [
            Sector::read(memory, SUPERBLOCK_OFFSETS[0], MAGIC)?,
            Sector::read(memory, SUPERBLOCK_OFFSETS[1], MAGIC)?,
        ];
        let whole = found.clone().map(|f| f.whole().map(|s| Self::decode(&s)));
        let live = match &whole {
            [Some(a), Some(b)] => usize::from(b.sequence > a.sequence),
            [Some(_), None] => 0,
            [None, Some(_)] => 1,
            [None, None] if was_never_finished(memory, &found)? => return Ok(None),
            [None, None] => return Err(unreadable(region, &found)),
        };
        let [a, b] = found;
        let (chosen, other) = if live == 0 { (a, b) } else { (b, a) };
        let Some(sector) = chosen.whole() else { return Err(not_a_region(region)) };
        check_version(&sector)?;
        let newest = Self::decode(&sector);
        newest.check_geometry(region)?;
        Ok(Some(Copies { newest, live, other_bad: other.whole().is_none() }))
    }

    fn decode(sector: &Sector) -> Self {
        Self {
            sequence: sector.u64(40),
            uuid: sector.bytes(48),
            generation: sector.u64(64),
            log_frames: sector.u32(72),
        }
    }

    /// Writes this as one copy.
    ///
    /// # Durability
    /// Durable on return.
    pub fn write(&self, region: &Region, copy: usize) -> Result {
        self.encode().write(region.memory(), SUPERBLOCK_OFFSETS[copy])
    }

    /// What a format writes first.
    #[must_use]
    pub fn of_format(log_frames: u32, uuid: [u8; 16]) -> Self {
        Self { sequence: 1, uuid, generation: 0, log_frames }
    }

    /// As it lies on the medium.
    #[must_use]
    pub fn encode(&self) -> Sector {
        let mut s = Sector::new(MAGIC);
        s.put_u32(8, VERSION);
        s.put_u32(12, FRAME_SIZE as u32);
        s.put_u64(40, self.sequence);
        s.put(48, &self.uuid);
        s.put_u64(64, self.generation);
        s.put_u32(72, self.log_frames);
        s.put_u32(76, GROUP_FRAMES as u32);
        s
    }

    fn check_geometry(&self, region: &Region) -> Result {
        if self.sequence >= COUNTER_MAX || self.generation >= COUNTER_MAX {
            let why = format!("impossible numbers: write {}, opening {}", self.sequence, self.generation);
            return Err(Error::corrupt("superblock", SUPERBLOCK_OFFSETS[0], why));
        }
        if !(LOG_FRAMES_MIN..=LOG_FRAMES_MAX).contains(&self.log_frames) {
            let why = format!("a log of {} frames", self.log_frames);
            return Err(Error::corrupt("superblock", SUPERBLOCK_OFFSETS[0], why));
        }
        let (expected, found) = (file_bytes(initial_frames(self.log_frames).into()), region.len_bytes());
        if found < expected {
            return Err(Error::Truncated { expected, found });
        }
        Ok(())
    }
}

impl Copies {
    /// Bumps the generation: writes the copy that is not live, which becomes the live one.
    ///
    /// # Durability
    /// Durable on return; if the power fails before, the former copy stands.
    pub fn advance(&mut self, region: &Region, rules: Rules) -> Result {
        let target = if rules.broken(Rule::LiveSuperblock) { self.live } else { 1 - self.live };
        self.newest.sequence += 1;
        self.newest.generation += 1;
        self.newest.write(region, target)?;
        if target != self.live {
            (self.live, self.other_bad) = (target, false);
        }
        Ok(())
    }
}

/// Version and features: the whole sector's checksum is right, so what it says was meant.
fn check_version(sector: &Sector) -> Result {
    let found = sector.u32(8);
    if found != VERSION {
        return Err(Error::Version { found, supported: VERSION });
    }
    // Words 16, 24 and 32 hold features: those that a reader, a writer, and every opening must know.
    let (incompat, read_only_compat) = (sector.u64(32), sector.u64(24));
    if incompat | read_only_compat != 0 {
        return Err(Error::Features { bits: incompat | read_only_compat });
    }
    if sector.u32(12) != FRAME_SIZE as u32 || sector.u32(76) != GROUP_FRAMES as u32 {
        return Err(Error::corrupt("superblock", SUPERBLOCK_OFFSETS[0], "unknown frame or group size"));
    }
    Ok(())
}

/// Whether a format was cut short, or never begun. It writes copy B before copy A, so a power loss may leave B torn and
/// A blank; nothing has ever been changed in such a region, or the lease and the log's header would say so.
fn was_never_finished(memory: &Memory, found: &[Found<Sector>; 2]) -> Result<bool> {
    Ok(found[0] == Found::Blank && !was_changed(memory)?)
}

/// Whether a region was changed after its format: its first change moves the log's header and writes the lease.
fn was_changed(memory: &Memory) -> Result<bool> {
    if memory.len() < ROOT_FRAME.offset() {
        return Ok(false);
    }
    Ok(Sector::read(memory, LEASE_OFFSET, MAGIC)? != Found::Blank || Header::was_moved(memory)?)
}

fn unreadable(region: &Region, found: &[Found<Sector>; 2]) -> Error {
    let ours = (found[0] == Found::Blank && was_changed(region.memory()).unwrap_or(false))
        || SUPERBLOCK_OFFSETS.iter().any(|&offset| {
            let mut magic = [0; 8];
            region.memory().read(offset, &mut magic).is_ok() && magic == *MAGIC
        });
    if ours {
        let why = format!(
            "neither copy is whole ({:?}, {:?}); restore from a copy",
            kind(&found[0]),
            kind(&found[1])
        );
        return Error::corrupt("superblock", SUPERBLOCK_OFFSETS[0], why);
    }
    not_a_region(region)
}

fn kind(found: &Found<Sector>) -> Found<()> {
    match found {
        Found::Whole(_) => Found::Whole(()),
        Found::Blank => Found::Blank,
        Found::Torn => Found::Torn,
    }
}

fn not_a_region(region: &Region) -> Error {
    let mut head = [0; 16];
    let readable = region.memory().read(0, &mut head).is_ok();
    let hint = if readable && &head == b"SQLite format 3\0" {
        "it is a plain SQLite database; `pagestone import` copies it into a region"
    } else if region.is_fixed() {
        "its head is not a superblock, it was left untouched; overwrite it to make a region of it"
    } else {
        "its head is not a superblock; it was left untouched"
    };
    Error::NotARegion {
        path: region.path().map(Path::to_path_buf).unwrap_or_default(),
        hint: hint.to_owned(),
    }
}
