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
