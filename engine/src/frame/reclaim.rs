//! Giving descriptors back: whole chunks of idle frames, least recently populated first, many in one system call.
//!
//! Void increments (see [`populate`](super::populate)) make this safe beside threads that pin without a lock.

use super::chunk::{CHUNKS_PER_LINES_PAGE, CHUNKS_PER_WAITS_PAGE, Chunk, Stripes, chunk_of, frames_of};
use super::descriptor::Descriptor;
use super::state::Snapshot;
use super::table::FrameTable;
use crate::sync::atomic::Ordering;
use crate::sync::mutant;
use crate::units::{Pfn, PfnRange};
use std::io;
use std::ops::Range;

/// Maximum number of chunks that one system call gives back. With another thread running, a page costs 0.8 us in a
/// batch of 64 and 12.6 us alone.
const BATCH: usize = 64;

/// The results of a batch.
#[derive(Default)]
struct Batch {
    gone: Vec<Chunk>,
    kept: Vec<Chunk>,
}

impl FrameTable {
    /// Gives back the memory of up to `max_chunks` chunks that have only idle, clean frames. Returns their number.
    pub fn reclaim(&self, max_chunks: usize) -> usize {
        let _one_at_a_time = self.chunks.reclaiming.lock();
        let mut unseen = self.chunks.queued();
        let mut done = 0;
        while done < max_chunks && unseen > 0 {
            let candidates = self.chunks.take_oldest(BATCH.min(unseen).min(max_chunks - done));
            unseen -= candidates.len();
            let may_go = |state: Snapshot| {
                state.is_reclaimable() || (state.pins() == 0 && mutant("reclaim_ignores_marks"))
            };
            done += self.give_back(&candidates, may_go).gone.len();
        }
        done
    }

    /// The number of chunks beyond the budget.
    pub(super) fn over_budget(&self) -> usize {
        self.chunks.count().saturating_sub(self.budget())
    }

    /// Brings the table below its budget, by at most one batch and with some room to spare. If another thread is
    /// doing it, that is enough, unless populating has run far ahead.
    #[cold]
    pub(super) fn trim(&self) {
        let one_at_a_time = if self.over_budget() > 2 * BATCH {
            Some(self.chunks.reclaiming.lock())
        } else {
            self.chunks.reclaiming.try_lock()
        };
        if one_at_a_time.is_some() {
            let spare = self.budget() / 8;
            let candidates = self.chunks.take_oldest(BATCH.min(self.over_budget() + spare));
            self.give_back(&candidates, Snapshot::is_reclaimable);
        }
    }

    /// Retires every frame of `range`, whatever its flags, and gives the memory back. For a region that was detached.
    ///
    /// The caller first holds the range, waits until each frame is idle, and retires the orphans whose freeing was
    /// claimed. A latch without a pin is no reason to wait, unless it marks such a claim: it was forgotten, and its
    /// holder can no longer access the bytes.
    ///
    /// # Errors
    /// The first frame that is pinned, or whose freeing was claimed and not ended by `retire_orphan`. Frames of other
    /// chunks may already be retired.
    pub fn retire_range(&self, range: PfnRange) -> Result<(), Pfn> {
        let _one_at_a_time = self.chunks.reclaiming.lock();
        let chunks = self.chunks_of(range);
        for batch in self.chunks.take_range(&chunks).chunks(BATCH) {
            let is_claimed = |state: Snapshot| state.claimed() && !mutant("retire_range_ignores_claims");
            self.give_back(batch, |state| state.pins() == 0 && !is_claimed(state));
        }
        self.populated(range).next().map_or(Ok(()), Err)
    }

    /// The chunks that overlap `range`.
    pub(super) fn chunks_of(&self, range: PfnRange) -> Range<Chunk> {
        let start = self.index(range.start);
        let end = start.saturating_add(usize::try_from(range.frames).unwrap_or(usize::MAX));
        if end == start { 0..0 } else { chunk_of(start)..chunk_of(end.min(self.descriptors.len()) - 1) + 1 }
    }

