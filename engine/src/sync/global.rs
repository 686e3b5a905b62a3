//! Values that exist once per process.

/// A value that is made when it is first used and stays as long as the process. A forked child makes its own (see
/// `sync/fork.rs`), and so does each schedule under shuttle, because locks of one schedule mean nothing in the
/// next.
#[derive(Debug)]
pub struct Global<T: Send + Sync + 'static>(imp::Lazy<T>);

impl<T: Send + Sync + 'static> Global<T> {
    /// The value that `make` will make. Several threads may make it at once; one of the values is kept.
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
    use super::super::fork;
    use std::ptr;
    use std::sync::atomic::{AtomicPtr, Ordering};

    #[derive(Debug)]
    pub(super) struct Lazy<T> {
        /// Null, or a value of this process or of one that forked it. The value is never freed.
        made: AtomicPtr<Made<T>>,
        make: fn() -> T,
    }

    #[derive(Debug)]
    struct Made<T> {
        generation: u32,
        value: T,
    }

    impl<T> Lazy<T> {
        pub(super) const fn new(make: fn() -> T) -> Self {
            Self { made: AtomicPtr::new(ptr::null_mut()), make }
        }

        /// Replaces the value that was found by one of this process.
        #[cold]
        fn renew(&'static self, found: *mut Made<T>) -> &'static T {
            fork::watch();
            let new = Box::into_raw(Box::new(Made { generation: fork::generation(), value: (self.make)() }));
            // ORDERING: Release publishes the value; Acquire on failure as in `get`.
            match self.made.compare_exchange(found, new, Ordering::Release, Ordering::Acquire) {
                // SAFETY: just made, and from now on shared only.
                Ok(_) => unsafe { &(*new).value },
                Err(first) => {
                    // SAFETY: ours alone: it was not published.
                    drop(unsafe { Box::from_raw(new) });
                    // SAFETY: published by another thread of this process, and never freed.
                    unsafe { &(*first).value }
                }
            }
        }
    }

    pub(super) fn get<T>(lazy: &'static Lazy<T>) -> &'static T {
        // ORDERING: Acquire: pairs with the publication in `renew`.
        let found = lazy.made.load(Ordering::Acquire);
        // SAFETY: null, or leaked by `renew` after it was made.
        match unsafe { found.as_ref() } {
            Some(made) if made.generation == fork::generation() => &made.value,
            _ => lazy.renew(found),
        }
    }
}

#[cfg(pagestone_shuttle)]
mod imp {
    pub(super) use shuttle::lazy_static::Lazy;

    pub(super) fn get<T: Sync>(lazy: &'static Lazy<T>) -> &'static T {
        lazy.get()
    }
}
