//! Freeing in bounded steps: truncate, punch, drop, and frames that were busy.
//!
//! A step is one record, or two for a punch. One record clears the words of leaves, and either clears the bits of their
//! frames or enters the frames into the busy table, where their bits stay set. So no crash leaks a frame or leaves it
//! with two owners.

use super::bitmap;
use super::busy::BusyTable;
use super::content::{ENTRIES_BESIDES, map_at};
use super::ledger::Ledger;
use super::log::Txn;
use super::orphans;
use super::record::{Head, ObjectSlot};
use super::rules::Rule;
use super::slots;
use super::structures::Structures;
use super::tree::{self, Cleared, Found};
use super::words::Shape;
use crate::error::{Error, Result};
use crate::sync::Step;
use crate::units::{FrameNo, PageIndex};
use std::ops::Range;

/// Most pages a step takes: a full leaf, whose words need not be cleared one by one.
const STEP_MAX: usize = 512;
/// Most entries for a page: its bit or table entry, its word or that of its highest freed node, the bits of three nodes.
const ENTRIES_PER_PAGE: usize = 5;
/// Most frames that a page frees: its own and three nodes.
const FRAMES_PER_PAGE: usize = 4;
/// An object's pages where all of it goes.
const ALL: u64 = tree::PAGES_MAX;

/// What is to become of a page that is cut off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Its frame is not pinned.
    Free,
    /// Its frame is pinned: it goes to the busy table, until `free_busy`.
    Busy,
}

/// An object that is being freed or cut, and its number.
pub type Orphan = (ObjectSlot, u64);

/// Asked once for all pages of a step, or for a part of them; it must not call the ledger.
pub type AskFate<'a> = &'a mut dyn FnMut(&[(PageIndex, FrameNo)]) -> Vec<Fate>;

impl Ledger {
    /// Frees pages that `begin_truncate` cut off. Returns true if none is left.
    ///
    /// # Durability
    /// One record, appended; a crash repeats at most this step.
    pub fn truncate_step(&self, slot: ObjectSlot, fate: AskFate<'_>) -> Result<bool> {
        let _object = self.object(slot);
        match self.head(slot)?.cut() {
            None => Ok(true),
            Some(first) => self.free_step(slot, first..tree::PAGES_MAX, ALL, fate, |t, shape, head| {
                head.set_cut(None);
                if orphans::belongs(head) { Ok(()) } else { orphans::remove(t, shape, head) }?;
                Ok(None)
            }),
        }
    }

    /// Frees pages of an object that is unlinked and closed. The last step frees its record and returns true.
    ///
    /// # Durability
    /// One record, appended; a crash repeats at most this step.
    pub fn drop_step(&self, slot: ObjectSlot, fate: AskFate<'_>) -> Result<bool> {
        let _object = self.object(slot);
        if !self.head(slot)?.unlinked() {
            return Err(Error::Busy { what: "object", why: "it still has a name".into() });
        }
        self.allocator.load(std::iter::once(slot.frame()))?;
        self.free_step(slot, 0..tree::PAGES_MAX, ALL, fate, |t, shape, head| {
            orphans::remove(t, shape, head)?;
            slots::put_free(t, shape, head)
        })
    }

    /// Makes holes of the pages in `pages`. Returns true if none of them is mapped any more. Before `fate` is asked, the
    /// pages are cut off and their frames are in the busy table.
    ///
    /// A word of lost pages becomes one of a hole if `pages` has all of them, but for those beyond the object's end.
    ///
    /// # Durability
    /// Two records, appended. After a crash between them `busy_frames` lists the frames.
    pub fn punch_step(&self, slot: ObjectSlot, pages: Range<PageIndex>, fate: AskFate<'_>) -> Result<bool> {
        let _object = self.object(slot);
        let head = self.head(slot)?;
        let end = head.cut().unwrap_or(tree::PAGES_MAX).min(pages.end.0);
        let mut cut = Vec::new();
        let busy = &mut |pages: &[(PageIndex, FrameNo)]| {
            cut.extend_from_slice(pages);
            vec![Fate::Busy; pages.len()]
        };
        let inside = PageIndex::pages_for(head.size());
        let done = self.free_step(slot, pages.start.0..end, inside, busy, |_, _, _| Ok(None))?;
        Step::PagesTaken.reach();
        let (_, idle) = part(&cut, &fate(&cut));
        self.free_busy(&frames(&idle).collect::<Vec<_>>())?;
        Ok(done)
    }

