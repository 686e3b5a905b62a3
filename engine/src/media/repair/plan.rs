//! The plan of a repair, made without a store.

use super::super::check::{DEFECTS, Report};
use super::super::layout::RootWord;
use super::super::log::Log;
use super::super::record::Head;
use super::super::words::{Shape, Words};
use super::records::Records;
use super::script::{Script, Step};
use super::space::Space;
use super::{Repairs, found, groups, maps, names, records};
use crate::error::Result;
use crate::units::FrameNo;
use std::collections::{BTreeMap, HashSet};

/// Beginnings of the names of defects in the structures that lead to objects. If there is one, all of these structures
/// are made anew.
const OF_NAMES: &[&str] =
    &["directory-", "record-", "name-", "object-", "orphan-", "truncate-mark", "free-slot-list"];
/// Beginnings of the names of defects in the maps of objects.
const OF_MAPS: &[&str] = &["map-", "frame-owned-twice"];
/// Defects in what the first change of an opening writes anew.
const COPIES: &[&str] = &["superblock-copy", "log-header-copy", "root-copy", "lease", "cursor"];

/// What is to be done.
pub(super) struct Plan {
    pub(super) repairs: Repairs,
    pub(super) script: Script,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.repairs.0.is_empty()
    }
}

/// What is known of a region while the plan is made.
pub(super) struct Work<'w, W> {
    pub(super) words: &'w W,
    pub(super) space: Space,
    /// Heads of all slots, by slot, as they are to be.
    pub(super) heads: BTreeMap<u64, Head>,
    /// Whether directory and lists are made anew.
    pub(super) renews_names: bool,
    /// Whether frames are known to be allocated without an owner.
    pub(super) leaks: bool,
    /// Whether anything of an object was lost, now or before. Then a frame without an owner may be part of it.
    pub(super) misses_something: bool,
    /// The slot and name of the object `lost+found-N`, if one is made.
    pub(super) found: Option<(u64, Vec<u8>)>,
    /// Words of name parts that are written anew, by slot.
    pub(super) names: BTreeMap<u64, Vec<(u64, u64)>>,
    /// The number of the next new object.
    pub(super) next: u64,
    pub(super) script: Script,
    pub(super) repairs: Repairs,
}

/// The plan for a region with the defects of `report`.
pub(super) fn of(log: &Log, report: &Report, mut repairs: Repairs) -> Result<Plan> {
    let copies = report.repairable.iter().chain(&report.findings).filter(|f| COPIES.contains(&f.name));
    for finding in copies {
        let meaning =
            DEFECTS.iter().find(|(name, _)| *name == finding.name).map_or("", |(_, meaning)| *meaning);
        repairs.say(finding.name, finding.at, format!("written anew, from what is whole: {meaning}"));
    }
    if report.findings.iter().all(|finding| COPIES.contains(&finding.name)) {
        return Ok(Plan { repairs, script: Script::default() });
    }
    let ((), snapshot) = log.snapshot(|| Ok(()))?;
    let shape = Shape { log_frames: log.frames(), frames: log.root(RootWord::Frames)? };
    let room = log.region().max_bytes();
    let mut work = Work {
        words: &snapshot,
        space: Space::new(shape, room),
        heads: BTreeMap::new(),
        renews_names: has(report, OF_NAMES) || has(report, OF_MAPS),
        misses_something: false,
        found: None,
        names: BTreeMap::new(),
        next: 0,
        leaks: has(report, &["frame-leaked"]),
        script: Script::default(),
        repairs,
    };
    for finding in report.findings.iter().filter(|finding| finding.name == "head-rest") {
        work.repairs.say(finding.name, finding.at, "zeroed, to the end of the frame");
        work.script.rests.push(finding.at);
    }
    work.head(log)?;
    work.decide()?;
    Ok(Plan { repairs: work.repairs, script: work.script })
}

/// Whether the report has a defect whose name begins so. A report that does not list all defects may have any.
fn has(report: &Report, names: &[&str]) -> bool {
    report.unlisted > 0
        || report.findings.iter().any(|finding| names.iter().any(|name| finding.name.starts_with(name)))
}

impl<W: Words> Work<'_, W> {
    fn decide(&mut self) -> Result {
        let anchor = self.words.roots().anchor();
        anchor.roots.into_iter().filter(|root| self.space.shape.ordinary(*root)).for_each(|root| {
            self.space.owned.claim(root);
        });
        let Records { linked, scattered, nodes } = records::find(self)?;
        self.busy_table()?;
        if self.renews_names {
            self.space.former.extend(nodes);
        } else {
            nodes.into_iter().for_each(|node| _ = self.space.owned.claim(node));
        }
        linked.iter().for_each(|frame| _ = self.space.owned.claim(*frame));
        let mut groups = groups::find(self)?;
        maps::keep(self, scattered)?;
        let flagged = self.live().any(|(_, head)| head.damaged());
        self.misses_something |= flagged;
        self.space.spares = self.misses_something;
        self.next = names::next_number(self)?;
        groups.claim_others(self);
        found::collect(self, &groups)?;
        if self.renews_names {
            names::renew(self)?;
        }
        self.write_heads();
        groups.renew(self)
    }

    /// Rewrites words of the root that differ from the superblock.
    fn head(&mut self, log: &Log) -> Result {
        for (word, expected) in log.superblock().newest.repeated() {
            if self.words.root(word)? != expected {
                let at = self.words.roots().at(word);
                self.repairs.say("root-word", at, "written anew, as the superblock says it");
                self.script.content.push(Step::Root(word, expected));
            }
        }
        Ok(())
    }

    /// Empties the busy table: no pin outlives its process.
    fn busy_table(&mut self) -> Result {
        let (words, shape) = (self.words, self.space.shape);
        if matches!(words.head(RootWord::BusyTable, "busy table"), Ok(0)) {
            return Ok(());
        }
        let at = words.roots().at(RootWord::BusyTable);
        self.repairs.say("busy-table", at, "emptied: nothing is pinned any more");
        self.script.turn.push(Step::Head(RootWord::BusyTable, 0));
        let mut table = super::super::busy::BusyTable::default();
        let table = table.load(words, shape)?;
        self.space.former.extend(table.frames().into_iter().chain(table.tables()));
        Ok(())
    }

    /// Writes what became of the records, each as a whole: the sum of its head is right before and after, and a name is that of
    /// its head.
    fn write_heads(&mut self) {
        let found = self.found.as_ref().map(|(slot, _)| *slot);
        for (slot, head) in &mut self.heads {
            let names = self.names.remove(slot).unwrap_or_default();
            let words: Vec<_> =
                head.changes().into_iter().chain(names).map(|(at, word)| Step::Word(at, word)).collect();
            match Some(*slot) == found {
                true => self.script.turn.extend(words),
                false => self.script.content.push(Step::All(words)),
            }
        }
    }

    /// Live records, by slot.
    pub(super) fn live(&self) -> impl Iterator<Item = (u64, &Head)> {
        self.heads.iter().filter(|(_, head)| head.kind().is_some()).map(|(slot, head)| (*slot, head))
    }
}

/// A set of frames.
pub(super) type Frames = HashSet<FrameNo>;
