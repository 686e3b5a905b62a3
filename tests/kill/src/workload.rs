//! The work of the process that is killed: writers, a reader, checkpoints and VACUUM, all at once.

use crate::joint;
use pagestone_kit::child::say;
use pagestone_kit::random::{Random, mix};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, params};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// Writing threads.
pub const WRITERS: u32 = 2;
/// Each writer keeps the rows of this many of its last transactions.
pub const KEPT: u64 = 60;
const BUSY: Duration = Duration::from_secs(60);
/// A cache so small that a transaction spills before its commit.
const CACHE_PAGES: i64 = 24;

/// Printed after a VACUUM.
pub const VACUUMED: &str = "vacuumed";
/// Printed after a checkpoint that completed.
pub const CHECKPOINTED: &str = "checkpointed";
/// Printed before the number of batches that the first region has committed in this life.
pub const BATCHED: &str = "batched ";

/// The orders for the process.
#[derive(clap::Args, Clone)]
pub struct Orders {
    /// The region.
    pub region: PathBuf,
    /// The query parameters with which to open it.
    #[arg(long)]
    pub parameters: String,
    /// `PRAGMA journal_mode`.
    #[arg(long)]
    pub journal: String,
    /// `PRAGMA synchronous`.
    #[arg(long)]
    pub sync: String,
    /// Read by pins.
    #[arg(long)]
    pub pins: bool,
    /// The seed of what maintenance does and when.
    #[arg(long)]
    pub seed: u64,
}

/// Rows that a transaction adds: a few, now and then many.
pub fn parts(writer: u32, transaction: u64) -> u64 {
    match mix(transaction << 8 | u64::from(writer)) % 40 {
        0 => 150,
        few => 1 + few % 6,
    }
}

/// The bytes of one row.
pub fn payload(writer: u32, transaction: u64, part: u64) -> Vec<u8> {
    let seed = mix(mix(transaction << 8 | u64::from(writer)) ^ part);
    let len = if seed.is_multiple_of(50) { 20_000 } else { seed % 900 };
    (0..len).map(|i| (seed >> (i % 7 * 8)) as u8 ^ i as u8).collect()
}

/// The URI that SQLite opens.
pub fn uri(region: &Path, parameters: &str) -> String {
    format!("file:{}?{parameters}", region.display())
}

/// A connection, set up as all of them.
pub fn connect(uri: &str) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_URI;
    let db = Connection::open_with_flags(uri, flags)?;
    db.busy_timeout(BUSY)?;
    Ok(db)
}

fn connect_as_told(orders: &Orders) -> rusqlite::Result<Connection> {
    let db = connect(&uri(&orders.region, &orders.parameters))?;
    db.pragma_update(None, "synchronous", &orders.sync)?;
    db.pragma_update(None, "cache_size", CACHE_PAGES)?;
    if orders.pins {
        db.pragma_update(None, "mmap_size", 1_i64 << 30)?;
    }
    Ok(db)
}

/// Works until killed.
pub fn work(orders: &Orders) -> Result<(), String> {
    pagestone_sqlite::register()?;
    let result = labour(orders);
    if let Err(why) = &result {
        say(&format!("failed {why}"));
    }
    result
}

fn labour(orders: &Orders) -> Result<(), String> {
    prepare(orders).map_err(|e| format!("opening: {e}"))?;
    type Job = fn(&Orders, u32) -> rusqlite::Result<()>;
    let jobs: [(&str, Job); 4] =
        [("writer", write), ("writer", write), ("reader", read), ("maintenance", maintain)];
    const { assert!(WRITERS == 2) };
    let threads: Vec<_> = jobs
        .into_iter()
        .enumerate()
        .map(|(number, (name, job))| {
            let orders = orders.clone();
            thread::spawn(move || {
                if let Err(e) = job(&orders, number as u32) {
                    say(&format!("failed {name}: {e}"));
                    std::process::exit(1);
                }
            })
        })
        .collect();
    for t in threads {
        t.join().map_err(|_| "a thread panicked".to_owned())?;
    }
    Ok(())
}

fn prepare(orders: &Orders) -> rusqlite::Result<()> {
    let db = connect_as_told(orders)?;
    db.pragma_update(None, "journal_mode", &orders.journal)?;
    db.execute_batch(
        "BEGIN IMMEDIATE;
         CREATE TABLE IF NOT EXISTS head(writer INTEGER PRIMARY KEY, number INTEGER NOT NULL);
         CREATE TABLE IF NOT EXISTS row(writer INTEGER, number INTEGER, part INTEGER, payload BLOB, tag TEXT,
                                        PRIMARY KEY(writer, number, part));
         CREATE INDEX IF NOT EXISTS row_tag ON row(tag);
         COMMIT;",
    )?;
    joint::attach(&db, &orders.region, &orders.parameters)?;
    joint::prepare(&db, orders)
}

/// A connection for joint transactions. Other connections must not have the databases attached: SQLite would begin a
/// transaction in all of them, and commit none by batch.
fn connect_jointly(orders: &Orders) -> rusqlite::Result<Connection> {
    let db = connect_as_told(orders)?;
    joint::attach(&db, &orders.region, &orders.parameters)?;
    for name in joint::DATABASES {
        db.pragma_update(Some(name), "synchronous", &orders.sync)?;
    }
    Ok(db)
}

