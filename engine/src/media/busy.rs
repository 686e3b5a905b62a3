//! The busy table: frames that were cut off while they were pinned.
//!
//! Their bits stay set until the last pin, or the process that had it, has gone. So none of them is handed out. The table
//! names them, so that a crash does not leak them. On the medium it is a chain of frames: word 0 names the next frame,
//! and each other word holds a busy frame or nothing. A volatile index, which is built at first use, says where each
//! entry lies.

use super::bitmap;
use super::layout::RootWord;
use super::log::Txn;
use super::seal::Node;
use super::words::{Shape, WORDS, Words, unsealed};
use crate::error::{Error, Result};
use crate::units::FrameNo;
use std::collections::{BTreeSet, HashMap};

const WHAT: &str = "busy table";
/// Entries of a table frame.
const ENTRIES: usize = WORDS as usize - 1;
/// The most table frames that one record gives back.
const SURPLUS: usize = 16;

/// The index of the table. A mutex around it orders it with the records that change the table.
#[derive(Debug, Default)]
pub(crate) struct BusyTable {
    loaded: bool,
    /// The place of each busy frame.
    places: HashMap<FrameNo, u64>,
    /// Entries that hold nothing.
    vacant: Vec<u64>,
    /// The frames of the table, the last of the chain first.
    frames: Vec<FrameNo>,
    /// What could not be read. The frames of a damaged table are kept: they may name frames that nothing else names.
    damage: Vec<Error>,
    damaged: bool,
}

impl BusyTable {
    /// Builds the index if there is none. It leaves out what is damaged: a single entry, or the chain behind a broken link.
    pub(crate) fn load(&mut self, words: &impl Words, shape: Shape) -> Result<&mut Self> {
        if !self.loaded {
            let mut new = Self { loaded: true, ..Self::default() };
            let (mut next, mut seen) = (first(words, shape), BTreeSet::new());
            while let Some(table) = new.or_damage(next)?.flatten() {
                if !seen.insert(table) {
                    let cycle = Error::corrupt(WHAT, table.offset(), "its chain has a cycle");
                    new.or_damage::<()>(Err(cycle))?;
                    break;
                }
                new.frames.push(table);
                for at in entries(&table) {
                    match new.or_damage(open(words, shape, at))? {
                        None => {}
                        Some(None) => new.vacant.push(at),
                        Some(Some(frame)) => new.note(frame, at)?,
                    }
                }
                next = open(words, shape, table.offset());
            }
            new.frames.reverse();
            new.damaged = !new.damage.is_empty();
            *self = new;
        }
        Ok(self)
    }

    fn note(&mut self, frame: FrameNo, at: u64) -> Result {
        if self.places.contains_key(&frame) {
            let why = format!("frame {} is named twice", frame.0);
            return self.or_damage(Err(Error::corrupt(WHAT, at, why))).map(|_: Option<()>| ());
        }
        self.places.insert(frame, at);
        Ok(())
    }

    /// The result of a look. Damage is noted.
    fn or_damage<T>(&mut self, looked: Result<T>) -> Result<Option<T>> {
        match looked {
            Err(error @ Error::Corrupt { .. }) => {
                self.damage.push(error);
                Ok(None)
            }
            looked => looked.map(Some),
        }
    }

    /// Takes the list of what could not be read.
    pub(crate) fn take_damage(&mut self) -> Vec<Error> {
        std::mem::take(&mut self.damage)
    }

    /// The busy frames.
    pub(crate) fn frames(&self) -> Vec<FrameNo> {
        self.places.keys().copied().collect()
    }

    /// The frames of the table.
    pub(crate) fn tables(&self) -> Vec<FrameNo> {
        self.frames.clone()
    }

    /// How many frames the table needs for `n` more entries.
    pub(crate) fn lacks(&self, n: usize) -> usize {
        n.saturating_sub(self.vacant.len()).div_ceil(ENTRIES)
    }

    /// Writes `busy` into vacant entries, after it has put `new` table frames in front. `added` must follow the append.
    pub(crate) fn add(&self, t: &mut Txn<'_>, shape: Shape, new: &[FrameNo], busy: &[FrameNo]) -> Result {
        bitmap::set(t, shape, new.iter().copied())?;
        let mut next = self.frames.last().copied();
        for &frame in new {
            t.node(frame, Node::PLACES)?;
            put(t, frame.offset(), next)?;
            set_first(t, Some(frame))?;
            next = Some(frame);
        }
        let vacant = self.vacant.iter().copied().chain(new.iter().flat_map(entries));
        busy.iter().zip(vacant).try_for_each(|(&frame, at)| put(t, at, Some(frame)))
    }

