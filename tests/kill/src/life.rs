//! One life of the worker: started, listened to, killed.

use crate::joint;
use crate::judge::Known;
use crate::plan::Plan;
use crate::workload::{BATCHED, CHECKPOINTED, VACUUMED, WRITERS};
use pagestone_kit::child::Child;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// What each writer has printed.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Last transaction begun, by writer.
    pub begun: [u64; WRITERS as usize],
    /// Last transaction acknowledged, by writer.
    pub acknowledged: [u64; WRITERS as usize],
    /// Last joint transaction acknowledged in this round, by writer. (A later transaction in one database does not
    /// acknowledge it: where nothing is promised, a transaction that a kill tore stays torn.)
    pub joint: [u64; WRITERS as usize],
    /// VACUUMs done.
    pub vacuums: u64,
    /// Checkpoints completed.
    pub checkpoints: u64,
    /// Batches committed, at least.
    pub batches: u64,
    /// Why the worker failed, if it did.
    pub failed: Option<String>,
}

impl Ledger {
    /// Before a life: what is known to be in the database counts as acknowledged.
    pub fn starting_from(known: &Known) -> Self {
        Self { begun: known.heads, acknowledged: known.heads, ..Self::default() }
    }

    /// Notes one line.
    fn enter(&mut self, line: &str) {
        match line {
            VACUUMED => return self.vacuums += 1,
            CHECKPOINTED => return self.checkpoints += 1,
            _ => (),
        }
        if let Some(batches) = line.strip_prefix(BATCHED).and_then(|n| n.parse().ok()) {
            // Each life counts from 0, and the first one of a round is the long one.
            self.batches = self.batches.max(batches);
            return;
        }
        let mut words = line.split(' ');
        let kind = words.next();
        if kind == Some("failed") {
            self.failed = Some(line.to_owned());
            return;
        }
        let mut number = || words.next().and_then(|w| w.parse::<u64>().ok());
        let (Some(writer), Some(transaction)) = (number(), number()) else { return };
        let w = writer as usize;
        if w >= self.begun.len() {
            return;
        }
        match kind {
            Some("begin") => {
                let acknowledged = self.acknowledged[w];
                // A second life of the round begins behind what the first one acknowledged. If it begins earlier, that
                // was lost; the same rows would be written again, and nothing would be missing in the end.
                if transaction <= acknowledged {
                    self.failed = Some(format!(
                        "began {transaction} of writer {writer} again: {acknowledged} was acknowledged and is lost"
                    ));
                }
                self.begun[w] = self.begun[w].max(transaction);
            }
            Some("ack") => {
                self.acknowledged[w] = self.acknowledged[w].max(transaction);
                if joint::is_joint(transaction) {
                    self.joint[w] = transaction;
                }
            }
            _ => (),
        }
    }
}

/// Starts a worker, kills it `after` its start, and notes what it has printed.
pub fn live_and_die(plan: &Plan, region: &Path, after: Duration, ledger: &mut Ledger) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|e| format!("finding this program: {e}"))?;
    let (parameters, seed) = (plan.parameters(), plan.seed.to_string());
    let told = ["--parameters", &parameters, "--journal", plan.journal, "--sync", plan.sync, "--seed", &seed];
    let mut worker = Command::new(program);
    worker.arg("worker").arg(region).args(told).args(plan.pins.then_some("--pins"));
    let mut worker = Child::start(&mut worker);
    thread::sleep(after);
    let killed = worker.kill();
    worker.rest().iter().for_each(|line| ledger.enter(line));
    // If the worker ended by a panic, an abort or another signal, and not by this kill, that is a finding.
    ledger.failed = ledger.failed.take().or(killed.err());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_maintenance_did_is_counted() {
        let mut ledger = Ledger::default();
        [VACUUMED, CHECKPOINTED, "begin 0 1", CHECKPOINTED, "batched 7", "batched 3"]
            .into_iter()
            .for_each(|l| ledger.enter(l));
        assert_eq!((ledger.vacuums, ledger.checkpoints, ledger.begun[0], ledger.batches), (1, 2, 1, 7));
    }

    #[test]
    fn a_transaction_written_again_by_the_next_life_was_lost() {
        let mut ledger = Ledger::default();
        ["begin 1 7", "ack 1 7", "begin 1 8"].into_iter().for_each(|l| ledger.enter(l));
        assert_eq!(ledger.failed, None);
        ["begin 1 7", "ack 1 7", "begin 1 8", "ack 1 8"].into_iter().for_each(|l| ledger.enter(l));
        assert!(ledger.failed.is_some_and(|why| why.contains("lost")));
    }
}
