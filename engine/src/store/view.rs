//! Views: a range of an object at consecutive addresses.

use super::object::Object;
use crate::engine::check_end;
use crate::error::{Error, Result};
use crate::page::{Listed, PageRef};
use crate::sync::thread;
use crate::sync::time::Instant;
use crate::units::{FRAME_SIZE, PageIndex};
use crate::view::{Fit, Pieces, ViewPin, ViewRead, ViewWrite};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// A range of an object at consecutive addresses, wherever its frames are: made by [`Object::view`] and
/// [`Object::view_mut`].
///
/// ```
/// # use pagestone::Store;
/// # fn main() -> pagestone::Result {
/// # let store = Store::options().open_memory(1 << 20)?;
/// let object = store.create("book")?;
/// object.write_at(0, &[7; 10_000])?;
/// let view = object.view(100..9_100)?;
/// assert_eq!(&view.read(0..9_000)?[..], &[7; 9_000]);
/// # Ok(())
/// # }
/// ```
///
/// A view pins nothing and excludes no thread, and the object may change under it. It shows what the object has: a page that
/// is written becomes visible, a page that is cut off becomes zeros, and its frame can be used again at once. (A page that is
/// pinned when it is cut off shows its former bytes until the next change of the store after its last pin.) A cut does not
/// wait for views, except for the time that the kernel takes to change mappings. A page that moves
/// ([`Object::move_pages`](crate::store::Object::move_pages)) is shown where it is then, at the same address. Holes and what
/// was cut off show zeros. Bytes of the object's last page beyond its end are undefined.
///
/// Rust code accesses the bytes through [`read`](Self::read) and [`write`](Self::write), whose guards are slices. The
/// [`address`](Self::address) is for C and for system calls:
/// - A load gets the page's bytes or, once the page was cut off, zeros; never bytes of another page, and never a signal. Two
///   emergencies are excepted, both of a process that has as many mappings as it may have. If a page must be taken from a view
///   then, a load of that page is a `SIGSEGV`; where the kernel cannot do that (before Linux 6.15, or locked memory), it gets
///   the former bytes until the page can be taken. If a page gets its frame then, a load gets zeros until it can be shown.
///   A page that moves then is one that is taken and gets a frame. [`read`](Self::read) returns an error in each case.
/// - A store needs a [`pin`](Self::pin) and an exclusive latch, as any store does. A store to a hole, to a page that was cut
///   off, or to a view for reading is a `SIGSEGV`, so that no store is lost.
/// - A system call that is given an address needs a pin: the kernel keeps the frame, whichever page has it by then.
///
/// Source: Linux `mm/mmap.c`: `MAP_FIXED` replaces a mapping at once, and has made every processor forget the old one when
/// it returns.
pub struct View {
    // Not found any more before its window is unmapped.
    _listed: Listed,
    pieces: Arc<Pieces>,
    object: Object,
    /// The pages of the object.
    pages: Range<u64>,
    /// Where the view begins in its first page.
    at: usize,
    len: usize,
}

impl Object {
    /// Shows a range of the object at consecutive addresses, for reading. The range lies inside the object and is not
    /// empty.
    ///
    /// It costs about 4 us for each run of pages that lie in a run of frames: such a *piece* is one mapping of the region's
    /// file. All views of a process may have a quarter of its mappings (`vm.max_map_count`).
    ///
    /// # Errors
    /// `Invalid` if the range is empty, or the region's bytes cannot be mapped again: an image, a device that is mapped in
    /// blocks of more than one page, a region that was not closed cleanly and is open for reading. `OutOfRange` if the range
    /// reaches past the object's end. `Scattered` if it has more pieces than may be added. `Io` if the process has no more
    /// addresses or mappings. `NoSpace` if this is the first call of an opening that needs blocks for all that is in use, and
    /// the disk is full.
    pub fn view(&self, range: Range<u64>) -> Result<View> {
        View::new(self, range, false)
    }