    /// How many pages and words of lost pages a step takes with this log.
    fn step(&self, shape: Shape) -> usize {
        let room = self.log.entries_max() - ENTRIES_BESIDES;
        // Each of four frames of a page may lie in a group of its own.
        let tallies = bitmap::tallies_max(shape, room);
        let pages = (room - tallies.min(room)) / ENTRIES_PER_PAGE;
        pages.max(room / (ENTRIES_PER_PAGE + FRAMES_PER_PAGE)).min(STEP_MAX)
    }

    /// Makes holes of the first mapped or lost pages in `pages`, of an object with `inside` pages. `last` joins the record
    /// that leaves none, and may free a frame.
    ///
    /// If there is no frame for noting the pinned pages, only the idle ones are freed: they make room for that note.
    fn free_step(
        &self,
        slot: ObjectSlot,
        mut pages: Range<u64>,
        inside: u64,
        fate: AskFate<'_>,
        last: impl Last,
    ) -> Result<bool> {
        let shape = self.shape();
        // Of one shape: groups that go meanwhile must not make a full step look like the last one.
        let step = self.step(shape);
        let map = map_at(&self.head(slot)?);
        // Held while the fates are asked: the last unpin of a frame meanwhile finds it in the table.
        let mut table = self.busy.lock();
        let table = table.load(&*self.log, shape)?;
        let mut skipped = false;
        loop {
            // The object's lock keeps its map as it is, so plain reads through the log are consistent here.
            let (found, cleared) = map.cut(&*self.log, shape, pages.clone(), inside, step)?;
            if found.is_empty() && cleared.lost == 0 && skipped {
                return Err(Error::NoSpace { why: "no frame to note the pinned pages in".into() });
            }
            // A frame that is known to have another use is not freed for this object.
            found.iter().try_for_each(|&(_, frame)| self.log.uses().page(frame))?;
            let all = found.len() + cleared.lost < step && !skipped;
            self.allocator
                .load(found.iter().map(|&(_, frame)| frame).chain(cleared.nodes.iter().copied()))?;
            // Before the fates are asked: between them and their record only the log may fail.
            let mut spare = self.spares_to_free(table.lacks(found.len()))?;
            let behind = found.last().map_or(pages.end, |&(page, _)| page.0 + 1);
            let rules = self.log.rules();
            let mut fates = fate(&found);
            if rules.broken(Rule::ReuseBeforeUnpin) {
                fates.fill(Fate::Free);
            }
            let (busy, idle) = part(&found, &fates);
            let lacks = table.lacks(busy.len());
            if lacks <= spare.len() {
                let new = spare.split_off(spare.len() - lacks);
                self.release(&spare)?;
                let cut = Cut { cleared, idle, busy, new };
                self.append_step(slot, table, cut, all.then_some(last))?;
                return Ok(all);
            }
            self.release(&spare)?;
            if !idle.is_empty() {
                let cleared = map.clear(&*self.log, shape, &idle)?;
                let cut = Cut { cleared, idle, busy: Vec::new(), new: Vec::new() };
                self.append_step(slot, table, cut, None::<NoLast>)?;
                return Ok(false);
            }
            (pages.start, skipped) = (behind, true);
        }
    }

    /// Appends the record of a step.
    fn append_step(
        &self,
        slot: ObjectSlot,
        table: &mut BusyTable,
        cut: Cut,
        last: Option<impl Last>,
    ) -> Result {
        let Cut { cleared, idle, busy, new } = cut;
        let mut freed: Vec<_> = frames(&idle).chain(cleared.nodes.iter().copied()).collect();
        let noted: Vec<_> = frames(&busy).collect();
        let rules = self.log.rules();
        if rules.broken(Rule::StepSplits) {
            self.change(|t, shape| bitmap::clear(t, shape, freed.iter().copied()))?;
        }
        let gone = || idle.iter().chain(&busy).map(|&(page, frame)| (page.0, frame));
        let (given_back, sequence) = self.change_with(new.clone(), |t, shape, unused| {
            unused.clear();
            table.add(t, shape, &new, &noted)?;
            if !rules.broken(Rule::StepSplits) {
                bitmap::clear(t, shape, freed.iter().copied())?;
            }
            cleared.words.iter().try_for_each(|&(at, nothing)| t.write(at, nothing))?;
            let mut head = Head::live(t, slot)?;
            head.set_root(cleared.root);
            head.note_cut(gone());
            let given_back = last.map_or(Ok(None), |last| last(t, shape, &mut head))?;
            head.write(t)?;
            Ok(given_back)
        })?;
        table.added(&new, &noted);
        if let Some(frame) = given_back {
            self.given_back.add(frame);
            if rules.broken(Rule::SlotsSplit) {
                self.change(|t, shape| bitmap::clear(t, shape, [frame].into_iter()))?;
            }
            freed.push(frame);
        }
        self.allocator.quarantine(sequence, freed);
        Ok(())
    }

