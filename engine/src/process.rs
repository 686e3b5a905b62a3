//! A value that exists once per process, for adapters that keep tables beside the engine's.
//!
//! A region belongs to one process, so its users can keep state about it, such as locks on ranges of an object, in
//! the memory of that process. A child made by `fork` does not own the region and must not use those tables either: a
//! lock in them may be held by a thread that the child does not have.

#![forbid(unsafe_code)]

pub use crate::sync::Global;
