//! The region's bytes by offset: the only way the medium's structures are read and written.
//!
//! Offsets come from the medium, so every access is checked, and a bad one is [`Error::Corrupt`].

use super::claim::Claim;
use super::mapping::Mapping;
use super::opening;
use super::options::RegionOptions;
use super::unsynced::Unsynced;
use crate::error::{Error, Result};
use crate::frame::FrameTable;
use crate::persist::{self, Persist, word_at};
use crate::sync::Mutex;
use crate::units::{Durability, FRAME_SIZE, LINE_SIZE, Pfn};
use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bounds-checked access to a region's bytes.
///
/// Words ([`Self::load`], [`Self::store`]) are atomic and may race. For ranges the caller keeps others out: by the
/// latch of the page, or because no other thread knows the frame yet.
#[derive(Debug)]
pub struct Memory {
    // In this order: the bytes are unmapped before the claim goes.
    mapping: Mapping,
    claim: Option<Claim>,
    len: AtomicU64,
    /// The pfn of the first frame.
    first: Pfn,
    persist: Persist,
    writable: bool,
    private: bool,
    /// The region's name in messages.
    name: String,
    /// Held while the file is synced or written through.
    file: Mutex<()>,
    /// Whether processes that died may have left stores that are in memory and not on the medium.
    inherits: AtomicBool,
    habits: Habits,
    /// Whether anything was stored since the file's times last told of it.
    stored: AtomicBool,
    /// Of a file whose stores reach the medium by its syncs.
    unsynced: Option<Unsynced>,
    failure: OnceLock<String>,
}

/// What a file's stores are to the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    /// They lie in the page cache, and reach the medium by file syncs or by the kernel's own write-back.
    pub cached: bool,
    /// They leave the file's times as they are.
    pub untimed: bool,
}

impl Memory {
    #[allow(clippy::too_many_arguments, reason = "each is one field, given once, by the one that attaches")]
    pub(super) fn new(
        mapping: Mapping,
        claim: Option<Claim>,
        len: u64,
        first: Pfn,
        persist: Persist,
        options: &RegionOptions,
        habits: Habits,
        name: String,
    ) -> Self {
        Self {
            mapping,
            claim,
            len: AtomicU64::new(len),
            first,
            persist,
            writable: options.writable(),
            private: options.private,
            name,
            file: Mutex::new(()),
            inherits: AtomicBool::new(true),
            habits,
            stored: AtomicBool::new(false),
            unsynced: habits.cached.then(Unsynced::new),
            failure: OnceLock::new(),
        }
    }

