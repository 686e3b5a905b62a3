//! The bitmap: one bit per frame, 1 = allocated, in groups of 32,768 frames with a bitmap frame each, which the table of
//! groups names. A change of bits changes the tally of their group in the same record.
//!
//! A frame that the medium calls free may not be one to hand out: it may have been taken and not be linked yet, or its
//! freeing record may not be passed yet. The volatile copy of a group has these frames as taken. The copy is made at the
//! first use of the group, before any of its bits changes, so it has every bit that the medium has.

use super::groups;
use super::layout::GROUP_FRAMES;
use super::log::{Log, Txn};
use super::rules::Rule;
use super::runs::Runs;
use super::words::{Shape, WORDS, Words};
use crate::error::{Error, Result};
use crate::units::{FRAMES_PER_BLOCK, FrameNo};
use std::collections::BTreeMap;
use std::ops::Range;

/// Words of a group's bits: the whole frame of its bitmap.
pub(crate) const GROUP_WORDS: u64 = GROUP_FRAMES / 64;
const _: () = assert!(GROUP_WORDS == WORDS);

/// Where the bit of a frame lies: its group, the word in the group's bitmap, and the bit.
const fn place_of(frame: FrameNo) -> (u64, u64, u64) {
    let (group, place) = (frame.0 as u64 / GROUP_FRAMES, frame.0 as u64 % GROUP_FRAMES);
    (group, place / 64, 1 << (place % 64))
}

/// Byte offset of the word that holds the bit of `frame`, and the bit.
pub(crate) fn bit_of(words: &impl Words, shape: Shape, frame: FrameNo) -> Result<(u64, u64)> {
    let (group, place, bit) = place_of(frame);
    Ok((groups::find(words, shape, group)?.word(place), bit))
}

/// Whether the medium says that `frame` is allocated.
pub(crate) fn allocated(words: &impl Words, shape: Shape, frame: FrameNo) -> Result<bool> {
    let (at, bit) = bit_of(words, shape, frame)?;
    Ok(words.word(at)? & bit != 0)
}

/// The bits of `frames`, by group and word.
fn masks(shape: Shape, frames: impl Iterator<Item = FrameNo>) -> Result<BTreeMap<u64, BTreeMap<u64, u64>>> {
    let mut masks: BTreeMap<u64, BTreeMap<u64, u64>> = BTreeMap::new();
    for frame in frames {
        let (group, place, bit) = place_of(frame);
        let mask = masks.entry(group).or_default().entry(place).or_insert(0);
        if !shape.ordinary(frame) || *mask & bit != 0 {
            return Err(Error::corrupt(
                "bitmap",
                frame.offset(),
                format!("frame {} is fixed, or changes twice", frame.0),
            ));
        }
        *mask |= bit;
    }
    Ok(masks)
}

/// The most tallies that change with the bits of this many frames.
pub(crate) fn tallies_max(shape: Shape, frames: usize) -> usize {
    frames.min(usize::try_from(shape.groups()).unwrap_or(usize::MAX))
}

/// Marks `frames` allocated.
pub(crate) fn set(t: &mut Txn<'_>, shape: Shape, frames: impl Iterator<Item = FrameNo>) -> Result {
    change(t, shape, frames, |word, mask| match word & mask {
        0 => Ok(word | mask),
        _ => Err("a frame to be linked is allocated already"),
    })
}

/// Marks `frames` free, those of groups that are left alone excepted: they stay taken, and nothing owns them, until a
/// repair computes the bitmap anew. Their groups were loaded.
pub(crate) fn clear(t: &mut Txn<'_>, shape: Shape, frames: impl Iterator<Item = FrameNo>) -> Result {
    let log = t.log();
    let frames: Vec<_> = frames.filter(|&frame| log.uses().takes_part(frame)).collect();
    change(t, shape, frames.into_iter(), |word, mask| match word & mask {
        all if all == mask => Ok(word & !mask),
        _ => Err("a frame to be freed is free already"),
    })
}

/// Changes bits, and the tallies of their groups by the difference of the words as they are read here. So a word that
/// rotted after its group was compared still does not match the seal.
fn change(
    t: &mut Txn<'_>,
    shape: Shape,
    frames: impl Iterator<Item = FrameNo>,
    new: impl Fn(u64, u64) -> std::result::Result<u64, &'static str>,
) -> Result {
    for (group, words) in masks(shape, frames)? {
        t.log().uses().expect_group(group)?;
        let mut entry = groups::find(t, shape, group)?;
        for (place, mask) in words {
            let at = entry.word(place);
            let old = t.read(at)?;
            let new = new(old, mask).map_err(|why| Error::corrupt("bitmap", at, why))?;
            t.write_of_groups(at, new)?;
            entry.change(t, place, old, new);
        }
        entry.write(t)?;
    }
    Ok(())
}

