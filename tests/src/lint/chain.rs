//! The log as it is written: what each record publishes and changes, and whether all of that happens in the right order.

use super::Findings;
use super::frames::Frames;
use super::lines::{Lines, OpId};
use crate::crash::place;
use pagestone::media::layout::{
    CURSOR_OFFSET, LOG_FRAME, LOG_HEADER_OFFSETS, ROOT_FRAMES, SECTOR_SIZE, WORD_SIZE,
};
use pagestone::media::log::record::{Content, Entry, MARK_BYTES, Sequence, decode};
use pagestone::units::{Durability, FRAME_SIZE};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ops::Range;

/// A store, and the thread that makes it.
#[derive(Clone, Copy)]
pub struct Stored<'a> {
    /// The recorder's number of the thread.
    pub thread: u32,
    /// What it is doing.
    pub op: Option<OpId>,
    /// Where.
    pub offset: u64,
    /// What.
    pub bytes: &'a [u8],
}

/// A record that no durable mark covers yet.
struct Record {
    at: usize,
    op: Option<OpId>,
    /// Frames it gives to data.
    links: Vec<u32>,
}

/// A mark that may not be durable yet.
struct Mark {
    at: usize,
    covers: Sequence,
}

/// The log of a run.
pub struct Chain {
    class: Durability,
    log: Range<u64>,
    /// Per thread: a record that goes around the log's end, of which only the first part is stored yet.
    halves: HashMap<u32, Vec<u8>>,
    records: BTreeMap<Sequence, Record>,
    marks: Vec<Mark>,
    /// All records up to here are under a durable mark.
    committed: Sequence,
    /// Homes that are still to be stored, by offset and length, with the records that change them.
    targets: HashMap<(u64, u64), VecDeque<Sequence>>,
    /// Threads that have stored a mark and not yet the cursor. What they store meanwhile are homes, for any operation.
    applying: HashSet<u32>,
    /// Homes that were stored since the tail moved, with the event and the length.
    homes: HashMap<u64, (usize, u64)>,
}

impl Chain {
    /// Nothing is appended yet.
    pub fn new(class: Durability, log_frames: u32) -> Self {
        Self {
            class,
            log: place::log_range(log_frames),
            halves: HashMap::new(),
            records: BTreeMap::new(),
            marks: Vec::new(),
            committed: Sequence(0),
            targets: HashMap::new(),
            applying: HashSet::new(),
            homes: HashMap::new(),
        }
    }

    /// Bytes are about to be stored.
    pub fn store(&mut self, stored: Stored<'_>, lines: &Lines, frames: &mut Frames, findings: &mut Findings) {
        let Stored { offset, bytes, .. } = stored;
        if self.log.contains(&offset) {
            if let Some((sequence, content)) = self.record(stored.thread, offset, bytes) {
                match content {
                    Content::Changes(entries) => {
                        self.append(sequence, &entries, stored.op, lines, frames, findings);
                    }
                    Content::Mark(covers) => {
                        self.applying.insert(stored.thread);
                        self.append_mark(covers, lines, findings);
                    }
                }
            }
        } else if LOG_HEADER_OFFSETS.contains(&offset) && bytes.len() == SECTOR_SIZE {
            self.tail_moves(lines, findings);
        } else {
            if offset == CURSOR_OFFSET {
                self.applying.remove(&stored.thread);
            }
            self.home(offset, bytes.len() as u64, lines, findings);
        }
    }

    /// Whether the thread is storing homes. Then its own operation does not tell whose bytes they are.
    pub fn is_applying(&self, thread: u32) -> bool {
        self.applying.contains(&thread)
    }

    /// Records that no durable mark covers, with the operations that appended them.
    pub fn uncommitted(&mut self, lines: &Lines) -> impl Iterator<Item = (Sequence, OpId)> {
        self.note_marks(lines);
        self.records.iter().filter_map(|(sequence, record)| Some((*sequence, record.op?)))
    }

    /// The record that these bytes make complete.
    fn record(&mut self, thread: u32, offset: u64, bytes: &[u8]) -> Option<(Sequence, Content)> {
        let mut whole =
            self.halves.remove(&thread).filter(|_| offset == LOG_FRAME.offset()).unwrap_or_default();
        whole.extend_from_slice(bytes);
        if let Ok((content, _)) = decode(&whole) {
            let sequence = whole.get(8..16)?.try_into().ok().map(u64::from_le_bytes)?;
            return Some((Sequence(sequence), content));
        }
        if offset + bytes.len() as u64 == self.log.end && whole.len() as u64 >= WORD_SIZE.min(MARK_BYTES) {
            self.halves.insert(thread, whole);
        }
        None
    }

