//! Which stores are not durable yet, and which flushes and fences made none durable.
//!
//! The rules are those of [`medium`](pagestone_explorer::medium). Here they are kept for each store, so that a store that
//! was relied on too early can be named. Cells are cache lines, or words on media that need `fdatasync` or write-through.

use super::Findings;
use pagestone::units::Durability;
use pagestone_explorer::Event;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

/// The operation of a script, by thread and number.
pub type OpId = (usize, usize);

/// A store that is not durable.
#[derive(Clone, Copy, Debug)]
pub struct Open {
    /// The event that stored.
    pub at: usize,
    /// The operation that was running on its thread.
    pub op: Option<OpId>,
    thread: u32,
    streamed: bool,
}

#[derive(Default)]
struct Cell {
    /// Stores that are not durable, in the order of their events.
    open: Vec<Open>,
    /// Per thread: up to which event its next fence makes the cell's stores durable.
    flushed: HashMap<u32, usize>,
}

/// The stores of a run that are not durable.
pub struct Lines {
    class: Durability,
    bytes: u64,
    cells: BTreeMap<u64, Cell>,
    /// Per thread: cells that its next fence completes.
    marked: HashMap<u32, Vec<u64>>,
    /// Per thread: where its sync began, and its write-through with its cells.
    syncs: HashMap<u32, usize>,
    through: HashMap<u32, (usize, Range<u64>)>,
    doubt: Doubt,
}

/// What a crash before the run left: any cell may need a flush, once.
#[derive(Default)]
struct Doubt {
    any: bool,
    /// Whether the file was synced since.
    synced: bool,
    /// Cells that were flushed since.
    settled: HashSet<u64>,
}

impl Doubt {
    /// Whether one of these cells is in doubt; from now on none is.
    fn take(&mut self, mut cells: Range<u64>) -> bool {
        self.any && cells.any(|cell| self.settled.insert(cell))
    }
}

impl Lines {
    /// No store is open yet. With `doubt` that is not certain: a crash came before the run.
    pub fn new(class: Durability, doubt: bool) -> Self {
        let bytes = if class == Durability::CacheLine { 64 } else { 8 };
        let (marked, syncs, through) = (HashMap::new(), HashMap::new(), HashMap::new());
        let doubt = Doubt { any: doubt, ..Doubt::default() };
        Self { class, bytes, cells: BTreeMap::new(), marked, syncs, through, doubt }
    }

    /// The stores to a range that are not durable.
    pub fn open_in(&self, range: Range<u64>) -> impl Iterator<Item = (u64, &Open)> {
        let cells = self.cells.range(self.cells_of(&range));
        cells.flat_map(move |(cell, state)| state.open.iter().map(move |open| (cell * self.bytes, open)))
    }

    /// All stores that are not durable, by the offset of their cell.
    pub fn open(&self) -> impl Iterator<Item = (u64, &Open)> {
        self.open_in(0..u64::MAX)
    }

    /// The offsets of the cells with such stores.
    pub fn open_cells(&self) -> impl Iterator<Item = u64> {
        self.cells.iter().filter(|(_, state)| !state.open.is_empty()).map(|(cell, _)| cell * self.bytes)
    }

    fn cells_of(&self, range: &Range<u64>) -> Range<u64> {
        range.start / self.bytes..range.end.div_ceil(self.bytes)
    }

