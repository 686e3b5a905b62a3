//! The region's file: its syncs and direct writes, which make stores durable where the stores alone do not.

use super::claim::Claim;
use super::memory::Memory;
use super::opening;
use super::unsynced::Unsynced;
use crate::error::{Error, Result};
use crate::persist;
use crate::sync::Mutex;
use crate::units::{Durability, FRAME_SIZE};
use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// How the kernel treats stores to the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    /// They stay in the page cache, and reach the medium by file syncs or by the kernel's own write-back.
    pub cached: bool,
    /// They do not change the file's times.
    pub untimed: bool,
}

/// The state of a region's file. A region without a file has it too.
#[derive(Debug)]
pub(super) struct FileState {
    /// Held while the file is synced or written through.
    at_work: Mutex<()>,
    /// Whether processes that died may have left stores that are in memory but not on the medium.
    inherits: AtomicBool,
    habits: Habits,
    /// Whether anything was stored since the file's times were last updated.
    stored: AtomicBool,
    /// Present for a file whose stores become durable by file syncs.
    unsynced: Option<Unsynced>,
}

impl FileState {
    pub(super) fn new(habits: Habits) -> Self {
        Self {
            at_work: Mutex::new(()),
            inherits: AtomicBool::new(true),
            habits,
            stored: AtomicBool::new(false),
            unsynced: habits.cached.then(Unsynced::new),
        }
    }
}

