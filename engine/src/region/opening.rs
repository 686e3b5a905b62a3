//! Opens files such that no descriptor is ever 0, 1 or 2.
//!
//! A program may have closed one of the three and still write messages to that number. If the number belonged to a
//! region's file, the region would be overwritten. So free numbers among the three are filled while a file is opened,
//! and freed afterwards, because a program that closes one and opens a file may count on its number. The fillers can
//! be neither read nor written, just as closed descriptors cannot.

use crate::sync::fork;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Standard input, output and errors.
const STANDARD: std::ops::Range<RawFd> = 0..3;

/// Held while the numbers are filled or freed: a few calls that wait for nothing. Not a `Mutex`, because a forked
/// child must take it over from a thread that the fork did not copy.
static CHANGING: AtomicBool = AtomicBool::new(false);
/// How many openings are in progress. Changed under `CHANGING`.
static OPENINGS: AtomicU32 = AtomicU32::new(0);
/// The numbers that are filled, one bit each. Changed under `CHANGING`.
static FILLED: AtomicU32 = AtomicU32::new(0);

/// Opens a file; its descriptor is always above the three.
pub(super) fn file(how: impl FnOnce() -> io::Result<File>) -> io::Result<File> {
    let opened = opening(how)?;
    // The program may have closed one of the three at this very moment.
    if STANDARD.contains(&opened.as_raw_fd()) { opened.try_clone() } else { Ok(opened) }
}

/// Runs `how`, which opens files and may return some.
pub(super) fn opening<T>(how: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let _under_way = Opening::begin()?;
    how()
}

/// Reads a small file of the kernel, whole.
pub(super) fn text(path: impl AsRef<Path>) -> io::Result<String> {
    opening(|| fs::read_to_string(path))
}

/// Opens a folder to be synced or listed.
pub(super) fn folder(path: &Path) -> io::Result<File> {
    file(|| OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path))
}

/// While one of these exists, no free number is below 3.
struct Opening;

impl Opening {
    fn begin() -> io::Result<Self> {
        if cfg!(miri) {
            return Ok(Self);
        }
        fork::on_child(end_in_child);
        let _changing = Changing::wait();
        // Each opening checks again: a number that was in use when an earlier one began may be free by now.
        let filled = STANDARD.filter(|number| is_free(*number)).try_for_each(fill);
        // ORDERING: Relaxed: changed under `CHANGING`.
        match filled {
            Ok(()) => OPENINGS.store(OPENINGS.load(Ordering::Relaxed) + 1, Ordering::Relaxed),
            Err(_) if OPENINGS.load(Ordering::Relaxed) == 0 => give_back(),
            Err(_) => {}
        }
        filled.map(|()| Self)
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if cfg!(miri) {
            return;
        }
        let _changing = Changing::wait();
        // ORDERING: Relaxed: changed under `CHANGING`.
        let left = OPENINGS.load(Ordering::Relaxed).saturating_sub(1);
        OPENINGS.store(left, Ordering::Relaxed);
        if left == 0 {
            give_back();
        }
    }
}

/// The lock on `CHANGING`.
struct Changing;

impl Changing {
    fn wait() -> Self {
        // ORDERING: Acquire: pairs with the Release of the drop.
        while CHANGING.swap(true, Ordering::Acquire) {
            std::thread::yield_now();
        }
        Self
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        // ORDERING: Release: the changes come before the next holder's look.
        CHANGING.store(false, Ordering::Release);
    }
}

fn is_free(number: RawFd) -> bool {
    // SAFETY: a query about a number, whether it is open or not.
    unsafe { libc::fcntl(number, libc::F_GETFD) == -1 }
}

/// Opens fillers on the lowest free numbers until `number` is in use, by a filler or by anything else.
fn fill(number: RawFd) -> io::Result<()> {
    while is_free(number) {
        let flags = libc::O_PATH | libc::O_CLOEXEC;
        // SAFETY: a NUL-terminated path.
        let raw = unsafe { libc::open(c"/".as_ptr(), flags) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        if STANDARD.contains(&raw) {
            // ORDERING: Relaxed: changed under `CHANGING`.
            FILLED.fetch_or(1 << raw, Ordering::Relaxed);
        } else {
            // SAFETY: opened above, and known to nothing else.
            unsafe { libc::close(raw) };
        }
    }
    Ok(())
}

/// Closes the fillers. If the program has replaced one meanwhile, nothing is left to close.
fn give_back() {
    // ORDERING: Relaxed: changed under `CHANGING`, or by the one thread of a forked child.
    let filled = FILLED.swap(0, Ordering::Relaxed);
    for number in STANDARD.filter(|number| filled & (1 << number) != 0) {
        // SAFETY: a query about a number, whether it is open or not.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFL) };
        if flags != -1 && flags & libc::O_PATH != 0 {
            // SAFETY: closes what `fill` opened.
            unsafe { libc::close(number) };
        }
    }
}

/// Ends in a forked child what its parent's threads had in progress. Only calls that a child of a threaded process
/// may make.
fn end_in_child() {
    give_back();
    // ORDERING: Relaxed: no other thread exists.
    OPENINGS.store(0, Ordering::Relaxed);
    CHANGING.store(false, Ordering::Relaxed);
}
