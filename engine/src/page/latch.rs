//! Latches: short-term exclusion on a page's bytes.

use super::guards::{Held, forgotten, given, manner, must_not_wait_for_itself, returned};
use super::pages::Pages;
use super::pin::PageRef;
use crate::error::{Error, Result};
use crate::frame::{Manner, Pinned, SHARED_MAX, SharedOutcome};
use crate::space::SpaceManager;
use crate::units::{Durability, FRAME_SIZE, LINE_SIZE, Lines};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::time::Duration;

/// From this size on, bytes are stored past the cache, which is cheaper than to store and flush their lines.
const STREAM_MIN: usize = 4 * LINE_SIZE;

/// Maximum number of read guards of one page, latches of kept ranges included.
pub const READERS_MAX: u32 = SHARED_MAX;

/// How long a writer waits for a kept range.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a writer that must not wait for kept ranges looks for one.
const LOOK: Duration = Duration::from_millis(200);

/// A shared latch: no thread writes to the page while it lives.
///
/// The borrow of the bytes ends with the guard, and the guard's with its pin:
/// ```compile_fail,E0515
/// # use pagestone::PageRef;
/// fn bytes(page: &PageRef) -> &[u8] {
///     let guard = page.read().unwrap();
///     &guard[..]
/// }
/// ```
/// ```compile_fail,E0505
/// # use pagestone::PageRef;
/// # fn first(page: PageRef) -> u8 {
/// let guard = page.read().unwrap();
/// drop(page);
/// guard[0]
/// # }
/// ```
#[must_use = "a guard that is dropped at once excludes no thread"]
pub struct ReadGuard<'p> {
    // By value, not through the pin: a pin that something points to is kept in memory, and its address is then read
    // back too late for one page's miss to overlap the next one's.
    address: NonNull<u8>,
    pinned: Pinned<'static>,
    _page: PhantomData<&'p PageRef>,
    _held: Held,
}

// SAFETY: a guard gives access to bytes that no thread writes while it lives, and to a count in an atomic word.
unsafe impl Sync for ReadGuard<'_> {}

/// An exclusive latch on a page. It dereferences to the requested bytes.
///
/// # Durability
/// On release its cache lines become dirty. The stored bytes survive the death of the process at once, and a power
/// loss after a later sync of the object.
#[must_use = "a guard that is dropped at once writes nothing"]
pub struct WriteGuard<'p> {
    latch: Exclusive<'p>,
    _held: Held,
}

/// An exclusive latch, and the bytes stored under it.
struct Exclusive<'p> {
    page: &'p PageRef,
    /// Bytes that become dirty on release.
    stored: Range<usize>,
}

