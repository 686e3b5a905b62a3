#![doc = include_str!("../README.md")]

pub mod explore;
pub mod gate;
pub mod medium;
pub mod pick;
mod shrink;
pub mod story;

pub use explore::{Crash, Judge, Plan, Report, State, Trace, explore, explore_on};
pub use pagestone::persist::Event;
