//! The table: pfn to descriptor by position.

use super::chunk::{CHUNK_BYTES, ChunkMap, FRAMES_PER_CHUNK, chunk_of, frames_of};
use super::closed::ClosedRanges;
use super::descriptor::Descriptor;
use super::outcome::{PinOutcome, UnpinOutcome};

use super::space::PfnSpace;
use super::state::{PINS_MAX, SHORT_PINS_MAX, Snapshot};
use super::version::Versions;
use crate::error::{Error, Result};
use crate::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{LazyArray, fork, hint, mutant};
use crate::units::{Pfn, PfnRange};
use std::io;

/// Frames of the process-wide table (256 TiB of media), where the address space allows it. Where the table is made of
/// heap, few.
pub const FRAMES_MAX: u64 = match () {
    () if cfg!(any(pagestone_shuttle, miri)) => 1 << 12,
    () => 1 << 36,
};
/// Chunks that may have memory before the oldest idle ones give theirs back (256 MiB, for 64 GiB of touched frames).
pub const CHUNK_BUDGET: usize = 1 << 16;

/// One descriptor for each frame of the process, in a flat array that the kernel populates where it is written.
///
/// The hit path of a pin is one `fetch_add` and of a put one `fetch_sub`. The memory behind a descriptor comes with the
/// first touch of its chunk and goes when the chunk is idle and the budget exceeded; the addresses stay reserved, so a
/// word may be looked at whenever one likes.
#[derive(Debug)]
pub struct FrameTable {
    pub(super) descriptors: LazyArray<Descriptor>,
    /// One bit for each cache line of a frame, written only through `mark_dirty` and `take_dirty`.
    pub(super) dirty_lines: LazyArray<AtomicU64>,
    /// What sleepers sleep on: bumped by a release that sees WAITERS. Never the state word, which every pin changes.
    pub(super) wait_words: LazyArray<AtomicU32>,
    pub(super) chunks: ChunkMap,
    pub(super) versions: Versions,
    pub(super) space: PfnSpace,
    pub(super) closed: ClosedRanges,
    budget: AtomicUsize,
    pub(super) reclaimed_chunks: AtomicU64,
    pub(super) skipped_chunks: AtomicU64,
    /// The fork generation in which the table was made.
    generation: u32,
    /// Frames below belong to the parent process.
    floor: u64,
}

/// Counters of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameStats {
    /// Frames that can be addressed; less than [`FRAMES_MAX`] where the address space was limited.
    pub capacity: u64,
    /// Frames handed out to regions.
    pub reservation_frames: u64,
    /// Chunks that have memory.
    pub populated_chunks: u64,
    /// Memory of their descriptors.
    pub bytes: u64,
    /// Chunks that may have memory before reclaim starts.
    pub budget: u64,
    /// Frames populated, over all time.
    pub first_touches: u64,
    /// Chunks given back, over all time.
    pub reclaimed_chunks: u64,
    /// Chunks that reclaim passed over because a frame was pinned or dirty, over all time.
    pub pinned_chunks_skipped: u64,
}

impl FrameTable {
    /// A table of its own for `frames` frames, of which `chunk_budget` chunks may have memory unless pinned.
    ///
    /// # Errors
    /// When the addresses cannot be reserved.
    pub fn with_capacity(frames: u64, chunk_budget: usize) -> Result<Self> {
        let table = Self::above(frames, chunk_budget, 0)?;
        table.open(frames)?;
        Ok(table)
    }

    /// A table whose frames below `floor` belong to a parent process. Its descriptors are opened as frames are handed out.
    pub(super) fn above(frames: u64, chunk_budget: usize, floor: u64) -> Result<Self> {
        let frames =
            usize::try_from(frames).unwrap_or(usize::MAX / CHUNK_BYTES).next_multiple_of(FRAMES_PER_CHUNK);
        let reserve = || {
            Ok(Self {
                descriptors: LazyArray::reserve_shut(frames)?,
                dirty_lines: LazyArray::reserve_shut(frames)?,
                wait_words: LazyArray::reserve_shut(frames)?,
                chunks: ChunkMap::reserve(chunk_of(frames))?,
                versions: Versions::default(),
                space: PfnSpace::new(floor..frames as u64),
                closed: ClosedRanges::default(),
                budget: AtomicUsize::new(chunk_budget),
                reclaimed_chunks: AtomicU64::new(0),
                skipped_chunks: AtomicU64::new(0),
                generation: fork::generation(),
                floor,
            })
        };
        let table = reserve()
            .map_err(|source: io::Error| Error::io("reserving addresses for the frame table", source))?;
        // A pin of a parent's frame is told that it is one.
        table.open(floor)?;
        Ok(table)
    }

