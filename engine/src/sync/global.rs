//! Values that a process has once.

/// A value that is made when it is first asked for and stays as long as the process; under shuttle each schedule makes
/// its own, since its locks mean nothing to the next.
#[derive(Debug)]
pub struct Global<T: Send + Sync + 'static>(imp::Lazy<T>);

impl<T: Send + Sync + 'static> Global<T> {
    /// The value that `make` is going to make.
    #[must_use]
    pub const fn new(make: fn() -> T) -> Self {
        Self(imp::Lazy::new(make))
    }

    /// The value.
    #[must_use]
    pub fn get(&'static self) -> &'static T {
        imp::get(&self.0)
    }
}

#[cfg(not(pagestone_shuttle))]
mod imp {
    pub(super) use std::sync::LazyLock as Lazy;

    pub(super) fn get<T>(lazy: &'static Lazy<T>) -> &'static T {
        lazy
    }
}

#[cfg(pagestone_shuttle)]
mod imp {
    pub(super) use shuttle::lazy_static::Lazy;

    pub(super) fn get<T: Sync>(lazy: &'static Lazy<T>) -> &'static T {
        lazy.get()
    }
}
