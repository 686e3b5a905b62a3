//! What the command line understands.

use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed; nothing was changed unless the message says so
  2  the command line makes no sense
  3  `check` found a defect, or the demo's proof does not hold
  4  the region is in use by another process (--wait waits for it)

info, ls, stat, check and export never write to a region, also when it was not closed properly: what is
left in its log is replayed in memory only. One thing is written: where the disk has refused what a dead
owner had stored, the region is marked, because the kernel says that only once.";

/// Make, look into, fill and check Pagestone regions.
#[derive(Parser)]
#[command(name = "pagestone", version, after_help = EXIT_CODES, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Wait at most so long for a region that another process has open.
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds, default_value = "0")]
    pub wait: Duration,
    /// Change regions on storage that writes elsewhere when overwritten (btrfs, bcachefs, zfs); a full disk may then
    /// kill the process (SIGBUS).
    #[arg(long, global = true)]
    pub copy_on_write: bool,
}

/// Seconds, perhaps with a fraction.
fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "a number of seconds, such as 2.5".to_owned())?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}

#[derive(Subcommand)]
pub enum Command {
    /// Make an empty region.
    Create(Create),
    /// Say what a region is: size, durability, log.
    Info(Look),
    /// List the objects of a region.
    Ls(Look),
    /// Show one object's pages, or a region's counters.
    Stat(Stat),
    /// Look for defects; changes nothing.
    Check(Look),
    /// Copy a file into a region, as an object. A SQLite database brings its hot journal and its WAL along.
    Import(Import),
    /// Copy an object out of a region, to a file.
    Export(Export),
    /// Remove objects: all of them or, if one is missing, none.
    Rm(Rm),
    /// Give free space back to the file system. The file keeps its length, and takes less of the disk.
    Compact(Look),
    /// Show all of it on real data: SQLite on Pagestone, killed in mid-transaction, proven whole.
    Demo(Demo),
    /// The process that the demo kills.
    #[command(hide = true)]
    DemoWorker(crate::demo::worker::Orders),
}

#[derive(Args)]
pub struct Create {
    /// The file to make; it must not exist. Or a devdax device; it must hold nothing.
    pub region: PathBuf,
    /// Make the region on a device whatever it holds.
    #[arg(long)]
    pub force: bool,
    /// Fail unless the medium is at least that durable.
    #[arg(long, value_name = "CLASS", value_parser = ["fdatasync", "cache-line"])]
    pub require: Option<String>,
}

/// How a region is opened.
#[derive(Args, Clone, Copy, Default)]
pub struct Opening {
    /// Recover as after a loss of power: for a region file that an older copy was written over.
    #[arg(long, value_name = "WHAT")]
    pub assume: Option<Assume>,
}

/// What can be assumed of the last owner's end.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Assume {
    /// Nothing that was not synced can be relied on.
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
    /// Where to: the region is made if there is none, with the mode and owner of the file. Without an object's name, a
    /// SQLite database becomes `db`, which is where the SQLite VFS looks; another file keeps its name. What stands
    /// before a colon is a region if it is there or, where none is there, ends in `.pgs`; the first such colon counts. Other
    /// names with colons are regions as they stand.
    #[arg(value_name = "REGION[:OBJECT]")]
    pub place: OsString,
    #[command(flatten)]
    pub opening: Opening,
    /// Replace the object if there is one.
    #[arg(long)]
    pub replace: bool,
    /// Import under a name that ends in `-wal` or `-journal` though the object is there to which it would belong.
    #[arg(long)]
    pub force: bool,
}

#[derive(Args)]
pub struct Export {
    /// What to copy; without a name, `db`.
    #[arg(value_name = "REGION[:OBJECT]")]
    pub place: OsString,
    #[command(flatten)]
    pub opening: Opening,
    /// The file to make, with the mode and owner of the region or less; `-` for standard output.
    pub file: PathBuf,
    /// Overwrite the file if there is one.
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
    /// Leave the region in this directory instead of removing it.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Choose the moment of the kill again (printed by each run).
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
