//! The state that all handles of one open object share.

use super::Engine;
use super::entry::Entry;
use super::lengths::Lengths;
use super::map::Map;
use crate::error::{Error, Result};
use crate::lookup::Lookaside;
use crate::media::{ObjectRecord, ObjectSlot};
use crate::page::{PageRef, Pages, PinResult, Window};
use crate::space::{PageId, PageSource, Place};
use crate::sync::atomic::{Ordering, fence};
use crate::sync::{Mutex, RwLock};
use crate::units::{FRAME_SIZE, FrameNo, PageIndex};
use std::ops::Range;
use std::sync::Arc;

/// The greatest length of an object.
pub(crate) const LEN_MAX: u64 = PageId::PAGES_MAX * PAGE;
/// The pages that one lookup adds to the known part of an object's first run: one leaf of its map.
const RUN_STEP: usize = 512;
/// Bytes of a page.
pub(crate) const PAGE: u64 = FRAME_SIZE as u64;

/// An open object. Locks are taken in this order: `layout`, `shape`, the roles of frames, the log's.
pub(crate) struct OpenObject {
    pub(crate) id: u64,
    pub(crate) slot: ObjectSlot,
    pub(super) pages: Arc<Pages>,
    /// What a hit pins through; each handle has a copy.
    window: Window,
    pub(super) lookaside: Lookaside,
    pub(super) entry: Entry,
    pub(crate) engine: Arc<Engine>,
    /// Shared: while the map is walked and its answer is used. Exclusive: while pages are cut off, or lead elsewhere.
    pub(crate) shape: RwLock<()>,
    /// Held by the thread that changes the map or the length.
    pub(super) layout: Mutex<Layout>,
}

/// What the thread that changes an object's layout knows.
pub(super) struct Layout {
    pub(super) tail: Tail,
    /// Zeros were stored after the end, and no record has published them yet: the next record that uncovers them
    /// does.
    pub(super) unpublished: bool,
    /// The lengths that may appear after a crash.
    pub(super) lengths: Lengths,
}

/// The content between the object's end and the end of its last page, and of pages beyond.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tail {
    /// Not examined since the object was opened: a crash may have left an unfinished write.
    Unknown,
    /// The last page has bytes that were cut off; there is nothing beyond.
    Stale,
    /// Zeros, or bytes stored there through a pin.
    Zero,
}

impl OpenObject {
    pub(super) fn new(engine: &Arc<Engine>, record: &ObjectRecord) -> Self {
        Self {
            id: record.id,
            slot: record.slot,
            pages: Arc::clone(&engine.pages),
            window: engine.pages.window(),
            lookaside: Lookaside::new(engine.pages.pfns().frames.min(PageId::PAGES_MAX) as usize),
            entry: Entry::of(record),
            engine: Arc::clone(engine),
            shape: RwLock::new(()),
            layout: Mutex::new(Layout {
                tail: Tail::Unknown,
                unpublished: false,
                lengths: Lengths::unknown(engine.log.head()),
            }),
        }
    }

