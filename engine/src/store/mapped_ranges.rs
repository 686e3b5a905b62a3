//! The ranges of an object that are not holes.

use super::Object;
use crate::error::Result;
use crate::units::{FRAME_SIZE, FrameNo, PageIndex};
use std::ops::Range;

/// Number of pages that are read at once.
const BATCH: usize = 4096;
/// Bytes of a page.
const PAGE: u64 = FRAME_SIZE as u64;

impl Object {
    /// The ranges of `bytes` whose pages have frames, ascending, not adjacent, and cut off at the object's end. The
    /// bytes between them read as zeros. The cost depends on what is mapped, not on the length of the object.
    ///
    /// ```
    /// use pagestone::Store;
    ///
    /// # fn main() -> pagestone::Result {
    /// let object = Store::options().open_memory(1 << 20)?.create("sparse")?;
    /// object.write_at(1 << 40, b"far out")?;
    /// let ranges = object.mapped_ranges(0..u64::MAX).collect::<pagestone::Result<Vec<_>>>()?;
    /// assert_eq!(ranges, [1 << 40..(1 << 40) + 7]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// An item is `Corrupt` if the map cannot be read, or if pages were lost, as [`Options::repair`](super::Options::repair)
    /// explains; no item follows it. Concurrent changes of other threads may be
    /// seen or not.
    #[must_use]
    pub fn mapped_ranges(&self, bytes: Range<u64>) -> MappedRanges {
        let end = bytes.end.min(self.len());
        let bytes = bytes.start..end.max(bytes.start);
        let pages = match bytes.is_empty() {
            true => 0..0,
            false => PageIndex::of_byte(bytes.start).0..PageIndex::pages_for(bytes.end),
        };
        MappedRanges { object: self.clone(), bytes, pages, batch: Vec::new().into_iter() }
    }
}

/// The iterator of [`Object::mapped_ranges`].
#[derive(Debug)]
pub struct MappedRanges {
    object: Object,
    bytes: Range<u64>,
    /// The pages that no batch has returned yet.
    pages: Range<u64>,
    batch: std::vec::IntoIter<(PageIndex, FrameNo)>,
}

impl MappedRanges {
    /// The next page with a frame, if `wanted` accepts it.
    fn next_page(&mut self, wanted: impl Fn(u64) -> bool) -> Result<Option<u64>> {
        if self.batch.len() == 0 && !self.pages.is_empty() {
            let engine = &self.object.shared.engine;
            engine.ensure_whole()?;
            let pages = PageIndex(self.pages.start)..PageIndex(self.pages.end);
            let (batch, lost) = engine.ledger.mapped_and_lost(self.object.shared.slot, pages, BATCH)?;
            // It is no hole: a copy must not have zeros there.
            if let Some(lost) = lost {
                return Err(lost.error());
            }
            self.pages.start = match batch.last() {
                Some((last, _)) if batch.len() == BATCH => last.0 + 1,
                _ => self.pages.end,
            };
            self.batch = batch.into_iter();
        }
        match self.batch.as_slice().first() {
            Some((page, _)) if wanted(page.0) => Ok(self.batch.next().map(|(page, _)| page.0)),
            _ => Ok(None),
        }
    }

    fn next_range(&mut self) -> Result<Option<Range<u64>>> {
        let Some(first) = self.next_page(|_| true)? else { return Ok(None) };
        let mut end = first + 1;
        while self.next_page(|page| page == end)?.is_some() {
            end += 1;
        }
        Ok(Some((first * PAGE).max(self.bytes.start)..(end * PAGE).min(self.bytes.end)))
    }
}

impl Iterator for MappedRanges {
    type Item = Result<Range<u64>>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_range();
        if next.is_err() {
            self.pages = 0..0;
            self.batch = Vec::new().into_iter();
        }
        next.transpose()
    }
}

impl std::iter::FusedIterator for MappedRanges {}