impl PageRef {
    /// Waits for a shared latch. It waits for a writer that has the page. It also waits for a writer that waits for
    /// the page, but not for long, and not if this thread holds a guard of the region, for which that writer may be
    /// waiting.
    ///
    /// # Errors
    /// `PoisonedFrame`; `TooManyReaders` if there are 511: copy the bytes instead
    /// ([`read_at`](crate::store::Object::read_at)); `WaitsForItself` if this thread holds the page's write guard.
    #[inline]
    pub fn read(&self) -> Result<ReadGuard<'_>> {
        self.readable()?;
        if !self.share(Manner::GivesWay) {
            wait_to_read(self.pages(), self.pinned())?;
        }
        Ok(self.reading())
    }

    /// Takes a shared latch if it is free: no writer has the page, no writer waits to which this thread would give
    /// way, and the number of readers is below the maximum.
    ///
    /// # Errors
    /// `PoisonedFrame`.
    pub fn try_read(&self) -> Result<Option<ReadGuard<'_>>> {
        self.readable()?;
        if self.share(Manner::GivesWay) {
            return Ok(Some(self.reading()));
        }
        self.pages().region().ensure_own()?;
        Ok(self.share(manner(self.pages())).then(|| self.reading()))
    }

    /// Waits for the exclusive latch. The guard is the whole page and makes all of it dirty. Readers that come while
    /// the call waits let it go first, for 50 ms at a time.
    ///
    /// Bytes of an object's last page beyond its length may be written. They become visible when the object grows,
    /// unless that growth zeroes them: the first growth after a cut, or after the object was opened, does.
    ///
    /// # Durability
    /// See [`WriteGuard`].
    ///
    /// # Errors
    /// `Detached` if the page was cut off from its object, because the write would be lost; `ReadOnly`;
    /// `WaitsForItself` if this thread holds a guard of the page; `Busy` if a [`ReadRange`](super::ReadRange) of it
    /// is kept for seconds.
    pub fn write(&self) -> Result<WriteGuard<'_>> {
        self.write_range(0..FRAME_SIZE)
    }

    /// As [`write`](Self::write), for some bytes of the page: the guard is only these bytes, and only their cache
    /// lines become dirty. The latch still excludes other threads from the whole page.
    ///
    /// # Durability
    /// See [`WriteGuard`].
    pub fn write_range(&self, bytes: Range<usize>) -> Result<WriteGuard<'_>> {
        check_range(&bytes)?;
        let mut latch = self.exclusive()?;
        latch.stored = bytes;
        Ok(latch.writing())
    }

    /// As [`write`](Self::write), if the latch is free.
    ///
    /// # Durability
    /// See [`WriteGuard`].
    pub fn try_write(&self) -> Result<Option<WriteGuard<'_>>> {
        self.writable()?;
        if !self.pinned().try_latch_exclusive() {
            return self.pages().region().ensure_own().map(|()| None);
        }
        let mut latch = Exclusive::taken(self)?;
        latch.stored = 0..FRAME_SIZE;
        Ok(Some(latch.writing()))
    }

    /// Stores `bytes` at `at`, under the exclusive latch. `manager` is that of the frame's region.
    ///
    /// # Durability
    /// Dirty, as after a [`WriteGuard`]; or durable at once, if that is cheaper (`CacheLine`, more than a few lines).
    pub(crate) fn store(&self, manager: &dyn SpaceManager, at: usize, bytes: &[u8]) -> Result {
        self.store_from(STREAM_MIN, manager, at, bytes)
    }

    /// As [`Self::store`], for bytes that a record is about to make visible: the record then only has to publish
    /// them.
    ///
    /// # Durability
    /// Durable at once on `CacheLine`, otherwise dirty.
    pub(crate) fn store_now(&self, manager: &dyn SpaceManager, at: usize, bytes: &[u8]) -> Result {
        self.store_from(0, manager, at, bytes)
    }

    /// On `CacheLine`, at least `stream_min` bytes are stored past the cache and are durable at once.
    fn store_from(&self, stream_min: usize, manager: &dyn SpaceManager, at: usize, bytes: &[u8]) -> Result {
        check_range(&(at..at + bytes.len()))?;
        let mut latch = self.exclusive()?;
        let memory = self.pages().region().memory();
        let offset = self.frame().offset() + at as u64;
        if self.pages().region().class() == Durability::CacheLine && bytes.len() >= stream_min {
            // The fence comes before the release of the latch, because a thread that finds the page clean may treat
            // it as durable.
            memory.write_nt(offset, bytes)?;
            memory.fence();
            if manager.would_replay(self.frame()) {
                // Durable, but a power loss would replay older bytes over it. The next sync prevents that (LOG rule
                // 6).
                latch.note(at..at + bytes.len());
            } else if !bytes.is_empty() {
                // Earlier stores to these lines are durable now, too.
                self.pinned().mark_durable(Lines::of(&(at..at + bytes.len())));
            }
        } else {
            memory.write(offset, bytes)?;
            latch.note(at..at + bytes.len());
        }
        Ok(())
    }

    #[inline]
    pub(super) fn readable(&self) -> Result {
        if self.pinned().is_poisoned() { Err(Error::PoisonedFrame { pfn: self.pfn() }) } else { Ok(()) }
    }

    pub(super) fn writable(&self) -> Result {
        let region = self.pages().region();
        if region.read_only() {
            return Err(Error::ReadOnly);
        }
        if region.admits_stores() { Ok(()) } else { self.prepare() }
    }

    /// Before the first store of an opening.
    #[cold]
    fn prepare(&self) -> Result {
        self.pages().region().ensure_own()?;
        match self.pages().manager() {
            Ok(manager) => manager.prepare(),
            // The store has ended and this pin is left: only its own page can be stored to.
            Err(_) => {
                let start = self.frame().offset();
                self.pages().region().fill_gaps(std::iter::once(start..start + FRAME_SIZE as u64))
            }
        }
    }

    #[inline]
    fn share(&self, manner: Manner) -> bool {
        self.pinned().try_latch_shared(manner)
    }

    /// Waits for the shared latch, and for room if there are too many readers.
    pub(super) fn wait_for_a_turn_to_read(&self) -> Result {
        self.pages().region().ensure_own()?;
        must_not_wait_for_itself(self.pfn(), false)?;
        self.pinned().latch_shared(manner(self.pages()));
        Ok(())
    }

    /// The guard for a shared latch that was just taken.
    #[inline]
    fn reading(&self) -> ReadGuard<'_> {
        let pinned = self.pinned();
        let held = given(pinned.pfn(), false);
        ReadGuard { address: self.bytes(), pinned, _page: PhantomData, _held: held }
    }

    fn exclusive(&self) -> Result<Exclusive<'_>> {
        self.writable()?;
        self.latch_exclusive()?;
        Exclusive::taken(self)
    }

    /// Waits for the exclusive latch, without a guard yet.
    pub(super) fn latch_exclusive(&self) -> Result {
        if self.pinned().latch_exclusive_at_once() { Ok(()) } else { self.wait_to_write() }
    }

    /// A latch that a thread holds is released soon. A latch of a kept range may stay for ever, and its keeper may be
    /// this thread. So a wait for a kept range ends with an error.
    #[cold]
    fn wait_to_write(&self) -> Result {
        self.pages().region().ensure_own()?;
        must_not_wait_for_itself(self.pfn(), true)?;
        let kept = &self.pages().kept;
        loop {
            let before = kept.over(self.frame());
            if self.pinned().latch_exclusive_within(Some(PATIENCE)) {
                return Ok(());
            }
            // No kept range was granted in the meantime, because those let a waiting writer go first.
            if before && kept.over(self.frame()) {
                let why = format!("frame {} is in a ReadRange that is kept: drop that first", self.pfn());
                return Err(Error::Busy { what: "the page", why });
            }
        }
    }

    /// As [`Self::latch_exclusive`], but it returns false instead of waiting for a kept range.
    pub(super) fn latch_exclusive_unless_kept(&self) -> Result<bool> {
        if self.pinned().latch_exclusive_at_once() {
            return Ok(true);
        }
        must_not_wait_for_itself(self.pfn(), true)?;
        while !self.pages().kept.over(self.frame()) {
            if self.pinned().latch_exclusive_within(Some(LOOK)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Waits, as a writer, for the kept range over the page.
    ///
    /// # Errors
    /// `Busy` if it is kept for seconds.
    pub(crate) fn wait_for_keepers(&self) -> Result {
        self.latch_exclusive()?;
        self.pinned().release_exclusive();
        Ok(())
    }

    /// Makes the lines of `bytes` dirty. The caller holds the exclusive latch.
    fn make_dirty(&self, bytes: Range<usize>) {
        let pages = self.pages();
        // In a forked child the page is the parent's.
        if bytes.is_empty() || pages.region().forked() {
            return;
        }
        pages.region().memory().note_store(self.frame().offset() + bytes.start as u64, bytes.len());
        if pages.tracks_dirt() && self.pinned().mark_dirty(Lines::of(&bytes)) {
            pages.note_dirty(self.owner(), self.frame());
        }
    }

    /// Releases a shared latch that [`ReadGuard::into_raw`] left.
    ///
    /// # Safety
    /// There is such a latch, and it is released once.
    pub unsafe fn release_read(&self) {
        self.pinned().release_shared();
    }

    /// Releases the exclusive latch that [`WriteGuard::into_raw`] left. `dirty` are the bytes stored under it.
    ///
    /// # Durability
    /// See [`WriteGuard`].
    ///
    /// # Safety
    /// There is such a latch, and it is released once.
    pub unsafe fn release_write(&self, dirty: Range<usize>) -> Result {
        check_range(&dirty)?;
        // There is only one such latch. If this thread is noted to have a guard of it, that guard was forgotten.
        forgotten(self.pfn());
        let latch = Exclusive { page: self, stored: dirty };
        drop(latch.writing());
        Ok(())
    }
}

impl<'p> Exclusive<'p> {
    /// The guard for the latch.
    fn writing(self) -> WriteGuard<'p> {
        let _held = given(self.page.pfn(), true);
        WriteGuard { latch: self, _held }
    }

    /// For a latch that has just been taken. If the page was cut off, the latch is released again. ORPHAN is never
    /// cleared, and a truncate that sets it after this check is ordered after the write.
    fn taken(page: &'p PageRef) -> Result<Self> {
        let latch = Self { page, stored: 0..0 };
        if page.is_detached() {
            return Err(Error::Detached { pfn: page.pfn() });
        }
        Ok(latch)
    }

    /// Notes that `bytes` were stored through the region's memory.
    fn note(&mut self, bytes: Range<usize>) {
        self.page.make_dirty(bytes);
    }
}

impl Drop for Exclusive<'_> {
    fn drop(&mut self) {
        // Noted before the release, because the next writer must find the note.
        self.page.make_dirty(self.stored.clone());
        self.page.pinned().release_exclusive();
    }
}

