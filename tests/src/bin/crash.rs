//! `make crash`: the long run of the crash-state explorer. Mixed workloads of new seeds run on every medium until the given
//! number of distinct crash states were recovered and found lawful.
//!
//! With `--break RULE` the store breaks a rule, and the run shows whether mixed work alone finds that. It does, by seed
//! 20, even for rules that need luck. A mark before its data (`MarkFirst`) is found by picks that keep what was stored
//! last. A torn header (`HeaderTorn`) is found because the store was used before, so that the other copy is really an
//! older one. A frame reused under a pin (`ReuseBeforeUnpin`) is found because pins are held over cuts and looked at. A
//! sync that returns before another sync's flush (`SyncEarlier`) is found by three threads that mostly sync, held up at
//! fences.
//!
//! ```text
//! crash [--states 60000] [--seed 1] [--only SEED] [--break RULE]
//! ```

use pagestone::media::rules::Rule;
use pagestone::units::Durability::{self, CacheLine, Fdatasync};
use pagestone_explorer::pick::Effort;
use pagestone_explorer::{Plan, Report, explore};
use pagestone_tests::crash::recover::StoreJudge;
use pagestone_tests::crash::run::{Rig, record};
use pagestone_tests::crash::script::{Script, Shape};
use pagestone_tests::crash::shrink::{shrink, tell};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const MEDIA: [(Durability, usize); 4] = [(CacheLine, 64), (CacheLine, 8), (Fdatasync, 512), (Fdatasync, 8)];

const SHAPES: [(&str, Shape); 5] = [
    ("one thread", Shape { threads: 1, ops: 60, objects: 5, pages: 6, sync_every: 6, batch_every: 8 }),
    (
        "one thread, few syncs",
        Shape { threads: 1, ops: 90, objects: 4, pages: 4, sync_every: 20, batch_every: 8 },
    ),
    (
        "one thread, log wraps",
        Shape { threads: 1, ops: 260, objects: 6, pages: 3, sync_every: 12, batch_every: 8 },
    ),
    ("three threads", Shape { threads: 3, ops: 30, objects: 3, pages: 4, sync_every: 6, batch_every: 8 }),
    (
        "three threads, many syncs",
        Shape { threads: 3, ops: 24, objects: 2, pages: 3, sync_every: 2, batch_every: 8 },
    ),
];

/// How long a workload that fails is shrunk.
const PATIENCE: Duration = Duration::from_secs(120);

/// States of one seed's workload on one medium.
const STATES_EACH: u64 = 900;

struct Options {
    states: u64,
    seed: u64,
    only: Option<u64>,
    broken: Option<Rule>,
}

impl Options {
    /// One image in this many begins a life that is crashed too. In a very long run there are fewer of these: its time is
    /// for the states of the first life.
    fn deeper_every(&self) -> u64 {
        if self.states > 200_000 { 256 } else { 48 }
    }
}

fn options() -> Result<Options, String> {
    let mut options = Options { states: 60_000, seed: 1, only: None, broken: None };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        let mut number = || {
            let value = value()?;
            value.parse().map_err(|e| format!("{arg} {value}: {e}"))
        };
        match arg.as_str() {
            "--states" => options.states = number()?,
            "--seed" => options.seed = number()?,
            "--only" => options.only = Some(number()?),
            "--break" => options.broken = Some(rule(&value()?)?),
            _ => return Err("usage: crash [--states N] [--seed N] [--only SEED] [--break RULE]".into()),
        }
    }
    Ok(options)
}

fn rule(name: &str) -> Result<Rule, String> {
    let found = Rule::ALL.iter().find(|rule| format!("{rule:?}") == name);
    found.copied().ok_or_else(|| format!("there is no rule {name}; there are {:?}", Rule::ALL))
}

/// The combination of shape and medium that a seed stands for.
fn combination(seed: u64) -> (usize, usize) {
    ((seed / MEDIA.len() as u64 % SHAPES.len() as u64) as usize, (seed % MEDIA.len() as u64) as usize)
}

/// Explores one seed's workload. One that fails is shrunk.
fn one(seed: u64, options: &Options) -> Report {
    let (shape, medium) = combination(seed);
    let script = Script::random(SHAPES[shape].1, seed);
    let mut report = attempt(&script, MEDIA[medium], seed, options);
    if let Some(story) = report.violation.take() {
        let fails = |script: &Script| attempt(script, MEDIA[medium], seed, options).violation;
        // A planted bug is known: its workload need not be shrunk.
        let patience = if options.broken.is_some() { Duration::ZERO } else { PATIENCE };
        report.violation = Some(tell(&shrink(&script, story, patience, fails)));
    }
    report
}

fn attempt(script: &Script, (class, cell): (Durability, usize), seed: u64, options: &Options) -> Report {
    let rig = options.broken.map_or(Rig::new(class), |rule| Rig::new(class).breaking(rule));
    let mut run = match record(&rig, script.clone(), seed) {
        Ok(run) => run,
        Err(error) => return failed(format!("the store cannot be made: {error}")),
    };
    if let Some(why) = run.failed {
        return failed(why);
    }
    let mut judge = StoreJudge::new(rig, &mut run.oracle, options.deeper_every(), seed);
    let effort = Effort { exhaustive: 8, adversarial: 6, random: 5 };
    let plan = Plan { limit: STATES_EACH, effort, ..Plan::wide(cell, seed) };
    let mut report = explore(&run.trace, &plan, &mut judge);
    report.deeper = judge.deeper;
    report
}

fn failed(why: String) -> Report {
    Report { violation: Some(why), ..Report::default() }
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let start = Instant::now();
    let sums: Mutex<Vec<Report>> = Mutex::new(vec![Report::default(); SHAPES.len() * MEDIA.len()]);
    let (next, distinct, violations) = (AtomicU64::new(options.seed), AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        loop {
            let seed = options.only.unwrap_or_else(|| next.fetch_add(1, Ordering::Relaxed));
            let mut report = one(seed, &options);
            let done = distinct.fetch_add(report.distinct, Ordering::Relaxed) + report.distinct;
            if let Some(story) = report.violation.take() {
                violations.fetch_add(1, Ordering::Relaxed);
                println!("VIOLATION, seed {seed} (crash --only {seed}): {story}");
            }
            let (shape, medium) = combination(seed);
            if let Ok(mut sums) = sums.lock() {
                sums[shape * MEDIA.len() + medium].absorb(report);
            }
            if done >= options.states || options.only.is_some() || violations.load(Ordering::Relaxed) != 0 {
                return;
            }
        }
    };
    let workers = if options.only.is_some() {
        1
    } else {
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(8)
    };
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    let sums = sums.into_inner().unwrap_or_default();
    for (i, sum) in sums.iter().enumerate() {
        let ((shape, _), (class, cell)) = (SHAPES[i / MEDIA.len()], MEDIA[i % MEDIA.len()]);
        println!("{shape:22} {class:10} {cell:3}: {sum}");
    }
    let (states, wrong) = (distinct.into_inner(), violations.into_inner());
    let deeper: u64 = sums.iter().map(|sum| sum.deeper).sum();
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{states} distinct crash states, and {deeper} of crashes in or after their recovery; {wrong} violations; \
         {seconds:.0} s, {:.0} states/s, seeds {} to {}",
        (states + deeper) as f64 / seconds,
        options.seed,
        next.load(Ordering::Relaxed).max(options.seed + 1) - 1
    );
    let workloads = next.into_inner().max(options.seed + 1) - options.seed;
    println!("summary: crash cases={workloads} states={states} schedules=0 failures={wrong}");
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
