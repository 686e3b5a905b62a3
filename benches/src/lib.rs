//! Benchmarks of Pagestone. Each is a binary of this package.

pub mod clock;
pub mod floor;
pub mod medians;
pub mod redb;
pub mod speedtest;
pub mod sqlite;

pub use pagestone_kit::random::Random;
use std::fmt;
use std::fs;
use std::path::Path;

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// The machine on which the numbers were measured.
pub struct Machine {
    processor: String,
    processors: usize,
    kernel: String,
    huge_pages: String,
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn look() -> Self {
        let first = |path: &str, key: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let line = text.lines().find(|l| l.starts_with(key)).unwrap_or_default().to_owned();
            line.split_once(':').map_or(line.clone(), |(_, v)| v.trim().to_owned())
        };
        let setting =
            fs::read_to_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled").unwrap_or_default();
        let chosen = setting.split(['[', ']']).nth(1).unwrap_or("unknown").to_owned();
        Self {
            processor: first("/proc/cpuinfo", "model name"),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: first("/proc/sys/kernel/osrelease", ""),
            huge_pages: format!("{chosen}, {} in use", first("/proc/self/smaps_rollup", "ShmemPmdMapped")),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, {} processors, Linux {}", self.processor, self.processors, self.kernel)?;
        write!(f, "huge pages of shared memory: {}", self.huge_pages)
    }
}

/// The type of the file system that holds the directory.
#[must_use]
pub fn file_system(directory: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let entries = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let holding = entries.filter(|(point, _)| directory.starts_with(point));
    holding.max_by_key(|(point, _)| point.len()).map_or("disk", |(_, kind)| kind).to_owned()
}
