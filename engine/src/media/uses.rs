//! What each frame is used for, as far as this opening has met it: four bits for each frame, in memory.
//!
//! The medium holds this in several places, which may contradict each other if it is damaged or was forged: the bit of a
//! frame with a page may be free, two words may name one frame, a word of a map may name a node. Bytes of pages are
//! guarded by latches, words of structures are not: a frame that is both would change under a reader's guard. So each use
//! is stated here before the frame is used, and a second use that does not fit is `Corrupt`:
//!
//! | use | stated by | when |
//! |---|---|---|
//! | page | a lookup | before the frame of a page is remembered or pinned, under a lock that keeps the page from being cut off |
//! | of the groups | a look at their table | before a bitmap or a frame of the table is read |
//! | structure | an append | before a record changes words of the frame |
//! | taken | the allocator | when it hands the frame out, which has no use yet |
//! | page | a link | before the record that maps the frame |
//! | nothing | the allocator | when the frame may be handed out again |
//!
//! A walk that only reads structures states nothing: it may show a moment that has passed.
//!
//! Refused groups are stated here too: no record changes bits of a group whose bitmap does not match its seal.

use super::layout::GROUP_FRAMES;
use crate::error::{Error, Result};
use crate::sync::RwLock;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::units::FrameNo;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Frames in a word.
const PER_WORD: u64 = 64 / WIDTH;
const WIDTH: u64 = 4;
const BITS: u64 = (1 << WIDTH) - 1;

/// What a frame is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Use {
    /// Nothing that is known.
    Unmet,
    /// The bytes of a page.
    Page,
    /// Words of a map, of the directory, of the busy table or of records.
    Structure,
    /// Handed out and not linked yet.
    Taken,
    /// A bitmap, or words of the table of groups.
    Groups,
}

impl Use {
    const fn of(bits: u64) -> Self {
        match bits {
            0 => Self::Unmet,
            1 => Self::Page,
            2 => Self::Structure,
            3 => Self::Taken,
            _ => Self::Groups,
        }
    }
    /// The use in words.
    const fn name(self) -> &'static str {
        match self {
            Self::Unmet => "nothing",
            Self::Page => "a page of an object",
            Self::Structure => "a structure of the region",
            Self::Taken => "what is being written just now",
            Self::Groups => "a bitmap or a part of the table of groups",
        }
    }
}

type Words = Box<[AtomicU64]>;

/// A group that is left alone: the byte offset of what is wrong, the reason, and how many of its frames lost their owner
/// since.
struct Refused {
    at: u64,
    why: String,
    let_go: u64,
}

/// Uses of a region's frames.
pub(crate) struct Uses {
    /// Uses by group. They are made when a frame of the group is met.
    groups: Box<[OnceLock<Words>]>,
    /// Groups whose bitmap does not match its seal.
    refused: RwLock<BTreeMap<u64, Refused>>,
}

impl Uses {
    /// Uses of a region that may have `frames` frames. None was met yet.
    pub(crate) fn new(frames: u64) -> Self {
        let groups = (0..frames.div_ceil(GROUP_FRAMES)).map(|_| OnceLock::new()).collect();
        Self { groups, refused: RwLock::default() }
    }

    /// Refuses `group`: no record changes bits of it in this opening, because of what is wrong at byte `at`.
    pub(crate) fn refuse_group(&self, group: u64, at: u64, why: String) {
        self.refused.write().entry(group).or_insert(Refused { at, why, let_go: 0 });
    }

    /// The refused groups, and why each is refused.
    pub(crate) fn refused_groups(&self) -> Vec<(u64, String)> {
        let told = |refused: &Refused| match refused.let_go {
            0 => (refused.at, refused.why.clone()),
            n => (
                refused.at,
                format!("{}; {n} frames of it have no owner any more and stay taken", refused.why),
            ),
        };
        self.refused.read().values().map(told).collect()
    }

    /// An error if the group is refused.
    pub(crate) fn expect_group(&self, group: u64) -> Result {
        match self.refused.read().get(&group) {
            Some(refused) => Err(Error::corrupt("group", refused.at, refused.why.clone())),
            None => Ok(()),
        }
    }

    /// Whether records may change the bit of `frame`.
    pub(crate) fn takes_part(&self, frame: FrameNo) -> bool {
        !self.refused.read().contains_key(&(u64::from(frame.0) / GROUP_FRAMES))
    }

    /// Those of `frames`, which lost their owner, that become free. The others lie in groups that are left alone.
    pub(crate) fn let_go(&self, mut frames: Vec<FrameNo>) -> Vec<FrameNo> {
        if !self.refused.read().is_empty() {
            let mut refused = self.refused.write();
            frames.retain(|frame| match refused.get_mut(&(u64::from(frame.0) / GROUP_FRAMES)) {
                Some(refused) => {
                    refused.let_go += 1;
                    false
                }
                None => true,
            });
        }
        frames
    }

    /// The known use of `frame`.
    pub(crate) fn of(&self, frame: FrameNo) -> Use {
        let (group, word, shift) = place(frame);
        let words = self.groups.get(group).and_then(OnceLock::get);
        // ORDERING: Acquire: pairs with `change`.
        words.map_or(Use::Unmet, |words| Use::of(words[word].load(Ordering::Acquire) >> shift & BITS))
    }

    /// States that `frame` holds a page.
    pub(crate) fn page(&self, frame: FrameNo) -> Result {
        self.state(frame, Use::Page, &[Use::Unmet, Use::Page])
    }

