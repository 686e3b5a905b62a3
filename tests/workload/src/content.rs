//! The content of an object as a plain model: pages in a map, a length, and what is known of the bytes behind it.

use pagestone::units::PageIndex;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// The bytes of a page.
pub type Page = [u8; PAGE as usize];

/// A page that has a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// The model's own number for the frame. A page that is cut off and made again has another one.
    pub token: u64,
    /// All bytes of the frame, those behind the object's end included.
    pub bytes: Arc<Page>,
}

/// What lies between the object's end and the end of its last page, and in the pages beyond.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tail {
    /// The object was opened again, or a write failed. The next growth removes the pages beyond and zeroes the tail.
    Unknown,
    /// The object was cut. The next growth zeroes the tail.
    Stale,
    /// Zeros. A growth found no space: how far it came decides whether bytes that are stored here later will show.
    Doubt,
    /// Zeros, or what was stored here through a pin. It shows when the object grows.
    Kept,
}

/// An object's bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content {
    /// Its length.
    pub len: u64,
    /// Pages that have frames, also beyond the length.
    pub frames: BTreeMap<u64, Frame>,
    /// What lies behind the end.
    pub tail: Tail,
    /// Whether frames beyond the length are known to be there (a crash may have left others).
    pub ahead_known: bool,
    /// Pages that ever had frames.
    pub ever: BTreeSet<u64>,
}

/// The numbers of frames.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tokens(u64);

impl Tokens {
    /// A new frame of zeros.
    pub fn fresh(&mut self) -> Frame {
        self.0 += 1;
        Frame { token: self.0, bytes: Arc::new([0; PAGE as usize]) }
    }
}

/// The pieces of a byte range, page by page: each page, and the bytes in it.
pub fn pieces(range: Range<u64>) -> impl Iterator<Item = (u64, Range<usize>)> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        if at >= range.end {
            return None;
        }
        let page = at / PAGE;
        let end = range.end.min((page + 1) * PAGE);
        let piece = (at - page * PAGE) as usize..(end - page * PAGE) as usize;
        at = end;
        Some((page, piece))
    })
}

impl Content {
    /// An object that has just been made.
    #[must_use]
    pub fn new() -> Self {
        Self { len: 0, frames: BTreeMap::new(), tail: Tail::Kept, ahead_known: true, ever: BTreeSet::new() }
    }

    /// Pages up to the length.
    #[must_use]
    pub fn pages(&self) -> u64 {
        PageIndex::pages_for(self.len)
    }

    /// Pages with frames up to the length, and beyond it.
    #[must_use]
    pub fn mapped(&self) -> (u64, u64) {
        let inside = self.frames.range(..self.pages()).count() as u64;
        (inside, self.frames.len() as u64 - inside)
    }

    /// The bytes of a range, as a read shows them: it ends with the object.
    #[must_use]
    pub fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let end = self.len.min(at.saturating_add(len as u64));
        let mut out = Vec::with_capacity(len);
        for (page, piece) in pieces(at..end) {
            match self.frames.get(&page) {
                Some(frame) => out.extend_from_slice(&frame.bytes[piece]),
                None => out.resize(out.len() + piece.len(), 0),
            }
        }
        out
    }

    /// Whether storing in this range takes neither frames nor growth.
    #[must_use]
    pub fn is_laid_out(&self, at: u64, len: u64) -> bool {
        at + len <= self.len && pieces(at..at + len).all(|(page, _)| self.frames.contains_key(&page))
    }

    /// Prepares for growth: if the tail is unknown, the frames beyond the end go.
    fn prepare_growth(&mut self) {
        if self.tail == Tail::Unknown {
            self.frames.split_off(&self.pages());
            self.ahead_known = true;
        }
        if self.tail != Tail::Kept {
            self.zero_in_frames(self.len..self.len.next_multiple_of(PAGE));
        }
        self.tail = Tail::Kept;
    }

    /// Grows to `len`. Returns what the growth uncovers in the last page, if that is not all zeros.
    pub fn grow(&mut self, len: u64) -> Option<Vec<u8>> {
        if len <= self.len {
            return None;
        }
        self.prepare_growth();
        let old = std::mem::replace(&mut self.len, len);
        let shown = self.read(old, (old.next_multiple_of(PAGE) - old) as usize);
        shown.iter().any(|&byte| byte != 0).then_some(shown)
    }

    /// Stores bytes inside the length.
    pub fn store(&mut self, at: u64, bytes: &[u8], tokens: &mut Tokens) {
        let mut rest = bytes;
        for (page, piece) in pieces(at..at + bytes.len() as u64) {
            let (now, behind) = rest.split_at(piece.len());
            self.ever.insert(page);
            let frame = self.frames.entry(page).or_insert_with(|| tokens.fresh());
            Arc::make_mut(&mut frame.bytes)[piece].copy_from_slice(now);
            rest = behind;
        }
    }

    /// Gives frames to the holes among the pages of a range.
    pub fn allocate(&mut self, range: Range<u64>, tokens: &mut Tokens) {
        if range.end > self.len {
            self.prepare_growth();
        }
        for page in range.start / PAGE..PageIndex::pages_for(range.end) {
            self.ever.insert(page);
            self.frames.entry(page).or_insert_with(|| tokens.fresh());
        }
    }

    /// Cuts to `len`. Returns the frames that go.
    pub fn cut(&mut self, len: u64) -> Vec<Frame> {
        self.len = len;
        self.tail = if len % PAGE == 0 { Tail::Kept } else { Tail::Stale };
        self.ahead_known = true;
        self.frames.split_off(&self.pages()).into_values().collect()
    }

    /// The pages that a punch takes whole.
    #[must_use]
    pub fn punched(&self, at: u64, len: u64) -> Range<u64> {
        let end = at + len;
        let last = if end >= self.len { PageIndex::pages_for(end) } else { end / PAGE };
        at.div_ceil(PAGE)..last.max(at.div_ceil(PAGE))
    }

    /// A growth found no space. The caller has zeroed the tail; `ahead`: whether the frames beyond the end are still there.
    pub fn could_not_grow(&mut self, ahead: bool) {
        if !ahead {
            self.frames.split_off(&self.pages());
        }
        self.zero_in_frames(self.len..self.len.next_multiple_of(PAGE));
        self.tail = Tail::Doubt;
    }

    /// Makes a range zeros. Returns the frames that go.
    pub fn punch(&mut self, at: u64, len: u64) -> Vec<Frame> {
        let whole: Vec<u64> = self.frames.range(self.punched(at, len)).map(|(&page, _)| page).collect();
        let gone = whole.iter().filter_map(|page| self.frames.remove(page)).collect();
        self.zero_in_frames(at..at + len);
        gone
    }

    fn zero_in_frames(&mut self, range: Range<u64>) {
        let Range { start, end } = range;
        if start >= end {
            return;
        }
        for (&page, frame) in self.frames.range_mut(start / PAGE..PageIndex::pages_for(end)) {
            let from = start.max(page * PAGE) - page * PAGE;
            let to = end.min((page + 1) * PAGE) - page * PAGE;
            Arc::make_mut(&mut frame.bytes)[from as usize..to as usize].fill(0);
        }
    }
}

impl Default for Content {
    fn default() -> Self {
        Self::new()
    }
}
