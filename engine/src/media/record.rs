//! Object records: 512 bytes each, eight to a record frame.
//!
//! ```text
//! word  0 id            8 list previous      16..48 name, zero-filled
//!       1 kind|flags|   9..15 zero           48..63 zero
//!         name length  15 crc32c of 0..15    63 crc32c of 16..63
//!       2 size
//!       3 map root      Both checksums are bound to the slot, so that a record found
//!       4 cut mark      in another place does not pass. The head changes often and is
//!       5 name hash     two cache lines; the name changes with create and rename.
//!       6 chain next
//!       7 list next     Slots are stored as number + nothing: slot 0 cannot exist.
//! ```
//! A record frame never returns to the allocator: a slot number stays a slot for the life of the region.

use super::layout::RootWord;
use super::log::Txn;
use super::seal::{Salt, mix};
use super::words::{Shape, WORDS, Words};
use crate::error::{Error, Result};
use crate::units::FrameNo;

/// Bytes of a record.
const RECORD: u64 = 512;
/// Records in a record frame.
pub(crate) const SLOTS: u64 = 8;
/// Longest name, in bytes.
pub const NAME_MAX: usize = 255;
/// Largest object: 2^36 pages.
pub const SIZE_MAX: u64 = super::tree::PAGES_MAX * crate::units::FRAME_SIZE as u64;

const HEAD_WORDS: usize = 16;
const HEAD_CRC: usize = HEAD_WORDS - 1;
const NAME_WORDS: usize = 48;
const NAME_CRC: usize = NAME_WORDS - 1;
const UNLINKED: u8 = 1;

/// Where an object's record lies: record frame * 8 + place in it. It never changes while the object exists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectSlot(pub(crate) u64);

impl ObjectSlot {
    /// The slot's number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
    /// Byte offset of the record.
    #[must_use]
    pub const fn offset(self) -> u64 {
        self.0 * RECORD
    }
    /// The record frame.
    #[must_use]
    pub const fn frame(self) -> FrameNo {
        FrameNo((self.0 / SLOTS) as u32)
    }
    /// `value`, read at `at` as part of a `what`; 0 is no slot.
    pub(crate) fn read(shape: Shape, value: u64, what: &'static str, at: u64) -> Result<Option<Self>> {
        if value == 0 {
            return Ok(None);
        }
        shape.frame(value / SLOTS, what, at).map(|_| Some(Self(value)))
    }
    /// The value stored for an optional slot.
    pub(crate) const fn stored(slot: Option<Self>) -> u64 {
        match slot {
            Some(slot) => slot.0,
            None => 0,
        }
    }
}

/// What an object is for; the engine treats all kinds alike.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ObjectKind(u8);

impl ObjectKind {
    /// Plain named content.
    pub const PLAIN: Self = Self(1);
    /// The kind with this number; 0 marks a free slot.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number == 0 { None } else { Some(Self(number)) }
    }
    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// An object as its record shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectRecord {
    /// Where the record lies.
    pub slot: ObjectSlot,
    /// The object's number; never used twice in a region.
    pub id: u64,
    /// What it is for.
    pub kind: ObjectKind,
    /// Its size in bytes.
    pub size: u64,
    /// Its name, or the last one it had.
    pub name: Vec<u8>,
    /// It has no name any more and goes with its last close.
    pub unlinked: bool,
    /// It is being truncated: pages from this one on are gone, though their frames may not be freed yet.
    pub truncating: Option<u64>,
}

/// The changing part of a record, verified when read; only words that changed are written back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Head {
    pub(crate) slot: ObjectSlot,
    /// The region's salt.
    pub(crate) salt: Salt,
    words: [u64; HEAD_WORDS],
    found: [u64; HEAD_WORDS],
}

impl Head {
    /// The head of a slot whose bytes are not looked at: a fresh record frame.
    pub(crate) fn fresh(salt: Salt, slot: ObjectSlot) -> Self {
        Self { slot, salt, words: [0; HEAD_WORDS], found: [0; HEAD_WORDS] }
    }

    /// Reads and verifies.
    pub(crate) fn read(words: &impl Words, slot: ObjectSlot) -> Result<Self> {
        let mut found = [0; HEAD_WORDS];
        words.run(slot.offset(), &mut found)?;
        let salt = words.salt();
        if found[HEAD_CRC] != salt.head_sum(slot.0, &found[..HEAD_CRC]) {
            return Err(Error::corrupt(
                "object record",
                slot.offset(),
                "checksum of the head does not match",
            ));
        }
        Ok(Self { slot, salt, words: found, found })
    }

    /// Reads, verifies, and refuses a free slot.
    pub(crate) fn live(words: &impl Words, slot: ObjectSlot) -> Result<Self> {
        let head = Self::read(words, slot)?;
        if head.kind().is_none() {
            return Err(Error::corrupt(
                "object record",
                slot.offset(),
                "the slot is free but something names it",
            ));
        }
        Ok(head)
    }