    /// Marks the object as new: nothing lies after its end.
    pub(crate) fn is_new(&self) {
        let mut layout = self.layout.lock();
        (layout.tail, layout.lengths) = (Tail::Zero, Lengths::none(self.engine.log.head()));
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> u64 {
        self.entry.len()
    }

    pub(crate) fn is_unlinked(&self) -> bool {
        self.entry.is_unlinked()
    }

    pub(crate) fn mark_unlinked(&self) {
        self.entry.mark_unlinked();
    }

    /// Pins a page that was looked up before. It lies inside the object: no other page is remembered.
    // Inlined: as a call it would return the pin through memory, and stores before the next atomic addition keep the
    // miss of one page from overlapping the next one's.
    #[inline(always)]
    pub(crate) fn hit_through(&self, window: &Window, index: PageIndex) -> Option<PageRef> {
        self.lookaside.pin(index, |frame| window.try_pin(frame))
    }

    /// As [`Self::hit_through`], for a call that has no window of its own.
    #[inline(always)]
    pub(super) fn hit(&self, index: PageIndex) -> Option<PageRef> {
        self.hit_through(&self.window, index)
    }

    /// What a handle pins through.
    pub(crate) fn window(&self) -> Window {
        self.window.clone()
    }

    /// As [`Self::miss`], kept out of the code of a hit.
    #[cold]
    #[inline(never)]
    pub(crate) fn miss_outlined(&self, index: PageIndex) -> PinResult {
        self.miss(index).into()
    }

    /// Pins a page that has to be looked up; `None` for a hole or past the end.
    #[cold]
    pub(super) fn miss(&self, index: PageIndex) -> Result<Option<PageRef>> {
        self.look_up(index, Pages::pin)
    }

    /// As [`Self::miss`], for a call that drops the pin before it returns.
    #[cold]
    pub(super) fn miss_short(&self, index: PageIndex) -> Result<Option<PageRef>> {
        self.look_up(index, Pages::pin_short)
    }

    fn look_up(
        &self,
        index: PageIndex,
        pin: impl Fn(&Pages, FrameNo) -> Result<PageRef>,
    ) -> Result<Option<PageRef>> {
        self.engine.ensure_whole()?;
        self.pages.past_holds(|| {
            let _steady = self.shape.read();
            if index.0 >= PageIndex::pages_for(self.len()) {
                return Ok(None);
            }
            match self.locate(index)? {
                None => Ok(None),
                Some(frame) => self.pin_expected(index, frame, &pin).map(Some),
            }
        })
    }

    /// The frame of a page. The caller holds `shape` or `layout`, so that pages are not cut off.
    pub(crate) fn locate(&self, index: PageIndex) -> Result<Option<FrameNo>> {
        let lookaside = &self.lookaside;
        if let Some(frame) = lookaside.get(index) {
            return Ok(Some(frame));
        }
        let source = self.source();
        let found = self.frame_of(index, source.place(index)?)?;
        if let Some(frame) = found {
            source.meet(frame)?;
            if let Some(next) = lookaside.run_to_look_for() {
                // What cannot be read there is an error of those pages, and not of this one.
                let mut places = match source.places(next, RUN_STEP) {
                    Err(Error::Corrupt { .. }) => Vec::new(),
                    places => places?,
                };
                places.truncate(self.page_count().saturating_sub(next.0) as usize);
                lookaside.extend_run(next, &met_run(&source, &places));
            }
            self.remember(index, frame);
        }
        Ok(found)
    }

    /// The frames of `count` pages from `first`. The caller keeps pages from being cut off.
    pub(super) fn locate_run(&self, first: PageIndex, count: u64) -> Result<Vec<Option<FrameNo>>> {
        let lookaside = &self.lookaside;
        let indexes = || (first.0..first.0 + count).map(PageIndex);
        let known: Vec<_> = indexes().map(|index| lookaside.get(index)).collect();
        if known.iter().all(Option::is_some) {
            return Ok(known);
        }
        let source = self.source();
        let places = indexes().zip(source.places(first, count as usize)?);
        let found = places.map(|(index, place)| self.frame_of(index, place)).collect::<Result<Vec<_>>>()?;
        for (index, frame) in indexes().zip(&found) {
            if let Some(frame) = frame {
                source.meet(*frame)?;
                self.remember(index, *frame);
            }
        }
        Ok(found)
    }

    /// The frames of these pages, if that can be said at once: a caller that holds a latch waits for no cut. The pages may
    /// be cut off by the time they are used.
    pub(super) fn frames_at_once(&self, pages: Range<u64>) -> Option<Vec<FrameNo>> {
        self.engine.ensure_whole().ok()?;
        let _steady = self.shape.try_read()?;
        let end = pages.end.min(PageId::PAGES_MAX);
        let frames = self.locate_run(PageIndex(pages.start), end.saturating_sub(pages.start));
        Some(frames.ok()?.into_iter().flatten().collect())
    }

    /// The source that is asked if the lookaside does not know a page.
    fn source(&self) -> Map<'_> {
        Map { structures: &self.engine.ledger, slot: self.slot }
    }

    /// The frame of a page with this place; none for a hole.
    fn frame_of(&self, index: PageIndex, place: Place) -> Result<Option<FrameNo>> {
        match place {
            Place::Frame(frame) => Ok(Some(frame)),
            Place::Hole => Ok(None),
            Place::Absent => {
                let why = format!("page {} of object {} is in no frame and is no hole", index.0, self.id);
                Err(Error::corrupt("object map", self.slot.offset(), why))
            }
        }
    }

    /// The number of pages up to the length.
    pub(super) fn page_count(&self) -> u64 {
        self.entry.page_count()
    }

