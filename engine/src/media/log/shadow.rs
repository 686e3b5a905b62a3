//! The shadow: the words of the medium as they will be once every appended record is applied (LOG rule 4).
//!
//! It holds only what is appended and not yet stored home; everything else is read from its home.

use crate::error::{Error, Result};
use crate::media::log::record::{Entry, Sequence};
use crate::region::Memory;
use crate::sync::RwLock;
use crate::units::{FRAME_SIZE, FrameNo};
use std::collections::HashMap;

/// Words and frames that differ from their homes: at first none.
#[derive(Default)]
pub struct Shadow {
    changed: RwLock<Changed>,
}

#[derive(Default)]
struct Changed {
    words: HashMap<u64, (u64, Sequence)>,
    zeroed: HashMap<FrameNo, Sequence>,
}

impl Changed {
    fn get(&self, offset: u64) -> Option<u64> {
        if let Some(&(value, _)) = self.words.get(&offset) {
            return Some(value);
        }
        let frame = u32::try_from(offset / FRAME_SIZE as u64).ok()?;
        (!self.zeroed.is_empty() && self.zeroed.contains_key(&FrameNo(frame))).then_some(0)
    }
}

impl Shadow {
    /// The word at `offset`. The home is read under the lock: it may only change with it.
    pub fn read(&self, memory: &Memory, offset: u64) -> Result<u64> {
        if offset % 8 != 0 {
            return Err(Error::corrupt("word", offset, "not aligned"));
        }
        let changed = self.changed.read();
        match changed.get(offset) {
            Some(value) => Ok(value),
            None => memory.load(offset),
        }
    }

    /// Takes in an appended record.
    pub fn append(&self, sequence: Sequence, entries: &[Entry]) {
        let mut changed = self.changed.write();
        for entry in entries {
            match *entry {
                Entry::Word(offset, value) => {
                    changed.words.insert(offset, (value, sequence));
                }
                Entry::Zero(frame) => {
                    changed.zeroed.insert(frame, sequence);
                }
                // Bytes of data frames are read in place.
                Entry::Lines(..) | Entry::Payload(_) => {}
            }
        }
    }

    /// Forgets a record whose homes are stored, except what a later record changed again.
    pub fn applied(&self, sequence: Sequence, entries: &[Entry]) {
        let mut changed = self.changed.write();
        for entry in entries {
            match *entry {
                Entry::Word(offset, _) => {
                    if changed.words.get(&offset).is_some_and(|&(_, last)| last <= sequence) {
                        changed.words.remove(&offset);
                    }
                }
                Entry::Zero(frame) => {
                    if changed.zeroed.get(&frame).is_some_and(|&last| last <= sequence) {
                        changed.zeroed.remove(&frame);
                    }
                }
                Entry::Lines(..) | Entry::Payload(_) => {}
            }
        }
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
