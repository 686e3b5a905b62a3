//! The crash-state explorer: from a recorded run to every lawful crash image, each recovered by the real code and
//! compared with an oracle.
//!
//! [`medium`] says what may survive, [`pick`] which of that to try, [`explore`] walks a run, [`story`] tells what
//! went wrong.

pub mod event;
pub mod explore;
pub mod medium;
pub mod pick;
pub mod story;

pub use explore::{Crash, Judge, Plan, Report, State, Trace, explore};
