//! Objects: named content.

use super::Store;
use super::names::Names;
use crate::engine::{LEN_MAX, OpenObject, Progress, check_end};
use crate::error::Result;
use crate::page::{PageRef, PinnedRange};
use crate::units::{FRAME_SIZE, PageIndex};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What [`Object::pin_range`] finds. Others may change the object meanwhile: it is what was true.
#[derive(Debug)]
#[must_use = "a pin that is dropped at once protects nothing"]
pub enum PinRange {
    /// The range, all of it pinned.
    Pinned(PinnedRange),
    /// A page of it was never written, and has no frame: [`Object::allocate`] gives it one.
    Hole,
    /// It reaches past the object's end.
    PastEnd,
    /// All its pages have frames, which do not follow each other in memory: a smaller range may.
    Scattered,
}

impl PinRange {
    /// The range, if it is pinned.
    #[must_use = "a pin that is dropped at once protects nothing"]
    pub fn pinned(self) -> Option<PinnedRange> {
        match self {
            Self::Pinned(range) => Some(range),
            Self::Hole | Self::PastEnd | Self::Scattered => None,
        }
    }
}

/// An open object: a sparse array of bytes, and of pages that can be pinned.
///
/// Clones, and handles opened by name, are the same object with the same pages. An object that is unlinked while it is
/// open lives until its last handle is dropped.
///
/// ```
/// use pagestone::Store;
///
/// # fn main() -> pagestone::Result {
/// let store = Store::options().open_memory(1 << 20)?;
/// let log = store.create("log")?;
/// assert_eq!(log.append(b"one ")?, 0);
/// assert_eq!(log.append(b"two")?, 4);
/// log.sync()?;
///
/// let mut bytes = [0; 16];
/// assert_eq!(log.read_at(0, &mut bytes)?, 7);
/// assert_eq!(&bytes[..7], b"one two");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Object {
    pub(super) shared: Arc<OpenObject>,
    pub(super) names: Arc<Names>,
}

impl Object {
    /// The greatest length: 2^36 pages.
    pub const LEN_MAX: u64 = LEN_MAX;

