//! The file system of a file: its kind, and which mounting of it this is.
//!
//! Stores that were not flushed are in the kernel's memory for as long as the file system stays mounted somewhere.
//! Bind mounts and mount namespaces are further mounts of the same mounting; unmounting the last one ends it.

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
/// Other file systems on local disks: jfs, nilfs2, vfat, exfat, ntfs3, ubifs.
const LOCAL: [i64; 6] = [0x3153_464a, NILFS2, 0x4d44, 0x2011_bab0, 0x7366_746e, UBIFS];

/// What a file system reports about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FileSystem {
    magic: i64,
    /// For some kinds, a random number made at each mounting.
    id: u64,
    /// Its size. An overlay over it reports the same size.
    size: (u64, u64, i64),
}

/// What proves that a file system was not unmounted in between.
enum Proof {
    /// Its folder in `/sys/fs`, which each mounting creates anew.
    Folder(PathBuf),
    /// A random number.
    Number(u64),
    /// Only a mount that is still there.
    MountOnly,
    /// Nothing: the bytes belong to another machine or another program, or may be reset to earlier ones.
    None,
}

/// One mounting of a file system, as far as it can be identified.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Mounting {
    /// Whether only this kernel holds unwritten stores, so that an equal mount proves something.
    pub kept_here: bool,
    /// A number that differs for each mounting and is the same for all its mounts; 0: unknown.
    pub number: u64,
    /// The volume in it that numbers its inodes separately.
    pub volume: u64,
    /// Whether inode number and mount suffice where nothing else about the file is known.
    pub plain: bool,
}

impl FileSystem {
    /// The file system of an open file.
    pub(super) fn of(file: BorrowedFd<'_>) -> Result<Self> {
        let mut answer = MaybeUninit::<libc::statfs>::uninit();
        // SAFETY: an open descriptor, and room for the answer.
        if unsafe { libc::fstatfs(file.as_raw_fd(), answer.as_mut_ptr()) } != 0 {
            return Err(Error::os("looking at the region's file system"));
        }
        // SAFETY: the call succeeded, so it filled the answer in.
        Ok(Self::read(&unsafe { answer.assume_init() }))
    }

    /// The file system at `path`.
    pub(super) fn at(path: &Path) -> Result<Self> {
        let looking = || format!("looking at the file system of {path:?}");
        let name = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| Error::Invalid("the path of the region contains a NUL".into()))?;
        let mut answer = MaybeUninit::<libc::statfs>::uninit();
        // Miri does not support this call.
        // SAFETY: a NUL-terminated path, and room for the answer.
        if cfg!(miri) || unsafe { libc::statfs(name.as_ptr(), answer.as_mut_ptr()) } != 0 {
            return Err(Error::os(looking()));
        }
        // SAFETY: the call succeeded, so it filled the answer in.
        Ok(Self::read(&unsafe { answer.assume_init() }))
    }

    fn read(answer: &libc::statfs) -> Self {
        // SAFETY: the identity is two integers, for which any bytes are valid.
        let id: [u32; 2] = unsafe { std::mem::transmute(answer.f_fsid) };
        Self {
            magic: answer.f_type & 0xffff_ffff,
            id: u64::from(id[0]) | u64::from(id[1]) << 32,
            size: (answer.f_blocks, answer.f_files, answer.f_bsize),
        }
    }

    /// Whether it is in memory: nothing of it survives an unmount.
    pub(super) fn is_memory(self) -> bool {
        matches!(self.magic, TMPFS | RAMFS | HUGETLBFS)
    }

    /// Its name, if it copies on write: then writing a page that has a block needs another block, and there may be
    /// none.
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

    /// Whether it shows the files of other file systems (an overlay).
    pub(super) fn is_overlay(self) -> bool {
        self.magic == OVERLAYFS
    }

    /// Whether it shows the files of one other file system, transformed.
    pub(super) fn is_filter(self) -> bool {
        self.magic == ECRYPTFS
    }

    /// Whether it is the kernel's own `/proc`, not something mounted in its place.
    pub(super) fn is_proc(self) -> bool {
        self.magic == PROCFS
    }

    /// Whether the other one reports the same size.
    pub(super) fn same_size(self, other: Self) -> bool {
        self.size == other.size
    }

    /// The block devices that it lies on, as far as they are visible.
    pub(super) fn devices(self, file: BorrowedFd<'_>) -> Result<Vec<Node>> {
        if self.magic == BTRFS {
            let folder = btrfs::uuid(file).map(|uuid| Path::new("/sys/fs/btrfs").join(uuid).join("devices"));
            return Ok(folder.map_or_else(Vec::new, |folder| Node::all_in(&folder)));
        }
        let found = look(file, 0)?;
        Ok(Node::of_block(libc::makedev(found.stx_dev_major, found.stx_dev_minor)).into_iter().collect())
    }

    /// The mounting by which an open file on this device is reached.
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
        // btrfs gives each volume a device number, and may give that number to another volume while it is mounted.
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

/// The number of the mount through which a file was opened, as `/proc/thread-self/mountinfo` shows it.
pub(super) fn mount_number(file: BorrowedFd<'_>) -> Result<Option<u64>> {
    let found = look(file, libc::STATX_MNT_ID)?;
    Ok((found.stx_mask & libc::STATX_MNT_ID != 0).then_some(found.stx_mnt_id))
}

/// What the kernel reports about an open file.
pub(super) fn look(file: BorrowedFd<'_>, wanted: libc::c_uint) -> Result<libc::statx> {
    let mut answer = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: an open descriptor, an empty path that says to look at it, and room for the answer.
    let rc = unsafe {
        libc::statx(file.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, wanted, answer.as_mut_ptr())
    };
    if rc != 0 {
        return Err(Error::os("looking at the region's file"));
    }
    // SAFETY: zeroed above and filled in by the call.
    Ok(unsafe { answer.assume_init() })
}

/// The inode number of a folder of sysfs: the kernel never reuses one. `None` if something else is mounted there.
fn inode_in_sysfs(folder: &Path) -> Option<u64> {
    let sysfs = FileSystem::at(folder).is_ok_and(|found| found.magic == SYSFS);
    sysfs.then(|| fs::metadata(folder).ok()).flatten().map(|found| found.ino())
}

/// What only btrfs reports.
mod btrfs {
    use std::os::fd::{AsRawFd, BorrowedFd};

    const FS_INFO: libc::c_ulong = 0x8400_941f;
    const INO_LOOKUP: libc::c_ulong = 0xd000_9412;
    /// The inode number of a volume's first folder: asking for it needs no privilege.
    const FIRST: u64 = 256;

    /// The UUID of the file system, by which its folder in sysfs is named.
    pub(super) fn uuid(file: BorrowedFd<'_>) -> Option<String> {
        let mut answer = [0_u64; 128];
        // SAFETY: an open descriptor, and the 1,024 bytes that this call fills.
        if unsafe { libc::ioctl(file.as_raw_fd(), FS_INFO as _, answer.as_mut_ptr()) } != 0 {
            return None;
        }
        // The kernel writes bytes, in memory order.
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
