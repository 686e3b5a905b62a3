//! Recovery of logs that no real owner would write: records of any content, with right or wrong chains and check sums,
//! behind any header and lease.
//!
//! The expected result is computed in `redo`.

use crate::anatomy::Anatomy;
use crate::edit::{Base, Edit};
use crate::fixture;
use crate::format::{cursor, mend_sector, roots, salt, set_word, word};
use crate::lives;
use crate::redo::{self, Entry, LOG, RING, Valid, assert_same, recovered};
use crate::session::{Act, Session};
use crate::{Many, decode};
use arbitrary::Arbitrary;
use pagestone::Error;
use pagestone::media::layout::{CURSOR_OFFSET, LEASE_OFFSET, LOG_HEADER_OFFSETS};
use pagestone::units::FRAME_SIZE;
use std::collections::BTreeMap;

/// Bytes of a record without entries.
const BARE: usize = 48;

#[derive(Arbitrary, Debug)]
struct Input {
    base: Base,
    tail: Tail,
    lease: Lease,
    /// The number of records that were stored home before the crash.
    applied: u8,
    records: Many<Record>,
    acts: Many<Act>,
}

#[derive(Arbitrary, Debug)]
struct Tail {
    counter: Number,
    epoch: u64,
    sequence: Number,
    predecessor: u32,
    position: Number,
}

/// A number: mostly a small one, sometimes one at the end of its range.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Number {
    Small(u16),
    Huge(u8),
    Any(u64),
}