impl<'p> ReadGuard<'p> {
    /// The guard for a latch that is taken and noted.
    pub(super) fn of_taken(page: &'p PageRef) -> Self {
        Self { address: page.bytes(), pinned: page.pinned(), _page: PhantomData, _held: PhantomData }
    }

    /// Keeps the latch until [`PageRef::release_read`], by any thread.
    pub fn into_raw(self) {
        returned(self.pinned.pfn(), false);
        std::mem::forget(self);
    }
}

impl<'p> WriteGuard<'p> {
    /// The guard for a latch that is taken and noted, for these bytes.
    pub(super) fn of_taken(page: &'p PageRef, stored: Range<usize>) -> Self {
        Self { latch: Exclusive { page, stored }, _held: PhantomData }
    }

    /// Keeps the latch until [`PageRef::release_write`], by any thread, which names the stored bytes.
    ///
    /// # Durability
    /// None before that.
    pub fn into_raw(self) {
        returned(self.latch.page.pfn(), true);
        std::mem::forget(self);
    }
}

impl Drop for WriteGuard<'_> {
    fn drop(&mut self) {
        returned(self.latch.page.pfn(), true);
        let Range { start, end } = self.latch.stored.clone();
        let page = self.latch.page;
        if start < end && !page.pages().region().forked() {
            // Only a recorder uses this. A frame is inside the region, so it cannot fail.
            let _ = page.pages().region().memory().wrote(page.frame().offset() + start as u64, end - start);
        }
    }
}