    /// Makes the first `frames` frames' descriptors reachable, for good: a pin of any of them adds before it looks.
    fn open(&self, frames: u64) -> Result {
        let frames = usize::try_from(frames).unwrap_or(usize::MAX);
        // The descriptors last: a thread that finds one finds what lies beside it.
        let opened = self.dirty_lines.open(frames).and_then(|()| self.wait_words.open(frames));
        opened.and_then(|()| self.descriptors.open(frames)).map_err(|error| Error::NoAddresses {
            why: format!(
                "the descriptors of {frames} frames cannot be made accessible ({error}): raise the limit (`ulimit -d`, \
                 `vm.overcommit_memory`), or say with `max_size` how large each region may become"
            ),
        })
    }

    /// Hands out `frames` frames, aligned to a block. They are unpopulated and have no owner.
    ///
    /// # Errors
    /// [`Error::NoAddresses`] when the pfn space has no such run.
    pub fn allocate(&self, frames: u64) -> Result<PfnRange> {
        self.space.allocate(frames, |end| self.open(end))
    }

    /// Takes back what [`allocate`](Self::allocate) handed out, after [`retire_range`](Self::retire_range).
    pub fn free(&self, range: PfnRange) {
        self.closed.open(range);
        self.space.free(range);
    }

    /// Pins a frame, populating its descriptor if need be. May then take a lock and a page of memory.
    #[inline]
    pub fn pin(&self, pfn: Pfn) -> PinOutcome {
        let Some(descriptor) = self.descriptors.get(self.index(pfn)) else { return PinOutcome::Unknown };
        match descriptor.pin() {
            Ok(()) => PinOutcome::Pinned,
            Err(word) => self.settle_pin(pfn, descriptor, word),
        }
    }

    /// The descriptors of a run of frames, for a caller that pins by position in it.
    #[must_use]
    pub(crate) fn run(&self, range: PfnRange) -> Option<&[Descriptor]> {
        let start = self.index(range.start);
        self.descriptors.run(start..start.checked_add(usize::try_from(range.frames).ok()?)?)
    }

    /// What is to be done about a pin that made the word `word`.
    #[cold]
    pub(crate) fn settle_pin(&self, pfn: Pfn, descriptor: &Descriptor, word: Snapshot) -> PinOutcome {
        if word.live() { self.admit(pfn, descriptor, word) } else { self.first_touch(pfn, descriptor) }
    }

    /// As [`Self::pin`], for a pin that is dropped again at once: it is given beyond [`PINS_MAX`](super::PINS_MAX) as well,
    /// where there is room for some thousands of those.
    pub fn pin_short(&self, pfn: Pfn) -> PinOutcome {
        let Some(descriptor) = self.descriptors.get(self.index(pfn)) else { return PinOutcome::Unknown };
        match descriptor.pin() {
            Err(word) if word.live() && !mutant("short_pins_saturate") => {
                self.admit_up_to(SHORT_PINS_MAX, pfn, descriptor, word)
            }
            Err(word) => self.settle_pin(pfn, descriptor, word),
            Ok(()) => PinOutcome::Pinned,
        }
    }

    /// Whether a pin of a live frame counts; if not, it is taken back by the one put that there is.
    pub(super) fn admit(&self, pfn: Pfn, descriptor: &Descriptor, word: Snapshot) -> PinOutcome {
        self.admit_up_to(PINS_MAX, pfn, descriptor, word)
    }

    fn admit_up_to(&self, most: u32, pfn: Pfn, descriptor: &Descriptor, word: Snapshot) -> PinOutcome {
        let refusal = if word.orphan() {
            PinOutcome::Orphan
        } else if word.held() {
            PinOutcome::Held
        } else if word.poisoned() {
            PinOutcome::Poisoned
        } else if word.pins() > most {
            PinOutcome::Saturated
        } else {
            descriptor.mark_referenced();
            return PinOutcome::Pinned;
        };
        if mutant("refused_pin_stays") {
            return refusal;
        }
        match self.unpin(pfn) {
            UnpinOutcome::LastOfOrphan => PinOutcome::OrphanClaimed,
            UnpinOutcome::Kept | UnpinOutcome::LastOfHeld => refusal,
        }
    }

