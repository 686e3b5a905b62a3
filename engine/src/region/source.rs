//! Opens, claims and classifies a source.

use super::claim::{self, Claim};
use super::growth;
use super::identity::Identity;
use super::opening;
use super::options::{RegionOptions, Source};
use super::probe::{self, Probe};
use super::{REGION_MAX, map};
use crate::error::{Error, Result};
use crate::persist;
use crate::units::{Durability, MediumKind};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a region knows about its medium.
#[derive(Debug)]
pub(super) struct Medium {
    pub path: Option<Arc<Path>>,
    pub kind: MediumKind,
    pub class: Durability,
    /// Whether the class is a guess: see [`Medium::protocol`].
    pub guessed: bool,
    pub caches_survive: bool,
    pub identity: Identity,
    /// Device and inode, whatever the identity says.
    pub file: Option<(u64, u64)>,
}

impl Medium {
    /// The class by whose rules this medium is written: what may be a disk is synced, although it is not claimed to
    /// be durable.
    pub(super) fn protocol(&self) -> Durability {
        if self.guessed { Durability::Fdatasync } else { self.class }
    }
}

/// A source that is open and claimed.
pub(super) struct Opened {
    pub medium: Medium,
    /// The class to work with.
    pub class: Durability,
    pub len: u64,
    pub bytes: Bytes,
}

/// Where the bytes are.
pub(super) enum Bytes {
    File(Claim),
    /// A device, mapped in multiples of `align`.
    Device {
        claim: Claim,
        align: u64,
    },
    Image(Vec<u8>),
}

impl Bytes {
    /// The claim, if there is one.
    pub(super) fn claim(&self) -> Option<&Claim> {
        match self {
            Self::File(claim) | Self::Device { claim, .. } => Some(claim),
            Self::Image(_) => None,
        }
    }

    /// As [`Self::claim`], by value.
    pub(super) fn into_claim(self) -> Option<Claim> {
        match self {
            Self::File(claim) | Self::Device { claim, .. } => Some(claim),
            Self::Image(_) => None,
        }
    }
}

/// Opens and claims a source, and determines its class.
pub(super) fn open(source: Source, options: &RegionOptions) -> Result<Opened> {
    let (path, probe, bytes) = match source {
        Source::File { path } => {
            let (claim, probe) = open_path(&path, options)?;
            let bytes = match probe.geometry {
                Some(geometry) => Bytes::Device { claim, align: geometry.align },
                None => Bytes::File(claim),
            };
            (Some(path), probe, bytes)
        }
        // Miri cannot map files.
        Source::Memory { bytes } if cfg!(miri) => {
            (None, Probe::memory(), Bytes::Image(vec![0; bytes as usize]))
        }
        Source::Memory { bytes } => {
            let claim =
                Claim::take(memfd(bytes)?, Path::new("memory"), options.writable(), options.wait, false)?;
            (None, Probe::memory(), Bytes::File(claim))
        }
        Source::Image(bytes) => (None, Probe::memory(), Bytes::Image(bytes)),
    };
    let class = effective(path.as_deref(), probe.class, options)?;
    let look = |claim: &Claim| {
        let looking = |error| Error::io("looking at the region's file", error);
        claim::metadata(claim.descriptor()?).map_err(looking)
    };
    let found = bytes.claim().map(look).transpose()?;
    let len = match (&bytes, probe.geometry, &found) {
        (Bytes::Image(bytes), ..) => bytes.len() as u64,
        (_, Some(geometry), _) => geometry.size.min(REGION_MAX),
        (_, None, found) => found.as_ref().map_or(0, std::fs::Metadata::len),
    };
    if path.is_some() && probe.geometry.is_none() && options.writable() && !options.private {
        growth::check_file_limit(len).map_err(|error| {
            Error::io(
                format!(
                    "opening {:?} for writing: it has {len} bytes, more than RLIMIT_FSIZE allows; raise the limit",
                    path.as_deref().unwrap_or(Path::new(""))
                ),
                error,
            )
        })?;
    }
    let identity = match (options.identity, bytes.claim(), &found) {
        (Some(identity), ..) => identity,
        (None, _, Some(found)) if probe.geometry.is_some() => Identity::of_device(found.rdev()),
        (None, Some(claim), _) => Identity::of(claim.descriptor()?)?,
        (None, None, _) => Identity::of_memory(),
    };
    // A lock belongs to one node in /dev, and a device may have several nodes.
    let writes = !(options.read_only || options.private);
    if let Some(path) =
        path.as_deref().filter(|_| probe.geometry.is_some() && map::excludes(identity, writes))
    {
        return Err(Error::InUse { path: path.into(), by: "this process".into() });
    }
    let medium = Medium {
        path: path.map(Arc::from),
        kind: probe.kind,
        class: probe.class,
        guessed: probe.guessed,
        caches_survive: probe.caches_survive,
        identity,
        file: found.map(|found| (found.dev(), found.ino())),
    };
    Ok(Opened { medium, class, len, bytes })
}

