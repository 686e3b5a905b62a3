//! What test programs and benchmarks share, and what knows nothing of Pagestone.

pub mod child;
pub mod disk;
pub mod fork;
pub mod limit;
pub mod random;
pub mod rounds;
pub mod skip;
