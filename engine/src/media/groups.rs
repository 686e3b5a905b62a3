//! The table of groups: where the bitmap of each group lies, and what it must be.
//!
//! The table's root names one frame of the table for every 256 groups. Such a frame has two words for each group:
//!
//! ```text
//! 0 sealed for its place   frame of the bitmap: 32 bits, the others zero
//! 1 the tally              zero bits of the bitmap: upper 16 bits; seal over its words: 48
//! ```
//! The record that changes a bitmap changes its tally too, by the difference of the changed words. So a rotten bit does
//! not match the seal, whatever else changes in the group. A group is compared with its tally when its bitmap is first
//! read. If it differs, the group is left alone.
//!
//! The bitmap of the group behind the last is there before that group begins. So a region can always grow into the next
//! group, and the bitmap takes a frame of a new group only if nothing else is free.

use super::layout::{
    BITMAP_FRAMES, GROUP_FRAMES, GROUP_ROOT_FRAME, GROUP_TABLE_FRAME, GROUPS_MAX, RootWord, TABLE_GROUPS,
    WORD_SIZE, WORDS_PER_FRAME,
};
use super::log::Txn;
use super::seal::{BitmapSeal, Blank, Node, Salt};
use super::words::{Shape, Words};
use crate::error::{Error, Result};
use crate::units::FrameNo;

const WHAT: &str = "table of groups";
/// Bytes of an entry.
const ENTRY: u64 = 2 * WORD_SIZE;

/// The table's entry for one group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) group: u64,
    /// The place of its words.
    at: u64,
    /// The frame that holds the group's bits.
    pub(crate) bitmap: FrameNo,
    tally: u64,
}

impl Entry {
    /// Byte offset of the word of the bitmap at `place`.
    pub(crate) const fn word(&self, place: u64) -> u64 {
        self.bitmap.offset() + place * WORD_SIZE
    }

    /// How many frames of the whole group are free. In the last group the bits behind the region's end are zero, and
    /// count as free.
    pub(crate) const fn free(&self) -> u64 {
        BitmapSeal::free(self.tally)
    }

    /// Compares a bitmap, as it was read, with the tally.
    ///
    /// # Errors
    /// `Corrupt` when they do not match.
    pub(crate) fn compare(&self, words: &impl Words, bits: &[u64; WORDS_PER_FRAME as usize]) -> Result {
        if words.salt().bitmap(self.group).of(bits) == self.tally {
            return Ok(());
        }
        let why = format!(
            "the bitmap of group {} does not match its seal and its count of free frames, so nothing of the group is \
             taken or freed: copy what is needed out of the region, or restore it",
            self.group
        );
        Err(Error::corrupt("bitmap", self.bitmap.offset(), why))
    }

    /// Whether a bitmap, as it was read, and its tally are those of a group in which every frame is free.
    pub(crate) fn is_of_zeros(&self, words: &impl Words, bits: &[u64; WORDS_PER_FRAME as usize]) -> bool {
        let empty = words.salt().bitmap(self.group).of_zeros(GROUP_FRAMES);
        self.tally == empty && bits.iter().all(|&word| word == 0)
    }

    /// Notes that a word of the bitmap changes. [`write`](Self::write) then writes the new tally.
    pub(crate) fn change(&mut self, words: &impl Words, place: u64, old: u64, new: u64) {
        self.tally = words.salt().bitmap(self.group).changed(self.tally, place, old, new);
    }

    /// Writes the tally.
    pub(crate) fn write(&self, t: &mut Txn<'_>) -> Result {
        t.write_tally(self.at + WORD_SIZE, self.tally)
    }
}

/// The entry of a group.
///
/// # Errors
/// `Corrupt` if the table has none, or none that can be read.
pub(crate) fn find(words: &impl Words, shape: Shape, group: u64) -> Result<Entry> {
    match look(words, shape, group)? {
        Some(entry) => Ok(entry),
        None => {
            let at = root_word(words, shape, group)?;
            Err(Error::corrupt(WHAT, at, format!("group {group} has no bitmap")))
        }
    }
}

/// As [`find`], but `None` if the table has none.
pub(crate) fn look(words: &impl Words, shape: Shape, group: u64) -> Result<Option<Entry>> {
    let Some(table) = table(words, shape, group)? else { return Ok(None) };
    let at = entry_at(table, group);
    let Some(bitmap) = frame_at(words, shape, at)? else { return Ok(None) };
    Ok(Some(Entry { group, at, bitmap, tally: words.word(at + WORD_SIZE)? }))
}

/// The frame of the table for `group`.
pub(crate) fn table(words: &impl Words, shape: Shape, group: u64) -> Result<Option<FrameNo>> {
    if group >= GROUPS_MAX {
        return Ok(None);
    }
    frame_at(words, shape, root_word(words, shape, group)?)
}