    /// As [`view`](Self::view), for reading and writing.
    ///
    /// # Durability
    /// None by itself; see [`ViewWrite`].
    ///
    /// # Errors
    /// As [`view`](Self::view); `ReadOnly`.
    pub fn view_mut(&self, range: Range<u64>) -> Result<View> {
        View::new(self, range, true)
    }
}

impl View {
    fn new(object: &Object, range: Range<u64>, writable: bool) -> Result<Self> {
        if range.start >= range.end {
            return Err(Error::Invalid(format!(
                "a view of the empty range {:#x}..{:#x}",
                range.start, range.end
            )));
        }
        check_end(range.end, 0)?;
        let len = object.len();
        if range.end > len {
            return Err(Error::OutOfRange { what: "end of a view", value: range.end, limit: len });
        }
        let page = FRAME_SIZE as u64;
        let pages = range.start / page..range.end.div_ceil(page);
        let (pieces, listed) = object.shared.view(pages.clone(), writable)?;
        let (at, len) = ((range.start % page) as usize, (range.end - range.start) as usize);
        Ok(Self { _listed: listed, pieces, object: object.clone(), pages, at, len })
    }

    /// The address of the first byte. It is valid while the view lives.
    #[must_use]
    pub fn address(&self) -> *const u8 {
        self.pieces.address().wrapping_add(self.at)
    }

