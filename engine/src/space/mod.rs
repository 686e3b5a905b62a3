//! Space managers: who owns a frame.
