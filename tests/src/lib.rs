//! Harnesses that the integration tests share.

pub mod crash;
pub mod linear;
pub mod lint;
#[cfg(pagestone_shuttle)]
pub mod schedules;
#[cfg(not(pagestone_shuttle))]
pub mod sqlite;
