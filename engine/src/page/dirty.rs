//! Dirty frames, by the object through which they became dirty: one bit for each frame, and summaries that lead to the
//! bits.
//!
//! ```text
//! step   one word a trail     which of 64 words below lead to dirty frames
//! ...
//! step   64 groups a word     which of 64 groups have dirty frames of the trail
//! bits   64 frames a word     which frames of the group are dirty, in the bitmap of their class
//! ```
//! Each *class* of objects (the low bits of their numbers) has a bitmap, and so have the frames with an unknown owner. A
//! *trail* (more of the low bits) is a chain of summaries of one bitmap, for a few objects of its class. So a sync looks
//! at no dirty frame of another trail, unless it lies in the same word of bits. Classes alone are too few: beside 150,000
//! dirty frames of another object of the class, a sync would have to ask each for its owner, which takes 300 us.
//!
//! # Invariants
//! - A dirty frame has its bit in the bitmap of the owner that its writer knew, and that owner's trail leads to it. Or a
//!   sync has taken the bit and has yet to take the frame's dirty lines.
//! - A writer sets from the bottom up. It looks at each step even if it found the one below set, because the writer that
//!   set it may not have come further yet.
//! - A sync clears from the top down. A writer that found a step set has set the bit before, so the sync finds the bit.
//! - One sync takes at a time. Before the next one looks, a trail leads again to everything that was left.
//! - A sync that clears a bit takes the frame's dirty lines after that, whatever the frame holds by then.

use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::{LazyArray, Mutex, mutant};
use crate::units::FrameNo;
use std::io;

/// Bits of a word that are used, as a power of two. A model uses two bits.
const SHIFT: u32 = if cfg!(pagestone_loom) { 1 } else { 6 };
const BITS: usize = 1 << SHIFT;
/// Bitmaps by object.
const CLASSES: u32 = if cfg!(pagestone_loom) { 1 } else { 16 };
/// Trails by object. Fewer in builds where the words are on the heap.
const TRAILS: u32 = match () {
    () if cfg!(pagestone_loom) => 2,
    () if cfg!(any(pagestone_shuttle, miri)) => 16,
    () => 1024,
};
/// Words of one bitmap that lie side by side: a page of memory. Those of the next class follow.
const RUN: usize = if cfg!(any(pagestone_loom, pagestone_shuttle, miri)) { 1 } else { 512 };

const _: () = assert!(TRAILS % CLASSES == 0);

/// The dirty frames of one region.
pub struct DirtMap {
    /// The bitmaps, and behind them the steps. In a step, the words of all trails for the same frames lie side by side.
    /// So memory is used only for parts of the region that were dirty, and objects share it.
    words: LazyArray<AtomicU64>,
    /// The first word of each step in `words`, from the bottom up.
    steps: Vec<usize>,
    taking: Mutex<()>,
}

/// A trail, by number. The last one leads to the frames with an unknown owner.
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
    /// The object number of frames with an unknown owner. Every sync takes these.
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

    /// Notes that `frame` became dirty through `object`; the low bits of the number are enough. Takes no lock and allocates
    /// nothing. The caller keeps other writers of the frame out.
    pub fn note(&self, object: u32, frame: FrameNo) {
        let trail = Trail::of(object);
        let mut at = frame.0 as usize;
        if mutant("dirt_noted_top_down") {
            (0..self.steps.len())
                .rev()
                .for_each(|step| self.lead(trail, step, at >> (SHIFT * (step as u32 + 1))));
        }
        // ORDERING: AcqRel: Release, so that a sync that finds the bit sees the descriptor dirty, and its owner. Acquire
        // keeps one rule for all changes of the words.
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

    /// Makes a step of the trail lead to word `at` of the level below.
    fn lead(&self, trail: Trail, step: usize, at: usize) {
        let word = self.step(trail, step, at >> SHIFT);
        // ORDERING: Relaxed: `pass` comes before this load, and after a sync's clearing. The step is mostly set already;
        // then writers only share its cache line.
        if word.load(Ordering::Relaxed) & bit(at) == 0 {
            // ORDERING: AcqRel: as in `note`.
            word.fetch_or(bit(at), Ordering::AcqRel);
            pass();
        } else {
            pass_without_change();
        }
    }

    /// Takes the bits of an object, and all bits of unknown owners. `dirt_of` says of a frame which object's dirty lines it
    /// has that must stay; with `None` its bit is taken.
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

    /// Whether a sync of the object would have to look at more than `limit` frames.
    pub fn exceeds(&self, object: u32, limit: u64) -> bool {
        let _alone = self.taking.lock();
        let mut left = limit;
        !self.count(Trail::of(object), self.steps.len(), 0, &mut left)
    }

    fn take_trail(&self, trail: Trail, dirt_of: &impl Fn(FrameNo) -> Option<u32>, taken: &mut Vec<FrameNo>) {
        self.descend(trail, self.steps.len(), 0, dirt_of, taken);
    }

    /// Takes what lies under word `index` of a height: 0 is the bits, 1 the lowest step. Returns whether dirt of the trail
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
        // ORDERING: Relaxed: what was noted before this sync began happened before this load. For what lies under a step
        // that this sync has cleared, `pass` came between. A trail without dirt is only read, so it uses no memory.
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

    /// Takes the bits of a group that may go. The other bits stay set throughout.
    fn gather(
        &self,
        trail: Trail,
        group: usize,
        dirt_of: &impl Fn(FrameNo) -> Option<u32>,
        taken: &mut Vec<FrameNo>,
    ) -> bool {
        let word = self.bits(trail, group);
        let (mut goes, mut stays) = (0, false);
        // ORDERING: Acquire: pairs with `note`. What a descriptor then says is no older than its bit.
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
            // ORDERING: AcqRel: as in `note`. Acquire, so that lines are seen of a frame that became dirty since the look.
            word.fetch_and(!goes, Ordering::AcqRel);
        }
        stays
    }

    /// Subtracts the number of bits under a word from `left`. False if there are more.
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

/// Comes between a thread's change and its next look. A writer sets a bit and looks at the word above; a sync clears a word
/// and looks at those below. With this on both sides, at least one of them sees the other's change.
fn pass() {
    if !mutant("dirt_without_fence") {
        // ORDERING: SeqCst: orders a store before a load of another word.
        fence(Ordering::SeqCst);
    }
}

/// Comes between a look that found nothing to change and the next one. Without it the next look could be made first: before
/// a sync cleared that word, and so before another writer set the word of this look anew for a frame of its own.
fn pass_without_change() {
    if cfg!(all(target_arch = "x86_64", not(any(pagestone_loom, pagestone_shuttle)))) {
        // ORDERING: Acquire: this processor keeps loads in order, and `pass` stands before the first one. The compiler is
        // kept from changing their order.
        fence(Ordering::Acquire);
    } else {
        pass();
    }
}

#[cfg(all(test, not(pagestone_loom)))]
mod tests;
