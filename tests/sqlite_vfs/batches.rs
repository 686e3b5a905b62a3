//! Commits by batch: what SQLite does where it was built for them, what they cost, and where SQLite still uses a journal.

use crate::{assert_whole, files, opened, run, value};
use rusqlite::{Connection, ErrorCode};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Counters of the region, from `PRAGMA pagestone_stats`.
fn counters(db: &Connection) -> HashMap<String, i64> {
    let words: String = value(db, "PRAGMA pagestone_stats");
    let pairs = words.split(' ').filter_map(|word| word.split_once('='));
    pairs.map(|(name, n)| (name.to_owned(), n.parse().expect("a number"))).collect()
}

/// How many batches, writes through the log and syncs of the file the statements cost.
fn cost(db: &Connection, statements: &str) -> [i64; 3] {
    let before = counters(db);
    run(db, statements);
    let after = counters(db);
    ["batches", "write_throughs", "file_syncs"].map(|name| after[name] - before[name])
}

/// A database that has had its first transactions: an empty one is not written by a batch.
fn begun(path: &Path) -> Connection {
    let db = opened(path);
    run(
        &db,
        "PRAGMA synchronous=FULL; CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t(v) VALUES(1)",
    );
    run(&db, "INSERT INTO t(v) VALUES(2)");
    db
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.db");
    (directory, path)
}

#[test]
fn the_bundled_sqlite_is_built_for_batches() {
    let (_directory, path) = place();
    let built: bool = value(&opened(path), "SELECT sqlite_compileoption_used('ENABLE_BATCH_ATOMIC_WRITE')");
    assert!(built, "LIBSQLITE3_FLAGS of .cargo/config.toml did not reach libsqlite3-sys");
}

#[test]
fn a_commit_is_one_write_of_the_log_and_no_journal() {
    for mode in ["delete", "truncate", "persist", "memory"] {
        for synchronous in ["normal", "full", "extra"] {
            let (_directory, path) = place();
            let db = begun(&path);
            assert_eq!(value::<String>(&db, &format!("PRAGMA journal_mode={mode}")), mode);
            run(&db, &format!("PRAGMA synchronous={synchronous}; INSERT INTO t(v) VALUES(3)"));
            let paid = cost(&db, "INSERT INTO t(v) VALUES(4)");
            assert_eq!(paid, [1, 1, 0], "{mode} {synchronous}");
            // New pages at the end, too.
            let paid = cost(&db, "INSERT INTO t(v) VALUES(zeroblob(100000))");
            assert_eq!(paid, [1, 1, 0], "{mode} {synchronous}");
            assert_whole(&db);
        }
    }
}

#[test]
fn where_sqlite_wants_a_journal_there_is_no_batch() {
    let (directory, path) = place();
    let db = begun(&path);
    let batches = |statements: &str| cost(&db, statements)[0];
    assert_eq!(batches("INSERT INTO t(v) VALUES(1)"), 1);
    // This lasts: see `unsynced` in the VFS.
    let off = opened(&path);
    for synchronous in ["OFF", "FULL"] {
        run(&off, &format!("PRAGMA synchronous={synchronous}"));
        assert_eq!(cost(&off, "INSERT INTO t(v) VALUES(1)")[0], 0);
    }
    // The cache spills: pages are written before the commit.
    let spill = "PRAGMA cache_size=5; UPDATE t SET v=randomblob(200000); PRAGMA cache_size=-2000";
    assert_eq!(batches(spill), 0);
    let second = directory.path().join("b.db");
    drop(begun(&second));
    run(&db, &format!("ATTACH '{}' AS b", second.display()));
    assert_eq!(batches("BEGIN; INSERT INTO main.t(v) VALUES(1); INSERT INTO b.t(v) VALUES(1); COMMIT"), 0);
    assert_eq!(batches("INSERT INTO main.t(v) VALUES(1)"), 1);
    run(&db, "DETACH b");
    let _: String = value(&db, "PRAGMA journal_mode=wal");
    assert_eq!(batches("INSERT INTO t(v) VALUES(1)"), 0);
    assert_eq!(files(directory.path()), ["a.db", "b.db"]);
    assert_whole(&db);
}

/// A batch that does not fit is an I/O error for SQLite. It then tries with a journal and finds that the disk is full.
#[test]
fn a_full_region_is_full_also_by_batch() {
    let (_directory, path) = place();
    let uri = format!("file:{}?max_size=4M", path.display());
    let db = begun(Path::new(&uri));
    run(&db, "PRAGMA cache_size=-100000");
    let before = counters(&db)["batches"];
    let refused = db.execute_batch("INSERT INTO t(v) VALUES(zeroblob(5000000))").expect_err("it cannot fit");
    assert_eq!(refused.sqlite_error_code(), Some(ErrorCode::DiskFull), "{refused}");
    assert_eq!(counters(&db)["batches"], before);
    assert_eq!(value::<u32>(&db, "SELECT count(*) FROM t"), 2);
    assert_whole(&db);
    assert_eq!(cost(&db, "INSERT INTO t(v) VALUES(zeroblob(500000))")[0], 1);
    assert_whole(&db);
}

