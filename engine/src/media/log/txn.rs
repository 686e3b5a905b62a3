//! One operation: what it reads, and what its record will hold. The append lock is held meanwhile.

use super::Log;
use super::record::{ENTRY_BYTES, Entry, Extent, Sequence};
use super::shadow::place_of;
use crate::error::{Error, Result};
use crate::media::layout::RootWord;
use crate::media::root::{self, Line};
use crate::media::rules::Rule;
use crate::media::seal::{Blank, Node};
use crate::units::FrameNo;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;

/// One operation being built, under the append lock.
pub struct Txn<'a> {
    log: &'a Log,
    sequence: Sequence,
    entries: Vec<Entry>,
    /// Its changes, by frame.
    changed: FxHashMap<FrameNo, Fresh>,
    /// Lines of the root by their numbers: as they were, and as they will be.
    lines: BTreeMap<u64, (root::Found, Line)>,
    /// Data frames of which the record carries bytes.
    images: Vec<FrameNo>,
    /// Bitmaps and frames of the table of groups that it changes.
    of_groups: FxHashSet<FrameNo>,
    /// Byte offsets of the tallies that it changes.
    tallies: FxHashSet<u64>,
    bytes_left: u64,
    publishes: bool,
    noted: Sequence,
}

/// A finished operation.
pub(super) struct Built {
    /// Its record's entries.
    pub(super) entries: Vec<Entry>,
    /// Data frames of which the record carries bytes.
    pub(super) images: Vec<FrameNo>,
    /// Bitmaps and frames of the table of groups that it changes.
    pub(super) of_groups: FxHashSet<FrameNo>,
    /// Words that the next record changes: only with a broken rule.
    pub(super) apart: Vec<Entry>,
    pub(super) publishes: bool,
}

/// An operation's changes in one frame.
#[derive(Default)]
struct Fresh {
    blank: Option<Blank>,
    /// The new words by their places, and the index of each among the operation's entries.
    words: BTreeMap<u16, (u64, usize)>,
}

impl<'a> Txn<'a> {
    /// An operation that has changed nothing yet, and whose record will have this number.
    pub(super) fn new(log: &'a Log, sequence: Sequence, noted: Sequence) -> Self {
        Self {
            log,
            sequence,
            entries: Vec::new(),
            changed: FxHashMap::default(),
            lines: BTreeMap::new(),
            images: Vec::new(),
            of_groups: FxHashSet::default(),
            tallies: FxHashSet::default(),
            bytes_left: log.record_room(),
            publishes: false,
            noted,
        }
    }

    /// Ends the operation.
    pub(super) fn built(mut self) -> Built {
        for (number, (found, line)) in std::mem::take(&mut self.lines) {
            let words = line.changes(&found, self.log.salt(), number);
            self.entries.extend(words.into_iter().map(|(offset, value)| Entry::Root(offset, value)));
        }
        let apart = |entry: &Entry| matches!(entry, Entry::Word(at, _) if self.tallies.contains(at));
        let (apart, entries) = match self.log.rules.broken(Rule::TallyApart) {
            true => self.entries.into_iter().partition(apart),
            false => (Vec::new(), self.entries),
        };
        Built { entries, images: self.images, of_groups: self.of_groups, apart, publishes: self.publishes }
    }

    /// The word at byte `offset`, this operation's own changes included.
    pub fn read(&self, offset: u64) -> Result<u64> {
        let (frame, place) = place_of(offset)?;
        if let Some(fresh) = self.changed.get(&frame) {
            if let Some(&(value, _)) = fresh.words.get(&place) {
                return Ok(value);
            }
            if let Some(blank) = fresh.blank {
                let mut word = [0];
                self.log.salt().blank(frame, blank, place, &mut word);
                return Ok(word[0]);
            }
        }
        if self.log.rules.broken(Rule::StaleShadow) {
            return self.log.region.memory().load(offset);
        }
        self.log.shadow.read(self.log.region.memory(), offset)
    }

    /// The words from byte `offset` on, all of one frame; as [`read`](Self::read).
    pub fn read_run(&self, offset: u64, into: &mut [u64]) -> Result {
        let (frame, place) = place_of(offset)?;
        let fresh = self.changed.get(&frame);
        if let Some(blank) = fresh.and_then(|fresh| fresh.blank) {
            self.log.salt().blank(frame, blank, place, into);
        } else if self.log.rules.broken(Rule::StaleShadow) {
            self.log.region.memory().load_run(offset, into)?;
        } else {
            self.log.shadow.read_run(self.log.region.memory(), offset, into)?;
        }
        for (&at, &(value, _)) in fresh.iter().flat_map(|fresh| fresh.words.range(place..)) {
            let Some(word) = into.get_mut(usize::from(at - place)) else { break };
            *word = value;
        }
        Ok(())
    }

