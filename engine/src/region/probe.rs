//! What a path names: a medium for a region, and its class; or something else.

use super::below::{self, Bottom};
use super::file_system::look;
use super::opening;
use super::options::RegionOptions;
use super::sysfs::{Geometry, Node};
use crate::error::{Error, Result};
use crate::persist::FlushInstruction;
use crate::units::{Durability, FRAME_SIZE, MediumKind};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The flags of a mapping whose stores need only flush and fence, or nothing.
pub(super) const SYNCHRONOUS: libc::c_int = libc::MAP_SHARED_VALIDATE | libc::MAP_SYNC;

/// What was found at a path.
#[derive(Debug)]
pub(super) struct Probe {
    pub kind: MediumKind,
    /// How durable the medium itself is.
    pub class: Durability,
    /// Whether the class is a guess: a medium that cannot be seen may keep what is synced.
    pub guessed: bool,
    /// Whether the processor caches survive a power loss.
    pub caches_survive: bool,
    /// For a device: its length and alignment.
    pub geometry: Option<Geometry>,
}

impl Probe {
    /// Memory of this process.
    pub(super) fn memory() -> Self {
        let (kind, class) = (MediumKind::Memory, Durability::Volatile);
        Self { kind, class, guessed: false, caches_survive: false, geometry: None }
    }

    /// Examines an open file or device at `path`, which `refuse` has accepted.
    pub(super) fn of(
        path: &Path,
        file: BorrowedFd<'_>,
        found: &Metadata,
        options: &RegionOptions,
    ) -> Result<Self> {
        if found.file_type().is_char_device() {
            return Self::of_device(path, found);
        }
        let bottom = bottom_of_file_system(path, file, options)?;
        let (class, guessed) = (bottom.class(), bottom == Bottom::Hidden);
        if class == Durability::Volatile {
            let kind = MediumKind::File;
            return Ok(Self { kind, class, guessed, caches_survive: false, geometry: None });
        }
        let synchronous = maps_synchronously(file)?;
        let kind =
            if synchronous || has_dax_attribute(file) { MediumKind::DaxFile } else { MediumKind::File };
        let caches_survive =
            synchronous && Node::of_block(found.dev()).is_some_and(|node| node.caches_survive());
        let class = if synchronous && can_flush(caches_survive) { Durability::CacheLine } else { class };
        Ok(Self { kind, class, guessed, caches_survive, geometry: None })
    }

    fn of_device(path: &Path, found: &Metadata) -> Result<Self> {
        let node = Node::of_character(found.rdev()).ok_or_else(|| unfit(path, DEVICE))?;
        let (geometry, caches_survive) = (node.geometry()?, node.caches_survive());
        if !can_flush(caches_survive) {
            return Err(Error::Invalid(format!(
                "{path:?}: this release cannot flush the caches of this processor, and devdax has no other way \
                 to make stores durable: put a file system on the memory"
            )));
        }
        let (kind, class) = (MediumKind::DevDax, Durability::CacheLine);
        Ok(Self { kind, class, guessed: false, caches_survive, geometry: Some(geometry) })
    }
}

/// The class of a file that is to be created in `directory`.
pub(super) fn class_of_new_file(directory: &Path, options: &RegionOptions) -> Result<Durability> {
    let looking = |error| Error::io(format!("looking at the folder {directory:?}"), error);
    let folder = below::open_for_looking(directory).map_err(looking)?;
    let class = bottom_of_file_system(directory, folder.as_fd(), options)?.class();
    if class == Durability::Volatile || options.required != Some(Durability::CacheLine) {
        return Ok(class);
    }
    // Only a file can show it: one without a name, which goes with its descriptor. Every file system with DAX
    // supports those.
    let nameless = opening::file(|| {
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE).open(directory)
    });
    match nameless.and_then(|file: File| file.metadata().map(|found| (file, found))) {
        Ok((file, found)) => Probe::of(directory, file.as_fd(), &found, options).map(|probe| probe.class),
        Err(_) => Ok(class),
    }
}

const DEVICE: &str = "it is a device, and not persistent memory (devdax); name a file or a devdax device";

/// Refuses whatever no region can lie on, before it is opened: opening a device may already have effects.
pub(super) fn refuse(path: &Path, found: &Metadata) -> Result {
    let kind = found.file_type();
    let hint = if kind.is_file() {
        return Ok(());
    } else if kind.is_char_device() {
        match Node::of_character(found.rdev()) {
            Some(node) if node.is_devdax() => return Ok(()),
            _ => DEVICE,
        }
    } else if kind.is_dir() {
        "it is a directory; name a file in it"
    } else if kind.is_block_device() {
        "it is a block device; make a file system on it and name a file there (of persistent memory: mounted with \
         `dax`, or make it a devdax device with `ndctl create-namespace -m devdax`)"
    } else {
        "it is a pipe or socket; name an ordinary file"
    };
    Err(unfit(path, hint))
}

fn unfit(path: &Path, hint: &str) -> Error {
    Error::NotARegion { path: path.into(), hint: hint.into() }
}

/// Whether this processor can make single stores durable. If not, only the kernel's file sync can.
fn can_flush(caches_survive: bool) -> bool {
    caches_survive || FlushInstruction::detect() != FlushInstruction::Nothing
}

/// Whether the kernel guarantees that the blocks of a mapping belong to the file durably before they can be stored
/// to.
fn maps_synchronously(file: BorrowedFd<'_>) -> Result<bool> {
    // SAFETY: a new mapping at an address of the kernel's choice. It is never touched, so the file may be empty.
    let at = unsafe {
        libc::mmap(std::ptr::null_mut(), FRAME_SIZE, libc::PROT_READ, SYNCHRONOUS, file.as_raw_fd(), 0)
    };
    if at != libc::MAP_FAILED {
        // SAFETY: the mapping made above, which no other thread knows.
        unsafe { libc::munmap(at, FRAME_SIZE) };
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // EINVAL: kernels before 4.15, and valgrind, do not support such mappings.
        Some(libc::EOPNOTSUPP | libc::EINVAL | libc::ENODEV) => Ok(false),
        _ => Err(Error::io("asking whether the region's file can be mapped synchronously", error)),
    }
}

/// Whether the file is mapped without a page cache, synchronously or not.
fn has_dax_attribute(file: BorrowedFd<'_>) -> bool {
    look(file, 0).is_ok_and(|found| found.stx_attributes & libc::STATX_ATTR_DAX as u64 != 0)
}

/// What the file system of an open file or folder at `path` lies on. A file system that copies on write is refused,
/// unless it is allowed.
fn bottom_of_file_system(path: &Path, file: BorrowedFd<'_>, options: &RegionOptions) -> Result<Bottom> {
    match below::copies_on_write(file)? {
        Some(name) if !options.copy_on_write && !options.private && !options.read_only => {
            Err(Error::Invalid(format!(
                "{path:?} lies on {name}, which copies on write: a full disk would kill the process \
             (SIGBUS); use a file system that overwrites in place, or allow it with `copy_on_write`"
            )))
        }
        _ => below::bottom(file),
    }
}
