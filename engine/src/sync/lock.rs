//! Locks whose guards come without ceremony.
//!
//! Poison is ignored: what a panicking holder leaves behind must still be closable, and no structure here is left
//! half-changed across a call that can panic.

use std::sync::PoisonError;
use std::time::Duration;

use super::imp::sync as imp;

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
    /// Takes the lock if nobody has it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(poison)) => Some(poison.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }
    /// The value, when nobody else can reach the lock any more.
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
    /// Waits until nobody holds the lock.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waiting for a change of what a [`Mutex`] guards.
#[derive(Debug, Default)]
pub struct Condvar(imp::Condvar);

impl Condvar {
    /// Nobody waits yet.
    #[cfg(not(pagestone_loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self(imp::Condvar::new())
    }
    /// Nobody waits yet.
    #[cfg(pagestone_loom)]
    #[must_use]
    pub fn new() -> Self {
        Self(imp::Condvar::new())
    }
    /// Unlocks, sleeps until notified (or for no reason), locks again.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }
    /// As [`wait`](Self::wait), for at most `limit`; true when the time ran out.
    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: Duration,
    ) -> (MutexGuard<'a, T>, bool) {
        let (guard, outcome) = self.0.wait_timeout(guard, limit).unwrap_or_else(PoisonError::into_inner);
        (guard, outcome.timed_out())
    }
    /// Wakes one waiter.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }
    /// Wakes every waiter.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}
