//! What a forked child must not keep: the claims, and mappings. A child that kept the descriptor would hold the region after
//! its parent's death, as would one that kept a mapping of the file; and one that used a window would write without a claim.

use crate::sync::fork;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicUsize, Ordering};

/// Every slot for a descriptor that was ever made.
static CLAIMS: Slots<Slot> = Slots::new();
/// Every slot for mappings that was ever made.
static MAPPINGS: Slots<MappingSlot> = Slots::new();

/// A list of atomics, because the child of a threaded process must not lock. Slots are used again and never freed: there
/// are as many as were ever in use at once.
struct Slots<T> {
    /// The newest.
    head: AtomicPtr<Node<T>>,
}

struct Node<T> {
    slot: T,
    next: *mut Node<T>,
}

impl<T: Sync + 'static> Slots<T> {
    const fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The first slot that `take` takes, or a new one.
    fn take(&self, take: impl Fn(&T) -> bool, new: T) -> &'static T {
        if let Some(taken) = self.all().find(|slot| take(slot)) {
            return taken;
        }
        let node = Box::leak(Box::new(Node { slot: new, next: ptr::null_mut() }));
        // ORDERING: Release publishes the node's fields to `all`; a failed exchange needs only the value.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            node.next = head;
            match self.head.compare_exchange_weak(head, node, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return &node.slot,
                Err(now) => head = now,
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = &'static T> + use<T> {
        // ORDERING: Acquire: pairs with the Release that published the node.
        let mut next = self.head.load(Ordering::Acquire);
        std::iter::from_fn(move || {
            // SAFETY: null, or a leaked node whose fields were published and do not change any more.
            let node = unsafe { next.as_ref() }?;
            next = node.next;
            Some(&node.slot)
        })
    }
}

const FREE: RawFd = -1;

/// A descriptor that a child closes.
#[derive(Debug)]
pub(super) struct Slot {
    descriptor: AtomicI32,
}

impl Slot {
    /// Keeps `descriptor` in this process, and closes it in forked children.
    pub(super) fn keep(descriptor: OwnedFd) -> &'static Self {
        fork::on_child(leave_to_parent);
        let raw = descriptor.into_raw_fd();
        // ORDERING: Acquire/Release: the slot's former user is done with its descriptor.
        let take = |slot: &Self| {
            slot.descriptor.compare_exchange(FREE, raw, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        CLAIMS.take(take, Self { descriptor: AtomicI32::new(raw) })
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

/// The start of what a slot keeps from children, if that is nothing, and while the slot has no user.
const NOTHING: usize = 0;
const FREE_SLOT: usize = 1;

/// The mapping of which the kernel is being told that no child is to have it. A fork may come before.
#[derive(Debug)]
pub(super) struct MappingSlot {
    start: AtomicUsize,
    len: AtomicUsize,
}

impl MappingSlot {
    /// A slot for one mapping at a time.
    pub(super) fn take() -> &'static Self {
        fork::on_child(leave_to_parent);
        // ORDERING: Acquire: the slot's former user is done with it.
        let take = |slot: &Self| {
            slot.start.compare_exchange(FREE_SLOT, NOTHING, Ordering::Acquire, Ordering::Relaxed).is_ok()
        };
        MAPPINGS.take(take, Self { start: AtomicUsize::new(NOTHING), len: AtomicUsize::new(0) })
    }

    /// Runs `map`, which maps `len` bytes at `start` anew and tells the kernel. A child that is forked meanwhile unmaps them.
    pub(super) fn beside_forks<R>(&self, start: *mut u8, len: usize, map: impl FnOnce() -> R) -> R {
        // ORDERING: Relaxed, and Release for the start: a child that another thread forks finds the length with the start.
        self.len.store(len, Ordering::Relaxed);
        self.start.store(start.addr(), Ordering::Release);
        let mapped = map();
        // ORDERING: Release: after the kernel was told. From then on a child has nothing there, and may map something else.
        self.start.store(NOTHING, Ordering::Release);
        mapped
    }

    /// Gives the slot back.
    pub(super) fn release(&self) {
        // ORDERING: Release: see `take`.
        self.start.store(FREE_SLOT, Ordering::Release);
    }
}

/// Runs in a child right after the fork: only atomics, `close` and `munmap`. The kernel copies descriptors before memory,
/// so a slot may name a descriptor that the child does not have. That is no error.
fn leave_to_parent() {
    for slot in CLAIMS.all() {
        // ORDERING: Relaxed: no other thread exists.
        let raw = slot.descriptor.swap(FREE, Ordering::Relaxed);
        // SAFETY: the slot's descriptor, which the child must not keep.
        unsafe { libc::close(raw) };
    }
    for slot in MAPPINGS.all() {
        // ORDERING: Relaxed: as above.
        let (start, len) = (slot.start.load(Ordering::Relaxed), slot.len.load(Ordering::Relaxed));
        if start != NOTHING && start != FREE_SLOT {
            // The thread that was mapping does not exist here, so the slot stays taken.
            slot.start.store(NOTHING, Ordering::Relaxed);
            // SAFETY: a part of a view's window of the parent, which nothing in the child may use (`ViewWindow`).
            unsafe { libc::munmap(ptr::without_provenance_mut(start), len) };
        }
    }
}
