//! Making a view of an object, and finding the pages under it.

use super::object::{OpenObject, PAGE};
use super::write::CHUNK_PAGES;
use crate::error::{Error, Result};
use crate::page::{Alias, Listed, PageRef};
use crate::units::{FrameNo, PageIndex};
use crate::view::Pieces;
use std::ops::Range;
use std::sync::Arc;

impl OpenObject {
    /// A view of pages that lie inside the object.
    ///
    /// The layout is kept while the map is read and until the view is listed. So no page is cut off, and none gets a frame,
    /// that the view does not hear of. Nor does the view show a frame which a batch has linked and not filled yet.
    pub(crate) fn view(&self, pages: Range<u64>, writable: bool) -> Result<(Arc<Pieces>, Listed)> {
        self.engine.ensure_whole()?;
        if !self.pages.region().read_only() {
            // A frame that is mapped again must have its blocks: a load would allocate them, or fault on a full disk.
            self.engine.begin_store()?;
        } else if writable {
            return Err(Error::ReadOnly);
        } else if self.engine.log.recovery().replayed != 0 {
            let why = format!(
                "{} cannot be viewed: it was not closed cleanly and is open for reading, so what its log held is private to \
                 this opening; open it for writing once",
                self.pages.region().name()
            );
            return Err(Error::Invalid(why));
        }
        let _layout = self.layout.lock();
        if pages.end > self.page_count() {
            return Err(Error::OutOfRange {
                what: "end of a view",
                value: pages.end * PAGE,
                limit: self.len(),
            });
        }
        let (mut frames, mut from) = (Vec::new(), pages.start);
        loop {
            let left = PageIndex(from)..PageIndex(pages.end);
            let found = self.engine.ledger.mapped(self.slot, left, CHUNK_PAGES as usize)?;
            let Some(&(last, _)) = found.last() else { break };
            // What else a frame is used for must not be shown, whatever a damaged map says.
            found.iter().try_for_each(|page| self.engine.ledger.met_page(page.1))?;
            frames.extend(found);
            from = last.0 + 1;
        }
        let (first, count) = (PageIndex(pages.start), pages.end - pages.start);
        let view = Arc::new(Pieces::new(&self.pages, first, count, &frames, writable)?);
        let alias: Arc<dyn Alias> = view.clone();
        let listed = self.pages.list_alias(self.id, &alias, view.address(), count);
        Ok((view, listed))
    }

    /// Shows in the object's views the pages that a change has linked, `fresh`, and those that its growth has uncovered: of
    /// the pages from `inside` on, some may have had frames. The caller holds `layout`. What cannot be shown now is shown
    /// with the next change of the object that links pages, or when a guard asks for it.
    #[inline]
    pub(super) fn show_in_views(&self, fresh: &[(PageIndex, FrameNo)], inside: u64) {
        if self.pages.has_aliases() {
            self.show_changed(fresh, inside);
        }
    }

    /// As [`Self::show_in_views`], of pages of which a change that failed has linked some.
    #[cold]
    pub(super) fn show_linked(&self, fresh: &[(PageIndex, FrameNo)]) {
        let Some((&(first, _), &(last, _))) =
            fresh.first().zip(fresh.last()).filter(|_| self.pages.has_aliases())
        else {
            return;
        };
        let inside = first..PageIndex((last.0 + 1).min(self.page_count()).max(first.0));
        let count = usize::try_from(inside.end.0 - inside.start.0).unwrap_or(usize::MAX);
        if let Ok(linked) = self.engine.ledger.mapped(self.slot, inside, count) {
            let of_these = |page: &(PageIndex, FrameNo)| fresh.binary_search(page).is_ok();
            self.pages.show(self.id, &linked.into_iter().filter(of_these).collect::<Vec<_>>());
        }
    }

    #[cold]
    fn show_changed(&self, fresh: &[(PageIndex, FrameNo)], inside: u64) {
        // A page beyond the end is no hole, and nothing that a guard can latch.
        let within = fresh.partition_point(|page| page.0.0 < inside);
        self.pages.show(self.id, &fresh[..within]);
        let (mut from, end) = (inside, self.page_count());
        while from < end {
            let left = PageIndex(from)..PageIndex(end);
            let Ok(found) = self.engine.ledger.mapped(self.slot, left, CHUNK_PAGES as usize) else { return };
            let Some(&(last, _)) = found.last() else { return };
            self.pages.show(self.id, &found);
            from = last.0 + 1;
        }
    }

    /// Does what is due of the pending work, if there is any: frames whose last pin is gone go from views.
    pub(crate) fn settle_due(&self) -> Result {
        let engine = &self.engine;
        if !engine.is_due() || self.pages.region().read_only() {
            return Ok(());
        }
        match engine.settle_some() {
            // It is tried again by the next change.
            Err(error) if error.is_full() => Ok(()),
            settled => settled,
        }
    }

    /// Pins a page of a view, which may be a hole.
    pub(crate) fn pin_of_view(&self, index: PageIndex) -> Result<Option<PageRef>> {
        match self.hit(index) {
            Some(page) => Ok(Some(page)),
            None => self.miss(index),
        }
    }
}
