//! What all handles of one open object share.

use super::core::Core;
use super::lengths::Lengths;
use crate::error::{Error, Result};
use crate::lookup::Lookaside;
use crate::media::layout::rank_of;
use crate::media::{ObjectRecord, ObjectSlot};
use crate::page::{Answer, PageRef, Pages};
use crate::space::Owner;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use crate::sync::{Mutex, RwLock};
use crate::units::{FRAME_SIZE, FrameNo, PageIndex};
use std::sync::Arc;

/// The greatest length of an object.
pub(super) const LEN_MAX: u64 = Owner::PAGES_MAX * PAGE;
/// Pages by which a lookup extends what is known of an object's first run: a leaf of its map.
const RUN_STEP: usize = 512;
/// Bytes of a page.
pub(super) const PAGE: u64 = FRAME_SIZE as u64;

/// An open object. Locks are taken in this order: `layout`, `shape`, the roles of frames, the log's.
pub(super) struct Shared {
    pub(super) id: u64,
    pub(super) slot: ObjectSlot,
    pub(super) pages: Arc<Pages>,
    pub(super) lookaside: Lookaside,
    /// The length that readers see; changed under `layout`, after the bytes it uncovers are in place.
    len: AtomicU64,
    /// Pages up to the length: those that may be remembered.
    page_count: AtomicU64,
    /// How often the object was cut: a write that began before must look whether it is still inside.
    pub(super) cuts: AtomicU64,
    unlinked: AtomicBool,
    pub(super) core: Arc<Core>,
    /// Shared: the map is walked and its answer used. Exclusive: pages are cut off.
    pub(super) shape: RwLock<()>,
    /// Held by the thread that changes the map or the length.
    pub(super) layout: Mutex<Layout>,
}

/// What the changer of an object's layout knows.
pub(super) struct Layout {
    pub(super) tail: Tail,
    /// Zeros were stored behind the end that no record has published yet: the next one that uncovers them does.
    pub(super) unpublished: bool,
    /// What a crash may show of the length.
    pub(super) lengths: Lengths,
}

/// What lies between the object's end and the end of its last page, and in pages beyond.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tail {
    /// Not looked at since the object was opened: a crash may have left an unfinished write.
    Unknown,
    /// Bytes that were cut off, in the last page; nothing beyond.
    Stale,
    /// Zeros, or what was stored there through a pin.
    Zero,
}

impl Shared {
    pub(super) fn new(core: &Arc<Core>, record: &ObjectRecord) -> Self {
        Self {
            id: record.id,
            slot: record.slot,
            pages: Arc::clone(&core.pages),
            lookaside: Lookaside::new(core.pages.pfns().frames.min(Owner::PAGES_MAX) as usize),
            len: AtomicU64::new(record.size),
            page_count: AtomicU64::new(PageIndex::pages_for(record.size)),
            cuts: AtomicU64::new(0),
            unlinked: AtomicBool::new(record.unlinked),
            core: Arc::clone(core),
            shape: RwLock::new(()),
            layout: Mutex::new(Layout {
                tail: Tail::Unknown,
                unpublished: false,
                lengths: Lengths::unknown(core.log.head()),
            }),
        }
    }

    /// The object has just been made: nothing lies behind its end.
    pub(super) fn is_new(&self) {
        let mut layout = self.layout.lock();
        (layout.tail, layout.lengths) = (Tail::Zero, Lengths::none(self.core.log.head()));
    }

    #[inline(always)]
    pub(super) fn len(&self) -> u64 {
        // ORDERING: Acquire: a thread that sees the length sees the bytes below it.
        self.len.load(Ordering::Acquire)
    }

    /// The length is `len` from now on. The caller holds `layout`.
    pub(super) fn publish_len(&self, len: u64) {
        // ORDERING: Release: the bytes below are in place.
        self.len.store(len, Ordering::Release);
        // ORDERING: Release, as the length.
        self.page_count.store(PageIndex::pages_for(len), Ordering::Release);
    }

    pub(super) fn is_unlinked(&self) -> bool {
        // ORDERING: Acquire: pairs with `mark_unlinked`, which the dropper of the last handle must see.
        self.unlinked.load(Ordering::Acquire)
    }

    pub(super) fn mark_unlinked(&self) {
        // ORDERING: Release: as above.
        self.unlinked.store(true, Ordering::Release);
    }

    /// A pin of a page that was looked up before. It lies inside the object: no other page is remembered.
    // Called, it would return the pin through memory, and stores in front of the next atomic addition keep one page's
    // miss from overlapping the next one's.
    #[inline(always)]
    pub(super) fn hit(&self, index: PageIndex) -> Option<PageRef> {
        self.lookaside.pin(index, |frame| self.pages.try_pin(frame))
    }

    /// As [`Self::miss`], out of the way of a hit.
    #[cold]
    #[inline(never)]
    pub(super) fn miss_outlined(&self, index: PageIndex) -> Answer {
        self.miss(index).into()
    }

    /// A pin of a page that has to be looked up; `None` for a hole or past the end.
    #[cold]
    pub(super) fn miss(&self, index: PageIndex) -> Result<Option<PageRef>> {
        self.look_up(index, Self::pin_located)
    }

    /// As [`Self::miss`], for a call that drops the pin before it returns.
    #[cold]
    pub(super) fn miss_short(&self, index: PageIndex) -> Result<Option<PageRef>> {
        self.look_up(index, Self::pin_located_short)
    }

