//! Objects: named arrays of bytes and pages.

use super::Store;
use super::names::Names;
use crate::engine::{LEN_MAX, Moved, OpenObject, Progress, check_end};
use crate::error::Result;
use crate::page::{PageRef, PinnedRange, Window};
use crate::units::{FRAME_SIZE, PageIndex};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// The result of [`Object::pin_range`]. Other threads may change the object meanwhile, so it may be outdated.
#[derive(Debug)]
#[must_use = "a pin that is dropped at once protects nothing"]
pub enum PinRange {
    /// The whole range, pinned.
    Pinned(PinnedRange),
    /// A page of it was never written and has no frame; [`Object::allocate`] gives it one.
    Hole,
    /// It reaches past the object's end.
    PastEnd,
    /// All its pages have frames, but the frames are not adjacent in memory. A smaller range may be pinned.
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
/// Clones, and handles opened by name, refer to the same object and the same pages. An object that is unlinked while
/// it is open lives until its last handle is dropped.
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
    /// By value, for hits.
    window: Window,
    pub(super) names: Arc<Names>,
}

impl Object {
    /// A handle of an open object.
    pub(super) fn new(shared: Arc<OpenObject>, names: Arc<Names>) -> Self {
        Self { window: shared.window(), shared, names }
    }

    /// The maximum length: 2^36 pages.
    pub const LEN_MAX: u64 = LEN_MAX;

    /// The number of the object, which is never used again in the region.
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

    /// Whether its name was removed. The object then ends with its last handle.
    #[must_use]
    pub fn is_unlinked(&self) -> bool {
        self.shared.is_unlinked()
    }

    /// Copies bytes from `offset` on, and returns their number, which is smaller than requested only at the object's
    /// end. Holes read as zeros. Within a page, a read sees a concurrent write completely or not at all. It needs no
    /// latch that other readers could exhaust: any number of threads or guards may read the page.
    ///
    /// # Errors
    /// `WaitsForItself` if this thread holds the write guard of a page.
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize> {
        self.shared.read_at(offset, into)
    }

