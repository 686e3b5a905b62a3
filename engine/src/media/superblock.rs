//! The superblock: what region this is. There are two copies, each a sector in a frame of its own. One is never touched
//! before the other is durable.
//!
//! ```text
//!   0 magic                            72 frames of a group (32 bits)
//!   8 version   12 frame size          76 frame of the root
//!  16 features any opening may ignore  80 frame of the other root
//!  24 .. only a reader may ignore      84 log: first frame, 88 frames
//!  32 .. no opening may ignore        104 salt
//!  40 sequence of the copy            112 key of the hash of names (16 bytes)
//!  48 uuid (16 bytes)                 128 hints for a repair, as of this opening: frames (64 bits), 136 table of groups, 140 directory root
//!  64 generation                      508 checksum; all else is zero
//! ```

use crate::error::{Error, Result};
use crate::media::layout::{
    COUNTER_MAX, DIRECTORY_FRAME, FIRST_MOVABLE, GROUP_FRAMES, GROUP_ROOT_FRAME, LEASE_OFFSET, LEAST_BYTES,
    LOG_FRAME, LOG_FRAMES_MAX, LOG_FRAMES_MIN, ROOT_FRAMES, RootWord, SECTOR_SIZE, SUPERBLOCK_OFFSETS,
    file_bytes, first_free_frame, initial_frames,
};
use crate::media::log::header::Header;
use crate::media::root::Anchor;
use crate::media::rules::{Rule, Rules};
use crate::media::seal::Salt;
use crate::media::sector::{Found, Sector};
use crate::region::{Memory, Region};
use crate::units::{FRAME_SIZE, FrameNo};
use siphasher::sip::SipHasher13;
use std::path::Path;

const MAGIC: &[u8; 8] = b"PAGESTN\x01";
/// Newest format version that this release reads and writes.
pub const VERSION: u32 = 1;
/// Drafts of format 1 had a number in the upper byte of the features that every opening must know.
const DRAFTS: u64 = 0xff << 56;

/// What a format draws at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// Identity of the region, kept by copies of the file.
    pub uuid: [u8; 16],
    /// What every check of the region is bound to, so that nothing that a former region left on the medium passes.
    pub salt: u64,
    /// Key of the hash of names.
    pub name_key: [u8; 16],
}

impl Drawn {
    /// Draws them, as a format does.
    pub fn at_random() -> Result<Self> {
        let mut bytes = [0; 40];
        getrandom::fill(&mut bytes).map_err(|e| Error::io("random numbers for a new region", e.into()))?;
        let mut drawn = Self::all(0);
        drawn.uuid.copy_from_slice(&bytes[..16]);
        drawn.name_key.copy_from_slice(&bytes[16..32]);
        bytes[32..].iter().for_each(|&byte| drawn.salt = drawn.salt << 8 | u64::from(byte));
        Ok(drawn)
    }

    /// SipHash-1-3 of a name. It is keyed, so that names of one hash cannot be made without the file.
    pub(crate) fn name_hash(&self, name: &[u8]) -> u64 {
        SipHasher13::new_with_key(&self.name_key).hash(name)
    }

    /// Every byte the same, for tests.
    #[must_use]
    pub const fn all(byte: u8) -> Self {
        Self { uuid: [byte; 16], salt: u64::from_le_bytes([byte; 8]), name_key: [byte; 16] }
    }
}

/// Where a repair may look first: values from the time when this copy was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hints {
    /// Frames of the region.
    pub frames: u64,
    /// The root of the table of groups.
    pub groups: u32,
    /// The directory's root node.
    pub directory: u32,
}

/// Fields of the superblock. Fields without a remark never change after the format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Grows with each write of a copy, so that the newer copy can be told from the older one.
    pub sequence: u64,
    /// What the format has drawn.
    pub drawn: Drawn,
    /// Grows with each opening that changed something, so that a copy of the file can be told from its original.
    pub generation: u64,
    /// Frames of the log.
    pub log_frames: u32,
    /// The frames of the two roots. Everything else is found from there.
    pub roots: [FrameNo; 2],
    /// Written with each generation.
    pub hints: Hints,
    /// The sector that was read, so that a field of a newer release stays as it is.
    found: Sector,
}

/// The superblock as found, and the state of its copies.
#[derive(Clone, Debug)]
pub struct Copies {
    /// The newer whole copy.
    pub newest: Superblock,
    /// Which copy (0 or 1) it is.
    pub live: usize,
    /// Whether the other copy is not whole: the next opening that changes something writes it anew.
    pub other_bad: bool,
}

