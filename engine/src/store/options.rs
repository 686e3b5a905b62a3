//! Options for opening a store.

use super::Store;
use crate::engine::{Engine, let_go};
use crate::error::{Error, Result};
use crate::media::layout::{LEAST_BYTES, LOG_FRAMES_DEFAULT, LOG_FRAMES_SMALL, SMALL_REGION, initial_bytes};
use crate::media::lease::Lease;
use crate::media::rules::Rules;
use crate::media::{Ledger, format};
use crate::page::Pages;
use crate::persist::Recorder;
use crate::region::{Identity, Region, RegionOptions, Source};
use crate::units::{Durability, FRAME_SIZE, REGION_FRAMES_MAX};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Options for opening a store, made by [`Store::options`].
///
/// ```
/// use pagestone::{Durability, Error, Store};
///
/// let refused = Store::options().require(Durability::CacheLine).open_memory(1 << 20);
/// assert!(matches!(refused, Err(Error::TooWeak { .. })));
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Options {
    pub(super) region: RegionOptions,
    log_frames: Option<u32>,
    overwrite: bool,
    pub(super) rules: Rules,
}

impl Options {
    /// Options to open an existing store for reading and writing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates the store if the file is missing, empty, or was never completely formatted.
    pub fn create(mut self, yes: bool) -> Self {
        self.region.create = yes;
        self
    }

    /// With [`create`](Self::create): fails if the file exists. If the opening fails later, the new file is removed.
    pub fn create_new(mut self, yes: bool) -> Self {
        self.region.create_new = yes;
        self
    }

    /// The permissions of a new file, such as `0o600`, before the process's umask is applied. The default is `0o644`.
    pub fn mode(mut self, rights: u32) -> Self {
        self.region.mode = Some(rights);
        self
    }

    /// How long the opening waits while another process, or this one, has the store open. By default it waits only
    /// for an owner that was killed and has not gone yet, and for a moment for a reader.
    pub fn wait(mut self, time: Duration) -> Self {
        self.region.wait = time;
        self
    }

    /// With [`create`](Self::create): creates a new store on a device (devdax), whatever the device holds. An
    /// existing store is lost. Without this, a device that holds anything is refused; to find out, the opening reads
    /// it to its end.
    pub fn overwrite(mut self, yes: bool) -> Self {
        self.overwrite = yes;
        self
    }

    /// Opens read-only: nothing is written to the medium, and other readers are allowed. The log that a crash left is
    /// replayed in memory. (There is one exception: if a disk refused the bytes of a dead owner, the region is marked
    /// as failed, because the kernel reports this only once.)
    pub fn read_only(mut self, yes: bool) -> Self {
        // Private, so that the replay of an unclean region stays in this process.
        (self.region.read_only, self.region.private) = (yes, yes);
        self
    }

