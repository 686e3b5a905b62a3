//! Growing, cutting, punching.

use super::Change;
use super::object::{Layout, OpenObject, PAGE, Tail, check_end};
use super::write::CHUNK_PAGES;
use crate::error::{Error, Result};
use crate::media::rules::Rule;
use crate::sync::Step;
use crate::sync::thread;
use crate::sync::time::Instant;
use crate::units::{FRAME_SIZE, FrameNo, PageIndex};
use std::ops::Range;
use std::time::Duration;

/// How often a cut that waits for pins checks again.
const PATIENCE: Duration = Duration::from_micros(200);
/// For how long at a time new pins are kept out.
const TURN: Duration = Duration::from_millis(50);

impl OpenObject {
    pub(crate) fn set_len(&self, len: u64) -> Result {
        check_end(len, 0)?;
        let change = self.engine.change()?;
        let mut layout = self.layout.lock();
        let old = self.len();
        if len > old {
            self.prepare_growth(&change, &mut layout)?;
            self.link(&change, &mut layout, &[], Some(len))
        } else if len < old {
            self.cut(&change, &mut layout, len)
        } else {
            Ok(())
        }
    }

    /// Ensures that the next growth uncovers only zeros (LOG rules 3 and 12).
    pub(super) fn prepare_growth(&self, change: &Change<'_>, layout: &mut Layout) -> Result {
        if layout.tail == Tail::Unknown {
            self.finish_former_life(change, layout)?;
        }
        if layout.tail == Tail::Stale && !self.engine.rules.broken(Rule::GrowthTail) {
            self.zero_tail(layout)?;
        }
        layout.tail = Tail::Zero;
        Ok(())
    }

    /// Finishes a truncate that was interrupted, and removes pages that an unfinished write left beyond the end:
    /// their content was never part of the object.
    pub(super) fn finish_former_life(&self, change: &Change<'_>, layout: &mut Layout) -> Result {
        let ledger = &self.engine.ledger;
        let grows_anyway = self.engine.rules.broken(Rule::GrowWhileTruncating);
        if ledger.record(self.slot)?.truncating.is_some() && !grows_anyway {
            self.engine.truncate_steps(change, self.slot, self.id)?;
        }
        let mut beyond = PageIndex(PageIndex::pages_for(self.len()));
        // What one word says are lost is left as it is if some of it lies inside.
        if let Some(lost) = ledger.lost_around(self.slot, beyond)?.filter(|l| l.pages.start < beyond.0) {
            beyond = PageIndex(lost.pages.end);
        }
        let (mapped, lost) = ledger.mapped_and_lost(self.slot, beyond..PageIndex(u64::MAX), 1)?;
        if !mapped.is_empty() || lost.is_some() {
            self.cut(change, layout, self.len())?;
        }
        layout.tail = Tail::Stale;
        Ok(())
    }

    /// Stores zeros from the end of the object to the end of its last page. If the cut-off bytes may reappear after a
    /// crash, the cut is first made durable: after a power loss, the old length must not appear with zeros below it.
    fn zero_tail(&self, layout: &mut Layout) -> Result {
        let in_page = (self.len() % PAGE) as usize;
        let index = PageIndex::of_byte(self.len());
        if in_page == 0 {
            return Ok(());
        }
        let Some(frame) = self.locate_last(index)? else { return Ok(()) };
        let log = &self.engine.log;
        match log.images().last(std::iter::once(frame)) {
            // A replay would put back what was cut off. No batch can add to this: it would need the layout.
            Some(last) if !self.engine.rules.broken(Rule::GrowthKeepsImages) => {
                log.pass(last.max(log.head()))?
            }
            _ if self.engine.rules.broken(Rule::ZeroEarly) => {}
            // After a crash, either none of these bytes appears, or they appear as they are.
            _ if layout.lengths.hide(self.len()) || self.is_zero_behind(index, frame, in_page)? => {}
            _ => {
                log.commit(log.head())?;
                layout.lengths.committed(self.len());
            }
        }
        self.pin_located_short(index, frame)?.store_now(
            &*self.engine,
            in_page,
            &[0; FRAME_SIZE][in_page..],
        )?;
        layout.unpublished = true;
        Ok(())
    }

