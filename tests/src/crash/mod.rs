//! Recorded runs and what must hold after a crash of one. The explorer (`pagestone_explorer`, and its page) shows every
//! lawful crash image; each is recovered here by the real code and judged.
//!
//! [`life`] has cases written by hand over records of the log, [`script`] draws mixed workloads of a store, [`run`] records
//! them, [`oracle`] knows what must hold, [`recover`] asks it, [`shrink`] makes one that fails small, [`commits`] is for
//! databases on a store.

pub mod commits;
pub mod life;
pub mod oracle;
pub mod place;
pub mod recover;
pub mod run;
pub mod script;
pub mod shrink;