#[test]
fn a_large_transaction_is_one_batch() {
    let (_directory, path) = place();
    let db = begun(&path);
    run(&db, "PRAGMA cache_size=-200000");
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<20000)
                INSERT INTO t(v) SELECT randomblob(900) FROM n";
    assert_eq!(cost(&db, rows)[0], 1);
    assert_eq!(cost(&db, "UPDATE t SET v=v||'x' WHERE id%7=0; DELETE FROM t WHERE id>10000")[0], 2);
    assert_whole(&db);
    drop(db);
    let db = opened(&path);
    assert_eq!(value::<u32>(&db, "SELECT count(*) FROM t"), 10_000);
    assert_whole(&db);
}

/// Pins stay where they are while a batch changes their pages, and show the change at once.
#[test]
fn a_reader_by_pins_sees_each_batch() {
    let (_directory, path) = place();
    let writer = begun(&path);
    let reader = opened(&path);
    run(&reader, "PRAGMA mmap_size=1073741824; PRAGMA cache_size=2");
    for n in 0..200 {
        assert_eq!(cost(&writer, &format!("UPDATE t SET v={n}; INSERT INTO t(v) VALUES({n})"))[0], 2);
        assert_eq!(value::<i64>(&reader, "SELECT min(v) FROM t"), n);
        assert_eq!(value::<i64>(&reader, "SELECT count(*) FROM t"), n + 3);
    }
    assert_whole(&reader);
}

/// When syncs are off, a journal in memory protects nothing, because SQLite then writes the pages in place.
#[test]
fn without_syncs_the_journal_is_an_object() {
    for locking in ["normal", "exclusive"] {
        let (_directory, path) = place();
        let db = begun(&path);
        run(&db, &format!("PRAGMA locking_mode={locking}; INSERT INTO t(v) VALUES(3)"));
        // Records of the log before the commit: a journal that is an object grows.
        let journaled = |db: &Connection| {
            let before = counters(db)["log_records"];
            run(db, "BEGIN; UPDATE t SET v=v+1");
            let after = counters(db)["log_records"];
            run(db, "COMMIT");
            after > before
        };
        assert!(!journaled(&db), "{locking}");
        run(&db, "PRAGMA synchronous=OFF");
        assert!(journaled(&db), "{locking}");
        assert_whole(&db);
    }
}

/// SQLite does not tell the VFS of such a rollback. Syncs cannot be switched off then; the error says so, and what it
/// advises helps.
#[test]
fn why_syncs_are_not_switched_off_after_a_rollback_that_keeps_its_lock_is_said() {
    let (_directory, path) = place();
    let db = begun(&path);
    run(&db, "PRAGMA locking_mode=EXCLUSIVE; BEGIN; INSERT INTO t(v) VALUES(3); ROLLBACK");
    let refused = db.execute_batch("PRAGMA synchronous=OFF").expect_err("nothing tells of the rollback");
    let said = refused.to_string();
    assert!(said.contains("ROLLBACK with locking_mode=EXCLUSIVE: commit something first"), "{said}");
    run(&db, "INSERT INTO t(v) VALUES(3); PRAGMA synchronous=OFF");
    assert_whole(&db);
}

/// Without locks the VFS does not know that a statement writes. So syncs can be switched off at any time, and the journal
/// must not be in memory.
#[test]
fn without_locks_the_journal_is_an_object_when_syncs_are_switched_off_while_a_statement_writes() {
    let (_directory, path) = place();
    drop(begun(&path));
    let db = opened(format!("file:{}?nolock=1", path.display()));
    let mut update = db.prepare("UPDATE t SET v=v+1 RETURNING id").expect("it compiles");
    let before = counters(&db)["log_records"];
    let mut rows = update.query([]).expect("it runs");
    assert!(rows.next().expect("it steps").is_some());
    run(&db, "PRAGMA synchronous=OFF");
    assert!(counters(&db)["log_records"] > before, "there is no journal");
    while rows.next().expect("it steps").is_some() {}
    drop(rows);
    drop(update);
    assert_eq!(cost(&db, "INSERT INTO t(v) VALUES(1)")[0], 0);
    assert_whole(&db);
}

#[test]
fn syncs_are_not_switched_off_while_a_statement_writes() {
    let (_directory, path) = place();
    let db = begun(&path);
    let mut update = db.prepare("UPDATE t SET v=v+1 RETURNING id").expect("it compiles");
    let mut rows = update.query([]).expect("it runs");
    assert!(rows.next().expect("it steps").is_some());
    let refused = db.execute_batch("PRAGMA synchronous=OFF").expect_err("the journal may be in memory");
    assert!(refused.to_string().contains("inside a transaction"), "{refused}");
    while rows.next().expect("it steps").is_some() {}
    drop(rows);
    drop(update);
    assert_eq!(value::<i64>(&db, "PRAGMA synchronous"), 2);
    run(&db, "PRAGMA synchronous=OFF");
    assert_eq!(cost(&db, "INSERT INTO t(v) VALUES(1)")[0], 0);
    assert_whole(&db);
}
