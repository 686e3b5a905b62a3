//! Harnesses that the integration tests share.

pub mod crash;
pub mod sqlite;
