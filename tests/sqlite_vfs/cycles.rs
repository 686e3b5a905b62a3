//! Databases through their life: every journal mode and page size, connections side by side, copies.

use crate::{assert_whole, files, open, opened, run, value};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

const MODES: [&str; 6] = ["delete", "truncate", "persist", "memory", "off", "wal"];

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.db");
    (directory, path)
}

/// `rows` rows of 400 bytes in a table `t`, numbered from 1.
fn filled(path: &Path, mode: &str, rows: u32) -> Connection {
    let db = opened(path);
    assert_eq!(value::<String>(&db, &format!("PRAGMA journal_mode={mode}")), mode);
    run(&db, "CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)");
    append(&db, rows);
    db
}

fn append(db: &Connection, rows: u32) {
    let more = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{rows})
                        INSERT INTO t(v) SELECT randomblob(400) FROM n"
    );
    run(db, &more);
}

fn count(db: &Connection) -> u32 {
    value(db, "SELECT count(*) FROM t")
}

fn is_busy(result: rusqlite::Result<()>) -> bool {
    matches!(result, Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy))
}

#[test]
fn every_journal_mode_commits_rolls_back_and_leaves_one_file() {
    for mode in MODES {
        let (directory, path) = place();
        let db = filled(&path, mode, 500);
        run(&db, "PRAGMA cache_size=5; BEGIN; DELETE FROM t WHERE id%2; UPDATE t SET v=randomblob(900)");
        assert_eq!(files(directory.path()), ["a.db"], "{mode}");
        if mode == "off" {
            run(&db, "COMMIT; DELETE FROM t WHERE id>500");
        } else {
            run(&db, "ROLLBACK");
            assert_eq!(count(&db), 500, "{mode}");
        }
        let left = count(&db);
        append(&db, 20);
        assert_whole(&db);
        drop(db);
        let db = opened(&path);
        assert_eq!(count(&db), left + 20, "{mode}");
        assert_whole(&db);
        assert_eq!(files(directory.path()), ["a.db"], "{mode}");
    }
}

#[test]
fn a_database_changes_its_journal_mode_and_back() {
    let (directory, path) = place();
    let db = filled(&path, "delete", 10);
    for mode in
        ["wal", "delete", "persist", "wal", "truncate", "delete", "persist", "memory", "wal", "delete"]
    {
        assert_eq!(value::<String>(&db, &format!("PRAGMA journal_mode={mode}")), mode);
        append(&db, 10);
        assert_whole(&db);
    }
    assert_eq!(count(&db), 110);
    assert_eq!(files(directory.path()), ["a.db"]);
}

#[test]
fn every_page_size_reads_copies_and_pins_alike() {
    for size in [512, 1024, 4096, 8192, 65536] {
        for mode in ["delete", "wal"] {
            let (_directory, path) = place();
            let db = opened(&path);
            run(&db, &format!("PRAGMA page_size={size}"));
            drop(db);
            let db = opened(&path);
            run(
                &db,
                &format!(
                    "PRAGMA page_size={size}; PRAGMA journal_mode={mode}; CREATE TABLE t(id INTEGER PRIMARY KEY, v)"
                ),
            );
            append(&db, 300);
            let copied: i64 = value(&db, "SELECT sum(length(v)) + sum(id) FROM t");
            drop(db);
            // With a small cache and fetches allowed, SQLite reads by pins, and writes meet pinned pages.
            let db = opened(&path);
            run(&db, "PRAGMA mmap_size=1073741824; PRAGMA cache_size=3");
            assert_eq!(value::<i64>(&db, "PRAGMA page_size"), size);
            assert_eq!(value::<i64>(&db, "SELECT sum(length(v)) + sum(id) FROM t"), copied, "{size} {mode}");
            run(&db, "UPDATE t SET v=v||v WHERE id%3=0; DELETE FROM t WHERE id%5=0; VACUUM");
            assert_whole(&db);
            assert_eq!(count(&db), 240);
        }
    }
}