    /// The region never grows beyond this size, and reserves as many addresses. By default a region reserves 1/1024
    /// of the addresses that the process has left, and at least 1 GiB. A region that outgrows its addresses returns
    /// `NoAddresses`, and its next opening reserves more.
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.region.max_bytes = Some(bytes);
        self
    }

    /// Fails with `TooWeak` if the medium does not have this durability.
    pub fn require(mut self, class: Durability) -> Self {
        self.region.required = Some(class);
        self
    }

    /// Treats the medium as this class, whatever it is. [`Info`](super::Info) reports it as assumed.
    pub fn assume(mut self, class: Durability) -> Self {
        self.region.assume = Some(class);
        self
    }

    /// Recovers as after a loss of power, whatever the region says about its last owner. Use it for a file whose
    /// bytes were replaced by older ones without a new inode (`cp backup region`). Without it the bytes would be
    /// taken for those of a process that died. If the opening may write, the result is permanent.
    pub fn assume_power_loss(mut self, yes: bool) -> Self {
        self.region.assume_power_loss = yes;
        self
    }

    /// Allows copy-on-write storage. There a full disk can end the process with `SIGBUS` although space was
    /// allocated.
    pub fn copy_on_write(mut self, yes: bool) -> Self {
        self.region.copy_on_write = yes;
        self
    }

    /// Frames of the redo log of a new store, 4 to 16,384: by default 256 (1 MiB), and 64 in memory or where the region
    /// may have at most 16 MiB. A larger log is moved on less often where no call asks for durability.
    pub fn log_frames(mut self, frames: u32) -> Self {
        self.log_frames = Some(frames);
        self
    }

    /// Records everything that is written to the medium (for tests).
    #[cfg(any(test, feature = "internals"))]
    #[doc(hidden)]
    pub fn recorder(mut self, recorder: Arc<Recorder>) -> Self {
        self.region.recorder = Some(recorder);
        self
    }

    /// Replaces the identity of file and boot (for tests).
    #[cfg(any(test, feature = "internals"))]
    #[doc(hidden)]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.region.identity = Some(identity);
        self
    }

    /// Breaks rules of the medium's protocol (for tests).
    #[cfg(any(test, feature = "internals"))]
    #[doc(hidden)]
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// Opens the store in a file, or on a devdax device.
    ///
    /// # Durability
    /// A new store, and a recovery after a crash, are durable on return. A clean store is not written to before its
    /// first change.
    ///
    /// # Errors
    /// `InUse` if another process, or this one, has it open; `NotARegion`, `Version`, `Features`, `Truncated`,
    /// `Corrupt`, `TooWeak`, `Io`.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Store> {
        let source = Source::File { path: path.as_ref().to_path_buf() };
        self.attach(source, self.region.create)
    }

    /// Creates a store in memory with an initial size of `bytes` bytes. It ends with its last handle and pin.
    ///
    /// # Errors
    /// `Invalid` for too few bytes, `OutOfRange` for more than a region can have; `NoSpace`, `NoAddresses`.
    pub fn open_memory(&self, bytes: u64) -> Result<Store> {
        let mut options = self.clone();
        (options.region.create, options.region.create_new) = (false, false);
        (options.region.read_only, options.region.private) = (false, false);
        let bytes = memory_bytes(bytes, options.log_frames.unwrap_or(LOG_FRAMES_SMALL))?;
        options.attach(Source::Memory { bytes }, true)
    }

    /// Opens a store with these bytes, in private memory (for crash states and damaged regions).
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[cfg(any(test, feature = "internals"))]
    #[doc(hidden)]
    pub fn open_image(&self, image: Vec<u8>) -> Result<Store> {
        let mut options = self.clone();
        (options.region.create, options.region.create_new) = (false, false);
        options.attach(Source::Image(image), self.region.create)
    }

    fn attach(&self, source: Source, create: bool) -> Result<Store> {
        if let Some(frames) = self.log_frames.filter(|_| create) {
            // Checked before a file is created.
            format::check_log_frames(frames)?;
        }
        // New memory may have any length and is empty.
        let fresh = matches!(source, Source::Memory { .. });
        let region = Region::attach(source, &self.region)?;
        let opened = self.open_region(&region, create, fresh);
        if opened.is_err() {
            region.keep_file(false);
            // No caller can have a pin of it.
            let _ = let_go(region);
        }
        opened
    }

    fn open_region(&self, region: &Arc<Region>, create: bool, fresh: bool) -> Result<Store> {
        Lease::refuse_living_owner(region)?;
        let small = region.path().is_none() || region.max_bytes() <= SMALL_REGION;
        let log_frames = self.log_frames.unwrap_or(if small { LOG_FRAMES_SMALL } else { LOG_FRAMES_DEFAULT });
        if create && self.overwrite {
            format::format_over(region, log_frames)?;
        } else if create && !region.read_only() && !format::is_formatted(region)? {
            if !fresh {
                refuse_foreign(region, log_frames)?;
                region.sync_name()?;
            }
            format::format(region, log_frames)?;
        }
        let (log, _) = format::open(Arc::clone(region), self.rules)?;
        if region.is_fixed() && !region.read_only() {
            // Now, not with the first change, because a process that opens the device by another name finds only the
            // lease.
            log.take_lease()?;
        }
        let log = Arc::new(log);
        let ledger = Ledger::new(Arc::clone(&log))?;
        let pages = Pages::new(Arc::clone(region))?;
        Ok(Store { engine: Engine::new(pages, log, ledger, self.rules)?, names: Arc::default() })
    }
}

/// The initial size of a store in memory, in whole frames.
fn memory_bytes(bytes: u64, log_frames: u32) -> Result<u64> {
    let limit = REGION_FRAMES_MAX * FRAME_SIZE as u64;
    if bytes > limit {
        return Err(Error::OutOfRange { what: "bytes of a store in memory", value: bytes, limit });
    }
    if bytes < LEAST_BYTES {
        let takes = initial_bytes(log_frames);
        return Err(Error::Invalid(format!(
            "{bytes} bytes are too few for a store in memory: it begins with at least {LEAST_BYTES}, takes {takes} with this \
             log, and grows"
        )));
    }
    Ok(bytes.next_multiple_of(FRAME_SIZE as u64))
}

/// Refuses to format a file that holds data, even if its head is blank. The format that was cut short may have been for
/// another limit of the region's size, and so for the other default of the log.
fn refuse_foreign(region: &Region, log_frames: u32) -> Result {
    if format::is_unfinished(region, &[log_frames, LOG_FRAMES_SMALL, LOG_FRAMES_DEFAULT])? {
        return Ok(());
    }
    let path = region.path().map(Path::to_path_buf).unwrap_or_default();
    let mut head = [0; FRAME_SIZE];
    let part = &mut head[..region.len_bytes().min(FRAME_SIZE as u64) as usize];
    region.memory().read(0, part)?;
    let hint = if region.is_fixed() {
        "the device holds something, which creating a store would destroy: zero it first, or overwrite it"
    } else if part.iter().any(|&byte| byte != 0) {
        "it holds something else, which creating a store would destroy: remove it first"
    } else {
        "its head is blank but it holds data, or room for it: restore it from a copy, or remove it and create a region anew"
    };
    Err(Error::NotARegion { path, hint: hint.to_owned() })
}
