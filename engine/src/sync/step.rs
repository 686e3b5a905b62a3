//! Named places at which a test lets its process die.
//!
//! The bytes of a region outlive the process that stored them. So each pair of stores that belong together has a state
//! between them that the next opening must understand. A [`Step`] names such a place. Without the feature `internals` it
//! is nothing, and no process can be made to die there.

/// A place between two stores of the region, or two calls of the file system, that belong together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The first change of an opening: both roots agree.
    RootsMended,
    /// The superblock has the new generation.
    GenerationWritten,
    /// The log's header has the new epoch.
    EpochWritten,
    /// The cursor is in the new epoch.
    CursorBegun,
    /// The lease names this process.
    LeaseWritten,
    /// A record or a mark is about to be written.
    RecordBegun,
    /// It is in the log's ring.
    RecordWritten,
    /// The ring is durable up to the mark.
    Committed,
    /// One change of a committed record is in its home.
    HomeStored,
    /// The cursor says so.
    CursorMoved,
    /// The homes are durable, before the tail moves.
    HomesFlushed,
    /// The tail has moved.
    TailMoved,
    /// Lease and header say that nothing is left to do.
    Settled,
    /// The file is longer, and no record says so yet.
    FileGrown,
    /// The bytes of a large batch are in frames of their own.
    PayloadWritten,
    /// New frames have their content, and no page leads to them yet.
    FramesFilled,
    /// Pages lead to them, and the object's length is what it was.
    FramesLinked,
    /// The object is shorter, and its pages are not freed yet.
    CutBegun,
    /// Pages are cut out of the middle, and their frames are not freed yet.
    PagesTaken,
    /// Pages that move are in two frames, and the map leads to the former.
    PagesCopied,
    /// The map leads to the new frames.
    PagesMoved,
    /// Blocks of free frames have gone back to the file system.
    BlocksReturned,
    /// Recovery: what was accepted is durable in the log.
    LogSecured,
    /// Recovery: one change is in its home.
    HomeReplayed,
    /// Recovery: the homes are durable.
    ReplayFlushed,
    /// Recovery: the tail is behind what was accepted.
    TailRecovered,
    /// Recovery: and so is the cursor.
    CursorRecovered,
}

impl Step {
    /// All of them.
    #[rustfmt::skip]
    pub const ALL: &[Self] = &[
        Self::RootsMended, Self::GenerationWritten, Self::EpochWritten, Self::CursorBegun, Self::LeaseWritten,
        Self::RecordBegun, Self::RecordWritten, Self::Committed, Self::HomeStored, Self::CursorMoved,
        Self::HomesFlushed, Self::TailMoved, Self::Settled, Self::FileGrown, Self::PayloadWritten,
        Self::FramesFilled, Self::FramesLinked, Self::CutBegun, Self::PagesTaken, Self::PagesCopied,
        Self::PagesMoved, Self::BlocksReturned, Self::LogSecured, Self::HomeReplayed, Self::ReplayFlushed,
        Self::TailRecovered, Self::CursorRecovered,
    ];

    /// The calling thread has come to this place.
    #[inline(always)]
    pub fn reach(self) {
        #[cfg(feature = "internals")]
        fate::reach(self);
    }

    /// Ends this process, as by SIGKILL, when it comes to this place for the `nth` time from now on, counted from 1.
    #[cfg(feature = "internals")]
    pub fn is_the_end(self, nth: u64) {
        fate::choose(self, nth);
    }
}

#[cfg(feature = "internals")]
mod fate {
    use super::Step;
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

    const NONE: u32 = u32::MAX;

    static CHOSEN: AtomicU32 = AtomicU32::new(NONE);
    static LEFT: AtomicU64 = AtomicU64::new(0);

    pub(super) fn choose(step: Step, nth: u64) {
        // ORDERING: Release: a thread that finds the step finds how often it has to.
        LEFT.store(nth, Ordering::Relaxed);
        CHOSEN.store(step as u32, Ordering::Release);
    }

    #[inline]
    pub(super) fn reach(step: Step) {
        // ORDERING: Acquire: pairs with `choose`.
        if CHOSEN.load(Ordering::Acquire) == step as u32 {
            count();
        }
    }

    #[cold]
    fn count() {
        // ORDERING: Relaxed: a number on its own.
        if LEFT.fetch_sub(1, Ordering::Relaxed) == 1 {
            // SAFETY: a plain call, about this process.
            unsafe { libc::raise(libc::SIGKILL) };
            loop {
                std::thread::park();
            }
        }
    }
}