#[test]
fn a_shrunk_database_grows_again_whole() {
    let (_directory, path) = place();
    let db = opened(&path);
    run(
        &db,
        "PRAGMA auto_vacuum=full; PRAGMA mmap_size=1073741824; CREATE TABLE t(id INTEGER PRIMARY KEY, v)",
    );
    for _ in 0..5 {
        append(&db, 2000);
        assert_whole(&db);
        run(&db, "DELETE FROM t WHERE id > 100");
        assert!(value::<u32>(&db, "PRAGMA page_count") < 100);
        assert_whole(&db);
    }
}

#[test]
fn a_writer_keeps_writers_out_and_readers_keep_a_commit_waiting() {
    let (_directory, path) = place();
    let (a, b) = (filled(&path, "delete", 10), opened(&path));
    for db in [&a, &b] {
        run(db, "PRAGMA busy_timeout=0");
    }
    run(&a, "BEGIN IMMEDIATE; INSERT INTO t(v) VALUES(1)");
    assert!(is_busy(b.execute_batch("BEGIN IMMEDIATE")));
    assert_eq!(count(&b), 10);
    run(&b, "BEGIN; SELECT count(*) FROM t");
    assert!(is_busy(a.execute_batch("COMMIT")));
    // The refused commit keeps new readers out.
    let c = opened(&path);
    run(&c, "PRAGMA busy_timeout=0");
    assert!(is_busy(c.execute_batch("SELECT count(*) FROM t")));
    run(&b, "COMMIT");
    run(&a, "COMMIT");
    assert_eq!((count(&b), count(&c)), (11, 11));
}

#[test]
fn wal_readers_keep_their_snapshot_and_a_checkpoint_empties_the_wal() {
    let (_directory, path) = place();
    let (a, b) = (filled(&path, "wal", 10), opened(&path));
    run(&b, "PRAGMA busy_timeout=0; BEGIN");
    assert_eq!(count(&b), 10);
    append(&a, 5);
    assert_eq!((count(&a), count(&b)), (15, 10));
    let busy: i64 = value(&a, "PRAGMA wal_checkpoint(truncate)");
    assert_eq!(busy, 1, "a reader keeps the WAL from being emptied");
    run(&b, "COMMIT");
    assert_eq!(count(&b), 15);
    assert_eq!(value::<i64>(&a, "PRAGMA wal_checkpoint(truncate)"), 0);
    // The WAL is empty now, and grows again.
    append(&b, 3000);
    assert_eq!(count(&a), 3015);
    run(&a, "PRAGMA journal_size_limit=1000; PRAGMA wal_checkpoint(restart)");
    append(&a, 1);
    assert_whole(&b);
}

#[test]
fn threads_share_a_database_and_lose_no_row() {
    for mode in ["delete", "wal"] {
        let (_directory, path) = place();
        drop(filled(&path, mode, 1));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let db = opened(&path);
                        run(
                            &db,
                            "PRAGMA busy_timeout=60000; PRAGMA synchronous=off; PRAGMA mmap_size=1073741824",
                        );
                        for _ in 0..10 {
                            run(&db, "BEGIN IMMEDIATE; INSERT INTO t(v) VALUES(randomblob(400)); COMMIT");
                            assert!(count(&db) > 1);
                        }
                    }
                });
            }
        });
        let db = opened(&path);
        assert_eq!(count(&db), 201, "{mode}");
        assert_whole(&db);
    }
}

#[test]
fn a_copy_of_the_file_is_the_whole_database() {
    // A sync makes the file complete even where nothing can be made durable.
    for parameters in ["", "?assume=volatile"] {
        for mode in ["delete", "wal"] {
            let (directory, path) = place();
            let db = filled(Path::new(&format!("file:{}{parameters}", path.display())), mode, 100);
            run(&db, "PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=full");
            append(&db, 50);
            // The database is open. With a WAL the last rows are only in the WAL.
            let copy = directory.path().join("copy.db");
            std::fs::copy(&path, &copy).expect("a copy");
            let other = opened(&copy);
            assert_eq!(count(&other), 150, "{parameters} {mode}");
            assert_whole(&other);
        }
    }
}

