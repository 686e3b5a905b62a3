//! The file system that a file lies on: its kind, and which mounting of it this is.
//!
//! What a process stored and no process flushed is in the kernel's memory for as long as the file system stays mounted
//! somewhere. Bind mounts and mount namespaces are further mounts of the same mounting; an unmount of the last one ends
//! it.

use super::sysfs::Node;
use crate::error::{Error, Result};
use std::ffi::CString;
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const EXT4: i64 = 0xef53;
const XFS: i64 = 0x5846_5342;
const F2FS: i64 = 0xf2f5_2010;
const BTRFS: i64 = 0x9123_683e;
const BCACHEFS: i64 = 0xca45_1a4e;
const ZFS: i64 = 0x2fc1_2fc1;
const TMPFS: i64 = 0x0102_1994;
const RAMFS: i64 = 0x8584_58f6;
const HUGETLBFS: i64 = 0x9584_58f6;
const OVERLAYFS: i64 = 0x794c_7630;
const ECRYPTFS: i64 = 0xf15f;
const SYSFS: i64 = 0x6265_6572;
const PROCFS: i64 = 0x9fa0;
const NILFS2: i64 = 0x3434;
const UBIFS: i64 = 0x2405_1905;
/// Further ones of this kernel's own disks: jfs, nilfs2, vfat, exfat, ntfs3, ubifs.
const LOCAL: [i64; 6] = [0x3153_464a, NILFS2, 0x4d44, 0x2011_bab0, 0x7366_746e, UBIFS];

/// What a file system says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FileSystem {
    magic: i64,
    /// Of some kinds a random number, made anew at each mounting.
    id: u64,
    /// Its size, as another file system that passes it on also says it.
    size: (u64, u64, i64),
}

/// How it is known that a file system was not unmounted in between.
enum Proof {
    /// By its folder in `/sys/fs`, which each mounting makes anew.
    Folder(PathBuf),
    /// By a random number.
    Number(u64),
    /// By nothing but a mount that is still there.
    MountOnly,
    /// Not at all: the bytes are another machine's, or another program's, or may be put back to earlier ones.
    None,
}

/// A mounting of a file system, as far as it can be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Mounting {
    /// Whether this kernel alone keeps what is stored, so that an equal mount proves anything.
    pub kept_here: bool,
    /// Told anew for each mounting, and the same for all its mounts; 0: cannot be told.
    pub number: u64,
    /// The part of it that numbers its inodes by itself.
    pub volume: u64,
    /// Whether inode numbers and mounts say enough where nothing else of the file is known.
    pub plain: bool,
}

impl FileSystem {
    /// Of an open file.
    pub(super) fn of(file: BorrowedFd<'_>) -> Result<Self> {
        let mut answer = MaybeUninit::<libc::statfs>::uninit();
        // SAFETY: an open descriptor, and room for the answer.
        if unsafe { libc::fstatfs(file.as_raw_fd(), answer.as_mut_ptr()) } != 0 {
            return Err(Error::os("looking at the region's file system"));
        }
        // SAFETY: the call succeeded, so it filled the answer in.
        Ok(Self::read(&unsafe { answer.assume_init() }))
    }

