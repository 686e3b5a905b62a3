//! The embedded database [redb](https://docs.rs/redb) on Pagestone.
//!
//! A [`Backend`] keeps one database in one object of a region. The region may have other objects: more databases, a
//! SQLite database, an index. The object contains redb's file format, as a file would.
//!
//! ```
//! use pagestone::Store;
//! use pagestone_redb::Backend;
//! use redb::{Builder, ReadableDatabase, TableDefinition};
//!
//! const STOCK: TableDefinition<&str, u64> = TableDefinition::new("stock");
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("shop.pgs");
//! let store = Store::options().create(true).open(&path)?;
//! let database = Builder::new().create_with_backend(Backend::open(&store, "inventory")?)?;
//!
//! let change = database.begin_write()?;
//! change.open_table(STOCK)?.insert("apples", 12)?;
//! change.commit()?;
//!
//! let look = database.begin_read()?;
//! assert_eq!(look.open_table(STOCK)?.get("apples")?.map(|count| count.value()), Some(12));
//! # Ok(())
//! # }
//! ```
//!
//! # What survives
//! The same as redb promises for a file on a disk, by its [`Durability`](redb::Durability): a commit that returned
//! survives the death of the process, and a power loss as far as the region's medium does (`pagestone info`).
//!
//! # Locks
//! One process owns a region, so locks are kept in memory. Databases of one process in the same object can share it
//! in each of redb's concurrency modes. Another process can open the region only for reading, and only while no
//! process has it open for writing.
//!
//! # Limits
//! redb copies bytes into and out of its storage and cannot use pins, so nothing is read in place.
#![forbid(unsafe_code)]

mod ahead;
mod locks;

use ahead::Ahead;
use locks::Locks;
use pagestone::{Object, Store};
use redb::{BackendError, StorageBackend};
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};

/// redb's storage in an object of a region.
///
/// Backends of the same object are independent handles, like a file that was opened twice.
#[derive(Debug)]
pub struct Backend {
    object: Object,
    ahead: Ahead,
    locks: Locks,
    closed: AtomicBool,
}

impl Backend {
    /// The storage in the object of this name, which is created if it is missing. In a read-only store it must exist.
    ///
    /// # Durability
    /// As [`Store::create`]: redb's first commit makes it durable.
    ///
    /// # Errors
    /// `NotFound`, `BadName`, `NoSpace`.
    pub fn open(store: &Store, name: impl AsRef<[u8]>) -> pagestone::Result<Self> {
        let object = match store.info().read_only {
            true => store.open(name)?,
            false => store.open_or_create(name)?,
        };
        Ok(Self::new(object))
    }

    /// The storage in this object.
    #[must_use]
    pub fn new(object: Object) -> Self {
        let locks = Locks::of(&object);
        Self { object, ahead: Ahead::default(), locks, closed: AtomicBool::new(false) }
    }

    /// The object, unless redb has closed its storage: a late call must not overwrite the next owner's bytes.
    fn object(&self) -> io::Result<&Object> {
        // Acquire: a call that begins after `close` has returned sees it.
        if self.closed.load(Ordering::Acquire) {
            return Err(pagestone::Error::Closed.into());
        }
        Ok(&self.object)
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.object()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let object = self.object()?;
        let wanted = out.len();
        // The count decides, not the length, because the object may be cut meanwhile.
        if offset <= object.len() && object.read_at(offset, out)? == wanted {
            return Ok(());
        }
        let why = format!("{wanted} bytes from {offset:#x} of a storage of {:#x} bytes", object.len());
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, why))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let object = self.object()?;
        self.ahead.prepare(object, offset, data.len())?;
        Ok(object.write_at(offset, data)?)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let object = self.object()?;
        self.ahead.cut(len);
        Ok(object.set_len(len)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(self.object()?.sync()?)
    }

    fn close(&self) -> io::Result<()> {
        // Release: as above.
        self.closed.store(true, Ordering::Release);
        self.locks.release_all();
        Ok(())
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locks.try_take(start, end, false)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locks.try_take(start, end, true)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks.take(start, end, false)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks.take(start, end, true)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks.release(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locks.query(start, end)
    }
}