    /// As [`Self::locate`], of a page that is about to be no longer the last one. If it was lost, nothing of it shows: it
    /// becomes a hole, or stays an error.
    pub(super) fn locate_last(&self, index: PageIndex) -> Result<Option<FrameNo>> {
        match self.locate(index) {
            Err(error @ Error::Corrupt { .. }) => match self.engine.ledger.lost_around(self.slot, index)? {
                Some(_) => Ok(None),
                None => Err(error),
            },
            located => located,
        }
    }

    /// Whether the last page's bytes from `at` on are zeros. They are, unless something was cut off.
    fn is_zero_behind(&self, index: PageIndex, frame: FrameNo, at: usize) -> Result<bool> {
        let mut bytes = [0; FRAME_SIZE];
        let behind = &mut bytes[at..];
        self.pin_located_short(index, frame)?.load(at, behind)?;
        Ok(behind.iter().all(|&byte| byte == 0))
    }

    /// Cuts the object to `len`, which is at most its length. One record makes the cut; steps free the frames.
    pub(super) fn cut(&self, change: &Change<'_>, layout: &mut Layout, len: u64) -> Result {
        layout.tail = Tail::Unknown;
        let committed = self.engine.log.is_committed(layout.lengths.last());
        let pages = PageIndex::pages_for(len)..u64::MAX;
        // The lock waits for lookups in progress, and holds up others until the length has fallen: from the record
        // on, any thread may free the pages (`Engine::finish_step`).
        let shape = self.shape.write();
        self.lookaside.clear(pages);
        let moment = change.begin_truncate(self.slot, len)?;
        Step::CutBegun.reach();
        layout.lengths.changed(self.len(), moment, committed);
        self.entry.publish_len(len);
        self.entry.was_cut();
        drop(shape);
        match self.engine.truncate_steps(change, self.slot, self.id) {
            Err(error) if error.is_full() => {
                // The cut is made. Pinned pages stay until there is space to note them, or no pin.
                self.engine.leave(self.slot, self.id);
                return Ok(());
            }
            cut => cut?,
        }
        layout.tail = if len % PAGE == 0 { Tail::Zero } else { Tail::Stale };
        Ok(())
    }

    /// Waits until none of these pages is pinned, page by page. A pin that is taken later does not delay the cut;
    /// while this waits for a page's pins, for one turn at most, new pins wait.
    pub(crate) fn wait_for_pins(&self, pages: Range<u64>, wait: Duration) -> Result {
        self.engine.begin_store()?;
        if pages.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now().checked_add(wait);
        let left = || deadline.map_or(TURN, |end| end.saturating_duration_since(Instant::now()).min(TURN));
        let mut from = pages.start;
        loop {
            self.engine.ensure_whole()?;
            let part = PageIndex(from)..PageIndex(pages.end);
            let batch = self.engine.ledger.mapped(self.slot, part, CHUNK_PAGES as usize)?;
            let Some(&(last, _)) = batch.last() else { return Ok(()) };
            for (page, mut frame) in batch {
                while !self.pages.drain(frame, left()) {
                    self.engine.ensure_whole()?;
                    // Another thread may have cut the page off. Then its pins are no reason to wait, and the frame
                    // may become another page's. Or it has moved, and may be pinned where it is now.
                    match self.engine.ledger.map(self.slot, page)? {
                        None => break,
                        Some(now) => frame = now,
                    }
                    if left() == Duration::ZERO {
                        let what = "pins on pages that are to be cut off".to_owned();
                        return Err(Error::TimedOut { what });
                    }
                    self.let_pins_begin(frame, left());
                }
            }
            from = last.0 + 1;
        }
    }

    /// Lets waiting threads pin the frame, for as long as they have waited or until it has no pin.
    fn let_pins_begin(&self, frame: FrameNo, time: Duration) {
        let end = Instant::now().checked_add(time);
        while self.pages.pins(frame) != 0 && end.is_some_and(|end| Instant::now() < end) {
            thread::sleep(PATIENCE);
        }
    }

    pub(crate) fn allocate(&self, offset: u64, len: u64) -> Result {
        let end = check_end(offset, len)?;
        let change = self.engine.change()?;
        if len == 0 {
            return Ok(());
        }
        let mut layout = self.layout.lock();
        if end > self.len() {
            self.prepare_growth(&change, &mut layout)?;
        }
        let pages = offset / PAGE..PageIndex::pages_for(end);
        self.refuse_too_many(pages.clone())?;
        self.make_room(&change, pages.clone())?;
        let mut ahead = Vec::new();
        let filled = self.fill_holes(&change, &mut layout, pages, &mut ahead);
        if filled.is_err() && self.take_back(&change, &ahead).is_err() {
            // The next growth of the object removes what is left of them.
            layout.tail = Tail::Unknown;
        }
        filled
    }

