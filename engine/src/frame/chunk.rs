//! Chunks, the pages of the descriptor array: which ones are populated, in which order, and which lock guards them.
//!
//! A chunk is one 4 KiB page of descriptors: 256 frames, 1 MiB of the medium. There are few locks, and they are
//! striped: a lock word in the place of each chunk would make an isolated first touch cost two pages. Neighbours
//! whose side arrays share a page share a stripe.
//!
//! The populated chunks are kept in ordered sets, one per stripe, which cost about ten bytes per chunk. A bitmap
//! would cost a page for nearly every isolated first touch.
//!
//! Lock order: `reclaiming`, then stripes (several only under `reclaiming`), then `queue`.

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{LazyArray, Mutex, MutexGuard};
use crossbeam_utils::CachePadded;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::ops::Range;

/// Bytes of memory behind a chunk.
pub(super) const CHUNK_BYTES: usize = 4096;
/// Frames in a chunk; two are enough for a model.
pub(super) const FRAMES_PER_CHUNK: usize = if cfg!(pagestone_loom) { 2 } else { CHUNK_BYTES / 16 };
/// Chunks whose dirty lines share a page.
pub(super) const CHUNKS_PER_LINES_PAGE: usize = 2;
/// Chunks whose wait words share a page.
pub(super) const CHUNKS_PER_WAITS_PAGE: usize = 4;
/// Chunks whose descriptors share a page of the kernel's page table.
const CHUNKS_PER_TABLE_PAGE: usize = 512;
const STRIPES: usize = match () {
    () if cfg!(pagestone_loom) => 1,
    () if cfg!(pagestone_shuttle) => 4,
    () => 256,
};

#[cfg(not(any(pagestone_loom, pagestone_shuttle)))]
const _: () = {
    assert!(FRAMES_PER_CHUNK * size_of::<super::descriptor::Descriptor>() == CHUNK_BYTES);
    assert!(FRAMES_PER_CHUNK * CHUNKS_PER_LINES_PAGE * size_of::<u64>() == CHUNK_BYTES);
    assert!(FRAMES_PER_CHUNK * CHUNKS_PER_WAITS_PAGE * size_of::<u32>() == CHUNK_BYTES);
    assert!(super::table::FRAMES_MAX / FRAMES_PER_CHUNK as u64 <= Entry::MAX as u64);
};

/// Number of a chunk.
pub(super) type Chunk = usize;

/// A chunk as it is stored in the sets: the table's 2^36 frames have 2^28 chunks.
type Entry = u32;

/// The chunk of the frame at `index`.
pub(super) const fn chunk_of(index: usize) -> Chunk {
    index / FRAMES_PER_CHUNK
}

/// The frames of `chunk`.
pub(super) const fn frames_of(chunk: Chunk) -> Range<usize> {
    chunk * FRAMES_PER_CHUNK..(chunk + 1) * FRAMES_PER_CHUNK
}

/// The data that a stripe's lock guards, besides the chunks' LIVE bits.
#[derive(Debug, Default)]
pub(super) struct Stripe {
    /// Chunks of this stripe with memory. A chunk is entered before anything permanent is written in it, and removed
    /// when it is punched.
    populated: BTreeSet<Entry>,
    /// The chunk that was entered or looked up last, if it still has memory: first touches of its neighbours are
    /// likely to follow.
    last: Option<Chunk>,
    pub(super) first_touches: u64,
}

impl Stripe {
    fn has(&mut self, chunk: Chunk) -> bool {
        if self.last == Some(chunk) {
            return true;
        }
        let found = self.populated.contains(&(chunk as Entry));
        if found {
            self.last = Some(chunk);
        }
        found
    }
}

/// The locks of several stripes, by number.
pub(super) struct Stripes<'a>(Vec<(usize, MutexGuard<'a, Stripe>)>);

impl Stripes<'_> {
    /// The stripe of a chunk for which the locks were taken.
    fn of(&mut self, chunk: Chunk) -> Option<&mut Stripe> {
        let at = self.0.binary_search_by_key(&ChunkMap::stripe_of(chunk), |stripe| stripe.0).ok()?;
        Some(&mut self.0[at].1)
    }

    /// Whether `chunk`, a neighbour in the same stripe, has memory.
    pub(super) fn is_populated(&mut self, chunk: Chunk) -> bool {
        self.of(chunk).is_some_and(|stripe| stripe.has(chunk))
    }

    /// Releases the locks.
    pub(super) fn release(&mut self) {
        self.0.clear();
    }
}

/// # Invariants
/// The queue has each populated chunk once, except those that the holder of `reclaiming` is working on.
#[derive(Debug)]
pub(super) struct ChunkMap {
    /// One bit for each page of page table that the kernel may have under the descriptors. The kernel never frees
    /// one, so a bit stays set.
    tables: LazyArray<AtomicU64>,
    stripes: Box<[CachePadded<Mutex<Stripe>>]>,
    /// Least recently populated first.
    queue: Mutex<VecDeque<Entry>>,
    count: AtomicUsize,
    pub(super) reclaiming: Mutex<()>,
}

impl ChunkMap {
    pub(super) fn reserve(chunks: usize) -> io::Result<Self> {
        Ok(Self {
            tables: LazyArray::reserve(chunks.div_ceil(CHUNKS_PER_TABLE_PAGE * 64))?,
            stripes: (0..STRIPES).map(|_| CachePadded::new(Mutex::new(Stripe::default()))).collect(),
            queue: Mutex::new(VecDeque::new()),
            count: AtomicUsize::new(0),
            reclaiming: Mutex::new(()),
        })
    }