impl Memory {
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
            self.file.unsynced.iter().for_each(Unsynced::begin_round);
            self.persist.sync_file(file)
        };
        self.alone(format_args!("syncing"), sync)?;
        if self.persist.class() == Durability::Fdatasync {
            // ORDERING: Release: a thread that reads false relies on a sync that has ended.
            self.file.inherits.store(false, Ordering::Release);
        }
        Ok(())
    }

    /// Whether stores of processes that died before this opening may be missing on the medium. They may be in the
    /// page cache or in processor caches, and no dirty bit shows them.
    #[must_use]
    pub fn inherits(&self) -> bool {
        // ORDERING: Acquire: pairs with the Release that follows the sync.
        self.file.inherits.load(Ordering::Acquire)
    }

    /// Makes durable what dead processes have stored, once per opening: before this opening changes the medium,
    /// because recovery may keep one of two copies and that one must be durable; and before its first sync returns. A
    /// failure poisons the region.
    ///
    /// # Durability
    /// Everything stored before the opening is durable on `Ok`, where the medium is.
    pub fn sync_inherited(&self) -> Result {
        if !self.inherits() {
            return Ok(());
        }
        self.check_writable()?;
        if self.fixed() {
            // The kernel keeps no dirty pages of a device: any line of it may have been stored to.
            self.flush(0, self.len() as usize)?;
            self.fence();
        } else {
            let file = self.descriptor()?;
            return self.alone(format_args!("syncing what a former process left in"), || {
                // Another thread may have done it first.
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

    /// Syncs the whole file system. That reports errors that the file itself no longer knows: those of pages and
    /// inodes that have left memory since. Also syncs the file, which reports its own errors even if another program
    /// has already been told of the file system's. An error may be another file's. It does not poison the region: it
    /// comes from the dead owner's writes, not from this opening's.
    ///
    /// # Durability
    /// Where the medium is made durable by file syncs, everything stored before is durable on `Ok`, even for an
    /// opening that only reads; elsewhere nothing happens.
    pub fn sync_file_system(&self) -> Result {
        let Some(file) = self.descriptor()?.filter(|_| self.file.habits.cached) else { return Ok(()) };
        self.persist
            .sync_file_system(file)
            .map_err(|error| Error::io(format!("syncing the file system of {}", self.name), error))
    }

    /// Writes to the region's file, not through the mapping. The mapping of a region that is open read-only is
    /// private, if it is writable at all; and otherwise the bytes may have no block yet.
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
        let _alone = self.file.at_work.lock();
        let written = opened.and_then(|file| persist::write_and_sync(&file, bytes, offset));
        written.map_err(|error| Error::io(format!("writing to {}", self.name), error))?;
        // A shared mapping shows the bytes.
        if !self.writable || self.private {
            return Ok(());
        }
        let frame = FRAME_SIZE as u64;
        let end = (offset + bytes.len() as u64).next_multiple_of(frame);
        self.show(offset / frame * frame..end)?;
        self.wrote(offset, bytes.len())
    }

    /// Notes that everything that was stored before this opening is on the medium.
    pub fn inherit_nothing(&self) {
        // ORDERING: Release: a thread that reads false relies on a sync that has ended.
        self.file.inherits.store(false, Ordering::Release);
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
        // ORDERING: Relaxed: the caller orders the stores themselves before a sync.
        if self.file.habits.untimed && !self.file.stored.load(Ordering::Relaxed) {
            self.file.stored.store(true, Ordering::Relaxed);
        }
        if let Some(unsynced) = &self.file.unsynced {
            unsynced.note(offset, len);
        }
    }

    /// Bytes of the file stored to since its last sync, in parts of 64 KiB, some perhaps counted twice. 0 if the
    /// region needs no file syncs.
    #[must_use]
    pub fn stored_since_sync(&self) -> u64 {
        self.file.unsynced.as_ref().map_or(0, Unsynced::bytes)
    }

    /// Updates the file's times to show that it was stored to, once for any number of stores, where the kernel does
    /// not do so by itself: it does not see stores to memory, and sees a store to persistent memory only when a page
    /// is first touched. Best effort.
    pub fn touch(&self) {
        // ORDERING: Relaxed: as in `note_store`; a later store sets it again.
        if !self.file.habits.untimed || !self.file.stored.swap(false, Ordering::Relaxed) {
            return;
        }
        if let Ok(Some(file)) = self.descriptor() {
            // Both times: only the file's owner may set one of them alone.
            // SAFETY: an open descriptor; a null pointer means now.
            unsafe { libc::futimens(file.as_raw_fd(), std::ptr::null()) };
        }
    }

    /// Gives the blocks of whole frames back to the file system: they read as zeros. The caller ensures that they are
    /// not in use.
    pub(super) fn punch(&self, offset: u64, len: usize) -> Result {
        self.check(offset, len)?;
        self.check_writable()?;
        let file = self.descriptor()?;
        // SAFETY: whole frames, mapped from the file at the same offset; the caller ensures that they are not in use.
        let punched = unsafe { self.persist.punch(file, self.base(), offset, len) };
        punched.map_err(|error| Error::io(format!("punching {}", self.name), error))
    }

    /// Cuts the file by its last bytes, whole frames, which nothing uses. A thread that still looks at them sees zeros.
    ///
    /// # Durability
    /// Durable on `Ok`, where the medium is. If only the cut fails, the file stays as long as it was, which does no harm.
    pub(super) fn cut(&self, lost: Range<u64>) -> Result {
        self.check_writable()?;
        let file = self.descriptor()?;
        self.set_len(lost.start);
        let frames = lost.start..lost.end.next_multiple_of(FRAME_SIZE as u64);
        if file.is_some() {
            self.mapping.cover_end(frames)?;
        } else if !cfg!(miri) {
            self.mapping.forget(frames)?;
        } else {
            let len = (frames.end - frames.start) as usize;
            // SAFETY: whole frames, mapped; the caller ensures that they are not in use.
            let zeroed = unsafe { self.persist.punch(None, self.base(), frames.start, len) };
            zeroed.map_err(|error| Error::io(format!("zeroing the end of {}", self.name), error))?;
        }
        self.persist
            .cut(file, lost.start)
            .map_err(|error| Error::io(format!("cutting {} to {} bytes", self.name, lost.start), error))?;
        self.alone(format_args!("syncing the length of"), || self.persist.sync_cut(file, lost.start))
    }

    /// Starts the kernel's write-back of a range, so that a later sync of the file has less to write. False: another
    /// operation of the file is in progress; this does not wait for it. A failure poisons the region.
    ///
    /// # Durability
    /// None.
    pub fn start_write_back(&self, offset: u64, len: u64) -> Result<bool> {
        self.check_writable()?;
        let file = self.descriptor()?;
        let Some(_alone) = self.file.at_work.try_lock() else { return Ok(false) };
        let started = self.persist.start_write_back(file, offset, len);
        self.done(format_args!("starting to write {len} bytes at {offset:#x} to"), started)?;
        Ok(true)
    }

    /// Drops the file's cached pages, so that the next read comes from the medium: after a failed sync, a page may be
    /// clean in the cache and absent on the medium. In a private mapping, stores are lost.
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

    /// Makes the length of the file durable after it grew by the bytes `grew`.
    pub(super) fn sync_length(&self, grew: Range<u64>) -> Result {
        let file = self.descriptor()?;
        self.alone(format_args!("syncing the length of"), || self.persist.sync_length(file, grew))
    }

    /// The parts of `within` that are holes of the file covered by zero pages.
    pub(super) fn covered(&self, within: &Range<u64>) -> Vec<Range<u64>> {
        self.mapping.covered(within)
    }

    /// Maps the file again in these whole frames, which have blocks now.
    pub(super) fn show(&self, frames: Range<u64>) -> Result {
        match self.descriptor()? {
            Some(file) => self.mapping.show(frames, file),
            None => Ok(()),
        }
    }

    pub(super) fn descriptor(&self) -> Result<Option<BorrowedFd<'_>>> {
        self.claim.as_ref().map(Claim::descriptor).transpose()
    }

    /// Runs a sync or a write of the file, one at a time. A failure poisons the region.
    ///
    /// The kernel reports a page that it could not write to only one caller, the first that asks. Of two syncs at
    /// once, the other would succeed without its bytes. One at a time, a sync ends before the failure or finds the
    /// region poisoned.
    fn alone(
        &self,
        doing: std::fmt::Arguments<'_>,
        operation: impl FnOnce() -> std::io::Result<()>,
    ) -> Result {
        let _alone = self.file.at_work.lock();
        self.done(doing, operation())
    }

    /// Checks the outcome of an operation of the file, under its lock. A failure poisons the region.
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
}