    fn look_up(
        &self,
        index: PageIndex,
        pin: impl Fn(&Self, PageIndex, FrameNo) -> Result<PageRef>,
    ) -> Result<Option<PageRef>> {
        self.core.ensure_whole()?;
        let _steady = self.shape.read();
        if index.0 >= PageIndex::pages_for(self.len()) {
            return Ok(None);
        }
        match self.locate(index)? {
            None => Ok(None),
            Some(frame) => pin(self, index, frame).map(Some),
        }
    }

    /// The frame of a page. The caller keeps pages from being cut off: by `shape` or by `layout`.
    pub(super) fn locate(&self, index: PageIndex) -> Result<Option<FrameNo>> {
        let lookaside = &self.lookaside;
        if let Some(frame) = lookaside.get(index) {
            return Ok(Some(frame));
        }
        let ledger = &self.core.ledger;
        let found = ledger.map(self.slot, index)?;
        if let Some(frame) = found {
            ledger.met_page(frame)?;
            if let Some(next) = lookaside.run_to_look_for() {
                let mut pages = ledger.map_range(self.slot, next, RUN_STEP)?;
                pages.truncate(self.page_count().saturating_sub(next.0) as usize);
                pages.truncate(self.met_run(&pages));
                lookaside.extend_run(next, &pages);
            }
            self.remember(index, frame);
        }
        Ok(found)
    }

    /// How many of these pages, from the first on, lie in frames that follow each other and hold nothing else. Only of
    /// these it is said that they were met.
    fn met_run(&self, pages: &[Option<FrameNo>]) -> usize {
        let Some(&Some(first)) = pages.first() else { return 0 };
        let follows = |n: usize, frame: FrameNo| rank_of(frame) == rank_of(first).wrapping_add(n as u32);
        let is_met = |&(n, page): &(usize, &Option<FrameNo>)| {
            page.is_some_and(|frame| follows(n, frame) && self.core.ledger.met_page(frame).is_ok())
        };
        pages.iter().enumerate().take_while(is_met).count()
    }

    /// The frames of `count` pages from `first`. The caller keeps pages from being cut off.
    pub(super) fn locate_run(&self, first: PageIndex, count: u64) -> Result<Vec<Option<FrameNo>>> {
        let lookaside = &self.lookaside;
        let indexes = first.0..first.0 + count;
        let known: Vec<_> = indexes.clone().map(|index| lookaside.get(PageIndex(index))).collect();
        if known.iter().all(Option::is_some) {
            return Ok(known);
        }
        let found = self.core.ledger.map_range(self.slot, first, count as usize)?;
        for (index, frame) in indexes.zip(&found) {
            if let Some(frame) = frame {
                self.core.ledger.met_page(*frame)?;
                self.remember(PageIndex(index), *frame);
            }
        }
        Ok(found)
    }

    /// Pages up to the length.
    fn page_count(&self) -> u64 {
        // ORDERING: Acquire, as the length.
        self.page_count.load(Ordering::Acquire)
    }

    /// Remembers where a page is, if it lies inside the object: a hit does not ask. The caller keeps pages from being
    /// cut off; a cut clears what lies beyond after the length has fallen.
    pub(super) fn remember(&self, index: PageIndex, frame: FrameNo) {
        if index.0 < self.page_count() {
            self.lookaside.fill(index, frame);
        }
    }

    /// Pins the frame that [`Self::locate`] found, under the same lock.
    ///
    /// # Errors
    /// `Corrupt` also where the frame turns out to be used for something else, or to hold another page.
    pub(super) fn pin_located(&self, index: PageIndex, frame: FrameNo) -> Result<PageRef> {
        self.pin_expected(index, frame, Pages::pin)
    }

    /// As [`Self::pin_located`], for a call that drops the pin before it returns.
    pub(super) fn pin_located_short(&self, index: PageIndex, frame: FrameNo) -> Result<PageRef> {
        self.pin_expected(index, frame, Pages::pin_short)
    }

    fn pin_expected(
        &self,
        index: PageIndex,
        frame: FrameNo,
        pin: impl Fn(&Pages, FrameNo) -> Result<PageRef>,
    ) -> Result<PageRef> {
        // Before the pin too: a frame that is something else is not to be taken for one that is pinned often.
        self.core.ledger.expect_page(frame)?;
        let page = pin(&self.pages, frame)?;
        // ORDERING: SeqCst: the pin is counted before the look at the frame's use; a thread that takes the frame does
        // it the other way round.
        fence(Ordering::SeqCst);
        self.core.ledger.expect_page(frame)?;
        let owner = self.owner(index);
        if page.set_owner(owner) {
            return Ok(page);
        }
        let why = format!("frame {} holds page {} of object {}, and another page", frame.0, index.0, self.id);
        Err(Error::corrupt("object map", frame.offset(), why))
    }

    pub(super) fn owner(&self, index: PageIndex) -> Owner {
        Owner::new(self.id, index)
    }

    /// Copies page by page.
    pub(super) fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize> {
        let len = self.len();
        if offset >= len {
            self.core.ensure_usable()?;
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

impl Drop for Shared {
    fn drop(&mut self) {
        // In a forked child all of it is the parent's, and locked perhaps by a thread that is not there.
        if self.pages.region().forked() {
            return;
        }
        self.core.forget(self.slot);
        if self.is_unlinked() {
            self.pages.forget_dirt(self.id);
            self.core.drop_object(self.slot, self.id);
            self.core.return_surplus(false);
        }
    }
}

/// Where `len` bytes from `offset` end, if an object can reach there.
pub(super) fn check_end(offset: u64, len: u64) -> Result<u64> {
    let limit = LEN_MAX;
    match offset.checked_add(len) {
        Some(end) if end <= limit => Ok(end),
        _ => Err(Error::OutOfRange { what: "end of the range", value: offset.saturating_add(len), limit }),
    }
}