    /// Writes the words that changed, checksum included.
    pub(crate) fn write(&mut self, t: &mut Txn<'_>) -> Result {
        self.words[HEAD_CRC] = self.salt.head_sum(self.slot.0, &self.words[..HEAD_CRC]);
        for i in (0..HEAD_WORDS).filter(|&i| self.words[i] != self.found[i]) {
            t.write(self.slot.offset() + i as u64 * 8, self.words[i])?;
        }
        self.found = self.words;
        Ok(())
    }

    /// Becomes a new object, as if the slot had never been used.
    pub(crate) fn become_object(&mut self, id: u64, kind: ObjectKind) {
        self.words = [0; HEAD_WORDS];
        self.words[0] = id;
        self.words[1] = u64::from(kind.0);
    }

    /// Becomes a free slot in front of `next`.
    pub(crate) fn become_free(&mut self, next: Option<ObjectSlot>) {
        self.words = [0; HEAD_WORDS];
        self.words[7] = ObjectSlot::stored(next);
    }

    pub(crate) const fn id(&self) -> u64 {
        self.words[0]
    }
    pub(crate) const fn kind(&self) -> Option<ObjectKind> {
        ObjectKind::new(self.words[1] as u8)
    }
    pub(crate) const fn unlinked(&self) -> bool {
        (self.words[1] >> 8) as u8 & UNLINKED != 0
    }
    pub(crate) fn set_unlinked(&mut self) {
        self.words[1] |= u64::from(UNLINKED) << 8;
    }
    pub(crate) const fn name_len(&self) -> usize {
        (self.words[1] >> 16) as u16 as usize
    }
    pub(crate) const fn size(&self) -> u64 {
        self.words[2]
    }
    pub(crate) fn set_size(&mut self, size: u64) {
        self.words[2] = size;
    }
    /// The sealed word of the map's root.
    pub(crate) const fn root(&self) -> u64 {
        self.words[3]
    }
    pub(crate) fn set_root(&mut self, word: u64) {
        self.words[3] = word;
    }
    /// The first page that a truncate in progress has cut off.
    pub(crate) const fn cut(&self) -> Option<u64> {
        self.words[4].checked_sub(1)
    }
    pub(crate) fn set_cut(&mut self, first: Option<u64>) {
        self.words[4] = first.map_or(0, |page| page + 1);
    }
    pub(crate) const fn hash(&self) -> u64 {
        self.words[5]
    }
    /// The next record of the same directory chain.
    pub(crate) fn chain(&self, shape: Shape) -> Result<Option<ObjectSlot>> {
        ObjectSlot::read(shape, self.words[6], "directory chain", self.slot.offset() + 48)
    }
    pub(crate) fn set_chain(&mut self, next: Option<ObjectSlot>) {
        self.words[6] = ObjectSlot::stored(next);
    }
    /// The next record of the list (orphans or free slots) it is on.
    pub(crate) fn next(&self, shape: Shape) -> Result<Option<ObjectSlot>> {
        ObjectSlot::read(shape, self.words[7], "record list", self.slot.offset() + 56)
    }
    pub(crate) fn set_next(&mut self, next: Option<ObjectSlot>) {
        self.words[7] = ObjectSlot::stored(next);
    }
    /// The record before it on the list of orphans.
    pub(crate) fn previous(&self, shape: Shape) -> Result<Option<ObjectSlot>> {
        ObjectSlot::read(shape, self.words[8], "record list", self.slot.offset() + 64)
    }
    pub(crate) fn set_previous(&mut self, previous: Option<ObjectSlot>) {
        self.words[8] = ObjectSlot::stored(previous);
    }

    /// Writes `name` and what the head says of it.
    pub(crate) fn set_name(&mut self, t: &mut Txn<'_>, name: &[u8]) -> Result {
        self.words[1] = self.words[1] & !(0xffff << 16) | (name.len() as u64) << 16;
        self.words[5] = name_hash(name);
        let mut new = [0; NAME_WORDS];
        for (word, bytes) in new.iter_mut().zip(name.chunks(8)) {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(padded);
        }
        new[NAME_CRC] = self.salt.head_sum(self.slot.0, &new[..NAME_CRC]);
        let mut old = [0; NAME_WORDS];
        t.read_run(self.name_at(0), &mut old)?;
        for i in (0..NAME_WORDS).filter(|&i| old[i] != new[i]) {
            t.write(self.name_at(i), new[i])?;
        }
        Ok(())
    }

    /// The name, verified.
    pub(crate) fn name(&self, words: &impl Words) -> Result<Vec<u8>> {
        let mut found = [0; NAME_WORDS];
        words.run(self.name_at(0), &mut found)?;
        let why = if found[NAME_CRC] != self.salt.head_sum(self.slot.0, &found[..NAME_CRC]) {
            "checksum of the name does not match"
        } else if self.name_len() == 0 || self.name_len() > NAME_MAX {
            "impossible length of the name"
        } else {
            let mut name: Vec<u8> = found.iter().flat_map(|word| word.to_le_bytes()).collect();
            name.truncate(self.name_len());
            if name_hash(&name) == self.hash() {
                return Ok(name);
            }
            "the name has another hash"
        };
        Err(Error::corrupt("object record", self.name_at(0), why))
    }

