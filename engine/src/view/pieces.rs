//! The pieces of one view: what it shows, and how that changes.

use super::budget;
use super::runs::{Runs, runs};
use crate::error::{Error, Result};
use crate::page::{Alias, PageRef, Pages};
use crate::region::{Blank, ViewWindow};
use crate::sync::Mutex;
use crate::units::{FRAME_SIZE, FrameNo, PageIndex};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// A view, without its object. Pages are counted from the first of the view.
pub(crate) struct Pieces {
    pages: Arc<Pages>,
    /// The page of the object that is the view's first.
    first: PageIndex,
    count: u64,
    window: ViewWindow,
    /// Locked after the roles of frames, and while the mappings are changed. Nothing is waited for under it.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    shown: Runs,
    /// The pages that were cut off and still show their former frames: those have pins, which may be used by an address
    /// here, or the kernel refused to take them.
    left: BTreeMap<u64, FrameNo>,
    /// Holes under guards. They show zeros as long as that.
    guarded: Vec<Range<u64>>,
    /// Frames that pages have got and that are not shown yet: a former frame or a guard comes before them, or there was no
    /// room for another piece.
    waiting: BTreeMap<u64, FrameNo>,
    /// Pages at which a load faults. They show no frame.
    faulting: BTreeSet<u64>,
    /// How often pages were cut off.
    taken: u64,
    /// Pieces that are counted in the budget.
    counted: usize,
}

/// Whether a view shows what pins say.
#[must_use]
pub(crate) enum Fit {
    Yes,
    /// A page was cut off, or got a frame, since it was pinned: look again.
    Changed,
    /// This page must stay as it is shown: a frame that it had is pinned, or it is a hole under a guard. Look again later.
    Blocked(u64),
}

impl Pieces {
    /// A view of `count` pages from `first` on, which shows `frames`, ascending. The caller keeps the pages as they are, and
    /// lists the view before it lets them change.
    ///
    /// # Errors
    /// `Scattered` if the process may not have so many pieces; `Invalid` for a region that cannot be viewed; `Io`.
    pub(crate) fn new(
        pages: &Arc<Pages>,
        first: PageIndex,
        count: u64,
        frames: &[(PageIndex, FrameNo)],
        writable: bool,
    ) -> Result<Self> {
        let frames: Vec<_> = frames.iter().map(|&(page, frame)| (page.0 - first.0, frame)).collect();
        let longest = runs(&frames).max_by_key(|(pages, _)| pages.end - pages.start);
        let like = longest.map_or((0, FrameNo(0)), |(pages, frame)| (pages.start, frame));
        let window = ViewWindow::new(pages.region(), count, like, writable)?;
        let counted = runs(&frames).count();
        budget::take(counted)?;
        let view = Self {
            pages: Arc::clone(pages),
            first,
            count,
            window,
            state: Mutex::new(State { counted, ..State::default() }),
        };
        let mut state = view.state.lock();
        for (pages, frame) in runs(&frames) {
            view.window.show(pages.clone(), frame)?;
            state.shown.insert(pages, frame);
        }
        drop(state);
        Ok(view)
    }

    /// The address of the first page.
    pub(crate) fn address(&self) -> *mut u8 {
        self.window.base()
    }

    pub(crate) fn writable(&self) -> bool {
        self.window.writable()
    }

    pub(crate) fn forked(&self) -> bool {
        self.window.forked()
    }

    /// The number of pieces; none in a forked child, where a thread that does not exist may hold the lock.
    pub(crate) fn len(&self) -> usize {
        if self.forked() { 0 } else { self.state.lock().shown.len() }
    }

    /// How often pages were cut off. No taking is under way when this returns. 0 in a forked child, as above.
    pub(crate) fn taken(&self) -> u64 {
        if self.forked() { 0 } else { self.state.lock().taken }
    }

    /// Whether a page shows this frame.
    pub(crate) fn shows(&self, page: u64, frame: FrameNo) -> bool {
        self.state.lock().shown.get(page) == Some(frame)
    }

