//! Waiting until a frame has no pin, while other threads want to pin it.

use super::pages::Pages;
use crate::units::FrameNo;
use std::time::Duration;

impl Pages {
    /// Waits until the frame has no pin for at least one moment; false if that took longer than `limit`. Meanwhile
    /// new pins wait, so the limit is short: a thread that has a pin may need another one.
    pub(crate) fn drain(&self, frame: FrameNo, limit: Duration) -> bool {
        if self.pins(frame) == 0 {
            return true;
        }
        let Some(held) = self.hold(frame) else {
            // Another thread drains the frame, or moves its page. That ends.
            let _ = self.region().frames().wait_unheld(frame, Some(limit));
            return self.pins(frame) == 0;
        };
        held.wait_idle(limit)
    }
}