#[test]
fn databases_are_attached_vacuumed_and_backed_up() {
    let (directory, path) = place();
    let db = filled(&path, "delete", 100);
    let second = directory.path().join("b.db").to_string_lossy().into_owned();
    run(&db, &format!("ATTACH '{second}' AS b; CREATE TABLE b.u AS SELECT * FROM t"));
    run(&db, "BEGIN; DELETE FROM t WHERE id<=50; DELETE FROM u WHERE id>50; COMMIT");
    run(&db, "BEGIN; DELETE FROM t; DELETE FROM u; ROLLBACK");
    assert_eq!((count(&db), value::<u32>(&db, "SELECT count(*) FROM u")), (50, 50));
    let third = directory.path().join("c.db").to_string_lossy().into_owned();
    run(&db, &format!("VACUUM INTO '{third}'"));
    assert_eq!(count(&opened(&third)), 50);
    let mut target = opened(directory.path().join("d.db"));
    rusqlite::backup::Backup::new(&db, &mut target)
        .and_then(|backup| backup.run_to_completion(10, std::time::Duration::ZERO, None))
        .expect("a backup");
    assert_eq!(count(&target), 50);
    assert_whole(&target);
    assert_eq!(files(directory.path()), ["a.db", "b.db", "c.db", "d.db"]);
}

#[test]
fn readers_of_a_closed_database_share_it_read_only() {
    let (_directory, path) = place();
    for mode in ["delete", "wal"] {
        let file = path.with_extension(mode);
        drop(filled(&file, mode, 10));
        let uri = format!("file:{}?immutable=1", file.display());
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let db = Connection::open_with_flags_and_vfs(&uri, flags, pagestone_sqlite::VFS).expect("it opens");
        assert_eq!(count(&db), 10, "{mode}");
        // A connection that wants to write meanwhile learns that it cannot.
        let writer = open(&file).expect("it opens for reading");
        assert_eq!(writer.is_readonly("main"), Ok(true), "{mode}");
        let refused = writer.execute_batch("DELETE FROM t").expect_err("read-only");
        assert_eq!(refused.sqlite_error_code(), Some(ErrorCode::ReadOnly), "{mode}");
    }
}

#[test]
fn what_vacuum_frees_is_used_again() {
    let (_directory, path) = place();
    let db = filled(&path, "delete", 8000);
    let bytes = || std::fs::metadata(&path).expect("the region").len();
    let grown = bytes();
    for _ in 0..3 {
        run(&db, "DELETE FROM t WHERE id>10; VACUUM");
        assert!(value::<u32>(&db, "PRAGMA page_count") < 20);
        append(&db, 8000);
        assert_whole(&db);
    }
    // A VACUUM keeps the old pages in a journal until it is done.
    assert!(bytes() <= 3 * grown, "{grown} bytes became {}", bytes());
}

#[test]
fn a_backup_follows_its_source() {
    let (directory, path) = place();
    let (db, writer) = (filled(&path, "delete", 2000), opened(&path));
    let mut target = opened(directory.path().join("b.db"));
    let backup = rusqlite::backup::Backup::new(&db, &mut target).expect("a backup begins");
    let mut steps = 0;
    while backup.step(20).expect("a step") != rusqlite::backup::StepResult::Done {
        steps += 1;
        // A change by another connection makes it begin again. After some of them it gets the time to end.
        if steps % 200 == 50 && steps < 1000 {
            run(&writer, "UPDATE t SET v=randomblob(300) WHERE id%100=1; INSERT INTO t(v) VALUES('more')");
        }
    }
    drop(backup);
    let sum = "SELECT total(length(v)) || hex(min(v)) || hex(max(v)) || count(*) FROM t";
    assert_eq!(value::<String>(&target, sum), value::<String>(&writer, sum));
    assert_whole(&target);
}

