//! Helpers that test programs and benchmarks share. They know nothing of Pagestone.

pub mod child;
pub mod disk;
pub mod fork;
pub mod limit;
pub mod memory;
pub mod random;
pub mod rounds;
pub mod skip;
pub mod stop;
