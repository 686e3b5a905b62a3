//! The claim: one owner per region. It is an open-file-description lock: the kernel releases it when the process
//! ends, and it also keeps out a second opener in the same process.

use super::fork::Slot;
use super::holder::{self, Glance, Holding};
use crate::error::{Error, Result};
use std::fs::{File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long to wait for a holder that is dying: the kernel takes a while to unmap its memory.
const DYING: Duration = Duration::from_secs(10);
/// How long to wait for a holder that only reads or cannot be found: it may be about to release the lock.
const PASSING: Duration = Duration::from_millis(250);
/// The longest pause between two attempts.
const PAUSE: Duration = Duration::from_millis(8);

/// A file that is locked while this lives.
#[derive(Debug)]
pub(super) struct Claim {
    slot: &'static Slot,
    made: Option<Made>,
}

/// A file that this process has created. It is removed with its claim unless it is marked to stay.
#[derive(Debug)]
struct Made {
    path: PathBuf,
    /// Device and inode: the path may name another file by then.
    file: (u64, u64),
    stays: AtomicBool,
}

impl Claim {
    /// Locks the file: exclusively, or shared with other readers. Waits up to `wait` for a holder to release it, and
    /// a little longer for one that is about to. A file that this process has just `created` and cannot lock is
    /// removed.
    pub(super) fn take(
        file: File,
        path: &Path,
        exclusive: bool,
        wait: Duration,
        created: bool,
    ) -> Result<Self> {
        // Before any wait: a child forked meanwhile would otherwise share the lock for as long as it lives.
        let claim = Self { slot: Slot::keep(OwnedFd::from(file)), made: None };
        let file = borrowed(claim.descriptor()?);
        let kind = if exclusive { libc::F_WRLCK } else { libc::F_RDLCK };
        let start = Instant::now();
        let (mut pause, mut holder) = (Duration::from_millis(1), None);
        loop {
            match try_lock(&file, path, kind) {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => {
                    if created {
                        remove_unclaimed(&file, path);
                    }
                    return Err(error);
                }
            }
            if let Some(over) = start.elapsed().checked_sub(wait) {
                if over >= patience(&file, &mut holder) {
                    let by = holder.unwrap_or_else(|| holder::find(&file)).words;
                    return Err(Error::InUse { path: path.into(), by });
                }
            }
            let left = wait.saturating_sub(start.elapsed()).max(Duration::from_millis(1));
            std::thread::sleep(pause.min(left));
            pause = PAUSE.min(pause * 2);
        }
        Ok(claim)
    }

    /// Notes that this process has just created the file at `path`.
    pub(super) fn made(&mut self, path: &Path, found: &Metadata) {
        let file = (found.dev(), found.ino());
        self.made = Some(Made { path: path.into(), file, stays: AtomicBool::new(false) });
    }

    /// Sets whether a file that this process has created stays when the claim goes.
    pub(super) fn stays(&self, yes: bool) {
        if let Some(made) = &self.made {
            // ORDERING: Release: pairs with the Acquire of the drop.
            made.stays.store(yes, Ordering::Release);
        }
    }

    /// Whether this process has created the file.
    pub(super) fn is_of_new_file(&self) -> bool {
        self.made.is_some()
    }

    /// The descriptor; a forked child has none.
    pub(super) fn descriptor(&self) -> Result<BorrowedFd<'_>> {
        match self.slot.raw() {
            None => Err(Error::Forked),
            // SAFETY: the slot keeps the descriptor open for as long as the claim lives.
            Some(raw) => Ok(unsafe { BorrowedFd::borrow_raw(raw) }),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(raw) = self.slot.raw() {
            if let Some(made) = &self.made {
                made.end();
            }
            // Closing is not enough: a program that another thread is starting has the descriptor until its `exec`.
            set_lock(raw, libc::F_UNLCK);
        }
        self.slot.release();
    }
}

impl Made {
    /// Removes the file, unless it is to stay. The lock is still held, so no other process can have a region in it.
    fn end(&self) {
        // ORDERING: Acquire: pairs with the Release in `stays`.
        if !self.stays.load(Ordering::Acquire) && leads_to(&self.path, self.file) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether a path names the file with this device and inode.
fn leads_to(path: &Path, file: (u64, u64)) -> bool {
    std::fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == file)
}

/// Removes a file that this process has created and could not lock. If another process has locked it, the file stays:
/// that process may have a region in it.
fn remove_unclaimed(file: &File, path: &Path) {
    let Ok(found) = file.metadata() else { return };
    let is_empty = found.len() == 0 && leads_to(path, (found.dev(), found.ino()));
    if is_empty && !another_lock(file, libc::F_WRLCK) {
        let _ = std::fs::remove_file(path);
    }
}

/// How much longer than asked to wait for the holder of a lock in the way. `known` keeps the holder that was found: a
/// search takes longer than another attempt.
fn patience(file: &File, known: &mut Option<Holding>) -> Duration {
    match holder::glance(file) {
        Glance::Ours => Duration::ZERO,
        Glance::Gone | Glance::Read => PASSING,
        Glance::Owned => {
            if known.as_ref().is_some_and(Holding::is_gone) {
                *known = None;
            }
            let holder = known.get_or_insert_with(|| holder::find(file));
            match holder.pid {
                _ if holder.dies() => DYING,
                Some(_) => Duration::ZERO,
                None => PASSING,
            }
        }
    }
}

/// Locks the file if no other lock is in the way.
fn try_lock(file: &File, path: &Path, kind: libc::c_int) -> Result<bool> {
    if set_lock(file.as_raw_fd(), kind) {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    let what = match error.raw_os_error() {
        Some(libc::EAGAIN) => return Ok(false),
        // POSIX allows this code for a lock in the way, and some file systems use it; so do security policies.
        Some(libc::EACCES) if another_lock(file, kind) => return Ok(false),
        Some(libc::EACCES) => {
            format!(
                "locking {path:?}: nothing else has it locked, so the file system or a security policy forbids this process \
                 to lock it"
            )
        }
        _ => format!("locking {path:?}"),
    };
    Err(Error::io(what, error))
}

/// Whether another lock conflicts with one of this kind.
fn another_lock(file: &File, kind: libc::c_int) -> bool {
    let mut lock = whole_file(kind);
    // SAFETY: an open descriptor and an initialized `flock`, which is also the answer.
    let asked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) } == 0;
    asked && lock.l_type != libc::F_UNLCK as libc::c_short
}

/// A `File` of a descriptor that its owner keeps.
fn borrowed(file: BorrowedFd<'_>) -> ManuallyDrop<File> {
    // SAFETY: the descriptor is open, and `ManuallyDrop` keeps it so.
    ManuallyDrop::new(unsafe { File::from_raw_fd(file.as_raw_fd()) })
}

/// The file's metadata now.
pub(super) fn metadata(file: BorrowedFd<'_>) -> io::Result<Metadata> {
    borrowed(file).metadata()
}

/// The file's length now. By a seek, not by `stat`: looking at a file's times makes the kernel (multigrain
/// timestamps, Linux 6.13) stamp the next write anew, so that a durable write of the log may have to write the inode
/// too.
pub(super) fn length(file: BorrowedFd<'_>) -> io::Result<u64> {
    borrowed(file).seek(SeekFrom::End(0))
}

/// A lock on the whole file.
fn whole_file(kind: libc::c_int) -> libc::flock {
    // SAFETY: all-zero bytes are a `flock`: no process, from 0 to the end of the file.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock
}

/// Changes the lock on the whole file. On false, `errno` says why.
fn set_lock(descriptor: RawFd, kind: libc::c_int) -> bool {
    let lock = whole_file(kind);
    // SAFETY: an open descriptor and an initialized `flock`.
    unsafe { libc::fcntl(descriptor, libc::F_OFD_SETLK, &raw const lock) == 0 }
}
