//! Crash states: the explorer's own tests, the mixed workload, and every schedule of the log's rules by name.

mod batches;
mod groups;
mod later_lives;
mod lint;
mod log_rules;
mod losses;
mod mixed;
mod moves;
mod oracle;
mod planted;
mod record_rules;
mod store_rules;
mod sweep;
mod toy;
