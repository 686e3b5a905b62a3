//! Faults: disks that are full or fail, files that are cut or replaced, limits of the process, signals, clocks, slow
//! disks. After each fault there is an error that says what happened, where, and what to do next. It is final where it
//! must be. The data is whole at the next opening, and nothing hangs.
//!
//! ```text
//! faults [--long] [WORD...]      the cases whose names have all these words; --long: every operation of every sweep
//! ```
//!
//! This is not the usual harness, for two reasons. A case that cannot run on this machine says so aloud; the output of a
//! test is captured. And the program is its own child processes.

mod bench;
mod blocks;
mod child;
mod disk;
mod door;
mod ending;
mod file;
mod inject;
mod limits;
mod pair;
mod script;
mod stacks;
mod store;
mod time;
mod world;

use bench::{Bench, Case};
use std::process::ExitCode;

const CASES: &[&[Case]] = &[
    door::CASES,
    inject::CASES,
    disk::CASES,
    ending::CASES,
    stacks::CASES,
    blocks::CASES,
    pair::CASES,
    file::CASES,
    limits::CASES,
    time::CASES,
];

fn main() -> ExitCode {
    if let Some(role) = pagestone_kit::child::role() {
        child::run(&role);
        return ExitCode::SUCCESS;
    }
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let long = args.iter().any(|arg| arg == "--long")
        || std::env::var("PAGESTONE_FAULTS").is_ok_and(|v| v == "long");
    // Options of the usual harness have no meaning here.
    args.retain(|arg| !arg.starts_with('-'));
    Bench::new(long).run(CASES, &args)
}
