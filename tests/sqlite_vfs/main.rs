//! SQLite on regions: from single calls of the VFS up to processes that are killed.

mod batches;
mod contract;
mod cycles;
mod forks;
mod host;
mod openers;
mod opening;
mod places;
mod power;
mod processes;
mod reasons;
mod space;
mod waiting;

use pagestone_tests::sqlite;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

/// Opens a database on the VFS; query parameters are understood.
fn open(path: impl AsRef<Path>) -> rusqlite::Result<Connection> {
    sqlite::start();
    Connection::open_with_flags_and_vfs(path, OpenFlags::default(), pagestone_sqlite::VFS)
}

/// Opens a database that must open.
fn opened(path: impl AsRef<Path>) -> Connection {
    open(path).expect("the database opens")
}

/// The one value that a query gives.
fn value<T: rusqlite::types::FromSql>(db: &Connection, query: &str) -> T {
    db.query_row(query, [], |row| row.get(0)).unwrap_or_else(|e| panic!("{query}: {e}"))
}

/// Runs statements that must succeed.
fn run(db: &Connection, statements: &str) {
    db.execute_batch(statements).unwrap_or_else(|e| panic!("{statements}: {e}"));
}

/// SQLite's own verdict on the whole database.
fn assert_whole(db: &Connection) {
    assert_eq!(value::<String>(db, "PRAGMA integrity_check"), "ok");
}

/// The names in a directory, sorted.
fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = directory
        .read_dir()
        .expect("the directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