    /// The stripe that guards `chunk`.
    fn stripe_of(chunk: Chunk) -> usize {
        chunk / CHUNKS_PER_WAITS_PAGE % STRIPES
    }

    /// The lock under which LIVE changes in `chunk`, and under which it is populated or punched.
    pub(super) fn lock(&self, chunk: Chunk) -> MutexGuard<'_, Stripe> {
        self.stripes[Self::stripe_of(chunk)].lock()
    }

    /// [`lock`](Self::lock) for all of `chunks`. Under `reclaiming`; every other thread holds at most one stripe.
    pub(super) fn lock_all(&self, chunks: &[Chunk]) -> Stripes<'_> {
        let mut stripes: Vec<_> = chunks.iter().copied().map(Self::stripe_of).collect();
        stripes.sort_unstable();
        stripes.dedup();
        Stripes(stripes.into_iter().map(|stripe| (stripe, self.stripes[stripe].lock())).collect())
    }

    /// Each stripe in turn, one at a time.
    pub(super) fn each_stripe(&self) -> impl Iterator<Item = MutexGuard<'_, Stripe>> {
        self.stripes.iter().map(|stripe| stripe.lock())
    }

    /// Whether a read of `chunk` costs no page of page table. It takes no lock; the thread that populated the chunk
    /// has set the bit.
    pub(super) fn has_table(&self, chunk: Chunk) -> bool {
        let (word, bit) = Self::table_bit(chunk);
        // ORDERING: Relaxed: a hint. The words it leads to are valid whatever it says.
        self.tables.get(word).is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0)
    }

    fn table_bit(chunk: Chunk) -> (usize, u64) {
        let table = chunk / CHUNKS_PER_TABLE_PAGE;
        (table / 64, 1 << (table % 64))
    }

    /// Notes that `chunk`, of this `stripe`, gets memory. True if it had none.
    pub(super) fn enter(&self, stripe: &mut Stripe, chunk: Chunk) -> bool {
        if stripe.has(chunk) {
            return false;
        }
        self.mark(stripe, chunk);
        self.queue.lock().push_back(chunk as Entry);
        true
    }

    /// Notes that `chunk` is about to lose its memory. Under `reclaiming`; the chunk was taken from the queue.
    pub(super) fn leave(&self, stripes: &mut Stripes<'_>, chunk: Chunk) {
        if let Some(stripe) = stripes.of(chunk) {
            stripe.populated.remove(&(chunk as Entry));
            stripe.last = None;
        }
        // ORDERING: Relaxed: a count to compare with the budget.
        self.count.fetch_sub(1, Ordering::Relaxed);
    }

    /// Undoes [`leave`](Self::leave).
    pub(super) fn return_to(&self, stripes: &mut Stripes<'_>, chunk: Chunk) {
        if let Some(stripe) = stripes.of(chunk) {
            self.mark(stripe, chunk);
        }
    }

    fn mark(&self, stripe: &mut Stripe, chunk: Chunk) {
        let (word, bit) = Self::table_bit(chunk);
        if let Some(word) = self.tables.get(word) {
            // ORDERING: Relaxed: as `has_table`; an RMW because other stripes' chunks share the word.
            word.fetch_or(bit, Ordering::Relaxed);
        }
        stripe.populated.insert(chunk as Entry);
        stripe.last = Some(chunk);
        // ORDERING: Relaxed: as in `leave`.
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of chunks with memory.
    pub(super) fn count(&self) -> usize {
        // ORDERING: Relaxed: a count.
        self.count.load(Ordering::Relaxed)
    }

    /// Chunks in the queue.
    pub(super) fn queued(&self) -> usize {
        self.queue.lock().len()
    }

    /// Takes the `most` chunks that were populated longest ago from the queue. Under `reclaiming`.
    pub(super) fn take_oldest(&self, most: usize) -> Vec<Chunk> {
        let mut queue = self.queue.lock();
        let most = most.min(queue.len());
        queue.drain(..most).map(|entry| entry as Chunk).collect()
    }

    /// Takes the populated chunks of `range` from the queue. Under `reclaiming`.
    pub(super) fn take_range(&self, range: &Range<Chunk>) -> Vec<Chunk> {
        let mut taken = Vec::new();
        self.queue.lock().retain(|entry| {
            let inside = range.contains(&(*entry as Chunk));
            if inside {
                taken.push(*entry as Chunk);
            }
            !inside
        });
        taken
    }

    /// Queues the chunks again that could not be given back.
    pub(super) fn put_back(&self, chunks: &[Chunk]) {
        self.queue.lock().extend(chunks.iter().map(|chunk| *chunk as Entry));
    }

    /// The populated chunks of `range`, ascending. The stripes are read one after the other, and a chunk is included
    /// if it was entered before its stripe was read.
    pub(super) fn populated(&self, range: Range<Chunk>) -> Vec<Chunk> {
        let entries = range.start as Entry..range.end as Entry;
        let of_stripe = |stripe: MutexGuard<'_, Stripe>| -> Vec<Entry> {
            stripe.populated.range(entries.clone()).copied().collect()
        };
        let mut chunks: Vec<_> = self.each_stripe().flat_map(of_stripe).map(|entry| entry as Chunk).collect();
        chunks.sort_unstable();
        chunks
    }
}
