//! Counts how often things happened: a model that never meets a full region proves nothing about full regions.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Event {
    CallsDone,
    CallsRefused,
    RegionFull,
    FailureStruck,
    Closed,
    ClosedInUse,
    Abandoned,
    ReadOnly,
    Died,
    PowerLost,
    OpsLostWithPower,
    CacheDropped,
    Squeezed,
    PinsCutOff,
    Batched,
    LatchesHeld,
    Spaces,
}

const EVENTS: [Event; 17] = [
    Event::CallsDone,
    Event::CallsRefused,
    Event::RegionFull,
    Event::FailureStruck,
    Event::Closed,
    Event::ClosedInUse,
    Event::Abandoned,
    Event::ReadOnly,
    Event::Died,
    Event::PowerLost,
    Event::OpsLostWithPower,
    Event::CacheDropped,
    Event::Squeezed,
    Event::PinsCutOff,
    Event::Batched,
    Event::LatchesHeld,
    Event::Spaces,
];

static COUNTS: [AtomicU64; EVENTS.len()] = [const { AtomicU64::new(0) }; EVENTS.len()];

impl Event {
    /// Counts that it happened.
    pub fn happened(self) {
        COUNTS[self as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often it has happened in this process.
    #[must_use]
    pub fn count(self) -> u64 {
        COUNTS[self as usize].load(Ordering::Relaxed)
    }

    /// All events with their counts.
    pub fn all() -> impl Iterator<Item = (Self, u64)> {
        EVENTS.into_iter().map(|event| (event, event.count()))
    }
}
