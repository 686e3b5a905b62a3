//! Commits per second of SQLite on its own VFS and on Pagestone.
//!
//! Every contender keeps a database open for the whole run. Their bursts alternate, so that other load on the machine
//! affects all alike. Each number is the median of its bursts. `synchronous` is `FULL` throughout.

use crate::{file_system, medians};
use rusqlite::{Connection, OpenFlags};
use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// Rows of a transaction.
pub const ROWS: [u32; 3] = [1, 10, 100];
/// Bursts of each kind.
pub const ROUNDS: usize = 9;
/// How long a burst lasts, about.
const BURST: Duration = Duration::from_millis(150);
/// The content of a row, besides its number.
const TEXT: &str = "0123456789012345678901234567890123456789012345678901234567890123456789";

/// The results: `:memory:` first, then the four on disk, then the four in memory.
pub struct Commits {
    /// Each way to keep a database.
    pub contenders: Vec<Contender>,
    /// The file system of the disk.
    pub file_system: String,
}

impl Commits {
    /// Measures in two folders; `memory` lies in memory.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn measure(disk: &Path, memory: &Path) -> Result<Self> {
        pagestone_sqlite::register()?;
        let mut contenders = vec![Contender::open(":memory:", "memory", ":memory:".into(), "memory")?];
        let file_system = file_system(disk);
        contenders.extend(four(disk, &file_system, "fdatasync")?);
        contenders.extend(four(memory, "tmpfs", "cacheline")?);
        for _ in 0..ROUNDS {
            for (n, rows) in ROWS.into_iter().enumerate() {
                contenders.iter_mut().try_for_each(|contender| contender.burst(n, rows))?;
            }
        }
        Ok(Self { contenders, file_system })
    }

    /// Pagestone by batch and by WAL compared with stock SQLite, for each place: name, and ratios by [`ROWS`].
    pub fn ratios(&self) -> impl Iterator<Item = (&str, String, [f64; 3])> {
        self.contenders[1..].chunks_exact(4).flat_map(|four| {
            let [stock_delete, stock_wal, ours_delete, ours_wal] = [&four[0], &four[1], &four[2], &four[3]];
            [(ours_delete, stock_delete), (ours_delete, stock_wal), (ours_wal, stock_wal)].map(
                |(ours, stock)| {
                    (ours.place.as_str(), format!("{} / {}", ours.name, stock.name), ours.beside(stock))
                },
            )
        })
    }
}

/// One way to keep a database.
pub struct Contender {
    /// How it is kept.
    pub name: &'static str,
    /// Where it is kept.
    pub place: String,
    db: Connection,
    /// Whether the VFS reports the cost of a commit.
    pub tells: bool,
    /// By `ROWS`: commits per second of each burst.
    rates: [Vec<f64>; 3],
    /// By `ROWS`: the cost of one commit, by counters.
    pub costs: [String; 3],
}

/// Stock SQLite and Pagestone, with a rollback journal and with a WAL.
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
    /// By [`ROWS`]: the medians of commits per second.
    #[must_use]
    pub fn medians(&self) -> [f64; 3] {
        self.rates.each_ref().map(|rates| medians::median(&mut rates.clone()))
    }

    /// By [`ROWS`]: medians of the ratios of adjacent bursts.
    fn beside(&self, stock: &Self) -> [f64; 3] {
        [0, 1, 2].map(|kind| {
            let pairs = self.rates[kind].iter().zip(&stock.rates[kind]);
            medians::median(&mut pairs.map(|(ours, stock)| ours / stock).collect::<Vec<_>>())
        })
    }

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

    /// Commits for the length of one burst.
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
