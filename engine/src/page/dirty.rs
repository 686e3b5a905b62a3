//! Which frames are dirty, by the object that dirtied them: one bit for each frame, and words that lead to the bits.
//!
//! ```text
//! step   one word a trail     which of 64 words below lead to dirt
//! ...
//! step   64 groups a word     which of 64 groups have dirt of the trail
//! bits   64 frames a word     which frames of the group are dirty, in the bitmap of their class
//! ```
//! A *class* of objects (by the low bits of their numbers) has a bitmap, and so have the frames whose owner is unknown. A
//! *trail* (by more of the low bits) leads through the words of its class's bitmap that hold dirt of its few objects: dirt
//! of another trail costs a sync nothing, unless it lies in the same word of bits. 16 classes alone do not do: 150,000 dirty
//! frames of another object of the class would have to be asked whose they are, for 300 us.
//!
//! # Invariants
//! - A frame that is dirty has its bit in the bitmap of the owner that its writer knew, and the trail of that owner leads
//!   to it; or the sync that took the bit has yet to take the frame's dirt.
//! - A writer sets from the bottom up, and looks at each step even if it found the one below set: the writer that set that
//!   may not have come further.
//! - A sync clears from the top down: a writer that found a step set has set the bit by then, and the sync finds it.
//! - One sync takes at a time. What it leaves to others it leads to again before the next one looks.
//! - A sync that clears a bit takes the frame's dirt afterwards, whoever owns the frame by then.

use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::{LazyArray, Mutex, mutant};
use crate::units::FrameNo;
use std::io;

/// Bits in use of a word, as a power of two; a model makes do with two bits.
const SHIFT: u32 = if cfg!(pagestone_loom) { 1 } else { 6 };
const BITS: usize = 1 << SHIFT;
/// Bitmaps by object.
const CLASSES: u32 = if cfg!(pagestone_loom) { 1 } else { 16 };
/// Trails by object. What is not memory but heap takes fewer.
const TRAILS: u32 = match () {
    () if cfg!(pagestone_loom) => 2,
    () if cfg!(any(pagestone_shuttle, miri)) => 16,
    () => 1024,
};
/// Words of a bitmap that lie side by side before those of the next class: a page of memory.
const RUN: usize = if cfg!(any(pagestone_loom, pagestone_shuttle, miri)) { 1 } else { 512 };

const _: () = assert!(TRAILS % CLASSES == 0);

/// The dirty frames of one region.
pub struct DirtMap {
    /// The bitmaps, and behind them the steps. Of all trails those words lie side by side that are about the same frames:
    /// memory appears where there is dirt, and objects share it.
    words: LazyArray<AtomicU64>,
    /// Where the steps begin in `words`, from the bottom up.
    steps: Vec<usize>,
    taking: Mutex<()>,
}

/// A trail, by number; the last leads to frames whose owner is unknown.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Trail(u32);

impl Trail {
    const UNKNOWN: Self = Self(TRAILS);

    fn of(object: u32) -> Self {
        if object == DirtMap::UNKNOWN { Self::UNKNOWN } else { Self(object % TRAILS) }
    }

    fn class(self) -> u32 {
        if self == Self::UNKNOWN { CLASSES } else { self.0 % CLASSES }
    }
}

impl DirtMap {
    /// The object of frames whose owner is unknown. Every sync takes these.
    pub const UNKNOWN: u32 = 0;

    /// A map for `frames` frames, all clean.
    ///
    /// # Errors
    /// When the addresses cannot be had.
    pub fn reserve(frames: usize) -> io::Result<Self> {
        let mut groups = frames.div_ceil(BITS);
        let mut end = groups.next_multiple_of(RUN) * (CLASSES as usize + 1);
        let mut steps = Vec::new();
        loop {
            groups = groups.div_ceil(BITS).max(1);
            steps.push(end);
            end = (end + groups * (TRAILS as usize + 1)).next_multiple_of(RUN);
            if groups == 1 {
                return Ok(Self { words: LazyArray::reserve(end)?, steps, taking: Mutex::new(()) });
            }
        }
    }

    /// Notes that `frame` became dirty through `object`, of whose number the low bits decide. It takes no lock and
    /// allocates nothing. The caller keeps the frame's other writers out.
    pub fn note(&self, object: u32, frame: FrameNo) {
        let trail = Trail::of(object);
        let mut at = frame.0 as usize;
        if mutant("dirt_noted_top_down") {
            (0..self.steps.len())
                .rev()
                .for_each(|step| self.lead(trail, step, at >> (SHIFT * (step as u32 + 1))));
        }
        // ORDERING: AcqRel: Release: a sync that finds the bit finds the descriptor dirty, and its owner; Acquire keeps
        // one rule for all that change the words.
        let before = self.bits(trail, at >> SHIFT).fetch_or(bit(at), Ordering::AcqRel);
        if mutant("dirt_noted_top_down") || (before != 0 && mutant("dirt_trusts_the_word_below")) {
            return;
        }
        pass();
        for step in 0..self.steps.len() {
            at >>= SHIFT;
            self.lead(trail, step, at);
        }
    }

    /// Sees to it that a step of the trail leads to `at`, which counts the words below.
    fn lead(&self, trail: Trail, step: usize, at: usize) {
        let word = self.step(trail, step, at >> SHIFT);
        // ORDERING: Relaxed: behind `pass`, as the taker's clearing is before one. Mostly the step is set already, and
        // writers share the line.
        if word.load(Ordering::Relaxed) & bit(at) == 0 {
            // ORDERING: AcqRel: as in `note`.
            word.fetch_or(bit(at), Ordering::AcqRel);
            pass();
        }
    }

