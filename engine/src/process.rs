//! What a process has once, for adapters that keep tables beside the engine's.
//!
//! A region belongs to one process, so what its users keep beside it, such as locks on ranges of an object, may lie in the
//! memory of that process. A child made by `fork` has no part in the region and must have none in those tables either: a
//! lock in them may be held by a thread that the child does not have.

#![forbid(unsafe_code)]

pub use crate::sync::Global;
