//! What tests do with a store: operations, a plain model of their effects, a generator that draws them, hands that do
//! them, and a shrinker that leaves out what a failure does not need.
//!
//! Tests of crash states, faults, fuzzing, histories of threads and the model of the whole store use this. Each of them
//! has its own judge of what must hold afterwards.

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
