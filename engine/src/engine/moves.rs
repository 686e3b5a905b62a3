//! Moving pages to other frames, beside threads that use them.
//!
//! ```text
//! layout    the pages are found; other frames are taken
//!   each page: pinned, so that its frame has a descriptor; held; put. A page that has other pins stays
//!   the bytes are copied past the cache; fence
//!   shape alone, roles alone
//!     one record; the lookaside forgets; views show the new frames; the former ones are retired
//!   the former frames wait until the record is passed
//! ```
//! A hold keeps new pins out before the bytes are copied, so no store is lost. A pin that is refused waits without a lock
//! (`Pages::past_holds`), and then finds the page in its new frame. Pages with pins are tried once more at the end, for as
//! long as the caller has patience, and no other page waits for them.

use super::Change;
use super::object::OpenObject;
use crate::error::{Error, Result};
use crate::media::Move;
use crate::media::rules::Rule;
use crate::page::{Held, Pages};
use crate::sync::Step;
use crate::sync::time::Instant;
use crate::units::{FRAME_SIZE, FrameNo, PageIndex};
use std::ops::Range;
use std::time::Duration;

/// The longest time for which a page is held because of its pins: threads that want to pin it wait meanwhile.
const PATIENCE_MAX: Duration = Duration::from_secs(1);

/// What has become of pages that were to be moved.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Moved {
    /// Pages that are in other frames now.
    pub pages: u64,
    /// Pages that stayed where they were: they were pinned for longer than the caller had patience, another thread was about
    /// to cut them and waited for their pins, their medium failed, or there were no frames for them.
    pub stayed: u64,
}

/// A page that is about to move. Its frame has no pin, and gets none.
struct Leaving<'p> {
    page: PageIndex,
    from: FrameNo,
    held: Held<'p>,
}

impl OpenObject {
    /// Moves those of these pages that have frames to other frames.
    pub(crate) fn move_pages(&self, pages: Range<u64>, patience: Duration) -> Result<Moved> {
        let change = self.engine.change()?;
        let (mut moved, mut pinned, mut from) = (Moved::default(), Vec::new(), pages.start);
        while let Some(last) = self.move_idle(&change, from..pages.end, &mut pinned, &mut moved)? {
            from = last.0 + 1;
            self.engine.between_steps()?;
        }
        let end = Instant::now().checked_add(patience.min(PATIENCE_MAX));
        for page in pinned {
            let left = end.map_or(Duration::ZERO, |end| end.saturating_duration_since(Instant::now()));
            self.move_pinned(&change, page, left, &mut moved)?;
        }
        Ok(moved)
    }

    /// Moves the first of these pages. Those with pins stay, and are added to `pinned`. Returns the last page that was looked
    /// at; `None` if no page is left that has a frame.
    fn move_idle(
        &self,
        change: &Change<'_>,
        pages: Range<u64>,
        pinned: &mut Vec<PageIndex>,
        moved: &mut Moved,
    ) -> Result<Option<PageIndex>> {
        let _layout = self.layout.lock();
        let pages = PageIndex(pages.start)..PageIndex(pages.end);
        let mut found = change.mapped(self.slot, pages, change.moves_max())?;
        let Some(&(last, _)) = found.last() else { return Ok(None) };
        let frames = other_frames(change, &found)?;
        if frames.is_empty() {
            moved.stayed += found.len() as u64;
            return Ok(Some(last));
        }
        found.truncate(frames.len());
        moved.pages += self.move_some(change, &frames, || {
            let hold = |&(page, from)| match self.hold(page, from)?.filter(Held::is_idle) {
                Some(held) => Ok(Some(Leaving { page, from, held })),
                None => {
                    pinned.push(page);
                    Ok(None)
                }
            };
            found.iter().map(hold).filter_map(Result::transpose).collect()
        })?;
        Ok(found.last().map(|page| page.0))
    }

    /// Moves a page whose pins end in time.
    fn move_pinned(
        &self,
        change: &Change<'_>,
        page: PageIndex,
        patience: Duration,
        moved: &mut Moved,
    ) -> Result {
        let _layout = self.layout.lock();
        let Some(from) = change.map(self.slot, page)? else { return Ok(()) };
        let frames = other_frames(change, &[(page, from)])?;
        let done = self.move_some(change, &frames, || {
            let held = self.hold(page, from)?.filter(|held| held.wait_idle(patience));
            Ok(held.map(|held| Leaving { page, from, held }).into_iter().collect())
        })?;
        moved.pages += done;
        moved.stayed += 1 - done;
        Ok(())
    }

