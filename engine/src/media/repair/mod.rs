//! Repair of a damaged region: each structure anew from what says the same, and what is lost said so.
//!
//! What a region has twice (superblock, log header, root) is written from the other copy, or from what repeats it. Then the log
//! is recovered. What is left is decided in memory, without a store: records are found through the directory, or through all
//! frames where a node of it cannot be read; every frame gets one owner; a word of a map that cannot be read, or that names
//! what has another owner, becomes *lost*: to read it is an error, and never zeros; bitmaps, their table, directory and lists
//! are what the records and maps say. The differences are the plan, which is told before it is done.
//!
//! The plan is done by records of the log. What leads to what is being made is broken first, and named again last, so that
//! a region whose repair was cut short is one that a repair can begin with, and none that shows something wrong.
//!
//! | file | decides |
//! |---|---|
//! | `anchor` | superblock and log header, where neither copy is whole |
//! | `lines` | lines of the root that are whole in neither |
//! | `records` | which frames hold records, and which objects there are |
//! | `maps` | what each object keeps of its map |
//! | `space` | who owns a frame, and which one may be taken |
//! | `found` | the object that gets what was allocated and has no owner any more |
//! | `names` | names, directory and lists |
//! | `groups` | bitmaps and their table |
//! | `script` | the stores, in their order |

mod anchor;
mod found;
mod groups;
mod lines;
mod maps;
mod names;
mod plan;
mod records;
mod script;
mod space;

use super::check::{Finding, Report};
use super::ledger::Ledger;
use super::log::Log;
use super::rules::Rules;
use crate::error::Result;
use crate::region::Region;
use std::sync::Arc;

/// One thing that a repair does.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Repair {
    /// What is repaired: one word, the same in all releases.
    pub what: &'static str,
    /// Byte offset of it in the region.
    pub at: u64,
    /// What exactly is done.
    pub detail: String,
}

/// What a repair did, or would do.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Repaired {
    /// What it did, in order; of a region that was opened read-only, what it would do.
    pub repairs: Vec<Repair>,
    /// Defects that it cannot repair. Of a region that was opened read-only: those that it found.
    pub left: Vec<Finding>,
}

/// All that is repaired, as far as it is known.
#[derive(Default)]
pub(super) struct Repairs(Vec<Repair>);

impl Repairs {
    pub(super) fn say(&mut self, what: &'static str, at: u64, detail: impl Into<String>) {
        self.0.push(Repair { what, at, detail: detail.into() });
    }
}

/// Repairs a region, or says what that would do if the region was opened read-only.
///
/// # Durability
/// Durable on return. If it is cut short, what it did in full is there, and it can be done again.
///
/// # Errors
/// `Features` where something is used that this release does not know; `NotARegion`; `Corrupt` where the log cannot be
/// recovered; `NoSpace` where there is no frame for what is made anew. Errors of the medium.
pub fn repair(region: &Arc<Region>, rules: Rules) -> Result<Repaired> {
    let mut repairs = Repairs::default();
    let superblock = anchor::superblock(region, &mut repairs)?;
    anchor::log_header(region, &superblock, &mut repairs)?;
    let log = Arc::new(lines::recovered(region, superblock, rules, &mut repairs)?);
    let report = check(&log)?;
    let plan = plan::of(&log, &report, repairs)?;
    if region.read_only() || plan.is_empty() {
        return Ok(Repaired { repairs: plan.repairs.0, left: report.findings });
    }
    plan.script.run(&log)?;
    log.close()?;
    Ok(Repaired { repairs: plan.repairs.0, left: check(&log)?.findings })
}

fn check(log: &Arc<Log>) -> Result<Report> {
    Ledger::new(Arc::clone(log))?.check()
}

/// A frame's number behind the last whole frame of a region's file, but for the spare one.
fn frames_of_file(region: &Region) -> u64 {
    (region.len_bytes() / crate::units::FRAME_SIZE as u64).saturating_sub(1)
}