    /// Retires and punches those of `candidates` in which every live frame satisfies `may_go`, and queues the others
    /// again. Under `reclaiming`; the candidates were taken from the queue.
    fn give_back(&self, candidates: &[Chunk], may_go: impl Fn(Snapshot) -> bool) -> Batch {
        let mut batch = Batch::default();
        let mut stripes = self.chunks.lock_all(candidates);
        for &chunk in candidates {
            let list = if self.retire_chunk(chunk, &may_go) { &mut batch.gone } else { &mut batch.kept };
            list.push(chunk);
        }
        batch.gone.iter().for_each(|chunk| self.chunks.leave(&mut stripes, *chunk));
        if mutant("punch_after_unlock") {
            stripes.release();
        }
        if self.punch(&batch.gone, &mut stripes).is_err() {
            // The frames are retired anyway; only the memory stays.
            batch.gone.iter().for_each(|chunk| self.chunks.return_to(&mut stripes, *chunk));
            batch.kept.append(&mut batch.gone);
        }
        self.chunks.put_back(&batch.kept);
        drop(stripes);
        // ORDERING: Relaxed: counters.
        self.reclaimed_chunks.fetch_add(batch.gone.len() as u64, Ordering::Relaxed);
        self.skipped_chunks.fetch_add(batch.kept.len() as u64, Ordering::Relaxed);
        batch
    }

    /// Retires every live frame of `chunk`, or stops at the first one that must stay. Under its lock.
    fn retire_chunk(&self, chunk: Chunk, may_go: &impl Fn(Snapshot) -> bool) -> bool {
        let live =
            |index: usize| self.descriptors.get(index).map(|d| (index, d, d.look())).filter(|f| f.2.live());
        // All frames are checked first, so that idle frames of a chunk that stays keep their owners.
        frames_of(chunk).filter_map(live).all(|(_, _, state)| may_go(state))
            && frames_of(chunk)
                .filter_map(live)
                .all(|(index, d, state)| may_go(state) && self.retire(index, d, state))
    }

    /// Retires a frame that was `seen` without pins. Under its chunk's lock. False if the frame has changed since.
    pub(super) fn retire(&self, index: usize, descriptor: &Descriptor, seen: Snapshot) -> bool {
        if !descriptor.retire_if(seen) {
            return false;
        }
        self.versions.retired(seen.version_number());
        if seen.dirty() {
            self.forget_lines(index);
        }
        if seen.waiters() {
            self.wake_retired(Pfn::new(index as u64));
        }
        true
    }

    /// Gives back the pages of `chunks`, which were removed from the map, and those of their side arrays if no chunk
    /// that shares them is populated. Under the locks of all of them.
    fn punch(&self, chunks: &[Chunk], stripes: &mut Stripes<'_>) -> io::Result<()> {
        let pages: Vec<_> = chunks.iter().copied().map(frames_of).collect();
        self.descriptors.punch_many(&pages)?;
        self.dirty_lines.punch_many(&deserted(chunks, CHUNKS_PER_LINES_PAGE, stripes))?;
        self.wait_words.punch_many(&deserted(chunks, CHUNKS_PER_WAITS_PAGE, stripes))
    }
}

/// The runs of `sharing` chunks around each of `chunks` in which no chunk is populated, as frames.
fn deserted(chunks: &[Chunk], sharing: usize, stripes: &mut Stripes<'_>) -> Vec<Range<usize>> {
    let mut firsts: Vec<_> = chunks.iter().map(|chunk| chunk / sharing * sharing).collect();
    firsts.sort_unstable();
    firsts.dedup();
    firsts.retain(|first| !(*first..first + sharing).any(|chunk| stripes.is_populated(chunk)));
    firsts.into_iter().map(|first| frames_of(first).start..frames_of(first + sharing - 1).end).collect()
}
