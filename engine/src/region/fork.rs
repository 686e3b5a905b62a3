//! What a forked child must not keep: the claims. A child that kept the descriptor would hold the region after its
//! parent's death, and one that used the window would write without a claim.

use crate::sync::fork;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

/// Every slot ever made, newest first. A list of atomics, because the child of a threaded process must not lock.
static SLOTS: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());

const FREE: RawFd = -1;

/// One descriptor that a child closes. Slots are reused and never freed: there are as many as regions were ever open
/// at once.
#[derive(Debug)]
pub(super) struct Slot {
    descriptor: AtomicI32,
    next: *mut Slot,
}

// SAFETY: `next` is written before the slot is published and never again.
unsafe impl Sync for Slot {}
// SAFETY: as above; slots are shared references only.
unsafe impl Send for Slot {}

impl Slot {
    /// Keeps `descriptor` in this process, and closes it in forked children.
    pub(super) fn keep(descriptor: OwnedFd) -> &'static Self {
        fork::on_child(leave_to_parent);
        let raw = descriptor.into_raw_fd();
        for slot in slots() {
            // ORDERING: Acquire/Release: the slot's former user is done with its descriptor.
            if slot.descriptor.compare_exchange(FREE, raw, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return slot;
            }
        }
        let slot = Box::leak(Box::new(Self { descriptor: AtomicI32::new(raw), next: ptr::null_mut() }));
        // ORDERING: Release publishes the slot's fields to `slots`; a failed exchange needs only the value.
        let mut head = SLOTS.load(Ordering::Relaxed);
        loop {
            slot.next = head;
            match SLOTS.compare_exchange_weak(head, slot, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return slot,
                Err(now) => head = now,
            }
        }
    }

    /// The descriptor; none in a forked child.
    pub(super) fn raw(&self) -> Option<RawFd> {
        // ORDERING: Relaxed: only the owner asks; in a child, the fork handler ran before.
        Some(self.descriptor.load(Ordering::Relaxed)).filter(|raw| *raw != FREE)
    }

    /// Closes the descriptor, unless the fork handler did.
    pub(super) fn release(&self) {
        // ORDERING: Release: see `keep`.
        let raw = self.descriptor.swap(FREE, Ordering::AcqRel);
        if raw != FREE {
            // SAFETY: `keep` took the descriptor from its owner, and the swap lets one caller have it.
            drop(unsafe { OwnedFd::from_raw_fd(raw) });
        }
    }
}

fn slots() -> impl Iterator<Item = &'static Slot> {
    // ORDERING: Acquire: pairs with the Release that published the slot.
    let mut next = SLOTS.load(Ordering::Acquire);
    std::iter::from_fn(move || {
        // SAFETY: null, or a leaked slot whose fields were published.
        let slot = unsafe { next.as_ref() }?;
        next = slot.next;
        Some(slot)
    })
}

/// Runs in a child right after the fork: only atomics and `close`. The kernel copies descriptors before memory, so a
/// slot may name a descriptor that the child does not have. That is no error.
fn leave_to_parent() {
    for slot in slots() {
        // ORDERING: Relaxed: no other thread exists.
        let raw = slot.descriptor.swap(FREE, Ordering::Relaxed);
        // SAFETY: the slot's descriptor, which the child must not keep.
        unsafe { libc::close(raw) };
    }
}
