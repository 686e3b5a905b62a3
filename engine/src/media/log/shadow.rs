//! The shadow: the words of the medium as they will be once every appended record is applied (LOG rule 4).
//!
//! It holds only what is appended and not yet stored home; everything else is read from its home.

use crate::error::{Error, Result};
use crate::media::log::record::{Entry, Sequence};
use crate::region::Memory;
use crate::sync::RwLock;
use crate::units::{FRAME_SIZE, FrameNo};
use std::collections::{BTreeMap, HashMap};

/// Words and frames that differ from their homes: at first none.
#[derive(Default)]
pub struct Shadow {
    changed: RwLock<HashMap<FrameNo, Changed>>,
    /// How often words were looked at.
    #[cfg(test)]
    pub(crate) looks: std::sync::atomic::AtomicU64,
}

/// What differs in one frame.
#[derive(Default)]
struct Changed {
    /// The last record that made it zero.
    zeroed: Option<Sequence>,
    /// Words by their places, and the last record that changed each.
    words: BTreeMap<u16, (u64, Sequence)>,
}

impl Changed {
    fn get(&self, place: u16) -> Option<u64> {
        self.words.get(&place).map(|&(value, _)| value).or(self.zeroed.map(|_| 0))
    }
}

impl Shadow {
    /// The word at `offset`. The home is read under the lock: it may only change with it.
    pub fn read(&self, memory: &Memory, offset: u64) -> Result<u64> {
        let (frame, place) = place_of(offset)?;
        self.looked();
        let changed = self.changed.read();
        match changed.get(&frame).and_then(|changed| changed.get(place)) {
            Some(value) => Ok(value),
            None => memory.load(offset),
        }
    }

    /// The words from `offset` on, all of one frame: one look for all.
    pub fn read_run(&self, memory: &Memory, offset: u64, into: &mut [u64]) -> Result {
        let (frame, place) = place_of(offset)?;
        self.looked();
        let changed = self.changed.read();
        let Some(changed) = changed.get(&frame) else { return memory.load_run(offset, into) };
        match changed.zeroed {
            Some(_) => into.fill(0),
            None => memory.load_run(offset, into)?,
        }
        for (&at, &(value, _)) in changed.words.range(place..) {
            let Some(word) = into.get_mut(usize::from(at - place)) else { break };
            *word = value;
        }
        Ok(())
    }

    fn looked(&self) {
        #[cfg(test)]
        self.looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    /// Takes in an appended record.
    pub fn append(&self, sequence: Sequence, entries: &[Entry]) {
        let mut changed = self.changed.write();
        for entry in entries {
            match *entry {
                Entry::Word(offset, value) => {
                    if let Ok((frame, place)) = place_of(offset) {
                        changed.entry(frame).or_default().words.insert(place, (value, sequence));
                    }
                }
                Entry::Zero(frame) => changed.entry(frame).or_default().zeroed = Some(sequence),
                // Bytes of data frames are read in place.
                Entry::Lines(..) | Entry::Payload(_) => {}
            }
        }
    }

    /// Forgets a record whose homes are stored, except what a later record changed again.
    pub fn applied(&self, sequence: Sequence, entries: &[Entry]) {
        let mut changed = self.changed.write();
        for entry in entries {
            let (frame, place) = match *entry {
                Entry::Word(offset, _) => match place_of(offset) {
                    Ok((frame, place)) => (frame, Some(place)),
                    Err(_) => continue,
                },
                Entry::Zero(frame) => (frame, None),
                Entry::Lines(..) | Entry::Payload(_) => continue,
            };
            let std::collections::hash_map::Entry::Occupied(mut here) = changed.entry(frame) else {
                continue;
            };
            let now = here.get_mut();
            match place {
                Some(place) if now.words.get(&place).is_some_and(|&(_, last)| last <= sequence) => {
                    now.words.remove(&place);
                }
                None if now.zeroed.is_some_and(|last| last <= sequence) => now.zeroed = None,
                _ => {}
            }
            if now.zeroed.is_none() && now.words.is_empty() {
                here.remove();
            }
        }
    }
}

/// The frame of a word, and its place there.
pub(super) fn place_of(offset: u64) -> Result<(FrameNo, u16)> {
    let frame = u32::try_from(offset / FRAME_SIZE as u64).map(FrameNo);
    match frame {
        Ok(frame) if offset % 8 == 0 => Ok((frame, (offset % FRAME_SIZE as u64 / 8) as u16)),
        _ => Err(Error::corrupt("word", offset, "not aligned, or beyond every region")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::{Region, RegionOptions, Source};

    #[test]
    fn what_is_appended_shows_until_its_own_homes_are_stored() {
        let image = Source::Image(vec![0xee; 4 * FRAME_SIZE]);
        let region = Region::attach(image, &RegionOptions::default()).unwrap();
        let (memory, shadow, size) = (region.memory(), Shadow::default(), FRAME_SIZE as u64);
        let read = |offset| shadow.read(memory, offset).unwrap();
        let home = 0xeeee_eeee_eeee_eeee;
        let first = [Entry::Word(8, 1), Entry::Zero(FrameNo(2))];
        let second = [Entry::Word(8, 2), Entry::Word(2 * size + 8, 3), Entry::Zero(FrameNo(2))];
        assert_eq!(read(8), home);
        shadow.append(Sequence(1), &first);
        assert_eq!((read(8), read(16), read(0)), (1, home, home));
        assert_eq!((read(2 * size), read(3 * size - 8)), (0, 0));
        assert_eq!((read(2 * size - 8), read(3 * size)), (home, home), "the frames beside it");
        shadow.append(Sequence(2), &second);
        assert_eq!((read(8), read(2 * size + 8)), (2, 3));
        shadow.applied(Sequence(1), &first);
        assert_eq!((read(8), read(2 * size)), (2, 0), "a later record has changed them again");
        shadow.applied(Sequence(2), &second);
        assert_eq!((read(8), read(2 * size), read(2 * size + 8)), (home, home, home));
        for odd in [1, 4, 9] {
            assert!(matches!(shadow.read(memory, odd), Err(Error::Corrupt { what: "word", .. })), "{odd}");
        }
        assert!(shadow.read(memory, 4 * size).is_err(), "beyond the region");
    }
}
