//! What a lease names: which file on which boot, and which process.

use super::{holder, opening};
use crate::error::{Error, Result};
use crate::sync::Global;
use std::fmt;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Which file this is, on which boot: equal identities mean that what the kernel cached is still there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    /// The boot.
    pub boot: [u8; 16],
    /// The device that holds the file.
    pub device: u64,
    /// The file on it.
    pub inode: u64,
    /// The mount it was reached by: a snapshot or copy of a device comes by another one, and so does the same device
    /// when it was unmounted in between, which ends what the kernel cached.
    pub mount: u64,
}

impl Identity {
    /// Of an open file.
    pub(super) fn of(file: BorrowedFd<'_>) -> Result<Self> {
        let mut found = look(file, libc::STATX_INO | STATX_MNT_ID_UNIQUE)?;
        if found.stx_mask & STATX_MNT_ID_UNIQUE == 0 {
            found = look(file, libc::STATX_INO | libc::STATX_MNT_ID)?;
        }
        Ok(Self {
            boot: *BOOT.get(),
            device: libc::makedev(found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
            mount: found.stx_mnt_id,
        })
    }

    /// Of a device, whatever name it was reached by.
    pub(super) fn of_device(device: u64) -> Self {
        Self { boot: *BOOT.get(), device, inode: 0, mount: 0 }
    }

    /// Of memory that is no file.
    pub(super) fn of_memory() -> Self {
        Self { boot: *BOOT.get(), ..Self::default() }
    }
}

/// Asks for a number that no other mount of this boot ever has (Linux 6.8; `STATX_MNT_ID` is given out again).
const STATX_MNT_ID_UNIQUE: libc::c_uint = 0x4000;

fn look(file: BorrowedFd<'_>, wanted: libc::c_uint) -> Result<libc::statx> {
    let mut answer = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: an open descriptor, an empty path that says to look at it, and room for the answer.
    let rc = unsafe {
        libc::statx(file.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, wanted, answer.as_mut_ptr())
    };
    if rc != 0 {
        return Err(Error::os("looking at the region's file"));
    }
    // SAFETY: zeroed before, filled in by the call.
    Ok(unsafe { answer.assume_init() })
}

/// This boot. One that cannot be told equals no other, and so costs a recovery as from a power loss.
static BOOT: Global<[u8; 16]> = Global::new(|| {
    let text = opening::text("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    match u128::from_str_radix(&digits, 16) {
        Ok(boot) if digits.len() == 32 => boot.to_be_bytes(),
        _ => random(),
    }
});

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    // SAFETY: room for as many bytes as asked for. The kernel fills up to 256 of them whole.
    let n = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    assert!(n == bytes.len() as isize, "the kernel always has sixteen random bytes");
    bytes
}

/// A process, as a lease names it: the number alone would be reused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since the boot; 0 if unknown.
    pub start_time: u64,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = opening::text(format!("/proc/{}/comm", self.pid)).unwrap_or_default();
        write!(f, "process {} ({})", self.pid, command.trim_end())
    }
}

impl Holder {
    /// This process.
    #[must_use]
    pub fn this_process() -> Self {
        // Asked of the kernel once for each process: a forked child has another number.
        static KNOWN: AtomicU32 = AtomicU32::new(0);
        static SINCE: AtomicU64 = AtomicU64::new(0);
        let pid = std::process::id();
        // ORDERING: Acquire: pairs with the Release below; whoever finds its own number finds its own time.
        if KNOWN.load(Ordering::Acquire) != pid {
            // ORDERING: Relaxed, then Release: the time comes before the number that vouches for it.
            SINCE.store(start_time(pid).unwrap_or(0), Ordering::Relaxed);
            KNOWN.store(pid, Ordering::Release);
        }
        // ORDERING: Relaxed: ordered by the load above.
        Self { pid, start_time: SINCE.load(Ordering::Relaxed) }
    }

    /// Whether the process still runs; one that cannot be seen does not, nor one that has ended and of whose end its parent has
    /// not taken note.
    #[must_use]
    pub fn lives(&self) -> bool {
        start_time(self.pid) == Some(self.start_time) && !holder::dies(self.pid)
    }
}

/// Field 22 of `/proc/PID/stat`; the second field, the command in parentheses, may hold anything.
fn start_time(pid: u32) -> Option<u64> {
    let text = opening::text(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}
