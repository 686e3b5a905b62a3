//! Storing bytes: in place where pages have frames, into new frames where they have none.

use super::Change;
use super::object::{Layout, OpenObject, PAGE, check_end};
use crate::error::{Error, Result};
use crate::media::rules::Rule;
use crate::page::PageRef;
use crate::sync::Step;
use crate::units::{FRAME_SIZE, FrameNo, PageIndex};
use std::collections::BTreeMap;

/// Pages that are allocated in one go.
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

/// How far a write has come that may have to begin again. Nothing is stored twice: another thread may have seen it
/// and written over it.
#[derive(Default)]
pub(crate) struct Progress {
    /// How often the object had been cut when the write began.
    cuts: u64,
    /// Bytes stored, counted from the first.
    done: usize,
    /// Pages after these that had frames, and the byte up to which each is stored: the map had no space for the holes
    /// among them.
    in_place: BTreeMap<PageIndex, usize>,
}

impl Progress {
    /// The part of a piece that is still to be stored.
    fn rest<'b>(&self, piece: Piece<'b>) -> Piece<'b> {
        let end = self.in_place.get(&piece.index).copied().unwrap_or(0);
        let stored = end.saturating_sub(piece.at).min(piece.bytes.len());
        Piece { index: piece.index, at: piece.at + stored, bytes: &piece.bytes[stored..] }
    }

    /// Forgets what was stored from byte `offset` of the object on, as far as it lies at or after byte `end`.
    fn limit(&mut self, offset: u64, end: u64) {
        let inside = |at: usize, from: u64| (at as u64).min(end.saturating_sub(from)) as usize;
        self.done = inside(self.done, offset);
        self.in_place.iter_mut().for_each(|(page, at)| *at = inside(*at, page.0 * PAGE));
    }
}