    /// Frees busy frames whose last pin is gone. Frames that are not in the busy table are left alone.
    ///
    /// # Durability
    /// Appended.
    pub fn free_busy(&self, frames: &[FrameNo]) -> Result {
        let mut table = self.busy.lock();
        let table = table.load(&*self.log, self.shape())?;
        for part in table.known(frames).chunks(self.step(self.shape())) {
            part.iter().try_for_each(|&frame| self.log.uses().page(frame))?;
            let freed: Vec<_> = part.iter().chain(table.surplus(part.len())).copied().collect();
            self.allocator.load(freed.iter().copied())?;
            let ((), sequence) = self.change(|t, shape| table.remove(t, shape, part))?;
            table.removed(part);
            self.allocator.quarantine(sequence, freed);
        }
        Ok(())
    }
}

impl Structures {
    /// Which of these frames are in the busy table.
    pub fn busy_among(&self, frames: &[FrameNo]) -> Result<Vec<FrameNo>> {
        Ok(self.busy.lock().load(&*self.log, self.shape())?.known(frames))
    }

    /// The frames in the busy table. Right after opening none of them has a pin: all may go to `free_busy`.
    pub fn busy_frames(&self) -> Result<Vec<FrameNo>> {
        Ok(self.busy.lock().load(&*self.log, self.shape())?.frames())
    }

    /// As [`Self::busy_frames`], as far as the table can be read, and the errors of the rest.
    pub fn busy_found(&self) -> Result<(Vec<FrameNo>, Vec<Error>)> {
        let mut table = self.busy.lock();
        let table = table.load(&*self.log, self.shape())?;
        Ok((table.frames(), table.take_damage()))
    }

    /// Objects with unfinished work, the newest first. Those that are unlinked need `drop_step`, the others
    /// `truncate_step`.
    pub fn orphans(&self) -> Result<Vec<ObjectSlot>> {
        self.read(|log, shape| {
            let mut found = Vec::new();
            orphans::walk(log, shape, |head| found.push(head.slot)).map(|()| found)
        })
    }

    /// As [`Self::orphans`], with the objects' numbers, as far as the list can be read, and the error of the rest.
    pub fn orphans_found(&self) -> Result<(Vec<Orphan>, Option<Error>)> {
        self.read(|log, shape| {
            let mut found = Vec::new();
            match orphans::walk(log, shape, |head| found.push((head.slot, head.id()))) {
                Err(error @ Error::Corrupt { .. }) => Ok((found, Some(error))),
                walked => walked.map(|()| (found, None)),
            }
        })
    }

    /// The number of the object in a slot, and whether it has lost its name. `None` for a free slot, and for one whose
    /// frame was given back.
    pub fn resident(&self, slot: ObjectSlot) -> Result<Option<(u64, bool)>> {
        if self.given_back.has(slot) {
            return Ok(None);
        }
        match self.read(|log, _| Head::read(log, slot)) {
            Ok(head) => Ok(head.kind().map(|_| (head.id(), head.unlinked()))),
            // The frame was given back meanwhile, which is noted before it gets another use.
            Err(Error::Corrupt { .. }) if self.given_back.has(slot) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What joins the last record of a walk over an object's pages. Returns a frame that it frees.
trait Last: FnOnce(&mut Txn<'_>, Shape, &mut Head) -> Result<Option<FrameNo>> {}
impl<F: FnOnce(&mut Txn<'_>, Shape, &mut Head) -> Result<Option<FrameNo>>> Last for F {}
type NoLast = fn(&mut Txn<'_>, Shape, &mut Head) -> Result<Option<FrameNo>>;

/// What one step takes from an object.
struct Cut {
    cleared: Cleared,
    /// Pages whose frames are to be freed.
    idle: Found,
    /// Pages whose frames are to be noted in the busy table, and the frames it grows by for that.
    busy: Found,
    new: Vec<FrameNo>,
}

/// Splits `found` into pages whose frames are busy and the others.
fn part(found: &[(PageIndex, FrameNo)], fates: &[Fate]) -> (Found, Found) {
    let (busy, idle): (Vec<_>, Vec<_>) = found.iter().zip(fates).partition(|(_, fate)| **fate == Fate::Busy);
    let pages = |part: Vec<(&(PageIndex, FrameNo), &Fate)>| part.into_iter().map(|(page, _)| *page).collect();
    (pages(busy), pages(idle))
}

fn frames(found: &Found) -> impl Iterator<Item = FrameNo> {
    found.iter().map(|&(_, frame)| frame)
}