    /// Refuses at once to fill more holes than there can ever be frames for: finding that out by filling would write
    /// a disk full of zeros.
    fn refuse_too_many(&self, pages: Range<u64>) -> Result {
        let ledger = &self.engine.ledger;
        let (mut holes, mut from) = (pages.end - pages.start, pages.start);
        let most = ledger.most_frames(holes)?;
        while holes > most {
            let part = PageIndex(from)..PageIndex(pages.end);
            let mapped = ledger.mapped(self.slot, part, CHUNK_PAGES as usize)?;
            let Some(&(last, _)) = mapped.last() else {
                let name = self.pages.region().name();
                let why =
                    format!("{name} has room for at most {most} more pages, and the call needs {holes}");
                return Err(Error::NoSpace { why });
            };
            holes -= mapped.len() as u64;
            from = last.0 + 1;
        }
        Ok(())
    }

    /// Makes room for many holes at once, if there is no page among these yet.
    fn make_room(&self, change: &Change<'_>, pages: Range<u64>) -> Result {
        let count = pages.end - pages.start;
        let few = count <= CHUNK_PAGES;
        if few || !change.mapped(self.slot, PageIndex(pages.start)..PageIndex(pages.end), 1)?.is_empty() {
            return Ok(());
        }
        change.make_room(count)
    }

    /// Gives each hole among these pages a frame of zeros. `ahead` gets the pages beyond the object's end.
    fn fill_holes(
        &self,
        change: &Change<'_>,
        layout: &mut Layout,
        pages: Range<u64>,
        ahead: &mut Vec<u64>,
    ) -> Result {
        let (mut first, inside) = (pages.start, PageIndex::pages_for(self.len()));
        while first < pages.end {
            let count = CHUNK_PAGES.min(pages.end - first);
            let found = self.locate_run(PageIndex(first), count)?;
            let fresh = self.take_frames(change, PageIndex(first), &found)?;
            if let Err(error) = fresh.iter().try_for_each(|f| self.fill_frame(f.1, 0, &[])) {
                self.give_back(&fresh);
                return Err(error);
            }
            // Noted before they are linked: a link takes several records, and the first ones stay when a later one
            // fails.
            ahead.extend(fresh.iter().map(|f| f.0.0).filter(|&page| page >= inside));
            self.link(change, layout, &fresh, None)?;
            self.remember_all(&fresh);
            self.engine.between_steps()?;
            first += count;
        }
        Ok(())
    }

    /// Frees pages beyond the end, which no reader has seen: an allocation that failed half-way must not keep its
    /// space. Pages inside may hold another thread's bytes by now. The caller holds `layout`.
    pub(super) fn take_back(&self, change: &Change<'_>, ahead: &[u64]) -> Result {
        let mut runs = ahead.chunk_by(|a, b| a + 1 == *b);
        runs.try_for_each(|run| self.punch_pages(change, run[0]..run[0] + run.len() as u64))
    }

    /// Undoes a growth that failed before it became visible. The object still ends at `old`. Bytes that were stored
    /// beyond, up to `stored`, do not appear when it grows later. The pages in `taken` that lie beyond are freed;
    /// pages that were allocated ahead before stay.
    pub(super) fn undo_growth(
        &self,
        change: &Change<'_>,
        layout: &mut Layout,
        old: u64,
        stored: u64,
        taken: &[u64],
    ) {
        if self.shrink_back(change, layout, old, stored, taken).is_err() {
            // If this fails too, it leaves the layout such that the next growth checks.
            let _ = self.cut(change, layout, old);
        }
    }

