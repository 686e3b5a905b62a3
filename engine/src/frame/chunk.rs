//! Chunks: the pages of the descriptor array. Which are populated, in which order they came, who may change them.
//!
//! A chunk is one 4 KiB page of descriptors: 256 frames, 1 MiB of the medium. Locks are few and striped, since a lock
//! word in each chunk's own place would make a lonely first touch cost two pages; neighbours whose side arrays share
//! a page share a stripe.
//!
//! Lock order: `reclaiming`, then stripes (several only under `reclaiming`), then `queue`.

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{LazyArray, Mutex, MutexGuard};
use crossbeam_utils::CachePadded;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;

/// Bytes of memory behind a chunk.
pub(super) const CHUNK_BYTES: usize = 4096;
/// Frames in a chunk; a model makes do with two.
pub(super) const FRAMES_PER_CHUNK: usize = if cfg!(pagestone_loom) { 2 } else { CHUNK_BYTES / 16 };
/// Chunks whose dirty lines share a page.
pub(super) const CHUNKS_PER_LINES_PAGE: usize = 2;
/// Chunks whose wait words share a page.
pub(super) const CHUNKS_PER_WAITS_PAGE: usize = 4;
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
};

/// Number of a chunk.
pub(super) type Chunk = usize;

/// The chunk of the frame at `index`.
pub(super) const fn chunk_of(index: usize) -> Chunk {
    index / FRAMES_PER_CHUNK
}

/// The frames of `chunk`.
pub(super) const fn frames_of(chunk: Chunk) -> Range<usize> {
    chunk * FRAMES_PER_CHUNK..(chunk + 1) * FRAMES_PER_CHUNK
}

/// What a stripe's lock guards besides the chunks: counters that would otherwise need read-modify-writes.
#[derive(Debug, Default)]
pub(super) struct Stripe {
    pub(super) first_touches: u64,
}

/// # Invariants
/// The queue holds each populated chunk once, except those that the holder of `reclaiming` has in its hands.
#[derive(Debug)]
pub(super) struct ChunkMap {
    /// One bit a chunk, set before anything in it is written for good, cleared when it is punched. Changed under the
    /// chunk's stripe.
    populated: LazyArray<AtomicU64>,
    stripes: Box<[CachePadded<Mutex<Stripe>>]>,
    /// Least recently populated first.
    queue: Mutex<VecDeque<Chunk>>,
    count: AtomicUsize,
    pub(super) reclaiming: Mutex<()>,
}

impl ChunkMap {
    pub(super) fn reserve(chunks: usize) -> io::Result<Self> {
        Ok(Self {
            populated: LazyArray::reserve(chunks.div_ceil(64))?,
            stripes: (0..STRIPES).map(|_| CachePadded::new(Mutex::new(Stripe::default()))).collect(),
            queue: Mutex::new(VecDeque::new()),
            count: AtomicUsize::new(0),
            reclaiming: Mutex::new(()),
        })
    }

    /// Which stripe guards `chunk`.
    pub(super) fn stripe_of(chunk: Chunk) -> usize {
        chunk / CHUNKS_PER_WAITS_PAGE % STRIPES
    }

    /// The right to change LIVE in `chunk`, and to populate or punch it.
    pub(super) fn lock(&self, chunk: Chunk) -> MutexGuard<'_, Stripe> {
        self.stripes[Self::stripe_of(chunk)].lock()
    }

    /// [`lock`](Self::lock) for all of `chunks`. Under `reclaiming`: everyone else holds one stripe at most.
    pub(super) fn lock_all(&self, chunks: &[Chunk]) -> Vec<MutexGuard<'_, Stripe>> {
        let mut stripes: Vec<_> = chunks.iter().copied().map(Self::stripe_of).collect();
        stripes.sort_unstable();
        stripes.dedup();
        stripes.into_iter().map(|stripe| self.stripes[stripe].lock()).collect()
    }

    /// Each stripe in turn, one at a time.
    pub(super) fn each_stripe(&self) -> impl Iterator<Item = MutexGuard<'_, Stripe>> {
        self.stripes.iter().map(|stripe| stripe.lock())
    }

    /// Whether `chunk` has memory. Without its lock the answer may be a moment old.
    pub(super) fn is_populated(&self, chunk: Chunk) -> bool {
        // ORDERING: Relaxed: a hint without the lock, and the lock orders it otherwise. The words it leads to are
        // valid whatever it says.
        self.populated
            .get(chunk / 64)
            .is_some_and(|word| word.load(Ordering::Relaxed) >> (chunk % 64) & 1 == 1)
    }

    /// Notes that `chunk` gets memory. Under its lock. True if it had none.
    pub(super) fn enter(&self, chunk: Chunk) -> bool {
        if self.is_populated(chunk) {
            return false;
        }
        self.mark(chunk);
        self.queue.lock().push_back(chunk);
        true
    }

    /// Notes that `chunk` is about to lose its memory. Under its lock and `reclaiming`, and taken from the queue.
    pub(super) fn leave(&self, chunk: Chunk) {
        if let Some(word) = self.populated.get(chunk / 64) {
            // ORDERING: Relaxed: as `is_populated`; an RMW because other stripes' chunks share the word.
            word.fetch_and(!(1 << (chunk % 64)), Ordering::Relaxed);
        }
        // ORDERING: Relaxed: a count to compare with the budget.
        self.count.fetch_sub(1, Ordering::Relaxed);
    }

    /// Undoes [`leave`](Self::leave).
    pub(super) fn mark(&self, chunk: Chunk) {
        if let Some(word) = self.populated.get(chunk / 64) {
            // ORDERING: Relaxed: as in `leave`.
            word.fetch_or(1 << (chunk % 64), Ordering::Relaxed);
        }
        // ORDERING: Relaxed: as in `leave`.
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// How many chunks have memory.
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
        queue.drain(..most).collect()
    }

    /// Takes the populated chunks of `range` from the queue. Under `reclaiming`.
    pub(super) fn take_range(&self, range: &Range<Chunk>) -> Vec<Chunk> {
        let mut taken = Vec::new();
        self.queue.lock().retain(|chunk| {
            let inside = range.contains(chunk);
            if inside {
                taken.push(*chunk);
            }
            !inside
        });
        taken
    }

    /// Queues again what could not be given back.
    pub(super) fn put_back(&self, chunks: &[Chunk]) {
        self.queue.lock().extend(chunks);
    }

    /// The populated chunks of `range`, ascending, without a lock.
    pub(super) fn populated(&self, range: Range<Chunk>) -> impl Iterator<Item = Chunk> + '_ {
        let words = range.start / 64..range.end.div_ceil(64).min(self.populated.len());
        words
            // ORDERING: Relaxed: as `is_populated`.
            .filter_map(|i| {
                Some((i, self.populated.get(i)?.load(Ordering::Relaxed))).filter(|(_, word)| *word != 0)
            })
            .flat_map(|(i, word)| {
                (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| i * 64 + bit)
            })
            .filter(move |chunk| range.contains(chunk))
    }
}
