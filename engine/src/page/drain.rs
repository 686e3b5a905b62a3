//! Waiting for pins to end, past those that begin.

use super::pages::Pages;
use crate::frame::{FrameTable, HoldOutcome};
use crate::sync::hint;
use crate::units::FrameNo;
use std::time::Duration;

impl Pages {
    /// Waits until the frame has no pin, at one moment at least; false if that took longer than `limit`. Meanwhile new
    /// pins wait, so the limit is short: a thread that has a pin may want another one.
    pub(crate) fn drain(&self, frame: FrameNo, limit: Duration) -> bool {
        let (table, pfn) = (FrameTable::global(), self.pfn(frame));
        if self.pins(frame) == 0 {
            return true;
        }
        let idle = match table.hold(pfn) {
            HoldOutcome::Unpopulated => return true,
            HoldOutcome::Idle => true,
            // The end of a hold says nothing, and a hold that is found may be one that began after that: the pins tell.
            HoldOutcome::Pinned => {
                let ended = table.wait_idle(pfn, Some(limit));
                hint::hesitate();
                ended && table.peek(pfn).is_none_or(|now| now.pins() == 0)
            }
        };
        table.unhold(pfn);
        idle
    }
}
