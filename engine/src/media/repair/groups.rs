//! Bitmaps and their table, made from the owners of all frames.
//!
//! Each stays in its frame if that is known and nothing else owns the frame. Otherwise it gets another frame.

use super::super::bitmap::GROUP_WORDS;
use super::super::groups::{self, Entry};
use super::super::layout::{GROUPS_MAX, RootWord, TABLE_GROUPS};
use super::super::owned::Owned;
use super::super::words::{WORDS, Words};
use super::plan::Work;
use super::records::readable;
use super::script::Step;
use crate::error::Result;
use crate::units::FrameNo;
use std::collections::BTreeMap;

/// A frame that the table names: a bitmap, or a frame of the table itself.
#[derive(Clone, Copy)]
struct Place {
    frame: FrameNo,
    /// Whether its words prove its use.
    proven: bool,
    /// Whether it owns the frame.
    owns: bool,
}

/// The table as far as it was found.
pub(super) struct Groups {
    root: Option<Place>,
    /// Frames of the table, by the first group of each.
    tables: BTreeMap<u64, Place>,
    bitmaps: BTreeMap<u64, (Entry, Place)>,
}

/// Reads the table. A place that its words prove owns its frame.
pub(super) fn find<W: Words>(work: &mut Work<'_, W>) -> Result<Groups> {
    let mut found = Groups { root: None, tables: BTreeMap::new(), bitmaps: BTreeMap::new() };
    let (words, shape) = (work.words, work.space.shape);
    let Some(root) = readable(groups::root(words, shape))? else { return Ok(found) };
    found.root = Some(place(work, root, sealed(words, root, 1)?));
    for group in 0..(shape.groups() + 1).min(GROUPS_MAX) {
        let first = group / TABLE_GROUPS * TABLE_GROUPS;
        if group == first {
            if let Some(table) = readable(groups::table(words, shape, group))?.flatten() {
                let proven = sealed(words, table, 2)?;
                found.tables.insert(first, place(work, table, proven));
            }
        }
        let Some(entry) = readable(groups::look(words, shape, group))?.flatten() else { continue };
        let bits = words.frame(entry.bitmap)?;
        let proven = readable(entry.compare(words, &bits))?.is_some();
        let place = place(work, entry.bitmap, proven);
        if place.owns {
            work.space.sound.insert(group, Box::new(bits));
        }
        found.bitmaps.insert(group, (entry, place));
    }
    Ok(found)
}

fn place<W: Words>(work: &mut Work<'_, W>, frame: FrameNo, proven: bool) -> Place {
    Place { frame, proven, owns: proven && work.space.owned.claim(frame) }
}

/// Whether a word of the frame is sealed for its place. Only every `step`-th word is tried.
fn sealed(words: &impl Words, frame: FrameNo, step: usize) -> Result<bool> {
    let places = (frame.offset()..).step_by(8).zip(words.frame(frame)?);
    Ok(places.step_by(step).any(|(at, word)| words.salt().place(at).open(word).is_some()))
}

impl Groups {
    fn places(&mut self) -> impl Iterator<Item = &mut Place> {
        let bitmaps = self.bitmaps.values_mut().map(|(_, place)| place);
        self.root.iter_mut().chain(self.tables.values_mut()).chain(bitmaps)
    }

    /// A place that is not proven owns its frame if nothing else does.
    pub(super) fn claim_others<W: Words>(&mut self, work: &mut Work<'_, W>) {
        for place in self.places().filter(|place| !place.proven) {
            place.owns = work.space.owned.claim(place.frame);
        }
    }

    /// Whether the table names the frame, proven or not.
    pub(super) fn holds(&self, frame: FrameNo) -> bool {
        let bitmaps = self.bitmaps.values().map(|(_, place)| place);
        self.root.iter().chain(self.tables.values()).chain(bitmaps).any(|place| place.frame == frame)
    }

