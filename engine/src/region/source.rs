//! What a source is: opened, claimed, and classed.

use super::claim::{self, Claim};
use super::growth;
use super::identity::Identity;
use super::options::{RegionOptions, Source};
use super::probe::{self, Probe};
use super::{REGION_MAX, map};
use crate::error::{Error, Result};
use crate::persist;
use crate::units::{Durability, MediumKind};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// What a region knows of its medium.
#[derive(Debug)]
pub(super) struct Medium {
    pub path: Option<Arc<Path>>,
    pub kind: MediumKind,
    pub class: Durability,
    pub caches_survive: bool,
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
    /// A device that is mapped in multiples of `align`.
    Device {
        claim: Claim,
        align: u64,
    },
    Image(Vec<u8>),
}

impl Backing {
    /// The claim, where there is something to claim.
    pub(super) fn claim(&self) -> Option<&Claim> {
        match self {
            Self::File(claim) | Self::Device { claim, .. } => Some(claim),
            Self::Image(_) => None,
        }
    }

    /// As [`Self::claim`], to keep.
    pub(super) fn into_claim(self) -> Option<Claim> {
        match self {
            Self::File(claim) | Self::Device { claim, .. } => Some(claim),
            Self::Image(_) => None,
        }
    }
}

/// Opens and claims a source, and names its class.
pub(super) fn open(source: Source, options: &RegionOptions) -> Result<Opened> {
    let (path, probe, backing) = match source {
        Source::File { path } => {
            let (claim, probe) = open_path(&path, options)?;
            let backing = match probe.geometry {
                Some(geometry) => Backing::Device { claim, align: geometry.align },
                None => Backing::File(claim),
            };
            (Some(path), probe, backing)
        }
        // Miri maps no files.
        Source::Memory { bytes } if cfg!(miri) => {
            (None, Probe::memory(), Backing::Image(vec![0; bytes as usize]))
        }
        Source::Memory { bytes } => {
            let claim = Claim::take(memfd(bytes)?, Path::new("memory"), options.writable())?;
            (None, Probe::memory(), Backing::File(claim))
        }
        Source::Image(bytes) => (None, Probe::memory(), Backing::Image(bytes)),
    };
    let class = effective(path.as_deref(), probe.class, options)?;
    let look = |claim: &Claim| {
        let looking = |error| Error::io("looking at the region's file", error);
        claim::metadata(claim.descriptor()?).map_err(looking)
    };
    let found = backing.claim().map(look).transpose()?;
    let len = match (&backing, probe.geometry, &found) {
        (Backing::Image(bytes), ..) => bytes.len() as u64,
        (_, Some(geometry), _) => geometry.size.min(REGION_MAX),
        (_, None, found) => found.as_ref().map_or(0, std::fs::Metadata::len),
    };
    if path.is_some() && probe.geometry.is_none() && options.writable() && !options.private {
        growth::check_file_limit(len).map_err(|error| {
            Error::io(
                format!("opening {path:?} of {len} bytes to write, with a lower RLIMIT_FSIZE: raise it"),
                error,
            )
        })?;
    }
    let identity = match (options.identity, backing.claim(), &found) {
        (Some(identity), ..) => identity,
        (None, _, Some(found)) if probe.geometry.is_some() => Identity::of_device(found.rdev()),
        (None, Some(claim), _) => Identity::of(claim.descriptor()?)?,
        (None, None, _) => Identity::of_memory(),
    };
    // Locks are of a name in /dev, and a device may have several.
    let writes = !(options.read_only || options.private);
    if let Some(path) =
        path.as_deref().filter(|_| probe.geometry.is_some() && map::excludes(identity, writes))
    {
        return Err(Error::Claimed { path: path.into(), by: "this process".into() });
    }
    let medium = Medium {
        path: path.map(Arc::from),
        kind: probe.kind,
        class: probe.class,
        caches_survive: probe.caches_survive,
        identity,
        file: found.map(|found| (found.dev(), found.ino())),
    };
    Ok(Opened { medium, class, len, backing })
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

/// Opens, claims and probes a file or device; creates a file where asked to, unless it would be too weak.
fn open_path(path: &Path, options: &RegionOptions) -> Result<(Claim, Probe)> {
    if path.as_os_str().is_empty() {
        return Err(Error::Invalid("the path of the region is empty".into()));
    }
    match std::fs::metadata(path) {
        Ok(found) => probe::refuse(path, &found)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound && options.create => {
            let class = probe::class_of_new_file(parent(path), options)?;
            effective(Some(path), class, options)?;
        }
        Err(error) => return Err(Error::io(format!("opening {path:?}"), error)),
    }
    let exclusive = !(options.read_only || options.private);
    let (file, created) = open_or_create(path, exclusive, options.create)
        .map_err(|error| Error::io(format!("opening {path:?}"), error))?;
    // Looked at again: the path may have changed hands between the two calls.
    let found = file.metadata().map_err(|error| Error::io(format!("looking at {path:?}"), error))?;
    probe::refuse(path, &found)?;
    let claim = Claim::take(file, path, exclusive)?;
    let probe = Probe::of(path, claim.descriptor()?, &found, options)?;
    if created && probe.class != Durability::Volatile {
        persist::sync_directory(parent(path))
            .map_err(|error| Error::io(format!("making the name of {path:?} durable"), error))?;
    }
    Ok((claim, probe))
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

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
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
