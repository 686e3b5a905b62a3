//! `make bench-sqlite`: commits per second of SQLite on its own VFS and on Pagestone, one table, one run.
//!
//! Every contender keeps a database open for the whole run. Bursts of all contenders alternate, so that a noisy neighbour
//! hits all alike; each number is the median of its bursts. `synchronous` is `FULL` throughout.

use pagestone_benches::{Machine, medians, speedtest};
use rusqlite::{Connection, OpenFlags};
use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// Rows of a transaction.
const ROWS: [u32; 3] = [1, 10, 100];
/// Bursts of each kind.
const ROUNDS: usize = 9;
/// How long a burst lasts, about.
const BURST: Duration = Duration::from_millis(150);
/// What a row holds, beside its number.
const TEXT: &str = "0123456789012345678901234567890123456789012345678901234567890123456789";

/// One way to keep a database.
struct Contender {
    name: &'static str,
    place: String,
    db: Connection,
    /// Whether the VFS can tell what a commit costs.
    tells: bool,
    /// By `ROWS`: commits per second of each burst.
    rates: [Vec<f64>; 3],
    /// By `ROWS`: what one commit costs, as counted.
    costs: [String; 3],
}

fn main() -> Result {
    pagestone_sqlite::register()?;
    let arguments = Arguments::read();
    let disk = tempfile::tempdir_in(&arguments.disk)?;
    let memory = tempfile::tempdir_in("/dev/shm")?;
    let mut contenders = vec![Contender::open(":memory:", "memory", ":memory:".into(), "memory")?];
    let (file_system, class) = (file_system(disk.path()), "fdatasync");
    contenders.extend(four(disk.path(), &file_system, class)?);
    contenders.extend(four(memory.path(), "tmpfs", "cacheline")?);
    for _ in 0..ROUNDS {
        for (n, rows) in ROWS.into_iter().enumerate() {
            contenders.iter_mut().try_for_each(|contender| contender.burst(n, rows))?;
        }
    }
    println!("{}", Machine::look());
    println!(
        "SQLite {}, synchronous=FULL, commits per second: medians of {ROUNDS} bursts",
        rusqlite::version()
    );
    println!("({file_system}: the class is Fdatasync; tmpfs: the region is told to count as CacheLine)\n");
    print(&contenders);
    print_ratios(&contenders);
    print_costs(&contenders);
    drop(contenders);
    speedtest::compare(&arguments.speedtest, &arguments.extension, disk.path(), memory.path())?;
    Ok(())
}

/// What `make` says.
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

/// Stock and ours, with a rollback journal and with a WAL.
fn four(directory: &Path, place: &str, class: &str) -> Result<Vec<Contender>> {
    let path = |name: &str| directory.join(name).display().to_string();
    let ours = |name: &str| format!("file:{}?vfs=pagestone&assume={class}", path(name));
    Ok(vec![
        Contender::open("stock DELETE", place, path("stock-delete"), "delete")?,
        Contender::open("stock WAL", place, path("stock-wal"), "wal")?,
        Contender::open("ours DELETE by batch", place, ours("ours-delete"), "delete")?,
        Contender::open("ours WAL", place, ours("ours-wal"), "wal")?,
    ])
}

impl Contender {
    fn open(name: &'static str, place: &str, uri: String, mode: &str) -> Result<Self> {
        let flags = OpenFlags::default() | OpenFlags::SQLITE_OPEN_URI;
        let db = Connection::open_with_flags(&uri, flags)?;
        let found: String = db.query_row(&format!("PRAGMA journal_mode={mode}"), [], |row| row.get(0))?;
        if found != mode {
            return Err(format!("{uri}: journal_mode is {found}").into());
        }
        db.execute_batch("PRAGMA synchronous=FULL; CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)")?;
        let mut contender = Self {
            name,
            place: place.to_owned(),
            db,
            tells: uri.contains("vfs=pagestone"),
            rates: Default::default(),
            costs: Default::default(),
        };
        // The first transactions of a database cost more.
        (0..3).try_for_each(|_| contender.commit(10))?;
        Ok(contender)
    }