    /// Remembers where a page is, if it lies inside the object, because a hit does not check that. The caller keeps
    /// pages from being cut off; a cut lowers the length first and then forgets what lies beyond.
    pub(super) fn remember(&self, index: PageIndex, frame: FrameNo) {
        if index.0 < self.page_count() {
            self.lookaside.fill(index, frame);
        }
    }

    /// Pins the frame that [`Self::locate`] found. The caller holds `layout`, so the page does not move.
    ///
    /// # Errors
    /// `Corrupt` also if the frame turns out to be used for something else, or to hold another page.
    pub(crate) fn pin_located(&self, index: PageIndex, frame: FrameNo) -> Result<PageRef> {
        self.pages.past_holds(|| self.pin_expected(index, frame, Pages::pin))
    }

    /// As [`Self::pin_located`], for a call that drops the pin before it returns.
    pub(super) fn pin_located_short(&self, index: PageIndex, frame: FrameNo) -> Result<PageRef> {
        self.pages.past_holds(|| self.pin_expected(index, frame, Pages::pin_short))
    }

    /// Pins a frame, if it holds this page. The caller keeps the page from being cut off.
    pub(super) fn pin_expected(
        &self,
        index: PageIndex,
        frame: FrameNo,
        pin: impl Fn(&Pages, FrameNo) -> Result<PageRef>,
    ) -> Result<PageRef> {
        // Checked before the pin too: otherwise a frame that is something else could be mistaken for a frame that is
        // pinned often.
        self.engine.ledger.expect_page(frame)?;
        let page = pin(&self.pages, frame)?;
        // ORDERING: SeqCst: the pin is counted before the frame's use is checked; a thread that takes the frame does
        // it in the opposite order.
        fence(Ordering::SeqCst);
        self.engine.ledger.expect_page(frame)?;
        let id = self.page_id(index);
        if page.set_owner(id) {
            return Ok(page);
        }
        let why = format!("frame {} holds page {} of object {}, and another page", frame.0, index.0, self.id);
        Err(Error::corrupt("object map", frame.offset(), why))
    }

    pub(super) fn page_id(&self, index: PageIndex) -> PageId {
        PageId::new(self.id, index)
    }

    /// Copies page by page.
    pub(crate) fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize> {
        let len = self.len();
        if offset >= len {
            self.engine.ensure_usable()?;
            return Ok(0);
        }
        let wanted = into.len().min(usize::try_from(len - offset).unwrap_or(usize::MAX));
        let mut rest = &mut into[..wanted];
        let mut at = offset;
        while !rest.is_empty() {
            let in_page = (at % PAGE) as usize;
            let (piece, behind) = rest.split_at_mut(rest.len().min(FRAME_SIZE - in_page));
            let index = PageIndex::of_byte(at);
            match self.hit(index).map_or_else(|| self.miss_short(index), |page| Ok(Some(page)))? {
                Some(page) => page.load(in_page, piece)?,
                None => piece.fill(0),
            }
            at += piece.len() as u64;
            rest = behind;
        }
        Ok(wanted)
    }
}

impl Drop for OpenObject {
    fn drop(&mut self) {
        // In a forked child everything is the parent's, and may be locked by a thread that does not exist here.
        if self.pages.region().forked() {
            return;
        }
        self.engine.open.forget(self.slot);
        if self.is_unlinked() {
            self.engine.drop_object(self.slot, self.id);
            self.engine.return_surplus(false);
        }
    }
}

/// The frames of these pages, from the first on, as far as they are consecutive and hold nothing else. Only these are
/// reported as met.
fn met_run(source: &impl PageSource, places: &[Place]) -> Vec<FrameNo> {
    let mut run: Vec<FrameNo> = Vec::new();
    for place in places {
        let Place::Frame(frame) = *place else { break };
        let next = run.last().map(|last| last.0.wrapping_add(1));
        if next.is_some_and(|next| frame.0 != next) || source.meet(frame).is_err() {
            break;
        }
        run.push(frame);
    }
    run
}

/// The end of `len` bytes from `offset`, if an object can reach it.
pub(crate) fn check_end(offset: u64, len: u64) -> Result<u64> {
    let limit = LEN_MAX;
    match offset.checked_add(len) {
        Some(end) if end <= limit => Ok(end),
        _ => Err(Error::OutOfRange { what: "end of the range", value: offset.saturating_add(len), limit }),
    }
}
