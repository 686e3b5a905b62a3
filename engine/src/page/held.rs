//! The hold of a frame, as a right: new pins of the frame wait until it ends.

use super::pages::Pages;
use crate::frame::HoldOutcome;
use crate::sync::hint;
use crate::units::FrameNo;
use std::time::Duration;

/// A frame that admits no new pin until this is dropped. A frame has one holder at a time.
#[must_use = "a hold ends when it is dropped"]
pub(crate) struct Held<'p> {
    pages: &'p Pages,
    frame: FrameNo,
}

impl Pages {
    /// Holds a frame, which may be pinned. `None` if another thread holds it, or if it has no descriptor: such a frame
    /// cannot be held, and a first touch would pin it at any moment.
    pub(crate) fn hold(&self, frame: FrameNo) -> Option<Held<'_>> {
        match self.region().frames().hold(frame) {
            HoldOutcome::Idle | HoldOutcome::Pinned => Some(Held { pages: self, frame }),
            HoldOutcome::Unpopulated | HoldOutcome::AlreadyHeld => None,
        }
    }

    /// As [`Self::hold`], for a caller that relies on its hold: `None` also if the frame is being drained. A drain holds no
    /// lock, so the frame may have got another page since it began, and the end of the drain's hold would end this one.
    pub(crate) fn hold_to_move(&self, frame: FrameNo) -> Option<Held<'_>> {
        if self.draining.has(frame) { None } else { self.hold(frame) }
    }
}

impl Held<'_> {
    /// Whether the frame has no pin, and no latch that was forgotten. It gets none while it is held.
    pub(crate) fn is_idle(&self) -> bool {
        let now = self.pages.region().frames().peek(self.frame);
        now.is_none_or(|now| now.pins() == 0 && now.shared() == 0 && !now.exclusive())
    }

    /// Waits until the frame has no pin; false if that took longer than `limit`, or if it has a latch that was forgotten.
    #[must_use]
    pub(crate) fn wait_idle(&self, limit: Duration) -> bool {
        let ended = self.pages.region().frames().wait_idle(self.frame, Some(limit));
        hint::hesitate();
        // The wait may have ended for another reason. The pins decide.
        ended && self.is_idle()
    }

    /// Ends the descriptor of the frame, which is idle, and whose page is in another frame by now.
    pub(crate) fn retire(self) {
        self.pages.region().frames().retire_orphan(self.frame);
        std::mem::forget(self);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.pages.region().frames().unhold(self.frame);
    }
}
