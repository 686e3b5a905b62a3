//! `make bench-sqlite`: commits per second of SQLite on its own VFS and on Pagestone, one table, one run.

use pagestone_benches::sqlite::{Commits, ROUNDS, ROWS};
use pagestone_benches::{Machine, speedtest};
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::read();
    let disk = tempfile::tempdir_in(&arguments.disk)?;
    let memory = tempfile::tempdir_in("/dev/shm")?;
    let commits = Commits::measure(disk.path(), memory.path())?;
    let file_system = &commits.file_system;
    println!("{}", Machine::look());
    println!(
        "SQLite {}, synchronous=FULL, commits per second: medians of {ROUNDS} bursts",
        rusqlite::version()
    );
    println!("({file_system}: the class is Fdatasync; tmpfs: the region is told to count as CacheLine)\n");
    print(&commits);
    drop(commits);
    speedtest::compare(&arguments.speedtest, &arguments.extension, disk.path(), memory.path())?;
    Ok(())
}

/// The arguments that `make` passes.
struct Arguments {
    disk: PathBuf,
    speedtest: PathBuf,
    extension: PathBuf,
}

impl Arguments {
    fn read() -> Self {
        let mut words = std::env::args_os().skip(1).map(PathBuf::from);
        let mut next = || words.next().unwrap_or_default();
        let disk = next();
        let disk = if disk.as_os_str().is_empty() { std::env::temp_dir() } else { disk };
        Self { disk, speedtest: next(), extension: next() }
    }
}

fn print(commits: &Commits) {
    println!("{:<10} {:<36} {:>10} {:>10} {:>10}", "medium", "", "1 row", "10 rows", "100 rows");
    for contender in &commits.contenders {
        let [one, ten, hundred] = contender.medians();
        println!("{:<10} {:<36} {one:>10.0} {ten:>10.0} {hundred:>10.0}", contender.place, contender.name);
    }
    println!();
    for (place, name, [one, ten, hundred]) in commits.ratios() {
        println!("{place:<10} {name:<36} {one:>10.2} {ten:>10.2} {hundred:>10.2}");
    }
    println!("\nwhat one commit costs, in the last burst");
    for contender in commits.contenders.iter().filter(|contender| contender.tells) {
        for (rows, cost) in ROWS.iter().zip(&contender.costs) {
            println!("{:<10} {:<22} {rows:>4} rows: {cost}", contender.place, contender.name);
        }
    }
}