    /// Drops a pin if the frame has one; `None` if it has none. For callers whose pins are counted elsewhere, perhaps
    /// wrongly: of racing drops of one pin exactly one succeeds, and the count never goes below zero.
    pub fn unpin_checked(&self, pfn: Pfn) -> Option<UnpinOutcome> {
        self.peek(pfn)?;
        let descriptor = self.at(pfn);
        let before = descriptor.drop_pin_if_any()?;
        Some(if before.drops_at_once() {
            UnpinOutcome::Kept
        } else {
            self.settle_put(pfn, descriptor, before)
        })
    }

    /// Drops a pin. The one put: every other path comes through here. It never blocks, commits or allocates.
    #[inline]
    pub fn unpin(&self, pfn: Pfn) -> UnpinOutcome {
        let descriptor = self.at(pfn);
        match descriptor.unpin() {
            Ok(()) => UnpinOutcome::Kept,
            Err(before) => self.settle_put(pfn, descriptor, before),
        }
    }

    /// What is to be done about a put in the process's table that found the word `before`, and of which frame.
    ///
    /// From its subtraction on a put has no pin: the frame may be free, another's, or of another region by now, and the
    /// pages and the region that the pin was of may be gone. So this and all that follows from it touches nothing but the
    /// table. It may be late: then it claims the freeing of a frame's next life, which is as good a put to do that as
    /// any, or wakes a sleeper too often.
    #[cold]
    #[inline(never)]
    pub(crate) fn settle(descriptor: &'static Descriptor, before: Snapshot) -> Option<(Pfn, UnpinOutcome)> {
        hint::hesitate();
        if before.strayed() {
            descriptor.undo_stray_put();
            return None;
        }
        let table = Self::global();
        let pfn = table.pfn_of(descriptor)?;
        Some((pfn, table.settle_put(pfn, descriptor, before)))
    }

    /// What is to be done about a put that found the word `before`.
    fn settle_put(&self, pfn: Pfn, descriptor: &Descriptor, before: Snapshot) -> UnpinOutcome {
        if before.strayed() {
            descriptor.undo_stray_put();
            return UnpinOutcome::Kept;
        }
        if before.pins() > 1 {
            return UnpinOutcome::Kept;
        }
        // A pin that is about to be taken back can make this the last put a second time: one of them gets the claim.
        let claimed = before.orphan() && descriptor.claim_freeing();
        if before.waiters() {
            self.wake(pfn, descriptor);
        }
        match (claimed, before.held()) {
            (true, _) => UnpinOutcome::LastOfOrphan,
            (false, true) => UnpinOutcome::LastOfHeld,
            (false, false) => UnpinOutcome::Kept,
        }
    }

    /// What the frame's state is, if it is populated. Only loads: it never populates, sleeps or allocates.
    #[must_use]
    pub fn peek(&self, pfn: Pfn) -> Option<Snapshot> {
        let index = self.index(pfn);
        // The map first: where nothing was ever touched, even a look costs a page of page table.
        if !self.chunks.has_table(chunk_of(index)) {
            return None;
        }
        Some(self.descriptors.get(index)?.look()).filter(|state| state.live())
    }

