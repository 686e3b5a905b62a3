//! The first version of a populated frame, which is above every version that any frame ever had.

use super::state::VERSION;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::mutant;

/// A frame that is retired and populated again must not repeat a version that an optimistic reader still remembers.
#[derive(Debug, Default)]
pub(super) struct Versions(AtomicU64);

impl Versions {
    /// The version of a frame that is populated now. Under its chunk's lock.
    pub(super) fn next(&self) -> u64 {
        // ORDERING: Relaxed: `retired` of the same frame came before under the same lock; of others nothing is needed.
        self.0.load(Ordering::Relaxed)
    }

    /// Notes that a frame with `version` was retired. Under its chunk's lock.
    pub(super) fn retired(&self, version: u64) {
        let cut = |number: u64| VERSION.of(VERSION.pack(number));
        let above = cut(version + 1);
        if mutant("versions_restart") {
            return;
        }
        let half = VERSION.of(VERSION.mask()).div_ceil(2);
        let mut next = self.next();
        // Versions wrap: `above` is ahead of `next` if it lies less than half the circle further on.
        while above != next && cut(above.wrapping_sub(next)) < half {
            // ORDERING: Relaxed: as `next`.
            match self.0.compare_exchange_weak(next, above, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => next = now,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_never_restarts_below_a_retired_one_even_around_the_wrap() {
        let versions = Versions::default();
        let last = VERSION.of(VERSION.mask());
        for (retired, next) in
            [(0, 1), (100, 101), (7, 101), (last / 2, last / 2 + 1), (last - 1, last), (last, 0), (5, 6)]
        {
            versions.retired(retired);
            assert_eq!(versions.next(), next, "after {retired}");
        }
    }
}
