//! What a file system lies on: whether anything of it survives a power loss, and whether it copies on write.
//!
//! Even a file system on a block device, or one stacked on another, may lie on memory in the end. Whatever cannot be
//! seen from this process is taken to be a disk: taking a disk for memory would leave out its syncs.

use super::file_system::FileSystem;
use super::mounts::Mount;
use super::opening;
use super::sysfs::Node;
use crate::error::Result;
use crate::units::Durability;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The most layers that are followed. The kernel stacks fewer; the limit ends a loop of names.
const HEIGHT: usize = 8;

/// What a file lies on, as far as this process can tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bottom {
    /// It may keep what is synced.
    Disk,
    /// It keeps nothing.
    Memory,
    /// It cannot be seen from here and does not say where its bytes are: usually memory. It is claimed to be memory,
    /// and synced all the same, which costs nothing on memory.
    Hidden,
}

impl Bottom {
    /// The durability that may be claimed of it.
    pub(super) fn class(self) -> Durability {
        match self {
            Self::Disk => Durability::Fdatasync,
            Self::Memory | Self::Hidden => Durability::Volatile,
        }
    }

    /// The bottom of a device that consists of these: as good as the best of them.
    fn of_all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut whole = None;
        for part in parts {
            whole = match (whole, part) {
                (_, Self::Disk) => return Self::Disk,
                (None | Some(Self::Memory), Self::Memory) => Some(Self::Memory),
                (_, Self::Hidden) | (Some(_), Self::Memory) => Some(Self::Hidden),
            };
        }
        whole.unwrap_or(Self::Disk)
    }
}

/// What an open file or folder lies on.
pub(super) fn bottom(file: BorrowedFd<'_>) -> Result<Bottom> {
    bottom_of_file(file, HEIGHT)
}

fn bottom_of_file(file: BorrowedFd<'_>, height: usize) -> Result<Bottom> {
    let found = FileSystem::of(file)?;
    if found.is_memory() {
        return Ok(Bottom::Memory);
    }
    let Some(below) = height.checked_sub(1) else { return Ok(Bottom::Disk) };
    Ok(if found.is_overlay() {
        Mount::of(file)?.map_or(Bottom::Disk, |mount| bottom_of_overlay(&mount, found, file, below))
    } else if found.is_filter() {
        let folder = Mount::of(file)?.map(|mount| PathBuf::from(mount.source));
        folder.and_then(|folder| bottom_of_path(&folder, below)).unwrap_or(Bottom::Disk)
    } else {
        Bottom::of_all(found.devices(file)?.iter().map(|node| bottom_of_device(node, below)))
    })
}

fn bottom_of_path(path: &Path, height: usize) -> Option<Bottom> {
    bottom_of_file(open_for_looking(path).ok()?.as_fd(), height).ok()
}

/// The name of the file system, if overwriting this file writes to other blocks (copy on write): the file's own file
/// system, or the one to which its overlay passes stores.
pub(super) fn copies_on_write(file: BorrowedFd<'_>) -> Result<Option<&'static str>> {
    copies_below(file, HEIGHT)
}

fn copies_below(file: BorrowedFd<'_>, height: usize) -> Result<Option<&'static str>> {
    let found = FileSystem::of(file)?;
    if height == 0 || !found.is_overlay() {
        return Ok(found.copies_on_write());
    }
    let upper = Mount::of(file)?.and_then(|mount| upper_folder(&mount, found));
    match upper.and_then(|upper| open_for_looking(&upper).ok()) {
        Some(upper) => copies_below(upper.as_fd(), height - 1),
        None => Ok(None),
    }
}

/// Opens a folder or a file to be examined only.
pub(super) fn open_for_looking(path: &Path) -> io::Result<File> {
    opening::file(|| OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path))
}

/// The folder that an overlay writes to, if this process sees it. The mount names it as the process that mounted the
/// overlay saw it, and that process may see other folders than this one. The right folder has the size that the
/// overlay reports.
fn upper_folder(mount: &Mount, found: FileSystem) -> Option<PathBuf> {
    let upper = PathBuf::from(mount.value("upperdir")?);
    let seen = upper.is_absolute() && FileSystem::at(&upper).is_ok_and(|upper| upper.same_size(found));
    seen.then_some(upper)
}

/// Overlayfs writes to its upper folder. Mounted `volatile`, it syncs nothing.
fn bottom_of_overlay(mount: &Mount, found: FileSystem, file: BorrowedFd<'_>, height: usize) -> Bottom {
    if mount.has("volatile") || mount.value("fsync").as_deref() == Some("volatile") {
        return Bottom::Memory;
    }
    if mount.value("upperdir").is_none() {
        return Bottom::Disk;
    }
    match upper_folder(mount, found).and_then(|upper| bottom_of_path(&upper, height)) {
        Some(bottom) => bottom,
        None if lies_nowhere(file) => Bottom::Hidden,
        None => Bottom::Disk,
    }
}

/// Whether the file system below cannot say where a file lies. The file systems in memory cannot.
fn lies_nowhere(file: BorrowedFd<'_>) -> bool {
    const FS_IOC_FIEMAP: libc::c_ulong = 0xc020_660b;
    // Start 0, length 1, no flags, no room for extents.
    let mut question = [0_u64, 1, 0, 0];
    // SAFETY: an open descriptor, and the 32 bytes that this call reads and fills.
    let rc = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FIEMAP as _, question.as_mut_ptr()) };
    rc != 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EOPNOTSUPP)
}

/// A block device is memory if it is made of memory, by itself or through its parts. If only some parts are memory,
/// the others may mirror it, which cannot be told from here: then it counts as a disk.
fn bottom_of_device(node: &Node, height: usize) -> Bottom {
    if node.is_memory() {
        return Bottom::Memory;
    }
    let Some(below) = height.checked_sub(1) else { return Bottom::Disk };
    if let Some(image) = node.backing_file() {
        return bottom_of_path(&image, below).unwrap_or(Bottom::Disk);
    }
    Bottom::of_all(node.parts().iter().map(|part| bottom_of_device(part, below)))
}