    fn shrink_back(
        &self,
        change: &Change<'_>,
        layout: &mut Layout,
        old: u64,
        stored: u64,
        taken: &[u64],
    ) -> Result {
        layout.tail = Tail::Unknown;
        self.take_back(change, taken)?;
        // Pages that were there before hold zeros, and perhaps what was just stored.
        let ledger = &self.engine.ledger;
        let (mut from, end) = (PageIndex(PageIndex::pages_for(old)), PageIndex(PageIndex::pages_for(stored)));
        loop {
            let mapped = ledger.mapped(self.slot, from..end, CHUNK_PAGES as usize)?;
            let Some(&(last, _)) = mapped.last() else { break };
            for (index, frame) in mapped {
                ledger.met_page(frame)?;
                self.pin_located_short(index, frame)?.store_now(&*self.engine, 0, &[0; FRAME_SIZE])?;
            }
            layout.unpublished = true;
            from = PageIndex(last.0 + 1);
        }
        layout.tail = if old % PAGE == 0 { Tail::Zero } else { Tail::Stale };
        Ok(())
    }

    /// The pages that punching removes: those that lie completely in the range.
    pub(crate) fn whole_pages(&self, offset: u64, end: u64) -> Range<u64> {
        offset.div_ceil(PAGE)..if end >= self.len() { PageIndex::pages_for(end) } else { end / PAGE }
    }

    pub(crate) fn punch_hole(&self, offset: u64, len: u64) -> Result {
        let end = check_end(offset, len)?;
        let change = self.engine.change()?;
        let layout = self.layout.lock();
        let whole = self.whole_pages(offset, end);
        self.refuse_part_of_lost(offset..end, &whole)?;
        if offset / PAGE == end / PAGE && whole.is_empty() {
            self.zero_inside(offset, end)?;
        } else {
            self.zero_inside(offset, whole.start * PAGE)?;
            self.zero_inside(whole.end * PAGE, end)?;
        }
        if !whole.is_empty() {
            self.punch_pages(&change, whole)?;
        }
        drop(layout);
        Ok(())
    }

    /// Refuses to make a hole of a part of the pages that one word says are lost: it would have to stay, for the others.
    /// `whole`: the pages that become holes. The first and the last page of the bytes may become zeros in part.
    fn refuse_part_of_lost(&self, bytes: Range<u64>, whole: &Range<u64>) -> Result {
        if bytes.is_empty() {
            return Ok(());
        }
        let ledger = &self.engine.ledger;
        let ends = [bytes.start / PAGE, (bytes.end - 1) / PAGE];
        for page in ends.into_iter().filter(|page| *page < self.page_count()) {
            // A look-up fails at a lost page, and costs much less than the walk that tells which pages are lost with it.
            if ledger.map(self.slot, PageIndex(page)).is_ok() {
                continue;
            }
            let Some(lost) = ledger.lost_around(self.slot, PageIndex(page))? else { continue };
            if lost.pages.start < whole.start || lost.pages.end.min(self.page_count()) > whole.end {
                return Err(lost.error());
            }
        }
        Ok(())
    }

    /// Stores zeros from `from` to `to`, which lie in one page, unless that page is a hole.
    fn zero_inside(&self, from: u64, to: u64) -> Result {
        if from >= to {
            return Ok(());
        }
        let index = PageIndex::of_byte(from);
        let Some(frame) = self.locate(index)? else { return Ok(()) };
        self.pin_located_short(index, frame)?.store(
            &*self.engine,
            (from % PAGE) as usize,
            &[0; FRAME_SIZE][..(to - from) as usize],
        )
    }

    /// Makes whole pages holes, some at a time. Lookups run between the steps and wait during a step: until its
    /// record is appended, the map still has its pages.
    fn punch_pages(&self, change: &Change<'_>, pages: Range<u64>) -> Result {
        let mut from = pages.start;
        while from < pages.end {
            let left = PageIndex(from)..PageIndex(pages.end);
            let (mapped, lost) = change.mapped_and_lost(self.slot, left, CHUNK_PAGES as usize)?;
            let part = match mapped.last() {
                // No word of lost pages reaches over a page that is mapped.
                Some(&(last, _)) if lost.is_none() || mapped.len() as u64 == CHUNK_PAGES => from..last.0 + 1,
                None if lost.is_none() => return Ok(()),
                _ => from..pages.end,
            };
            let end = part.end;
            self.engine.steps(|| {
                let _alone = self.shape.write();
                self.lookaside.clear(part.clone());
                let part = PageIndex(part.start)..PageIndex(part.end);
                self.engine.step(self.id, |fate| change.punch_step(self.slot, part, fate))
            })?;
            self.engine.between_steps()?;
            from = end;
        }
        Ok(())
    }
}