    /// The object's number; never used twice in a region.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.shared.id
    }

    /// The store it is in.
    #[must_use]
    pub fn store(&self) -> Store {
        Store { engine: Arc::clone(&self.shared.engine), names: Arc::clone(&self.names) }
    }

    /// Its length in bytes.
    #[must_use]
    #[inline]
    pub fn len(&self) -> u64 {
        self.shared.len()
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether its name is gone: it goes with its last handle.
    #[must_use]
    pub fn is_unlinked(&self) -> bool {
        self.shared.is_unlinked()
    }

    /// Copies bytes from `offset` on; says how many. Fewer than asked for only at the object's end. Holes read as
    /// zeros. Of each page a read sees a concurrent write whole or not at all. It needs no latch that may be refused for
    /// long: any number of threads, or of guards, may be reading the page.
    ///
    /// # Errors
    /// `WaitsForItself` where this thread holds the write guard of a page.
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize> {
        self.shared.read_at(offset, into)
    }

    /// Stores all of `bytes` at `offset`. Past the end the object grows; the gap reads as zeros. Others see what falls
    /// into one page whole or not at all, page by page.
    ///
    /// # Durability
    /// On return the bytes survive the death of the process; after [`sync`](Self::sync), a power loss. Until then a
    /// power loss may leave any of them.
    ///
    /// # Errors
    /// `NoSpace`, `OutOfRange`: the object is as before, except that bytes inside its old length may be new.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result {
        let mut progress = Progress::default();
        self.shared.engine.with_room(|| self.shared.write_at(offset, bytes, &mut progress))
    }

    /// Stores `bytes` at the end; says where that was. Appends of several threads do not overlap.
    ///
    /// # Durability
    /// As [`write_at`](Self::write_at).
    pub fn append(&self, bytes: &[u8]) -> Result<u64> {
        self.shared.engine.with_room(|| self.shared.append(bytes))
    }

    /// Cuts or extends the object. Bytes cut off are gone at once, and read as zeros if it grows again; pages that are
    /// pinned meanwhile stay as they are for their holders, and their frames are used again after the last pin.
    ///
    /// ```
    /// # use pagestone::{Error, PageIndex, Store};
    /// # fn main() -> pagestone::Result {
    /// # let store = Store::options().open_memory(1 << 20)?;
    /// let object = store.create("o")?;
    /// object.write_at(0, b"still here")?;
    /// let page = object.pin(PageIndex(0))?.expect("no hole");
    /// object.set_len(0)?;
    ///
    /// assert!(page.is_detached());
    /// assert_eq!(&page.read()?[..10], b"still here");
    /// assert!(matches!(page.write(), Err(Error::Detached { .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Durability
    /// As [`write_at`](Self::write_at).
    pub fn set_len(&self, len: u64) -> Result {
        self.shared.engine.with_room(|| self.shared.set_len(len))
    }

    /// As [`set_len`](Self::set_len), but first waits, at most for `wait`, until no page that is cut off is pinned.
    /// Each page is looked at by itself: a pin that is taken later does not hold the cut up. While its pins are waited
    /// for, new ones wait, for 50 ms at a time.
    ///
    /// # Durability
    /// As [`write_at`](Self::write_at).
    ///
    /// # Errors
    /// `TimedOut`: nothing has changed.
    pub fn set_len_wait(&self, len: u64, wait: Duration) -> Result {
        check_end(len, 0)?;
        self.shared.wait_for_pins(PageIndex::pages_for(len)..u64::MAX, wait)?;
        self.shared.engine.with_room(|| self.shared.set_len(len))
    }

    /// Gives every hole of a range a frame of zeros, beyond the end too; the length stays. Writes into the range then
    /// need no space and change no map: an object that is appended to grows ahead this way.
    ///
    /// # Durability
    /// As [`write_at`](Self::write_at).
    ///
    /// # Errors
    /// `NoSpace`: some holes inside the length may have been filled, and read as before; nothing beyond it stays.
    pub fn allocate(&self, offset: u64, len: u64) -> Result {
        self.shared.engine.with_room(|| self.shared.allocate(offset, len))
    }

    /// Makes a range read as zeros, and gives its whole pages back. The length stays.
    ///
    /// # Durability
    /// As [`write_at`](Self::write_at).
    ///
    /// # Errors
    /// `NoSpace` when the region is full and thousands of pages are cut off and still pinned: part of the range may be
    /// zeros.
    pub fn punch_hole(&self, offset: u64, len: u64) -> Result {
        self.shared.engine.with_room(|| self.shared.punch_hole(offset, len))
    }

    /// As [`punch_hole`](Self::punch_hole), but first waits, at most for `wait`, until none of the pages that it gives back is
    /// pinned: as [`set_len_wait`](Self::set_len_wait).
    ///
    /// # Durability
    /// As [`write_at`](Self::write_at).
    ///
    /// # Errors
    /// `TimedOut`: nothing has changed. As [`punch_hole`](Self::punch_hole).
    pub fn punch_hole_wait(&self, offset: u64, len: u64, wait: Duration) -> Result {
        let end = check_end(offset, len)?;
        self.shared.wait_for_pins(self.shared.whole_pages(offset, end), wait)?;
        self.punch_hole(offset, len)
    }

    /// Makes everything durable that was written to the object before, by whatever thread and through whatever
    /// handle, pin or address. Its cost is what is dirty, not what is large.
    ///
    /// # Durability
    /// On return bytes, length and name survive a power loss (a `Volatile` region survives none).
    ///
    /// # Errors
    /// A failed flush poisons the region: this and all later calls fail until it is opened again.
    pub fn sync(&self) -> Result {
        self.shared.engine.sync_object(&self.shared)
    }

    /// As [`sync`](Self::sync), for the bytes of a range; more may become durable.
    ///
    /// # Durability
    /// As [`sync`](Self::sync), for the range.
    pub fn sync_range(&self, offset: u64, len: u64) -> Result {
        let pages = offset / FRAME_SIZE as u64..PageIndex::pages_for(offset.saturating_add(len));
        self.shared.engine.sync_pages(&self.shared, pages)
    }

    /// Pins a page. `None` for a hole, and past the end: nothing is allocated to read.
    ///
    /// A page that is in use costs one atomic addition and a few loads.
    ///
    /// # Errors
    /// `TooManyPins`, `PoisonedFrame`, `Corrupt`.
    #[inline(always)]
    pub fn pin(&self, index: PageIndex) -> Result<Option<PageRef>> {
        match self.shared.hit(index) {
            Some(page) => Ok(Some(page)),
            None => self.shared.miss_outlined(index).into_result(),
        }
    }

    /// Pins a page to write to it. A hole is filled with a frame of zeros. Past the end, the object grows to the end of
    /// that page.
    ///
    /// # Durability
    /// The growth: as [`write_at`](Self::write_at).
    ///
    /// # Errors
    /// `OutOfRange` beyond 2^36 pages, `NoSpace`, `ReadOnly`, and as [`pin`](Self::pin).
    #[inline]
    pub fn pin_mut(&self, index: PageIndex) -> Result<PageRef> {
        match self.shared.hit(index) {
            Some(page) => Ok(page),
            None => self.shared.engine.with_room(|| self.shared.make(index)),
        }
    }

    /// Pins the pages of a byte range, if their frames follow each other in memory. What cannot be pinned can be read
    /// ([`read_at`](Self::read_at)).
    ///
    /// ```
    /// # use pagestone::{Store, store::PinRange};
    /// # fn main() -> pagestone::Result {
    /// # let store = Store::options().open_memory(1 << 20)?;
    /// # let object = store.create("o")?;
    /// object.write_at(0, &[7; 10_000])?;
    /// match object.pin_range(100, 9_000)? {
    ///     PinRange::Pinned(range) => assert_eq!(range.len(), 9_000),
    ///     PinRange::Scattered => println!("not in one piece: read_at"),
    ///     PinRange::Hole | PinRange::PastEnd => unreachable!("all of it was written"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`pin`](Self::pin); `OutOfRange` beyond [`LEN_MAX`](Self::LEN_MAX).
    pub fn pin_range(&self, offset: u64, len: usize) -> Result<PinRange> {
        let end = check_end(offset, len as u64)?;
        if end > self.len() {
            return Ok(PinRange::PastEnd);
        }
        let index = PageIndex::of_byte(offset);
        let Some(first) = self.pin(index)? else { return Ok(self.nothing_at(index)) };
        let mut range = PinnedRange::new(first, (offset % FRAME_SIZE as u64) as usize, len);
        let mut scattered = false;
        for index in (index.0 + 1..PageIndex::pages_for(end)).map(PageIndex) {
            let Some(page) = self.pin(index)? else { return Ok(self.nothing_at(index)) };
            // A hole that follows is what the caller can do something about.
            scattered |= !scattered && range.extend(page).is_err();
        }
        Ok(if scattered { PinRange::Scattered } else { PinRange::Pinned(range) })
    }

    /// Why a page has no frame: it may lie past the end by now.
    #[cold]
    fn nothing_at(&self, index: PageIndex) -> PinRange {
        if index.0 < PageIndex::pages_for(self.len()) { PinRange::Hole } else { PinRange::PastEnd }
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("id", &self.id()).field("len", &self.len()).finish_non_exhaustive()
    }
}
