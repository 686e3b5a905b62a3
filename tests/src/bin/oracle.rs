//! `make oracle`: the long run of the whole-store model. Cases of new seeds run until the given number of steps were
//! taken, or one failed.
//!
//! ```text
//! oracle [--steps 2000000] [--seed 1] [--threads 2]
//! ```

use pagestone_tests::oracle::run::{Outcome, Search, explore};
use pagestone_tests::oracle::step;
use pagestone_tests::oracle::tally::Event;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The number of cases of one seed.
const CASES: u32 = 200;

struct Options {
    steps: u64,
    seed: u64,
    threads: u64,
}

fn options() -> Result<Options, String> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(8) as u64;
    let mut options = Options { steps: 2_000_000, seed: 1, threads };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().ok_or_else(|| format!("{arg} needs a number"))?;
        let number = value.parse().map_err(|e| format!("{arg} {value}: {e}"))?;
        match arg.as_str() {
            "--steps" => options.steps = number,
            "--seed" => options.seed = number,
            "--threads" => options.threads = number,
            _ => return Err("usage: oracle [--steps N] [--seed N] [--threads N]".into()),
        }
    }
    Ok(options)
}

/// The cases of a seed.
fn one(seed: u64) -> Outcome {
    match seed % 8 {
        0..=4 => explore(step::alone, Search::of(CASES, seed)),
        5 => explore(step::squeezed, Search::of(CASES / 4, seed)),
        _ => explore(step::together, Search::of(CASES, seed)),
    }
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
    let (next, cases, steps, failures) =
        (AtomicU64::new(options.seed), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        while steps.load(Ordering::Relaxed) < options.steps && failures.load(Ordering::Relaxed) == 0 {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let outcome = one(seed);
            cases.fetch_add(outcome.cases, Ordering::Relaxed);
            steps.fetch_add(outcome.steps, Ordering::Relaxed);
            if let Some(code) = outcome.failure {
                failures.fetch_add(1, Ordering::Relaxed);
                println!("FAILURE, seed {seed}:\n\n{code}");
            }
        }
    };
    std::thread::scope(|scope| (0..options.threads.max(1)).for_each(|_| drop(scope.spawn(work))));
    let (cases, steps, failures) = (cases.into_inner(), steps.into_inner(), failures.into_inner());
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{steps} steps in {cases} cases; {failures} failures; {seconds:.0} s, {:.0} steps/s, seeds {} to {}",
        steps as f64 / seconds,
        options.seed,
        next.into_inner().max(options.seed + 1) - 1
    );
    for (event, count) in Event::all() {
        println!("{count:10} {event:?}");
    }
    println!("summary: oracle cases={cases} states={steps} schedules=0 failures={failures}");
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