    /// Applies one event; `op` is the operation of its thread.
    pub fn step(&mut self, at: usize, event: &Event, op: Option<OpId>, findings: &mut Findings) {
        let lines = self.class == Durability::CacheLine;
        match event {
            Event::Store { thread, offset, bytes, non_temporal } => {
                let open = Open { at, op, thread: *thread, streamed: lines && *non_temporal };
                self.store(*offset..offset + bytes.len() as u64, open, findings);
            }
            Event::Flush { thread, line_offset } if lines => {
                self.flush(at, *thread, line_offset / self.bytes, findings);
            }
            Event::Fence { thread } if lines => self.fence(*thread, findings),
            Event::SyncBegin { thread } => {
                // An opening does not know whether all that it finds is durable, so it syncs the file once.
                if self.cells.is_empty() && self.doubt.synced {
                    findings.add_nowhere("idle-fence", "a file sync with nothing stored since the last");
                }
                self.syncs.insert(*thread, at);
            }
            Event::SyncEnd { thread } => {
                let upto = self.syncs.remove(thread).unwrap_or(0);
                // A file sync does not reach lines that a dead process has streamed and not fenced.
                (self.doubt.any, self.doubt.synced) = (self.doubt.any && lines, true);
                self.settle(0..u64::MAX, upto);
            }
            Event::WriteThroughBegin { thread, offset, len } if !lines => {
                let range = *offset..offset + len;
                let doubt = self.doubt.take(self.cells_of(&range));
                if !doubt && self.open_in(range.clone()).next().is_none() {
                    let why =
                        format!("{len} bytes are written through, none was stored since they were durable");
                    findings.add("redundant-flush", *offset, why);
                }
                self.through.insert(*thread, (at, range));
            }
            // What was stored there had no owner, and is gone.
            Event::Punch { offset, len, .. } => {
                let cells: Vec<_> =
                    self.cells.range(self.cells_of(&(*offset..offset + len))).map(|c| *c.0).collect();
                cells.iter().for_each(|cell| drop(self.cells.remove(cell)));
            }
            Event::Cut { bytes } => drop(self.cells.split_off(&bytes.div_ceil(self.bytes))),
            Event::WriteThroughEnd { thread, .. } if !lines => {
                if let Some((upto, range)) = self.through.remove(thread) {
                    self.settle(self.cells_of(&range), upto);
                }
            }
            _ => {}
        }
    }

    fn store(&mut self, range: Range<u64>, open: Open, findings: &mut Findings) {
        for cell in self.cells_of(&range) {
            let state = self.cells.entry(cell).or_default();
            if state.flushed.remove(&open.thread).is_some() {
                let why = format!("thread {} stores to it again before its fence", open.thread);
                findings.add("wasted-flush", cell * self.bytes, why);
            }
            state.open.push(open);
            if open.streamed {
                state.flushed.insert(open.thread, open.at);
                self.marked.entry(open.thread).or_default().push(cell);
            }
        }
    }

    fn flush(&mut self, at: usize, thread: u32, cell: u64, findings: &mut Findings) {
        let doubt = self.doubt.take(cell..cell + 1);
        let state = self.cells.entry(cell).or_default();
        let before = state.flushed.get(&thread).copied();
        if !doubt && state.open.iter().all(|open| before.is_some_and(|upto| open.at <= upto)) {
            let why = format!("thread {thread} flushes a line without a store since its last flush");
            findings.add("redundant-flush", cell * self.bytes, why);
        }
        // A flush does not reach what another processor still buffers, nor what comes after that.
        let foreign = state.open.iter().find(|open| open.streamed && open.thread != thread);
        state.flushed.insert(thread, foreign.map_or(at, |open| open.at - 1));
        self.marked.entry(thread).or_default().push(cell);
        if self.cells.get(&cell).is_some_and(|state| state.open.is_empty()) {
            self.cells.remove(&cell);
        }
    }

    fn fence(&mut self, thread: u32, findings: &mut Findings) {
        let marked = self.marked.remove(&thread).unwrap_or_default();
        if marked.is_empty() {
            findings.add(
                "idle-fence",
                0,
                format!("thread {thread} has flushed nothing since its last fence"),
            );
        }
        for cell in marked {
            let upto = self.cells.get_mut(&cell).and_then(|state| state.flushed.remove(&thread));
            if let Some(upto) = upto {
                self.settle(cell..cell + 1, upto);
            }
        }
    }

    /// Notes that the stores of these cells up to that event are durable.
    fn settle(&mut self, cells: Range<u64>, upto: usize) {
        let mut empty = Vec::new();
        for (cell, state) in self.cells.range_mut(cells) {
            state.open.retain(|open| open.at > upto);
            if state.open.is_empty() {
                empty.push(*cell);
            }
        }
        for cell in empty {
            self.cells.remove(&cell);
        }
    }
}