impl Number {
    fn get(self) -> u64 {
        match self {
            Self::Small(n) => n.into(),
            Self::Huge(n) => u64::MAX - u64::from(n),
            Self::Any(n) => n,
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Lease {
    /// The image's own.
    Left,
    /// This file on this boot, and this log: the page cache is still there.
    Alive,
    /// The same, after a flush that failed.
    Failed,
    /// Another boot.
    Elsewhere,
    /// An older log.
    Older,
    Torn,
}

#[derive(Arbitrary, Debug)]
struct Record {
    content: Content,
    flaw: Flaw,
}

#[derive(Arbitrary, Debug)]
enum Content {
    /// The changes that make an edited image of this one.
    Edits(Many<Edit>),
    /// Words anywhere.
    Words(Many<(u32, u64)>),
    Zero(u16),
    /// An empty node.
    Node {
        frame: u16,
        tree: u8,
        prefix: u16,
        level: u8,
    },
    /// Words of the roots, without regard to the sums of their lines.
    Root(Many<(u16, u64)>),
    /// A mark that covers all records so far except the last few.
    Mark(u8),
    MarkAny(u64),
    /// Entries of any bytes.
    Garbage(Many<[u64; 2]>),
    /// Bytes of frames, as a small batch logs them.
    Lines(Many<Piece>),
    /// The same in frames of their own, as a large one does.
    Payload {
        frame: u8,
        pieces: Many<Piece>,
        rotten: u8,
    },
}

/// Lines of one frame.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Piece {
    frame: u8,
    first: u8,
    count: u8,
    byte: u8,
}

impl Piece {
    /// An entry. A frame may lie just behind the region, and lines, rarely, behind their frame.
    fn words(self, frames: u64) -> Vec<u64> {
        let at = u64::from(self.frame) % (frames + 2) * FRAME_SIZE as u64 + u64::from(self.first % 64) * 64;
        let room = if self.count > 250 { 64 } else { 64 - self.first % 64 };
        let count = u64::from(self.count % 9 % room);
        let mut words = vec![3 << 56 | at | count];
        words.resize(1 + 8 * (count as usize + 1), u64::from_le_bytes([self.byte; 8]));
        words
    }
}

/// What is wrong with a record.
#[derive(Arbitrary, Clone, Copy, PartialEq, Eq, Debug)]
enum Flaw {
    None,
    NoneEither,
    Epoch,
    Sequence,
    Predecessor,
    Checksum,
    Length(u16),
    Kind(u8),
    Count(u8),
}

/// Writes records into the image, and keeps those that form a chain.
struct Writer<'a> {
    image: &'a mut Vec<u8>,
    anatomy: &'a Anatomy,
    /// The image after the records so far.
    ahead: Vec<u8>,
    epoch: u64,
    sequence: u64,
    predecessor: u32,
    position: u64,
    written: u64,
    /// Whether the chain has held so far.
    whole: bool,
    valid: Vec<Valid>,
}

impl Writer<'_> {
    fn write(&mut self, record: &Record) {
        let (kind, covers, entries) = self.content(&record.content);
        let words = entries.concat();
        let mut bytes = vec![0; BARE - 8];
        let flawed = |flaw: Flaw, n: u64| if record.flaw == flaw { n ^ 1 } else { n };
        set_word(&mut bytes, 0, flawed(Flaw::Epoch, self.epoch));
        set_word(&mut bytes, 8, flawed(Flaw::Sequence, self.sequence));
        set_word(&mut bytes, 16, flawed(Flaw::Predecessor, self.predecessor.into()));
        let (mut count, mut kind) = (entries.len() as u32, kind);
        words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        match record.flaw {
            Flaw::Kind(n) => kind = n.into(),
            Flaw::Count(n) => count = n.into(),
            _ => (),
        }
        let len = bytes.len() as u32 + 8;
        let claimed = if let Flaw::Length(n) = record.flaw { u32::from(n) * 8 } else { len };
        bytes[20..24].copy_from_slice(&claimed.to_le_bytes());
        bytes[24..28].copy_from_slice(&kind.to_le_bytes());
        bytes[28..32].copy_from_slice(&count.to_le_bytes());
        set_word(&mut bytes, 32, covers.unwrap_or(0));
        let sum = crc32c::crc32c(&bytes);
        let stored = if record.flaw == Flaw::Checksum { sum ^ 0x100 } else { sum };
        bytes.extend_from_slice(&stored.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        if self.written + bytes.len() as u64 > RING {
            self.whole = false;
            return;
        }
        for (n, byte) in bytes.iter().enumerate() {
            self.image[LOG.start + (self.position.wrapping_add(n as u64) % RING) as usize] = *byte;
        }
        let read = kind == 1 || (kind == 2 && words.is_empty());
        let unknown = |entries: &[Entry]| kind == 1 && matches!(entries.last(), Some(Entry::Unknown));
        let entries = redo::entries(&words)
            .filter(|entries| read && (entries.len() == count as usize || unknown(entries)));
        let flawless = match record.flaw {
            Flaw::None | Flaw::NoneEither | Flaw::Kind(_) | Flaw::Count(_) => true,
            Flaw::Length(_) => claimed == len,
            _ => false,
        };
        self.whole &= flawless && entries.is_some() && bytes.len() as u64 <= RING / 4;
        if let (true, Some(entries)) = (self.whole, entries) {
            let covers = (kind == 2).then(|| word(&bytes, 32));
            self.whole = !unknown(&entries);
            self.valid.push(Valid { sequence: self.sequence, covers, entries });
        }
        self.written += bytes.len() as u64;
        self.position = self.position.wrapping_add(bytes.len() as u64);
        self.sequence = self.sequence.wrapping_add(1);
        self.predecessor = sum;
    }

    /// Edits the image after the records so far. Returns the words that have changed.
    fn edit(&mut self, edits: &[Edit]) -> Vec<(u64, u64)> {
        let mut before = BTreeMap::new();
        for edit in edits {
            // The check sum over a word lies in the same sector.
            let Some(at) = edit.place(self.ahead.len(), self.anatomy).map(|place| place.at & !511) else {
                continue;
            };
            before.entry(at).or_insert_with(|| self.ahead[at..at + 512].to_vec());
            edit.apply(&mut self.ahead, self.anatomy);
        }
        let words =
            before.iter().flat_map(|(at, old)| (0..512).step_by(8).map(move |n| (at + n, word(old, n))));
        let changed = words.map(|(at, old)| (at as u64, old, word(&self.ahead, at)));
        changed.filter(|(_, old, new)| old != new).map(|(at, _, new)| (at, new)).collect()
    }

    /// Kind, what a mark covers, entries as words.
    fn content(&mut self, content: &Content) -> (u32, Option<u64>, Vec<Vec<u64>>) {
        let change = |(at, value): (u64, u64)| vec![1 << 56 | at, value];
        match content {
            Content::Edits(edits) => {
                let (changed, [first, second]) = (self.edit(&edits.0), roots(self.image));
                let in_frame = |root: usize, at: u64| (root..root + FRAME_SIZE).contains(&(at as usize));
                // The second root is changed like the first.
                let changed = changed.into_iter().filter(|(at, _)| !in_frame(second, *at));
                let change = |(at, value): (u64, u64)| match in_frame(first, at) {
                    true => vec![6 << 56 | (at - first as u64), value],
                    false => change((at, value)),
                };
                (1, None, changed.map(change).collect())
            }
            Content::Node { frame, tree, prefix, level } => {
                let at = u64::from(*frame) * FRAME_SIZE as u64;
                let (prefix, level) = (u64::from(*prefix) << 9, u64::from(level % 5));
                let first = if *tree == 0 { 0 } else { prefix << 3 | level };
                (1, None, vec![vec![5 << 56 | at, (*tree).into(), first]])
            }
            Content::Root(words) => (
                1,
                None,
                words.0.iter().map(|(n, value)| vec![(6 << 56) | (u64::from(*n) * 8), *value]).collect(),
            ),
            Content::Words(words) => {
                (1, None, words.0.iter().map(|(at, value)| change((u64::from(*at) * 8, *value))).collect())
            }
            Content::Zero(frame) => {
                (1, None, vec![vec![(2 << 56) | (u64::from(*frame) * FRAME_SIZE as u64)]])
            }
            Content::Mark(back) => (2, Some(self.sequence.wrapping_sub(1 + u64::from(*back))), vec![]),
            Content::MarkAny(covers) => (2, Some(*covers), vec![]),
            Content::Garbage(words) => (1, None, words.0.iter().map(|pair| pair.to_vec()).collect()),
            Content::Lines(pieces) => (1, None, self.lines(&pieces.0)),
            Content::Payload { frame, pieces, rotten } => {
                (1, None, vec![self.payload((*frame).into(), &pieces.0, *rotten)])
            }
        }
    }

    fn lines(&self, pieces: &[Piece]) -> Vec<Vec<u64>> {
        pieces.iter().map(|piece| piece.words(self.anatomy.frames)).collect()
    }

    /// Writes a payload, if it lies in frames that may hold data, and returns the entry that names it.
    fn payload(&mut self, frame: u64, pieces: &[Piece], rotten: u8) -> Vec<u64> {
        let at = frame % (self.anatomy.frames + 2) * FRAME_SIZE as u64;
        let bytes: Vec<u8> = self.lines(pieces).concat().iter().flat_map(|word| word.to_le_bytes()).collect();
        let room = at as usize..at as usize + bytes.len().next_multiple_of(FRAME_SIZE);
        let (mut len, mut sum) = (bytes.len() as u32, crc32c::crc32c(&bytes));
        match rotten % 8 {
            1 => sum ^= 1,
            2 => len ^= 8,
            3 => len = u32::MAX,
            _ => (),
        }
        if redo::ordinary(at, self.image.len()) && redo::ordinary(room.end as u64 - 1, self.image.len()) {
            for image in [&mut *self.image, &mut self.ahead] {
                image[room.start..room.start + bytes.len()].copy_from_slice(&bytes);
            }
        }
        vec![4 << 56 | at, u64::from(sum) << 32 | u64::from(len)]
    }
}

impl Input {
    /// The image, the records in it that form a chain, and the last one whose homes are stored by the cursor's word.
    fn build(&self) -> (Vec<u8>, Vec<Valid>, u64) {
        let mut image = self.base.image();
        let ahead = image.clone();
        image[LOG].fill(0);
        self.header(&mut image);
        self.lease(&mut image);
        let applied = self.tail.sequence.get().wrapping_add(self.applied.into()).wrapping_sub(1);
        let bound = cursor(salt(&image), self.tail.epoch, applied);
        set_word(&mut image, CURSOR_OFFSET as usize, bound);
        let mut writer = Writer {
            image: &mut image,
            anatomy: self.base.anatomy(),
            ahead,
            epoch: self.tail.epoch,
            sequence: self.tail.sequence.get(),
            predecessor: self.tail.predecessor,
            position: self.tail.position.get(),
            written: 0,
            whole: true,
            valid: Vec::new(),
        };
        self.records.0.iter().for_each(|record| writer.write(record));
        let valid = writer.valid;
        (image, valid, applied)
    }

