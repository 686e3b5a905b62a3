//! How the last owner's life ended, and what an opening did about it.

use std::fmt;

/// How the last owner's life ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Ending {
    /// In order: it closed the region, or has not changed it yet.
    Clean,
    /// The process died, and all that it stored is there.
    ProcessDeath,
    /// The power failed, or that cannot be ruled out: what was synced is there, and each batch whole or not at all.
    PowerLoss,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clean => "clean",
            Self::ProcessDeath => "process-death",
            Self::PowerLoss => "power-loss",
        })
    }
}

/// The reason for an [`Ending`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Why {
    /// The region is new, or was closed in order.
    Closed,
    /// It is the same file, and its file system was mounted all the time: this kernel's memory has what was stored.
    Kept,
    /// The machine was booted in between, or this boot cannot be told: there is no `/proc`, or a container's own.
    OtherBoot,
    /// It is another file than the owner's: a copy, a snapshot, a file that was put back, another file system.
    OtherFile,
    /// The file system was unmounted in between, or that cannot be ruled out: its mountings cannot be told apart, or this
    /// kernel is not its only owner (network file systems, FUSE).
    OtherMounting,
    /// The owner's own flush had failed.
    FailedFlush,
    /// What the owner had stored could not all be written to the medium after its death.
    FailedWriteback,
    /// The lease, which says how the owner left, is not whole or is not of this log.
    Unreadable,
    /// The caller said so.
    Assumed,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "it was closed in order, or is new",
            Self::Kept => "it is the same file, and its file system has been mounted ever since",
            Self::OtherBoot => "the machine was booted since, or this boot cannot be told",
            Self::OtherFile => "it is another file than the one that its owner had",
            Self::OtherMounting => "its file system was unmounted since, or that cannot be ruled out",
            Self::FailedFlush => "a flush of its owner had failed",
            Self::FailedWriteback => "what its owner had stored could not all be written to the medium",
            Self::Unreadable => "what says how its owner left is damaged",
            Self::Assumed => "the caller said so",
        })
    }
}

/// What an opening found, and did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Recovery {
    /// How the last owner's life ended.
    pub ending: Ending,
    /// The reason for that.
    pub why: Why,
    /// Operations of the log that were replayed.
    pub replayed: u64,
    /// Operations that were found whole in the log and not replayed: nothing had made them durable. After the death of a
    /// process there are none, unless a record before them is damaged.
    pub dropped: u64,
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ending, why, replayed, dropped } = self;
        write!(f, "{ending} ({why}); {replayed} operations replayed, {dropped} dropped")
    }
}
