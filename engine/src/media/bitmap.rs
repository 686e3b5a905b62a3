//! The bitmap: one bit per frame, 1 = allocated, in groups of 32,768 frames with a bitmap frame each.
//!
//! What the medium says and what may be handed out are two things: a frame that was taken but is not linked yet, and
//! a frame whose freeing record is not passed yet, are free on the medium and busy in the volatile copy of the group.
//! The copy is made on first use, before any bit of the group changes, so it always covers the medium's.

use super::layout::GROUP_FRAMES;
use super::log::Txn;
use super::words::{Shape, WORDS, Words};
use crate::error::{Error, Result};
use crate::units::FrameNo;
use std::collections::BTreeMap;

/// Words of a group's bits; the rest of its bitmap frame would hold no more.
pub(crate) const GROUP_WORDS: u64 = GROUP_FRAMES / 64;
const _: () = assert!(GROUP_WORDS == WORDS);

/// Byte offset of the word that holds the bit of `frame`, and the bit.
pub(crate) const fn bit_of(shape: Shape, frame: FrameNo) -> (u64, u64) {
    let (group, place) = (frame.0 as u64 / GROUP_FRAMES, frame.0 as u64 % GROUP_FRAMES);
    (shape.bitmap(group).offset() + place / 64 * 8, 1 << (place % 64))
}

/// Whether the medium says that `frame` is allocated.
pub(crate) fn allocated(words: &impl Words, shape: Shape, frame: FrameNo) -> Result<bool> {
    let (at, bit) = bit_of(shape, frame);
    Ok(words.word(at)? & bit != 0)
}

/// The bits of `frames`, word by word.
fn masks(shape: Shape, frames: impl Iterator<Item = FrameNo>) -> Result<BTreeMap<u64, u64>> {
    let mut masks = BTreeMap::new();
    for frame in frames {
        let (at, bit) = bit_of(shape, frame);
        let mask = masks.entry(at).or_insert(0);
        if !shape.ordinary(frame) || *mask & bit != 0 {
            return Err(Error::corrupt(
                "bitmap",
                at,
                format!("frame {} is fixed, or changes twice", frame.0),
            ));
        }
        *mask |= bit;
    }
    Ok(masks)
}

/// Marks `frames` allocated.
pub(crate) fn set(t: &mut Txn<'_>, shape: Shape, frames: impl Iterator<Item = FrameNo>) -> Result {
    for (at, mask) in masks(shape, frames)? {
        let word = t.read(at)?;
        if word & mask != 0 {
            return Err(Error::corrupt("bitmap", at, "a frame to be linked is allocated already"));
        }
        t.write(at, word | mask)?;
    }
    Ok(())
}

/// Marks `frames` free.
pub(crate) fn clear(t: &mut Txn<'_>, shape: Shape, frames: impl Iterator<Item = FrameNo>) -> Result {
    for (at, mask) in masks(shape, frames)? {
        let word = t.read(at)?;
        if word & mask != mask {
            return Err(Error::corrupt("bitmap", at, "a frame to be freed is free already"));
        }
        t.write(at, word & !mask)?;
    }
    Ok(())
}

/// The volatile copy of a group: 1 = not to be handed out.
#[derive(Debug)]
pub(crate) struct Group {
    words: Box<[u64]>,
    /// Zero bits of `words`.
    free: u32,
    /// No word below this one has a zero bit.
    low: usize,
}

impl Group {
    /// The copy of group `group`; frames beyond the region are not to be handed out.
    pub(crate) fn load(words: &impl Words, shape: Shape, group: u64) -> Result<Self> {
        let mut copy = vec![0; GROUP_WORDS as usize].into_boxed_slice();
        for (i, word) in copy.iter_mut().enumerate() {
            let (fixed, beyond) = shape.outside(group * GROUP_WORDS + i as u64);
            *word = words.word(shape.bitmap(group).offset() + i as u64 * 8)? | fixed | beyond;
        }
        let free = copy.iter().map(|word| word.count_zeros()).sum();
        Ok(Self { words: copy, free, low: 0 })
    }

