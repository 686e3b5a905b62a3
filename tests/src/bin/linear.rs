//! `make linear`: many histories of each kind, of real threads. Built with `--cfg pagestone_shuttle`, shuttle chooses the
//! schedules. `linear [histories of each kind] [first seed] [kind]`

use pagestone_tests::linear::{KINDS, Kind, Shape};
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let number = |at: usize, otherwise: u64| words.get(at).map_or(Ok(otherwise), |word| word.parse());
    let (Ok(rounds), Ok(seed)) = (number(0, 200), number(1, 1)) else {
        eprintln!("linear [histories of each kind] [first seed] [kind]");
        return ExitCode::from(2);
    };
    let mut failures = 0;
    for (name, kind) in KINDS.into_iter().filter(|kind| words.get(2).is_none_or(|only| only == kind.0)) {
        let (histories, failure) = explore(kind, rounds, seed);
        println!("linear: {name}: {histories} {WHAT}{}", if failure.is_some() { ", then:" } else { "" });
        if let Some(why) = failure {
            println!("{why}");
            failures += 1;
        }
    }
    ExitCode::from(u8::from(failures > 0))
}

#[cfg(not(pagestone_shuttle))]
const WHAT: &str = "histories of real threads";

/// The number of histories that could be explained, and the first that could not.
#[cfg(not(pagestone_shuttle))]
fn explore(kind: Kind, rounds: u64, seed: u64) -> (u64, Option<String>) {
    for n in 0..rounds {
        let shape = Shape { threads: 2 + (n % 3) as usize, operations: 30 + (n % 5) as usize * 10 };
        if let Err(why) = kind(shape, seed + n) {
            return (n, Some(format!("seed {}: {why}", seed + n)));
        }
    }
    (rounds, None)
}

#[cfg(pagestone_shuttle)]
const WHAT: &str = "schedules";

/// As without shuttle, but each workload runs on a few dozen schedules.
#[cfg(pagestone_shuttle)]
fn explore(kind: Kind, rounds: u64, seed: u64) -> (u64, Option<String>) {
    use pagestone_tests::schedules::{Choice, Sweep, sweep};
    const SCHEDULES: u64 = 40;
    let mut ran = 0;
    for n in 0..rounds.div_ceil(SCHEDULES) {
        let (shape, choice) = match n % 3 {
            0 => (Shape { threads: 2, operations: 5 }, Choice::Random),
            1 => (Shape { threads: 2, operations: 6 }, Choice::Priorities),
            _ => (Shape { threads: 3, operations: 8 }, Choice::Priorities),
        };
        let workload = seed + n;
        let schedules = Sweep { seed: workload, schedules: SCHEDULES as usize, choice };
        let (done, failure) = sweep(schedules, move || {
            if let Err(why) = kind(shape, workload) {
                panic!("{why}");
            }
        });
        ran += done.len() as u64;
        if failure.is_some() {
            return (ran, failure.map(|why| format!("workload {workload}, {choice:?}: {why}")));
        }
    }
    (ran, None)
}
