//! Object records: 512 bytes each, eight to a record frame.
//!
//! ```text
//! word  0 number                           8 previous of the list
//!       1 kind 8, flags 8, length of       9 tree: what the words of the map are sealed for
//!         the name 16, zero 32            10 seal of the map: pages 37, digest 27
//!       2 size                            11..15 zero
//!       3 root word of the map            15 sum of 0..15
//!       4 mark of a cut, + 1              16..48 name, zero-filled
//!       5 hash of the name                48 time of the creation, ns since 1970
//!       6 next of the directory chain     49..63 zero
//!       7 next of the list                63 sum of 16..63
//! ```
//! Both sums include the region's salt and the slot, so that a record in another place, or of a former region, does not
//! pass. The head changes often and is two cache lines; the name changes only with create and rename. The list is that of
//! orphans, or that of free slots ([`slots`](super::slots)). Slot 0 cannot exist, so that 0 stands for no slot. Words
//! that are zero here are checked to be zero.
//!
//! A slot is valid only while its object is open or names are locked.

use super::layout::RootWord;
use super::log::Txn;
use super::map_seal::{MapSeal, Parts};
use super::seal::Salt;
use super::tree::Map;
use super::words::{Shape, Words};
use crate::error::{Error, Result};
use crate::units::FrameNo;

/// Bytes of a record.
pub(crate) const RECORD: u64 = 512;
/// Records in a record frame.
pub(crate) const SLOTS: u64 = 8;
/// Longest name, in bytes.
pub const NAME_MAX: usize = 255;
/// Largest object: 2^36 pages.
pub const SIZE_MAX: u64 = super::tree::PAGES_MAX * crate::units::FRAME_SIZE as u64;

const HEAD_WORDS: usize = 16;
const HEAD_SUM: usize = HEAD_WORDS - 1;
const NAME_WORDS: usize = 48;
const NAME_SUM: usize = NAME_WORDS - 1;
/// The word of the name part that holds the time of the creation. The words before it hold the name.
const BIRTH: usize = 32;
/// Words of the head and of the name part without a meaning.
const ZERO_HEAD: std::ops::Range<usize> = 11..HEAD_SUM;
const ZERO_NAME: std::ops::Range<usize> = BIRTH + 1..NAME_SUM;
const UNLINKED: u8 = 1;
/// A repair found that a part of the object is lost.
const DAMAGED: u8 = 2;

const _: () = assert!(NAME_MAX < BIRTH * 8);

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
    /// `value`, which was read at `at` in a `what`, as a slot. 0 is no slot.
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

/// What an object is for. The engine treats all kinds alike.
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
    /// The object's number, which is never used twice in a region.
    pub id: u64,
    /// What it is for.
    pub kind: ObjectKind,
    /// Its size in bytes.
    pub size: u64,
    /// Its name, or the last one it had.
    pub name: Vec<u8>,
    /// Whether it has lost its name: it goes with its last close.
    pub unlinked: bool,
    /// The first page that a truncate in progress has cut off: the pages are gone, but their frames may not be freed yet.
    pub truncating: Option<u64>,
    /// Pages that have a frame, including those that are being cut off.
    pub pages: u64,
    /// When it was made, in nanoseconds since 1970.
    pub birth: u64,
}