    /// Makes the bits from the owners, and the table that leads to the bitmaps.
    pub(super) fn renew<W: Words>(self, work: &mut Work<'_, W>) -> Result {
        let homes = self.homes(work)?;
        // It may have grown before: for nodes of the directory, for example.
        let frames = work.space.shape.frames;
        if frames != work.words.root(RootWord::Frames)? {
            let at = work.words.roots().at(RootWord::Frames);
            work.repairs.say("frames-word", at, format!("the region grows to {frames} frames"));
            work.script.space.push(Step::Root(RootWord::Frames, frames));
        }
        let mut former = Owned::new(work.space.shape);
        work.space.former.iter().for_each(|frame| _ = former.claim(*frame));
        work.script.space.extend(homes.tables);
        for home in &homes.groups {
            home.renew(work, &former)?;
        }
        work.script.space.extend(homes.ways);
        homes.rests.into_iter().try_for_each(|rest| clear(work, rest))
    }

    /// Where each bitmap lies from now on.
    fn homes<W: Words>(&self, work: &mut Work<'_, W>) -> Result<Homes> {
        let mut homes = Homes::default();
        let root = match self.root.filter(|root| root.owns) {
            Some(root) => root.frame,
            None => {
                let root = work.space.take()?;
                let at = work.words.roots().at(RootWord::GroupRoot);
                work.repairs.say("group-table", at, format!("made anew, from frame {} on", root.0));
                homes.tables.push(Step::Table(root));
                homes.last = Some(Step::Root(RootWord::GroupRoot, root.0.into()));
                root
            }
        };
        let (mut group, mut table, mut is_new) = (0, root, false);
        // The region may grow when a frame is taken.
        while group < (work.space.shape.groups() + 1).min(GROUPS_MAX) {
            if group % TABLE_GROUPS == 0 {
                let at = root.offset() + group / TABLE_GROUPS * 8;
                let kept = self.tables.get(&group).filter(|table| table.owns);
                is_new = kept.is_none();
                table = match kept {
                    Some(kept) => kept.frame,
                    None => work.space.take()?,
                };
                if is_new {
                    let detail = format!("frame {} has the groups from {group} on", table.0);
                    work.repairs.say("group-table", at, detail);
                    homes.tables.push(Step::Table(table));
                }
                if is_new || homes.last.is_some() {
                    homes.ways.push(Step::OfGroups(at, work.words.salt().place(at).close(table.0.into())));
                }
            }
            let kept = self.bitmaps.get(&group).filter(|(_, place)| place.owns);
            let (bitmap, old) = match kept {
                Some((entry, _)) => (entry.bitmap, true),
                None => {
                    let new = work.space.take()?;
                    let at = groups::entry_at(table, group);
                    let detail = format!("group {group} gets a new bitmap, in frame {}", new.0);
                    work.repairs.say("group-table", at, detail);
                    (new, false)
                }
            };
            homes.groups.push(Home { group, at: groups::entry_at(table, group), is_new, bitmap, old });
            group += 1;
        }
        // A new frame has nothing there.
        if homes.last.is_none() {
            homes.rests.push((root, group.div_ceil(TABLE_GROUPS)));
        }
        if !is_new {
            homes.rests.push((table, 2 * ((group - 1) % TABLE_GROUPS + 1)));
        }
        homes.ways.extend(homes.last.take());
        Ok(homes)
    }
}

/// Makes the words of a frame of the table say "nothing" from this one on: they belong to no group.
fn clear<W: Words>(work: &mut Work<'_, W>, (frame, from): (FrameNo, u64)) -> Result {
    let found = (frame.offset()..).step_by(8).zip(work.words.frame(frame)?).skip(from as usize);
    let salt = work.words.salt();
    let wrong = found.filter(|(at, word)| *word != salt.place(*at).nothing());
    let steps: Vec<_> = wrong.map(|(at, _)| Step::OfGroups(at, salt.place(at).nothing())).collect();
    if let Some(Step::OfGroups(at, _)) = steps.first() {
        work.repairs.say(
            "group-table",
            *at,
            "words of groups that the region does not have say nothing again",
        );
    }
    work.script.space.extend(steps);
    Ok(())
}

/// Where everything of the table lies from now on.
#[derive(Default)]
struct Homes {
    groups: Vec<Home>,
    /// Frames of the table that are new.
    tables: Vec<Step>,
    /// Words that name these frames.
    ways: Vec<Step>,
    last: Option<Step>,
    /// Frames of the table, and in each the first word that belongs to no group.
    rests: Vec<(FrameNo, u64)>,
}