    fn header(&self, image: &mut [u8]) {
        for at in LOG_HEADER_OFFSETS.map(|at| at as usize) {
            set_word(image, at + 8, self.tail.counter.get());
            set_word(image, at + 16, self.tail.epoch);
            set_word(image, at + 24, self.tail.sequence.get());
            set_word(image, at + 32, self.tail.predecessor.into());
            set_word(image, at + 40, self.tail.position.get());
            mend_sector(image, at);
        }
    }

    fn lease(&self, image: &mut [u8]) {
        let at = LEASE_OFFSET as usize;
        let identity = fixture::IDENTITY;
        let mut boot = identity.boot;
        let (mut state, mut epoch) = (2, self.tail.epoch);
        match self.lease {
            Lease::Left => return,
            Lease::Alive | Lease::Torn => (),
            Lease::Failed => state = 3,
            Lease::Elsewhere => boot[0] ^= 1,
            Lease::Older => epoch ^= 1,
        }
        image[at..at + 8].copy_from_slice(b"PGSLEASE");
        set_word(image, at + 8, state);
        set_word(image, at + 32, epoch);
        image[at + 48..at + 64].copy_from_slice(&boot);
        set_word(image, at + 64, identity.device);
        set_word(image, at + 72, identity.inode);
        set_word(image, at + 80, identity.mount);
        mend_sector(image, at);
        if matches!(self.lease, Lease::Torn) {
            image[at + 100] ^= 1;
        }
    }

