//! The shadow: the words of the medium as they will be once every appended record is applied (LOG rule 4).
//!
//! It holds only what is appended and not yet stored home. Everything else is read from its home.

use crate::error::{Error, Result};
use crate::media::log::record::{Entry, Sequence};
use crate::media::root::Anchor;
use crate::media::seal::Blank;
use crate::region::Memory;
use crate::sync::RwLock;
use crate::units::{FRAME_SIZE, FrameNo};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;

/// Words and frames that differ from their homes. At first there are none.
pub struct Shadow {
    state: RwLock<State>,
    /// How often words were read.
    #[cfg(test)]
    pub(crate) looks: std::sync::atomic::AtomicU64,
}

struct State {
    anchor: Anchor,
    changed: FxHashMap<FrameNo, Changed>,
    /// The former values of words that were changed since the kept moment.
    kept: Option<Kept>,
}

#[derive(Default)]
struct Kept {
    words: FxHashMap<FrameNo, BTreeMap<u16, u64>>,
    /// Frames that were free at that moment: nothing led to their words. Only free frames are made zero, and none that
    /// was freed since is handed out.
    fresh: FxHashSet<FrameNo>,
}

impl State {
    fn run(&self, memory: &Memory, (frame, place): (FrameNo, u16), into: &mut [u64]) -> Result {
        let offset = frame.offset() + u64::from(place) * 8;
        let Some(changed) = self.changed.get(&frame) else { return memory.load_run(offset, into) };
        match changed.blank {
            Some((blank, _)) => self.anchor.salt.blank(frame, blank, place, into),
            None => memory.load_run(offset, into)?,
        }
        overlay(place, into, &changed.words, |&(value, _)| value);
        Ok(())
    }

    /// Takes in a word of an appended record.
    fn set(&mut self, memory: &Memory, offset: u64, value: u64, sequence: Sequence) -> Result {
        let (frame, place) = place_of(offset)?;
        self.keep(memory, frame, place)?;
        self.changed.entry(frame).or_default().words.insert(place, (value, sequence));
        Ok(())
    }

    /// Takes in a frame that an appended record makes anew.
    fn make(&mut self, frame: FrameNo, blank: Blank, sequence: Sequence) {
        if let Some(kept) = &mut self.kept {
            kept.fresh.insert(frame);
        }
        self.changed.entry(frame).or_default().blank = Some((blank, sequence));
    }

    fn forget_word(&mut self, offset: u64, sequence: Sequence) {
        if let Ok((frame, place)) = place_of(offset) {
            self.forget(frame, Some(place), sequence);
        }
    }

    /// Forgets a record's change of a word, or of the whole frame, unless a later record has changed it too.
    fn forget(&mut self, frame: FrameNo, place: Option<u16>, sequence: Sequence) {
        let std::collections::hash_map::Entry::Occupied(mut here) = self.changed.entry(frame) else { return };
        let now = here.get_mut();
        match place {
            Some(place) if now.words.get(&place).is_some_and(|&(_, last)| last <= sequence) => {
                now.words.remove(&place);
            }
            None if now.blank.is_some_and(|(_, last)| last <= sequence) => now.blank = None,
            _ => {}
        }
        if now.blank.is_none() && now.words.is_empty() {
            here.remove();
        }
    }

    /// Keeps a word that is about to change.
    fn keep(&mut self, memory: &Memory, frame: FrameNo, place: u16) -> Result {
        match &self.kept {
            Some(kept) if !kept.fresh.contains(&frame) => {}
            _ => return Ok(()),
        }
        let mut now = [0];
        self.run(memory, (frame, place), &mut now)?;
        let kept = self.kept.get_or_insert_default();
        kept.words.entry(frame).or_default().entry(place).or_insert(now[0]);
        Ok(())
    }
}

