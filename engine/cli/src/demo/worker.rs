//! The process that does the demo's work and is killed meanwhile.

use super::ledger::{Message, Writer};
use super::unicode;
use rusqlite::{Connection, OpenFlags, params};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Number of rows that each writing transaction adds. A part of them is a torn transaction.
pub const ROWS_PER_WRITE: u64 = 8;
/// The table that the writers add to.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS pagestone_demo(thread INTEGER, number INTEGER, part INTEGER, note TEXT,
                                PRIMARY KEY(thread, number, part)) WITHOUT ROWID;";
const BUSY: Duration = Duration::from_secs(30);

/// The arguments of the worker.
#[derive(Debug, Clone, clap::Args)]
pub struct Orders {
    /// The region that holds the database.
    pub region: std::path::PathBuf,
    /// Writing threads.
    #[arg(long, default_value_t = 2)]
    pub writers: u32,
    /// Reading threads.
    #[arg(long, default_value_t = 2)]
    pub readers: u32,
    /// The database is the user's own: import nothing, read its tables.
    #[arg(long)]
    pub own: bool,
}

/// Opens the database in `region`, ready for several connections at once.
pub fn connect(region: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let db = Connection::open_with_flags_and_vfs(region, flags, pagestone_sqlite::VFS)?;
    db.busy_timeout(BUSY)?;
    db.pragma_update(None, "mmap_size", 1_i64 << 30)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    Ok(db)
}

/// Works until it is killed; returns only after a failure.
pub fn work(orders: &Orders) -> Result<(), String> {
    let result = pagestone_sqlite::register().and_then(|()| labour(orders).map_err(|e| e.to_string()));
    if let Err(why) = &result {
        say(&Message::Failed(why.clone()));
    }
    result
}

/// Writes one line by one write.
fn say(message: &Message) {
    let mut out = std::io::stdout().lock();
    // The parent is gone, so there is no reason to go on.
    if out.write_all(message.line().as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

fn labour(orders: &Orders) -> rusqlite::Result<()> {
    let mut db = connect(&orders.region)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    let queries = if orders.own {
        db.execute_batch(SCHEMA)?;
        count_queries(&db)?
    } else {
        db.execute_batch(unicode::SCHEMA)?;
        db.execute_batch(SCHEMA)?;
        import(&mut db)?;
        unicode::QUERIES.iter().map(|q| (*q).to_owned()).collect()
    };
    say(&Message::Ready);
    let queries = Arc::new(queries);
    let stop = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for reader in 0..orders.readers {
        let (orders, queries, stop) = (orders.clone(), Arc::clone(&queries), Arc::clone(&stop));
        threads.push(thread::spawn(move || read(&orders, &queries, reader as usize, &stop)));
    }
    for writer in 0..orders.writers {
        let (orders, stop) = (orders.clone(), Arc::clone(&stop));
        threads.push(thread::spawn(move || write(&orders, writer, &stop)));
    }
    let mut result = report_stats(&db, &stop);
    for t in threads {
        let ended = t.join().unwrap_or(Err(rusqlite::Error::InvalidQuery));
        result = result.and(ended);
    }
    result
}

fn import(db: &mut Connection) -> rusqlite::Result<()> {
    let rows: Vec<_> = unicode::rows().collect();
    let mut done = 0;
    for part in rows.chunks(unicode::ROWS_PER_TRANSACTION) {
        done += unicode::insert(db, part)? as u64;
        say(&Message::Rows(done));
    }
    Ok(())
}

/// For an unknown database: counts the rows of each table.
fn count_queries(db: &Connection) -> rusqlite::Result<Vec<String>> {
    Ok(tables(db)?.iter().map(|t| format!("SELECT count(*) FROM {}", quote(t))).collect())
}

/// The user's tables.
pub fn tables(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = db.prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
         AND name <> 'pagestone_demo' AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name",
    )?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// An SQL identifier.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// ORDERING: `stop` carries no data; a thread may see it one round late.
fn stopped(stop: &AtomicBool) -> bool {
    stop.load(Ordering::Relaxed)
}

/// Sets `stop` when a thread ends early, so that the other threads end, too, and the failure is reported.
struct StopOthers<'a>(&'a AtomicBool);

impl Drop for StopOthers<'_> {
    fn drop(&mut self) {
        // ORDERING: see `stopped`.
        self.0.store(true, Ordering::Relaxed);
    }
}

fn read(orders: &Orders, queries: &[String], first: usize, stop: &AtomicBool) -> rusqlite::Result<()> {
    let _stop_others = StopOthers(stop);
    let db = connect(&orders.region)?;
    for query in queries.iter().cycle().skip(first) {
        if stopped(stop) {
            break;
        }
        let mut statement = db.prepare_cached(query)?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        say(&Message::Answer);
    }
    Ok(())
}

fn write(orders: &Orders, thread: u32, stop: &AtomicBool) -> rusqlite::Result<()> {
    let _stop_others = StopOthers(stop);
    let mut db = connect(&orders.region)?;
    let mut transaction = 0;
    while !stopped(stop) {
        transaction += 1;
        let writer = Writer { thread, transaction };
        say(&Message::Begin(writer));
        write_once(&mut db, writer, orders.own)?;
        say(&Message::Ack(writer));
    }
    Ok(())
}

/// One transaction: adds rows, and (in the built-in data) marks as many characters as seen.
fn write_once(db: &mut Connection, writer: Writer, own: bool) -> rusqlite::Result<()> {
    let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for part in 0..ROWS_PER_WRITE {
        let note = format!("transaction {} of writer {}, part {part}", writer.transaction, writer.thread);
        transaction.prepare_cached("INSERT INTO pagestone_demo VALUES(?, ?, ?, ?)")?.execute(params![
            writer.thread,
            writer.transaction,
            part,
            note
        ])?;
        if !own {
            let at =
                33 + (writer.transaction * 7919 + u64::from(writer.thread) * 104_729 + part * 131) % 40_000;
            transaction
                .prepare_cached(
                    "UPDATE chars SET seen = seen + 1
                     WHERE cp = (SELECT cp FROM chars WHERE cp >= ? ORDER BY cp LIMIT 1)",
                )?
                .execute([at])?;
        }
    }
    transaction.commit()
}

/// Reports the engine's counters until it is stopped.
fn report_stats(db: &Connection, stop: &AtomicBool) -> rusqlite::Result<()> {
    while !stopped(stop) {
        if let Some(words) = stats(db)? {
            say(&Message::Stats(words));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The engine's counters from the VFS, as `name=value` words.
pub fn stats(db: &Connection) -> rusqlite::Result<Option<String>> {
    let mut statement = db.prepare("PRAGMA pagestone_stats")?;
    let mut rows = statement.query([])?;
    rows.next()?.map(|row| row.get(0)).transpose()
}
