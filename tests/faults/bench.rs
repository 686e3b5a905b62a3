//! Runs cases one after the other, each with a limit of time, and counts what they did.

use pagestone_kit::disk::private_mounts;
use pagestone_kit::skip::skipped;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// One fault, or one sweep of it.
pub struct Case {
    pub name: &'static str,
    pub run: fn(&Bench),
}

/// What the cases run on. Clones share their counters.
#[derive(Clone)]
pub struct Bench {
    /// Every operation of every sweep, and not a sample.
    pub long: bool,
    states: Arc<AtomicU64>,
    skipped: Arc<AtomicU64>,
}

/// A case that takes longer, even on a busy machine, hangs.
const QUICK_LIMIT: Duration = Duration::from_secs(240);
const LONG_LIMIT: Duration = Duration::from_secs(3600);

impl Bench {
    pub fn new(long: bool) -> Self {
        Self { long, states: Arc::default(), skipped: Arc::default() }
    }

    /// Counts one state that was reached by a fault, opened again and judged.
    pub fn state(&self) {
        self.states.fetch_add(1, Ordering::Relaxed);
    }

    /// Says aloud that a case, or a part of it, cannot run here.
    pub fn skip(&self, what: &str, why: &str) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
        skipped(what, why);
    }

    /// Which of `0..n` a sweep takes: all, or about `few`, always the first and the last.
    pub fn sweep(&self, n: usize, few: usize) -> Vec<usize> {
        if self.long || n <= few {
            return (0..n).collect();
        }
        let mut picked: Vec<_> = (0..few).map(|i| i * (n - 1) / (few - 1).max(1)).collect();
        picked.dedup();
        picked
    }

    /// Whether a case may mount small disks. If not, that is said aloud.
    pub fn may_mount(&self, what: &str) -> bool {
        private_mounts().map_err(|why| self.skip(what, why)).is_ok()
    }

    /// Runs the cases whose names contain all words of `filters`. The last line is the summary.
    pub fn run(&self, groups: &[&[Case]], filters: &[String]) -> ExitCode {
        let wanted = |case: &&Case| filters.iter().all(|word| case.name.contains(word.as_str()));
        let (mut cases, mut failed) = (0, Vec::new());
        let counts = || (self.states.load(Ordering::Relaxed), self.skipped.load(Ordering::Relaxed));
        for case in groups.iter().copied().flatten().filter(wanted) {
            let (before, start) = (counts(), Instant::now());
            let well = self.run_one(case);
            let (after, seconds) = (counts(), start.elapsed().as_secs_f64());
            let ran = after.0 != before.0 || after.1 == before.1;
            cases += u64::from(ran || !well);
            let verdict = match (well, ran) {
                (false, _) => "FAILED",
                (true, true) => "ok",
                (true, false) => "none",
            };
            println!("{verdict:6} {:67} {:6} states {seconds:7.1} s", case.name, after.0 - before.0);
            if !well {
                failed.push(case.name);
            }
        }
        for name in &failed {
            println!("failed: {name}");
        }
        let (states, skipped) = counts();
        println!("{skipped} parts were SKIPPED{}", if skipped > 0 { ", see above" } else { "" });
        println!("summary: faults cases={cases} states={states} schedules=0 failures={}", failed.len());
        if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Runs a case; returns whether it passed. A case that hangs is left behind: its thread ends with the process.
    fn run_one(&self, case: &Case) -> bool {
        let (told, verdict) = channel();
        let (bench, run) = (self.clone(), case.run);
        std::thread::spawn(move || {
            let _ = told.send(catch_unwind(AssertUnwindSafe(|| run(&bench))).is_ok());
        });
        let limit = if self.long { LONG_LIMIT } else { QUICK_LIMIT };
        match verdict.recv_timeout(limit) {
            Ok(well) => well,
            Err(RecvTimeoutError::Timeout) => {
                println!("{}: it hangs", case.name);
                false
            }
            Err(RecvTimeoutError::Disconnected) => false,
        }
    }
}