    /// Ensures that the window shows these pinned pages, and zeros at the holes among them, and keeps the holes if
    /// `guards_holes`. The pins were made by the object; bytes of their pages are in place (the caller has latched them).
    ///
    /// # Errors
    /// `Scattered` and `Io` if a page got its frame, or lost it, when no mapping could be added, and still none can.
    pub(crate) fn fit<'p>(
        &self,
        pins: impl Iterator<Item = (u64, &'p PageRef)>,
        holes: &[Range<u64>],
        guards_holes: bool,
    ) -> Result<Fit> {
        self.window.ensure_usable()?;
        self.pages.region().ensure_usable()?;
        let mut state = self.state.lock();
        for (page, pin) in pins {
            if state.shown.get(page) == Some(pin.frame()) {
                continue;
            }
            // Checked under the lock, which the cut takes after it has marked the frame.
            if pin.is_detached() {
                return Ok(Fit::Changed);
            }
            if state.blocks(page) {
                return Ok(Fit::Blocked(page));
            }
            self.show_run(&mut state, page..page + 1, pin.frame())?;
        }
        for hole in holes {
            if let Some(page) = state.shown.first_in(hole.clone()) {
                let blocked = state.left.contains_key(&page);
                return Ok(if blocked { Fit::Blocked(page) } else { Fit::Changed });
            }
            self.mend(&mut state, hole.clone())?;
        }
        if guards_holes {
            state.guarded.extend_from_slice(holes);
        }
        Ok(Fit::Yes)
    }

    /// Shows zeros at the pages among these where a load faults.
    fn mend(&self, state: &mut State, pages: Range<u64>) -> Result {
        let faulting: Vec<_> = state.faulting.range(pages).copied().collect();
        for page in faulting {
            match self.window.blank(page..page + 1)? {
                Blank::Zeros => _ = state.faulting.remove(&page),
                Blank::Nothing => {
                    let why = std::io::Error::from_raw_os_error(libc::ENOMEM);
                    return Err(Error::io("showing zeros in a view, for which a mapping is lacking", why));
                }
            }
        }
        Ok(())
    }

    /// Ends the guard of holes that [`Self::fit`] has begun.
    pub(super) fn release_holes(&self, holes: &[Range<u64>]) {
        let mut state = self.state.lock();
        for hole in holes {
            if let Some(at) = state.guarded.iter().position(|one| one == hole) {
                state.guarded.swap_remove(at);
            }
            self.show_waiting(&mut state, hole.clone());
        }
    }

    /// Shows what waits among these pages, as far as nothing blocks it and there is room for pieces.
    fn show_waiting(&self, state: &mut State, pages: Range<u64>) {
        let waiting: Vec<_> = state.waiting.range(pages).map(|(&page, &frame)| (page, frame)).collect();
        for (page, frame) in waiting {
            if !state.blocks(page) {
                // If it cannot be shown now, it waits on.
                let _ = self.show_run(state, page..page + 1, frame);
            }
        }
    }

    /// Shows frames from `frame` on at these pages, none of which must stay as it is.
    fn show_run(&self, state: &mut State, pages: Range<u64>, frame: FrameNo) -> Result {
        // A run adds at most two pieces: itself, and a part of one that it splits.
        budget::take(2)?;
        self.show_counted(state, pages, frame)
    }

    /// As [`Self::show_run`], in the place of frames that are shown now and must not be: no budget may refuse that.
    fn show_instead(&self, state: &mut State, pages: Range<u64>, frame: FrameNo) -> Result {
        budget::add(2);
        self.show_counted(state, pages, frame)
    }

    /// Shows frames, for which room for two more pieces is counted in the budget.
    fn show_counted(&self, state: &mut State, pages: Range<u64>, frame: FrameNo) -> Result {
        state.counted += 2;
        let shown = self.window.show(pages.clone(), frame);
        if shown.is_ok() {
            state.faulting.retain(|page| !pages.contains(page));
            state.waiting.retain(|page, _| !pages.contains(page));
            state.shown.insert(pages, frame);
        }
        state.count();
        shown
    }

    /// Takes the frames of these pages away.
    fn blank(&self, state: &mut State, pages: Range<u64>) -> Result {
        if let Blank::Nothing = self.window.blank(pages.clone())? {
            state.faulting.extend(pages.clone());
        }
        state.shown.remove(pages);
        state.count();
        Ok(())
    }

    /// The page of the view that is this page of the object.
    fn page(&self, index: PageIndex) -> Option<u64> {
        index.0.checked_sub(self.first.0).filter(|page| *page < self.count)
    }
}

