//! One life of the worker: started, listened to, killed.

use crate::joint;
use crate::judge::Known;
use crate::plan::Plan;
use crate::workload::{BATCHED, CHECKPOINTED, VACUUMED, WRITERS};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

const SIGKILL: i32 = 9;

/// What each writer said.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Last transaction begun, by writer.
    pub begun: [u64; WRITERS as usize],
    /// Last transaction acknowledged, by writer.
    pub acknowledged: [u64; WRITERS as usize],
    /// Last joint transaction acknowledged in this round, by writer. (A later one of its own does not acknowledge it: where
    /// nothing is promised, one that was torn by a kill stays so.)
    pub joint: [u64; WRITERS as usize],
    /// VACUUMs done.
    pub vacuums: u64,
    /// Checkpoints completed.
    pub checkpoints: u64,
    /// Batches committed, at least.
    pub batches: u64,
    /// Why the worker gave up, if it did: never expected.
    pub failed: Option<String>,
}

impl Ledger {
    /// Before a life: what is known to be in the database counts as acknowledged.
    pub fn starting_from(known: &Known) -> Self {
        Self { begun: known.heads, acknowledged: known.heads, ..Self::default() }
    }

    /// Takes one line down. A line that the kill tore says nothing.
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
                // A second life of the round goes on behind what the first one acknowledged, or that was lost: the
                // same rows would be written again and nothing would be missing in the end.
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

/// Starts a worker, kills it `after` its start, and takes down what it had said.
pub fn live_and_die(plan: &Plan, region: &Path, after: Duration, ledger: &mut Ledger) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|e| format!("finding this program: {e}"))?;
    let mut worker = Command::new(program)
        .arg("worker")
        .arg(region)
        .args([
            "--parameters",
            &plan.parameters(),
            "--journal",
            plan.journal,
            "--sync",
            plan.sync,
            "--seed",
            &plan.seed.to_string(),
        ])
        .args(plan.pins.then_some("--pins"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("starting the worker: {e}"))?;
    let pipe = worker.stdout.take();
    let listener = thread::spawn(move || {
        let mut lines = Vec::new();
        if let Some(pipe) = pipe {
            collect(pipe, &mut lines);
        }
        lines
    });
    thread::sleep(after);
    // SIGKILL: the worker gets no chance to tidy up.
    worker.kill().map_err(|e| format!("killing the worker: {e}"))?;
    let status = worker.wait().map_err(|e| format!("waiting for the worker: {e}"))?;
    let lines = listener.join().map_err(|_| "the listener panicked".to_owned())?;
    lines.iter().for_each(|l| ledger.enter(l));
    // A panic, an abort or a signal of its own is a finding, and not the kill that was asked for.
    if status.signal() != Some(SIGKILL) && ledger.failed.is_none() {
        ledger.failed = Some(format!("ended by itself: {status}"));
    }
    Ok(())
}

/// Whole lines only: what the kill tore off at the end was not said.
fn collect(pipe: impl Read, lines: &mut Vec<String>) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    while pipe.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) && line.ends_with(b"\n") {
        lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_torn_by_the_kill_is_not_an_acknowledgement() {
        let mut lines = Vec::new();
        collect(&b"begin 0 12\nack 0 12\nack 0 1"[..], &mut lines);
        let mut ledger = Ledger::default();
        lines.iter().for_each(|l| ledger.enter(l));
        assert_eq!((ledger.begun[0], ledger.acknowledged[0]), (12, 12));
    }

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