/// The volatile copy of a group: 1 = not to be handed out.
#[derive(Debug)]
pub(crate) struct Group {
    words: Box<[u64]>,
    /// Zero bits of `words`.
    free: u32,
    /// Their runs.
    runs: Runs,
    /// The frame of its bitmap.
    bitmap: Option<FrameNo>,
}

impl Group {
    /// The copy of group `group`. Frames beyond the region are not to be handed out. The bitmap is compared with its
    /// tally. If it differs, or cannot be found, the group is left alone: no frame of it is handed out or taken back, and
    /// no record changes its bits.
    pub(crate) fn load(log: &Log, shape: Shape, group: u64) -> Result<Self> {
        match Self::compared(log, shape, group) {
            Err(Error::Corrupt { what, at, why }) => {
                log.uses().refuse_group(group, at, format!("{what}: {why}"));
                let all = vec![!0; GROUP_WORDS as usize];
                Ok(Self { bitmap: None, ..Self::of(all.into()) })
            }
            loaded => loaded,
        }
    }

    fn compared(log: &Log, shape: Shape, group: u64) -> Result<Self> {
        let entry = groups::find(log, shape, group)?;
        let mut copy = log.frame(entry.bitmap)?;
        if !log.rules().broken(Rule::TallyUnchecked) {
            entry.compare(log, &copy)?;
        }
        for (i, word) in copy.iter_mut().enumerate() {
            let (fixed, beyond) = shape.outside(group * GROUP_WORDS + i as u64);
            *word |= fixed | beyond;
        }
        Ok(Self { bitmap: Some(entry.bitmap), ..Self::of(Box::new(copy)) })
    }

    fn of(words: Box<[u64]>) -> Self {
        let free = words.iter().map(|word| word.count_zeros()).sum();
        Self { runs: Runs::of(&words), words, free, bitmap: Some(FrameNo(0)) }
    }

    /// The frame of its bitmap; `None` for a group that is left alone.
    pub(crate) const fn bitmap(&self) -> Option<FrameNo> {
        self.bitmap
    }

    /// The first block whose frames are all free.
    pub(crate) fn whole_block(&self) -> Option<u32> {
        const WORDS: usize = (FRAMES_PER_BLOCK / 64) as usize;
        let mut blocks = self.words.chunks(WORDS);
        blocks.position(|block| block.iter().all(|&word| word == 0)).map(|n| n as u32)
    }

    /// Frames that may be handed out.
    pub(crate) const fn free(&self) -> u32 {
        self.free
    }

    /// The length of the longest run of these.
    pub(crate) fn longest(&self) -> u32 {
        self.runs.longest()
    }

    /// Whether the frame at `place` may be handed out.
    #[cfg(test)]
    fn is_free(&self, place: u32) -> bool {
        self.words[place as usize / 64] & 1 << (place % 64) == 0
    }

    /// Hands out `places`, which are all free.
    pub(crate) fn take(&mut self, places: Range<u32>) {
        self.free -= places.len() as u32;
        for (n, mask) in masks_of(places) {
            debug_assert!(self.words[n] & mask == 0);
            self.words[n] |= mask;
            self.runs.set(n, self.words[n]);
        }
    }

    /// Takes `places` back. Returns how many of them were handed out.
    pub(crate) fn give(&mut self, places: Range<u32>) -> u32 {
        if self.bitmap.is_none() {
            return 0;
        }
        let before = self.free;
        for (n, mask) in masks_of(places) {
            self.free += (self.words[n] & mask).count_ones();
            self.words[n] &= !mask;
            self.runs.set(n, self.words[n]);
        }
        self.free - before
    }

    /// The first run of `wanted` free frames from `from` on.
    pub(crate) fn first(&self, from: u32, wanted: u32) -> Option<Range<u32>> {
        self.runs.first(&self.words, from, wanted)
    }

    /// The first whole run of free frames at or behind `from`; an empty one behind the last run.
    pub(crate) fn next_free(&self, from: u32) -> std::ops::Range<u32> {
        match self.first(from, 1) {
            Some(run) => run.start..self.next_taken(run.start),
            None => GROUP_FRAMES as u32..GROUP_FRAMES as u32,
        }
    }