/// The table's root.
pub(crate) fn root(words: &impl Words, shape: Shape) -> Result<FrameNo> {
    let (value, at) = (words.root(RootWord::GroupRoot)?, words.roots().at(RootWord::GroupRoot));
    named(words, shape, value, at)?.ok_or_else(|| Error::corrupt(WHAT, at, "it has no root"))
}

/// Makes `table` the frame of the table for `group`. The caller sets its bit.
pub(crate) fn begin_table(t: &mut Txn<'_>, shape: Shape, group: u64, table: FrameNo) -> Result {
    t.table_of_groups(table)?;
    let at = root_word(t, shape, group)?;
    let word = t.salt().place(at).close(table.0.into());
    t.write_of_groups(at, word)
}

/// Makes `bitmap` the bitmap of `group`, in which every frame is free. The caller sets its own bit.
pub(crate) fn begin(t: &mut Txn<'_>, shape: Shape, group: u64, bitmap: FrameNo) -> Result {
    let Some(table) = table(t, shape, group)? else {
        let at = root_word(t, shape, group)?;
        return Err(Error::corrupt(WHAT, at, format!("no frame of it is for group {group}")));
    };
    let (at, salt) = (entry_at(table, group), t.salt());
    t.zero_of_groups(bitmap)?;
    t.write_of_groups(at, salt.place(at).close(bitmap.0.into()))?;
    t.write_of_groups(at + WORD_SIZE, salt.bitmap(group).of_zeros(GROUP_FRAMES))
}

/// Takes the bitmap from `group`, which no longer belongs to the region and is not the group behind the last. The caller
/// clears the bitmap's own bit.
pub(crate) fn end(t: &mut Txn<'_>, shape: Shape, group: u64) -> Result {
    if let Some(table) = table(t, shape, group)? {
        let at = entry_at(table, group);
        for at in [at, at + WORD_SIZE] {
            t.write_of_groups(at, t.salt().place(at).nothing())?;
        }
    }
    Ok(())
}

/// Takes the frame of the table from `group` and the groups behind it. The caller clears the frame's own bit.
pub(crate) fn end_table(t: &mut Txn<'_>, shape: Shape, group: u64) -> Result {
    let at = root_word(t, shape, group)?;
    t.write_of_groups(at, t.salt().place(at).nothing())
}

/// The frames of the table, with their words, in a fresh region whose first bitmap has these words.
pub(crate) fn of_format(salt: Salt, bitmap: &[u64]) -> [(FrameNo, [u64; WORDS_PER_FRAME as usize]); 2] {
    let mut frames = [GROUP_ROOT_FRAME, GROUP_TABLE_FRAME].map(|frame| {
        let mut words = [0; WORDS_PER_FRAME as usize];
        salt.blank(frame, Blank::Node(Node::PLACES), 0, &mut words);
        (frame, words)
    });
    let sealed = |at: u64, frame: FrameNo| salt.place(at).close(frame.0.into());
    frames[0].1[0] = sealed(GROUP_ROOT_FRAME.offset(), GROUP_TABLE_FRAME);
    let tallies = [salt.bitmap(0).of(bitmap), salt.bitmap(1).of_zeros(GROUP_FRAMES)];
    for (group, (frame, tally)) in BITMAP_FRAMES.into_iter().zip(tallies).enumerate() {
        let at = entry_at(GROUP_TABLE_FRAME, group as u64);
        (frames[1].1[2 * group], frames[1].1[2 * group + 1]) = (sealed(at, frame), tally);
    }
    frames
}

/// Byte offset of the root's word for `group`.
pub(crate) fn root_word(words: &impl Words, shape: Shape, group: u64) -> Result<u64> {
    Ok(root(words, shape)?.offset() + group / TABLE_GROUPS * WORD_SIZE)
}

/// Byte offset of the entry of `group` in its frame of the table.
pub(crate) const fn entry_at(table: FrameNo, group: u64) -> u64 {
    table.offset() + group % TABLE_GROUPS * ENTRY
}

/// The frame that the word at `at` names.
fn frame_at(words: &impl Words, shape: Shape, at: u64) -> Result<Option<FrameNo>> {
    match words.salt().place(at).open(words.word(at)?) {
        Some(value) => named(words, shape, value, at),
        None => Err(Error::corrupt(WHAT, at, "check bits do not match")),
    }
}

/// The frame with this number, which was read at `at`.
fn named(words: &impl Words, shape: Shape, value: u64, at: u64) -> Result<Option<FrameNo>> {
    match u32::try_from(value).map(FrameNo) {
        Ok(FrameNo(0)) => Ok(None),
        Ok(frame) if shape.found(frame) => words.of_groups(frame).map(Some),
        _ => Err(Error::corrupt(WHAT, at, format!("frame {value} does not exist or is a fixed one"))),
    }
}
