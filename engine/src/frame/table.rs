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
use crate::sync::{LazyArray, Zeroed, fork, hint, mutant};
use crate::units::{Pfn, PfnRange};
use std::io;

/// Number of frames of the process-wide table (256 TiB of media), if there are enough addresses. A table in heap
/// memory is small.
pub const FRAMES_MAX: u64 = match () {
    () if cfg!(any(pagestone_shuttle, miri)) => 1 << 12,
    () => 1 << 36,
};
/// Number of chunks that may have memory before the oldest idle ones are given back (256 MiB, for 64 GiB of touched
/// frames).
pub const CHUNK_BUDGET: usize = 1 << 16;

/// One descriptor for each frame of the process, in a flat array whose memory the kernel allocates on the first
/// write.
///
/// The hit path of a pin is one `fetch_add`, and of a put one `fetch_sub`. The memory of a descriptor appears when
/// its chunk is first touched, and goes when the chunk is idle and the budget is exceeded. The addresses stay
/// reserved, so a word can be read at any time.
#[derive(Debug)]
pub struct FrameTable {
    pub(super) descriptors: LazyArray<Descriptor>,
    /// One bit for each cache line of a frame, changed only through `mark_dirty`, `mark_durable` and `take_dirty`.
    pub(super) dirty_lines: LazyArray<AtomicU64>,
    /// The words on which threads sleep; a release that sees WAITERS changes them. They are separate from the state
    /// word, because every pin changes that.
    pub(super) wait_words: LazyArray<AtomicU32>,
    pub(super) chunks: ChunkMap,
    pub(super) versions: Versions,
    pub(super) space: PfnSpace,
    pub(super) closed: ClosedRanges,
    pub(super) outside: Outside,
    budget: AtomicUsize,
    pub(super) reclaimed_chunks: AtomicU64,
    pub(super) skipped_chunks: AtomicU64,
    /// The fork generation in which the table was made.
    generation: u32,
    /// Frames below belong to the parent process.
    floor: u64,
}

/// What belongs to no frame. Calls that are only for frames that are pinned do something here if theirs is not even in the
/// table: whatever that is, no frame is touched by it.
#[derive(Debug)]
pub(super) struct Outside {
    pub(super) descriptor: Descriptor,
    pub(super) dirty_lines: AtomicU64,
    pub(super) wait_word: AtomicU32,
}

impl Outside {
    fn new() -> Self {
        Self {
            descriptor: Descriptor::zeroed(),
            dirty_lines: AtomicU64::zeroed(),
            wait_word: AtomicU32::zeroed(),
        }
    }
}

/// Counters of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameStats {
    /// Capacity in frames; less than [`FRAMES_MAX`] if addresses are limited.
    pub capacity: u64,
    /// Frames in use by regions.
    pub reservation_frames: u64,
    /// Chunks with memory.
    pub populated_chunks: u64,
    /// Memory of their descriptors.
    pub bytes: u64,
    /// Number of chunks that may have memory before reclaim starts.
    pub budget: u64,
    /// Frames populated so far.
    pub first_touches: u64,
    /// Chunks given back so far.
    pub reclaimed_chunks: u64,
    /// Chunks that reclaim skipped so far, because a frame was pinned or dirty.
    pub pinned_chunks_skipped: u64,
}

impl FrameTable {
    /// A separate table for `frames` frames, of which `chunk_budget` chunks may have memory unless pinned.
    ///
    /// # Errors
    /// If the addresses cannot be reserved.
    pub fn with_capacity(frames: u64, chunk_budget: usize) -> Result<Self> {
        let table = Self::above(frames, chunk_budget, 0)?;
        table.open(frames)?;
        Ok(table)
    }