    /// The runs in `places` that may be handed out, and the other runs.
    pub(crate) fn parts(
        &self,
        places: std::ops::Range<u32>,
    ) -> (Vec<std::ops::Range<u32>>, Vec<std::ops::Range<u32>>) {
        let (mut free, mut taken, mut at) = (Vec::new(), Vec::new(), places.start);
        while at < places.end {
            let run = self.next_free(at);
            let run = run.start.min(places.end)..run.end.min(places.end);
            if at < run.start {
                taken.push(at..run.start);
            }
            at = run.end;
            if !run.is_empty() {
                free.push(run);
            }
        }
        (free, taken)
    }

    /// The free run that begins at `start`, at most `most` frames.
    pub(crate) fn extent(&self, start: u32, most: u64) -> Range<u32> {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        start..self.next_taken(start).min(start.saturating_add(most))
    }

    /// The first place from `place` on that may not be handed out, or the end.
    fn next_taken(&self, place: u32) -> u32 {
        let (at, skip) = (place as usize / 64, !0 << (place % 64));
        let mut words = self.words.iter().enumerate().skip(at);
        let taken = words.find_map(|(n, word)| {
            let hits = if n == at { word & skip } else { *word };
            (hits != 0).then(|| n as u32 * 64 + hits.trailing_zeros())
        });
        taken.unwrap_or(GROUP_FRAMES as u32)
    }

    /// Words and nodes that searches have looked at.
    #[cfg(test)]
    pub(crate) fn looks(&self) -> u64 {
        self.runs.looks.get()
    }
}

/// The words that hold `places`, and their bits in each.
fn masks_of(places: Range<u32>) -> impl Iterator<Item = (usize, u64)> {
    let mut place = places.start;
    std::iter::from_fn(move || {
        if place >= places.end {
            return None;
        }
        let (n, first) = ((place / 64) as usize, place % 64);
        let count = (64 - first).min(places.end - place);
        place += count;
        Some((n, (u64::MAX >> (64 - count)) << first))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(free: &[Range<u32>]) -> Group {
        let mut group = Group::of(vec![!0; GROUP_WORDS as usize].into());
        free.iter().cloned().for_each(|places| assert!(group.give(places) > 0));
        group
    }

    #[test]
    fn a_run_is_the_first_that_fits() {
        let mut group = group(&[3..5, 60..70, 200..203, 32_760..32_768]);
        assert_eq!((group.free(), group.longest()), (23, 10));
        for (from, wanted, found) in [
            (0, 1, Some(3..4)),
            (4, 2, Some(60..62)),
            (0, 3, Some(60..63)),
            (0, 10, Some(60..70)),
            (61, 10, None),
            (61, 8, Some(61..69)),
            (64, 100, None),
            (32_767, 5, None),
            (204, 8, Some(32_760..32_768)),
        ] {
            assert_eq!(group.first(from, wanted), found, "{wanted} from {from}");
        }
        assert_eq!(
            (group.extent(60, 4), group.extent(60, 99), group.extent(32_767, 2)),
            (60..64, 60..70, 32_767..32_768)
        );
        group.take(3..5);
        assert_eq!(group.first(0, 1), Some(60..61));
        assert_eq!((group.give(3..4), group.give(3..4), group.is_free(4)), (1, 0, false));
        assert_eq!(group.first(0, 2), Some(60..62));
        assert_eq!(group.free(), 22);
        group.take(60..70);
        assert_eq!((group.free(), group.longest()), (12, 8));
    }

    #[test]
    fn parts_are_free_or_taken() {
        let alone = |run: Range<u32>| vec![run];
        let group = group(&[3..5, 60..70, 32_760..32_768]);
        assert_eq!(group.parts(0..66), (vec![3..5, 60..66], vec![0..3, 5..60]));
        assert_eq!(group.parts(61..32_768), (vec![61..70, 32_760..32_768], alone(70..32_760)));
        assert_eq!(group.parts(70..80), (vec![], alone(70..80)));
        assert_eq!(group.next_free(65), 65..70);
        assert!(Group::of(vec![!0; GROUP_WORDS as usize].into()).next_free(9).is_empty());
    }

    #[test]
    fn the_first_whole_block_is_one_that_begins_at_a_multiple() {
        let mut group = group(&[5..1023, 1100..1700, 2048..2560, 3072..32_768]);
        assert_eq!(group.whole_block(), Some(4));
        group.take(2048..2049);
        assert_eq!(group.whole_block(), Some(6));
    }

    #[test]
    fn a_full_group_has_no_run() {
        assert_eq!(group(&[]).first(0, 1), None);
    }
}