impl Drop for ReadGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        returned(self.pinned.pfn(), false);
        self.pinned.release_shared();
    }
}

impl Deref for ReadGuard<'_> {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the frame is pinned and mapped; the shared latch keeps writers out while `self` lives.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), FRAME_SIZE) }
    }
}

impl Deref for WriteGuard<'_> {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        let Range { start, end } = self.latch.stored;
        // SAFETY: the range was checked to lie in the frame.
        let first = unsafe { self.latch.page.bytes().add(start) };
        // SAFETY: the frame is pinned and mapped; the exclusive latch keeps all other threads out while `self` lives.
        unsafe { std::slice::from_raw_parts(first.as_ptr(), end - start) }
    }
}

impl DerefMut for WriteGuard<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let Range { start, end } = self.latch.stored;
        // SAFETY: the range was checked to lie in the frame.
        let first = unsafe { self.latch.page.bytes().add(start) };
        // SAFETY: as in `deref`, and `self` is borrowed exclusively; a guard only exists on a writable region.
        unsafe { std::slice::from_raw_parts_mut(first.as_ptr(), end - start) }
    }
}

/// The shared latch was refused. Waits for it. The arguments are values, because a pin that is passed by reference is
/// kept in memory.
#[cold]
#[inline(never)]
fn wait_to_read(pages: &Pages, pinned: Pinned<'static>) -> Result {
    pages.region().ensure_own()?;
    must_not_wait_for_itself(pinned.pfn(), false)?;
    match pinned.latch_shared_unless_full(manner(pages)) {
        SharedOutcome::Latched => Ok(()),
        SharedOutcome::Full => Err(Error::TooManyReaders { pfn: pinned.pfn(), readers: READERS_MAX }),
    }
}

fn check_range(bytes: &Range<usize>) -> Result {
    if bytes.start > bytes.end || bytes.end > FRAME_SIZE {
        let (value, limit) = (bytes.start.max(bytes.end) as u64, FRAME_SIZE as u64);
        return Err(Error::OutOfRange { what: "range in a page", value, limit });
    }
    Ok(())
}
