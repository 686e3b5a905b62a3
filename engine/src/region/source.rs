//! What a source is: opened, claimed, and classed.

use super::claim::{self, Claim};
use super::growth;
use super::identity::Identity;
use super::options::{RegionOptions, Source};
use crate::error::{Error, Result};
use crate::persist;
use crate::units::Durability;
use std::ffi::CString;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// What a region knows of its medium.
#[derive(Debug)]
pub(super) struct Medium {
    pub path: Option<Arc<Path>>,
    pub class: Durability,
    pub identity: Identity,
    /// Device and inode, whatever the identity says.
    pub file: Option<(u64, u64)>,
}

/// A source that is open and ours.
pub(super) struct Opened {
    pub medium: Medium,
    /// The class to work with.
    pub class: Durability,
    pub len: u64,
    pub backing: Backing,
}

/// Where the bytes are.
pub(super) enum Backing {
    File(Claim),
    Image(Vec<u8>),
}

/// Opens and claims a source, and names its class.
pub(super) fn open(source: Source, options: &RegionOptions) -> Result<Opened> {
    let (path, class, backing) = match source {
        Source::File { path } => {
            let (claim, class) = open_file(&path, options)?;
            (Some(path), class, Backing::File(claim))
        }
        Source::Memory { bytes } => {
            let claim = Claim::take(memfd(bytes)?, Path::new("memory"), options.writable())?;
            (None, Durability::Volatile, Backing::File(claim))
        }
        Source::Image(bytes) => (None, Durability::Volatile, Backing::Image(bytes)),
    };
    let (len, file) = match &backing {
        Backing::File(claim) => {
            let looking = |error| Error::io("looking at the region's file", error);
            let found = claim::metadata(claim.descriptor()?).map_err(looking)?;
            (found.len(), Some((found.dev(), found.ino())))
        }
        Backing::Image(bytes) => (bytes.len() as u64, None),
    };
    if path.is_some() && options.writable() && !options.private {
        growth::check_file_limit(len).map_err(|error| {
            Error::io(
                format!("opening {path:?} of {len} bytes to write, with a lower RLIMIT_FSIZE: raise it"),
                error,
            )
        })?;
    }
    let effective = effective(path.as_deref(), class, options)?;
    let identity = match (options.identity, &backing) {
        (Some(identity), _) => identity,
        (None, Backing::File(claim)) => Identity::of(claim.descriptor()?)?,
        (None, Backing::Image(_)) => Identity::of_memory(),
    };
    let medium = Medium { path: path.map(Arc::from), class, identity, file };
    Ok(Opened { medium, class: effective, len, backing })
}

/// The class to work with: the medium's or the assumed one; an error if it is weaker than required.
fn effective(path: Option<&Path>, medium: Durability, options: &RegionOptions) -> Result<Durability> {
    let class = if options.private { Durability::Volatile } else { options.assume.unwrap_or(medium) };
    match options.required {
        Some(required) if class < required => Err(Error::TooWeak {
            path: path.unwrap_or(Path::new("memory")).into(),
            required,
            available: class,
            hint:
                "use a stronger medium, require less, or say with `assume` that it is stronger than it looks"
                    .into(),
        }),
        _ => Ok(class),
    }
}

/// Opens, claims and classes a file; creates it where asked to, unless it would be too weak.
fn open_file(path: &Path, options: &RegionOptions) -> Result<(Claim, Durability)> {
    if path.as_os_str().is_empty() {
        return Err(Error::Invalid("the path of the region is empty".into()));
    }
    match std::fs::metadata(path) {
        Ok(found) => regular(path, &found)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound && options.create => {
            let class = class_of(parent(path), options)?;
            effective(Some(path), class, options)?;
        }
        Err(error) => return Err(Error::io(format!("opening {path:?}"), error)),
    }
    let exclusive = !(options.read_only || options.private);
    let (file, created) = open_or_create(path, exclusive, options.create)
        .map_err(|error| Error::io(format!("opening {path:?}"), error))?;
    // Looked at again: the path may have changed hands between the two calls.
    regular(path, &file.metadata().map_err(|error| Error::io(format!("looking at {path:?}"), error))?)?;
    let claim = Claim::take(file, path, exclusive)?;
    let class = class_of(path, options)?;
    if created && class != Durability::Volatile {
        persist::sync_directory(parent(path))
            .map_err(|error| Error::io(format!("making the name of {path:?} durable"), error))?;
    }
    Ok((claim, class))
}