    /// Frames that may be handed out.
    pub(crate) const fn free(&self) -> u32 {
        self.free
    }

    /// Whether the frame at `place` may be handed out.
    pub(crate) fn is_free(&self, place: u32) -> bool {
        self.words[place as usize / 64] & 1 << (place % 64) == 0
    }

    /// Hands out `places`, all free.
    pub(crate) fn take(&mut self, places: std::ops::Range<u32>) {
        self.free -= places.len() as u32;
        for place in places {
            debug_assert!(self.is_free(place));
            self.words[place as usize / 64] |= 1 << (place % 64);
        }
    }

    /// Takes `place` back; false if it was not out.
    pub(crate) fn give(&mut self, place: u32) -> bool {
        if self.is_free(place) {
            return false;
        }
        self.words[place as usize / 64] &= !(1 << (place % 64));
        self.free += 1;
        self.low = self.low.min(place as usize / 64);
        true
    }

    /// The first run of `wanted` free frames from `from` on, else the longest run there.
    pub(crate) fn run(&mut self, from: u32, wanted: u32) -> std::ops::Range<u32> {
        while self.words.get(self.low) == Some(&u64::MAX) {
            self.low += 1;
        }
        let (mut best, end) = (0..0, GROUP_FRAMES as u32);
        let mut place = from.max(self.low as u32 * 64);
        while place < end {
            let start = self.next(place, 0);
            let stop = self.next(start, !0).min(start.saturating_add(wanted));
            if stop - start > best.end - best.start {
                best = start..stop;
            }
            if best.end - best.start == wanted {
                break;
            }
            place = stop;
        }
        best
    }

    /// The free run that begins at `start`, `most` long at most.
    pub(crate) fn extent(&self, start: u32, most: u64) -> std::ops::Range<u32> {
        start..self.next(start, !0).min(start.saturating_add(u32::try_from(most).unwrap_or(u32::MAX)))
    }

    /// The first place from `place` on whose bit is that of `flip` (0: free, !0: taken), or the end.
    fn next(&self, place: u32, flip: u64) -> u32 {
        let mut at = place as usize / 64;
        let mut skip = !0 << (place % 64);
        while let Some(word) = self.words.get(at) {
            let hits = !(word ^ flip) & skip;
            if hits != 0 {
                return at as u32 * 64 + hits.trailing_zeros();
            }
            (at, skip) = (at + 1, !0);
        }
        GROUP_FRAMES as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(free: &[std::ops::Range<u32>]) -> Group {
        let mut group = Group { words: vec![!0; GROUP_WORDS as usize].into(), free: 0, low: 511 };
        free.iter().cloned().flatten().for_each(|place| assert!(group.give(place)));
        group
    }

    #[test]
    fn a_run_is_the_first_that_fits_else_the_longest() {
        let mut group = group(&[3..5, 60..70, 200..203, 32_760..32_768]);
        assert_eq!(group.free(), 23);
        for (from, wanted, found) in [
            (0, 1, 3..4),
            (4, 2, 60..62),
            (0, 3, 60..63),
            (0, 10, 60..70),
            (61, 10, 61..70),
            (64, 100, 32_760..32_768),
            (32_767, 5, 32_767..32_768),
            (204, 8, 32_760..32_768),
        ] {
            assert_eq!(group.run(from, wanted), found, "{wanted} from {from}");
        }
        group.take(3..5);
        assert_eq!(group.run(0, 1), 60..61);
        assert!(group.give(3) && !group.give(3));
        assert_eq!(group.run(0, 2), 60..62);
        assert_eq!(group.free(), 22);
    }

    #[test]
    fn a_full_group_has_no_run() {
        assert_eq!(group(&[]).run(0, 1), 0..0);
    }
}
