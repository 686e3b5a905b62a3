//! The claim: one owner per region. An open-file-description lock, which the kernel lets go with the process,
//! and which a second opener in the same process meets as well.

use super::fork::Slot;
use super::holder;
use crate::error::{Error, Result};
use std::fs::{File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

/// A file that is locked while this lives.
#[derive(Debug)]
pub(super) struct Claim(&'static Slot);

impl Claim {
    /// Locks the file: alone, or together with other readers.
    pub(super) fn take(file: File, path: &Path, exclusive: bool) -> Result<Self> {
        let kind = if exclusive { libc::F_WRLCK } else { libc::F_RDLCK };
        if set_lock(file.as_raw_fd(), kind) {
            return Ok(Self(Slot::keep(OwnedFd::from(file))));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EACCES) => {
                Err(Error::Claimed { path: path.into(), by: holder::of(&file) })
            }
            _ => Err(Error::io(format!("locking {path:?}"), error)),
        }
    }

    /// The descriptor; a forked child has none.
    pub(super) fn descriptor(&self) -> Result<BorrowedFd<'_>> {
        match self.0.raw() {
            None => Err(Error::Forked),
            // SAFETY: the slot keeps the descriptor open for as long as the claim lives.
            Some(raw) => Ok(unsafe { BorrowedFd::borrow_raw(raw) }),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(raw) = self.0.raw() {
            // Closing is not enough: a program that another thread is starting has the descriptor until its `exec`.
            set_lock(raw, libc::F_UNLCK);
        }
        self.0.release();
    }
}

/// What the file is now.
pub(super) fn metadata(file: BorrowedFd<'_>) -> io::Result<Metadata> {
    // SAFETY: the descriptor is open, and `ManuallyDrop` keeps it so.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(file.as_raw_fd()) });
    file.metadata()
}

/// How long the file is now. By a seek, not by `stat`: who looks at a file's times makes the kernel (multigrain
/// timestamps, Linux 6.13) stamp the next write anew, and a durable write of the log may then carry the inode along.
pub(super) fn length(file: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: the descriptor is open, and `ManuallyDrop` keeps it so.
    let mut file = ManuallyDrop::new(unsafe { File::from_raw_fd(file.as_raw_fd()) });
    file.seek(SeekFrom::End(0))
}

/// Changes the lock on the whole file; on false, the operating system says why.
fn set_lock(descriptor: RawFd, kind: libc::c_int) -> bool {
    // SAFETY: all-zero bytes are a `flock`: no process, from 0 to the end of the file.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: an open descriptor and an initialized `flock`.
    unsafe { libc::fcntl(descriptor, libc::F_OFD_SETLK, &raw const lock) == 0 }
}