    /// Takes the bits of an object, and all bits of unknown owners. Of a frame, `dirt_of` says whose dirt it holds that is
    /// to stay; none: its bit is taken.
    pub fn take(&self, object: u32, dirt_of: impl Fn(FrameNo) -> Option<u32>) -> Vec<FrameNo> {
        let _alone = (!mutant("dirt_taken_by_two_at_once")).then(|| self.taking.lock());
        let mut taken = Vec::new();
        if object != Self::UNKNOWN {
            self.take_trail(Trail::of(object), &dirt_of, &mut taken);
        }
        self.take_trail(Trail::UNKNOWN, &|_| None, &mut taken);
        taken
    }

    /// Takes all bits.
    pub fn take_all(&self) -> Vec<FrameNo> {
        let _alone = self.taking.lock();
        let mut taken = Vec::new();
        (0..=TRAILS).for_each(|trail| self.take_trail(Trail(trail), &|_| None, &mut taken));
        taken
    }

    /// Whether a sync of the object would look at more than `limit` frames.
    pub fn exceeds(&self, object: u32, limit: u64) -> bool {
        let _alone = self.taking.lock();
        let mut left = limit;
        !self.count(Trail::of(object), self.steps.len(), 0, &mut left)
    }

    fn take_trail(&self, trail: Trail, dirt_of: &impl Fn(FrameNo) -> Option<u32>, taken: &mut Vec<FrameNo>) {
        self.descend(trail, self.steps.len(), 0, dirt_of, taken);
    }

    /// Takes what lies under word `index` of a height: of the steps from 1 on, of the bits 0. Whether dirt of the trail
    /// stays there.
    fn descend(
        &self,
        trail: Trail,
        height: usize,
        index: usize,
        dirt_of: &impl Fn(FrameNo) -> Option<u32>,
        taken: &mut Vec<FrameNo>,
    ) -> bool {
        let Some(step) = height.checked_sub(1) else { return self.gather(trail, index, dirt_of, taken) };
        let word = self.step(trail, step, index);
        // ORDERING: Relaxed: what was noted before this sync began was so by a thread that this one knows to be done; what
        // lies under a step that this one has cleared, by `pass`. A trail without dirt is only read: it costs no memory.
        if word.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let late = mutant("dirt_taken_bottom_up");
        // ORDERING: AcqRel: as in `note`.
        let seen = if late { word.load(Ordering::Acquire) } else { word.swap(0, Ordering::AcqRel) };
        pass();
        let mut stays = 0;
        for below in ones(seen) {
            if self.descend(trail, step, index << SHIFT | below, dirt_of, taken) {
                stays |= bit(below);
            }
        }
        // ORDERING: AcqRel, twice: as in `note`.
        if late {
            word.fetch_and(!seen, Ordering::AcqRel);
        }
        if stays != 0 && !mutant("dirt_of_others_is_lost") {
            word.fetch_or(stays, Ordering::AcqRel);
        }
        stays != 0
    }

    /// Takes the bits of a group that may go. Others are never gone.
    fn gather(
        &self,
        trail: Trail,
        group: usize,
        dirt_of: &impl Fn(FrameNo) -> Option<u32>,
        taken: &mut Vec<FrameNo>,
    ) -> bool {
        let word = self.bits(trail, group);
        let (mut goes, mut stays) = (0, false);
        // ORDERING: Acquire: pairs with `note`: what a descriptor says is no older than its bit.
        for at in ones(word.load(Ordering::Acquire)) {
            let frame = FrameNo((group << SHIFT | at) as u32);
            match dirt_of(frame) {
                None => {
                    goes |= bit(at);
                    taken.push(frame);
                }
                Some(object) => stays |= Trail::of(object) == trail,
            }
        }
        if goes != 0 {
            // ORDERING: AcqRel: Acquire: of a frame that was made dirty since it was looked at, the dirt is taken with the
            // bit; as in `note`.
            word.fetch_and(!goes, Ordering::AcqRel);
        }
        stays
    }

    /// Subtracts the bits under a word from `left`; false when there are more.
    fn count(&self, trail: Trail, height: usize, index: usize, left: &mut u64) -> bool {
        // ORDERING: Relaxed: an estimate.
        let Some(step) = height.checked_sub(1) else {
            let dirty = self.bits(trail, index).load(Ordering::Relaxed).count_ones();
            let enough = u64::from(dirty) <= *left;
            *left = left.saturating_sub(dirty.into());
            return enough;
        };
        ones(self.step(trail, step, index).load(Ordering::Relaxed))
            .all(|below| self.count(trail, step, index << SHIFT | below, left))
    }

    /// The bits of a group of frames.
    fn bits(&self, trail: Trail, group: usize) -> &AtomicU64 {
        let run = group / RUN * (CLASSES as usize + 1) + trail.class() as usize;
        self.words.get(run * RUN + group % RUN).expect("frames are the region's")
    }

    /// A word of a step of the trail.
    fn step(&self, trail: Trail, step: usize, index: usize) -> &AtomicU64 {
        let at = self.steps[step] + index * (TRAILS as usize + 1) + trail.0 as usize;
        self.words.get(at).expect("frames are the region's")
    }
}

/// The bit of an element in the word that is about it.
fn bit(at: usize) -> u64 {
    1 << (at % BITS)
}

/// The bits that are set, ascending.
fn ones(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let next = (word != 0).then(|| word.trailing_zeros() as usize)?;
        word &= word - 1;
        Some(next)
    })
}

/// Stands between what a thread changed and where it looks next. A writer changes a word and looks at the one above, a sync
/// clears a word and looks at the one below: one of them sees what the other did.
fn pass() {
    if !mutant("dirt_without_fence") {
        // ORDERING: SeqCst: a store and a load of other words in order, on both sides.
        fence(Ordering::SeqCst);
    }
}

#[cfg(all(test, not(pagestone_loom)))]
mod tests;