    /// Holds pages by `hold`, at most one for each of these frames, and moves them there. The frames that are not needed go
    /// back. Returns how many pages have moved. The caller holds `layout`.
    fn move_some<'o>(
        &'o self,
        change: &Change<'_>,
        frames: &[FrameNo],
        hold: impl FnOnce() -> Result<Vec<Leaving<'o>>>,
    ) -> Result<u64> {
        let mut used = 0;
        let switched = if frames.is_empty() { Ok(Vec::new()) } else { hold() }.and_then(|leaving: Vec<_>| {
            let count = leaving.len();
            self.switch(change, leaving, &frames[..count])?;
            used = count;
            Ok(count as u64)
        });
        // If this fails, they are unusable until the next opening.
        let _ = self.engine.ledger.release(&frames[used..]);
        switched
    }

    /// Holds the frame of a page. `None` if that cannot be.
    fn hold(&self, page: PageIndex, frame: FrameNo) -> Result<Option<Held<'_>>> {
        self.engine.ledger.met_page(frame)?;
        match self.pin_expected(page, frame, Pages::pin) {
            // A frame without a descriptor cannot be held. The pin makes one, and keeps it until the frame is held.
            Ok(_pin) => Ok(self.pages.hold_to_move(frame)),
            Err(Error::Held { .. } | Error::PoisonedFrame { .. } | Error::TooManyPins { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Moves pages, ascending, to these frames, one for each.
    ///
    /// # Durability
    /// One record, appended. After a crash the pages are where they were, or all of them have moved; they show the same.
    fn switch(&self, change: &Change<'_>, leaving: Vec<Leaving<'_>>, frames: &[FrameNo]) -> Result {
        if leaving.is_empty() {
            return Ok(());
        }
        let to_frame =
            |(page, to): (&Leaving<'_>, &FrameNo)| Move { page: page.page, from: page.from, to: *to };
        let moves: Vec<_> = leaving.iter().zip(frames).map(to_frame).collect();
        let held = leaving.into_iter().map(|page| page.held).collect();
        self.copy(&moves)?;
        self.map_anew(change, &moves, held)
    }

    /// Copies pages into frames that no other thread knows yet.
    fn copy(&self, moves: &[Move]) -> Result {
        let memory = self.pages.region().memory();
        let mut bytes = [0; FRAME_SIZE];
        for page in moves {
            memory.read(page.from.offset(), &mut bytes)?;
            memory.write_nt(page.to.offset(), &bytes)?;
        }
        if !self.engine.rules.broken(Rule::MoveUnfenced) {
            memory.fence();
        }
        Step::PagesCopied.reach();
        Ok(())
    }

    /// Makes the map lead to the copies, and everything else that knows where the pages are.
    fn map_anew(&self, change: &Change<'_>, moves: &[Move], held: Vec<Held<'_>>) -> Result {
        let pages: Vec<_> = moves.iter().map(|page| (page.page, page.to)).collect();
        let shape = self.shape.write();
        let mut roles = self.pages.roles();
        let linked = || std::iter::once((self.slot, &pages[..]));
        let sequence = self.engine.linking(linked, || change.relocate(self.slot, moves))?;
        Step::PagesMoved.reach();
        for run in pages.chunk_by(|one, next| one.0.0 + 1 == next.0.0) {
            self.lookaside.clear(run[0].0.0..run[0].0.0 + run.len() as u64);
        }
        // A page beyond the end is no page of a view, but its frame is left, too.
        let within = pages.partition_point(|page| page.0.0 < self.page_count());
        let still_shown = roles.moved(self.id, &pages[..within], held);
        drop(roles);
        drop(shape);
        // What a view still shows stays out of use until the next opening, which finds it free.
        let left = moves.iter().map(|page| page.from).filter(|frame| !still_shown.contains(frame));
        change.quarantine(sequence, left.collect());
        Ok(())
    }
}

/// Frames for these pages, for as many as there are frames. They are taken before a page is held, because it may take long.
fn other_frames(change: &Change<'_>, found: &[(PageIndex, FrameNo)]) -> Result<Vec<FrameNo>> {
    let mut most = found.len();
    loop {
        match change.allocate(most, found.first().map(|page| page.1)) {
            Err(error) if error.is_full() && most <= 1 => return Ok(Vec::new()),
            Err(error) if error.is_full() => most /= 2,
            taken => return taken,
        }
    }
}