    fn append(
        &mut self,
        sequence: Sequence,
        entries: &[Entry],
        op: Option<OpId>,
        lines: &Lines,
        frames: &mut Frames,
        findings: &mut Findings,
    ) {
        let links = frames.append(entries, findings.at);
        for frame in links.iter().filter(|frame| !frames.is_filled(**frame)) {
            let why = format!("record {} links it, not all of its bytes were stored before", sequence.0);
            findings.add("unwritten-publish", u64::from(*frame) * FRAME_SIZE as u64, why);
        }
        if self.class == Durability::CacheLine {
            check_links(&links, findings.at, &format!("record {}", sequence.0), lines, findings);
        }
        for entry in entries {
            let homes = match *entry {
                Entry::Word(offset, _) => vec![(offset, WORD_SIZE)],
                Entry::Root(offset, _) => ROOT_FRAMES.map(|root| (root.offset() + offset, WORD_SIZE)).into(),
                Entry::Zero(frame) | Entry::Node(frame, _) => vec![(frame.offset(), FRAME_SIZE as u64)],
                // The homes of a batch.
                Entry::Lines(..) | Entry::Payload(_) => continue,
            };
            for home in homes {
                self.targets.entry(home).or_default().push_back(sequence);
            }
        }
        self.records.insert(sequence, Record { at: findings.at, op, links });
    }

    fn append_mark(&mut self, covers: Sequence, lines: &Lines, findings: &mut Findings) {
        if self.class == Durability::Fdatasync {
            for record in self.records.range(..=covers).map(|(_, record)| record) {
                check_links(&record.links, record.at, "a mark", lines, findings);
            }
        }
        self.marks.push(Mark { at: findings.at, covers });
    }

    /// Bytes outside the log are about to be stored. If they are a home, it is that of the oldest record that waits for it.
    fn home(&mut self, offset: u64, len: u64, lines: &Lines, findings: &mut Findings) {
        if !self.targets.contains_key(&(offset, len)) {
            return;
        }
        self.note_marks(lines);
        let Some(waiting) = self.targets.get_mut(&(offset, len)) else { return };
        if let Some(sequence) = waiting.pop_front().filter(|sequence| *sequence > self.committed) {
            let why = format!("record {} changes it, and no durable mark covers that", sequence.0);
            findings.add("early-home", offset, why);
        }
        if waiting.is_empty() {
            self.targets.remove(&(offset, len));
        }
        self.homes.insert(offset, (findings.at, len));
    }

    /// The log's header is about to be stored: the homes of the records that the tail passes must be durable.
    fn tail_moves(&mut self, lines: &Lines, findings: &mut Findings) {
        for (offset, (at, len)) in self.homes.drain() {
            if lines.open_in(offset..offset + len).any(|(_, open)| open.at == at) {
                findings.add("early-tail", offset, "the log's tail moves, and this home is not durable");
            }
        }
    }

    /// Notes which marks have become durable, with all the log before them.
    fn note_marks(&mut self, lines: &Lines) {
        let oldest = lines.open_in(self.log.clone()).map(|(_, open)| open.at).min().unwrap_or(usize::MAX);
        let durable = self.marks.iter().filter(|mark| mark.at < oldest).map(|mark| mark.covers).max();
        self.committed = self.committed.max(durable.unwrap_or(Sequence(0)));
        self.marks.retain(|mark| mark.at >= oldest);
        self.records = self.records.split_off(&self.committed.next());
    }
}

/// All that was stored to published frames before their record must be durable.
fn check_links(links: &[u32], record_at: usize, by: &str, lines: &Lines, findings: &mut Findings) {
    for frame in links.iter().map(|frame| u64::from(*frame) * FRAME_SIZE as u64) {
        let mut open =
            lines.open_in(frame..frame + FRAME_SIZE as u64).filter(|(_, open)| open.at < record_at);
        if let Some((offset, open)) = open.next() {
            let why = format!("{by} publishes the frame, and the store of event {} is not durable", open.at);
            findings.add("unfenced-publish", offset, why);
        }
    }
}
