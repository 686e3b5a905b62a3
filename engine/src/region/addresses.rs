//! How many addresses a region gets, and how they are reserved.

use super::opening;
use crate::error::{Error, Result};
use std::io;
use std::ptr;

/// The addresses of a process with four-level page tables, which every processor has.
const ALL: u64 = 1 << 47;
/// A region gets this fraction of the addresses that are left. After a thousand regions, more than a third of them
/// are still free.
const SHARE: u64 = 1024;
/// A region gets at least this much, where that much is left.
const LEAST: u64 = 1 << 30;

/// Bytes of addresses for a region whose largest size is not given. It can grow in them without ever moving.
pub(super) fn share() -> u64 {
    (left() / SHARE).max(LEAST)
}

/// Addresses that this process may still reserve.
fn left() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: room for the answer.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) } == 0;
    let may = if known { ALL.min(limit.rlim_cur) } else { ALL };
    let statm = opening::text("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').next().and_then(|pages| pages.parse().ok()).unwrap_or(0);
    may.saturating_sub(pages.saturating_mul(4096))
}

/// A run of addresses of this process. Dropping it gives them back.
#[derive(Debug)]
pub(super) struct Addresses {
    start: *mut u8,
    len: usize,
}

impl Addresses {
    /// Reserves addresses without access, and exempts them from `mlockall`, which would fill them with memory.
    pub(super) fn take(len: usize) -> io::Result<Self> {
        // Miri supports neither.
        let (access, promise) = if cfg!(miri) {
            (libc::PROT_READ | libc::PROT_WRITE, 0)
        } else {
            (libc::PROT_NONE, libc::MAP_NORESERVE)
        };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | promise;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let taken = Self { start: start.cast(), len };
        keep_unlocked(taken.start, len)?;
        Ok(taken)
    }

    /// The first address.
    pub(super) fn start(&self) -> *mut u8 {
        self.start
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        // SAFETY: taken by `take`, and not used any more.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}

/// Keeps the kernel from filling these bytes before they are touched, and from writing them into a core file: a
/// region may be larger than memory. The bytes are the caller's and have no access yet: with access, locked memory
/// would be filled already.
pub(super) fn keep_unlocked(start: *mut u8, len: usize) -> io::Result<()> {
    if cfg!(miri) {
        return Ok(());
    }
    // SAFETY: the caller's addresses, which are mapped; what can be reached there stays so.
    if unsafe { libc::munlock(start.cast(), len) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: advice about them.
    unsafe { libc::madvise(start.cast(), len, libc::MADV_DONTDUMP) };
    Ok(())
}

/// Gives access to the bytes.
///
/// # Safety
/// The addresses are the caller's, mapped, and not used yet.
pub(super) unsafe fn open(start: *mut u8, len: usize, writable: bool) -> Result {
    let access = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
    // SAFETY: this function's contract.
    if !cfg!(miri) && unsafe { libc::mprotect(start.cast(), len, access) } != 0 {
        return Err(Error::os(format!("making {len} bytes of addresses for the region accessible")));
    }
    Ok(())
}

/// Maps the bytes anew, from `offset` of a file or without one (-1). They are never locked, dumped or inherited. A thread
/// that reads them meanwhile finds the former mapping or the new one.
///
/// # Errors
/// If `mmap` fails, the former mapping mostly stays. If it is another call, the bytes are mapped.
///
/// # Safety
/// The addresses are the caller's and mapped, and what is mapped there is not needed.
pub(super) unsafe fn map_over(
    start: *mut u8,
    len: usize,
    access: i32,
    flags: i32,
    file: i32,
    offset: u64,
) -> io::Result<()> {
    let flags = flags | libc::MAP_FIXED | libc::MAP_NORESERVE;
    // SAFETY: this function's contract.
    let mapped = unsafe { libc::mmap(start.cast(), len, access, flags, file, offset as libc::off_t) };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    keep_unlocked(start, len)?;
    // SAFETY: advice about the bytes that were just mapped.
    if unsafe { libc::madvise(start.cast(), len, libc::MADV_DONTFORK) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
