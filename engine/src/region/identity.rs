//! What a lease names: which file on which boot, and which process.

use super::file_system::{FileSystem, look};
use super::{holder, opening};
use crate::error::Result;
use crate::sync::Global;
use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Which file this is, on which boot, in which mounting of its file system.
///
/// Numbers are reused: those of inodes, of devices, and on old kernels of mounts. So two identities are equal only if
/// whatever distinguishes a reused number from the first is equal too. An unknown part is 0 and equals nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    /// The boot; zeros if unknown.
    pub boot: [u8; 16],
    /// The device that holds the file.
    pub device: u64,
    /// The file on it.
    pub inode: u64,
    /// Which use of that inode number this is, as the file system counts them, plus bit 32, which marks it as known;
    /// 0: unknown.
    pub generation: u64,
    /// When the file was created, in nanoseconds since 1970.
    pub birth: u64,
    /// The volume, where a file system has several that number their inodes separately.
    pub volume: u64,
    /// The mount through which it was opened, by a number that no other mount of this boot has. While that mount
    /// exists, so does the file system.
    pub mount: u64,
    /// The mounting of the file system: all its mounts share it, and an unmount ends it.
    pub mounting: u64,
}

/// Distinguishes generation 0 from an unknown one.
const KNOWN: u64 = 1 << 32;
/// Anything without a file system has this one mounting.
const NO_FILE_SYSTEM: u64 = u64::MAX;

/// Why two identities differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Difference {
    /// The machine was booted in between, or that is unknown.
    Boot,
    /// It is another file.
    File,
    /// The file system was unmounted in between, or that is unknown.
    Mounting,
}

impl Identity {
    /// The identity of a file of which only its numbers are known.
    #[must_use]
    pub const fn plain(boot: [u8; 16], device: u64, inode: u64, mount: u64) -> Self {
        Self { boot, device, inode, generation: 0, birth: 0, volume: 0, mount, mounting: 0 }
    }

    /// The identity of an open file.
    pub(super) fn of(file: BorrowedFd<'_>) -> Result<Self> {
        let found = look(file, libc::STATX_INO | libc::STATX_BTIME | STATX_MNT_ID_UNIQUE)?;
        let device = libc::makedev(found.stx_dev_major, found.stx_dev_minor);
        let mounting = FileSystem::of(file)?.mounting(file, device);
        let told = |bit| found.stx_mask & bit != 0;
        let birth = if told(libc::STATX_BTIME) { nanoseconds(&found.stx_btime) } else { 0 };
        let generation = generation(file);
        let enough = mounting.plain || generation != 0 || birth != 0;
        let mount = mounting.kept_here && enough && told(STATX_MNT_ID_UNIQUE);
        Ok(Self {
            boot: *BOOT.get(),
            device,
            inode: found.stx_ino,
            generation,
            birth,
            volume: mounting.volume,
            mount: if mount { found.stx_mnt_id } else { 0 },
            mounting: mounting.number,
        })
    }

    /// The identity of a device, by whatever name it was opened.
    pub(super) fn of_device(device: u64) -> Self {
        Self { boot: *BOOT.get(), device, mount: NO_FILE_SYSTEM, ..Self::default() }
    }

    /// The identity of memory that is no file.
    pub(super) fn of_memory() -> Self {
        Self { boot: *BOOT.get(), mount: NO_FILE_SYSTEM, ..Self::default() }
    }

    /// Whether the machine was booted since the identity `left` was noted. If either boot is unknown, they may be the
    /// same one.
    #[must_use]
    pub fn is_after_a_boot(&self, left: &Self) -> bool {
        self.boot != left.boot && self.boot != UNTOLD && left.boot != UNTOLD
    }

    /// The difference from the identity `left` that a lease names. `None`: what the lease's owner stored is still in
    /// the kernel's memory, or was written to the medium.
    #[must_use]
    pub fn difference(&self, left: &Self) -> Option<Difference> {
        let file = |one: &Self| (one.device, one.inode, one.generation, one.birth, one.volume);
        if self.boot != left.boot || self.boot == UNTOLD {
            return Some(Difference::Boot);
        }
        if file(self) != file(left) {
            return Some(Difference::File);
        }
        let known = |number: u64, other: u64| number != 0 && number == other;
        // A mount that still exists has kept the file's number too, unless the file was removed.
        let named = self.generation != 0 || self.birth != 0;
        let same = known(self.mount, left.mount) || named && known(self.mounting, left.mounting);
        if same { None } else { Some(Difference::Mounting) }
    }
}

fn nanoseconds(time: &libc::statx_timestamp) -> u64 {
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec.into())
}

/// The generation of the file's inode number; 0 if the file system does not report it.
fn generation(file: BorrowedFd<'_>) -> u64 {
    // The request is declared for a long and answers with an int.
    let mut answer: libc::c_long = 0;
    // SAFETY: an open descriptor, and room for either.
    let rc = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_GETVERSION as _, &raw mut answer) };
    if rc == 0 { u64::from(answer as u32) | KNOWN } else { 0 }
}

