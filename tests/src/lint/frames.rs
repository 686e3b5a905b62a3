//! The uses of frames, by the records appended so far: free, data, or structures.

use super::Findings;
use pagestone::media::layout::{GROUP_FRAMES, GROUP_ROOT_FRAME, RootWord, TABLE_GROUPS, is_of_format};
use pagestone::media::log::record::Entry;
use pagestone::units::{FRAME_SIZE, FrameNo, LINE_SIZE};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// The frames of a run.
pub struct Frames {
    log_frames: u32,
    /// Whether a record was appended: from then on, records say all.
    begun: bool,
    /// Frames of the table of groups, and the first group of each; bitmaps, and their groups.
    tables: HashMap<u32, u64>,
    bitmaps: HashMap<u32, u64>,
    /// Words of the bitmaps, by group and place.
    bits: HashMap<(u64, u64), u64>,
    /// Frames that were zeroed by a record, or of which a record changed a word.
    own: HashSet<u32>,
    /// Frames of the busy table, and the frames that it names: pages that were cut off while they were pinned.
    busy: HashSet<u32>,
    cut: HashSet<u32>,
    /// For free frames: the lines that were stored whole since the frame was freed.
    filled: HashMap<u32, u64>,
    /// The last event at which a record was appended that freed the frame.
    freed: HashMap<u32, usize>,
}

