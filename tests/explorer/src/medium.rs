//! What a medium may hold after a crash: the model behind every crash image.
//!
//! The image is cut into *cells*. Each cell has an ordered history of 8-byte stores that are not yet guaranteed
//! durable; a power loss keeps **any prefix of each cell's history, independently per cell**. What is guaranteed lies
//! below all histories and is in every image.
//!
//! `CacheLine` (x86 TSO; Intel SDM vol. 3 §9.2, §12.3 and vol. 1 §10.4.6; the PMDK programming model):
//! stores of one line reach memory in program order because the cache keeps one copy of it, and an eviction may
//! write it back at any time. `clwb`/`clflushopt` by a thread marks the line as it stands; a fence by the *same*
//! thread completes the marks. A non-temporal store sits in that CPU's write-combining buffer until that CPU
//! fences: it is its own mark, and no other CPU's flush reaches it or what follows it in the cell. A locked
//! instruction would empty the buffer too; code must not rely on it, so it is not modelled.
//! `fdatasync` of a file on such a medium writes back what was stored to its pages, by whatever process (the kernel
//! notes the pages at their first store: `fs/dax.c`).
//! Two cell sizes: 64 bytes (what caches do) and 8 bytes (what the ISA promises, and what Arm needs).
//!
//! `Fdatasync` (Linux: `Documentation/filesystems` on writeback; `fdatasync(2)`, `pwritev2(2)`; a disk writes sectors
//! of 512 bytes whole): the kernel may write any mapped page at any time, in any order, torn at 512-byte sectors; a
//! sector shows any version since the last durable point. A sync makes durable everything stored before it *began*, a
//! write-through (`pwritev2(RWF_DSYNC)`) the sectors of its range as they were when it began or later. Cells of
//! 8 bytes are the harsher variant: the device reads the page while the CPU stores into it.
//!
//! A sync or write-through that fails leaves the pages clean in the page cache and whatever on the medium: no later
//! one reaches them, until they are stored to again.
//!
//! The death of a process loses nothing: every store is in the page cache, or in the caches of the processors. But it
//! makes nothing durable either: the next life begins with the same histories ([`Medium::outlive`]), and a power loss
//! in *that* life may still take what this one has stored.
//!
//! `Punch` makes zeros of free frames, like a store: after a power loss each cell holds what it held, or zeros.
//!
//! `Cut` takes the file's end away, durably: the code waits for it before it does anything else.
//!
//! `Grow` makes the file's length durable. A store beyond the end without it (a run whose growth was forgotten) makes
//! the file longer in memory only: until an `fdatasync` ends, a power loss cuts that off.

use crate::Event;
use pagestone::units::Durability;
use pagestone_kit::random::mix;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// Bytes of a word: the unit that is never torn.
pub const WORD: usize = 8;

/// One 8-byte store that may or may not have reached the medium.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    /// Index of the word in the image.
    pub word: u32,
    /// The word after the store.
    pub value: u64,
    /// Position in the whole history.
    pub serial: u64,
    /// The thread in whose write-combining buffer it still sits.
    buffered: Option<u32>,
}

/// A medium, as far as a sequence of events determines it.
#[derive(Clone)]
pub struct Medium {
    class: Durability,
    cell: usize,
    durable: Vec<u8>,
    current: Vec<u8>,
    /// Bytes that the file has for certain.
    length: usize,
    durable_hash: u64,
    current_hash: u64,
    pending: BTreeMap<u32, VecDeque<Stored>>,
    /// Per thread: cells and the serial up to which its next fence makes them durable.
    marked: HashMap<u32, Vec<(u32, u64)>>,
    /// Per thread: cells and the serial up to which the end of its file operation makes them durable.
    through: HashMap<u32, Vec<(u32, u64)>>,
    /// Pages whose write failed: clean in the cache, open on the medium.
    forsaken: HashSet<u32>,
    failed: bool,
    serial: u64,
}

impl Medium {
    /// A medium that durably holds `base`, with cells of `cell` bytes.
    #[must_use]
    pub fn new(base: &[u8], class: Durability, cell: usize) -> Self {
        assert!(cell % WORD == 0 && base.len() % WORD == 0, "cells and images are whole words");
        let hash = hash_image(base);
        Self {
            class,
            cell,
            durable: base.to_vec(),
            current: base.to_vec(),
            length: base.len(),
            durable_hash: hash,
            current_hash: hash,
            pending: BTreeMap::new(),
            marked: HashMap::new(),
            through: HashMap::new(),
            forsaken: HashSet::new(),
            failed: false,
            serial: 0,
        }
    }

    /// The medium of the next life, after the death of the process: nothing is lost, and nothing has become durable.
    /// What the dead had begun (flushes without their fence, syncs) completes nothing.
    #[must_use]
    pub fn outlive(&self) -> Self {
        let mut next = self.clone();
        next.marked.clear();
        next.through.clear();
        next.pending.values_mut().flatten().for_each(|stored| stored.buffered = None);
        next
    }