/// Writes `words` over `into`, whose first word is that at `place`.
fn overlay<T>(place: u16, into: &mut [u64], words: &BTreeMap<u16, T>, value: impl Fn(&T) -> u64) {
    let end = usize::from(place) + into.len();
    for (&at, word) in words.range(place..).take_while(|(at, _)| usize::from(**at) < end) {
        into[usize::from(at - place)] = value(word);
    }
}

/// What differs in one frame.
#[derive(Default)]
struct Changed {
    /// What the whole frame was made, and the last record that made it so.
    blank: Option<(Blank, Sequence)>,
    /// Words by their places, and the last record that changed each.
    words: BTreeMap<u16, (u64, Sequence)>,
}

impl Shadow {
    /// The empty shadow of a region with this anchor.
    pub fn new(anchor: Anchor) -> Self {
        Self {
            state: RwLock::new(State { anchor, changed: FxHashMap::default(), kept: None }),
            #[cfg(test)]
            looks: std::sync::atomic::AtomicU64::new(0),
        }
    }

    /// The word at `offset`. The home is read under the lock, since it changes together with the shadow.
    pub fn read(&self, memory: &Memory, offset: u64) -> Result<u64> {
        let place = place_of(offset)?;
        self.looked();
        let state = self.state.read();
        match state.changed.get(&place.0).map(|changed| changed.words.get(&place.1)) {
            None => memory.load(offset),
            Some(Some(&(value, _))) => Ok(value),
            Some(None) => {
                let mut word = [0];
                state.run(memory, place, &mut word)?;
                Ok(word[0])
            }
        }
    }

    /// The words from `offset` on, all of one frame, in one look.
    pub fn read_run(&self, memory: &Memory, offset: u64, into: &mut [u64]) -> Result {
        let place = place_of(offset)?;
        self.looked();
        self.state.read().run(memory, place, into)
    }

    /// From now on keeps the former value of what changes, so that the words of this moment can be read until `forget`.
    pub fn keep(&self) {
        self.state.write().kept = Some(Kept::default());
    }

    /// Ends what `keep` began. Returns whether a moment was kept.
    pub fn forget(&self) -> bool {
        self.state.write().kept.take().is_some()
    }

    /// As [`read_run`](Self::read_run), for the kept moment. Returns false if none is kept.
    pub fn read_kept(&self, memory: &Memory, offset: u64, into: &mut [u64]) -> Result<bool> {
        let (frame, place) = place_of(offset)?;
        let state = self.state.read();
        let Some(kept) = &state.kept else { return Ok(false) };
        state.run(memory, (frame, place), into)?;
        if let Some(kept) = kept.words.get(&frame) {
            overlay(place, into, kept, |&value| value);
        }
        Ok(true)
    }

