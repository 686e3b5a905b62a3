//! Harnesses that several tests share.

pub mod crash;
pub mod linear;
pub mod lint;
#[cfg(not(pagestone_shuttle))]
pub mod oracle;
#[cfg(pagestone_shuttle)]
pub mod schedules;
#[cfg(not(pagestone_shuttle))]
pub mod sqlite;