impl Frames {
    /// As the medium holds them before the run.
    pub fn new(base: &[u8], log_frames: u32) -> Self {
        let mut frames = Self {
            log_frames,
            begun: false,
            tables: HashMap::new(),
            bitmaps: HashMap::new(),
            bits: HashMap::new(),
            own: HashSet::new(),
            busy: HashSet::new(),
            cut: HashSet::new(),
            filled: HashMap::new(),
            freed: HashMap::new(),
        };
        let words = |frame: u32| -> Vec<(u64, u64)> {
            let start = frame as usize * FRAME_SIZE;
            let words = base.get(start..start + FRAME_SIZE).unwrap_or_default().chunks_exact(8);
            let words = words.map(|word| word.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)));
            (start as u64..).step_by(8).zip(words).collect()
        };
        words(GROUP_ROOT_FRAME.0).into_iter().for_each(|(at, word)| frames.note_table(at, word));
        let tables: Vec<_> = frames.tables.keys().copied().collect();
        tables.into_iter().flat_map(words).for_each(|(at, word)| frames.note_table(at, word));
        let bitmaps: Vec<_> = frames.bitmaps.keys().copied().collect();
        for (at, word) in bitmaps.into_iter().flat_map(words) {
            let place = frames.place_of(at);
            if let Some(place) = place {
                frames.bits.insert(place, word);
            }
        }
        frames
    }

    /// A word of the table of groups: what it names is known from here on.
    fn note_table(&mut self, at: u64, word: u64) {
        let (frame, place, named) =
            ((at / FRAME_SIZE as u64) as u32, at % FRAME_SIZE as u64 / 8, word as u32);
        if named == 0 {
            // A group that has ended leaves its bitmap to others.
            if let (Some(first), 0) = (self.tables.get(&frame), place % 2) {
                let group = first + place / 2;
                self.bitmaps.retain(|_, of| *of != group);
            }
            return;
        }
        if frame == GROUP_ROOT_FRAME.0 {
            self.tables.insert(named, place * TABLE_GROUPS);
        } else if let (Some(first), 0) = (self.tables.get(&frame), place % 2) {
            self.bitmaps.insert(named, first + place / 2);
        }
    }

    /// Bytes are stored. The words of bitmaps are known from records, except for those that a format or a recovery stores.
    pub fn store(&mut self, offset: u64, bytes: &[u8]) {
        if let (false, Ok(word)) = (self.begun, <[u8; 8]>::try_from(bytes)) {
            let word = u64::from_le_bytes(word);
            self.note_table(offset, word);
            if let Some(place) = self.place_of(offset) {
                self.bits.insert(place, word);
            }
        }
        let line = LINE_SIZE as u64;
        for first in (offset.next_multiple_of(line)..offset + bytes.len() as u64).step_by(LINE_SIZE) {
            let frame = (first / FRAME_SIZE as u64) as u32;
            if first + line <= offset + bytes.len() as u64 && !self.is_used(frame) {
                *self.filled.entry(frame).or_default() |= 1 << (first / line % 64);
            }
        }
    }

    /// The blocks of these frames go back: the frames must have no owner, and hold nothing from here on.
    pub fn punch(&mut self, bytes: Range<u64>, findings: &mut Findings) {
        for frame in bytes.start / FRAME_SIZE as u64..bytes.end / FRAME_SIZE as u64 {
            self.filled.remove(&(frame as u32));
            if !self.is_free(frame as u32) {
                findings.add(
                    "punched-in-use",
                    frame * FRAME_SIZE as u64,
                    "its blocks go back, and it is in use",
                );
            }
        }
    }

    /// The file is cut to these bytes: nothing lies behind them.
    pub fn cut(&mut self, bytes: u64, findings: &mut Findings) {
        let end = bytes / FRAME_SIZE as u64;
        self.filled.retain(|frame, _| u64::from(*frame) < end);
        let behind = |&(&(group, place), &word): &(&(u64, u64), &u64)| {
            (0..64).any(|bit| word >> bit & 1 == 1 && group * GROUP_FRAMES + place * 64 + bit >= end)
        };
        if let Some(((group, place), _)) = self.bits.iter().find(behind) {
            let at = (group * GROUP_FRAMES + place * 64) * FRAME_SIZE as u64;
            findings.add(
                "cut-in-use",
                at,
                "the file was cut before it, and frames there are in use".to_owned(),
            );
        }
    }

    /// A record is appended at an event. Returns the frames that it makes data.
    pub fn append(&mut self, entries: &[Entry], at: usize) -> Vec<u32> {
        self.begun = true;
        // A payload may carry any page that the record links.
        let mut whole = false;
        let (mut taken, mut freed) = (Vec::new(), Vec::new());
        let (mut own, mut carried) = (Vec::new(), Vec::new());
        for entry in entries {
            match *entry {
                Entry::Word(offset, value) => self.note_table(offset, value),
                Entry::Root(offset, value) if offset == RootWord::BusyTable.offset() => {
                    self.busy.insert(value as u32);
                }
                _ => {}
            }
        }
        self.note_cuts(entries);
        for entry in entries {
            match *entry {
                Entry::Word(offset, value) => match self.place_of(offset) {
                    Some((group, place)) => {
                        let old = self.bits.insert((group, place), value).unwrap_or(0);
                        let first = group * GROUP_FRAMES + place * 64;
                        let frames = |bits: u64| (0..64).filter(move |bit| bits >> bit & 1 == 1);
                        taken.extend(frames(value & !old).map(|bit| (first + bit) as u32));
                        freed.extend(frames(old & !value).map(|bit| (first + bit) as u32));
                    }
                    None => own.push((offset / FRAME_SIZE as u64) as u32),
                },
                Entry::Node(frame, _) => own.push(frame.0),
                Entry::Root(..) => {}
                // A zeroed structure also has a word in this record. For a batch's page the record carries all bytes.
                Entry::Zero(frame) => carried.push(frame.0),
                Entry::Lines(offset, _) => carried.push((offset / FRAME_SIZE as u64) as u32),
                Entry::Payload(_) => whole = true,
            }
        }
        for frame in &freed {
            self.own.remove(frame);
            self.cut.remove(frame);
            self.busy.remove(frame);
            self.filled.remove(frame);
            self.freed.insert(*frame, at);
        }
        self.own.extend(own);
        taken.retain(|frame| !whole && !self.own.contains(frame) && !carried.contains(frame));
        taken
    }

    /// Notes what a record writes into the busy table: the first word of each of its frames names the next one, the other
    /// words name pages.
    fn note_cuts(&mut self, entries: &[Entry]) {
        let first = |offset: u64| offset % FRAME_SIZE as u64 == 0;
        let words = || {
            entries.iter().filter_map(|entry| match *entry {
                Entry::Word(offset, value) => {
                    Some((offset, (offset / FRAME_SIZE as u64) as u32, value as u32))
                }
                _ => None,
            })
        };
        for (_, _, next) in words()
            .filter(|&(offset, frame, next)| first(offset) && next != 0 && self.busy.contains(&frame))
            .collect::<Vec<_>>()
        {
            self.busy.insert(next);
        }
        let named = words().filter(|&(offset, frame, _)| !first(offset) && self.busy.contains(&frame));
        let named: Vec<_> = named.map(|(_, _, page)| page).filter(|&page| page != 0).collect();
        self.cut.extend(named);
    }

    /// Whether all bytes of a frame were stored since it was free.
    pub fn is_filled(&self, frame: u32) -> bool {
        self.filled.get(&frame) == Some(&u64::MAX)
    }

    /// Whether a frame holds bytes of an object. A page that was cut off belongs to no object any more.
    pub fn is_data(&self, frame: u32) -> bool {
        let fixed = is_of_format(FrameNo(frame), self.log_frames);
        !fixed && self.is_used(frame) && !self.own.contains(&frame) && !self.cut.contains(&frame)
    }

    /// Whether a frame was freed after an event, so that what was stored then is gone with its former owner.
    pub fn was_freed_since(&self, frame: u32, at: usize) -> bool {
        self.freed.get(&frame).is_some_and(|freed| *freed > at)
    }

    /// Whether a frame has no owner: its bytes will never be seen.
    pub fn is_free(&self, frame: u32) -> bool {
        !is_of_format(FrameNo(frame), self.log_frames) && !self.is_used(frame)
    }

    fn is_used(&self, frame: u32) -> bool {
        let (group, bit) = (u64::from(frame) / GROUP_FRAMES, u64::from(frame) % GROUP_FRAMES);
        self.bits.get(&(group, bit / 64)).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    /// The group, and the place in its bitmap, of the word at this byte.
    fn place_of(&self, offset: u64) -> Option<(u64, u64)> {
        let group = self.bitmaps.get(&((offset / FRAME_SIZE as u64) as u32))?;
        Some((*group, offset % FRAME_SIZE as u64 / 8))
    }
}
