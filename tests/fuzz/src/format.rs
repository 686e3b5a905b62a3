//! The check sums and check bits of format 1, written from its description and not from the engine's code. A fuzzer
//! repairs them to get past them. And an engine that changes them without a new format is found.

use pagestone::media::layout::{BITMAP_FRAMES, GROUP_ROOT_FRAME, GROUP_TABLE_FRAME, RootWord, SECTOR_SIZE};
use pagestone::units::FRAME_SIZE;
use siphasher::sip::SipHasher13;

/// Bytes of an object record.
pub const RECORD: usize = 512;
/// Bytes of the head of a record. It has its own check sum; the name behind it has another.
const HEAD: usize = 128;

/// What a sealed word is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seal {
    /// The map of object `id`, by the word's level and its first page without the low `9 * level` bits.
    Map {
        /// The object's number.
        id: u64,
        /// The pages.
        prefix: u64,
        /// The level: a word of level 0 maps a page.
        level: u32,
    },
    /// The place of the word.
    Place(u64),
}

/// Bits of a sealed word that hold its value.
const VALUE_BITS: u32 = 42;
const VALUE: u64 = (1 << VALUE_BITS) - 1;
/// The lowest bit of the field in which a word of the directory says what it names.
pub const TAG: u32 = 40;
/// The lowest bit of the field in which the root word of a map has its height.
pub const HEIGHT: u32 = 39;

impl Seal {
    /// `value` with the check bits of this seal above it.
    #[must_use]
    pub fn close(self, salt: u64, value: u64) -> u64 {
        let value = value & VALUE;
        let seed = match self {
            Self::Map { id, prefix, level } => {
                mix(salt ^ id ^ 0x6d_6170) ^ mix(prefix << 3 | u64::from(level))
            }
            Self::Place(at) => mix(salt ^ at ^ 0x70_6c61_6365),
        };
        (u64::from(linear(value)) >> 10 ^ mix(seed) >> VALUE_BITS) << VALUE_BITS | value
    }

    /// The value of a word, whether its check bits are right or not.
    #[must_use]
    pub const fn value(word: u64) -> u64 {
        word & VALUE
    }
}

/// The salt of a region: all its checks are bound to it.
#[must_use]
pub fn salt(image: &[u8]) -> u64 {
    word(image, 104)
}

/// A group's entry in the table of groups: the number of zero bits in its bitmap, and a seal over the bitmap's words and
/// their places.
#[must_use]
pub fn tally(salt: u64, group: u64, bitmap: &[u64]) -> u64 {
    let base = mix(salt ^ mix(group ^ 0x6269_746d_6170));
    let part = |(place, word): (u64, &u64)| mix(mix(base ^ place) ^ word) ^ mix(mix(base ^ place));
    let seal = (0..).zip(bitmap).map(part).fold(base, |seal, part| seal ^ part);
    let free: u64 = bitmap.iter().map(|word| u64::from(word.count_zeros())).sum();
    free << 48 | seal & ((1 << 48) - 1)
}

/// Makes the entry of the first group match its bitmap.
pub fn mend_tally(image: &mut [u8]) {
    let bitmap: Vec<_> = (0..512).map(|n| word(image, BITMAP_FRAMES[0].offset() as usize + n * 8)).collect();
    let tally = tally(salt(image), 0, &bitmap);
    set_word(image, GROUP_TABLE_FRAME.offset() as usize + 8, tally);
}

/// Writes the table of groups and the first bitmap of a region whose first frames are in use.
pub fn write_groups(image: &mut [u8], log_frames: u32) {
    let named = [
        (GROUP_ROOT_FRAME.offset(), GROUP_TABLE_FRAME),
        (GROUP_TABLE_FRAME.offset(), BITMAP_FRAMES[0]),
        (GROUP_TABLE_FRAME.offset() + 16, BITMAP_FRAMES[1]),
    ];
    let salt = salt(image);
    for frame in [GROUP_ROOT_FRAME, GROUP_TABLE_FRAME] {
        let node = empty_node(salt, frame.0.into(), 0, 0);
        if let Some(bytes) = image.get_mut(frame.offset() as usize..frame.offset() as usize + FRAME_SIZE) {
            bytes.copy_from_slice(&node);
        }
    }
    for (at, frame) in named {
        set_word(image, at as usize, Seal::Place(at).close(salt, frame.0.into()));
    }
    set_word(image, GROUP_TABLE_FRAME.offset() as usize + 24, tally(salt, 1, &[0; 512]));
    for n in 0..512 {
        // Those of the head and of the log; three between them are free.
        let used = |frame: &u64| *frame < 13 || (16..16 + u64::from(log_frames)).contains(frame);
        let bits = (0..64).filter(|bit| used(&(n * 64 + bit))).fold(0, |bits, bit| bits | 1 << bit);
        set_word(image, BITMAP_FRAMES[0].offset() as usize + n as usize * 8, bits);
    }
    mend_tally(image);
}

/// The applied cursor: the low 40 bits of a record's number, and 24 over the region's salt, the log's epoch and the number.
#[must_use]
pub const fn cursor(salt: u64, epoch: u64, applied: u64) -> u64 {
    mix(salt ^ epoch ^ applied) >> 40 << 40 | applied & ((1 << 40) - 1)
}

/// crc32c of a word, bit by bit, without initial value and final complement.
fn linear(value: u64) -> u32 {
    let step = |crc: u32, bit: u32| {
        let crc = crc ^ (value >> bit & 1) as u32;
        crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }
    };
    (0..u64::BITS).fold(0, step)
}

const fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ x >> 33
}