    /// The record for users.
    pub(crate) fn show(&self, words: &impl Words) -> Result<ObjectRecord> {
        let at = self.slot.offset();
        let kind = self.kind().ok_or_else(|| Error::corrupt("object record", at, "the slot is free"))?;
        if self.size() > SIZE_MAX {
            return Err(Error::corrupt("object record", at + 16, "impossible size"));
        }
        Ok(ObjectRecord {
            slot: self.slot,
            id: self.id(),
            kind,
            size: self.size(),
            name: self.name(words)?,
            unlinked: self.unlinked(),
            truncating: self.cut(),
        })
    }

    const fn name_at(&self, i: usize) -> u64 {
        self.slot.offset() + (HEAD_WORDS + i) as u64 * 8
    }
}

/// Id, root word and cut mark, unverified.
pub(crate) fn map_words(words: &impl Words, slot: ObjectSlot) -> Result<(u64, u64, Option<u64>)> {
    let mut head = [0; 5];
    words.run(slot.offset(), &mut head)?;
    Ok((head[0], head[3], head[4].checked_sub(1)))
}

/// Hash of a name: FNV-1a (64 bits) and a finalizer that spreads it. Part of the format: it never changes.
pub(crate) fn name_hash(name: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    mix(name.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

/// Refuses what is no name: names are 1 to 255 bytes without NUL.
pub(crate) fn verify_name(name: &[u8]) -> Result {
    if name.is_empty() || name.len() > NAME_MAX || name.contains(&0) {
        return Err(Error::BadName { len: name.len() });
    }
    Ok(())
}

const FREE_SLOTS: u64 = RootWord::FreeSlots.offset();

/// The first free slot.
pub(crate) fn first_free(words: &impl Words, shape: Shape) -> Result<Option<ObjectSlot>> {
    const WHAT: &str = "list of free slots";
    let value = words.salt().place(FREE_SLOTS).open(words.word(FREE_SLOTS)?);
    let value =
        value.ok_or_else(|| Error::corrupt(WHAT, FREE_SLOTS, "check bits of its head do not match"))?;
    ObjectSlot::read(shape, value, WHAT, FREE_SLOTS)
}

fn set_first_free(t: &mut Txn<'_>, first: Option<ObjectSlot>) -> Result {
    t.write(FREE_SLOTS, t.salt().place(FREE_SLOTS).close(ObjectSlot::stored(first)))
}

/// The head of the first free slot. A list that cannot be read there has none: new slots begin another one.
pub(crate) fn readable_free(words: &impl Words, shape: Shape) -> Result<Option<Head>> {
    let head = first_free(words, shape).and_then(|slot| slot.map(|slot| Head::read(words, slot)).transpose());
    match head {
        Ok(Some(head)) if head.kind().is_some() || head.next(shape).is_err() => Ok(None),
        Err(Error::Corrupt { .. }) => Ok(None),
        head => head,
    }
}

/// Takes the first free slot; its head still is that of a free one.
pub(crate) fn take_free(t: &mut Txn<'_>, shape: Shape) -> Result<Option<Head>> {
    let Some(head) = readable_free(t, shape)? else { return Ok(None) };
    set_first_free(t, head.next(shape)?)?;
    Ok(Some(head))
}

/// Gives the slot of `head` back.
pub(crate) fn put_free(t: &mut Txn<'_>, shape: Shape, head: &mut Head) -> Result {
    head.become_free(readable_free(t, shape)?.map(|first| first.slot));
    set_first_free(t, Some(head.slot))?;
    head.write(t)
}

/// Makes `frame` a record frame: eight free slots, lowest first.
pub(crate) fn add_frame(t: &mut Txn<'_>, shape: Shape, frame: FrameNo) -> Result {
    t.zero(frame)?;
    let first = u64::from(frame.0) * SLOTS;
    debug_assert_eq!(SLOTS * RECORD, WORDS * 8);
    let salt = t.salt();
    (first..first + SLOTS)
        .rev()
        .try_for_each(|slot| put_free(t, shape, &mut Head::fresh(salt, ObjectSlot(slot))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_names_never_changes() {
        assert_eq!(name_hash(b"a"), mix(0xaf63_dc4c_8601_ec8c));
        assert_eq!(name_hash(b"main.db"), 0x8931_72b9_2276_580d);
        assert_eq!(mix(1), 0xb456_bcfc_34c2_cb2c);
    }

    #[test]
    fn names_are_1_to_255_bytes_without_nul() {
        for good in [&b"a"[..], &[b'x'; 255], &[0x80, 0xff], b"with/slash", b" "] {
            verify_name(good).unwrap();
        }
        for (bad, expected) in [(&b""[..], 0), (&[b'x'; 256], 256), (b"a\0b", 3)] {
            assert!(matches!(verify_name(bad), Err(Error::BadName { len }) if len == expected));
        }
    }
}