/// Opens the file; `true` if it did not exist.
fn open_or_create(path: &Path, write: bool, create: bool) -> io::Result<(File, bool)> {
    let mut how = OpenOptions::new();
    // Neither flag matters to a regular file; whatever else the path has become must not block or be adopted.
    how.read(true).write(write).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    match how.open(path) {
        Err(error) if create && error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened.map(|file| (file, false)),
    }
    match how.clone().create_new(true).mode(0o644).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok((how.open(path)?, false)),
        created => created.map(|file| (file, true)),
    }
}

/// Refuses what is not a regular file.
fn regular(path: &Path, found: &Metadata) -> Result {
    let kind = found.file_type();
    let hint = if kind.is_file() {
        return Ok(());
    } else if kind.is_dir() {
        "it is a directory; name a file in it"
    } else if kind.is_block_device() || kind.is_char_device() {
        "it is a device; this release takes ordinary files only, devices (devdax, block) come with a later one"
    } else {
        "it is a pipe or socket; name an ordinary file"
    };
    Err(Error::NotARegion { path: path.into(), hint: hint.into() })
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// File systems that keep nothing over a reboot.
const VOLATILE: [i64; 3] =
    [0x0102_1994 /* tmpfs */, 0x8584_58f6 /* ramfs */, 0x9584_58f6 /* hugetlbfs */];
/// File systems that write elsewhere when overwritten.
const COPY_ON_WRITE: [(i64, &str); 3] =
    [(0x9123_683e, "btrfs"), (0xca45_1a4e, "bcachefs"), (0x2fc1_2fc1, "zfs")];

/// The class of the file system at `path`, by its type. What overlayfs lies on cannot be told: it is allowed.
fn class_of(path: &Path, options: &RegionOptions) -> Result<Durability> {
    let looking = || format!("looking at the file system of {path:?}");
    let name = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::Invalid("the path of the region contains a NUL".into()))?;
    let mut answer = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: a NUL-terminated path, and room for the answer.
    if unsafe { libc::statfs(name.as_ptr(), answer.as_mut_ptr()) } != 0 {
        return Err(Error::os(looking()));
    }
    // SAFETY: the call succeeded, so it filled the answer in.
    let kind = unsafe { answer.assume_init() }.f_type & 0xffff_ffff;
    match COPY_ON_WRITE.iter().find(|(magic, _)| *magic == kind) {
        Some((_, name)) if !options.copy_on_write && !options.private && !options.read_only => {
            Err(Error::Invalid(format!(
                "{path:?} lies on {name}, which writes elsewhere when overwritten: a full disk would kill the process \
             (SIGBUS); use a file system that overwrites in place, or allow it with `copy_on_write`"
            )))
        }
        _ if VOLATILE.contains(&kind) => Ok(Durability::Volatile),
        _ => Ok(Durability::Fdatasync),
    }
}

/// An anonymous file of `bytes` bytes.
fn memfd(bytes: u64) -> Result<File> {
    // SAFETY: a NUL-terminated name.
    let fd = unsafe { libc::memfd_create(c"pagestone".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(Error::os("creating a memory region"));
    }
    // SAFETY: the descriptor is new and nobody else's.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    file.set_len(bytes)
        .map_err(|error| Error::io(format!("sizing a memory region to {bytes} bytes"), error))?;
    Ok(file)
}
