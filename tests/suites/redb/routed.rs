//! `suite.sh` puts this file into a copy of redb's source, in place of the file backend. Each database file is a region,
//! and the database is an object in it. The published crate `pagestone-redb` is tested. It implements the trait of the
//! redb release that it depends on, so calls and errors are translated between the two.

use crate::{BackendError, StorageBackend};
use pagestone::store::Store;
use pagestone_redb::Backend;
use registry_redb::{BackendError as TheirError, StorageBackend as Theirs};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Regions that are open in this process, by device and inode, with the number of backends in each. A process can open a
/// region only once, but the tests open their files several times.
static OPEN: LazyLock<Mutex<HashMap<(u64, u64), (Store, usize)>>> = LazyLock::new(Mutex::default);

#[derive(Debug)]
pub struct FileBackend {
    region: (u64, u64),
    /// The backend, or why there is none: the file is no region, or is in use.
    backend: io::Result<Backend>,
    broken: bool,
}

impl FileBackend {
    #[cfg(feature = "experimental-api-5")]
    pub fn new(file: File) -> Self {
        Self::from_file(file)
    }

    #[cfg(not(feature = "experimental-api-5"))]
    pub fn new(file: File) -> Result<Self, crate::DatabaseError> {
        Ok(Self::from_file(file))
    }

    pub(crate) fn from_file(file: File) -> Self {
        let metadata = file.metadata().expect("metadata of an open file");
        let region = (metadata.dev(), metadata.ino());
        // By its descriptor, since the file may have been unlinked or renamed.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let store = match open.get(&region) {
            Some((store, _)) => Ok(store.clone()),
            None => Store::options().create(true).open(path),
        };
        let backend = store.and_then(|store| {
            let backend = Backend::open(&store, "database")?;
            open.entry(region).or_insert((store, 0)).1 += 1;
            Ok(backend)
        });
        let broken = std::env::var("PAGESTONE_REDB_BREAK").is_ok_and(|what| what == "zeros");
        Self { region, backend: backend.map_err(io::Error::from), broken }
    }

    fn backend(&self) -> io::Result<&Backend> {
        self.backend.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))
    }

    fn lock<T>(&self, ask: impl FnOnce(&Backend) -> Result<T, TheirError>) -> Result<T, BackendError> {
        ask(self.backend()?).map_err(|error| match error {
            TheirError::Unsupported => BackendError::Unsupported,
            error => BackendError::Io(error.into()),
        })
    }
}

impl Drop for FileBackend {
    fn drop(&mut self) {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if self.backend.is_err() {
            return;
        }
        // The object is dropped first: a region can be closed only when nothing in it is open.
        self.backend = Err(io::ErrorKind::NotConnected.into());
        if let Some((_, backends)) = open.get_mut(&self.region) {
            *backends -= 1;
            if *backends == 0 {
                open.remove(&self.region);
            }
        }
    }
}

impl StorageBackend for FileBackend {
    fn len(&self) -> io::Result<u64> {
        Theirs::len(self.backend()?)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        Theirs::read(self.backend()?, offset, out)?;
        if self.broken && offset >= 1 << 20 {
            out.fill(0);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        Theirs::write(self.backend()?, offset, data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Theirs::set_len(self.backend()?, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Theirs::sync_data(self.backend()?)
    }

    fn close(&self) -> io::Result<()> {
        Theirs::close(self.backend()?)
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.lock(|backend| backend.try_lock_range(start, end))
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.lock(|backend| backend.try_lock_shared_range(start, end))
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.lock(|backend| backend.lock_range(start, end))
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.lock(|backend| backend.lock_shared_range(start, end))
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.lock(|backend| backend.unlock_range(start, end))
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.lock(|backend| backend.query_lock_range(start, end))
    }
}
