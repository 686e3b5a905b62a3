//! Addresses: how many a region gets, and how they are taken.

use super::opening;
use crate::error::{Error, Result};
use std::io;
use std::ptr;

/// What a process has, with the page tables that every processor knows.
const ALL: u64 = 1 << 47;
/// Which part of the addresses that are left a region gets: after a thousand regions more than a third of them are.
const SHARE: u64 = 1024;
/// The least that a region gets where it can be had.
const LEAST: u64 = 1 << 30;

/// Bytes of addresses for a region whose largest size is not given: room to grow without ever moving.
pub(super) fn share() -> u64 {
    (left() / SHARE).max(LEAST)
}

/// Addresses that this process may still take.
fn left() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: room for the answer.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) } == 0;
    let may = if known { ALL.min(limit.rlim_cur) } else { ALL };
    let statm = opening::text("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').next().and_then(|pages| pages.parse().ok()).unwrap_or(0);
    may.saturating_sub(pages.saturating_mul(4096))
}

/// A run of addresses of this process, given back when dropped.
#[derive(Debug)]
pub(super) struct Addresses {
    start: *mut u8,
    len: usize,
}

impl Addresses {
    /// Takes addresses at which nothing can be reached yet, and which are never locked: `mlockall` would fill them.
    pub(super) fn take(len: usize) -> io::Result<Self> {
        // Miri knows neither.
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

    /// The first.
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

/// Has the kernel fill none of these bytes before they are touched, nor write them into a core file: a region may be larger than
/// memory. They are the caller's, and without access: else they are filled already.
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

/// Makes bytes reachable.
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