    /// What is on the medium for certain, and its hash. It has the length that the file has in memory.
    #[must_use]
    pub fn durable(&self) -> (&[u8], u64) {
        (&self.durable, self.durable_hash)
    }

    /// Bytes of the file that a power loss leaves.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Bytes of a cell.
    #[must_use]
    pub fn cell(&self) -> usize {
        self.cell
    }

    /// The class, which says how stores become durable.
    #[must_use]
    pub fn class(&self) -> Durability {
        self.class
    }

    /// The bytes after every store so far, and their hash: this survives the death of the process.
    #[must_use]
    pub fn current(&self) -> (&[u8], u64) {
        (&self.current, self.current_hash)
    }

    /// The cells whose content is open, with their histories, in order of address.
    pub fn pending(&self) -> impl Iterator<Item = (u64, &VecDeque<Stored>)> {
        self.pending.iter().map(|(&cell, history)| (u64::from(cell) * self.cell as u64, history))
    }

    /// Whether a file operation has failed: then a process that dies may leave another image than the page cache,
    /// because the next opening drops it.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// Begins a file operation that will fail.
    pub fn fail(&mut self, begin: &Event) {
        let (offset, len) = match begin {
            Event::SyncBegin { .. } => (0, self.current.len() as u64),
            Event::WriteThroughBegin { offset, len, .. } => (*offset, *len),
            _ => return,
        };
        self.failed = true;
        let pages: Vec<u32> = self.cells(u32::MAX, offset, len).iter().map(|&(c, _)| self.page(c)).collect();
        self.forsaken.extend(pages);
    }

    /// Applies a whole run, with the file operations that have failed in it.
    pub fn play(&mut self, events: &[Event]) {
        let failed = failures(events);
        for (i, event) in events.iter().enumerate() {
            if failed.contains(&i) { self.fail(event) } else { self.step(event) }
        }
    }

    fn page(&self, cell: u32) -> u32 {
        (cell as usize * self.cell / 4096) as u32
    }

    /// Applies one event.
    pub fn step(&mut self, event: &Event) {
        let lines = self.class == Durability::CacheLine;
        match event {
            Event::Store { thread, offset, bytes, non_temporal } => {
                self.store(*thread, *offset, bytes, *non_temporal && lines);
            }
            Event::Flush { thread, line_offset } if lines => self.mark(*thread, *line_offset, 64),
            Event::Fence { thread } if lines => self.fence(*thread),
            Event::SyncBegin { thread } => {
                let cells = self.cells(*thread, 0, self.current.len() as u64);
                self.through.insert(*thread, cells);
            }
            Event::SyncEnd { thread } => {
                self.end_through(*thread);
                self.length = self.current.len();
            }
            Event::WriteThroughBegin { thread, offset, len } if !lines => {
                let cells = self.cells(*thread, *offset, *len);
                self.through.insert(*thread, cells);
            }
            Event::WriteThroughEnd { thread, .. } if !lines => self.end_through(*thread),
            // The frames read as zeros. Their blocks go when the file system records that.
            Event::Punch { thread, offset, len } => {
                self.store(*thread, *offset, &vec![0; *len as usize], false);
            }
            Event::Grow { bytes } => {
                self.lengthen(usize::try_from(*bytes).expect("an image fits in memory"));
                self.length = self.current.len();
            }
            Event::Cut { bytes } => self.shorten(usize::try_from(*bytes).expect("an image fits in memory")),
            _ => {}
        }
    }

    /// The file has only `bytes` bytes, in memory and on the medium.
    fn shorten(&mut self, bytes: usize) {
        for word in bytes / WORD..self.current.len() / WORD {
            self.current_hash ^= hash_word(word as u32, word_at(&self.current, word));
            self.durable_hash ^= hash_word(word as u32, word_at(&self.durable, word));
        }
        self.current.truncate(bytes);
        self.durable.truncate(bytes);
        self.length = bytes;
        let cell = self.cell;
        self.pending.retain(|at, _| (*at as usize) * cell < bytes);
    }

    /// The file in memory has at least `bytes` bytes, in whole frames.
    fn lengthen(&mut self, bytes: usize) {
        let bytes = bytes.next_multiple_of(4096).max(self.current.len());
        self.durable.resize(bytes, 0);
        self.current.resize(bytes, 0);
    }

    fn store(&mut self, thread: u32, offset: u64, bytes: &[u8], buffered: bool) {
        let mut at = usize::try_from(offset).expect("an image fits in memory");
        if at + bytes.len() > self.current.len() {
            self.lengthen(at + bytes.len());
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (word, skip) = (at / WORD, at % WORD);
            let n = rest.len().min(WORD - skip);
            let mut value = word_at(&self.current, word).to_le_bytes();
            value[skip..skip + n].copy_from_slice(&rest[..n]);
            self.store_word(thread, word as u32, u64::from_le_bytes(value), buffered);
            (at, rest) = (at + n, &rest[n..]);
        }
    }

