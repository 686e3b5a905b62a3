//! What recovery must make of a log. It is computed from the description of the log, without the engine.

use crate::format::{empty_node, roots, roots_are_whole, salt, set_word, word};
use pagestone::media::layout::{FIRST_MOVABLE, LOG_FRAME, LOG_FRAMES_MIN, is_of_format};
use pagestone::units::{FRAME_SIZE, FrameNo};
use std::collections::BTreeSet;
use std::ops::Range;

/// Bytes of the log.
pub const RING: u64 = LOG_FRAMES_MIN as u64 * FRAME_SIZE as u64;
/// Where it lies.
pub const LOG: Range<usize> = LOG_FRAME.offset() as usize..LOG_FRAME.offset() as usize + RING as usize;
/// Most bytes of a payload.
const PAYLOAD_MAX: usize = 256 * FRAME_SIZE;

/// A record that recovery may take.
pub struct Valid {
    /// Its number.
    pub sequence: u64,
    /// For a mark: the last record that it covers.
    pub covers: Option<u64>,
    /// What it changes.
    pub entries: Vec<Entry>,
}

/// One change: a byte offset, and what comes there.
pub enum Entry {
    Word(u64, u64),
    Zero(u64),
    Lines(u64, Vec<u8>),
    /// Lines that lie in these bytes, which have this sum.
    Payload(u64, u32, u32),
    /// An empty node, by its tree and its first word.
    Node(u64, u64, u64),
    /// A word of both roots.
    Root(u64, u64),
    /// An entry of a kind that is not known, which no opening may accept. It is the last one of its record.
    Unknown,
}

/// Decodes the words of a record's entries; `None` if they have no meaning. An entry of a kind that is not known is the
/// last one.
pub fn entries(mut words: &[u64]) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    while let Some((head, rest)) = words.split_first() {
        let at = head & ((1 << 56) - 1);
        let frame = at % FRAME_SIZE as u64 == 0 && at / (FRAME_SIZE as u64) <= u32::MAX.into();
        let (entry, taken) = match head >> 56 {
            1 if at % 8 == 0 => (Entry::Word(at, *rest.first()?), 1),
            2 if frame => (Entry::Zero(at), 0),
            3 => {
                let (first, count) = (at / 64 * 64, at as usize % 64 + 1);
                let bytes: Vec<u8> =
                    rest.get(..count * 8)?.iter().flat_map(|word| word.to_le_bytes()).collect();
                if first as usize % FRAME_SIZE + bytes.len() > FRAME_SIZE {
                    return None;
                }
                (Entry::Lines(first, bytes), count * 8)
            }
            4 if frame => {
                let word = *rest.first()?;
                (Entry::Payload(at, word as u32, (word >> 32) as u32), 1)
            }
            5 if frame => {
                let (tree, first) = (*rest.first()?, *rest.get(1)?);
                let (prefix, level) = (first >> 3, first & 7);
                if (tree == 0 && first != 0) || level > 3 || prefix % 512 != 0 || prefix >> 36 != 0 {
                    return None;
                }
                (Entry::Node(at, tree, first), 2)
            }
            6 if at % 8 == 0 && at < FRAME_SIZE as u64 => (Entry::Root(at, *rest.first()?), 1),
            1..=6 => return None,
            _ => {
                entries.push(Entry::Unknown);
                return Some(entries);
            }
        };
        entries.push(entry);
        words = &rest[taken..];
    }
    Some(entries)
}

/// Whether the bytes lie in frames that may hold data: not in the fixed frames, nor in the spare frame at the end.
pub fn ordinary(at: u64, len: usize) -> bool {
    let frame = at / FRAME_SIZE as u64;
    let inside = frame + 1 < (len / FRAME_SIZE) as u64;
    inside && u32::try_from(frame).is_ok_and(|frame| !is_of_format(FrameNo(frame), LOG_FRAMES_MIN))
}

/// The lines in a payload; `None` if it is not valid.
fn payload(image: &[u8], at: u64, bytes: u32, sum: u32) -> Option<Vec<(u64, Vec<u8>)>> {
    let bytes =
        image.get(at as usize..at as usize + bytes as usize).filter(|_| bytes as usize <= PAYLOAD_MAX)?;
    if crc32c::crc32c(bytes) != sum || bytes.len() % 8 != 0 {
        return None;
    }
    let words: Vec<u64> = (0..bytes.len()).step_by(8).map(|at| word(bytes, at)).collect();
    let lines = entries(&words)?.into_iter().map(|entry| match entry {
        Entry::Lines(at, bytes) => Some((at, bytes)),
        _ => None,
    });
    lines.collect()
}

/// Frames that records change: as structures, and as data.
#[derive(Default)]
struct Targets {
    structures: BTreeSet<u64>,
    data: BTreeSet<u64>,
}

