//! Storing bytes: in place where there are frames, into fresh ones where there are none.

use super::shared::{Layout, PAGE, Shared, check_end};
use crate::error::{Error, Result};
use crate::media::rules::Rule;
use crate::page::PageRef;
use crate::sync::atomic::Ordering;
use crate::units::{FRAME_SIZE, FrameNo, PageIndex};

/// Pages that are laid out in one go.
pub(super) const CHUNK_PAGES: u64 = 512;

/// The part of a write that falls into one page.
pub(super) struct Piece<'b> {
    pub(super) index: PageIndex,
    pub(super) at: usize,
    pub(super) bytes: &'b [u8],
}

/// The pieces of `bytes` at `offset`.
pub(super) fn pieces(offset: u64, bytes: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    let (mut at, mut rest) = (offset, bytes);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let in_page = (at % PAGE) as usize;
        let (bytes, behind) = rest.split_at(rest.len().min(FRAME_SIZE - in_page));
        let piece = Piece { index: PageIndex::of_byte(at), at: in_page, bytes };
        (at, rest) = (at + bytes.len() as u64, behind);
        Some(piece)
    })
}

impl Shared {
    pub(super) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result {
        let end = check_end(offset, bytes.len() as u64)?;
        self.core.begin_change()?;
        if bytes.is_empty() {
            return Ok(());
        }
        // ORDERING: Acquire: a cut counted before this is seen in the length too.
        let cuts = self.cuts.load(Ordering::Acquire);
        let mut done = 0;
        if end <= self.len() {
            done = self.write_inside(offset, bytes)?;
            // ORDERING: Acquire: as above.
            if done == bytes.len() && (self.cuts.load(Ordering::Acquire) == cuts || end <= self.len()) {
                return Ok(());
            }
        }
        let mut layout = self.layout.lock();
        // An object that was cut meanwhile is written again, as if after the cut. Otherwise nothing is stored twice: who
        // has seen it may have written over it.
        // ORDERING: Acquire: as above; under `layout` nobody cuts.
        if self.cuts.load(Ordering::Acquire) != cuts {
            done = 0;
        }
        self.write_laid_out(&mut layout, offset + done as u64, &bytes[done..])
    }

    pub(super) fn append(&self, bytes: &[u8]) -> Result<u64> {
        self.core.begin_change()?;
        let mut layout = self.layout.lock();
        let offset = self.len();
        check_end(offset, bytes.len() as u64)?;
        if !bytes.is_empty() {
            self.write_laid_out(&mut layout, offset, bytes)?;
        }
        Ok(offset)
    }

    /// Stores in place, as long as there are frames: how many bytes.
    fn write_inside(&self, offset: u64, bytes: &[u8]) -> Result<usize> {
        let mut done = 0;
        for piece in pieces(offset, bytes) {
            let page = match self.hit(piece.index) {
                Some(page) => page,
                None => match self.miss_short(piece.index)? {
                    Some(page) => page,
                    None => return Ok(done),
                },
            };
            match page.store(piece.at, piece.bytes) {
                Err(Error::Detached { .. }) => return Ok(done),
                stored => stored?,
            }
            done += piece.bytes.len();
        }
        Ok(done)
    }

