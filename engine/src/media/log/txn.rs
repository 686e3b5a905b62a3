//! One operation: what it reads and what its record will say, while the append lock is held.

use super::Log;
use super::record::{ENTRY_BYTES_MAX, Entry, Extent, Sequence};
use super::shadow::place_of;
use crate::error::{Error, Result};
use crate::media::rules::Rule;
use crate::units::FrameNo;
use std::collections::{BTreeMap, HashMap, HashSet};

/// One operation being built, under the append lock.
pub struct Txn<'a> {
    log: &'a Log,
    sequence: Sequence,
    entries: Vec<Entry>,
    /// What it changes, by frame.
    changed: HashMap<FrameNo, Fresh>,
    /// Data frames of which the record carries bytes.
    images: Vec<FrameNo>,
    /// Bitmaps and frames of the table of groups that it changes.
    of_groups: HashSet<FrameNo>,
    /// Where tallies of groups lie that it changes.
    tallies: HashSet<u64>,
    bytes_left: u64,
    publishes: bool,
    noted: Sequence,
}

/// What an operation came to.
pub(super) struct Built {
    /// Its record's entries.
    pub(super) entries: Vec<Entry>,
    /// Data frames of which the record carries bytes.
    pub(super) images: Vec<FrameNo>,
    /// Bitmaps and frames of the table of groups that it changes.
    pub(super) of_groups: HashSet<FrameNo>,
    /// Words that a record behind this one changes: none, but for a broken rule.
    pub(super) apart: Vec<Entry>,
    pub(super) publishes: bool,
}

/// What an operation changes of one frame.
#[derive(Default)]
struct Fresh {
    zeroed: bool,
    /// Its new words by their places, and where in the operation's entries each stands.
    words: BTreeMap<u16, (u64, usize)>,
}

impl<'a> Txn<'a> {
    /// An operation that has changed nothing, and whose record will have this number.
    pub(super) fn new(log: &'a Log, sequence: Sequence, noted: Sequence) -> Self {
        Self {
            log,
            sequence,
            entries: Vec::new(),
            changed: HashMap::new(),
            images: Vec::new(),
            of_groups: HashSet::new(),
            tallies: HashSet::new(),
            bytes_left: log.record_room(),
            publishes: false,
            noted,
        }
    }

    /// Its end.
    pub(super) fn built(self) -> Built {
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
            if fresh.zeroed {
                return Ok(0);
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
        if fresh.is_some_and(|fresh| fresh.zeroed) {
            into.fill(0);
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

    /// Changes the word at byte `offset`. A word that stays as it is costs nothing.
    pub fn write(&mut self, offset: u64, value: u64) -> Result {
        if self.read(offset)? == value {
            return Ok(());
        }
        let (frame, place) = place_of(offset)?;
        let here = self.changed.get(&frame).and_then(|fresh| fresh.words.get(&place)).map(|&(_, at)| at);
        let at = match here {
            Some(at) => at,
            None => {
                self.take_room(ENTRY_BYTES_MAX)?;
                self.entries.push(Entry::Word(offset, value));
                self.entries.len() - 1
            }
        };
        self.entries[at] = Entry::Word(offset, value);
        self.changed.entry(frame).or_default().words.insert(place, (value, at));
        Ok(())
    }

    /// Makes a frame all zero: a new map node or table. Nothing of it may have been changed before.
    pub fn zero(&mut self, frame: FrameNo) -> Result {
        self.take_room(ENTRY_BYTES_MAX)?;
        self.changed.entry(frame).or_default().zeroed = true;
        self.entries.push(Entry::Zero(frame));
        Ok(())
    }

    /// As [`write`](Self::write), a word of a bitmap or of the table of groups.
    pub(crate) fn write_of_groups(&mut self, offset: u64, value: u64) -> Result {
        self.of_groups.insert(place_of(offset)?.0);
        self.write(offset, value)
    }

    /// As [`write_of_groups`](Self::write_of_groups), the tally of a group.
    pub(crate) fn write_tally(&mut self, offset: u64, value: u64) -> Result {
        self.tallies.insert(offset);
        self.write_of_groups(offset, value)
    }

    /// As [`zero`](Self::zero), a new bitmap or frame of the table of groups.
    pub(crate) fn zero_of_groups(&mut self, frame: FrameNo) -> Result {
        self.of_groups.insert(frame);
        self.zero(frame)
    }

    /// Gives whole lines of a data frame these bytes. The caller holds the frame's exclusive latch until the record is
    /// applied.
    pub fn lines(&mut self, offset: u64, bytes: Box<[u8]>) -> Result {
        let entry = Entry::Lines(offset, bytes);
        self.take_room(entry.bytes() as u64)?;
        self.entries.push(entry);
        Ok(())
    }

    /// As [`lines`](Self::lines), for those in a payload, which is durable.
    pub fn payload(&mut self, extent: Extent) -> Result {
        self.take_room(ENTRY_BYTES_MAX)?;
        self.entries.push(Entry::Payload(extent));
        Ok(())
    }

    /// Says that the record carries bytes of this data frame.
    pub fn images(&mut self, frame: FrameNo) {
        self.images.push(frame);
    }

    /// Says that the record links frames or uncovers bytes that were stored before: they become durable before it.
    pub fn publishes(&mut self) {
        self.publishes = !self.log.rules.broken(Rule::SizeFirst);
    }

    /// The number this operation's record will have.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// The last record that a mark in progress, or a past one, covers: no crash shows what came later and before this.
    #[must_use]
    pub fn noted(&self) -> Sequence {
        self.noted
    }

    /// The log it is of.
    pub(crate) fn log(&self) -> &Log {
        self.log
    }

    /// How many more changes the record has room for.
    #[must_use]
    pub fn room(&self) -> usize {
        (self.bytes_left / ENTRY_BYTES_MAX) as usize
    }

    fn take_room(&mut self, bytes: u64) -> Result {
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or_else(|| {
            Error::Invalid("the operation changes more than a record of this log can hold".to_owned())
        })?;
        Ok(())
    }
}