fn write(orders: &Orders, writer: u32) -> rusqlite::Result<()> {
    let mut db = connect_as_told(orders)?;
    let mut joined = connect_jointly(orders)?;
    let mut number = head(&db, writer)?;
    loop {
        number += 1;
        say(&format!("begin {writer} {number}"));
        if joint::is_joint(number) {
            joint::write(&mut joined, writer, number, |db| write_rows(db, writer, number))?;
        } else {
            write_once(&mut db, writer, number)?;
        }
        say(&format!("ack {writer} {number}"));
    }
}

/// The writer's last transaction in the database; 0 if it has none.
pub fn head(db: &Connection, writer: u32) -> rusqlite::Result<u64> {
    db.query_row("SELECT coalesce(max(number), 0) FROM head WHERE writer = ?", [writer], |r| r.get(0))
}

/// One transaction: the head moves, rows arrive, old rows go.
pub fn write_once(db: &mut Connection, writer: u32, number: u64) -> rusqlite::Result<()> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    write_rows(&transaction, writer, number)?;
    transaction.commit()
}

fn write_rows(db: &Connection, writer: u32, number: u64) -> rusqlite::Result<()> {
    db.execute("INSERT OR REPLACE INTO head VALUES(?, ?)", params![writer, number])?;
    let mut insert = db.prepare_cached("INSERT INTO row VALUES(?, ?, ?, ?, ?)")?;
    for part in 0..parts(writer, number) {
        let tag = format!("{:016x}", mix(number ^ part << 32));
        insert.execute(params![writer, number, part, payload(writer, number, part), tag])?;
    }
    db.execute(
        "DELETE FROM row WHERE writer = ? AND number <= ?",
        params![writer, number.saturating_sub(KEPT)],
    )?;
    Ok(())
}

fn read(orders: &Orders, _: u32) -> rusqlite::Result<()> {
    let db = connect_as_told(orders)?;
    loop {
        let _: u64 = db.query_row("SELECT coalesce(sum(length(payload)), 0) FROM row", [], |r| r.get(0))?;
        let _: u64 = db.query_row("SELECT count(*) FROM row WHERE tag > '8'", [], |r| r.get(0))?;
        thread::sleep(Duration::from_millis(2));
    }
}

fn maintain(orders: &Orders, _: u32) -> rusqlite::Result<()> {
    let db = connect_as_told(orders)?;
    let mut random = Random::new(orders.seed);
    loop {
        thread::sleep(Duration::from_millis(random.below(60)));
        say(&format!("{BATCHED}{}", batches(&db)?));
        let said = match random.below(5) {
            0 => vacuum(&db).map(|()| Some(VACUUMED)),
            1 => checkpoint(&db, "TRUNCATE"),
            2 => checkpoint(&db, "RESTART"),
            _ => checkpoint(&db, "PASSIVE"),
        };
        match said {
            Ok(Some(line)) => say(line),
            Ok(None) => (),
            Err(e)
                if matches!(
                    e.sqlite_error_code(),
                    Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
                ) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Batches that the region has committed since it was opened.
fn batches(db: &Connection) -> rusqlite::Result<u64> {
    let words: String = db.query_row("PRAGMA pagestone_stats", [], |r| r.get(0))?;
    let found = words.split(' ').find_map(|word| word.strip_prefix("batches="));
    Ok(found.and_then(|number| number.parse().ok()).unwrap_or(0))
}

/// Waits as long as writers do: beside the writers and the reader, a shorter wait would nearly always time out.
fn vacuum(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(BUSY)?;
    db.execute_batch("VACUUM")
}

/// The line about a checkpoint that completed; none if it was blocked, or had nothing to do.
fn checkpoint(db: &Connection, mode: &str) -> rusqlite::Result<Option<&'static str>> {
    db.busy_timeout(Duration::from_millis(20))?;
    let (busy, frames, copied): (i64, i64, i64) =
        db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?))
        })?;
    // Without a WAL both are -1. A TRUNCATE that completed leaves no frames.
    let whole = busy == 0 && frames == copied && (frames > 0 || frames == 0 && mode == "TRUNCATE");
    Ok(whole.then_some(CHECKPOINTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_checkpoint_that_completed_is_told_of() {
        let directory = tempfile::tempdir().expect("a directory");
        let open = || {
            let db = Connection::open(directory.path().join("x.db")).expect("open");
            db.busy_timeout(Duration::ZERO).expect("timeout");
            db
        };
        let db = open();
        assert_eq!(checkpoint(&db, "TRUNCATE"), Ok(None), "no WAL");
        db.pragma_update(None, "journal_mode", "WAL").expect("WAL");
        db.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES(1)").expect("write");
        let reader = open();
        reader.execute_batch("BEGIN; SELECT count(*) FROM t").expect("read");
        db.execute_batch("INSERT INTO t VALUES(2)").expect("write");
        assert_eq!(checkpoint(&db, "TRUNCATE"), Ok(None), "blocked by a reader");
        assert_eq!(checkpoint(&db, "PASSIVE"), Ok(None), "in part");
        reader.execute_batch("COMMIT").expect("end");
        assert_eq!(checkpoint(&db, "PASSIVE"), Ok(Some(CHECKPOINTED)));
        assert_eq!(checkpoint(&db, "TRUNCATE"), Ok(Some(CHECKPOINTED)));
        assert_eq!(checkpoint(&db, "PASSIVE"), Ok(None), "nothing to do");
    }
}