    /// Stores with the layout in hand: holes are filled, the object grows. Its new length shows when all is stored: what others
    /// have seen, and perhaps written over, cannot be taken back.
    fn write_laid_out(&self, layout: &mut Layout, offset: u64, bytes: &[u8]) -> Result {
        self.core.ensure_whole()?;
        let (old, end) = (self.len(), offset + bytes.len() as u64);
        if end > old {
            self.prepare_growth(layout)?;
        }
        let mut taken = Vec::new();
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let room = (CHUNK_PAGES * PAGE - at % PAGE) as usize;
            let (chunk, behind) = rest.split_at(rest.len().min(room));
            let len = (behind.is_empty() && end > old).then_some(end);
            let mut written = self.write_chunk(layout, at, chunk, len, &mut taken);
            if !behind.is_empty() {
                written = written.and_then(|()| self.core.between_steps());
            }
            if let Err(error) = written {
                if end > old {
                    let beyond = PageIndex::pages_for(old);
                    let taken: Vec<_> = taken.iter().map(|f| f.0.0).filter(|page| *page >= beyond).collect();
                    self.undo_growth(layout, old, end, &taken);
                }
                return Err(error);
            }
            (at, rest) = (at + chunk.len() as u64, behind);
        }
        self.remember_all(&taken);
        Ok(())
    }

    /// Stores what fits a chunk, and notes which frames it has `taken` for that; then sets the new length, if there is one.
    /// Space comes first: without it nothing is stored.
    fn write_chunk(
        &self,
        layout: &mut Layout,
        offset: u64,
        bytes: &[u8],
        len: Option<u64>,
        taken: &mut Vec<(PageIndex, FrameNo)>,
    ) -> Result {
        let (first, end) = (PageIndex::of_byte(offset), offset + bytes.len() as u64);
        let frames = self.locate_run(first, PageIndex::pages_for(end) - first.0)?;
        let fresh = self.take_frames(first, &frames)?;
        let in_place = |(piece, frame): (Piece<'_>, &Option<FrameNo>)| match frame {
            Some(frame) => self.pin_located_short(piece.index, *frame)?.store(piece.at, piece.bytes),
            None => Ok(()),
        };
        let into_fresh = |piece: Piece<'_>| {
            let taken = fresh.binary_search_by_key(&piece.index, |f| f.0).map(|n| fresh[n].1);
            taken.map_or(Ok(()), |frame| self.fill_frame(frame, piece.at, piece.bytes))
        };
        // The fresh ones last: what is stored in place is fenced page by page, and they by `link`, which has then
        // something to wait for.
        let stored = pieces(offset, bytes).zip(&frames).try_for_each(in_place);
        let stored = stored.and_then(|()| pieces(offset, bytes).try_for_each(into_fresh));
        if let Err(error) = stored {
            self.give_back(&fresh);
            return Err(error);
        }
        taken.extend(&fresh);
        self.link(layout, &fresh, len)
    }

    /// Takes a frame for each hole of a run of pages.
    pub(super) fn take_frames(
        &self,
        first: PageIndex,
        frames: &[Option<FrameNo>],
    ) -> Result<Vec<(PageIndex, FrameNo)>> {
        let holes = || frames.iter().enumerate().filter(|(_, frame)| frame.is_none());
        let (Some((n, _)), count) = (holes().next(), holes().count()) else {
            return Ok(Vec::new());
        };
        let before = match n {
            0 if first.0 == 0 => None,
            0 => self.locate(PageIndex(first.0 - 1))?,
            n => frames[n - 1],
        };
        let taken = self.core.volume.allocate(count, before)?;
        Ok(holes().zip(taken).map(|((n, _), frame)| (PageIndex(first.0 + n as u64), frame)).collect())
    }

    /// Gives frames back that were taken and perhaps not linked; those that were stay. If that fails, the rest is out
    /// of use until the next opening.
    pub(super) fn give_back(&self, fresh: &[(PageIndex, FrameNo)]) {
        let frames: Vec<_> = fresh.iter().map(|f| f.1).collect();
        let _ = self.core.volume.release(&frames);
    }

    /// Stores a frame whole: zeros around `bytes`. Nobody else knows the frame yet.
    pub(super) fn fill_frame(&self, frame: FrameNo, at: usize, bytes: &[u8]) -> Result {
        let memory = self.pages.region().memory();
        match bytes.len() {
            0 => memory.zero_nt(frame.offset(), FRAME_SIZE),
            FRAME_SIZE => memory.write_nt(frame.offset(), bytes),
            len => {
                let mut page = [0; FRAME_SIZE];
                page[at..at + len].copy_from_slice(bytes);
                memory.write_nt(frame.offset(), &page)
            }
        }
    }

    /// Links filled frames and sets the new length, if there is one; where there is nothing to link, only that.
    ///
    /// # Durability
    /// The frames' bytes are durable before the record that links them (LOG rule 3): stored past the cache and fenced
    /// here, or synced by the commit.
    pub(super) fn link(
        &self,
        layout: &mut Layout,
        fresh: &[(PageIndex, FrameNo)],
        len: Option<u64>,
    ) -> Result {
        let volume = &self.core.volume;
        let committed = len.is_some() && self.core.log.is_committed(layout.lengths.last());
        let moment = if !fresh.is_empty() {
            if !self.core.rules.broken(Rule::NtFence) {
                self.pages.region().memory().fence();
            }
            match volume.link(self.slot, fresh, len) {
                Ok(moment) => moment,
                Err(error) => {
                    self.give_back(fresh);
                    return Err(error);
                }
            }
        } else if let Some(len) = len {
            volume.set_size(self.slot, len, layout.unpublished)?
        } else {
            return Ok(());
        };
        layout.unpublished = false;
        if let Some(len) = len {
            layout.lengths.changed(self.len(), moment, committed);
            self.publish_len(len);
        }
        Ok(())
    }

    /// Remembers frames that were linked. The caller holds `layout`.
    pub(super) fn remember_all(&self, linked: &[(PageIndex, FrameNo)]) {
        linked.iter().for_each(|&(index, frame)| self.remember(index, frame));
    }

    /// Pins a page for writing that is no hit.
    #[cold]
    pub(super) fn make(&self, index: PageIndex) -> Result<PageRef> {
        let end = check_end(index.0.saturating_mul(PAGE), PAGE)?;
        self.core.begin_change()?;
        if let Some(page) = self.miss(index)? {
            return Ok(page);
        }
        let mut layout = self.layout.lock();
        let grown = (index.0 >= PageIndex::pages_for(self.len())).then_some(end);
        if grown.is_some() {
            self.prepare_growth(&mut layout)?;
        }
        let fresh = self.take_frames(index, &[self.locate(index)?])?;
        if let Err(error) = fresh.iter().try_for_each(|f| self.fill_frame(f.1, 0, &[])) {
            self.give_back(&fresh);
            return Err(error);
        }
        self.link(&mut layout, &fresh, grown)?;
        match self.locate(index)? {
            Some(frame) => self.pin_located(index, frame),
            None => {
                Err(Error::corrupt("object map", 0, format!("page {} is linked and not mapped", index.0)))
            }
        }
    }
}
