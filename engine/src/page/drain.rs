//! Waiting until a frame has no pin, while other threads want to pin it.

use super::pages::Pages;
use crate::sync::Mutex;
use crate::units::FrameNo;
use std::time::Duration;

/// The frames that are being drained. A drain holds no lock, so its frame may be cut off, freed and given to another page
/// before the drain ends its hold, which then is a hold of that page's. Another drain looks at the pins and tries again; what
/// relies on its hold keeps away from these frames (`Pages::hold_to_move`).
#[derive(Default)]
pub(super) struct Draining(Mutex<Vec<FrameNo>>);

/// A frame in the list.
pub(super) struct Listed<'p> {
    list: &'p Draining,
    frame: FrameNo,
}

impl Draining {
    pub(super) fn add(&self, frame: FrameNo) -> Listed<'_> {
        self.0.lock().push(frame);
        Listed { list: self, frame }
    }

    pub(super) fn has(&self, frame: FrameNo) -> bool {
        self.0.lock().contains(&frame)
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        let mut frames = self.list.0.lock();
        if let Some(at) = frames.iter().position(|frame| *frame == self.frame) {
            frames.swap_remove(at);
        }
    }
}

impl Pages {
    /// Waits until the frame has no pin for at least one moment; false if that took longer than `limit`. Meanwhile
    /// new pins wait, so the limit is short: a thread that has a pin may need another one.
    pub(crate) fn drain(&self, frame: FrameNo, limit: Duration) -> bool {
        if self.pins(frame) == 0 {
            return true;
        }
        // From before the hold until after it.
        let _listed = self.draining.add(frame);
        let Some(held) = self.hold(frame) else {
            // Another thread drains the frame, or moves its page. That ends.
            let _ = self.region().frames().wait_unheld(frame, Some(limit));
            return self.pins(frame) == 0;
        };
        // Only pins count here: with a latch that was forgotten the frame is cut off all the same, and stays out of use.
        held.wait_idle(limit) || self.pins(frame) == 0
    }
}

#[cfg(test)]
impl Pages {
    /// A frame that is being drained as long as this lives.
    pub(crate) fn is_draining(&self, frame: FrameNo) -> impl Sized + '_ {
        self.draining.add(frame)
    }
}
