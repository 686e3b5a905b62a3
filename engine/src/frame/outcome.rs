//! The results of transitions. None may be ignored: each losing branch leaves something to do.

use super::state::PINS_MAX;
use crate::error::{Error, Result};
use crate::units::Pfn;

/// The result of a pin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum PinOutcome {
    /// The frame is pinned.
    Pinned,
    /// The frame is pinned, and this pin was its first touch: its page is not known yet.
    Populated,
    /// Not pinned: new pins are refused at the moment.
    Held,
    /// Not pinned: the frame was detached for good.
    Orphan,
    /// Not pinned: the frame was detached for good, and taking back the caller's refused pin was the last put. **The
    /// caller must free it**, as after [`UnpinOutcome::LastOfOrphan`].
    OrphanClaimed,
    /// Not pinned: the frame has [`PINS_MAX`] pins.
    Saturated,
    /// Not pinned: the frame's medium failed.
    Poisoned,
    /// Not pinned: the pfn was allocated before a fork, by the parent.
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
    /// The error for a user, if `pfn` was not pinned. Handle [`OrphanClaimed`](Self::OrphanClaimed) first.
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

/// The result of a put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum UnpinOutcome {
    /// Nothing is left to do. The caller must not access the frame or its region any more.
    Kept,
    /// It was the last pin of a held frame. The threads that wait for that were woken.
    LastOfHeld,
    /// It was the last pin of an orphan, and **the caller must free the frame**: queue it. The descriptor stays
    /// populated until [`retire_orphan`](super::FrameTable::retire_orphan), and so does the claim on its region.
    LastOfOrphan,
}

/// The result of `orphan`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum OrphanOutcome {
    /// The frame has no pin and can get none: it is free now.
    Idle,
    /// Pinned: the last put will return [`UnpinOutcome::LastOfOrphan`].
    Busy,
}

/// The result of `hold`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum HoldOutcome {
    /// Never touched, or reclaimed: nothing to hold.
    Unpopulated,
    /// Held, and without a pin.
    Idle,
    /// Held, and pinned: wait for it to become idle.
    Pinned,
    /// Another holder has it: wait for the end of that hold, or leave the frame alone.
    AlreadyHeld,
}

/// The result of a shared latch that does not wait for room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum SharedOutcome {
    /// The latch is taken.
    Latched,
    /// Not taken: [`SHARED_MAX`](super::SHARED_MAX) readers have it.
    Full,
}