/// Where a group's bitmap lies, and its entry.
struct Home {
    group: u64,
    /// Byte offset of the entry.
    at: u64,
    /// Whether the frame of the table is new.
    is_new: bool,
    bitmap: FrameNo,
    /// Whether the bitmap keeps its frame, so that its old words are there.
    old: bool,
}

impl Home {
    /// The bits as they are to be.
    fn wanted<W: Words>(&self, work: &Work<'_, W>) -> Vec<u64> {
        let words = self.group * GROUP_WORDS..(self.group + 1) * GROUP_WORDS;
        let word = |word| {
            let (fixed, beyond) = work.space.shape.outside(word);
            (work.space.owned.word(word) | fixed) & !beyond
        };
        words.map(word).collect()
    }

    /// Allocates what has an owner, makes the entry, and frees in the end what has none.
    ///
    /// Each word of a bitmap that was what its tally says changes together with the tally: a crash leaves it so, and it still says
    /// what is allocated without an owner. Any other bitmap gets its tally when all its words are written.
    fn renew<W: Words>(&self, work: &mut Work<'_, W>, former: &Owned) -> Result {
        let found = if self.old { work.words.frame(self.bitmap)? } else { [0; WORDS as usize] };
        let is_sound = self.old && !self.is_new && work.space.sound.contains_key(&self.group);
        let wanted = self.wanted(work);
        let (seal, tally_at) = (work.words.salt().bitmap(self.group), self.at + 8);
        let mut tally = if is_sound { work.words.word(tally_at)? } else { 0 };
        let (mut used, mut freed) = (0, 0);
        if !self.old {
            work.script.space.push(Step::Bitmap(self.bitmap));
        }
        let mut between = wanted.clone();
        for (place, (&old, &new)) in (0..).zip(found.iter().zip(&wanted)) {
            let kept = if is_sound { old } else { self.former(work, former, place) };
            let at = self.bitmap.offset() + place * 8;
            between[place as usize] |= kept;
            (used, freed) = (used + (new & !old).count_ones(), freed + (old & !new).count_ones());
            if old == between[place as usize] {
                continue;
            }
            let mut step = vec![Step::OfGroups(at, between[place as usize])];
            if is_sound {
                tally = seal.changed(tally, place, old, between[place as usize]);
                step.push(Step::OfGroups(tally_at, tally));
            }
            work.script.space.push(Step::All(step));
        }
        if self.old && found[..] != wanted[..] {
            let detail = format!(
                "of group {}, {used} frames are allocated that were free, and {freed} free that were allocated",
                self.group
            );
            work.repairs.say("bitmap", self.bitmap.offset(), detail);
        }
        if !is_sound {
            tally = seal.of(&between);
            self.entry(work, tally)?;
        }
        for (place, (&old, &new)) in
            (0..).zip(between.iter().zip(&wanted)).filter(|(_, (old, new))| old != new)
        {
            tally = seal.changed(tally, place, old, new);
            let word = Step::OfGroups(self.bitmap.offset() + place * 8, new);
            work.script.freed.push(Step::All(vec![word, Step::OfGroups(tally_at, tally)]));
        }
        Ok(())
    }

    /// Of a word, frames of structures that go, and to which something leads until then.
    fn former<W: Words>(&self, work: &Work<'_, W>, former: &Owned, place: u64) -> u64 {
        let word = self.group * GROUP_WORDS + place;
        former.word(word) & !work.space.shape.outside(word).1
    }

    /// The words of its entry to write.
    fn entry<W: Words>(&self, work: &mut Work<'_, W>, tally: u64) -> Result {
        let named = work.words.salt().place(self.at).close(self.bitmap.0.into());
        let mut steps = Vec::new();
        for (at, word) in [(self.at + 8, tally), (self.at, named)] {
            if self.is_new || work.words.word(at)? != word {
                steps.push(Step::OfGroups(at, word));
            }
        }
        if self.old && !self.is_new && !steps.is_empty() {
            let detail = format!("group {} has seal and count of its bitmap as it is", self.group);
            work.repairs.say("group-tally", self.at, detail);
        }
        work.script.space.push(Step::All(steps));
        Ok(())
    }
}
