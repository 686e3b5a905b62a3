//! Locks of an index, between the directories of this process. The region's claim keeps other processes out.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use tantivy::directory::Lock;

#[derive(Default)]
pub(crate) struct Locks {
    held: Mutex<HashSet<PathBuf>>,
    released: Condvar,
}

/// A lock that is held while this lives.
pub(crate) struct Held {
    locks: Arc<Locks>,
    path: PathBuf,
}

impl Locks {
    /// Takes a lock. `None` if it is held and the caller does not want to wait.
    pub(crate) fn take(self: &Arc<Self>, lock: &Lock) -> Option<Held> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        while held.contains(&lock.filepath) {
            if !lock.is_blocking {
                return None;
            }
            held = self.released.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        held.insert(lock.filepath.clone());
        Some(Held { locks: Arc::clone(self), path: lock.filepath.clone() })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.locks.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.path);
        self.locks.released.notify_all();
    }
}
