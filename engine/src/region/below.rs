//! What a file system lies on: whether anything of it is left when the power goes.
//!
//! A file system on a disk, and one that shows others' files, may lie on memory for all that. What cannot be seen from
//! here is taken to be a disk: to call a disk memory would leave its syncs out.

use super::file_system::FileSystem;
use super::mounts::Mount;
use super::opening;
use super::sysfs::Node;
use crate::error::Result;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Stacks are not higher: a loop of names, which there cannot be, would end here.
const HEIGHT: usize = 8;

/// Whether what is stored in this file is gone after a power loss, synced or not.
pub(super) fn is_memory(file: BorrowedFd<'_>) -> Result<bool> {
    file_is_memory(file, HEIGHT)
}

fn file_is_memory(file: BorrowedFd<'_>, height: usize) -> Result<bool> {
    let found = FileSystem::of(file)?;
    if found.is_memory() || height == 0 {
        return Ok(found.is_memory());
    }
    let below = height - 1;
    Ok(if found.is_overlay() {
        Mount::of(file)?.is_some_and(|mount| overlay_is_memory(&mount, found, file, below))
    } else if found.is_filter() {
        Mount::of(file)?.is_some_and(|mount| path_is_memory(Path::new(&mount.source), below).unwrap_or(false))
    } else {
        let nodes = found.devices(file)?;
        !nodes.is_empty() && nodes.iter().all(|node| device_is_memory(node, below))
    })
}

fn path_is_memory(path: &Path, height: usize) -> Option<bool> {
    file_is_memory(open_for_looking(path).ok()?.as_fd(), height).ok()
}

/// A folder, or a file that is not to be touched.
pub(super) fn open_for_looking(path: &Path) -> io::Result<File> {
    opening::file(|| OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path))
}

/// Overlayfs writes to its upper folder. Mounted `volatile`, it syncs nothing.
fn overlay_is_memory(mount: &Mount, found: FileSystem, file: BorrowedFd<'_>, height: usize) -> bool {
    if mount.has("volatile") || mount.value("fsync").as_deref() == Some("volatile") {
        return true;
    }
    let Some(upper) = mount.value("upperdir") else { return false };
    // The name is the mounter's, who may see other folders than this process: the right one passes its size on.
    let upper = Path::new(&upper);
    let seen = upper.is_absolute() && FileSystem::at(upper).is_ok_and(|upper| upper.same_size(found));
    match path_is_memory(upper, height).filter(|_| seen) {
        Some(memory) => memory,
        None => lies_nowhere(file),
    }
}

/// Whether a file that passes such questions on cannot say where it lies: the file systems that are memory cannot.
fn lies_nowhere(file: BorrowedFd<'_>) -> bool {
    const FS_IOC_FIEMAP: libc::c_ulong = 0xc020_660b;
    // From 0, one byte, no flags, no room for an answer.
    let mut question = [0_u64, 1, 0, 0];
    // SAFETY: an open descriptor, and the 32 bytes that this call reads and fills.
    let rc = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FIEMAP as _, question.as_mut_ptr()) };
    rc != 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EOPNOTSUPP)
}

/// A block device is memory if it is made of it, alone or through what it is put together of. One that is in part keeps
/// what its other parts mirror, which is not to be told from here.
fn device_is_memory(node: &Node, height: usize) -> bool {
    if node.is_memory() || height == 0 {
        return node.is_memory();
    }
    if let Some(image) = node.backing_file() {
        return path_is_memory(&image, height - 1).unwrap_or(false);
    }
    let parts = node.parts();
    !parts.is_empty() && parts.iter().all(|part| device_is_memory(part, height - 1))
}
