//! The error type: what happened, where, and what to do next.

use crate::units::{Durability, Pfn};
use std::io;
use std::path::PathBuf;

/// The result of a fallible call.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// Why a call failed. The call has changed nothing, unless the variant says otherwise.
///
/// The message says what happened, where, and what to do. Programs match the variant:
///
/// ```
/// use pagestone::{Error, Store};
///
/// # fn main() -> pagestone::Result {
/// let store = Store::options().open_memory(1 << 20)?;
/// match store.open("nobody") {
///     Err(Error::NotFound { .. }) => {}
///     other => panic!("{other:?}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system returned an error.
    #[error("{what}: {source}")]
    Io {
        /// The operation.
        what: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file is not a region.
    #[error("{path:?} is not a Pagestone region: {hint}")]
    NotARegion {
        /// The file.
        path: PathBuf,
        /// What it seems to be, and what to do.
        hint: String,
    },
    /// The region was written by a release that this one cannot read.
    #[error(
        "the region has format version {found}, this release reads up to {supported}: open it with a newer release"
    )]
    Version {
        /// The version on the medium.
        found: u32,
        /// The newest version that this release knows.
        supported: u32,
    },
    /// The region uses features that this release does not know.
    #[error(
        "the region uses features {bits:#x} that this release does not know: open it with a newer release"
    )]
    Features {
        /// The unknown bits.
        bits: u64,
    },
    /// The file is shorter than the region.
    #[error("the region needs {expected} bytes and the file has {found}: it was cut; restore it from a copy")]
    Truncated {
        /// Size of the region in bytes.
        expected: u64,
        /// Size of the file in bytes.
        found: u64,
    },
    /// A structure on the medium contradicts itself.
    #[error("corrupt {what} at byte {at:#x}: {why}; run `pagestone check`")]
    Corrupt {
        /// The structure.
        what: &'static str,
        /// Its byte offset in the region.
        at: u64,
        /// The contradiction.
        why: String,
    },
    /// The region is already open, in another process or in this one.
    #[error("{path:?} is in use by {by}: close it there first")]
    InUse {
        /// The region.
        path: PathBuf,
        /// The owner, as far as it is known.
        by: String,
    },
    /// The medium does not have the required durability.
    #[error("{path:?}: durability {required} is required, the medium offers {available}: {hint}")]
    TooWeak {
        /// The region.
        path: PathBuf,
        /// The required class.
        required: Durability,
        /// The class of the medium.
        available: Durability,
        /// What to do.
        hint: String,
    },
    /// No frame is free and the region cannot grow. Nothing was allocated. A write may have stored bytes to pages that were
    /// there before.
    #[error("no space: {why}; delete something or enlarge the medium")]
    NoSpace {
        /// Whether the region or the disk is full.
        why: String,
    },
    /// The process has too few addresses for a region of this size, or for so many regions. The medium may have room.
    #[error("no addresses: {why}")]
    NoAddresses {
        /// What needed the addresses, and what to do.
        why: String,
    },
    /// A view would have more pieces than may be added: its pages lie in too many runs of frames.
    #[error(
        "the view would have {pieces} pieces, and {left} of the {limit} that all views of a process may have are left: view a \
         smaller range, drop other views, or raise vm.max_map_count"
    )]
    Scattered {
        /// The pieces that it would have.
        pieces: usize,
        /// The pieces that are left to views.
        left: usize,
        /// The pieces that all views of the process may have.
        limit: usize,
    },
    /// No object has this name.
    #[error("no object is named {name:?}")]
    NotFound {
        /// The name.
        name: String,
    },
    /// An object already has this name.
    #[error("an object named {name:?} exists already")]
    Exists {
        /// The name.
        name: String,
    },
    /// A name has 1 to 255 bytes and no NUL.
    #[error("bad object name of {len} bytes: names are 1 to 255 bytes without NUL")]
    BadName {
        /// Its length.
        len: usize,
    },
    /// As many names as one place of the directory takes have the hash of this one. That does not happen by chance: such names
    /// can be made only with the key of the hash, which is in the region's file.
    #[error("{names} names have the place of {name:?} in the directory, as many as fit: choose another name")]
    NameCollision {
        /// The name.
        name: String,
        /// How many there are.
        names: usize,
    },
    /// An argument is out of its range.
    #[error("{what} is out of range: {value:#x}, the limit is {limit:#x}")]
    OutOfRange {
        /// The argument.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The largest allowed value.
        limit: u64,
    },
    /// An option or argument is invalid.
    #[error("{0}")]
    Invalid(String),
    /// The frame has the maximum number of pins.
    #[error("frame {pfn} has {pins} pins, the most that can be counted: release some")]
    TooManyPins {
        /// The frame.
        pfn: Pfn,
        /// The limit.
        pins: u32,
    },
    /// The page has as many readers as can be counted.
    #[error(
        "frame {pfn} has {readers} readers, the most that can be counted: drop a guard, or copy the bytes"
    )]
    TooManyReaders {
        /// The frame.
        pfn: Pfn,
        /// The limit.
        readers: u32,
    },
    /// The call would wait for the thread that makes it.
    #[error("this thread holds {what} and would wait for itself: drop that first")]
    WaitsForItself {
        /// What it holds.
        what: String,
    },
    /// The frame admits no new pin for now.
    #[error("frame {pfn} is held (being detached or moved): try again")]
    Held {
        /// The frame.
        pfn: Pfn,
    },
    /// The page was cut off from its object; the write would have been lost.
    #[error("frame {pfn} no longer belongs to an object: pin the page again")]
    Detached {
        /// The frame.
        pfn: Pfn,
    },
    /// Something is still in use.
    #[error("{what} is still in use: {why}")]
    Busy {
        /// What.
        what: &'static str,
        /// What uses it, and what to do.
        why: String,
    },
    /// The allowed time has passed.
    #[error("timed out waiting for {what}")]
    TimedOut {
        /// What the call waited for.
        what: String,
    },
    /// The address belongs to no region.
    #[error("address {address:#x} lies in no attached region")]
    ForeignAddress {
        /// The address.
        address: u64,
    },
    /// A commit failed. Nothing more is written until the region is opened again.
    #[error("the region is poisoned by an earlier failure ({why}): close it and open it again")]
    Poisoned {
        /// The first failure.
        why: String,
    },
    /// The frame's bytes cannot be read.
    #[error("frame {pfn} is poisoned: its medium failed")]
    PoisonedFrame {
        /// The frame.
        pfn: Pfn,
    },
    /// The store was opened by a parent process.
    #[error(
        "this store was opened before a fork: open the region again in the child, after the parent closed it"
    )]
    Forked,
    /// The region was opened for reading.
    #[error("the region is open read-only")]
    ReadOnly,
    /// The handle's store has been closed.
    #[error("the store is closed")]
    Closed,
    /// The engine found its own state inconsistent: a defect in it.
    #[error("a defect in pagestone: {what}; please report it")]
    Internal {
        /// The violated invariant.
        what: String,
    },
}