    /// Of what is at `path`.
    pub(super) fn at(path: &Path) -> Result<Self> {
        let looking = || format!("looking at the file system of {path:?}");
        let name = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| Error::Invalid("the path of the region contains a NUL".into()))?;
        let mut answer = MaybeUninit::<libc::statfs>::uninit();
        // Miri knows no such call.
        // SAFETY: a NUL-terminated path, and room for the answer.
        if cfg!(miri) || unsafe { libc::statfs(name.as_ptr(), answer.as_mut_ptr()) } != 0 {
            return Err(Error::os(looking()));
        }
        // SAFETY: the call succeeded, so it filled the answer in.
        Ok(Self::read(&unsafe { answer.assume_init() }))
    }

    fn read(answer: &libc::statfs) -> Self {
        // SAFETY: the identity is two integers, and any bytes are some.
        let id: [u32; 2] = unsafe { std::mem::transmute(answer.f_fsid) };
        Self {
            magic: answer.f_type & 0xffff_ffff,
            id: u64::from(id[0]) | u64::from(id[1]) << 32,
            size: (answer.f_blocks, answer.f_files, answer.f_bsize),
        }
    }

    /// Whether it is memory: nothing of it is left after an unmount.
    pub(super) fn is_memory(self) -> bool {
        matches!(self.magic, TMPFS | RAMFS | HUGETLBFS)
    }

    /// Its name, if it writes elsewhere when it is overwritten, and a page that has a block may find none to be written to.
    pub(super) fn copies_on_write(self) -> Option<&'static str> {
        match self.magic {
            BTRFS => Some("btrfs"),
            BCACHEFS => Some("bcachefs"),
            ZFS => Some("zfs"),
            NILFS2 => Some("nilfs2"),
            UBIFS => Some("ubifs"),
            _ => None,
        }
    }

    /// Whether it is known to protect mapped pages that it has written, and to keep what mappings and calls store in one cache:
    /// then a store by a call shows in a mapping at once.
    pub(super) fn protects_what_it_wrote(self) -> bool {
        matches!(self.magic, EXT4 | XFS | F2FS | BTRFS | OVERLAYFS)
    }

    /// Whether its files are those of other file systems, seen through it.
    pub(super) fn is_overlay(self) -> bool {
        self.magic == OVERLAYFS
    }

    /// Whether its files are those of one other file system, changed on the way.
    pub(super) fn is_filter(self) -> bool {
        self.magic == ECRYPTFS
    }

    /// Whether it is the kernel's own `/proc`, and not something that was put in its place.
    pub(super) fn is_proc(self) -> bool {
        self.magic == PROCFS
    }

    /// Whether one that passes this on says the same size.
    pub(super) fn same_size(self, other: Self) -> bool {
        self.size == other.size
    }

    /// The block devices that it lies on, as far as they are shown.
    pub(super) fn devices(self, file: BorrowedFd<'_>) -> Result<Vec<Node>> {
        if self.magic == BTRFS {
            let folder = btrfs::uuid(file).map(|uuid| Path::new("/sys/fs/btrfs").join(uuid).join("devices"));
            return Ok(folder.map_or_else(Vec::new, |folder| Node::all_in(&folder)));
        }
        let found = look(file, 0)?;
        Ok(Node::of_block(libc::makedev(found.stx_dev_major, found.stx_dev_minor)).into_iter().collect())
    }

    /// Which mounting of it an open file on this device is reached by.
    pub(super) fn mounting(self, file: BorrowedFd<'_>, device: u64) -> Mounting {
        let number = match self.proof(file, device) {
            Proof::None => return Mounting::default(),
            Proof::MountOnly => 0,
            Proof::Number(number) => number,
            Proof::Folder(folder) => inode_in_sysfs(&folder).unwrap_or(0),
        };
        if self.magic != BTRFS {
            return Mounting { kept_here: true, number, volume: 0, plain: !self.is_overlay() };
        }
        // A device number, which stands for a volume of it, may be given to another one while it is mounted.
        match btrfs::volume(file) {
            Some(volume) => Mounting { kept_here: true, number, volume, plain: false },
            None => Mounting::default(),
        }
    }

    fn proof(self, file: BorrowedFd<'_>, device: u64) -> Proof {
        let by_device = |kind: &str| match Node::of_block(device).and_then(|node| node.name()) {
            Some(name) => Proof::Folder(Path::new("/sys/fs").join(kind).join(name)),
            None => Proof::MountOnly,
        };
        match self.magic {
            EXT4 => by_device("ext4"),
            XFS => by_device("xfs"),
            F2FS => by_device("f2fs"),
            BTRFS => match btrfs::uuid(file) {
                Some(uuid) => Proof::Folder(Path::new("/sys/fs/btrfs").join(uuid)),
                None => Proof::MountOnly,
            },
            TMPFS => Proof::Number(self.id),
            RAMFS | HUGETLBFS | OVERLAYFS => Proof::MountOnly,
            magic if LOCAL.contains(&magic) => Proof::MountOnly,
            _ => Proof::None,
        }
    }
}

/// The number by which `/proc/thread-self/mountinfo` shows the mount that a file was reached by.
pub(super) fn mount_number(file: BorrowedFd<'_>) -> Result<Option<u64>> {
    let found = look(file, libc::STATX_MNT_ID)?;
    Ok((found.stx_mask & libc::STATX_MNT_ID != 0).then_some(found.stx_mnt_id))
}

/// What the kernel tells of an open file.
pub(super) fn look(file: BorrowedFd<'_>, wanted: libc::c_uint) -> Result<libc::statx> {
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

/// The inode number of a folder of sysfs: the kernel gives none out twice. Of anything else that lies there, nothing.
fn inode_in_sysfs(folder: &Path) -> Option<u64> {
    let sysfs = FileSystem::at(folder).is_ok_and(|found| found.magic == SYSFS);
    sysfs.then(|| fs::metadata(folder).ok()).flatten().map(|found| found.ino())
}

/// What btrfs alone tells.
mod btrfs {
    use std::os::fd::{AsRawFd, BorrowedFd};

    const FS_INFO: libc::c_ulong = 0x8400_941f;
    const INO_LOOKUP: libc::c_ulong = 0xd000_9412;
    /// The inode number of a volume's first folder: to ask for it needs no privilege.
    const FIRST: u64 = 256;

    /// The file system's, as its folder is called.
    pub(super) fn uuid(file: BorrowedFd<'_>) -> Option<String> {
        let mut answer = [0_u64; 128];
        // SAFETY: an open descriptor, and the 1,024 bytes that this call fills.
        if unsafe { libc::ioctl(file.as_raw_fd(), FS_INFO as _, answer.as_mut_ptr()) } != 0 {
            return None;
        }
        // The kernel writes bytes: in the order of memory.
        let digits: String =
            answer[2..4].iter().map(|word| format!("{:016x}", u64::from_be(*word))).collect();
        let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
        Some(parts.join("-"))
    }

    /// The number of the volume that the file is in; never given out twice.
    pub(super) fn volume(file: BorrowedFd<'_>) -> Option<u64> {
        let mut question = [0_u64; 512];
        question[1] = FIRST;
        // SAFETY: an open descriptor, and the 4,096 bytes that this call reads and fills.
        let rc = unsafe { libc::ioctl(file.as_raw_fd(), INO_LOOKUP as _, question.as_mut_ptr()) };
        (rc == 0).then_some(question[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_writes_elsewhere_when_overwritten_is_known_by_name() {
        let name = |magic| FileSystem { magic, id: 0, size: (0, 0, 0) }.copies_on_write();
        let of_uapi =
            [(0x9123_683e, "btrfs"), (0x3434, "nilfs2"), (0x2405_1905, "ubifs"), (0x2fc1_2fc1, "zfs")];
        for (magic, expected) in of_uapi {
            assert_eq!(name(magic), Some(expected));
        }
        assert_eq!(name(EXT4), None);
    }
}
