//! Locks on ranges of a storage, between the backends of this process. The region's claim keeps other processes out.

use pagestone::Object;
use pagestone::process::Global;
use redb::BackendError;
use std::collections::HashMap;
use std::io;
use std::ops::{Bound, RangeInclusive};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// All locks of the process.
static TABLE: Global<Table> = Global::new(Table::default);
static OWNERS: AtomicU64 = AtomicU64::new(0);

/// Identifies an object independently of its handles: the first page frame of its region, which no other open region
/// has, and its number.
type Storage = (u64, u64);

#[derive(Default)]
struct Table {
    held: Mutex<HashMap<Storage, Vec<Held>>>,
    released: Condvar,
}

/// A lock.
#[derive(Debug)]
struct Held {
    owner: u64,
    bytes: RangeInclusive<u64>,
    shared: bool,
}

/// The locks of one backend; they end with it.
#[derive(Debug)]
pub(crate) struct Locks {
    storage: Storage,
    owner: u64,
}

impl Locks {
    /// Creates the account of a new backend, without locks.
    pub(crate) fn of(object: &Object) -> Self {
        let storage = (object.store().pages().pfns().start.get(), object.id());
        // Relaxed: only the number matters.
        Self { storage, owner: OWNERS.fetch_add(1, Ordering::Relaxed) }
    }

    /// Takes a lock, unless another backend has one that excludes it.
    pub(crate) fn try_take(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
        shared: bool,
    ) -> Result<bool, BackendError> {
        let bytes = range(start, end)?;
        let mut held = TABLE.get().lock();
        let free = !self.is_excluded(&held, &bytes, shared);
        if free {
            held.entry(self.storage).or_default().push(Held { owner: self.owner, bytes, shared });
        }
        Ok(free)
    }

    /// Takes a lock, after waiting until no other backend has one that excludes it.
    pub(crate) fn take(&self, start: Bound<u64>, end: Bound<u64>, shared: bool) -> Result<(), BackendError> {
        let bytes = range(start, end)?;
        let mut held = TABLE.get().lock();
        while self.is_excluded(&held, &bytes, shared) {
            held = TABLE.get().released.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        held.entry(self.storage).or_default().push(Held { owner: self.owner, bytes, shared });
        Ok(())
    }

    /// Releases a lock that was taken on exactly this range.
    pub(crate) fn release(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        let bytes = range(start, end)?;
        let mut table = TABLE.get().lock();
        let held = table.entry(self.storage).or_default();
        let mine = held.iter().position(|lock| lock.owner == self.owner && lock.bytes == bytes);
        if let Some(at) = mine {
            held.swap_remove(at);
        }
        if held.is_empty() {
            table.remove(&self.storage);
        }
        drop(table);
        TABLE.get().released.notify_all();
        mine.map(|_| ()).ok_or_else(|| invalid(format!("bytes {bytes:x?} are not locked by this backend")))
    }

    /// Whether another backend has any lock in this range.
    pub(crate) fn query(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        Ok(self.is_excluded(&TABLE.get().lock(), &range(start, end)?, false))
    }

    /// Releases all locks.
    pub(crate) fn release_all(&self) {
        let mut table = TABLE.get().lock();
        if let Some(held) = table.get_mut(&self.storage) {
            held.retain(|lock| lock.owner != self.owner);
            if held.is_empty() {
                table.remove(&self.storage);
            }
        }
        drop(table);
        TABLE.get().released.notify_all();
    }

    fn is_excluded(
        &self,
        held: &HashMap<Storage, Vec<Held>>,
        bytes: &RangeInclusive<u64>,
        shared: bool,
    ) -> bool {
        let overlap = |lock: &Held| lock.bytes.start() <= bytes.end() && bytes.start() <= lock.bytes.end();
        let excludes = |lock: &Held| lock.owner != self.owner && overlap(lock) && !(shared && lock.shared);
        held.get(&self.storage).is_some_and(|held| held.iter().any(excludes))
    }
}

impl Drop for Locks {
    fn drop(&mut self) {
        self.release_all();
    }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, HashMap<Storage, Vec<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes between two bounds, at least one.
fn range(start: Bound<u64>, end: Bound<u64>) -> Result<RangeInclusive<u64>, BackendError> {
    let first = match start {
        Bound::Unbounded => Some(0),
        Bound::Included(first) => Some(first),
        Bound::Excluded(before) => before.checked_add(1),
    };
    let last = match end {
        Bound::Unbounded => Some(u64::MAX),
        Bound::Included(last) => Some(last),
        Bound::Excluded(behind) => behind.checked_sub(1),
    };
    match (first, last) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err(invalid(format!("a lock from {start:x?} to {end:x?} covers no byte"))),
    }
}

fn invalid(why: String) -> BackendError {
    BackendError::Io(io::Error::new(io::ErrorKind::InvalidInput, why))
}
