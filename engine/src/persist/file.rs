//! Making a file durable, as a whole or in part; and returning a range to the file system.

use crate::units::FRAME_SIZE;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;

/// `fdatasync`: everything stored before is durable afterwards.
pub(super) fn sync(file: BorrowedFd<'_>) -> io::Result<()> {
    loop {
        // SAFETY: the descriptor is borrowed, hence open.
        if unsafe { libc::fdatasync(file.as_raw_fd()) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Writes zeros to the last bytes of a file, durably, with the metadata that is needed to read them back: the file's
/// length. Other bytes of the file stay dirty.
pub(super) fn sync_end(file: BorrowedFd<'_>, end: Range<u64>) -> io::Result<()> {
    static ZEROS: [u8; FRAME_SIZE] = [0; FRAME_SIZE];
    let len = ZEROS.len().min((end.end - end.start) as usize);
    // SAFETY: a static that is never written.
    unsafe { write_through(file, ZEROS.as_ptr(), end.end - len as u64, len) }
}

/// Writes a few bytes, durably.
pub(crate) fn write_and_sync(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(bytes, offset)?;
    file.sync_data()
}

/// Makes a range a hole, in a file that keeps its length.
pub(super) fn punch(file: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<()> {
    let how = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    loop {
        // SAFETY: the descriptor is borrowed, hence open.
        if unsafe { libc::fallocate(file.as_raw_fd(), how, offset as libc::off_t, len as libc::off_t) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Gives a file another length.
pub(super) fn cut(file: BorrowedFd<'_>, bytes: u64) -> io::Result<()> {
    loop {
        // SAFETY: the descriptor is borrowed, hence open.
        if unsafe { libc::ftruncate(file.as_raw_fd(), bytes as libc::off_t) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// `sync_file_range`: the kernel begins to write dirty pages of the range, as it would later by itself. If the call
/// is not supported, nothing happens.
pub(super) fn start_write_back(file: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<()> {
    let (offset, len) = (offset as libc::off64_t, len as libc::off64_t);
    loop {
        // SAFETY: the descriptor is borrowed, hence open.
        let rc = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE) };
        if rc == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EINVAL | libc::ESPIPE | libc::ENOSYS | libc::EOPNOTSUPP | libc::EPERM) => {
                return Ok(());
            }
            _ => return Err(error),
        }
    }
}

/// Makes the names in a directory durable, such as that of a new file.
pub(crate) fn sync_directory(directory: &File) -> io::Result<()> {
    directory.sync_all()
}

/// `syncfs`: makes the whole file system of a file durable, names included. It is used for a directory that cannot be
/// opened to be synced; and to be told of an error of any of its files that no caller was told yet (Linux 5.8; older
/// kernels report none).
pub(crate) fn sync_file_system(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed, hence open.
    if unsafe { libc::syncfs(file.as_raw_fd()) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Writes `len` bytes at `from` over the same bytes of the file, durably, in one call unless the kernel writes less.
///
/// # Safety
/// `len` bytes at `from` are mapped, and nothing writes to them meanwhile.
pub(super) unsafe fn write_through(
    file: BorrowedFd<'_>,
    from: *const u8,
    offset: u64,
    len: usize,
) -> io::Result<()> {
    let mut done = 0;
    while done < len {
        let rest = libc::iovec { iov_base: from.wrapping_add(done).cast_mut().cast(), iov_len: len - done };
        let at = (offset + done as u64) as libc::off_t;
        // SAFETY: the caller's promise; the descriptor is borrowed, hence open.
        let n = unsafe { libc::pwritev2(file.as_raw_fd(), &raw const rest, 1, at, libc::RWF_DSYNC) };
        match n {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            1.. => done += n as usize,
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}