    /// Bytes there are.
    #[inline]
    #[must_use]
    pub fn len(&self) -> u64 {
        // ORDERING: Acquire: pairs with the Release of growth; the new bytes are there.
        self.len.load(Ordering::Acquire)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The region's door to durability.
    #[must_use]
    pub fn persist(&self) -> &Persist {
        &self.persist
    }

    /// Loads a word, with acquire order.
    #[inline]
    pub fn load(&self, offset: u64) -> Result<u64> {
        self.check_word(offset)?;
        // SAFETY: mapped and aligned; words of the medium are only accessed atomically while they can race.
        let word = unsafe { word_at(self.base(), offset) };
        // ORDERING: Acquire: pairs with the Release of `store`.
        Ok(u64::from_le(word.load(Ordering::Acquire)))
    }

    /// Loads words that follow each other, each with acquire order.
    pub fn load_run(&self, offset: u64, into: &mut [u64]) -> Result {
        if offset % 8 != 0 {
            return Err(Error::corrupt("offset", offset, "it is not a multiple of 8"));
        }
        self.check(offset, size_of_val(into))?;
        for (n, word) in into.iter_mut().enumerate() {
            // SAFETY: mapped and aligned, as `load` says; the whole run was checked.
            let from = unsafe { word_at(self.base(), offset + n as u64 * 8) };
            // ORDERING: Acquire: pairs with the Release of `store`.
            *word = u64::from_le(from.load(Ordering::Acquire));
        }
        Ok(())
    }

    /// Stores a word, with release order.
    ///
    /// # Durability
    /// None before [`Self::flush`] and [`Self::fence`], [`Self::sync_file`], or [`Self::write_through`].
    #[inline]
    pub fn store(&self, offset: u64, value: u64) -> Result {
        self.check_word(offset)?;
        self.prepare_store(offset, 8)?;
        // SAFETY: mapped, writable and aligned; see `load`.
        unsafe { self.persist.store(self.base(), offset, value) }
        Ok(())
    }

    /// Copies bytes out.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result {
        self.check(offset, into.len())?;
        let from = self.base().wrapping_add(offset as usize);
        // SAFETY: mapped; the caller keeps writers out, as the type says.
        unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) }
        Ok(())
    }

    /// Copies bytes in.
    ///
    /// # Durability
    /// As [`Self::store`].
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result {
        self.check(offset, bytes.len())?;
        self.prepare_store(offset, bytes.len())?;
        // SAFETY: mapped and writable; the caller keeps others out, as the type says.
        unsafe { self.persist.write(self.base(), offset, bytes) }
        Ok(())
    }

    /// Copies bytes in, past the cache: cheaper than [`Self::write`] and [`Self::flush`] from a few lines on.
    /// [`Self::fence`] before anything is stored that tells others of them.
    ///
    /// # Durability
    /// Durable after the next [`Self::fence`] on `CacheLine`; otherwise as [`Self::store`].
    pub fn write_nt(&self, offset: u64, bytes: &[u8]) -> Result {
        self.check(offset, bytes.len())?;
        self.prepare_store(offset, bytes.len())?;
        // SAFETY: mapped and writable; the caller keeps others out, as the type says.
        unsafe { self.persist.write_nt(self.base(), offset, bytes) }
        Ok(())
    }

    /// Zeroes whole lines past the cache; otherwise as [`Self::write_nt`].
    ///
    /// # Durability
    /// As [`Self::write_nt`].
    pub fn zero_nt(&self, offset: u64, len: usize) -> Result {
        self.check(offset, len)?;
        if offset % LINE_SIZE as u64 != 0 || len % LINE_SIZE != 0 {
            return Err(Error::Invalid(format!(
                "zeroing {len} bytes at {offset:#x}: these are not whole lines"
            )));
        }
        self.prepare_store(offset, len)?;
        // SAFETY: mapped, writable, whole lines; the caller keeps others out, as the type says.
        unsafe { self.persist.zero_nt(self.base(), offset, len) }
        Ok(())
    }

    /// Starts writing back the lines of a range.
    ///
    /// # Durability
    /// On `CacheLine`, durable after this thread's next [`Self::fence`]; elsewhere nothing happens.
    pub fn flush(&self, offset: u64, len: usize) -> Result {
        self.check(offset, len)?;
        // SAFETY: mapped.
        unsafe { self.persist.flush(self.base(), offset, len) }
        Ok(())
    }

    /// Completes what this thread flushed or stored past the cache.
    ///
    /// # Durability
    /// On `CacheLine`, what this thread flushed is durable; elsewhere nothing happens.
    pub fn fence(&self) {
        self.audit();
        self.persist.fence();
    }

    /// Makes the whole file durable. A failure poisons the region: the kernel may have dropped what it could
    /// not write, and the next attempt would succeed without it.
    ///
    /// # Durability
    /// On `Fdatasync`, everything stored before is durable on `Ok`; elsewhere nothing happens.
    pub fn sync_file(&self) -> Result {
        self.check_writable()?;
        self.audit();
        let file = self.descriptor()?;
        let sync = || {
            self.unsynced.iter().for_each(Unsynced::begin_round);
            self.persist.sync_file(file)
        };
        self.alone(format_args!("syncing"), sync)?;
        if self.persist.class() == Durability::Fdatasync {
            // ORDERING: Release: a thread that finds it false relies on a sync that has ended.
            self.inherits.store(false, Ordering::Release);
        }
        Ok(())
    }

    /// Whether stores of processes that died before this opening may not be on the medium: they are in the page cache,
    /// or in the caches of the processors, and no dirty bit tells of them.
    #[must_use]
    pub fn inherits(&self) -> bool {
        // ORDERING: Acquire: pairs with the Release that follows the sync.
        self.inherits.load(Ordering::Acquire)
    }

    /// Makes durable what dead processes have stored, once for each opening: before it changes the medium, so that of
    /// two copies the one that stays is durable, and before its first sync returns. A failure poisons the region.
    ///
    /// # Durability
    /// Everything stored before the opening is durable on `Ok`, where the medium is.
    pub fn sync_inherited(&self) -> Result {
        if !self.inherits() {
            return Ok(());
        }
        self.check_writable()?;
        if self.fixed() {
            // Of a device the kernel knows nothing: any line of it may have been stored to.
            self.flush(0, self.len() as usize)?;
            self.fence();
        } else {
            let file = self.descriptor()?;
            return self.alone(format_args!("syncing what a former process left in"), || {
                // Another thread may have come first.
                if self.inherits() {
                    self.persist.sync_caches(file)?;
                    self.inherit_nothing();
                }
                Ok(())
            });
        }
        self.inherit_nothing();
        Ok(())
    }

    /// Has the kernel write back all that its file system has in memory, which tells errors that the file itself no longer
    /// knows: of pages, and of inodes, that have left memory since. And what the file has, which tells its own errors, though
    /// another program was told first that the file system has some. An error may be that of another file; the region is not
    /// poisoned: it is the dead owner's, and not of what this opening does.
    ///
    /// # Durability
    /// Where the medium is made durable by file syncs, everything stored before is so on `Ok`, also of an opening that only
    /// reads; elsewhere nothing happens.
    pub fn sync_file_system(&self) -> Result {
        let Some(file) = self.descriptor()?.filter(|_| self.habits.cached) else { return Ok(()) };
        self.persist
            .sync_file_system(file)
            .map_err(|error| Error::io(format!("syncing the file system of {}", self.name), error))
    }

    /// Writes to the region's file, past the mapping: that of a region which is open read-only is private, where the process
    /// may write at all, and in that of another one the bytes may have no block yet.
    ///
    /// # Durability
    /// Durable on `Ok`.
    pub fn write_past(&self, offset: u64, bytes: &[u8]) -> Result {
        let Some(file) = self.descriptor()? else { return Ok(()) };
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let opened = if self.writable && !self.private {
            file.try_clone_to_owned().map(File::from)
        } else {
            opening::file(|| File::options().write(true).open(path))
        };
        let _alone = self.file.lock();
        let written = opened.and_then(|file| persist::write_and_sync(&file, bytes, offset));
        written.map_err(|error| Error::io(format!("writing to {}", self.name), error))?;
        // A shared mapping shows it.
        if !self.writable || self.private {
            return Ok(());
        }
        let frame = FRAME_SIZE as u64;
        let end = (offset + bytes.len() as u64).next_multiple_of(frame);
        self.show(offset / frame * frame..end)?;
        self.wrote(offset, bytes.len())
    }

    /// Says that everything that was stored before this opening is on the medium.
    pub fn inherit_nothing(&self) {
        // ORDERING: Release: a thread that finds it false relies on a sync that has ended.
        self.inherits.store(false, Ordering::Release);
    }

    /// Writes one range through to the medium as it stands in memory. A failure poisons the region.
    ///
    /// # Durability
    /// On `Fdatasync`, the range is durable on `Ok`, and no other byte is made so; elsewhere nothing happens.
    pub fn write_through(&self, offset: u64, len: usize) -> Result {
        self.check(offset, len)?;
        self.check_writable()?;
        self.audit();
        let file = self.descriptor()?;
        // SAFETY: mapped from the file at the same offset; the caller keeps writers out, as the type says.
        let write = || unsafe { self.persist.write_through(file, self.base(), offset, len) };
        self.alone(format_args!("writing {len} bytes at {offset:#x} to"), write)
    }

    /// Notes that bytes were stored through [`Region::address`](super::Region::address), or will be.
    #[inline]
    pub fn note_store(&self, offset: u64, len: usize) {
        // ORDERING: Relaxed: the stores themselves are ordered before a sync by what the caller orders them by.
        if self.habits.untimed && !self.stored.load(Ordering::Relaxed) {
            self.stored.store(true, Ordering::Relaxed);
        }
        if let Some(unsynced) = &self.unsynced {
            unsynced.note(offset, len);
        }
    }

    /// Bytes of the file that were stored to since it was synced last, in parts of 64 KiB, some perhaps counted twice.
    /// None where no sync of the file is waited for.
    #[must_use]
    pub fn stored_since_sync(&self) -> u64 {
        self.unsynced.as_ref().map_or(0, Unsynced::bytes)
    }

    /// Has the file's time of change tell of what was stored, once for any number of stores, where the kernel does not do
    /// that by itself: it learns of no store to memory, and of one to persistent memory only when a page is first touched.
    /// Best effort.
    pub fn touch(&self) {
        // ORDERING: Relaxed: as in `note_store`; a store that comes later sets it again.
        if !self.habits.untimed || !self.stored.swap(false, Ordering::Relaxed) {
            return;
        }
        if let Ok(Some(file)) = self.descriptor() {
            // Both times: to set one of them alone is for the file's owner only.
            // SAFETY: an open descriptor; no times mean now.
            unsafe { libc::futimens(file.as_raw_fd(), std::ptr::null()) };
        }
    }

    /// Gives the blocks of whole frames back: they read as zeros. The caller says that nothing uses them.
    pub(super) fn punch(&self, offset: u64, len: usize) -> Result {
        self.check(offset, len)?;
        self.check_writable()?;
        let file = self.descriptor()?;
        // SAFETY: mapped, words of whole frames, of the file at the same offset; nothing uses them, says the caller.
        let punched = unsafe { self.persist.punch(file, self.base(), offset, len) };
        punched.map_err(|error| Error::io(format!("punching {}", self.name), error))
    }

    /// Lets the kernel begin to write a range, so that a later sync of the file has less to wait for. False: another
    /// operation of the file is under way, for which this does not wait. A failure poisons the region.
    ///
    /// # Durability
    /// None.
    pub fn start_write_back(&self, offset: u64, len: u64) -> Result<bool> {
        self.check_writable()?;
        let file = self.descriptor()?;
        let Some(_alone) = self.file.try_lock() else { return Ok(false) };
        let started = self.persist.start_write_back(file, offset, len);
        self.done(format_args!("starting to write {len} bytes at {offset:#x} to"), started)?;
        Ok(true)
    }

    /// Tells the recorder of bytes that were stored through [`Region::address`](super::Region::address).
    pub fn wrote(&self, offset: u64, len: usize) -> Result {
        self.check(offset, len)?;
        // SAFETY: mapped; the caller still holds the latch, as the type says.
        unsafe { self.persist.wrote(self.base(), offset, len) }
        Ok(())
    }

    /// Drops the file's cached pages, so that what is read next comes from the medium: after a failed sync a
    /// page may be clean in the cache and absent on the medium. Of a private mapping, stores are lost.
    pub fn drop_page_cache(&self) -> Result {
        if self.fixed() {
            // A device has no cached pages.
            return Ok(());
        }
        let Some(file) = self.descriptor()? else { return Ok(()) };
        let synced = self.descriptor()?.filter(|_| self.writable && !self.private);
        self.alone(format_args!("syncing"), || self.persist.sync_file(synced))?;
        self.mapping.forget_pages()?;
        self.tell_beginning();
        // SAFETY: an open descriptor.
        let rc = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        match rc {
            0 => Ok(()),
            code => {
                let what = format!("dropping the cached pages of {}", self.name);
                Err(Error::io(what, std::io::Error::from_raw_os_error(code)))
            }
        }
    }

    /// Tells a recorder what the region holds, of which nothing is known to others yet.
    pub(super) fn tell_beginning(&self) {
        // SAFETY: mapped, and no thread writes before the region is attached or while its recovery begins.
        unsafe { self.persist.begins(self.base(), self.len()) }
    }

    /// Lets a recorder look for stores that it was not told of. What is stored under an exclusive latch is told just
    /// before the latch is let go.
    fn audit(&self) {
        if self.persist.recorder().is_none() {
            return;
        }
        let latched = |offset: u64| {
            let pfn = Pfn::new(self.first.get() + offset / FRAME_SIZE as u64);
            FrameTable::global().peek(pfn).is_some_and(|now| now.exclusive())
        };
        // SAFETY: mapped, from the start of a block.
        unsafe { self.persist.audit(self.base(), self.len(), latched) }
    }

    /// Whether the medium has a size of its own.
    pub(super) fn fixed(&self) -> bool {
        self.mapping.fixed()
    }

    /// Makes the length of the file durable, which `grew` by these bytes.
    pub(super) fn sync_length(&self, grew: Range<u64>) -> Result {
        let file = self.descriptor()?;
        self.alone(format_args!("syncing the length of"), || self.persist.sync_length(file, grew))
    }

    #[inline]
    pub(super) fn base(&self) -> *mut u8 {
        self.mapping.base()
    }

    /// Whether this process is a forked child, which has none of it.
    pub(super) fn forked(&self) -> bool {
        self.mapping.forked()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn window(&self) -> u64 {
        self.mapping.window()
    }

    pub(super) fn claim(&self) -> Option<&Claim> {
        self.claim.as_ref()
    }

    /// Publishes more bytes, which are there.
    pub(super) fn set_len(&self, len: u64) {
        // ORDERING: Release: pairs with `len`.
        self.len.store(len, Ordering::Release);
    }

    pub(super) fn poison(&self, why: String) {
        // The first failure is the one to tell; later ones follow from it.
        let _ = self.failure.set(why);
    }

    pub(super) fn poisoned(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    #[inline]
    pub(super) fn ensure_usable(&self) -> Result {
        if self.mapping.forked() {
            return Err(Error::Forked);
        }
        match self.failure.get() {
            None => Ok(()),
            Some(why) => Err(Error::Poisoned { why: why.clone() }),
        }
    }

    /// Before stores to a range that was checked.
    /// Parts of `within` that are holes of the file, and that zeros are shown for.
    pub(super) fn covered(&self, within: &Range<u64>) -> Vec<Range<u64>> {
        self.mapping.covered(within)
    }

    /// Shows the file in these whole frames, which have blocks now.
    pub(super) fn show(&self, frames: Range<u64>) -> Result {
        match self.descriptor()? {
            Some(file) => self.mapping.show(frames, file),
            None => Ok(()),
        }
    }

    #[inline]
    fn prepare_store(&self, offset: u64, len: usize) -> Result {
        self.check_writable()?;
        self.note_store(offset, len);
        self.mapping.own(offset, len)
    }

    pub(super) fn check_writable(&self) -> Result {
        if self.writable { Ok(()) } else { Err(Error::ReadOnly) }
    }

    pub(super) fn descriptor(&self) -> Result<Option<BorrowedFd<'_>>> {
        self.claim.as_ref().map(Claim::descriptor).transpose()
    }

    /// Runs a sync or a write of the file, one at a time. A failure poisons the region.
    ///
    /// The kernel tells a page that it could not write to one caller only, whichever looks first: of two syncs at once
    /// the other one would succeed without its bytes. Alone, it comes before the failure, or finds the region poisoned.
    fn alone(
        &self,
        doing: std::fmt::Arguments<'_>,
        operation: impl FnOnce() -> std::io::Result<()>,
    ) -> Result {
        let _alone = self.file.lock();
        self.done(doing, operation())
    }

    /// What came of an operation of the file, under its lock.
    fn done(&self, doing: std::fmt::Arguments<'_>, came: std::io::Result<()>) -> Result {
        if let Err(error) = came {
            let what = format!("{doing} {}", self.name);
            self.poison(format!("{what}: {error}"));
            return Err(Error::io(
                format!("{what} (nothing more is written: close it and open it again)"),
                error,
            ));
        }
        self.ensure_usable()
    }

    #[inline]
    fn check_word(&self, offset: u64) -> Result {
        if offset % 8 != 0 {
            return Err(Error::corrupt("offset", offset, "it is not a multiple of 8"));
        }
        self.check(offset, 8)
    }

    #[inline]
    fn check(&self, offset: u64, len: usize) -> Result {
        if self.mapping.forked() {
            return Err(Error::Forked);
        }
        let have = self.len();
        if offset > have || len as u64 > have - offset {
            return Err(outside(offset, len, have));
        }
        Ok(())
    }
}

#[cold]
fn outside(offset: u64, len: usize, have: u64) -> Error {
    Error::corrupt("offset", offset, format!("{len} bytes there lie outside the region's {have}"))
}
