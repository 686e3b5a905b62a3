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

pub(crate) fn allocate(frames: u64) -> crate::Result<crate::units::PfnRange> {
    static NEXT: atomic::AtomicU64 = atomic::AtomicU64::new(512);
    let start = crate::units::Pfn::new(NEXT.fetch_add(frames, atomic::Ordering::Relaxed));
    Ok(crate::units::PfnRange::new(start, frames))
}