impl OpenObject {
    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8], progress: &mut Progress) -> Result {
        let end = check_end(offset, bytes.len() as u64)?;
        self.engine.begin_store()?;
        if bytes.is_empty() {
            return Ok(());
        }
        self.look_for_cuts(progress);
        if end <= self.len() && progress.in_place.is_empty() {
            self.write_inside(offset, bytes, &mut progress.done)?;
            let uncut = self.entry.cuts() == progress.cuts;
            if progress.done == bytes.len() && (uncut || end <= self.len()) {
                return Ok(());
            }
        }
        let change = self.engine.change()?;
        let mut layout = self.layout.lock();
        // Under `layout` no other thread cuts the object.
        self.look_for_cuts(progress);
        self.write_laid_out(&change, &mut layout, offset, bytes, progress)
    }

    /// Restarts the write if the object was cut meanwhile, as if it began after the cut.
    fn look_for_cuts(&self, progress: &mut Progress) {
        let cuts = self.entry.cuts();
        if cuts != progress.cuts {
            *progress = Progress { cuts, ..Progress::default() };
        }
    }

    pub(crate) fn append(&self, bytes: &[u8]) -> Result<u64> {
        let change = self.engine.change()?;
        let mut layout = self.layout.lock();
        let offset = self.len();
        check_end(offset, bytes.len() as u64)?;
        if !bytes.is_empty() {
            self.write_laid_out(&change, &mut layout, offset, bytes, &mut Progress::default())?;
        }
        Ok(offset)
    }

    /// Stores in place, as long as the pages have frames.
    fn write_inside(&self, offset: u64, bytes: &[u8], done: &mut usize) -> Result {
        for piece in pieces(offset + *done as u64, &bytes[*done..]) {
            let page = match self.hit(piece.index) {
                Some(page) => page,
                None => match self.miss_short(piece.index)? {
                    Some(page) => page,
                    None => return Ok(()),
                },
            };
            match page.store(&*self.engine, piece.at, piece.bytes) {
                Err(Error::Detached { .. }) => return Ok(()),
                stored => stored?,
            }
            *done += piece.bytes.len();
        }
        Ok(())
    }

    /// Stores under the layout lock: holes are filled, and the object grows. The new length becomes visible after
    /// everything is stored: bytes that other threads have seen, and perhaps written over, cannot be taken back.
    fn write_laid_out(
        &self,
        change: &Change<'_>,
        layout: &mut Layout,
        offset: u64,
        bytes: &[u8],
        progress: &mut Progress,
    ) -> Result {
        let (old, end) = (self.len(), offset + bytes.len() as u64);
        if end > old {
            self.prepare_growth(change, layout)?;
        }
        let mut taken = Vec::new();
        while progress.done < bytes.len() {
            let (at, rest) = (offset + progress.done as u64, &bytes[progress.done..]);
            let room = (CHUNK_PAGES * PAGE - at % PAGE) as usize;
            let chunk = &rest[..rest.len().min(room)];
            let last = chunk.len() == rest.len();
            let len = (last && end > old).then_some(end);
            let mut written = self.write_chunk(change, layout, at, chunk, len, progress, &mut taken);
            if !last {
                written = written.and_then(|()| self.engine.between_steps());
            }
            if let Err(error) = written {
                if end > old {
                    let beyond = PageIndex::pages_for(old);
                    let taken: Vec<_> = taken.iter().map(|f| f.0.0).filter(|page| *page >= beyond).collect();
                    self.undo_growth(change, layout, old, end, &taken);
                    progress.limit(offset, old);
                }
                return Err(error);
            }
        }
        self.remember_all(&taken);
        Ok(())
    }

    /// Stores one chunk and adds the frames it takes to `taken`; then sets the new length, if there is one. Space is
    /// allocated first: without it nothing is stored.
    #[allow(clippy::too_many_arguments, reason = "the write, what it may change, and how far it has come")]
    fn write_chunk(
        &self,
        change: &Change<'_>,
        layout: &mut Layout,
        offset: u64,
        bytes: &[u8],
        len: Option<u64>,
        progress: &mut Progress,
        taken: &mut Vec<(PageIndex, FrameNo)>,
    ) -> Result {
        let (first, end) = (PageIndex::of_byte(offset), offset + bytes.len() as u64);
        let frames = self.locate_run(first, PageIndex::pages_for(end) - first.0)?;
        let fresh = self.take_frames(change, first, &frames)?;
        let rest = || pieces(offset, bytes).map(|piece| progress.rest(piece));
        let in_place = |(piece, frame): (Piece<'_>, &Option<FrameNo>)| match frame {
            Some(frame) if !piece.bytes.is_empty() => {
                self.pin_located_short(piece.index, *frame)?.store(&*self.engine, piece.at, piece.bytes)
            }
            _ => Ok(()),
        };
        let into_fresh = |piece: Piece<'_>| {
            let taken = fresh.binary_search_by_key(&piece.index, |f| f.0).map(|n| fresh[n].1);
            taken.map_or(Ok(()), |frame| self.fill_frame(frame, piece.at, piece.bytes))
        };
        // New frames come last: stores in place are fenced page by page, and the new frames by `link`, which then has
        // something to wait for.
        let stored = rest().zip(&frames).try_for_each(in_place);
        let stored = stored.and_then(|()| rest().try_for_each(into_fresh));
        if let Err(error) = stored {
            self.give_back(&fresh);
            return Err(error);
        }
        taken.extend(&fresh);
        if let Err(error) = self.link(change, layout, &fresh, len) {
            let in_place = pieces(offset, bytes).zip(frames).filter(|(_, frame)| frame.is_some());
            progress.in_place.extend(in_place.map(|(piece, _)| (piece.index, piece.at + piece.bytes.len())));
            return Err(error);
        }
        progress.done += bytes.len();
        Ok(())
    }

    /// Takes a frame for each hole in a run of pages.
    pub(super) fn take_frames(
        &self,
        change: &Change<'_>,
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
        let taken = change.allocate(count, before)?;
        Ok(holes().zip(taken).map(|((n, _), frame)| (PageIndex(first.0 + n as u64), frame)).collect())
    }

    /// Gives back frames that were taken and may not be linked. Linked ones stay. If this fails, the rest is unusable
    /// until the next opening.
    pub(super) fn give_back(&self, fresh: &[(PageIndex, FrameNo)]) {
        let frames: Vec<_> = fresh.iter().map(|f| f.1).collect();
        let _ = self.engine.ledger.release(&frames);
    }

    /// Stores a whole frame: `bytes`, and zeros around them. No other thread knows the frame yet.
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

    /// Links filled frames and sets the new length, if there is one. If there is nothing to link, only sets the
    /// length.
    ///
    /// # Durability
    /// The frames' bytes are durable before the record that links them (LOG rule 3): stored past the cache and fenced
    /// here, or synced by the commit.
    pub(super) fn link(
        &self,
        change: &Change<'_>,
        layout: &mut Layout,
        fresh: &[(PageIndex, FrameNo)],
        len: Option<u64>,
    ) -> Result {
        let committed = len.is_some() && self.engine.log.is_committed(layout.lengths.last());
        let moment = if !fresh.is_empty() {
            if !self.engine.rules.broken(Rule::NtFence) {
                self.pages.region().memory().fence();
            }
            Step::FramesFilled.reach();
            let pages = || std::iter::once((self.slot, fresh));
            match self.engine.linking(pages, || change.link(self.slot, fresh, len)) {
                Ok(moment) => moment,
                Err(error) => {
                    self.give_back(fresh);
                    self.show_linked(fresh);
                    return Err(error);
                }
            }
        } else if let Some(len) = len {
            change.set_size(self.slot, len, layout.unpublished)?
        } else {
            return Ok(());
        };
        Step::FramesLinked.reach();
        layout.unpublished = false;
        let inside = self.page_count();
        if let Some(len) = len {
            layout.lengths.changed(self.len(), moment, committed);
            self.entry.publish_len(len);
        }
        self.show_in_views(fresh, inside);
        Ok(())
    }

    /// Remembers frames that were linked. The caller holds `layout`.
    pub(super) fn remember_all(&self, linked: &[(PageIndex, FrameNo)]) {
        linked.iter().for_each(|&(index, frame)| self.remember(index, frame));
    }

    /// Pins a page for writing that is not a hit.
    #[cold]
    pub(crate) fn make(&self, index: PageIndex) -> Result<PageRef> {
        let end = check_end(index.0.saturating_mul(PAGE), PAGE)?;
        self.engine.begin_store()?;
        if let Some(page) = self.miss(index)? {
            return Ok(page);
        }
        let change = self.engine.change()?;
        let mut layout = self.layout.lock();
        let grown = (index.0 >= PageIndex::pages_for(self.len())).then_some(end);
        if grown.is_some() {
            self.prepare_growth(&change, &mut layout)?;
        }
        let fresh = self.take_frames(&change, index, &[self.locate(index)?])?;
        if let Err(error) = fresh.iter().try_for_each(|f| self.fill_frame(f.1, 0, &[])) {
            self.give_back(&fresh);
            return Err(error);
        }
        self.link(&change, &mut layout, &fresh, grown)?;
        match self.locate(index)? {
            Some(frame) => self.pin_located(index, frame),
            None => Err(Error::internal(format!("page {} is linked and not mapped", index.0))),
        }
    }
}