impl Error {
    /// Whether the store cannot be used any more: a retry fails, and so does every call that needs more than memory.
    /// Close the store and open the region again.
    ///
    /// ```
    /// # use pagestone::Object;
    /// /// Keeps a line, if that can be.
    /// fn keep(log: &Object, line: &[u8]) -> pagestone::Result {
    ///     match log.append(line) {
    ///         Err(error) if error.is_fatal() => return Err(error),
    ///         Err(error) => eprintln!("not kept: {error}"),
    ///         Ok(_) => {}
    ///     }
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::Poisoned { .. }
                | Self::Truncated { .. }
                | Self::Forked
                | Self::Closed
                | Self::Internal { .. }
        )
    }
    /// A broken invariant of the engine.
    #[cold]
    pub(crate) fn internal(what: impl Into<String>) -> Self {
        Self::Internal { what: what.into() }
    }
    /// An operating-system error with the operation that failed.
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }
    /// Whether there was no room, on the medium or in this process's addresses.
    #[must_use]
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::NoSpace { .. } | Self::NoAddresses { .. })
    }
    /// The calling thread's last operating-system error, with the operation that failed.
    pub(crate) fn os(what: impl Into<String>) -> Self {
        Self::io(what, io::Error::last_os_error())
    }
    /// A contradiction on the medium.
    pub(crate) fn corrupt(what: &'static str, at: u64, why: impl Into<String>) -> Self {
        Self::Corrupt { what, at, why: why.into() }
    }
}

impl From<Error> for io::Error {
    /// For interfaces that use file errors. The kind is what a file would return, and the text is that of this error.
    fn from(error: Error) -> Self {
        use io::ErrorKind as Kind;
        let kind = match &error {
            Error::Io { source, .. } => source.kind(),
            Error::NotFound { .. } => Kind::NotFound,
            Error::Exists { .. } => Kind::AlreadyExists,
            Error::NoSpace { .. } => Kind::StorageFull,
            Error::NoAddresses { .. } => Kind::OutOfMemory,
            Error::ReadOnly => Kind::ReadOnlyFilesystem,
            Error::TimedOut { .. } => Kind::TimedOut,
            Error::InUse { .. } | Error::Busy { .. } | Error::TooManyReaders { .. } => Kind::ResourceBusy,
            Error::WaitsForItself { .. } => Kind::Deadlock,
            Error::OutOfRange { .. }
            | Error::BadName { .. }
            | Error::NameCollision { .. }
            | Error::Invalid(_) => Kind::InvalidInput,
            Error::NotARegion { .. } | Error::Corrupt { .. } | Error::Truncated { .. } => Kind::InvalidData,
            _ => Kind::Other,
        };
        Self::new(kind, error)
    }
}