    /// Bytes of the view.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it is empty, which no view is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The object.
    #[must_use]
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// The number of pieces, each a mapping of the process.
    #[must_use]
    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// How many pages were taken from this view: cut off, or moved when the process had no mappings left. If it is the same
    /// before and after a raw read, no page of the view was taken meanwhile. (A page that was cut off before shows zeros, or
    /// its former bytes while it is pinned.)
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.pieces.taken()
    }

    /// Waits for shared latches on all pages of a range of bytes, counted from the view's first.
    ///
    /// # Errors
    /// `OutOfRange`; `PoisonedFrame`, `TooManyReaders`, `WaitsForItself` and `TooManyPins`, as for the guard of one page
    /// ([`PageRef::read`](crate::PageRef::read)). `Busy` if for a second a page must stay as it is shown: it was cut off, and
    /// its former frame is pinned. `Scattered` or `Io` if a page got its frame, or lost it, when no mapping could be added,
    /// and still none can.
    pub fn read(&self, bytes: Range<usize>) -> Result<ViewRead<'_>> {
        let window = self.window(&bytes)?;
        let mut looks = Looks::new();
        loop {
            let Found { mut pins, holes } = self.pins(&window)?;
            in_order_of_frames(&mut pins);
            let latches = pins.into_iter().map(|(page, pin)| Ok((page, pin.read_owned()?)));
            let latches = latches.collect::<Result<Vec<_>>>()?;
            let fit =
                self.pieces.fit(latches.iter().map(|(page, latch)| (*page, latch.page())), &holes, true)?;
            let latches = latches.into_iter().map(|page| page.1).collect();
            if let Fit::Yes = fit {
                return Ok(ViewRead::new(&self.pieces, &window, latches, holes));
            }
            drop(latches);
            self.look_again(&mut looks, &fit)?;
        }
    }

    /// Waits for exclusive latches on all pages of a range of bytes, counted from the view's first. Holes get frames of
    /// zeros first.
    ///
    /// # Durability
    /// See [`ViewWrite`].
    ///
    /// # Errors
    /// As [`read`](Self::read) and [`PageRef::write`](crate::PageRef::write); `Busy` also if for a second a hole is under the
    /// guard of a reader; `Invalid` if the view is for reading; `OutOfRange` if the object was cut and the range reaches past
    /// its end; `NoSpace`.
    pub fn write(&self, bytes: Range<usize>) -> Result<ViewWrite<'_>> {
        let window = self.window(&bytes)?;
        self.must_be_writable()?;
        let mut looks = Looks::new();
        loop {
            self.fill(&window)?;
            let Found { mut pins, holes } = self.pins(&window)?;
            in_order_of_frames(&mut pins);
            let latch =
                |(page, pin): PinnedPage| Ok((page, pin.write_range_owned(self.in_page(page, &window))?));
            let fit = match pins.into_iter().map(latch).collect::<Result<Vec<_>>>() {
                // A page was cut off before it was latched.
                Err(Error::Detached { .. }) => Fit::Changed,
                Ok(_) if !holes.is_empty() => Fit::Changed,
                latches => {
                    let latches = latches?;
                    let pins = latches.iter().map(|(page, latch)| (*page, latch.page()));
                    match self.pieces.fit(pins, &[], false)? {
                        Fit::Yes => {
                            let latches = latches.into_iter().map(|page| page.1).collect();
                            return Ok(ViewWrite::new(&self.pieces, &window, latches));
                        }
                        fit => fit,
                    }
                }
            };
            self.look_again(&mut looks, &fit)?;
        }
    }

    /// Pins all pages of a range of bytes, counted from the view's first. `None` if one of them is a hole: there is nothing
    /// that a pin could keep.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn pin(&self, bytes: Range<usize>) -> Result<Option<ViewPin<'_>>> {
        let window = self.window(&bytes)?;
        let mut looks = Looks::new();
        loop {
            let found = self.pins(&window)?;
            if !found.holes.is_empty() {
                return Ok(None);
            }
            match self.pinned(&window, found)? {
                Ok(pin) => return Ok(Some(pin)),
                Err(fit) => self.look_again(&mut looks, &fit)?,
            }
        }
    }

    /// As [`pin`](Self::pin), for stores: holes get frames of zeros first.
    ///
    /// # Durability
    /// None by itself. A store needs the latch of its page, and its bytes are named when that is released
    /// ([`PageRef::release_write`](crate::PageRef::release_write)).
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn pin_mut(&self, bytes: Range<usize>) -> Result<ViewPin<'_>> {
        let window = self.window(&bytes)?;
        self.must_be_writable()?;
        let mut looks = Looks::new();
        loop {
            self.fill(&window)?;
            let found = self.pins(&window)?;
            let fit = match found.holes.is_empty() {
                false => Fit::Changed,
                true => match self.pinned(&window, found)? {
                    Ok(pin) => return Ok(pin),
                    Err(fit) => fit,
                },
            };
            self.look_again(&mut looks, &fit)?;
        }
    }

    /// The pin of a range without holes, if the view shows these pages.
    fn pinned(&self, window: &Range<usize>, found: Found) -> Result<std::result::Result<ViewPin<'_>, Fit>> {
        for (page, pin) in &found.pins {
            // A frame is shown only when its bytes are in place, and a batch keeps its latch until they are.
            if !self.pieces.shows(*page, pin.frame()) {
                drop(pin.read()?);
            }
        }
        Ok(match self.pieces.fit(found.pins.iter().map(|(page, pin)| (*page, pin)), &[], false)? {
            Fit::Yes => {
                let pins = found.pins.into_iter().map(|page| page.1).collect();
                Ok(ViewPin::new(&self.pieces, window, pins))
            }
            fit => Err(fit),
        })
    }

    /// Waits before an access looks at its pages again. It holds no latch.
    fn look_again(&self, looks: &mut Looks, fit: &Fit) -> Result {
        self.object.shared.settle_due()?;
        if looks.wait() {
            return Ok(());
        }
        let why = match fit {
            Fit::Blocked(page) => format!(
                "page {page} of the view must stay as it is shown, for a pin of the frame that it had or a guard of the hole \
                 that it was: drop that first"
            ),
            _ => "its object is cut and written again and again: try later".into(),
        };
        Err(Error::Busy { what: "the view", why })
    }

    /// The bytes of the window that these bytes of the view are.
    fn window(&self, bytes: &Range<usize>) -> Result<Range<usize>> {
        if bytes.start > bytes.end || bytes.end > self.len {
            let value = bytes.start.max(bytes.end) as u64;
            return Err(Error::OutOfRange { what: "range in a view", value, limit: self.len as u64 });
        }
        Ok(self.at + bytes.start..self.at + bytes.end)
    }

    fn must_be_writable(&self) -> Result {
        if self.pieces.writable() {
            return Ok(());
        }
        Err(Error::Invalid("the view is for reading: make it with `view_mut`".into()))
    }

    /// Gives each hole under these bytes of the window a frame.
    fn fill(&self, window: &Range<usize>) -> Result {
        let start = self.pages.start * FRAME_SIZE as u64;
        let (from, end) = (start + window.start as u64, start + window.end as u64);
        let len = self.object.len();
        if end > len {
            return Err(Error::OutOfRange { what: "end of a write through a view", value: end, limit: len });
        }
        let pages = from / FRAME_SIZE as u64..PageIndex::pages_for(end);
        for index in pages.map(PageIndex) {
            if self.object.shared.pin_of_view(index)?.is_none() {
                return self.object.allocate(from, end - from);
            }
        }
        Ok(())
    }

    /// The bytes of a page of the window that are among these.
    fn in_page(&self, page: u64, window: &Range<usize>) -> Range<usize> {
        let start = page as usize * FRAME_SIZE;
        window.start.saturating_sub(start)..(window.end - start).min(FRAME_SIZE)
    }

    /// Pins the pages under these bytes of the window.
    fn pins(&self, window: &Range<usize>) -> Result<Found> {
        let pages =
            if window.is_empty() { 0..0 } else { window.start / FRAME_SIZE..window.end.div_ceil(FRAME_SIZE) };
        let mut found = Found::default();
        for page in pages.map(|page| page as u64) {
            match self.object.shared.pin_of_view(PageIndex(self.pages.start + page))? {
                Some(pin) => found.pins.push((page, pin)),
                None => match found.holes.last_mut().filter(|hole| hole.end == page) {
                    Some(hole) => hole.end += 1,
                    None => found.holes.push(page..page + 1),
                },
            }
        }
        Ok(found)
    }
}