    fn commit(&mut self, rows: u32) -> rusqlite::Result<()> {
        let transaction = self.db.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO t(b) VALUES(?)")?;
            (0..rows).try_for_each(|_| insert.execute([TEXT]).map(drop))?;
        }
        transaction.commit()
    }

    /// Commits for about so long.
    fn burst(&mut self, kind: usize, rows: u32) -> Result {
        let before = self.counters()?;
        let (start, mut commits) = (Instant::now(), 0u32);
        while start.elapsed() < BURST {
            self.commit(rows)?;
            commits += 1;
        }
        self.rates[kind].push(f64::from(commits) / start.elapsed().as_secs_f64());
        let after = self.counters()?;
        let each = |name: &str| {
            (after.get(name).unwrap_or(&0) - before.get(name).unwrap_or(&0)) as f64 / f64::from(commits)
        };
        self.costs[kind] = format!(
            "{:.2} log writes, {:.3} file syncs, {:.2} fences, {:.0} log bytes, {:.1} lines",
            each("write_throughs"),
            each("file_syncs"),
            each("fences"),
            each("log_bytes"),
            each("lines_flushed") + each("lines_streamed")
        );
        Ok(())
    }

    fn counters(&self) -> Result<HashMap<String, i64>> {
        if !self.tells {
            return Ok(HashMap::new());
        }
        let words: String = self.db.query_row("PRAGMA pagestone_stats", [], |row| row.get(0))?;
        let pairs = words.split(' ').filter_map(|word| word.split_once('='));
        Ok(pairs.filter_map(|(name, n)| Some((name.to_owned(), n.parse().ok()?))).collect())
    }
}

fn print(contenders: &[Contender]) {
    println!("{:<10} {:<36} {:>10} {:>10} {:>10}", "medium", "", "1 row", "10 rows", "100 rows");
    for Contender { name, place, rates, .. } in contenders {
        let rates = rates.each_ref().map(|rates| medians::median(&mut rates.clone()));
        println!("{place:<10} {name:<36} {:>10.0} {:>10.0} {:>10.0}", rates[0], rates[1], rates[2]);
    }
}

/// Medians of the ratios of bursts that ran next to each other.
fn print_ratios(contenders: &[Contender]) {
    println!();
    for four in contenders[1..].chunks(4) {
        let [stock_delete, stock_wal, ours_delete, ours_wal] = four else { continue };
        for (ours, stock) in [(ours_delete, stock_delete), (ours_delete, stock_wal), (ours_wal, stock_wal)] {
            let ratio = |kind: usize| {
                let pairs = ours.rates[kind].iter().zip(&stock.rates[kind]);
                medians::median(&mut pairs.map(|(ours, stock)| ours / stock).collect::<Vec<_>>())
            };
            let name = format!("{} / {}", ours.name, stock.name);
            println!(
                "{:<10} {name:<36} {:>10.2} {:>10.2} {:>10.2}",
                ours.place,
                ratio(0),
                ratio(1),
                ratio(2)
            );
        }
    }
}

fn print_costs(contenders: &[Contender]) {
    println!("\nwhat one commit costs, in the last burst");
    for Contender { name, place, costs, .. } in contenders.iter().filter(|contender| contender.tells) {
        for (rows, cost) in ROWS.iter().zip(costs) {
            println!("{place:<10} {name:<22} {rows:>4} rows: {cost}");
        }
    }
}

/// The type of the file system that holds the directory.
fn file_system(directory: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let entries = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let holding = entries.filter(|(point, _)| directory.starts_with(point));
    holding.max_by_key(|(point, _)| point.len()).map_or("disk", |(_, kind)| kind).to_owned()
}
