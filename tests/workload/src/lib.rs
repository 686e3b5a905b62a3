//! What tests do with a store: operations, a plain model of what they make of it, a generator that draws them, hands that
//! do them, and a shrinker that leaves out what a failure does not need.
//!
//! Crash states, faults, fuzzing, histories of threads and the model of the whole store stand on it; what must hold
//! afterwards is known by each of these judges itself.

pub mod content;
pub mod draw;
pub mod hands;
pub mod model;
pub mod op;
pub mod pattern;
pub mod shrink;

pub use content::PAGE;
pub use draw::{Choices, Kind, Space};
pub use hands::Hands;
pub use model::Model;
pub use op::{Choice, ObjectNo, Op};