    /// The populated frames of `range`, ascending, each as of some moment during the walk.
    pub fn populated(&self, range: PfnRange) -> impl Iterator<Item = Pfn> + '_ {
        self.chunks
            .populated(self.chunks_of(range))
            .into_iter()
            .flat_map(frames_of)
            .map(|index| Pfn::new(index as u64))
            .filter(move |pfn| range.contains(*pfn) && self.peek(*pfn).is_some())
    }

    /// Lets the mark of recent use fade by one step; how strong it was, 0 to 3. For replacement's sweep.
    #[must_use]
    pub fn fade(&self, pfn: Pfn) -> u32 {
        self.peek(pfn)
            .and_then(|_| self.descriptors.get(self.index(pfn)))
            .map_or(0, Descriptor::fade_referenced)
    }

    /// The owner of a frame that the caller has pinned, or the freeing of which it has claimed; zero if unknown.
    #[must_use]
    pub fn owner(&self, pfn: Pfn) -> u64 {
        self.at(pfn).owner()
    }

    /// What the owner word of a populated frame says; the frame need not be pinned. A hint: a put or a pin may just be
    /// changing it.
    #[must_use]
    pub fn idle_owner(&self, pfn: Pfn) -> Option<u64> {
        self.peek(pfn).and_then(|_| self.descriptors.get(self.index(pfn))).map(Descriptor::owner)
    }

    /// Changes what [`owner`](Self::owner) answers; for the same callers.
    pub fn set_owner(&self, pfn: Pfn, owner: u64) {
        self.at(pfn).set_owner(owner);
    }

    /// Chunks that may have memory before reclaim starts. Pinned and dirty ones are exempt.
    #[must_use]
    pub fn budget(&self) -> usize {
        // ORDERING: Relaxed: a number on its own.
        self.budget.load(Ordering::Relaxed)
    }

    /// Changes [`budget`](Self::budget). Takes effect with the next chunk.
    pub fn set_budget(&self, chunks: usize) {
        // ORDERING: Relaxed: a number on its own.
        self.budget.store(chunks, Ordering::Relaxed);
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> FrameStats {
        let populated = self.chunks.count() as u64;
        FrameStats {
            capacity: self.descriptors.len() as u64,
            reservation_frames: self.space.allocated(),
            populated_chunks: populated,
            bytes: populated * CHUNK_BYTES as u64,
            budget: self.budget() as u64,
            first_touches: self.chunks.each_stripe().map(|stripe| stripe.first_touches).sum(),
            // ORDERING: Relaxed: counters.
            reclaimed_chunks: self.reclaimed_chunks.load(Ordering::Relaxed),
            pinned_chunks_skipped: self.skipped_chunks.load(Ordering::Relaxed),
        }
    }

    /// Where the frame's elements are in the arrays.
    #[inline(always)]
    pub(super) fn index(&self, pfn: Pfn) -> usize {
        usize::try_from(pfn.get()).unwrap_or(usize::MAX)
    }

    /// The frame with this descriptor, if it is of this table: a forked child has another one than its parent.
    fn pfn_of(&self, descriptor: &Descriptor) -> Option<Pfn> {
        let first = std::ptr::from_ref(self.descriptors.get(0)?).addr();
        let distance = std::ptr::from_ref(descriptor).addr().checked_sub(first)?;
        let index = distance / size_of::<Descriptor>();
        (index < self.descriptors.len()).then(|| Pfn::new(index as u64))
    }

    /// The descriptor of a frame that the caller has pinned, or the freeing of which it has claimed.
    #[inline(always)]
    pub(super) fn at(&self, pfn: Pfn) -> &Descriptor {
        self.descriptors.get(self.index(pfn)).expect("a pinned frame is in the table")
    }

    /// Whether the frame was handed out before a fork, to the parent process.
    pub(super) fn is_of_the_parent(&self, pfn: Pfn) -> bool {
        pfn.get() < self.floor || self.generation != fork::generation()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_touch_populates_and_the_last_put_leaves_it_idle() {
        let table = FrameTable::with_capacity(4096, 8).expect("address space");
        let pfn = Pfn::new(700);
        assert_eq!(table.peek(pfn), None);
        assert_eq!(table.pin(pfn), PinOutcome::Populated);
        assert_eq!(table.pin(pfn), PinOutcome::Pinned);
        assert_eq!(table.peek(pfn).expect("live").pins(), 2);
        assert_eq!([table.unpin(pfn), table.unpin(pfn)], [UnpinOutcome::Kept; 2]);
        assert_eq!(table.peek(pfn).expect("live").pins(), 0);
        assert_eq!(table.peek(Pfn::new(701)), None, "its neighbour was never touched");
        assert_eq!(table.pin(Pfn::new(4096)), PinOutcome::Unknown);
        assert_eq!(table.unpin_checked(pfn), None, "there is no pin to drop");
        assert_eq!(table.pin(pfn), PinOutcome::Pinned);
        assert_eq!(table.unpin_checked(pfn), Some(UnpinOutcome::Kept));
        assert_eq!(table.unpin_checked(pfn), None);
        assert_eq!(table.unpin_checked(Pfn::new(701)), None);
        assert_eq!(table.reclaim(8), 1);
        assert_eq!(table.unpin_checked(pfn), None);
        assert_eq!(table.peek(pfn), None);
        assert_eq!(table.stats().populated_chunks, 0);
    }
}