impl Alias for Pieces {
    fn cut_off(&self, pages: &[(PageIndex, FrameNo)], idle: &[bool]) -> Vec<FrameNo> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let mut gone = Vec::new();
        for (&(index, frame), idle) in pages.iter().zip(idle) {
            let Some(page) = self.page(index) else { continue };
            state.waiting.remove(&page);
            if state.shown.get(page) != Some(frame) {
                continue;
            }
            // A step that is done again counts nothing again.
            state.taken += u64::from(!state.left.contains_key(&page));
            if *idle {
                gone.push((page, frame));
            } else {
                state.left.insert(page, frame);
            }
        }
        let mut still_shown = Vec::new();
        // One call for pages that follow each other, whatever frames they show.
        for run in gone.chunk_by(|one, next| one.0 + 1 == next.0) {
            if self.blank(state, run[0].0..run[0].0 + run.len() as u64).is_err() {
                still_shown.extend(run.iter().map(|page| page.1));
                state.left.extend(run.iter().copied());
            } else {
                // Some may have been tried before.
                run.iter().for_each(|page| _ = state.left.remove(&page.0));
            }
        }
        still_shown
    }

    fn release(&self, frames: &[FrameNo]) -> Vec<FrameNo> {
        let mut state = self.state.lock();
        let left: Vec<_> = state.left.iter().map(|(&page, &frame)| (page, frame)).collect();
        let mut still_shown = Vec::new();
        for (page, frame) in left.into_iter().filter(|page| frames.contains(&page.1)) {
            if self.blank(&mut state, page..page + 1).is_err() {
                still_shown.push(frame);
                continue;
            }
            state.left.remove(&page);
            self.show_waiting(&mut state, page..page + 1);
        }
        still_shown
    }

    fn show(&self, pages: &[(PageIndex, FrameNo)]) {
        let mut state = self.state.lock();
        self.show_waiting(&mut state, 0..self.count);
        let mine = pages.iter().filter_map(|&(index, frame)| Some((self.page(index)?, frame)));
        let mine = mine.filter(|page| state.shown.get(page.0) != Some(page.1));
        let (blocked, free): (Vec<_>, Vec<_>) = mine.partition(|page| state.blocks(page.0));
        state.waiting.extend(blocked);
        for run in free.chunk_by(|one, next| one.0 + 1 == next.0 && one.1.0 + 1 == next.1.0) {
            if self.show_run(&mut state, run[0].0..run[0].0 + run.len() as u64, run[0].1).is_err() {
                state.waiting.extend(run.iter().copied());
            }
        }
    }

    fn moved(&self, pages: &[(PageIndex, FrameNo)]) -> Vec<FrameNo> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let mine = pages.iter().filter_map(|&(index, frame)| Some((self.page(index)?, frame)));
        let (waiting, shown): (Vec<_>, Vec<_>) =
            mine.partition(|page| state.blocks(page.0) || state.shown.get(page.0).is_none());
        state.waiting.extend(waiting);
        let mut still_shown = Vec::new();
        for run in shown.chunk_by(|one, next| one.0 + 1 == next.0 && one.1.0 + 1 == next.1.0) {
            let pages = run[0].0..run[0].0 + run.len() as u64;
            if self.show_instead(state, pages.clone(), run[0].1).is_ok() {
                continue;
            }
            state.waiting.extend(run.iter().copied());
            state.taken += run.len() as u64;
            let former = pages.clone().filter_map(|page| Some((page, state.shown.get(page)?)));
            let former: Vec<_> = former.collect();
            if self.blank(state, pages).is_err() {
                still_shown.extend(former.iter().map(|page| page.1));
                state.left.extend(former);
            }
        }
        still_shown
    }

    fn frames(&self, offset: u64, count: u64) -> Result<Vec<FrameNo>> {
        let first = offset / FRAME_SIZE as u64;
        let end = first.checked_add(count).filter(|end| *end <= self.count).ok_or_else(|| {
            Error::ForeignAddress { address: self.address().addr() as u64 + self.count * FRAME_SIZE as u64 }
        })?;
        let state = self.state.lock();
        let frame = |page| match (state.shown.get(page), state.left.contains_key(&page)) {
            (Some(frame), true) => Err(Error::Detached { pfn: self.pages.pfn(frame) }),
            (Some(frame), false) => Ok(frame),
            (None, _) => Err(Error::Invalid(format!("page {page} of the view shows no frame: it is a hole"))),
        };
        (first..end).map(frame).collect()
    }
}

impl State {
    /// Whether a page must stay as it is shown.
    fn blocks(&self, page: u64) -> bool {
        self.left.contains_key(&page) || self.guarded.iter().any(|hole| hole.contains(&page))
    }

    /// Brings the count of the budget up to date.
    fn count(&mut self) {
        let now = self.shown.len();
        if now > self.counted {
            budget::add(now - self.counted);
        } else {
            budget::give_back(self.counted - now);
        }
        self.counted = now;
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        // In a forked child the budget is the child's, and the lock may be held by a thread that does not exist here.
        if !self.forked() {
            budget::give_back(self.state.lock().counted);
        }
    }
}
