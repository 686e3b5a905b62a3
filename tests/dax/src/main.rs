//! `make test-dax`: the store on real DAX, in a guest whose persistent memory is emulated.
//!
//! One program runs in two places. On the host it starts the guest (`guest.sh`), gives it tasks, and cuts its power. In the
//! guest it is the cases, the load and the judge.

mod cases;
mod cuts;
mod judge;
mod load;
mod machine;
mod pattern;
mod plan;
mod suite;
mod together;

use clap::{Parser, Subcommand};
use pagestone::units::Durability;
use std::path::PathBuf;
use std::process::ExitCode;

/// Pagestone on persistent memory.
#[derive(Parser)]
#[command(name = "dax")]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// On the host: all cases, the suites, and the power cuts.
    Run {
        /// How many power cuts, over all media.
        #[arg(long, default_value_t = 20)]
        cuts: u32,
        /// Draw the moments of the cuts again (each run prints its seed).
        #[arg(long)]
        seed: Option<u64>,
        /// Only what has this in its name: "MEDIUM CASE", "suite NAME", "MEDIUM cut".
        #[arg(long)]
        only: Option<String>,
    },
    /// On the host, as cargo's runner: a test program, in the guest.
    Suite {
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// In the guest: one case.
    Case {
        /// Its name.
        name: String,
        /// A directory on the medium, or the device.
        place: PathBuf,
    },
    /// In the guest: a part of a case that must be a process of its own.
    Part {
        /// Its name.
        name: String,
        /// The region.
        region: PathBuf,
    },
    /// In the guest: work until the power is cut.
    Load {
        /// The region.
        region: PathBuf,
        /// It lies behind a page cache.
        #[arg(long)]
        page_cache: bool,
    },
    /// In the guest, after a power cut: is everything there that was acknowledged?
    Judge {
        /// The region.
        region: PathBuf,
        /// It lies behind a page cache.
        #[arg(long)]
        page_cache: bool,
    },
}

/// What the region must promise.
fn class(page_cache: bool) -> Durability {
    if page_cache { Durability::Fdatasync } else { Durability::CacheLine }
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().role {
        Role::Run { cuts, seed, only } => plan::run(cuts, seed, only.as_deref()),
        Role::Suite { command } => suite::in_guest(&command),
        Role::Case { name, place } => cases::run(&name, &place).map(|()| true),
        Role::Part { name, region } => cases::part(&name, &region).map(|()| true),
        Role::Load { region, page_cache } => {
            load::until_the_power_goes(&region, class(page_cache)).map(|()| true)
        }
        Role::Judge { region, page_cache } => judge::judge(&region, class(page_cache)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("dax: {why}");
            ExitCode::from(2)
        }
    }
}
