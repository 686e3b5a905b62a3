//! What the recorder saw, in one total order.

pub use pagestone::persist::Event;
