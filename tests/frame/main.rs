//! The frame table with real memory and real threads: transitions against a plain model, no count lost beside
//! punches, one descriptor for each frame however many race for its first touch.

mod latches;
mod model;
mod stress;
