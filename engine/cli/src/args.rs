//! The arguments of the command line.

use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed; nothing was changed unless the message says so
  2  the command line is wrong
  3  `check` found a defect, or the proof of `demo` failed
  4  the region is in use by another process (--wait waits for it)

info, ls, stat, check (without --repair) and export never write to a region. If it was not closed properly, they replay its log
in memory only. There is one exception: if the disk has refused the bytes of a dead owner, they mark the
region as failed, because the kernel reports this only once.";

/// Create, inspect, fill and check Pagestone regions.
#[derive(Parser)]
#[command(name = "pagestone", version, after_help = EXIT_CODES, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Wait up to this long for a region that another process has open.
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds, default_value = "0")]
    pub wait: Duration,
    /// Allow changes on copy-on-write storage (btrfs, bcachefs, zfs), where a full disk may kill the process
    /// (SIGBUS).
    #[arg(long, global = true)]
    pub copy_on_write: bool,
}

/// Parses a number of seconds, which may have a fraction.
fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "a number of seconds, such as 2.5".to_owned())?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}

#[derive(Subcommand)]
pub enum Command {
    /// Create an empty region.
    Create(Create),
    /// Show size, durability, log and last owner of a region.
    Info(Look),
    /// List the objects of a region.
    Ls(Look),
    /// Show the pages of an object, or the counters of a region.
    Stat(Stat),
    /// Look for defects; change nothing, unless asked to repair them.
    Check(Check),
    /// Copy a file into a region, as an object. With a SQLite database, also copy its hot journal and its WAL.
    Import(Import),
    /// Copy an object of a region to a file.
    Export(Export),
    /// Remove objects: all of them, or none if one is missing.
    Rm(Rm),
    /// Return free space to the file system. The file is cut behind its last used page.
    Compact(Look),
    /// Demonstrate SQLite on Pagestone with real data: kill it in the middle of a transaction, then prove that no
    /// acknowledged commit is lost.
    Demo(Demo),
    /// The process that the demo kills.
    #[command(hide = true)]
    DemoWorker(crate::demo::worker::Orders),
}

#[derive(Args)]
pub struct Create {
    /// The file to create, which must not exist, or a devdax device, which must hold nothing.
    pub region: PathBuf,
    /// Create the region on a device even if it holds something.
    #[arg(long)]
    pub force: bool,
    /// Fail unless the medium has at least this durability.
    #[arg(long, value_name = "CLASS", value_parser = ["fdatasync", "cache-line"])]
    pub require: Option<String>,
}

/// How a region is opened.
#[derive(Args, Clone, Copy, Default)]
pub struct Opening {
    /// Recover as after a loss of power. For a region file that was overwritten by an older copy.
    #[arg(long, value_name = "WHAT")]
    pub assume: Option<Assume>,
}

/// What to assume about the end of the last owner.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Assume {
    /// Bytes that were not synced cannot be trusted.
    PowerLoss,
}

#[derive(Args)]
pub struct Look {
    /// The region.
    pub region: PathBuf,
    #[command(flatten)]
    pub opening: Opening,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Check {
    #[command(flatten)]
    pub look: Look,
    /// Repair what can be repaired: say everything that is going to be done, then do it. What cannot be read any more is
    /// lost, and reading it stays an error. Keep a copy of the region before.
    #[arg(long)]
    pub repair: bool,
    /// With --repair: say what would be done, and change nothing.
    #[arg(long, requires = "repair")]
    pub dry_run: bool,
}

#[derive(Args)]
pub struct Stat {
    /// REGION, or REGION:OBJECT.
    #[arg(value_name = "REGION[:OBJECT]")]
    pub place: OsString,
    #[command(flatten)]
    pub opening: Opening,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Import {
    /// The file to copy; it is only read.
    pub file: PathBuf,
    /// The target. The region is created if it is missing, with the mode and owner of the file. Without an object's
    /// name, a SQLite database becomes `db`, where the SQLite VFS looks for it, and another file keeps its name. The
    /// text before a colon is a region if that file exists or, if no such file exists, if it ends in `.pgs`; the
    /// first such colon counts. Any other name with colons is the name of a region.
    #[arg(value_name = "REGION[:OBJECT]")]
    pub place: OsString,
    #[command(flatten)]
    pub opening: Opening,
    /// Replace an existing object.
    #[arg(long)]
    pub replace: bool,
    /// Import under a name that ends in `-wal` or `-journal` even if the object to which it would belong exists.
    #[arg(long)]
    pub force: bool,
}

#[derive(Args)]
pub struct Export {
    /// The object to copy; without a name, `db`.
    #[arg(value_name = "REGION[:OBJECT]")]
    pub place: OsString,
    #[command(flatten)]
    pub opening: Opening,
    /// The file to create, with the mode and owner of the region or less; `-` for standard output.
    pub file: PathBuf,
    /// Overwrite an existing file.
    #[arg(long)]
    pub force: bool,
}

#[derive(Args)]
pub struct Rm {
    /// The objects.
    #[arg(value_name = "REGION:OBJECT", required = true)]
    pub places: Vec<OsString>,
    #[command(flatten)]
    pub opening: Opening,
}

#[derive(Args)]
pub struct Demo {
    /// Use this SQLite database instead of the built-in data; it is copied and never written.
    #[arg(long, value_name = "FILE")]
    pub db: Option<PathBuf>,
    /// Keep the region in this directory instead of removing it.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Repeat the moment of the kill of an earlier run, which printed this number.
    #[arg(long)]
    pub seed: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
