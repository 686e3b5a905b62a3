//! Recorded runs, and what must hold after a crash of one. The explorer (`pagestone_explorer`, see its README) shows
//! crash images that the medium allows. Here the real code recovers each, and the result is judged.
//!
//! [`life`] has cases written by hand over records of the log. [`script`] draws mixed workloads of a store, [`run`]
//! records them, [`oracle`] says what must hold, [`recover`] asks it, and [`shrink`] makes a failing workload small.
//! [`commits`] is for databases on a store.

pub mod commits;
pub mod life;
pub mod oracle;
pub mod place;
pub mod recover;
pub mod run;
pub mod script;
pub mod shrink;
