//! The things that all threads of a case share while they work.

use super::code::Code;
use super::outcome::{Got, Kind, Verdict, kind};
use super::tally::Event;
use pagestone::store::Store;
use pagestone::units::Durability;

/// A store in use, and what may go wrong with it.
pub struct Scene<'w> {
    /// The store.
    pub store: &'w Store,
    /// The class that its region is taken to have.
    pub class: Durability,
    /// Whether a change may find no space.
    pub full: bool,
    /// Whether a file operation is planned to fail.
    pub armed: bool,
    /// Whether no other thread works: counters of the whole store can be compared.
    pub alone: bool,
    /// Whether the model must know what a power loss may leave.
    pub recorded: bool,
}

impl Scene<'_> {
    /// Judges the answer of a call. `expected` is the error that it should be, or `None` for success.
    ///
    /// # Errors
    /// When the answer is another one.
    pub fn judge<T>(
        &self,
        code: &Code,
        result: pagestone::Result<T>,
        expected: Option<Kind>,
    ) -> Verdict<Got<T>> {
        let found = result.as_ref().err().map(kind);
        let got = match (result, found, expected) {
            (Ok(answer), _, None) => Got::Done(answer),
            (Err(_), found, Some(_)) if found == expected => Got::Refused,
            // In a full region the call syncs zeros that it has stored: that sync may have met the planned failure.
            (Err(_), Some(Kind::NoSpace), _)
                if self.full && self.armed && self.store.poisoned().is_some() =>
            {
                Got::Broken
            }
            (Err(_), Some(Kind::NoSpace), _) if self.full => Got::Full,
            (Err(_), Some(Kind::Io | Kind::Poisoned), _) if self.armed => Got::Broken,
            (Ok(_), ..) => return Err(format!("the call succeeded; expected was {expected:?}")),
            (Err(error), ..) => {
                return Err(match expected {
                    None => format!("the call failed: {error}"),
                    Some(kind) => format!("the call failed otherwise than by {kind:?}: {error}"),
                });
            }
        };
        match &got {
            Got::Done(_) => Event::CallsDone,
            Got::Refused => Event::CallsRefused,
            Got::Full => Event::RegionFull,
            Got::Broken => Event::FailureStruck,
        }
        .happened();
        code.answered(|| match found {
            None => ".unwrap();".into(),
            Some(kind) => format!(".unwrap_err(); // {kind:?}"),
        });
        Ok(got)
    }
}
