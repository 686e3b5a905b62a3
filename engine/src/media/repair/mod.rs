//! Repair of a damaged region: each structure is made anew from others that hold the same, and what is lost is marked as
//! lost.
//!
//! What a region has twice (superblock, log header, root) is written from the other copy, or from what repeats it. Then
//! the log is recovered. The rest is decided in memory, without a store. Records are found through the directory, or by
//! reading all frames if a node of it cannot be read. Every frame gets one owner. A word of a map that cannot be read, or
//! whose frame has another owner, becomes *lost*: reading such pages is an error, and never gives zeros. Bitmaps, their
//! table, directory and lists are made from the records and maps. The differences are the plan, which is reported before
//! it is carried out.
//!
//! The plan is carried out by records of the log. The words that lead to a structure that is made anew are cleared before, and set
//! when all of it is there. So a region whose repair was cut short shows nothing wrong. It can be repaired again, and what
//! the first repair would have kept is kept: a record of an object changes as a whole, bits together with their seals, and what
//! has lost its owner gets another one in the record that begins to change the rest.
//!
//! | file | decides |
//! |---|---|
//! | `anchor` | superblock and log header, where neither copy is whole |
//! | `lines` | lines of the root that are whole in neither |
//! | `records` | which frames hold records, and which objects there are |
//! | `maps` | what each object keeps of its map |
//! | `space` | the owner of each frame, and which frame may be taken |
//! | `found` | the object that gets allocated frames without an owner |
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

/// One step of a repair.
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

/// The report of a repair.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Repaired {
    /// What was done, in order. For a region that was opened read-only: what would be done.
    pub repairs: Vec<Repair>,
    /// Defects that are left. For a region that was opened read-only: all that were found.
    pub left: Vec<Finding>,
}

/// The repairs that are known so far.
#[derive(Default)]
pub(super) struct Repairs(Vec<Repair>);

impl Repairs {
    pub(super) fn say(&mut self, what: &'static str, at: u64, detail: impl Into<String>) {
        self.0.push(Repair { what, at, detail: detail.into() });
    }
}

/// Repairs a region: `steps` of what that takes, and whether these were all. Fewer are what a crash leaves. For a region that was
/// opened read-only, reports what a repair would do.
///
/// # Durability
/// Durable on return. If the repair is cut short, its complete records are there, and it can be done again.
///
/// # Errors
/// `Features` where something is used that this release does not know; `NotARegion`; `Corrupt` where the log cannot be
/// recovered; `NoSpace` where there is no frame for what is made anew. Errors of the medium.
pub fn repair(region: &Arc<Region>, rules: Rules, steps: usize) -> Result<(Repaired, bool)> {
    let mut repairs = Repairs::default();
    let superblock = anchor::superblock(region, &mut repairs)?;
    anchor::log_header(region, &superblock, &mut repairs)?;
    let log = Arc::new(lines::recovered(region, superblock, rules, &mut repairs)?);
    let report = check(&log)?;
    let plan = plan::of(&log, &report, repairs)?;
    if region.read_only() || plan.is_empty() {
        return Ok((Repaired { repairs: plan.repairs.0, left: report.findings }, true));
    }
    let all = plan.script.run(&log, steps)?;
    log.close()?;
    Ok((Repaired { repairs: plan.repairs.0, left: check(&log)?.findings }, all))
}

fn check(log: &Arc<Log>) -> Result<Report> {
    Ledger::new(Arc::clone(log))?.check()
}

/// The number of whole frames in a region's file, without the spare frame at its end.
fn frames_of_file(region: &Region) -> u64 {
    (region.len_bytes() / crate::units::FRAME_SIZE as u64).saturating_sub(1)
}
