//! The one door through which files are opened: none is ever descriptor 0, 1 or 2.
//!
//! A program may have closed one of the three and still write its messages there, into whatever has the number by then: a
//! region would be written over. So those that are free are filled while a file is opened, and given back afterwards: a
//! program that closes one and opens a file may count on its number. What fills them can be neither read nor
//! written, as what is closed cannot.

use crate::sync::fork;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Standard input, output and errors.
const STANDARD: std::ops::Range<RawFd> = 0..3;

/// Held for as long as the numbers are filled or given back, a few calls that wait for nothing. No `Mutex`: a forked child
/// takes it from a thread that the fork did not copy.
static CHANGING: AtomicBool = AtomicBool::new(false);
/// How many openings are under way. Changed under `CHANGING`.
static OPENINGS: AtomicU32 = AtomicU32::new(0);
/// The numbers that are filled, a bit each. Changed under `CHANGING`.
static FILLED: AtomicU32 = AtomicU32::new(0);

/// Opens a file, above the three whatever happens.
pub(super) fn file(how: impl FnOnce() -> io::Result<File>) -> io::Result<File> {
    let opened = opening(how)?;
    // One that the program closed in this very moment.
    if STANDARD.contains(&opened.as_raw_fd()) { opened.try_clone() } else { Ok(opened) }
}

/// Runs something that opens files, of which it may return some.
pub(super) fn opening<T>(how: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let _under_way = Opening::begin()?;
    how()
}

/// A small file of the kernel's, whole.
pub(super) fn text(path: impl AsRef<Path>) -> io::Result<String> {
    opening(|| fs::read_to_string(path))
}

/// A folder, open to be synced or listed.
pub(super) fn folder(path: &Path) -> io::Result<File> {
    file(|| OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path))
}

/// While one of these lives, no free number is below 3.
struct Opening;

impl Opening {
    fn begin() -> io::Result<Self> {
        if cfg!(miri) {
            return Ok(Self);
        }
        fork::on_child(end_in_child);
        let _changing = Changing::wait();
        // A later one looks again: what was open when an earlier one began may be closed by now.
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

/// The right to fill and to give back.
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
        // ORDERING: Release: what was changed comes before the next one's look.
        CHANGING.store(false, Ordering::Release);
    }
}

fn is_free(number: RawFd) -> bool {
    // SAFETY: a question about a number, whether it is open or not.
    unsafe { libc::fcntl(number, libc::F_GETFD) == -1 }
}

/// Takes the lowest free number, until `number` is taken by this or by anything else.
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

/// Closes what fills the three. Of one that the program has replaced meanwhile nothing is left to close.
fn give_back() {
    // ORDERING: Relaxed: changed under `CHANGING`, or by a forked child's one thread.
    let filled = FILLED.swap(0, Ordering::Relaxed);
    for number in STANDARD.filter(|number| filled & (1 << number) != 0) {
        // SAFETY: a question about a number, whether it is open or not.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFL) };
        if flags != -1 && flags & libc::O_PATH != 0 {
            // SAFETY: the end of what `fill` opened.
            unsafe { libc::close(number) };
        }
    }
}

/// Ends in a forked child what its parent's threads were at. Only what a child of a threaded process may do.
fn end_in_child() {
    give_back();
    // ORDERING: Relaxed: no other thread exists.
    OPENINGS.store(0, Ordering::Relaxed);
    CHANGING.store(false, Ordering::Relaxed);
}
