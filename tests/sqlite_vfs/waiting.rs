//! Busy handlers: which connection waits for a lock, which is refused after its handler was asked, and which is refused
//! at once.

use crate::{assert_whole, opened, run, value};
use rusqlite::{Connection, ErrorCode};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

thread_local! {
    /// How often the handlers of this thread were asked.
    static ASKED: Cell<i32> = const { Cell::new(0) };
}

fn three_times(before: i32) -> bool {
    ASKED.set(ASKED.get() + 1);
    before < 2
}

/// A connection waits until it has the lock.
static WAITS: AtomicBool = AtomicBool::new(false);

fn patiently(_: i32) -> bool {
    ASKED.set(ASKED.get() + 1);
    WAITS.store(true, Ordering::Relaxed);
    thread::sleep(Duration::from_millis(1));
    true
}

fn asked() -> i32 {
    ASKED.replace(0)
}

fn place(mode: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.db");
    let db = opened(&path);
    assert_eq!(value::<String>(&db, &format!("PRAGMA journal_mode={mode}")), mode);
    run(&db, "CREATE TABLE t(x); INSERT INTO t VALUES(0)");
    (directory, path)
}

fn with(path: &Path, handler: fn(i32) -> bool) -> Connection {
    let mut db = opened(path);
    // A later statement would meet the locks of the others.
    assert_eq!(value::<u32>(&db, "SELECT count(*) FROM t"), 1);
    db.busy_handler(Some(handler)).expect("a handler");
    db
}

/// The statements find the database locked.
fn is_refused(db: &Connection, statements: &str) {
    let refused = db.execute_batch(statements).expect_err(statements);
    assert_eq!(refused.sqlite_error_code(), Some(ErrorCode::DatabaseBusy), "{statements}: {refused}");
}

/// For each of SQLite's lock states: what another connection does, what this one then wants, and what it says when it
/// gives up.
const CONFLICTS: [(&str, &str, &str, &str); 6] = [
    ("delete", "BEGIN IMMEDIATE", "BEGIN IMMEDIATE", ""),
    ("delete", "BEGIN EXCLUSIVE", "SELECT * FROM t", ""),
    ("delete", "BEGIN EXCLUSIVE", "BEGIN EXCLUSIVE", ""),
    ("delete", "BEGIN; SELECT * FROM t", "BEGIN EXCLUSIVE", ""),
    ("delete", "BEGIN; SELECT * FROM t", "BEGIN; INSERT INTO t VALUES(1); COMMIT", "ROLLBACK"),
    ("wal", "BEGIN IMMEDIATE", "BEGIN IMMEDIATE", ""),
];

#[test]
fn the_busy_handler_is_asked_before_a_lock_is_refused() {
    for (mode, held, wanted, after) in CONFLICTS {
        let (_directory, path) = place(mode);
        let (holder, db) = (opened(&path), with(&path, three_times));
        run(&holder, held);
        asked();
        is_refused(&db, wanted);
        assert_eq!(asked(), 3, "{mode}: {held}, {wanted}");
        run(&db, after);
        run(&holder, "COMMIT");
        run(&db, "BEGIN EXCLUSIVE; INSERT INTO t VALUES(2); COMMIT");
        assert_eq!(asked(), 0, "{mode}: {held}, {wanted}");
        assert_whole(&db);
    }
}

#[test]
fn a_waiting_connection_gets_the_lock_when_the_other_is_done() {
    for (mode, held, wanted, _) in CONFLICTS {
        let (_directory, path) = place(mode);
        let (holder, db) = (opened(&path), with(&path, patiently));
        run(&holder, held);
        WAITS.store(false, Ordering::Relaxed);
        thread::scope(|scope| {
            scope.spawn(move || {
                let end = Instant::now() + Duration::from_secs(20);
                while !WAITS.load(Ordering::Relaxed) && Instant::now() < end {
                    thread::sleep(Duration::from_millis(1));
                }
                run(&holder, "COMMIT");
            });
            asked();
            run(&db, wanted);
            assert!(asked() > 0, "{mode}: {held}, {wanted}");
            assert_whole(&db);
        });
    }
}

/// Neither can go on before the other gives way, so SQLite asks no handler.
#[test]
fn two_readers_that_both_want_to_write_are_not_left_waiting() {
    for mode in ["delete", "wal"] {
        let (_directory, path) = place(mode);
        let (a, b) = (with(&path, three_times), with(&path, patiently));
        for db in [&a, &b] {
            run(db, "BEGIN; SELECT * FROM t");
        }
        run(&a, "INSERT INTO t VALUES(1)");
        asked();
        is_refused(&b, "INSERT INTO t VALUES(2)");
        assert_eq!(asked(), 0, "{mode}");
        run(&b, "ROLLBACK");
        run(&a, "COMMIT");
        assert_eq!(value::<u32>(&b, "SELECT count(*) FROM t"), 2);
    }
}

/// A checkpoint that wants the whole WAL waits for the readers of it.
#[test]
fn a_checkpoint_asks_its_handler_about_readers() {
    for kind in ["full", "restart", "truncate"] {
        let (_directory, path) = place("wal");
        let (reader, db) = (opened(&path), with(&path, three_times));
        run(&reader, "BEGIN; SELECT * FROM t");
        run(&db, "INSERT INTO t VALUES(1)");
        asked();
        let checkpoint = format!("PRAGMA wal_checkpoint({kind})");
        assert_eq!(value::<i64>(&db, &checkpoint), 1, "{kind}");
        assert_eq!(asked(), 3, "{kind}");
        assert_eq!(value::<u32>(&reader, "SELECT count(*) FROM t"), 1, "{kind}: its snapshot");
        // A passive checkpoint asks no handler, and does what it can.
        assert_eq!(value::<i64>(&db, "PRAGMA wal_checkpoint(passive)"), 0);
        assert_eq!(asked(), 0);
        run(&reader, "COMMIT");
        assert_eq!(value::<i64>(&db, &checkpoint), 0, "{kind}");
        assert_whole(&reader);
    }
}