    /// States that `frame`, which was handed out, is going to hold a page.
    pub(crate) fn link(&self, frame: FrameNo) -> Result {
        self.state(frame, Use::Page, &[Use::Unmet, Use::Taken])
    }

    /// States that `frame` holds words of a structure.
    pub(crate) fn structure(&self, frame: FrameNo) -> Result {
        self.state(frame, Use::Structure, &[Use::Unmet, Use::Taken, Use::Structure])
    }

    /// States that `frame` holds a bitmap, or words of the table of groups.
    pub(crate) fn of_groups(&self, frame: FrameNo) -> Result {
        self.state(frame, Use::Groups, &[Use::Unmet, Use::Taken, Use::Groups])
    }

    /// States that `frame` is handed out.
    pub(crate) fn take(&self, frame: FrameNo) -> Result {
        self.state(frame, Use::Taken, &[Use::Unmet])
    }

    /// An error if the frame has another known use than a page.
    pub(crate) fn expect_page(&self, frame: FrameNo) -> Result {
        match self.of(frame) {
            Use::Page => Ok(()),
            other => Err(contradiction(frame, other, Use::Page)),
        }
    }

    /// An error if the frame has a known use in which it cannot be a node.
    pub(crate) fn refuse_as_node(&self, frame: FrameNo) -> Result {
        match self.of(frame) {
            met @ (Use::Page | Use::Groups) => Err(contradiction(frame, met, Use::Structure)),
            _ => Ok(()),
        }
    }

    /// States that `frame` is used for nothing any more. Returns its former use.
    pub(crate) fn free(&self, frame: FrameNo) -> Use {
        self.change(frame, |_| Some(Use::Unmet))
    }

    fn state(&self, frame: FrameNo, new: Use, fits: &[Use]) -> Result {
        let seen = self.change(frame, |old| (fits.contains(&old) && old != new).then_some(new));
        if fits.contains(&seen) { Ok(()) } else { Err(contradiction(frame, seen, new)) }
    }

    /// Changes the use of a frame to what `to` returns for the present one, if anything. Returns the former use.
    fn change(&self, frame: FrameNo, to: impl Fn(Use) -> Option<Use>) -> Use {
        let (group, word, shift) = place(frame);
        // No frame that is used lies beyond the window; one that a damaged word names is refused by its number.
        let Some(group) = self.groups.get(group) else { return Use::Unmet };
        let words = group.get_or_init(|| (0..GROUP_FRAMES / PER_WORD).map(|_| AtomicU64::new(0)).collect());
        // ORDERING: Acquire, and AcqRel below: a thread that finds a use sees all that was done before the use was
        // stated. A use and a pin's count are two words: one thread changes the first and then reads the second, another
        // changes the second and then reads the first. The fences in `claim::claim` and `OpenObject::pin_located` order
        // them.
        let mut seen = words[word].load(Ordering::Acquire);
        loop {
            let old = Use::of(seen >> shift & BITS);
            let Some(new) = to(old) else { return old };
            let changed = seen & !(BITS << shift) | (new as u64) << shift;
            match words[word].compare_exchange_weak(seen, changed, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return old,
                Err(now) => seen = now,
            }
        }
    }
}

/// Group, word and shift of a frame.
const fn place(frame: FrameNo) -> (usize, usize, u64) {
    let (group, rest) = (frame.0 as u64 / GROUP_FRAMES, frame.0 as u64 % GROUP_FRAMES);
    (group as usize, (rest / PER_WORD) as usize, rest % PER_WORD * WIDTH)
}

#[cold]
fn contradiction(frame: FrameNo, old: Use, new: Use) -> Error {
    let why = format!("frame {} is to be {}, and is {}", frame.0, new.name(), old.name());
    Error::corrupt("frame", frame.offset(), why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_use_that_does_not_fit_is_refused_and_changes_nothing() {
        let uses = Uses::new(GROUP_FRAMES + 9);
        type State = fn(&Uses, FrameNo) -> Result;
        let states: [(State, &[Use], Use); 5] = [
            (Uses::page, &[Use::Unmet, Use::Page], Use::Page),
            (Uses::link, &[Use::Unmet, Use::Taken], Use::Page),
            (Uses::structure, &[Use::Unmet, Use::Taken, Use::Structure], Use::Structure),
            (Uses::take, &[Use::Unmet], Use::Taken),
            (Uses::of_groups, &[Use::Unmet, Use::Taken, Use::Groups], Use::Groups),
        ];
        type Begin = fn(&Uses, FrameNo);
        let begin: [(Use, Begin); 5] = [
            (Use::Unmet, |_, _| ()),
            (Use::Page, |uses, frame| uses.page(frame).unwrap()),
            (Use::Structure, |uses, frame| uses.structure(frame).unwrap()),
            (Use::Taken, |uses, frame| uses.take(frame).unwrap()),
            (Use::Groups, |uses, frame| uses.of_groups(frame).unwrap()),
        ];
        for frame in [0, 31, 32, 32_767, 32_768, 32_776].map(FrameNo) {
            for (old, begin) in begin {
                for (state, fits, new) in states {
                    let _ = uses.free(frame);
                    begin(&uses, frame);
                    let refused = state(&uses, frame).is_err();
                    assert_eq!(refused, !fits.contains(&old), "{old:?} to {new:?}");
                    assert_eq!(uses.of(frame), if refused { old } else { new });
                }
            }
            let _ = uses.free(frame);
        }
        assert!([0, 1, 30, 33, 40_000].iter().all(|frame| uses.of(FrameNo(*frame)) == Use::Unmet));
    }
}