    /// Whether the last owner's page cache is still there.
    fn survived(&self, image: &[u8]) -> bool {
        let left = matches!(self.lease, Lease::Left) && {
            let at = LEASE_OFFSET as usize;
            let open = word(image, at + 8) as u32 == 2 && word(image, at + 32) == self.tail.epoch;
            open && image[at + 48..at + 64] == fixture::IDENTITY.boot
        };
        left || matches!(self.lease, Lease::Alive)
    }
}

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let Some(input) = decode::<Input>(bytes) else { return };
    let (image, valid, applied) = input.build();
    let (expected, replayed) = recovered(&image, valid, input.survived(&image).then_some(applied));
    let reader = lives::options().read_only(true).open_image(image.clone());
    let writer = lives::options().open_image(image);
    let Some(expected) = expected else {
        assert!(reader.is_err() && writer.is_err(), "a record that no owner writes was replayed");
        return;
    };
    if let Ok(reader) = reader {
        assert_eq!(reader.stats().log_recovered, replayed, "operations replayed");
        assert_same(&lives::killed(&reader), &expected, "a reader");
        let report = reader.check();
        drop(reader);
        let clean = report.is_ok_and(|report| report.is_clean());
        match writer {
            Err(error) => assert!(!clean, "check finds nothing, and opening says: {error}"),
            Ok(writer) => {
                assert_same(&lives::killed(&writer), &expected, "a writer");
                recovers_once(lives::killed(&writer), &expected);
                Session::new(writer, clean).run(&input.acts.0);
            }
        }
    } else if let Ok(writer) = writer {
        panic!("only a writer can open this: {:?}", writer.info());
    }
}

/// Asserts that the opening after a recovery finds nothing left to do.
fn recovers_once(image: Vec<u8>, expected: &[u8]) {
    match lives::options().open_image(image) {
        Ok(store) => {
            assert_eq!(store.stats().log_recovered, 0, "recovered twice");
            assert_same(&lives::killed(&store), expected, "the next one");
        }
        Err(error @ Error::NoSpace { .. }) => panic!("{error}"),
        Err(error) => panic!("recovery left what cannot be opened: {error}"),
    }
}