    /// Updates the index after `add`.
    pub(crate) fn added(&mut self, new: &[FrameNo], busy: &[FrameNo]) {
        self.frames.extend(new);
        self.vacant.extend(new.iter().flat_map(entries));
        let places = self.vacant.drain(..busy.len().min(self.vacant.len()));
        self.places.extend(busy.iter().copied().zip(places));
    }

    /// Those of `frames` that are in the table.
    pub(crate) fn known(&self, frames: &[FrameNo]) -> Vec<FrameNo> {
        let known: BTreeSet<_> =
            frames.iter().copied().filter(|frame| self.places.contains_key(frame)).collect();
        known.into_iter().collect()
    }

    /// The table frames that have no use after `removed` entries have gone: if no entry is left, all but one.
    pub(crate) fn surplus(&self, removed: usize) -> &[FrameNo] {
        let rest = self.frames.get(1..).unwrap_or(&[]);
        if removed < self.places.len() || self.damaged {
            &[]
        } else {
            &rest[rest.len().saturating_sub(SURPLUS)..]
        }
    }

    /// Clears the entries and the bits of `known` frames, and frees the `surplus`. `removed` must follow the append.
    pub(crate) fn remove(&self, t: &mut Txn<'_>, shape: Shape, known: &[FrameNo]) -> Result {
        let surplus = self.surplus(known.len());
        for at in known.iter().filter_map(|frame| self.places.get(frame)) {
            put(t, *at, None)?;
        }
        if !surplus.is_empty() {
            let first = self.frames.get(self.frames.len() - surplus.len() - 1).copied();
            set_first(t, first)?;
        }
        bitmap::clear(t, shape, known.iter().chain(surplus).copied())
    }

    /// Updates the index after `remove`.
    pub(crate) fn removed(&mut self, known: &[FrameNo]) {
        let surplus = self.surplus(known.len()).len();
        if surplus > 0 {
            self.frames.truncate(self.frames.len() - surplus);
            self.places.clear();
            self.vacant = self.frames.iter().flat_map(entries).collect();
            return;
        }
        self.vacant.extend(known.iter().filter_map(|frame| self.places.remove(frame)));
    }
}

/// What a walk over the table meets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entry {
    /// A frame of the table itself.
    Table(FrameNo),
    /// A busy frame.
    Busy(FrameNo),
    /// An entry that holds nothing.
    Vacant,
}

/// Calls `see` for every entry with its byte offset. `see` must end a walk that comes to a table frame a second time.
pub(crate) fn walk(words: &impl Words, shape: Shape, mut see: impl FnMut(u64, Entry) -> Result) -> Result {
    let mut next = first(words, shape)?;
    while let Some(table) = next {
        see(table.offset(), Entry::Table(table))?;
        for (at, word) in entries(&table).zip(words.frame(table)?.into_iter().skip(1)) {
            see(at, opened(words, shape, at, word)?.map_or(Entry::Vacant, Entry::Busy))?;
        }
        next = open(words, shape, table.offset())?;
    }
    Ok(())
}

fn entries(frame: &FrameNo) -> impl Iterator<Item = u64> + use<> {
    let first = frame.offset();
    (1..WORDS).map(move |i| first + i * 8)
}

/// The first frame of the table.
fn first(words: &impl Words, shape: Shape) -> Result<Option<FrameNo>> {
    match words.head(RootWord::BusyTable, WHAT)? {
        0 => Ok(None),
        value => shape.frame(value, WHAT, words.roots().at(RootWord::BusyTable)).map(Some),
    }
}

fn set_first(t: &mut Txn<'_>, first: Option<FrameNo>) -> Result {
    t.set_head(RootWord::BusyTable, first.map_or(0, |frame| u64::from(frame.0)))
}

fn put(t: &mut Txn<'_>, at: u64, frame: Option<FrameNo>) -> Result {
    let value = frame.map_or(0, |frame| u64::from(frame.0));
    t.write(at, t.salt().place(at).close(value))
}

fn open(words: &impl Words, shape: Shape, at: u64) -> Result<Option<FrameNo>> {
    opened(words, shape, at, words.word(at)?)
}

fn opened(words: &impl Words, shape: Shape, at: u64, word: u64) -> Result<Option<FrameNo>> {
    match words.salt().place(at).open(word) {
        None => Err(unsealed(WHAT, at, word)),
        Some(0) => Ok(None),
        Some(value) => shape.frame(value, WHAT, at).map(Some),
    }
}
