//! Before a frame is taken: is it as free as the bitmap says?
//!
//! A thread that takes a frame stores to it without a latch, because no other thread knows the frame. On a medium that
//! contradicts itself another thread may know it: the bitmap calls a frame free that holds a page, and there is a guard
//! of that page. So the frame's use ([`uses`](super::uses)) and its descriptor are asked first. A frame that is only
//! pinned may be pinned in vain, by a late hit or by its number. Such a pin never gets a latch, and the frame is left
//! alone until the pin has gone.

use super::log::Log;
use super::rules::Rule;
use crate::error::{Error, Result};
use crate::frame::OrphanOutcome;
use crate::sync::atomic::{Ordering, fence};
use crate::sync::{Mutex, thread};
use crate::units::FrameNo;

/// How often a pinned frame is looked at before another frame is taken.
const PATIENCE: u32 = 64;

/// Frames that are out of use in this opening.
#[derive(Default)]
pub(super) struct SetAside(Mutex<Vec<(FrameNo, String)>>);

impl SetAside {
    pub(super) fn add(&self, frame: FrameNo, why: &Error) {
        self.0.lock().push((frame, format!("the bitmap says that frame {} is free: {why}", frame.0)));
    }

    pub(super) fn count(&self) -> usize {
        self.0.lock().len()
    }

    pub(super) fn list(&self) -> Vec<(FrameNo, String)> {
        self.0.lock().clone()
    }
}

/// Whether a frame that was to be claimed is still pinned: then it must be left alone a little longer.
pub(super) fn is_pinned(log: &Log, frame: FrameNo) -> bool {
    let now = log.region().frames().peek(frame);
    now.is_some_and(|now| now.pins() != 0 || now.orphan())
}

/// Claims a frame that the bitmap calls free. Returns false if it is pinned.
///
/// # Errors
/// `Corrupt` when it is used.
pub(super) fn claim(log: &Log, frame: FrameNo) -> Result<bool> {
    log.uses().take(frame)?;
    if log.rules().broken(Rule::ReuseBeforeUnpin) {
        return Ok(true);
    }
    // ORDERING: SeqCst: a thread that pins a frame first counts the pin and then reads the frame's use
    // (`OpenObject::pin_located`). A thread that takes the frame has stated the use and now reads the pins. So one of the
    // two sees the other.
    fence(Ordering::SeqCst);
    let frames = log.region().frames();
    for _ in 0..PATIENCE {
        // A frame that was freed begins a new life without a descriptor.
        let Some(now) = frames.peek(frame) else { return Ok(true) };
        if now.shared() != 0 || now.exclusive() || now.orphan() {
            return Err(used(frame, "the page that it holds is being read or written"));
        }
        if now.pins() == 0 {
            if frames.idle_owner(frame).is_some_and(|owner| owner != 0) {
                return Err(used(frame, "a page of an object was pinned there"));
            }
            if frames.orphan(frame) == OrphanOutcome::Idle {
                return Ok(true);
            }
            // It was pinned at this very moment, and is an orphan now: the last put queues it.
            return Ok(false);
        }
        thread::yield_now();
    }
    Ok(false)
}

/// Takes a frame that is not being handed out, if it has no use and no descriptor. Returns whether it did. The caller
/// frees it.
pub(super) fn take_unused(log: &Log, frame: FrameNo) -> bool {
    if log.uses().take(frame).is_err() {
        return false;
    }
    // ORDERING: SeqCst: as in `claim`.
    fence(Ordering::SeqCst);
    let unused = log.region().frames().peek(frame).is_none();
    if !unused {
        let _ = log.uses().free(frame);
    }
    unused
}

fn used(frame: FrameNo, why: &str) -> Error {
    Error::corrupt("bitmap", frame.offset(), format!("frame {} is said to be free, and {why}", frame.0))
}