/// `_IOR('v', 1, long)`.
const FS_IOC_GETVERSION: libc::c_ulong = 0x8000_7601 | (size_of::<libc::c_long>() as libc::c_ulong) << 16;
/// Requests a number that no other mount of this boot ever has (Linux 6.8; `STATX_MNT_ID` is reused).
const STATX_MNT_ID_UNIQUE: libc::c_uint = 0x4000;

/// This boot. An unknown boot equals no other, so it costs a recovery as after a power loss.
static BOOT: Global<[u8; 16]> = Global::new(|| boot_id(Path::new(BOOT_ID)).unwrap_or(UNTOLD));
/// An unknown boot.
const UNTOLD: [u8; 16] = [0; 16];

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The kernel's number of this boot. A file that a container has put in its place is ignored.
fn boot_id(path: &Path) -> Option<[u8; 16]> {
    if !FileSystem::at(path).ok()?.is_proc() {
        return None;
    }
    let text = opening::text(path).ok()?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let boot = u128::from_str_radix(&digits, 16).ok()?;
    (digits.len() == 32).then(|| boot.to_be_bytes())
}

/// A process, as a lease names it. The process number alone would be reused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holder {
    /// Its process number.
    pub pid: u32,
    /// When it started, in clock ticks since the boot; 0 if unknown.
    pub start_time: u64,
    /// The PID namespace of that number; 0 if unknown.
    pub space: u64,
}

/// What is known about whether a process lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    Lives,
    Ended,
    /// It would not be visible from here.
    Hidden,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.life() == Life::Hidden {
            return write!(
                f,
                "process {} of another container or of a hidden /proc, if that process still lives: to find out, open it \
                 once where all processes of the machine are visible",
                self.pid
            );
        }
        let command = opening::text(format!("/proc/{}/comm", self.pid)).unwrap_or_default();
        write!(f, "process {} ({})", self.pid, command.trim_end())
    }
}

impl Holder {
    /// This process.
    #[must_use]
    pub fn this_process() -> Self {
        // The kernel is asked once per process: a forked child has another number.
        static KNOWN: AtomicU32 = AtomicU32::new(0);
        static SINCE: AtomicU64 = AtomicU64::new(0);
        static SPACE: AtomicU64 = AtomicU64::new(0);
        let pid = std::process::id();
        // ORDERING: Acquire: pairs with the Release below; a thread that reads the process's number reads its time
        // too.
        if KNOWN.load(Ordering::Acquire) != pid {
            // ORDERING: Relaxed, then Release: time and namespace are stored before the number that validates them.
            SINCE.store(start_time(pid).unwrap_or(0), Ordering::Relaxed);
            SPACE.store(space_of("self").unwrap_or(0), Ordering::Relaxed);
            KNOWN.store(pid, Ordering::Release);
        }
        // ORDERING: Relaxed: ordered by the load above.
        Self { pid, start_time: SINCE.load(Ordering::Relaxed), space: SPACE.load(Ordering::Relaxed) }
    }

    /// Whether the process still runs, or may, as far as can be seen from here. A zombie does not count as running.
    #[must_use]
    pub fn may_live(&self) -> bool {
        self.life() != Life::Ended
    }

    fn life(&self) -> Life {
        let here = space_of("self").unwrap_or(0);
        let sees_all = start_time(1).is_some();
        let is_it = |pid: u32| start_time(pid) == Some(self.start_time) && !holder::dies(pid);
        let lives = if self.start_time == 0 {
            // Only its number is known, not its namespace.
            let may_be_it = |pid: u32| numbers(pid).contains(&self.pid) && !holder::dies(pid);
            let none = here == FIRST_SPACE && sees_all && !holder::processes().any(may_be_it);
            return if none { Life::Ended } else { Life::Hidden };
        } else if self.space == here || self.space == 0 {
            is_it(self.pid)
        } else if here == FIRST_SPACE {
            // In this namespace it has another number.
            holder::processes()
                .any(|pid| is_it(pid) && space_of(&pid.to_string()).is_none_or(|at| at == self.space))
        } else {
            return Life::Hidden;
        };
        match lives {
            true => Life::Lives,
            false if sees_all => Life::Ended,
            false => Life::Hidden,
        }
    }
}

/// The PID namespace that contains all others, by its fixed number in the kernel.
const FIRST_SPACE: u64 = 0xefff_fffc;

/// The number of the PID namespace of a process in `/proc`. It is not reused while the namespace exists.
fn space_of(process: &str) -> Option<u64> {
    std::fs::metadata(format!("/proc/{process}/ns/pid")).ok().map(|found| found.ino())
}