    fn store_word(&mut self, thread: u32, word: u32, value: u64, buffered: bool) {
        let old = word_at(&self.current, word as usize);
        let cell = (word as usize * WORD / self.cell) as u32;
        // A store that changes nothing matters only where it could carry an earlier one with it.
        if old == value && !self.pending.contains_key(&cell) {
            return;
        }
        self.current_hash ^= hash_word(word, old) ^ hash_word(word, value);
        set_word(&mut self.current, word as usize, value);
        self.forsaken.remove(&self.page(cell));
        self.serial += 1;
        let stored = Stored { word, value, serial: self.serial, buffered: buffered.then_some(thread) };
        self.pending.entry(cell).or_default().push_back(stored);
        if buffered {
            let upto = self.reach(thread, cell);
            self.marked.entry(thread).or_default().push((cell, upto));
        }
    }

    /// The last store of `cell` that a flush by `thread` reaches: it reaches no store that another CPU still buffers, and
    /// none after that.
    fn reach(&self, thread: u32, cell: u32) -> u64 {
        let history = &self.pending[&cell];
        let foreign = history.iter().find(|s| s.buffered.is_some_and(|t| t != thread));
        foreign.map_or(self.serial, |s| s.serial - 1)
    }

    fn cells(&self, thread: u32, offset: u64, len: u64) -> Vec<(u32, u64)> {
        if len == 0 {
            return Vec::new();
        }
        let (first, last) = (offset / self.cell as u64, (offset + len - 1) / self.cell as u64);
        let range = first as u32..=last as u32;
        self.pending.range(range).map(|(&cell, _)| (cell, self.reach(thread, cell))).collect()
    }

    fn mark(&mut self, thread: u32, offset: u64, len: u64) {
        let cells = self.cells(thread, offset, len);
        self.marked.entry(thread).or_default().extend(cells);
    }

    fn fence(&mut self, thread: u32) {
        for (cell, upto) in self.marked.remove(&thread).unwrap_or_default() {
            for stored in self.pending.get_mut(&cell).into_iter().flatten() {
                if stored.buffered == Some(thread) {
                    stored.buffered = None;
                }
            }
            self.settle(cell, upto);
        }
    }

    fn end_through(&mut self, thread: u32) {
        for (cell, upto) in self.through.remove(&thread).unwrap_or_default() {
            self.settle(cell, upto);
        }
    }

    fn settle(&mut self, cell: u32, upto: u64) {
        if self.forsaken.contains(&self.page(cell)) {
            return;
        }
        let Some(history) = self.pending.get_mut(&cell) else { return };
        while let Some(s) = history.front().copied().filter(|s| s.serial <= upto) {
            history.pop_front();
            let old = word_at(&self.durable, s.word as usize);
            self.durable_hash ^= hash_word(s.word, old) ^ hash_word(s.word, s.value);
            set_word(&mut self.durable, s.word as usize, s.value);
        }
        if history.is_empty() {
            self.pending.remove(&cell);
        }
    }
}

/// The word with this index.
#[must_use]
pub fn word_at(image: &[u8], word: usize) -> u64 {
    let bytes = image[word * WORD..].first_chunk().expect("inside the image");
    u64::from_le_bytes(*bytes)
}

/// Replaces the word with this index.
pub fn set_word(image: &mut [u8], word: usize, value: u64) {
    image[word * WORD..][..WORD].copy_from_slice(&value.to_le_bytes());
}

/// A word's share of an image's hash: the hash of an image is the XOR over its words, so that patching one
/// costs the words patched. Zero words add nothing, so growth changes no hash.
#[must_use]
pub fn hash_word(word: u32, value: u64) -> u64 {
    if value == 0 { 0 } else { mix(value ^ mix(u64::from(word) + 1)) }
}

fn hash_image(image: &[u8]) -> u64 {
    (0..image.len() / WORD).fold(0, |h, w| h ^ hash_word(w as u32, word_at(image, w)))
}

/// The beginnings of file operations that have no end.
#[must_use]
pub fn failures(events: &[Event]) -> HashSet<usize> {
    let mut open: HashMap<(u32, bool), usize> = HashMap::new();
    let mut failed = HashSet::new();
    for (i, event) in events.iter().enumerate() {
        match event {
            Event::SyncBegin { thread } => failed.extend(open.insert((*thread, true), i)),
            Event::WriteThroughBegin { thread, .. } => failed.extend(open.insert((*thread, false), i)),
            Event::SyncEnd { thread } => drop(open.remove(&(*thread, true))),
            Event::WriteThroughEnd { thread, .. } => drop(open.remove(&(*thread, false))),
            _ => {}
        }
    }
    failed.extend(open.into_values());
    failed
}