/// One database is on SQLite's own VFS, the other on Pagestone's.
#[test]
fn a_plain_database_is_attached_and_backed_up_both_ways() {
    let (directory, path) = place();
    let plain = |name: &str| {
        let path = directory.path().join(name);
        Connection::open_with_flags_and_vfs(path, OpenFlags::default(), c"unix").expect("a plain database")
    };
    let db = filled(&path, "delete", 300);
    let sum = "SELECT total(length(v)) || hex(min(v)) || hex(max(v)) || count(*) FROM t";
    let copy = |from: &Connection, to: &mut Connection| {
        rusqlite::backup::Backup::new(from, to)
            .and_then(|backup| backup.run_to_completion(7, std::time::Duration::ZERO, None))
            .expect("a backup");
        assert_eq!(value::<String>(to, sum), value::<String>(from, sum));
        assert_whole(to);
    };
    let mut outside = plain("plain.db");
    copy(&db, &mut outside);
    copy(&outside, &mut opened(directory.path().join("again.db")));
    drop(outside);
    run(&db, &format!("ATTACH 'file:{}/plain.db?vfs=unix' AS plain", directory.path().display()));
    run(&db, &format!("ATTACH '{}/again.db' AS again", directory.path().display()));
    run(&db, "BEGIN; DELETE FROM main.t; DELETE FROM plain.t; DELETE FROM again.t; ROLLBACK");
    run(
        &db,
        "BEGIN; DELETE FROM main.t WHERE id>1; DELETE FROM plain.t WHERE id>2; DELETE FROM again.t; COMMIT",
    );
    drop(db);
    let again = opened(directory.path().join("again.db"));
    assert_eq!((count(&opened(&path)), count(&plain("plain.db")), count(&again)), (1, 2, 0));
    assert_eq!(files(directory.path()), ["a.db", "again.db", "plain.db"]);
}

#[test]
fn pages_are_pinned_by_readers_and_only_where_mmap_size_allows() {
    let (_directory, path) = place();
    let (db, watcher) = (filled(&path, "delete", 300), opened(&path));
    let pinned = || {
        let words: String = value(&watcher, "PRAGMA pagestone_stats");
        let word = words.split(' ').find_map(|word| word.strip_prefix("pinned_pages="));
        word.and_then(|n| n.parse::<u64>().ok()).expect("a number")
    };
    run(&db, "PRAGMA cache_size=2");
    // The default is SQLite's. A size beyond its limit is reduced to that, and less than a page is none.
    assert_eq!(value::<i64>(&db, "PRAGMA mmap_size"), 0);
    for (wanted, given, pins) in
        [(1_i64 << 30, 1_i64 << 30, true), (0, 0, false), (1 << 40, 0x7fff_0000, true), (4095, 4095, false)]
    {
        assert_eq!(value::<i64>(&db, &format!("PRAGMA mmap_size={wanted}")), given);
        let mut statement = db.prepare("SELECT v FROM t").expect("a statement");
        let mut rows = statement.query([]).expect("rows");
        for _ in 0..50 {
            assert!(rows.next().expect("a row").is_some());
        }
        assert_eq!(pinned() > 0, pins, "mmap_size={wanted}");
        drop(rows);
        assert_eq!(pinned(), 0, "mmap_size={wanted}");
    }
}

/// Sets the flag when it is dropped, even if its thread panics.
struct Set<'a>(&'a AtomicBool);

impl Drop for Set<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn readers_see_whole_transactions_while_others_write_and_checkpoint() {
    const TRANSACTIONS: u32 = 300;
    for mode in ["delete", "wal"] {
        let (_directory, path) = place();
        let db = filled(&path, mode, 50);
        run(&db, "UPDATE t SET v=0");
        let done = AtomicBool::new(false);
        let connection = || {
            let db = opened(&path);
            run(&db, "PRAGMA busy_timeout=60000; PRAGMA mmap_size=1073741824; PRAGMA cache_size=4");
            db
        };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let db = connection();
                    while !done.load(Ordering::Relaxed) {
                        assert_eq!(value::<u32>(&db, "SELECT count(DISTINCT v) FROM t"), 1, "{mode}");
                    }
                });
            }
            scope.spawn(|| {
                let db = connection();
                for kind in ["passive", "full", "restart", "truncate"].iter().cycle() {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    run(&db, &format!("PRAGMA busy_timeout=5; PRAGMA wal_checkpoint({kind})"));
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
            });
            let _done = Set(&done);
            let db = connection();
            for n in 1..=TRANSACTIONS {
                run(&db, &format!("BEGIN IMMEDIATE; UPDATE t SET v={n}; COMMIT"));
            }
        });
        assert_eq!(value::<u32>(&db, "SELECT v FROM t LIMIT 1"), TRANSACTIONS, "{mode}");
        assert_whole(&db);
    }
}
