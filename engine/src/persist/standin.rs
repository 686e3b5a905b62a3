//! Stands in for `sync` until that module has landed.

pub(crate) use std::sync::atomic;
use std::sync::{MutexGuard, PoisonError};

/// A mutex whose `lock` returns the guard.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