    /// A table whose frames below `floor` belong to a parent process. Descriptors become accessible as frames are
    /// handed out.
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
                outside: Outside::new(),
                budget: AtomicUsize::new(chunk_budget),
                reclaimed_chunks: AtomicU64::new(0),
                skipped_chunks: AtomicU64::new(0),
                generation: fork::generation(),
                floor,
            })
        };
        let table = reserve()
            .map_err(|source: io::Error| Error::io("reserving addresses for the frame table", source))?;
        // A pin of a parent's frame must find a descriptor, to be told that it is one.
        table.open(floor)?;
        Ok(table)
    }

    /// Makes the descriptors of the first `frames` frames accessible for good, because a pin adds to a descriptor
    /// before it checks anything.
    fn open(&self, frames: u64) -> Result {
        let frames = usize::try_from(frames).unwrap_or(usize::MAX);
        // The descriptors last: a thread that finds one can rely on the side arrays.
        let opened = self.dirty_lines.open(frames).and_then(|()| self.wait_words.open(frames));
        opened.and_then(|()| self.descriptors.open(frames)).map_err(|error| Error::NoAddresses {
            why: format!(
                "the descriptors of {frames} frames cannot be made accessible ({error}): raise the limit (`ulimit -d`, \
                 `vm.overcommit_memory`), or say with `max_size` how large each region may become"
            ),
        })
    }

    /// Allocates a run of `frames` pfns, aligned to a block. The frames are unpopulated and have no owner.
    ///
    /// # Errors
    /// [`Error::NoAddresses`] if the pfn space has no such run.
    pub fn allocate(&self, frames: u64) -> Result<PfnRange> {
        self.space.allocate(frames, |end| self.open(end))
    }

    /// Frees a run of [`allocate`](Self::allocate), after [`retire_range`](Self::retire_range).
    pub fn free(&self, range: PfnRange) {
        self.closed.open(range);
        self.space.free(range);
    }

    /// Pins a frame, and populates its descriptor if necessary. Then it may take a lock and a page of memory.
    #[inline]
    pub fn pin(&self, pfn: Pfn) -> PinOutcome {
        let Some(descriptor) = self.descriptors.get(self.index(pfn)) else { return PinOutcome::Unknown };
        match descriptor.pin() {
            Ok(()) => PinOutcome::Pinned,
            Err(word) => self.settle_pin(pfn, descriptor, word),
        }
    }

    /// The descriptors of a run of frames, for a caller that pins by position in the run.
    #[must_use]
    pub(crate) fn run(&self, range: PfnRange) -> Option<&[Descriptor]> {
        let start = self.index(range.start);
        self.descriptors.run(start..start.checked_add(usize::try_from(range.frames).ok()?)?)
    }

    /// The rest of a pin whose increment returned `word`.
    #[cold]
    pub(crate) fn settle_pin(&self, pfn: Pfn, descriptor: &Descriptor, word: Snapshot) -> PinOutcome {
        if word.live() { self.admit(pfn, descriptor, word) } else { self.first_touch(pfn, descriptor) }
    }

    /// As [`Self::pin`], for a pin that is dropped again soon. It is allowed beyond [`PINS_MAX`],
    /// where there is room for some thousands of such pins.
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

    /// Decides whether a pin of a live frame is admitted. If not, it is taken back by a put.
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

    /// Drops a pin if the frame has one; `None` if it has none. It is for callers that count their pins elsewhere,
    /// perhaps wrongly: if several drops of one pin race, exactly one succeeds, and the count never goes below zero.
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

    /// Drops a pin. There are three entrances to a put: this one, [`Self::unpin_checked`], and the drop of a
    /// `PageRef`, which calls `Descriptor::unpin` and then [`Self::settle`]. All of them end in `settle_put` unless
    /// the subtraction was enough. A put never blocks, commits or allocates.
    #[inline]
    pub fn unpin(&self, pfn: Pfn) -> UnpinOutcome {
        let descriptor = self.at(pfn);
        match descriptor.unpin() {
            Ok(()) => UnpinOutcome::Kept,
            Err(before) => self.settle_put(pfn, descriptor, before),
        }
    }

    /// The rest of a put in the process's table that found the word `before`. Also returns the frame.
    ///
    /// After its subtraction a put has no pin. The frame may be free by now, or belong to another page or region, and
    /// the pages and the region of the pin may be gone. So this function, and all that follows from it, accesses only
    /// the table. It may be late. Then it claims the freeing of a frame's next life, for which it is as good as any
    /// other put, or it wakes a sleeper once too often.
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

    /// The rest of a put that found the word `before`.
    fn settle_put(&self, pfn: Pfn, descriptor: &Descriptor, before: Snapshot) -> UnpinOutcome {
        if before.strayed() {
            descriptor.undo_stray_put();
            return UnpinOutcome::Kept;
        }
        if before.pins() > 1 {
            return UnpinOutcome::Kept;
        }
        // Because of pins that are about to be taken back, several puts may find themselves the last. Only one gets
        // the claim.
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

    /// The state of a populated frame. It only loads: it never populates, sleeps or allocates.
    #[must_use]
    pub fn peek(&self, pfn: Pfn) -> Option<Snapshot> {
        let index = self.index(pfn);
        // The map is read first: where nothing was ever touched, even a read of the word costs a page of page table.
        if !self.chunks.has_table(chunk_of(index)) {
            return None;
        }
        Some(self.descriptors.get(index)?.look()).filter(|state| state.live())
    }

    /// The populated frames of `range`, ascending. Each was populated at some moment during the walk.
    pub fn populated(&self, range: PfnRange) -> impl Iterator<Item = Pfn> + '_ {
        self.chunks
            .populated(self.chunks_of(range))
            .into_iter()
            .flat_map(frames_of)
            .map(|index| Pfn::new(index as u64))
            .filter(move |pfn| range.contains(*pfn) && self.peek(*pfn).is_some())
    }

    /// Lowers the mark of recent use by one step, and returns what it was, 0 to 3. For the sweep of a replacement
    /// policy.
    #[must_use]
    pub fn fade(&self, pfn: Pfn) -> u32 {
        self.peek(pfn)
            .and_then(|_| self.descriptors.get(self.index(pfn)))
            .map_or(0, Descriptor::fade_referenced)
    }

    /// The owner word of a frame that the caller has pinned, or whose freeing it has claimed; zero if unknown.
    #[must_use]
    pub fn owner(&self, pfn: Pfn) -> u64 {
        self.at(pfn).owner()
    }

    /// The owner word of a populated frame, which need not be pinned. It is a hint, because a put or a pin may be
    /// changing it.
    #[must_use]
    pub fn idle_owner(&self, pfn: Pfn) -> Option<u64> {
        self.peek(pfn).and_then(|_| self.descriptors.get(self.index(pfn))).map(Descriptor::owner)
    }

    /// Changes the owner word, for the same callers as [`owner`](Self::owner).
    pub fn set_owner(&self, pfn: Pfn, owner: u64) {
        self.at(pfn).set_owner(owner);
    }

    /// Number of chunks that may have memory before reclaim starts. Pinned and dirty ones are exempt.
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

    /// The index of the frame in the arrays.
    #[inline(always)]
    pub(super) fn index(&self, pfn: Pfn) -> usize {
        usize::try_from(pfn.get()).unwrap_or(usize::MAX)
    }

    /// The frame with this descriptor, if it belongs to this table. A forked child has another table than its parent.
    fn pfn_of(&self, descriptor: &Descriptor) -> Option<Pfn> {
        let first = std::ptr::from_ref(self.descriptors.get(0)?).addr();
        let distance = std::ptr::from_ref(descriptor).addr().checked_sub(first)?;
        let index = distance / size_of::<Descriptor>();
        (index < self.descriptors.len()).then(|| Pfn::new(index as u64))
    }

    /// The descriptor of a frame that the caller has pinned, or whose freeing it has claimed.
    #[inline(always)]
    pub(super) fn at(&self, pfn: Pfn) -> &Descriptor {
        self.descriptors.get(self.index(pfn)).unwrap_or(&self.outside.descriptor)
    }

    /// Whether the frame was allocated before a fork, by the parent process.
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