impl Superblock {
    /// Reads both copies. `None` if the region was never formatted, or a format was cut short.
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
        check_version(region, &sector)?;
        let newest = Self::decode(&sector);
        newest.check_geometry(region)?;
        Ok(Some(Copies { newest, live, other_bad: other.whole().is_none() }))
    }

    fn decode(sector: &Sector) -> Self {
        Self {
            sequence: sector.u64(40),
            generation: sector.u64(64),
            drawn: Drawn { uuid: sector.bytes(48), salt: sector.u64(104), name_key: sector.bytes(112) },
            log_frames: sector.u32(88),
            roots: [76, 80].map(|at| FrameNo(sector.u32(at))),
            hints: Hints { frames: sector.u64(128), groups: sector.u32(136), directory: sector.u32(140) },
            found: sector.clone(),
        }
    }

    /// Writes this as one copy.
    ///
    /// # Durability
    /// Durable on return.
    pub fn write(&self, region: &Region, copy: usize) -> Result {
        self.encode().write(region.memory(), SUPERBLOCK_OFFSETS[copy])
    }

    /// The first superblock, which a format writes.
    #[must_use]
    pub fn of_format(log_frames: u32, drawn: Drawn) -> Self {
        let mut s = Sector::new(MAGIC);
        s.put_u32(8, VERSION);
        s.put_u32(12, FRAME_SIZE as u32);
        s.put(48, &drawn.uuid);
        s.put_u32(72, GROUP_FRAMES as u32);
        s.put_u32(76, ROOT_FRAMES[0].0);
        s.put_u32(80, ROOT_FRAMES[1].0);
        s.put_u32(84, LOG_FRAME.0);
        s.put_u32(88, log_frames);
        s.put_u64(104, drawn.salt);
        s.put(112, &drawn.name_key);
        let (groups, directory) = (GROUP_ROOT_FRAME.0, DIRECTORY_FRAME.0);
        let hints = Hints { frames: initial_frames(log_frames).into(), groups, directory };
        Self { sequence: 1, drawn, generation: 0, log_frames, roots: ROOT_FRAMES, hints, found: s }
    }

    /// Whether neither copy is whole.
    pub(super) fn is_lost(region: &Region) -> Result<bool> {
        for offset in SUPERBLOCK_OFFSETS {
            if Sector::read(region.memory(), offset, MAGIC)?.whole().is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The superblock from what a region's root repeats of it, for a repair.
    pub(super) fn of_root(
        log_frames: u32,
        drawn: Drawn,
        features: [u64; 3],
        roots: [FrameNo; 2],
        hints: Hints,
        generation: u64,
    ) -> Self {
        let mut new = Self { generation, roots, hints, ..Self::of_format(log_frames, drawn) };
        [16, 24, 32].into_iter().zip(features).for_each(|(at, word)| new.found.put_u64(at, word));
        [76, 80].into_iter().zip(roots).for_each(|(at, root)| new.found.put_u32(at, root.0));
        new
    }

    /// As it lies on the medium.
    #[must_use]
    pub fn encode(&self) -> Sector {
        let mut s = self.found.clone();
        s.put_u64(40, self.sequence);
        s.put_u64(64, self.generation);
        s.put_u64(128, self.hints.frames);
        s.put_u32(136, self.hints.groups);
        s.put_u32(140, self.hints.directory);
        s
    }

    /// The anchor of the region's words.
    #[must_use]
    pub const fn anchor(&self, rules: Rules) -> Anchor {
        let [first, second] = self.roots;
        let second = if rules.broken(Rule::OneRoot) { first } else { second };
        Anchor { salt: Salt::new(self.drawn.salt, rules), roots: [first, second] }
    }

    /// Features: those that any opening may ignore, those that only a reader may ignore, and those that every opening
    /// must know.
    #[must_use]
    pub fn features(&self) -> [u64; 3] {
        [16, 24, 32].map(|at| self.found.u64(at))
    }

    /// What the root repeats, for a repair of a region that has lost both copies.
    #[must_use]
    pub fn repeated(&self) -> [(RootWord, u64); 8] {
        let half = |bytes: [u8; 16], n: usize| (u128::from_le_bytes(bytes) >> (64 * n)) as u64;
        let [compat, ro_compat, incompat] = self.features();
        [
            (RootWord::Salt, self.drawn.salt),
            (RootWord::NameKey0, half(self.drawn.name_key, 0)),
            (RootWord::NameKey1, half(self.drawn.name_key, 1)),
            (RootWord::Uuid0, half(self.drawn.uuid, 0)),
            (RootWord::Uuid1, half(self.drawn.uuid, 1)),
            (RootWord::Compat, compat),
            (RootWord::RoCompat, ro_compat),
            (RootWord::Incompat, incompat),
        ]
    }

    /// Features that only a writer must know and that this release does not know.
    #[must_use]
    pub fn unknown_to_write(&self) -> u64 {
        self.found.u64(24)
    }

    /// The first byte that belongs to no field and is not zero. A newer release may have a field there, and then has a
    /// feature for it.
    #[must_use]
    pub fn unknown_byte(&self) -> Option<usize> {
        if self.found.u64(16) != 0 {
            return None;
        }
        let spare = [92..104, 144..SECTOR_SIZE - 4];
        spare.into_iter().flatten().find(|&at| self.found.bytes::<1>(at) != [0])
    }

    /// Refuses one that is not to be written: of features that this release does not know, or of an impossible geometry.
    ///
    /// # Errors
    /// As [`read`](Self::read); `Features` also where only a writer must know them, even if nothing is written.
    pub(super) fn check(&self, region: &Region) -> Result {
        check_version(region, &self.encode())?;
        match self.unknown_to_write() {
            0 => self.check_geometry(region),
            bits => Err(Error::Features { bits }),
        }
    }

    fn check_geometry(&self, region: &Region) -> Result {
        if self.sequence >= COUNTER_MAX || self.generation >= COUNTER_MAX {
            let why = format!("impossible numbers: write {}, opening {}", self.sequence, self.generation);
            return Err(Error::corrupt("superblock", SUPERBLOCK_OFFSETS[0], why));
        }
        let first = self.found.u32(84);
        if !(LOG_FRAMES_MIN..=LOG_FRAMES_MAX).contains(&self.log_frames) || first != LOG_FRAME.0 {
            let why = format!("a log of {} frames from frame {first} on", self.log_frames);
            return Err(Error::corrupt("superblock", SUPERBLOCK_OFFSETS[0], why));
        }
        let (expected, found) = (file_bytes(initial_frames(self.log_frames).into()), region.len_bytes());
        if found < expected {
            return Err(Error::Truncated { expected, found });
        }
        let log = LOG_FRAME..first_free_frame(self.log_frames);
        let lawful = |root: &FrameNo| {
            *root >= FIRST_MOVABLE && !log.contains(root) && file_bytes(root.0.into()) < found
        };
        let [a, b] = self.roots;
        if a == b || !self.roots.iter().all(lawful) {
            let why = format!("roots in frames {} and {}", a.0, b.0);
            return Err(Error::corrupt("superblock", SUPERBLOCK_OFFSETS[0], why));
        }
        Ok(())
    }
}

impl Copies {
    /// Bumps the generation: writes the copy that is not live, which becomes the live one.
    ///
    /// # Durability
    /// Durable on return. If the power fails before, the former copy counts.
    pub fn advance(&mut self, region: &Region, hints: Hints, rules: Rules) -> Result {
        self.newest.hints = hints;
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

/// Checks version and features. The checksum of the sector is right, so both were written so.
fn check_version(region: &Region, sector: &Sector) -> Result {
    let found = sector.u32(8);
    if found != VERSION {
        return Err(Error::Version { found, supported: VERSION });
    }
    // Words 16, 24 and 32 hold features: those that a reader, a writer, and every opening must know.
    let (to_write, to_open) = (sector.u64(24), sector.u64(32));
    let group_frames = GROUP_FRAMES as u32;
    // The first one had none, and the frames of a group in another place.
    let first_draft = sector.u32(72) != group_frames && sector.u32(76) == group_frames;
    if first_draft || to_open & DRAFTS != 0 {
        return Err(Error::NotARegion {
            path: region.path().map(Path::to_path_buf).unwrap_or_default(),
            hint: "it was made before format 1 was settled: export it with the build that made it".to_owned(),
        });
    }
    let to_write = if region.read_only() { 0 } else { to_write };
    let unknown = to_open | to_write;
    if unknown != 0 {
        return Err(Error::Features { bits: unknown });
    }
    let units = [sector.u32(12), sector.u32(72)];
    if units != [FRAME_SIZE as u32, GROUP_FRAMES as u32] {
        let why = format!("frames of {} bytes, groups of {}", units[0], units[1]);
        return Err(Error::corrupt("superblock", SUPERBLOCK_OFFSETS[0], why));
    }
    Ok(())
}

/// Whether a format was cut short or never begun. A format writes copy B before copy A, so a power loss may leave B torn
/// and A blank. In such a region nothing was ever changed: a change would have written the lease and the log's header.
fn was_never_finished(memory: &Memory, found: &[Found<Sector>; 2]) -> Result<bool> {
    Ok(found[0] == Found::Blank && !was_changed(memory)?)
}

/// Whether a region was changed after its format. Its first change writes the log's header and the lease.
fn was_changed(memory: &Memory) -> Result<bool> {
    if memory.len() < FIRST_MOVABLE.offset() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_names_is_siphash_1_3_and_never_changes() {
        let mut drawn = Drawn::all(0);
        drawn.name_key = std::array::from_fn(|i| i as u8);
        // The first of the function's known answers: the bytes 0, 1, 2 and so on, of growing length.
        let known = [0xabac_0158_050f_c4dc, 0xc9f4_9bf3_7d57_ca93];
        for (len, hash) in known.into_iter().enumerate() {
            let bytes: Vec<u8> = (0..len as u8).collect();
            assert_eq!(drawn.name_hash(&bytes), hash, "{len} bytes");
        }
    }
}