/// The class to work with: the medium's or the assumed one; an error if it is weaker than required.
fn effective(path: Option<&Path>, medium: Durability, options: &RegionOptions) -> Result<Durability> {
    // An opening that only reads is checked as well, although its own stores are private.
    let available = options.assume.unwrap_or(medium);
    match options.required {
        Some(required) if available < required => Err(Error::TooWeak {
            path: path.unwrap_or(Path::new("memory")).into(),
            required,
            available,
            hint:
                "use a stronger medium, require less, or say with `assume` that it is stronger than it looks"
                    .into(),
        }),
        _ if options.private => Ok(Durability::Volatile),
        _ => Ok(available),
    }
}

/// The default permissions of a file that is created.
const MODE: u32 = 0o644;
/// How often a file may be replaced while it is being claimed.
const REPLACED_MAX: u32 = 100;

/// Opens, claims and probes a file or device. Creates a file if asked to, unless its medium would be too weak.
fn open_path(path: &Path, options: &RegionOptions) -> Result<(Claim, Probe)> {
    let start = Instant::now();
    for _ in 0..REPLACED_MAX {
        let wait = options.wait.saturating_sub(start.elapsed());
        let (claim, found) = claim_path(path, options, wait)?;
        // The former holder of the claim may have removed or replaced the file.
        if !std::fs::metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (found.dev(), found.ino())) {
            continue;
        }
        let probe = Probe::of(path, claim.descriptor()?, &found, options)?;
        if claim.is_of_new_file() && (probe.class != Durability::Volatile || probe.guessed) {
            sync_name(path, claim.descriptor()?)?;
        }
        return Ok((claim, probe));
    }
    Err(Error::Busy { what: "the region's file", why: format!("{path:?} is replaced again and again") })
}

/// Opens and claims a file or device.
fn claim_path(path: &Path, options: &RegionOptions, wait: Duration) -> Result<(Claim, Metadata)> {
    if path.as_os_str().is_empty() {
        return Err(Error::Invalid("the path of the region is empty".into()));
    }
    match std::fs::metadata(path) {
        Ok(_) if options.create_new => return Err(exists(path)),
        Ok(found) => probe::refuse(path, &found)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound && options.create => {
            let class = probe::class_of_new_file(parent(path), options)?;
            effective(Some(path), class, options)?;
        }
        Err(error) => return Err(Error::io(format!("opening {path:?}"), error)),
    }
    let exclusive = !(options.read_only || options.private);
    let (file, created) = open_or_create(path, exclusive, options)
        .map_err(|error| Error::io(format!("opening {path:?}"), error))?;
    if options.create_new && !created {
        return Err(exists(path));
    }
    let look = |file: BorrowedFd<'_>| {
        claim::metadata(file).map_err(|error| Error::io(format!("looking at {path:?}"), error))
    };
    // Checked again: another file may have taken the path between the two calls.
    let found = look(file.as_fd())?;
    probe::refuse(path, &found)?;
    let mut claim = Claim::take(file, path, exclusive, wait, created)?;
    if !created {
        return Ok((claim, found));
    }
    // Another process may have claimed the file first and made a region of it: then the file counts as that
    // process's.
    let found = look(claim.descriptor()?)?;
    if found.len() == 0 {
        claim.made(path, &found);
    } else if options.create_new {
        return Err(exists(path));
    }
    Ok((claim, found))
}

fn exists(path: &Path) -> Error {
    let why = io::Error::from_raw_os_error(libc::EEXIST);
    Error::io(format!("creating {path:?}, which must not be there"), why)
}

/// Makes the name of an open file durable. A directory that is writable but not readable cannot be synced by itself,
/// and some file systems sync no directories: then the file system is synced.
pub(super) fn sync_name(path: &Path, file: BorrowedFd<'_>) -> Result {
    // The name may be a link to the file's own name.
    let real = std::fs::canonicalize(path);
    let synced = match opening::folder(parent(real.as_deref().unwrap_or(path))) {
        Ok(directory) => match persist::sync_directory(&directory) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => persist::sync_file_system(file),
            synced => synced,
        },
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => persist::sync_file_system(file),
        Err(error) => Err(error),
    };
    synced.map_err(|error| Error::io(format!("making the name of {path:?} durable"), error))
}

/// Opens the file; `true` if this call created it.
fn open_or_create(path: &Path, write: bool, options: &RegionOptions) -> io::Result<(File, bool)> {
    let mut how = OpenOptions::new();
    // Neither flag matters for a regular file. If the path has become something else, opening it must not block, nor
    // make it the controlling terminal.
    how.read(true).write(write).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    match opening::file(|| how.open(path)) {
        Err(error) if options.create && error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened.map(|file| (file, false)),
    }
    let mode = options.mode.unwrap_or(MODE);
    match opening::file(|| how.clone().create_new(true).mode(mode).open(path)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Ok((opening::file(|| how.open(path))?, false))
        }
        created => created.map(|file| (file, true)),
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// An anonymous file of `bytes` bytes.
fn memfd(bytes: u64) -> Result<File> {
    let make = || {
        // SAFETY: a NUL-terminated name.
        let fd = unsafe { libc::memfd_create(c"pagestone".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, and has no other owner.
        Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
    };
    let file = opening::file(make).map_err(|error| Error::io("creating a memory region", error))?;
    growth::check_file_limit(bytes)
        .and_then(|()| file.set_len(bytes))
        .map_err(|error| Error::io(format!("sizing a memory region to {bytes} bytes"), error))?;
    Ok(file)
}
