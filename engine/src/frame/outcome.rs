//! What transitions answer. None may be dropped unread: each losing branch leaves something to do.

use super::state::PINS_MAX;
use crate::error::{Error, Result};
use crate::units::Pfn;

/// Answer of a pin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum PinOutcome {
    /// The frame is pinned.
    Pinned,
    /// The frame is pinned, and this pin was its first touch: nothing is known about it yet.
    Populated,
    /// Not pinned: new pins are refused for now.
    Held,
    /// Not pinned: the frame was detached for good.
    Orphan,
    /// Not pinned: the frame was detached for good, and the caller's vain pin was the last to go. **The freeing is
    /// the caller's**, as after [`UnpinOutcome::LastOfOrphan`].
    OrphanClaimed,
    /// Not pinned: the frame has [`PINS_MAX`] pins.
    Saturated,
    /// Not pinned: the frame's medium failed.
    Poisoned,
    /// Not pinned: the pfn was handed out before a fork, to the parent.
    Forked,
    /// Not pinned: the table has no such frame.
    Unknown,
}

impl PinOutcome {
    /// Whether the caller now has a pin.
    #[must_use]
    pub const fn is_pinned(self) -> bool {
        matches!(self, Self::Pinned | Self::Populated)
    }
    /// The error that tells a user why `pfn` was not pinned. See to [`OrphanClaimed`](Self::OrphanClaimed) first.
    ///
    /// # Errors
    /// Unless the frame is pinned.
    pub fn into_result(self, pfn: Pfn) -> Result {
        Err(match self {
            Self::Pinned | Self::Populated => return Ok(()),
            Self::Held => Error::Held { pfn },
            Self::Orphan | Self::OrphanClaimed => Error::Detached { pfn },
            Self::Saturated => Error::TooManyPins { pfn, pins: PINS_MAX },
            Self::Poisoned => Error::PoisonedFrame { pfn },
            Self::Forked => Error::Forked,
            Self::Unknown => Error::OutOfRange {
                what: "pfn",
                value: pfn.get(),
                limit: super::FRAMES_MAX.saturating_sub(1),
            },
        })
    }
}

/// Answer of a put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum UnpinOutcome {
    /// Nothing is left to do; the caller must not touch the frame or its region any more.
    Kept,
    /// It was the last pin of a held frame; the threads that wait for that were woken.
    LastOfHeld,
    /// It was the last pin of an orphan, and **the freeing is the caller's**: queue the frame. The descriptor stays
    /// populated until [`retire_orphan`](super::FrameTable::retire_orphan), and so does the claim on its region.
    LastOfOrphan,
}

/// Answer of `orphan`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum OrphanOutcome {
    /// The frame has no pin and can get none: it is free now.
    Idle,
    /// Pinned: the last put will answer [`UnpinOutcome::LastOfOrphan`].
    Busy,
}

/// Answer of `hold`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum HoldOutcome {
    /// Never touched, or reclaimed: there is nothing to hold.
    Unpopulated,
    /// Held, and without a pin.
    Idle,
    /// Held, and pinned: wait for it to become idle.
    Pinned,
}

/// Answer of a shared latch that waits for no room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum SharedOutcome {
    /// The latch is taken.
    Latched,
    /// Not taken: [`SHARED_MAX`](super::SHARED_MAX) readers have it.
    Full,
}