impl Targets {
    /// Whether a record may have this entry.
    fn lawful(&mut self, image: &[u8], entry: &Entry, accepted: bool) -> bool {
        let (at, bytes) = match entry {
            Entry::Word(at, _) => {
                self.structures.insert(at / FRAME_SIZE as u64);
                (*at, 8)
            }
            Entry::Zero(at) => (*at, FRAME_SIZE),
            Entry::Node(at, ..) => {
                self.structures.insert(at / FRAME_SIZE as u64);
                (*at, FRAME_SIZE)
            }
            Entry::Root(..) => return true,
            Entry::Unknown => return false,
            Entry::Lines(at, _) => return self.lines(*at, image.len()),
            // The payload of a record that is not replayed is not read.
            Entry::Payload(..) if !accepted => return true,
            Entry::Payload(at, bytes, sum) => {
                let frames = (0..u64::from(*bytes)).step_by(FRAME_SIZE).map(|n| at + n);
                let inside = frames.take(1024).all(|at| ordinary(at, image.len()));
                let Some(lines) = payload(image, *at, *bytes, *sum) else { return false };
                return inside && lines.iter().all(|(at, _)| self.lines(*at, image.len()));
            }
        };
        let root = roots(image).iter().any(|root| (*root..root + FRAME_SIZE).contains(&(at as usize)));
        let inside = at as usize + bytes <= image.len() && at >= FIRST_MOVABLE.offset();
        inside && !root && !LOG.contains(&(at as usize))
    }

    fn lines(&mut self, at: u64, len: usize) -> bool {
        self.data.insert(at / FRAME_SIZE as u64);
        ordinary(at, len)
    }
}

/// What recovery must make of the image (`None` if it must refuse it), and how many operations it replays. After the
/// death of a process, `stored` is the last record whose homes are stored.
pub fn recovered(image: &[u8], mut records: Vec<Valid>, stored: Option<u64>) -> (Option<Vec<u8>>, u64) {
    if records.iter().any(|record| matches!(record.entries.last(), Some(Entry::Unknown))) {
        return (None, 0);
    }
    let death = stored.is_some();
    let covered = records.iter().filter_map(|record| record.covers).max().unwrap_or(0);
    if !death {
        let last = records.iter().rposition(|record| record.covers.is_some());
        records.truncate(last.map_or(0, |last| last + 1));
    }
    let cursor = stored.unwrap_or(0);
    let accepted = |record: &Valid| record.covers.is_none() && (death || record.sequence <= covered);
    let replayed = records.iter().filter(|record| accepted(record)).count() as u64;
    if replayed == 0 {
        return (Some(image.to_vec()), 0);
    }
    let mut targets = Targets::default();
    let mut lawful =
        records.iter().flat_map(|record| record.entries.iter().map(move |entry| (record, entry)));
    if !lawful.all(|(record, entry)| targets.lawful(image, entry, accepted(record)))
        || !targets.structures.is_disjoint(&targets.data)
    {
        return (None, replayed);
    }
    let mut out = image.to_vec();
    for record in records.iter().filter(|record| accepted(record)) {
        for entry in &record.entries {
            if replay(&mut out, entry, record.sequence > cursor).is_none() {
                return (None, replayed);
            }
        }
    }
    (Some(out).filter(|out| roots_are_whole(out)), replayed)
}

/// Makes one change; bytes and zeros only where they are `due`. No owner writes a payload that an earlier record has
/// overwritten: then `None`.
fn replay(out: &mut [u8], entry: &Entry, due: bool) -> Option<()> {
    let (salt, roots) = (salt(out), roots(out));
    let mut write = |at: u64, bytes: &[u8]| {
        if due {
            out[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
        }
    };
    match entry {
        Entry::Word(at, value) => set_word(out, *at as usize, *value),
        Entry::Root(at, value) => roots.iter().for_each(|root| set_word(out, root + *at as usize, *value)),
        Entry::Zero(at) => write(*at, &[0; FRAME_SIZE]),
        Entry::Node(at, tree, first) => {
            write(*at, &empty_node(salt, at / FRAME_SIZE as u64, *tree, *first));
        }
        Entry::Unknown => return None,
        Entry::Lines(at, bytes) => write(*at, bytes),
        Entry::Payload(at, bytes, sum) => {
            for (at, bytes) in payload(out, *at, *bytes, *sum)? {
                if due {
                    out[at as usize..at as usize + bytes.len()].copy_from_slice(&bytes);
                }
            }
        }
    }
    Some(())
}

/// Asserts that the two images are equal, except for the sectors and the log.
pub fn assert_same(found: &[u8], expected: &[u8], reader: &str) {
    let root = FIRST_MOVABLE.offset() as usize;
    if found[root..LOG.start] != expected[root..LOG.start] || found[LOG.end..] != expected[LOG.end..] {
        let differ = |at: &usize| !LOG.contains(at) && word(found, *at) != word(expected, *at);
        let at = (root..found.len()).step_by(8).find(differ).unwrap_or(0);
        let (found, expected) = (word(found, at), word(expected, at));
        panic!("{reader} found {found:#x} at {at:#x}, the log says {expected:#x}");
    }
}