    fn looked(&self) {
        #[cfg(test)]
        self.looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    /// Takes in an appended record.
    pub fn append(&self, memory: &Memory, sequence: Sequence, entries: &[Entry]) -> Result {
        let mut state = self.state.write();
        for entry in entries {
            match *entry {
                Entry::Word(offset, value) => state.set(memory, offset, value, sequence)?,
                Entry::Root(offset, value) => {
                    let places = state.anchor.places(offset);
                    places.into_iter().try_for_each(|at| state.set(memory, at, value, sequence))?;
                }
                Entry::Zero(frame) => state.make(frame, Blank::Zero, sequence),
                Entry::Node(frame, node) => state.make(frame, Blank::Node(node), sequence),
                // Bytes of data frames are read in place.
                Entry::Lines(..) | Entry::Payload(_) => {}
            }
        }
        Ok(())
    }

    /// Forgets a record whose homes are stored, except for what a later record has changed again.
    pub fn applied(&self, sequence: Sequence, entries: &[Entry]) {
        let mut state = self.state.write();
        for entry in entries {
            match *entry {
                Entry::Word(offset, _) => state.forget_word(offset, sequence),
                Entry::Root(offset, _) => {
                    let places = state.anchor.places(offset);
                    places.into_iter().for_each(|at| state.forget_word(at, sequence));
                }
                Entry::Zero(frame) | Entry::Node(frame, _) => state.forget(frame, None, sequence),
                Entry::Lines(..) | Entry::Payload(_) => {}
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
    use crate::media::rules::Rules;
    use crate::media::seal::{Node, Salt};
    use crate::region::{Region, RegionOptions, Source};

    const ANCHOR: Anchor = Anchor { salt: Salt::new(7, Rules::KEPT), roots: [FrameNo(0), FrameNo(3)] };

    #[test]
    fn of_a_moment_only_what_was_in_use_then_is_kept() {
        let image = Source::Image(vec![0xee; 4 * FRAME_SIZE]);
        let region = Region::attach(image, &RegionOptions::default()).unwrap();
        let (memory, shadow, size) = (region.memory(), Shadow::new(ANCHOR), FRAME_SIZE as u64);
        shadow.keep();
        let entries = [Entry::Zero(FrameNo(2)), Entry::Word(2 * size + 8, 3), Entry::Word(8, 1)];
        shadow.append(memory, Sequence(1), &entries).unwrap();
        let kept = shadow
            .state
            .read()
            .kept
            .as_ref()
            .map(|kept| kept.words.values().map(BTreeMap::len).sum::<usize>());
        assert_eq!(kept, Some(1), "words of a frame that was free");
        let mut word = [0];
        assert!(shadow.read_kept(memory, 8, &mut word).unwrap());
        assert_eq!(word, [0xeeee_eeee_eeee_eeee]);
    }

    #[test]
    fn what_is_appended_shows_until_its_own_homes_are_stored() {
        let image = Source::Image(vec![0xee; 4 * FRAME_SIZE]);
        let region = Region::attach(image, &RegionOptions::default()).unwrap();
        let (memory, shadow, size) = (region.memory(), Shadow::new(ANCHOR), FRAME_SIZE as u64);
        let read = |offset| shadow.read(memory, offset).unwrap();
        let home = 0xeeee_eeee_eeee_eeee;
        let first = [Entry::Word(8, 1), Entry::Zero(FrameNo(2))];
        let second = [Entry::Word(8, 2), Entry::Word(2 * size + 8, 3), Entry::Zero(FrameNo(2))];
        assert_eq!(read(8), home);
        shadow.append(memory, Sequence(1), &first).unwrap();
        assert_eq!((read(8), read(16), read(0)), (1, home, home));
        assert_eq!((read(2 * size), read(3 * size - 8)), (0, 0));
        assert_eq!((read(2 * size - 8), read(3 * size)), (home, home), "the frames beside it");
        shadow.append(memory, Sequence(2), &second).unwrap();
        assert_eq!((read(8), read(2 * size + 8)), (2, 3));
        shadow.applied(Sequence(1), &first);
        assert_eq!((read(8), read(2 * size)), (2, 0), "a later record has changed them again");
        shadow.applied(Sequence(2), &second);
        assert_eq!((read(8), read(2 * size), read(2 * size + 8)), (home, home, home));
        let third = [Entry::Root(24, 4), Entry::Node(FrameNo(1), Node::map(3, 512, 1))];
        shadow.append(memory, Sequence(3), &third).unwrap();
        let nothing = ANCHOR.salt.map(3, 513, 1).nothing();
        assert_eq!((read(24), read(3 * size + 24), read(size + 8)), (4, 4, nothing), "both roots");
        shadow.applied(Sequence(3), &third);
        assert_eq!((read(24), read(3 * size + 24), read(size + 8)), (home, home, home));
        for odd in [1, 4, 9] {
            assert!(matches!(shadow.read(memory, odd), Err(Error::Corrupt { what: "word", .. })), "{odd}");
        }
        assert!(shadow.read(memory, 4 * size).is_err(), "beyond the region");
    }
}
