//! `make kill`: a process that writes to SQLite on Pagestone is killed at random moments, again and again; after each
//! kill nothing acknowledged may be missing, nothing may be torn, and no frame may be leaked.
#![forbid(unsafe_code)]

mod joint;
mod judge;
mod life;
mod plan;
mod workload;

use clap::{Parser, Subcommand};
use judge::Verdict;
use pagestone_kit::random::fresh_seed;
use plan::{Medium, Plan};
use std::collections::BTreeMap;
use std::io::{ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// In a run of this many rounds maintenance must have happened: its absence is no chance.
const TELLING: u32 = 50;

/// Kill a database process at random moments, and look at what is left.
#[derive(Parser)]
#[command(name = "kill")]
struct Cli {
    /// How many kills.
    #[arg(long, default_value_t = 200)]
    rounds: u32,
    /// Draw the same plan again (each run prints its seed).
    #[arg(long)]
    seed: Option<u64>,
    /// Leave the regions in this directory.
    #[arg(long)]
    keep: Option<PathBuf>,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// The process that is killed.
    #[command(hide = true)]
    Worker(workload::Orders),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.role {
        Some(Role::Worker(orders)) => workload::work(orders).map(|()| true),
        None => run(&cli),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("kill: {why}");
            ExitCode::from(2)
        }
    }
}

/// Runs all rounds; true if nothing was found.
fn run(cli: &Cli) -> Result<bool, String> {
    pagestone_sqlite::register()?;
    let seed = cli.seed.unwrap_or_else(|| fresh_seed() >> 16);
    let media = Media::make(cli.keep.as_deref())?;
    println!("seed {seed}");
    let mut sum = Verdict::default();
    let mut done = BTreeMap::new();
    for round in 0..cli.rounds {
        let plan = Plan::draw(seed, round, media.has_memory());
        let region = media.region(&plan);
        let known = done.entry(region.clone()).or_default();
        let verdict = play(&plan, &region, known)?;
        if !verdict.clean() {
            println!("round {round} ({plan}):");
            verdict.findings.iter().for_each(|f| println!("  {f}"));
            // A broken region stays broken, so the next round of this plan starts without one.
            media.set_aside(&region, round)?;
            done.remove(&region);
        }
        sum.add(verdict);
        if std::io::stderr().is_terminal() {
            eprint!("\r{}/{} ", round + 1, cli.rounds);
        }
    }
    println!(
        "{} transactions acknowledged, {} open when their process was killed",
        sum.acknowledged, sum.open
    );
    println!("{} batches at least, {} transactions over three databases", sum.batches, sum.joint);
    println!("rounds                            {:>6}", cli.rounds);
    println!("integrity failures                {:>6}", sum.integrity_failures);
    println!("lost acknowledged transactions    {:>6}", sum.lost);
    println!("leaked frames                     {:>6}", sum.leaked);
    println!("maintenance   {} VACUUM, {} checkpoints", sum.vacuums, sum.checkpoints);
    let done = [sum.vacuums, sum.checkpoints, sum.batches, sum.joint];
    let idle = cli.rounds >= TELLING && done.contains(&0);
    if idle {
        println!("one kind of work was never done: the run proves nothing about it");
    }
    media.keep()?;
    Ok(sum.clean() && !idle)
}

/// One round: one kill, or two of which the second comes during the recovery; then the verdict.
fn play(plan: &Plan, region: &Path, known: &mut judge::Known) -> Result<Verdict, String> {
    let mut ledger = life::Ledger::starting_from(known);
    for moment in &plan.kills {
        life::live_and_die(plan, region, *moment, &mut ledger)?;
    }
    Ok(judge::judge(plan, region, &ledger, known))
}

/// Where the regions lie.
struct Media {
    disk: PathBuf,
    memory: Option<tempfile::TempDir>,
    /// The folder that ends with the run; none if the regions are kept.
    temporary: Option<tempfile::TempDir>,
}

impl Media {
    fn make(keep: Option<&Path>) -> Result<Self, String> {
        let memory = pagestone_kit::disk::memory();
        if memory.is_none() {
            eprintln!("kill: /dev/shm cannot be used, the CacheLine rounds run on the file region");
        }
        if let Some(directory) = keep {
            std::fs::create_dir_all(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
            return Ok(Self { disk: directory.to_owned(), memory, temporary: None });
        }
        let disk = tempfile::tempdir().map_err(|e| format!("a temporary directory: {e}"))?;
        Ok(Self { disk: disk.path().to_owned(), memory, temporary: Some(disk) })
    }

    /// If the regions are kept, copies those in memory to the others. The medium is part of their names.
    fn keep(&self) -> Result<(), String> {
        let (None, Some(memory)) = (&self.temporary, &self.memory) else { return Ok(()) };
        let copy = || -> std::io::Result<()> {
            for entry in std::fs::read_dir(memory.path())? {
                let entry = entry?;
                std::fs::copy(entry.path(), self.disk.join(entry.file_name()))?;
            }
            Ok(())
        };
        copy().map_err(|e| format!("keeping the regions of {}: {e}", memory.path().display()))
    }

    fn has_memory(&self) -> bool {
        self.memory.is_some()
    }

    fn region(&self, plan: &Plan) -> PathBuf {
        let directory = match (plan.medium, &self.memory) {
            (Medium::CacheLine, Some(memory)) => memory.path(),
            _ => &self.disk,
        };
        directory.join(plan.name())
    }

    fn set_aside(&self, region: &Path, round: u32) -> Result<(), String> {
        let [other, plain] = joint::companions(region);
        for file in [region, &other, &plain] {
            for suffix in ["", "-journal", "-wal"] {
                let of = |middle: &str| PathBuf::from(format!("{}{middle}{suffix}", file.display()));
                match std::fs::rename(of(""), of(&format!(".round-{round}"))) {
                    Err(e) if e.kind() != ErrorKind::NotFound => {
                        return Err(format!("{}: {e}", file.display()));
                    }
                    _ => (),
                }
            }
        }
        Ok(())
    }
}
