//! `make bench-redb`: redb on its own file backend and on a Pagestone object, in one run.

use pagestone::Durability;
use pagestone_benches::Machine;
use pagestone_benches::redb::{BURSTS, measure};
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{}", Machine::look());
    let given = std::env::args().nth(1).map(PathBuf::from);
    let disk = given.unwrap_or_else(std::env::temp_dir);
    print("a file", &disk, None)?;
    print(
        "a file on tmpfs, the region taken for cache lines",
        Path::new("/dev/shm"),
        Some(Durability::CacheLine),
    )
}

fn print(medium: &str, folder: &Path, class: Option<Durability>) -> Result<(), Box<dyn std::error::Error>> {
    let table = measure(folder, class)?;
    println!();
    println!("on {medium} ({}), medians of {BURSTS} bursts", table.class);
    println!("  {:<44} {:>12} {:>12} {:>7}", "time of one", "redb's file", "Pagestone", "ratio");
    println!("  {}", table.cost);
    for row in &table.rows {
        println!("  {:<44} {:>9.1} us {:>9.1} us {:>7.2}", row.what, row.file, row.ours, row.ratio);
    }
    Ok(())
}