/// The part of a record that changes often. It is verified when read, and only words that changed are written back.
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
        if found[HEAD_SUM] != salt.head_sum(slot.0, &found[..HEAD_SUM]) {
            return Err(Error::corrupt(
                "object record",
                slot.offset(),
                "checksum of the head does not match",
            ));
        }
        Ok(Self { slot, salt, words: found, found })
    }

    /// The head of a slot whose sum does not count: it is to be made another one.
    pub(crate) fn unverified(words: &impl Words, slot: ObjectSlot) -> Result<Self> {
        let mut found = [0; HEAD_WORDS];
        words.run(slot.offset(), &mut found)?;
        Ok(Self { slot, salt: words.salt(), words: found, found })
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
        self.changes().into_iter().try_for_each(|(at, word)| t.write(at, word))
    }

    /// The words that changed, checksum included, with their byte offsets.
    pub(crate) fn changes(&mut self) -> Vec<(u64, u64)> {
        self.words[HEAD_SUM] = self.salt.head_sum(self.slot.0, &self.words[..HEAD_SUM]);
        let changed = (0..HEAD_WORDS).filter(|&i| self.words[i] != self.found[i]);
        let changes = changed.map(|i| (self.slot.offset() + i as u64 * 8, self.words[i])).collect();
        self.found = self.words;
        changes
    }

    /// Becomes a new object, as if the slot had never been used.
    pub(crate) fn become_object(&mut self, id: u64, kind: ObjectKind) {
        self.words = [0; HEAD_WORDS];
        self.words[0] = id;
        self.words[1] = u64::from(kind.0);
        self.words[3] = Map::empty_root(self.salt, id);
        self.words[9] = id;
    }

    /// Becomes a free slot, on no list yet.
    pub(crate) fn become_free(&mut self) {
        self.words = [0; HEAD_WORDS];
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
    /// Whether a repair found that a part of the object is lost.
    pub(crate) const fn damaged(&self) -> bool {
        (self.words[1] >> 8) as u8 & DAMAGED != 0
    }
    pub(crate) fn set_damaged(&mut self) {
        self.words[1] |= u64::from(DAMAGED) << 8;
    }
    pub(crate) fn set_id(&mut self, id: u64) {
        self.words[0] = id;
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
    /// The tree that the words of the map are sealed for.
    pub(crate) const fn tree(&self) -> u64 {
        self.words[9]
    }
    /// The seal of the map.
    pub(crate) const fn map_seal(&self) -> MapSeal {
        MapSeal::of_word(self.words[10])
    }
    pub(crate) fn set_map_seal(&mut self, seal: MapSeal) {
        self.words[10] = seal.word();
    }
    /// Notes that pages are linked by the record that writes this head.
    pub(crate) fn note_linked(&mut self, pages: impl Iterator<Item = (u64, FrameNo)>) {
        let (parts, mut seal) = (Parts::of(self.salt, self.tree()), self.map_seal());
        pages.for_each(|(page, frame)| seal.link(parts, page, frame));
        self.words[10] = seal.word();
    }
    /// Notes that pages are cut by the record that writes this head.
    pub(crate) fn note_cut(&mut self, pages: impl Iterator<Item = (u64, FrameNo)>) {
        let (parts, mut seal) = (Parts::of(self.salt, self.tree()), self.map_seal());
        pages.for_each(|(page, frame)| seal.cut(parts, page, frame));
        self.words[10] = seal.word();
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
    /// The record before it on that list.
    pub(crate) fn previous(&self, shape: Shape) -> Result<Option<ObjectSlot>> {
        ObjectSlot::read(shape, self.words[8], "record list", self.slot.offset() + 64)
    }
    pub(crate) fn set_previous(&mut self, previous: Option<ObjectSlot>) {
        self.words[8] = ObjectSlot::stored(previous);
    }

    /// Gives a new object its name and the time of its creation. The former content of the slot's name part does not count.
    pub(crate) fn first_name(&mut self, t: &mut Txn<'_>, name: &[u8], birth: u64) -> Result {
        let mut new = [0; NAME_WORDS];
        new[BIRTH] = birth;
        self.write_name(t, name, new)
    }

    /// Gives an object another name. The rest of the name part is verified and kept.
    pub(crate) fn set_name(&mut self, t: &mut Txn<'_>, name: &[u8]) -> Result {
        let mut new = self.name_part(t)?;
        new[..BIRTH].fill(0);
        self.write_name(t, name, new)
    }

    fn write_name(&mut self, t: &mut Txn<'_>, name: &[u8], new: [u64; NAME_WORDS]) -> Result {
        let mut old = [0; NAME_WORDS];
        t.read_run(self.name_at(0), &mut old)?;
        let new = self.named(t, name, new);
        for ((at, word), _) in new.into_iter().zip(old).filter(|((_, new), old)| new != old) {
            t.write(at, word)?;
        }
        Ok(())
    }

    /// The words to write to give an object a name, whatever its name part holds. Without a `birth` the time of its
    /// creation stays, if it can be read.
    pub(crate) fn renamed(
        &mut self,
        words: &impl Words,
        name: &[u8],
        birth: Option<u64>,
    ) -> Result<Vec<(u64, u64)>> {
        let mut new = [0; NAME_WORDS];
        new[BIRTH] = match (birth, self.name_part(words)) {
            (Some(birth), _) => birth,
            (None, Ok(found)) => found[BIRTH],
            (None, Err(Error::Corrupt { .. })) => 0,
            (None, Err(error)) => return Err(error),
        };
        Ok(self.named(words, name, new).to_vec())
    }

    /// The words of the name part, with their byte offsets.
    fn named(
        &mut self,
        words: &impl Words,
        name: &[u8],
        mut new: [u64; NAME_WORDS],
    ) -> [(u64, u64); NAME_WORDS] {
        self.words[1] = self.words[1] & !(0xffff << 16) | (name.len() as u64) << 16;
        self.words[5] = words.hash(name);
        for (word, bytes) in new.iter_mut().zip(name.chunks(8)) {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(padded);
        }
        new[NAME_SUM] = self.salt.head_sum(self.slot.0, &new[..NAME_SUM]);
        std::array::from_fn(|i| (self.name_at(i), new[i]))
    }

    /// The words behind the head, verified.
    fn name_part(&self, words: &impl Words) -> Result<[u64; NAME_WORDS]> {
        let mut found = [0; NAME_WORDS];
        words.run(self.name_at(0), &mut found)?;
        if found[NAME_SUM] != self.salt.head_sum(self.slot.0, &found[..NAME_SUM]) {
            return Err(self.bad_name("checksum of the name does not match"));
        }
        Ok(found)
    }

    fn bad_name(&self, why: &str) -> Error {
        Error::corrupt("object record", self.name_at(0), why)
    }

    /// The name, verified, and when the object was made.
    pub(crate) fn name_and_birth(&self, words: &impl Words) -> Result<(Vec<u8>, u64)> {
        let found = self.name_part(words)?;
        if self.name_len() == 0 || self.name_len() > NAME_MAX {
            return Err(self.bad_name("impossible length of the name"));
        }
        let mut name: Vec<u8> = found[..BIRTH].iter().flat_map(|word| word.to_le_bytes()).collect();
        name.truncate(self.name_len());
        if words.hash(&name) != self.hash() {
            return Err(self.bad_name("the name has another hash"));
        }
        Ok((name, found[BIRTH]))
    }

    /// The name, verified.
    pub(crate) fn name(&self, words: &impl Words) -> Result<Vec<u8>> {
        Ok(self.name_and_birth(words)?.0)
    }

    /// A field with a value that no release which wrote this record can have put there: where, and what. Only `check`
    /// looks for it.
    pub(crate) fn unknown_field(&self, words: &impl Words) -> Result<Option<(u64, &'static str)>> {
        let at = |word: usize| self.slot.offset() + word as u64 * 8;
        let (kind, flags) = (self.words[1] as u8, (self.words[1] >> 8) as u8);
        if self.words[1] >> 32 != 0 || kind > ObjectKind::PLAIN.0 || flags & !(UNLINKED | DAMAGED) != 0 {
            return Ok(Some((at(1), "a kind or a flag that is not known")));
        }
        if let Some(word) = ZERO_HEAD.into_iter().find(|&word| self.words[word] != 0) {
            return Ok(Some((at(word), "a word that means nothing is not zero")));
        }
        if kind == 0 {
            let used = (0..HEAD_SUM).find(|word| ![7, 8].contains(word) && self.words[*word] != 0);
            return Ok(used.map(|word| (at(word), "a word of a free slot is not zero")));
        }
        let mut found = [0; NAME_WORDS];
        words.run(self.name_at(0), &mut found)?;
        let bytes = found[..BIRTH].iter().flat_map(|word| word.to_le_bytes());
        if bytes.skip(self.name_len()).any(|byte| byte != 0) {
            return Ok(Some((self.name_at(0), "a byte behind the name is not zero")));
        }
        // A feature that this release need not know may have attributes there.
        let explained = words.root(RootWord::Compat)? != 0;
        let word = ZERO_NAME.into_iter().find(|&word| found[word] != 0 && !explained);
        Ok(word.map(|word| (self.name_at(word), "a word that means nothing is not zero")))
    }

    /// The record for users.
    pub(crate) fn show(&self, words: &impl Words) -> Result<ObjectRecord> {
        let at = self.slot.offset();
        let kind = self.kind().ok_or_else(|| Error::corrupt("object record", at, "the slot is free"))?;
        if self.size() > SIZE_MAX {
            return Err(Error::corrupt("object record", at + 16, "impossible size"));
        }
        let (name, birth) = self.name_and_birth(words)?;
        Ok(ObjectRecord {
            slot: self.slot,
            id: self.id(),
            kind,
            size: self.size(),
            name,
            unlinked: self.unlinked(),
            truncating: self.cut(),
            pages: self.map_seal().pages(),
            birth,
        })
    }

    const fn name_at(&self, i: usize) -> u64 {
        self.slot.offset() + (HEAD_WORDS + i) as u64 * 8
    }
}

/// What the bytes of a slot are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// An object of this number; both sums are right.
    Live(u64),
    /// An object of this number, with a right head and a name that cannot be read.
    Nameless(u64),
    /// Nothing is there.
    Free,
    /// The sum of its head is wrong.
    Bad,
}

/// What the slots of a frame with these words are.
pub(crate) fn look(salt: Salt, frame: FrameNo, words: &[u64]) -> [State; SLOTS as usize] {
    const WORDS: usize = HEAD_WORDS + NAME_WORDS;
    std::array::from_fn(|place| {
        let slot = u64::from(frame.0) * SLOTS + place as u64;
        let (head, name) = words[place * WORDS..][..WORDS].split_at(HEAD_WORDS);
        let holds = |part: &[u64]| part[part.len() - 1] == salt.head_sum(slot, &part[..part.len() - 1]);
        match (holds(head), head[1] as u8 != 0) {
            (false, _) => State::Bad,
            (true, false) => State::Free,
            (true, true) if holds(name) => State::Live(head[0]),
            (true, true) => State::Nameless(head[0]),
        }
    })
}

/// Tree, root word and cut mark, unverified.
pub(crate) fn map_words(words: &impl Words, slot: ObjectSlot) -> Result<(u64, u64, Option<u64>)> {
    let mut head = [0; 10];
    words.run(slot.offset(), &mut head)?;
    Ok((head[9], head[3], head[4].checked_sub(1)))
}

/// Refuses what is no name. Names are 1 to 255 bytes without NUL.
pub(crate) fn verify_name(name: &[u8]) -> Result {
    if name.is_empty() || name.len() > NAME_MAX || name.contains(&0) {
        return Err(Error::BadName { len: name.len() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
