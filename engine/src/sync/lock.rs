//! Locks without poisoning.
//!
//! Poison is ignored: the state that a panicking holder leaves must still be closable, and no structure is left half
//! changed across a call that can panic.

use super::atomic::{AtomicUsize, Ordering};
use super::imp::sync as imp;
use std::sync::PoisonError;

pub use imp::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

/// Mutual exclusion.
#[derive(Debug, Default)]
pub struct Mutex<T>(imp::Mutex<T>);

impl<T> Mutex<T> {
    /// An unlocked mutex around `value`.
    #[cfg(not(pagestone_loom))]
    pub const fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }
    /// An unlocked mutex around `value`.
    #[cfg(pagestone_loom)]
    pub fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }
    /// Waits for the lock.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(poison)) => Some(poison.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }
    /// The value, once no other thread can access the lock.
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Many readers or one writer.
#[derive(Debug, Default)]
pub struct RwLock<T>(imp::RwLock<T>);

impl<T> RwLock<T> {
    /// An unlocked lock around `value`.
    #[cfg(not(pagestone_loom))]
    pub const fn new(value: T) -> Self {
        Self(imp::RwLock::new(value))
    }
    /// An unlocked lock around `value`.
    #[cfg(pagestone_loom)]
    pub fn new(value: T) -> Self {
        Self(imp::RwLock::new(value))
    }
    /// Waits until no writer holds the lock.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
    /// Takes the lock shared if that needs no wait.
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        match self.0.try_read() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(poison)) => Some(poison.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }
    /// Waits until neither a reader nor a writer holds the lock.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waiting for a change of the data that a [`Mutex`] guards. A notification costs no system call if no thread waits.
///
/// A thread changes the data under the mutex, and notifies after that.
#[derive(Debug, Default)]
pub struct Condvar {
    condition: imp::Condvar,
    /// The number of waiting threads, counted under the mutex: a thread that came before the change is counted by
    /// then, and one that comes after it sees the change.
    waiting: AtomicUsize,
}

impl Condvar {
    /// Unlocks, sleeps until notified (or without a reason), and locks again.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        // ORDERING: Relaxed, here and below: the mutex orders them.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let guard = self.condition.wait(guard).unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        guard
    }
    /// Wakes every waiter.
    pub fn notify_all(&self) {
        // ORDERING: Relaxed: see `wait`.
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.condition.notify_all();
        }
    }
}