/// The key of the hash of names.
#[must_use]
pub fn name_key(image: &[u8]) -> [u8; 16] {
    image.get(112..128).and_then(|key| key.try_into().ok()).unwrap_or_default()
}

/// Hash of a name in a region with this key.
#[must_use]
pub fn name_hash(key: &[u8; 16], name: &[u8]) -> u64 {
    SipHasher13::new_with_key(key).hash(name)
}

/// The part of a page in the seal of its object's map.
#[must_use]
pub const fn map_part(salt: u64, tree: u64, page: u64, frame: u64) -> u64 {
    mix(mix(mix(salt ^ mix(tree ^ 0x6d61_7073_6561_6c00)) ^ page) ^ frame) & ((1 << 27) - 1)
}

/// The word at `at`; 0 beyond the end.
#[must_use]
pub fn word(image: &[u8], at: usize) -> u64 {
    let bytes = at.checked_add(8).and_then(|end| image.get(at..end)).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_le_bytes)
}

/// Changes the word at `at`, if there is one.
pub fn set_word(image: &mut [u8], at: usize, value: u64) {
    if let Some(bytes) = at.checked_add(8).and_then(|end| image.get_mut(at..end)) {
        bytes.copy_from_slice(&value.to_le_bytes());
    }
}

/// Repairs the check sum of the sector at `at`.
pub fn mend_sector(image: &mut [u8], at: usize) {
    let Some(sector) = image.get_mut(at..at + SECTOR_SIZE) else { return };
    let (body, sum) = sector.split_at_mut(SECTOR_SIZE - 4);
    sum.copy_from_slice(
        &crc32c::crc32c_append(crc32c::crc32c(&(at as u64).to_le_bytes()), body).to_le_bytes(),
    );
}

/// Byte offsets of the two roots.
#[must_use]
pub fn roots(image: &[u8]) -> [usize; 2] {
    [76, 80].map(|at| offset(word(image, at) & u64::from(u32::MAX)))
}

/// Bytes of a line of the root, and the place of its sum.
const LINE: usize = 64;
const SUM: usize = LINE - 8;

/// The check word of the line at `at` of the root that begins at `root`: the number of changes, and the sum.
fn line_sum(image: &[u8], root: usize, at: usize) -> Option<u64> {
    let line = image.get(at..at + LINE)?;
    let count = &line[SUM + 4..];
    let bound = [salt(image).to_le_bytes(), ((at - root) as u64).to_le_bytes()].concat();
    let sum = [&bound, &line[..SUM], count].iter().fold(0, |sum, part| crc32c::crc32c_append(sum, part));
    Some(word(line, SUM) >> 32 << 32 | u64::from(sum))
}

/// Whether each line is whole in one of the roots.
#[must_use]
pub fn roots_are_whole(image: &[u8]) -> bool {
    let roots = roots(image);
    let is_whole = |root: usize, line: usize| {
        line_sum(image, root, root + line).is_some_and(|sum| sum == word(image, root + line + SUM))
    };
    (0..FRAME_SIZE).step_by(LINE).all(|line| roots.iter().any(|root| is_whole(*root, line)))
}

/// Repairs the line of the root that holds the byte at `at`, and makes the line of the second root equal to that of the
/// first.
pub fn mend_root(image: &mut [u8], at: usize) {
    let roots = roots(image);
    let Some(root) = roots.into_iter().find(|root| (*root..root + FRAME_SIZE).contains(&at)) else { return };
    let line = at / LINE * LINE;
    let Some(sum) = line_sum(image, root, line) else { return };
    set_word(image, line + SUM, sum);
    let second = roots[1] + line - root;
    if root == roots[0] && second + LINE <= image.len() {
        image.copy_within(line..line + LINE, second);
    }
}

/// A word of the first root.
#[must_use]
pub fn root(image: &[u8], which: RootWord) -> u64 {
    word(image, roots(image)[0] + which.offset() as usize)
}

/// Sets a word of both roots, and repairs their lines.
pub fn set_root(image: &mut [u8], which: RootWord, value: u64) {
    let at = roots(image)[0] + which.offset() as usize;
    set_word(image, at, value);
    mend_root(image, at);
}

/// The words of an empty node of the directory, of the busy table or of a map.
#[must_use]
pub fn empty_node(salt: u64, frame: u64, tree: u64, first: u64) -> Vec<u8> {
    let seal = |n: u64| match tree {
        0 => Seal::Place(frame * FRAME_SIZE as u64 + n * 8),
        id => Seal::Map { id, prefix: (first >> 3) + n, level: first as u32 & 7 },
    };
    (0..FRAME_SIZE as u64 / 8).flat_map(|n| seal(n).close(salt, 0).to_le_bytes()).collect()
}

/// Repairs the check sums of both parts of the object record at `at`. A record that was never used has no name.
pub fn mend_record(image: &mut [u8], at: usize) {
    let seed = [salt(image), (at / RECORD) as u64];
    let seed = seed.iter().fold(0, |sum, word| crc32c::crc32c_append(sum, &word.to_le_bytes()));
    let Some(record) = image.get_mut(at..at + RECORD) else { return };
    let named = record[8] != 0;
    for part in [0..HEAD, HEAD..RECORD].into_iter().take(1 + usize::from(named)) {
        let sum = part.end - 8;
        let crc = crc32c::crc32c_append(seed, &record[part.start..sum]);
        record[sum..part.end].copy_from_slice(&u64::from(crc).to_le_bytes());
    }
}

/// Byte offset of a frame.
#[must_use]
pub const fn offset(frame: u64) -> usize {
    (frame as usize).saturating_mul(FRAME_SIZE)
}
