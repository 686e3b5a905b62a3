//! What each object keeps of its map.
//!
//! A frame has one owner. A map that is complete by its seal comes before one that is not, and a node, which its words
//! prove, before a page, which nothing proves. A word that loses its frame becomes *lost*, and its object is flagged.

use super::super::content::map_at;
use super::super::map_seal::{MapSeal, Parts};
use super::super::record::SLOTS;
use super::super::tree::{HEIGHT_MAX, Map, Root, height_for, word_at};
use super::super::words::{WORDS, Words};
use super::plan::{Frames, Work};
use super::records::{self, readable};
use super::script::Step;
use crate::error::Result;
use crate::units::{FrameNo, PageIndex};
use std::collections::{BTreeMap, BTreeSet};

/// What becomes of the frame that a word names.
#[derive(PartialEq)]
enum Fate {
    Kept,
    /// It is a node with nothing below it.
    Empty,
    Lost,
}

/// Decides what each object keeps, including the objects in `scattered` frames that are no object's pages.
pub(super) fn keep<W: Words>(work: &mut Work<'_, W>, scattered: BTreeSet<FrameNo>) -> Result {
    let known: Vec<u64> = work.live().map(|(slot, _)| slot).collect();
    // By slot, whether it is whole.
    let mut maps: BTreeMap<u64, bool> = BTreeMap::new();
    let mut nodes = Frames::new();
    for slot in known {
        maps.insert(slot, read(work, slot, &mut nodes)?);
    }
    let whole = |maps: &BTreeMap<u64, bool>, whole| {
        maps.iter().filter(|(_, map)| **map == whole).map(|(slot, _)| *slot).collect::<Vec<_>>()
    };
    for slot in whole(&maps, true) {
        keep_map(work, slot, &nodes)?;
    }
    let mut more = BTreeMap::new();
    for frame in scattered {
        if nodes.contains(&frame) || !work.space.owned.claim(frame) {
            continue;
        }
        work.repairs.say(
            "record-found",
            frame.offset(),
            "nothing names this frame of records: its objects are named again",
        );
        records::read(work, frame, &BTreeSet::new())?;
        let slots = u64::from(frame.0) * SLOTS..(u64::from(frame.0) + 1) * SLOTS;
        let live = work.heads.range(slots).filter(|(_, head)| head.kind().is_some());
        let live: Vec<u64> = live.map(|(slot, _)| *slot).collect();
        for slot in live {
            more.insert(slot, read(work, slot, &mut nodes)?);
        }
    }
    for slot in whole(&more, true).into_iter().chain(whole(&maps, false)).chain(whole(&more, false)) {
        keep_map(work, slot, &nodes)?;
    }
    Ok(())
}

fn map_of<W: Words>(work: &Work<'_, W>, slot: u64) -> Map {
    map_at(&work.heads[&slot])
}

/// Reads a map, and gives it no frames yet. Says whether all of it is there, and adds its `nodes` to the others.
fn read<W: Words>(work: &Work<'_, W>, slot: u64, nodes: &mut Frames) -> Result<bool> {
    let map = map_of(work, slot);
    let mut look = Look {
        work,
        map,
        parts: Parts::of(map.salt, map.id),
        seal: MapSeal::default(),
        nodes: Frames::new(),
    };
    if let Some(Some(root)) = readable(map.root(work.space.shape))? {
        look.below(root.frame, 0, root.height)?;
    }
    nodes.extend(&look.nodes);
    Ok(look.seal == work.heads[&slot].map_seal())
}

struct Look<'l, 'w, W> {
    work: &'l Work<'w, W>,
    map: Map,
    parts: Parts,
    seal: MapSeal,
    nodes: Frames,
}

impl<W: Words> Look<'_, '_, W> {
    fn below(&mut self, frame: FrameNo, first: u64, level: u32) -> Result {
        if level == 0 {
            self.seal.link(self.parts, first, frame);
            return Ok(());
        }
        if !proven(self.work.words, &self.map, frame, first, level)? || !self.nodes.insert(frame) {
            return Ok(());
        }
        for (page, word) in self.map.used_words(self.work.words, frame, first, level - 1)? {
            let at = word_at(frame, page, level - 1);
            let opened = self.map.opened(self.work.space.shape, word, at, page, level - 1);
            if let Some(Some(child)) = readable(opened)? {
                self.below(child, page, level - 1)?;
            }
        }
        Ok(())
    }
}

/// Whether any word of the frame is sealed as a word of such a node.
fn proven(words: &impl Words, map: &Map, frame: FrameNo, first: u64, level: u32) -> Result<bool> {
    let pages = (first..).step_by(WORDS.pow(level - 1) as usize);
    Ok(pages.zip(words.frame(frame)?).any(|(page, word)| map.sealed(word, page, level - 1)))
}

