//! The crash-state explorer: from a recorded run to every lawful crash image, each recovered by the real code and
//! compared with an oracle.
//!
//! [`medium`] says what may survive, [`pick`] which of that to try, [`explore`] walks a run, [`story`] tells what
//! went wrong. [`script`] draws mixed workloads, [`oracle`] knows what must hold after a crash of one, [`shrink`] makes one
//! that fails small.

pub mod commits;
pub mod event;
pub mod explore;
pub mod gate;
pub mod life;
pub mod medium;
pub mod oracle;
pub mod pick;
pub mod place;
pub mod recover;
pub mod run;
pub mod script;
pub mod shrink;
pub mod story;

pub use event::Event;
pub use explore::{Crash, Judge, Plan, Report, State, Trace, explore, explore_on};
