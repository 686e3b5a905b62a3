//! The clock, for waits with a limit.

#[cfg(not(pagestone_shuttle))]
pub use std::time::Instant;

#[cfg(pagestone_shuttle)]
pub use counted::Instant;

/// A clock that advances by a millisecond each time it is read, so that a schedule can be repeated.
#[cfg(pagestone_shuttle)]
mod counted {
    use super::super::Global;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    static LOOKS: Global<AtomicU64> = Global::new(AtomicU64::default);

    /// A moment of one schedule.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
    pub struct Instant(Duration);

    impl Instant {
        /// The present moment.
        #[must_use]
        pub fn now() -> Self {
            // ORDERING: Relaxed: a counter of one schedule, whose threads take turns.
            Self(Duration::from_millis(LOOKS.get().fetch_add(1, Ordering::Relaxed)))
        }
        /// The moment this much later.
        #[must_use]
        pub fn checked_add(self, time: Duration) -> Option<Self> {
            self.0.checked_add(time).map(Self)
        }
        /// The time since `earlier`.
        #[must_use]
        pub fn saturating_duration_since(self, earlier: Self) -> Duration {
            self.0.saturating_sub(earlier.0)
        }
    }
}