    /// Changes the word at byte `offset`. A word that stays as it is needs no entry.
    pub fn write(&mut self, offset: u64, value: u64) -> Result {
        if self.read(offset)? == value {
            return Ok(());
        }
        let (frame, place) = place_of(offset)?;
        let here = self.changed.get(&frame).and_then(|fresh| fresh.words.get(&place)).map(|&(_, at)| at);
        let at = match here {
            Some(at) => at,
            None => {
                self.take_room(ENTRY_BYTES)?;
                self.entries.push(Entry::Word(offset, value));
                self.entries.len() - 1
            }
        };
        self.entries[at] = Entry::Word(offset, value);
        self.changed.entry(frame).or_default().words.insert(place, (value, at));
        Ok(())
    }

    /// Makes a frame all zero. The operation must not have changed it before.
    pub fn zero(&mut self, frame: FrameNo) -> Result {
        self.make(frame, Blank::Zero, Entry::Zero(frame))
    }

    /// Makes a frame an empty node. The operation must not have changed it before.
    pub fn node(&mut self, frame: FrameNo, node: Node) -> Result {
        self.make(frame, Blank::Node(node), Entry::Node(frame, node))
    }

    fn make(&mut self, frame: FrameNo, blank: Blank, entry: Entry) -> Result {
        self.take_room(entry.bytes() as u64)?;
        self.changed.entry(frame).or_default().blank = Some(blank);
        self.entries.push(entry);
        Ok(())
    }

    /// As [`write`](Self::write), for a word of a bitmap or of the table of groups.
    pub(crate) fn write_of_groups(&mut self, offset: u64, value: u64) -> Result {
        self.of_groups.insert(place_of(offset)?.0);
        self.write(offset, value)
    }

    /// As [`write_of_groups`](Self::write_of_groups), for the tally of a group.
    pub(crate) fn write_tally(&mut self, offset: u64, value: u64) -> Result {
        self.tallies.insert(offset);
        self.write_of_groups(offset, value)
    }

    /// As [`zero`](Self::zero), for a new bitmap.
    pub(crate) fn zero_of_groups(&mut self, frame: FrameNo) -> Result {
        self.of_groups.insert(frame);
        self.zero(frame)
    }

    /// As [`node`](Self::node), for a new frame of the table of groups.
    pub(crate) fn table_of_groups(&mut self, frame: FrameNo) -> Result {
        self.of_groups.insert(frame);
        self.node(frame, Node::PLACES)
    }

    /// A word of the root, this operation's own changes included. Its line is verified.
    pub fn root(&self, word: RootWord) -> Result<u64> {
        Ok(self.line(word.line())?.1.words[word.place()])
    }

    /// Changes a word in both roots.
    pub fn set_root(&mut self, word: RootWord, value: u64) -> Result {
        let (found, mut line) = self.line(word.line())?;
        if line.words[word.place()] == value {
            return Ok(());
        }
        if !self.lines.contains_key(&word.line()) {
            self.take_room(root::LINE_WORDS as u64 * ENTRY_BYTES)?;
        }
        line.words[word.place()] = value;
        self.lines.insert(word.line(), (found, line));
        Ok(())
    }

    /// Changes a sealed word of the root.
    pub fn set_head(&mut self, word: RootWord, value: u64) -> Result {
        self.set_root(word, self.log.salt().place(word.offset()).close(value))
    }

    /// A line of the root, as it was and as it will be.
    fn line(&self, number: u64) -> Result<(root::Found, Line)> {
        if let Some(line) = self.lines.get(&number) {
            return Ok(*line);
        }
        let found = self.log.roots.line(number, |at, into| self.read_run(at, into))?;
        Ok((found, found.line))
    }

    /// Gives whole lines of a data frame these bytes. The caller holds the frame's exclusive latch until the record is
    /// applied.
    pub fn lines(&mut self, offset: u64, bytes: Box<[u8]>) -> Result {
        let entry = Entry::Lines(offset, bytes);
        self.take_room(entry.bytes() as u64)?;
        self.entries.push(entry);
        Ok(())
    }

    /// As [`lines`](Self::lines), for the lines in a payload, which must be durable.
    pub fn payload(&mut self, extent: Extent) -> Result {
        self.take_room(ENTRY_BYTES)?;
        self.entries.push(Entry::Payload(extent));
        Ok(())
    }

    /// States that the record carries bytes of this data frame.
    pub fn images(&mut self, frame: FrameNo) {
        self.images.push(frame);
    }

    /// States that the record links frames, or uncovers bytes, that were stored before: they become durable before it.
    pub fn publishes(&mut self) {
        self.publishes = !self.log.rules.broken(Rule::SizeFirst);
    }

    /// The number this operation's record will have.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// The last record that a past mark, or one in progress, covers. After a power loss, later records are there only
    /// together with this operation's.
    #[must_use]
    pub fn noted(&self) -> Sequence {
        self.noted
    }

    /// The log that the operation belongs to.
    pub(crate) fn log(&self) -> &Log {
        self.log
    }

    /// How many more changes the record has room for.
    #[must_use]
    pub fn room(&self) -> usize {
        (self.bytes_left / ENTRY_BYTES) as usize
    }

    fn take_room(&mut self, bytes: u64) -> Result {
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or_else(|| {
            Error::Invalid("the operation changes more than a record of this log can hold".to_owned())
        })?;
        Ok(())
    }
}
