//! What a call may answer.

use pagestone::Error;

/// An error's kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "as the engine's errors")]
pub enum Kind {
    Io,
    NoSpace,
    NotFound,
    Exists,
    BadName,
    OutOfRange,
    Invalid,
    Detached,
    Busy,
    TimedOut,
    Foreign,
    Poisoned,
    ReadOnly,
    InUse,
    Closed,
    Other,
}

/// The kind of an error.
#[must_use]
pub fn kind(error: &Error) -> Kind {
    match error {
        Error::Io { .. } => Kind::Io,
        Error::NoSpace { .. } => Kind::NoSpace,
        Error::NotFound { .. } => Kind::NotFound,
        Error::Exists { .. } => Kind::Exists,
        Error::BadName { .. } => Kind::BadName,
        Error::OutOfRange { .. } => Kind::OutOfRange,
        Error::Invalid(_) => Kind::Invalid,
        Error::Detached { .. } => Kind::Detached,
        Error::Busy { .. } => Kind::Busy,
        Error::TimedOut { .. } => Kind::TimedOut,
        Error::ForeignAddress { .. } => Kind::Foreign,
        Error::Poisoned { .. } => Kind::Poisoned,
        Error::ReadOnly => Kind::ReadOnly,
        Error::InUse { .. } => Kind::InUse,
        Error::Closed => Kind::Closed,
        _ => Kind::Other,
    }
}

/// What a call has done, after its answer was judged.
#[must_use]
pub enum Got<T> {
    /// What was asked, with this answer.
    Done(T),
    /// Nothing, for the reason that was expected.
    Refused,
    /// Nothing: the region is full, which is allowed.
    Full,
    /// Unknown: a file operation failed, as was planned. The region is poisoned.
    Broken,
}

/// A comparison.
pub type Verdict<T = ()> = Result<T, String>;

/// Fails with what `why` says.
///
/// # Errors
/// `why`, unless `holds`.
pub fn ensure(holds: bool, why: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(why()) }
}