    /// Stores all of `bytes` at `offset`. A write past the end grows the object, and the gap reads as zeros. Within
    /// each page, readers see the write completely or not at all.
    ///
    /// # Durability
    /// On return the bytes survive the death of the process. After [`sync`](Self::sync) they survive a power loss;
    /// before that, a power loss may keep any part of them.
    ///
    /// # Errors
    /// `NoSpace`, `OutOfRange`: the object is unchanged, except that bytes inside its old length may be new.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result {
        let mut progress = Progress::default();
        self.shared.engine.with_room(|| self.shared.write_at(offset, bytes, &mut progress))
    }

    /// Stores `bytes` at the end, and returns their position. Appends of several threads do not overlap.
    ///
    /// # Durability
    /// As [`write_at`](Self::write_at).
    pub fn append(&self, bytes: &[u8]) -> Result<u64> {
        self.shared.engine.with_room(|| self.shared.append(bytes))
    }

    /// Cuts or extends the object. Bytes that are cut off are gone at once, and read as zeros if the object grows
    /// again. Pages that are pinned meanwhile keep their bytes for their pins, and their frames are used again after
    /// the last pin.
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

    /// As [`set_len`](Self::set_len), but first waits, for at most `wait`, until no page that is cut off is pinned.
    /// Each page is checked separately: a pin that is taken after its check does not delay the cut. While the call
    /// waits for a page's pins, new pins of the page wait, for 50 ms at a time.
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

    /// Fills every hole of a range with a frame of zeros, also beyond the end; the length stays. Later writes into
    /// the range need no space and change no map, so an object that is appended to can grow ahead in this way.
    ///
    /// # Durability
    /// As [`write_at`](Self::write_at).
    ///
    /// # Errors
    /// `NoSpace`: some holes inside the length may be filled, and read as before. Nothing beyond the length stays
    /// allocated.
    pub fn allocate(&self, offset: u64, len: u64) -> Result {
        self.shared.engine.with_room(|| self.shared.allocate(offset, len))
    }

    /// Makes a range read as zeros and frees its whole pages. The length stays.
    ///
    /// # Durability
    /// As [`write_at`](Self::write_at).
    ///
    /// # Errors
    /// `NoSpace` if the region is full and thousands of pages are cut off and still pinned: a part of the range may
    /// be zeros. `Corrupt`, and nothing has changed, if the range has only a part of pages that were lost together:
    /// [`Options::repair`](super::Options::repair) explains that.
    pub fn punch_hole(&self, offset: u64, len: u64) -> Result {
        self.shared.engine.with_room(|| self.shared.punch_hole(offset, len))
    }

    /// As [`punch_hole`](Self::punch_hole), but first waits, for at most `wait`, until none of the pages that it
    /// frees is pinned, as [`set_len_wait`](Self::set_len_wait) does.
    ///
    /// # Durability
    /// As [`write_at`](Self::write_at).
    ///
    /// # Errors
    /// `TimedOut`: nothing has changed. Also those of [`punch_hole`](Self::punch_hole).
    pub fn punch_hole_wait(&self, offset: u64, len: u64, wait: Duration) -> Result {
        let end = check_end(offset, len)?;
        self.shared.wait_for_pins(self.shared.whole_pages(offset, end), wait)?;
        self.punch_hole(offset, len)
    }

    /// Moves pages to other frames, as far as they have frames. Reads and writes go on meanwhile and see no difference;
    /// a thread that wants to pin a page which is being moved waits for a moment. Views show the pages where they are now,
    /// so their addresses stay. Addresses of pins taken later, and pfns, are others.
    ///
    /// A pinned page stays. If its pins end within `patience` (1 s at most, for all pages together; new pins of a page wait
    /// while this call waits for its old ones), it moves.
    ///
    /// ```
    /// # use pagestone::{PageIndex, Store};
    /// # use std::time::Duration;
    /// # fn main() -> pagestone::Result {
    /// # let store = Store::options().open_memory(1 << 20)?;
    /// let object = store.create("o")?;
    /// object.write_at(0, &[7; 10_000])?;
    /// let before = object.pin(PageIndex(1))?.expect("no hole").pfn();
    /// let moved = object.move_pages(0..2, Duration::from_millis(10))?;
    /// assert_eq!((moved.pages, moved.stayed), (2, 0));
    /// assert_ne!(object.pin(PageIndex(1))?.expect("no hole").pfn(), before);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Durability
    /// What the pages hold is as durable as before: after a crash they are in the one or the other frames. Bytes that no sync
    /// has made durable yet become so with the next sync.
    ///
    /// # Errors
    /// `ReadOnly`; `Corrupt` if the map is damaged there. Pages may have moved before.
    pub fn move_pages(&self, pages: Range<u64>, patience: Duration) -> Result<Moved> {
        self.shared.engine.with_room(|| self.shared.move_pages(pages.clone(), patience))
    }

    /// Makes everything durable that was written to the object before, by any thread and through any handle, pin or
    /// address. The cost depends on the number of dirty bytes, not on the size of the object.
    ///
    /// # Durability
    /// On return bytes, length and name survive a power loss (in a `Volatile` region nothing does).
    ///
    /// # Errors
    /// A failed flush poisons the region: this and all later calls fail until it is opened again.
    pub fn sync(&self) -> Result {
        self.shared.engine.sync_object(&self.shared)
    }

    /// As [`sync`](Self::sync), for the bytes of a range. More may become durable.
    ///
    /// # Durability
    /// As [`sync`](Self::sync), for the range.
    pub fn sync_range(&self, offset: u64, len: u64) -> Result {
        let pages = offset / FRAME_SIZE as u64..PageIndex::pages_for(offset.saturating_add(len));
        self.shared.engine.sync_pages(&self.shared, pages)
    }

    /// Pins a page. `None` for a hole and past the end: reading allocates nothing.
    ///
    /// A pin of a page that is in use costs one atomic addition and a few loads.
    ///
    /// # Errors
    /// `TooManyPins`, `PoisonedFrame`, `Corrupt`.
    #[inline(always)]
    pub fn pin(&self, index: PageIndex) -> Result<Option<PageRef>> {
        match self.shared.hit_through(&self.window, index) {
            Some(page) => Ok(Some(page)),
            None => self.shared.miss_outlined(index).into_result(),
        }
    }

    /// Pins a page for writing. A hole is filled with a frame of zeros. Past the end, the object grows to the end of
    /// that page.
    ///
    /// # Durability
    /// The growth: as [`write_at`](Self::write_at).
    ///
    /// # Errors
    /// `OutOfRange` beyond 2^36 pages, `NoSpace`, `ReadOnly`, and as [`pin`](Self::pin).
    #[inline]
    pub fn pin_mut(&self, index: PageIndex) -> Result<PageRef> {
        match self.shared.hit_through(&self.window, index) {
            Some(page) => Ok(page),
            None => self.shared.engine.with_room(|| self.shared.make(index)),
        }
    }

    /// Pins the pages of a byte range, if their frames are adjacent in memory. A range that cannot be pinned can be
    /// read ([`read_at`](Self::read_at)).
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
            // A later hole is reported instead, because the caller can fill it.
            scattered |= !scattered && range.extend(page).is_err();
        }
        Ok(if scattered { PinRange::Scattered } else { PinRange::Pinned(range) })
    }

    /// Why a page has no frame. It may be past the end by now.
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
