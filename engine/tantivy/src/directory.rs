//! The directory: its file names, and the state that directories of one name share.

use crate::file::File;
use crate::locks::Locks;
use crate::reads::{Counters, Reads};
use crate::slices::Files;
use crate::writer::Writer;
use pagestone::process::Global;
use pagestone::{Error, Object, Store};
use std::collections::HashMap;
use std::io::{self, BufWriter};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::{fmt, str};
use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    Directory, DirectoryLock, FileHandle, Lock, WatchCallback, WatchCallbackList, WatchHandle, WritePtr,
};

/// The file whose replacement is a commit.
const META: &str = "meta.json";
/// The object with the new content of a file that is being replaced. If a crash leaves it, the next replacement
/// removes it.
const REPLACING: &str = ".replacing";

/// The shared state of all directories of one region and name.
static SHARED: Global<Mutex<HashMap<Place, Weak<Shared>>>> = Global::new(Mutex::default);

/// The first page frame of a region, which no other open region has, and a name.
type Place = (u64, Vec<u8>);

#[derive(Default)]
struct Shared {
    locks: Arc<Locks>,
    counters: Arc<Counters>,
    files: Files,
    watchers: WatchCallbackList,
    /// Held while a file is replaced.
    replacing: Mutex<()>,
}

/// A tantivy directory in a region. The file `path` is the object `name/path`.
///
/// Clones, and directories opened with the same store and name, are the same directory.
#[derive(Clone)]
pub struct PagestoneDirectory {
    store: Store,
    name: Vec<u8>,
    shared: Arc<Shared>,
}

impl PagestoneDirectory {
    /// The directory of this name. It exists as soon as it has a file.
    ///
    /// # Errors
    /// `BadName`: no file of the directory could have a valid name.
    pub fn open(store: &Store, name: impl AsRef<[u8]>) -> pagestone::Result<Self> {
        let name = name.as_ref().to_vec();
        let place = (store.pages().pfns().start.get(), name.clone());
        let mut all = SHARED.get().lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, shared| shared.strong_count() != 0);
        let shared = all.get(&place).and_then(Weak::upgrade).unwrap_or_default();
        all.insert(place, Arc::downgrade(&shared));
        drop(all);
        let directory = Self { store: store.clone(), name, shared };
        directory.store.exists(directory.object_name(Path::new(META)))?;
        Ok(directory)
    }

    /// Counts of the reads so far, pinned and copied.
    #[must_use]
    pub fn reads(&self) -> Reads {
        self.shared.counters.read()
    }

    fn object_name(&self, path: &Path) -> Vec<u8> {
        [&self.name, &b"/"[..], path.as_os_str().as_bytes()].concat()
    }

    fn open_object(&self, path: &Path) -> Result<Object, OpenReadError> {
        self.store.open(self.object_name(path)).map_err(|error| match error {
            Error::NotFound { .. } => OpenReadError::FileDoesNotExist(path.to_path_buf()),
            error => OpenReadError::wrap_io_error(error.into(), path.to_path_buf()),
        })
    }

    /// Creates the object that will replace another one, with its bytes.
    fn create_replacement(&self, name: &[u8], data: &[u8]) -> pagestone::Result<Object> {
        let object = match self.store.create(name) {
            Err(Error::Exists { .. }) => {
                self.store.unlink(name)?;
                self.store.create(name)?
            }
            created => created?,
        };
        object.append(data)?;
        Ok(object)
    }

    /// Replaces a file. The log keeps the order of names and bytes, so after a crash the name means the new bytes,
    /// complete, or the old ones.
    fn replace(&self, path: &Path, data: &[u8]) -> pagestone::Result<()> {
        let _alone = self.shared.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let new = self.object_name(Path::new(REPLACING));
        let object = self.create_replacement(&new, data)?;
        self.store.rename(&new, self.object_name(path))?;
        // Everything written before becomes durable with the name, but only a commit must wait for that.
        if path == Path::new(META) { object.sync() } else { Ok(()) }
    }
}

impl Directory for PagestoneDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        let object = self.open_object(path)?;
        let runs = self.shared.files.runs(object.id());
        Ok(Arc::new(File::new(object, Arc::clone(&self.shared.counters), runs)))
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        self.store.unlink(self.object_name(path)).map_err(|error| match error {
            Error::NotFound { .. } => DeleteError::FileDoesNotExist(path.to_path_buf()),
            error => DeleteError::IoError { io_error: Arc::new(error.into()), filepath: path.to_path_buf() },
        })
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        let found = self.store.exists(self.object_name(path));
        let found = found.map_err(|error| OpenReadError::wrap_io_error(error.into(), path.to_path_buf()))?;
        Ok(found.is_some())
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        let object = self.store.create(self.object_name(path)).map_err(|error| match error {
            Error::Exists { .. } => OpenWriteError::FileAlreadyExists(path.to_path_buf()),
            error => OpenWriteError::wrap_io_error(error.into(), path.to_path_buf()),
        })?;
        Ok(BufWriter::new(Box::new(Writer::new(object))))
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        let object = self.open_object(path)?;
        let mut bytes = vec![0; usize::try_from(object.len()).unwrap_or(usize::MAX)];
        let read = object
            .read_at(0, &mut bytes)
            .map_err(|error| OpenReadError::wrap_io_error(error.into(), path.to_path_buf()))?;
        bytes.truncate(read);
        Ok(bytes)
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        self.replace(path, data)?;
        if path == Path::new(META) {
            // Each watcher is called on its own thread, and nothing here waits for it.
            drop(self.shared.watchers.broadcast());
        }
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(self.store.sync()?)
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        let held = self.shared.locks.take(lock).ok_or(LockError::LockBusy)?;
        // A held lock keeps the table in which others look it up, even if the directory is dropped first.
        Ok(DirectoryLock::from(Box::new((held, self.clone()))))
    }

    fn watch(&self, callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(self.shared.watchers.subscribe(callback))
    }
}

impl fmt::Debug for PagestoneDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = str::from_utf8(&self.name).unwrap_or("(not text)");
        f.debug_struct("PagestoneDirectory").field("store", &self.store).field("name", &name).finish()
    }
}