/// A page of the window, and its pin.
type PinnedPage = (u64, PageRef);

/// What lies under a part of a view.
#[derive(Default)]
struct Found {
    /// The pages, in order.
    pins: Vec<PinnedPage>,
    /// The holes among them, ascending.
    holes: Vec<Range<u64>>,
}

/// The order in which latches are taken.
fn in_order_of_frames(pins: &mut [PinnedPage]) {
    pins.sort_unstable_by_key(|page| page.1.pfn());
}

/// How long an access looks at pages that change meanwhile.
struct Looks {
    count: u32,
    end: Option<Instant>,
}

impl Looks {
    /// In all. A truncate takes a step for each 512 pages, and the view hears of a page with its step.
    const PATIENCE: Duration = Duration::from_secs(1);
    /// Looks without a pause.
    const AT_ONCE: u32 = 16;
    /// The pause between later looks.
    const PAUSE: Duration = Duration::from_micros(200);

    fn new() -> Self {
        Self { count: 0, end: None }
    }

    /// Waits a little; false if the time is over.
    fn wait(&mut self) -> bool {
        self.count += 1;
        if self.end.is_none() {
            self.end = Instant::now().checked_add(Self::PATIENCE);
        }
        if self.count <= Self::AT_ONCE {
            thread::yield_now();
            return true;
        }
        thread::sleep(Self::PAUSE);
        self.end.is_some_and(|end| Instant::now() < end)
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("View");
        shown.field("address", &self.address()).field("len", &self.len).field("pieces", &self.pieces());
        shown.finish_non_exhaustive()
    }
}