/// The numbers of a process, one in each PID namespace that it is in; none if it is gone.
fn numbers(pid: u32) -> Vec<u32> {
    let Ok(status) = opening::text(format!("/proc/{pid}/status")) else { return Vec::new() };
    // Kernels without namespaces have no such line.
    let said = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    said.map_or(vec![pid], |all| all.split_ascii_whitespace().filter_map(|one| one.parse().ok()).collect())
}

/// Field 22 of `/proc/PID/stat`. The second field, the command in parentheses, may contain anything.
fn start_time(pid: u32) -> Option<u64> {
    let text = opening::text(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    /// As ext4 reports it.
    fn told() -> Identity {
        Identity { generation: 7 | KNOWN, birth: 8, mounting: 9, ..Identity::plain([1; 16], 2, 3, 4) }
    }

    #[test]
    fn a_file_is_the_same_by_all_that_tells_a_reused_number_from_the_first() {
        let left = told();
        assert_eq!(left.difference(&left), None);
        for (other, difference) in [
            (Identity { boot: [2; 16], ..left }, Difference::Boot),
            (Identity { device: 9, ..left }, Difference::File),
            (Identity { inode: 9, ..left }, Difference::File),
            (Identity { generation: 8 | KNOWN, ..left }, Difference::File),
            (Identity { generation: 0, ..left }, Difference::File),
            (Identity { birth: 9, ..left }, Difference::File),
            (Identity { birth: 0, ..left }, Difference::File),
            (Identity { volume: 1, ..left }, Difference::File),
            (Identity { mount: 5, mounting: 10, ..left }, Difference::Mounting),
        ] {
            assert_eq!(other.difference(&left), Some(difference), "{other:?}");
            assert_eq!(left.difference(&other), Some(difference), "{other:?}");
        }
    }

    #[test]
    fn a_boot_that_is_not_told_equals_none_and_may_be_any() {
        let left = told();
        let (other, untold) = (Identity { boot: [2; 16], ..left }, Identity { boot: UNTOLD, ..left });
        assert!(other.is_after_a_boot(&left) && !left.is_after_a_boot(&left));
        for one in [left, untold] {
            assert_eq!(one.difference(&untold), Some(Difference::Boot));
            assert_eq!(untold.difference(&one), Some(Difference::Boot));
            assert!(!one.is_after_a_boot(&untold) && !untold.is_after_a_boot(&one));
        }
    }

    #[test]
    fn a_process_has_a_number_in_its_own_namespace_too() {
        let this = std::process::id();
        assert!(numbers(this).contains(&this));
        assert_eq!(numbers(u32::MAX), [], "there is none of that number");
    }

    #[test]
    fn an_owner_of_which_only_the_number_is_known_has_ended_where_no_process_can_be_it() {
        let owner = |pid| Holder { pid, start_time: 0, space: 0 };
        assert!(owner(std::process::id()).may_live());
        let sees_all = space_of("self") == Some(FIRST_SPACE) && start_time(1).is_some();
        assert_eq!(owner(u32::MAX).may_live(), !sees_all);
    }

    #[test]
    fn a_mounting_is_the_same_by_its_mount_or_by_its_number_and_what_is_not_known_equals_nothing() {
        let left = told();
        for other in
            [Identity { mount: 5, ..left }, Identity { mount: 0, ..left }, Identity { mounting: 0, ..left }]
        {
            assert_eq!(other.difference(&left), None, "{other:?}");
        }
        let nothing = Identity { mount: 0, mounting: 0, ..left };
        assert_eq!(nothing.difference(&nothing), Some(Difference::Mounting));
        // Without generation and birth, another mount may show another file.
        let bare = Identity { generation: 0, birth: 0, ..left };
        assert_eq!(bare.difference(&bare), None);
        assert_eq!(Identity { mount: 5, ..bare }.difference(&bare), Some(Difference::Mounting));
    }

    #[test]
    fn a_boot_is_told_by_the_kernel_alone() {
        assert_eq!(boot_id(Path::new(BOOT_ID)), Some(*BOOT.get()), "this machine has one");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::copy(BOOT_ID, file.path()).unwrap();
        assert_eq!(boot_id(file.path()), None, "a container's own");
        assert_eq!(boot_id(Path::new("/no/such/file")), None);
    }

    #[test]
    fn a_file_on_a_disk_and_one_in_memory_are_told_apart_from_their_successors() {
        for folder in [env!("CARGO_MANIFEST_DIR"), "/dev/shm"] {
            let Ok(folder) = tempfile::tempdir_in(folder) else { continue };
            let identity = |name: &str| {
                let path = folder.path().join(name);
                let file = File::options().create(true).truncate(false).write(true).open(path).unwrap();
                Identity::of(file.as_fd()).unwrap()
            };
            let (first, again) = (identity("a"), identity("a"));
            assert_eq!(first.difference(&again), None);
            std::fs::remove_file(folder.path().join("a")).unwrap();
            assert_eq!(identity("a").difference(&first), Some(Difference::File));
        }
    }
}
