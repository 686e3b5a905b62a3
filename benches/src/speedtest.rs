//! SQLite's own `speedtest1`, on each VFS and medium of a run. Not in `:memory:`: its set `app` reopens the database.

use crate::medians;
use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Rounds; the programs alternate.
const ROUNDS: usize = 3;
/// `--size`: 100 is its own default.
const SIZE: &str = "100";

/// One way to run it.
struct Runner<'a> {
    name: &'static str,
    place: &'static str,
    directory: &'a Path,
    /// The class that the region is assumed to have; none: SQLite's own VFS.
    class: Option<&'static str>,
    journal: &'static str,
    seconds: Vec<f64>,
}

/// Runs `program` with and without the extension, and prints the table. Prints a note if one of the two is missing.
///
/// # Errors
/// A program that fails.
pub fn compare(program: &Path, extension: &Path, disk: &Path, memory: &Path) -> Result<(), Box<dyn Error>> {
    if !program.exists() || !extension.exists() {
        println!("\nspeedtest1: not run, `make test-sqlite` builds it (SPEEDTEST1=program, and `make vfs`)");
        return Ok(());
    }
    let mut runners = Vec::new();
    for (place, directory, class) in [("disk", disk, "fdatasync"), ("tmpfs", memory, "cacheline")] {
        for (name, class, journal) in [
            ("stock DELETE", None, "delete"),
            ("stock WAL", None, "wal"),
            ("ours DELETE by batch", Some(class), "delete"),
            ("ours WAL", Some(class), "wal"),
        ] {
            runners.push(Runner { name, place, directory, class, journal, seconds: Vec::new() });
        }
    }
    for _ in 0..ROUNDS {
        runners.iter_mut().try_for_each(|runner| runner.run(program, extension))?;
    }
    println!("\nspeedtest1 --size {SIZE}, seconds: medians of {ROUNDS}");
    for runner in &mut runners {
        println!("{:<10} {:<22} {:>10.2}", runner.place, runner.name, medians::median(&mut runner.seconds));
    }
    Ok(())
}

impl Runner<'_> {
    fn run(&mut self, program: &Path, extension: &Path) -> Result<(), Box<dyn Error>> {
        let database = self.directory.join("speedtest.db");
        for suffix in ["", "-journal", "-wal", "-shm"] {
            // It may not be there.
            let _ = std::fs::remove_file(format!("{}{suffix}", database.display()));
        }
        let mut command = Command::new(program);
        command.args(["--size", SIZE, "--journal", self.journal]).arg(&database).stdout(Stdio::null());
        if let Some(class) = self.class {
            // The environment variables that the program's glue code and the VFS read.
            command.env("PGS_TEST_VFS", extension).env("PGS_VFS_ASSUME", class);
        }
        let start = Instant::now();
        let status = command.status()?;
        self.seconds.push(start.elapsed().as_secs_f64());
        if !status.success() {
            return Err(format!("speedtest1, {} on {}: {status}", self.name, self.place).into());
        }
        self.check_format(&database)
    }

    /// Checks that the right VFS was used: a program that ignores the variables would be stock SQLite, measured as
    /// ours.
    fn check_format(&self, database: &Path) -> Result<(), Box<dyn Error>> {
        let mut head = [0; 16];
        File::open(database)?.read_exact(&mut head)?;
        if (head == *b"SQLite format 3\0") == self.class.is_some() {
            return Err(
                format!("speedtest1, {}: {} is of the other VFS", self.name, database.display()).into()
            );
        }
        Ok(())
    }
}
