//! Waiting until a frame has no pin, while other threads want to pin it.

use super::pages::Pages;
use crate::frame::HoldOutcome;
use crate::sync::hint;
use crate::units::FrameNo;
use std::time::Duration;

impl Pages {
    /// Waits until the frame has no pin for at least one moment; false if that took longer than `limit`. Meanwhile
    /// new pins wait, so the limit is short: a thread that has a pin may need another one.
    pub(crate) fn drain(&self, frame: FrameNo, limit: Duration) -> bool {
        let frames = self.region().frames();
        if self.pins(frame) == 0 {
            return true;
        }
        let idle = match frames.hold(frame) {
            HoldOutcome::Unpopulated => return true,
            HoldOutcome::Idle => true,
            // The end of the wait proves nothing, because the hold may have ended and another one begun. The pins
            // decide.
            HoldOutcome::Pinned => {
                let ended = frames.wait_idle(frame, Some(limit));
                hint::hesitate();
                ended && frames.peek(frame).is_none_or(|now| now.pins() == 0)
            }
        };
        frames.unhold(frame);
        idle
    }
}