/// Gives an object the frames that it keeps.
fn keep_map<W: Words>(work: &mut Work<'_, W>, slot: u64, nodes: &Frames) -> Result {
    let map = map_of(work, slot);
    let mut keeping = Keeping {
        map,
        nodes,
        parts: Parts::of(map.salt, map.id),
        seal: MapSeal::default(),
        lost: Vec::new(),
        steps: Vec::new(),
        work,
    };
    let height = map.height().min(HEIGHT_MAX);
    let mut root = if map.is_lost(map.root, 0, height) {
        map.root
    } else {
        match readable(map.root(keeping.work.space.shape))? {
            Some(None) => map.root,
            Some(Some(root)) => match keeping.below(root.frame, 0, root.height)? {
                Fate::Kept => map.root,
                Fate::Empty => Map::empty_root(map.salt, map.id),
                Fate::Lost => keeping.lose_root(height),
            },
            // Of this word nothing is believed, not even the height: all pages up to the object's size are below it.
            None => {
                let last = PageIndex::pages_for(keeping.work.heads[&slot].size()).saturating_sub(1);
                keeping.lose_root(height_for(last).min(HEIGHT_MAX))
            }
        }
    };
    let Keeping { seal, lost, mut steps, .. } = keeping;
    let differs = seal != work.heads[&slot].map_seal();
    // The seal of one that is flagged does not count what was lost before.
    let is_whole = !differs && !work.heads[&slot].damaged();
    if is_whole {
        // It has all its pages, so no page was below a word that cannot be read.
        for word in &lost {
            match word.step {
                Some(step) => steps[step] = Step::Word(word.at, word.nothing),
                None => root = Map::empty_root(map.salt, map.id),
            }
        }
    }
    let mends = !steps.is_empty() || root != map.root;
    let loses = !is_whole && !lost.is_empty();
    work.script.content.extend(steps);
    let head = work.heads.get_mut(&slot).expect("it was read");
    let (id, at, pages) = (head.id(), head.slot.offset(), (head.map_seal().pages(), seal.pages()));
    head.set_root(root);
    if !differs && !loses {
        if mends {
            work.repairs.say("map-word", at, format!("words of object {id} that named no page say so again"));
        }
        return Ok(());
    }
    head.set_map_seal(seal);
    head.set_damaged();
    work.misses_something = true;
    for (first, end) in runs(&lost) {
        let detail =
            format!("pages {first} to {} of object {id} are lost: reading them is an error", end - 1);
        work.repairs.say("page-lost", at, detail);
    }
    if !differs {
        return Ok(());
    }
    let detail = format!(
        "object {id} is flagged as damaged: it had {} pages as its record says, and has {}",
        pages.0, pages.1
    );
    work.repairs.say("object-damaged", at, detail);
    Ok(())
}

/// Runs of pages side by side: the first page of each run, and the one after its last.
fn runs(lost: &[Lost]) -> Vec<(u64, u64)> {
    let mut lost: Vec<_> = lost.iter().map(|word| (word.first, word.pages)).collect();
    lost.sort_unstable();
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for (first, pages) in lost {
        match runs.last_mut() {
            Some((_, end)) if *end == first => *end += pages,
            _ => runs.push((first, first + pages)),
        }
    }
    runs
}

/// A word below which the pages are lost.
struct Lost {
    first: u64,
    pages: u64,
    at: u64,
    /// The word that says "nothing".
    nothing: u64,
    /// The index of the step that makes the word *lost*. `None` for the root word.
    step: Option<usize>,
}

struct Keeping<'k, 'w, W> {
    work: &'k mut Work<'w, W>,
    map: Map,
    nodes: &'k Frames,
    parts: Parts,
    seal: MapSeal,
    lost: Vec<Lost>,
    steps: Vec<Step>,
}

impl<W: Words> Keeping<'_, '_, W> {
    fn lose_root(&mut self, height: u32) -> u64 {
        let (at, nothing) = (self.map.at, Map::empty_root(self.map.salt, self.map.id));
        self.lost.push(Lost { first: 0, pages: WORDS.pow(height), at, nothing, step: None });
        // The height that was read may be one that no map has.
        let mut map = self.map;
        map.set_root(Root { height, frame: FrameNo(0) });
        map.lost_root()
    }

    /// A page (level 0), or a node whose words cover pages from `first` on.
    fn below(&mut self, frame: FrameNo, first: u64, level: u32) -> Result<Fate> {
        if level == 0 {
            if self.nodes.contains(&frame) || !self.work.space.owned.claim(frame) {
                return Ok(Fate::Lost);
            }
            self.seal.link(self.parts, first, frame);
            return Ok(Fate::Kept);
        }
        if self.work.space.owned.has(frame) {
            return Ok(Fate::Lost);
        }
        if !proven(self.work.words, &self.map, frame, first, level)? {
            self.work.space.former.insert(frame);
            return Ok(Fate::Lost);
        }
        self.work.space.owned.claim(frame);
        let (below, before, mut holds) = (level - 1, self.steps.len(), false);
        for (page, word) in self.map.used_words(self.work.words, frame, first, below)? {
            let at = word_at(frame, page, below);
            if self.map.is_lost(word, page, below) {
                holds = true;
                continue;
            }
            let opened = readable(self.map.opened(self.work.space.shape, word, at, page, below))?;
            let fate = match opened.flatten() {
                Some(child) => self.below(child, page, below)?,
                None => Fate::Lost,
            };
            holds |= fate != Fate::Empty;
            match fate {
                Fate::Kept => {}
                Fate::Empty => self.steps.push(Step::Word(at, self.map.nothing(page, below))),
                Fate::Lost => {
                    let (pages, nothing) = (WORDS.pow(below), self.map.nothing(page, below));
                    let step = Some(self.steps.len());
                    self.lost.push(Lost { first: page, pages, at, nothing, step });
                    self.steps.push(Step::Word(at, self.map.lost(page, below)));
                }
            }
        }
        if holds {
            return Ok(Fate::Kept);
        }
        self.steps.truncate(before);
        self.work.space.owned.release(frame);
        self.work.space.former.insert(frame);
        Ok(Fate::Empty)
    }
}
