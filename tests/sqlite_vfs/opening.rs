//! Openings that take long, and openings beside another process.

use crate::processes::start;
use crate::{files, open, opened, openers, run, value};
use pagestone_kit::child::{Child, say};
use pagestone_kit::limit::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// A door at which an opening waits.
#[derive(Default)]
struct Door {
    open: Mutex<bool>,
    opens: Condvar,
    visitors: AtomicU32,
}

impl Door {
    fn pass(&self) {
        self.visitors.fetch_add(1, Ordering::SeqCst);
        let open = self.open.lock().expect("no test panicked");
        drop(self.opens.wait_while(open, |open| !*open).expect("no test panicked"));
    }

    fn unlock(&self) {
        *self.open.lock().expect("no test panicked") = true;
        self.opens.notify_all();
    }

    fn wait_for_visitors(&self) {
        while self.visitors.load(Ordering::SeqCst) == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Longer than any of this takes.
const LONG: Duration = Duration::from_secs(20);

#[test]
fn an_opening_that_takes_long_delays_no_other_database() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let (slow, other, third) = (at("slow.db"), at("other.db"), at("third.db"));
    let known = opened(&other);
    run(&known, "CREATE TABLE t(x)");
    let door = Arc::new(Door::default());
    let waits = Arc::clone(&door);
    openers::set(&slow, move || {
        waits.pass();
        None
    });
    let (done, ends) = mpsc::channel();
    thread::scope(|scope| {
        let opening = || {
            let db = opened(&slow);
            run(&db, "CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES(1)");
        };
        let (first, second) = (scope.spawn(opening), scope.spawn(opening));
        door.wait_for_visitors();
        // Transactions, an opening and closings of others, of which the last one closes a region.
        scope.spawn(|| {
            run(&known, "INSERT INTO t VALUES(1)");
            drop(known);
            run(&opened(&third), "CREATE TABLE t(x)");
            done.send(()).expect("the test waits");
        });
        let others = ends.recv_timeout(LONG);
        let visitors = door.visitors.load(Ordering::SeqCst);
        door.unlock();
        assert!(others.is_ok(), "another database waits for the opening");
        // The second opening waits for the first, and does not open the file again.
        assert_eq!(visitors, 1);
        first.join().expect("it opens");
        second.join().expect("it opens as well");
    });
    openers::remove(&slow);
    assert_eq!(value::<u32>(&opened(&slow), "SELECT count(*) FROM t"), 2);
}

/// One file by two paths: the text of the paths does not show that they are one.
#[test]
fn two_openings_that_make_one_file_by_two_paths_share_it() {
    for _ in 0..40 {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("a")).expect("a folder");
        std::os::unix::fs::symlink(at("a"), at("b")).expect("another name of it");
        thread::scope(|scope| {
            for name in ["a/x.db", "b/x.db", "a/x.db", "b/x.db"] {
                let path = at(name);
                scope.spawn(move || {
                    let db = opened(format!("file:{}?wait=0", path.display()));
                    run(
                        &db,
                        "PRAGMA busy_timeout=20000; CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES(1)",
                    );
                });
            }
        });
        assert_eq!(value::<u32>(&opened(at("a/x.db")), "SELECT count(*) FROM t"), 4);
        assert_eq!(files(&at("a")), ["x.db"]);
    }
}

fn with_timeout(path: &Path, timeout: Duration) -> Connection {
    let db = opened(path);
    db.busy_timeout(timeout).expect("a timeout");
    db
}

fn is_busy<T>(result: rusqlite::Result<T>) -> bool {
    result.is_err_and(|error| error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy))
}

/// A process that has the database, and one that wants it.
fn held() -> (tempfile::TempDir, std::path::PathBuf, Child) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.db");
    let mut helper = start("hold", &path);
    helper.hears("ready").expect("it has the database open");
    (directory, path, helper)
}

#[test]
fn beside_another_process_the_busy_timeout_counts_from_the_first_statement_on() {
    let (_directory, path, mut helper) = held();
    let db = with_timeout(&path, Duration::from_millis(300));
    let start = Instant::now();
    assert!(is_busy(db.query_row("SELECT count(*) FROM t", [], |_| Ok(()))));
    assert!(start.elapsed() >= Duration::from_millis(250), "{:?}", start.elapsed());
    let reason: String = value(&db, "PRAGMA pagestone_error");
    assert!(reason.contains("in use by"), "{reason}");
    // Settings that are made before the first lock are kept.
    run(&db, "PRAGMA mmap_size=1000000");
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(500));
            helper.kill().unwrap();
        });
        db.busy_timeout(LONG).expect("a timeout");
        assert_eq!(value::<u32>(&db, "SELECT count(*) FROM t"), 1);
    });
    run(&db, "INSERT INTO t VALUES(2)");
    assert_eq!(value::<u32>(&db, "PRAGMA mmap_size"), 1_000_000);
    // The connection shares the region with others of this process, and meets their locks.
    let second = opened(&path);
    run(&second, "PRAGMA busy_timeout=0; BEGIN IMMEDIATE");
    db.busy_timeout(Duration::ZERO).expect("none");
    assert!(is_busy(db.execute_batch("BEGIN IMMEDIATE")));
}

#[test]
fn an_opening_waits_as_long_as_its_parameter_says() {
    let (_directory, path, mut helper) = held();
    let uri = |wait: &str| format!("file:{}?wait={wait}", path.display());
    assert!(is_busy(open(uri("0"))), "none");
    let start = Instant::now();
    assert!(is_busy(open(uri("300"))), "a little");
    assert!(start.elapsed() >= Duration::from_millis(250), "{:?}", start.elapsed());
    // Where SQLite takes no lock, there is nothing to wait for.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let reading = format!("file:{}?immutable=1", path.display());
    assert!(is_busy(Connection::open_with_flags_and_vfs(reading, flags, pagestone_sqlite::VFS)));
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(500));
            helper.kill().unwrap();
        });
        assert_eq!(value::<u32>(&opened(uri("20000")), "SELECT count(*) FROM t"), 1);
    });
}

/// A database that was waited for is read as it is then: another page size, WAL mode.
#[test]
fn a_database_that_was_waited_for_is_read_as_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.db");
    run(
        &opened(&path),
        "PRAGMA page_size=1024; PRAGMA auto_vacuum=full; PRAGMA journal_mode=wal; CREATE TABLE t(x)",
    );
    let mut helper = start("hold", &path);
    helper.hears("ready").expect("it has the database open");
    let db = with_timeout(&path, LONG);
    helper.kill().unwrap();
    assert_eq!(value::<u32>(&db, "SELECT count(*) FROM t"), 1);
    run(&db, "INSERT INTO t VALUES(randomblob(100000)); DELETE FROM t WHERE length(x) > 1");
    for (pragma, is) in
        [("page_size", "1024"), ("auto_vacuum", "1"), ("journal_mode", "wal"), ("integrity_check", "ok")]
    {
        let query = format!("SELECT CAST({pragma} AS TEXT) FROM pragma_{pragma}");
        assert_eq!(value::<String>(&db, &query), is, "{pragma}");
    }
}

/// The role of the process that the test below starts: it may write files of at most a megabyte, and reads a larger one.
pub fn read_below_a_limit(place: &str) {
    Limit::set(libc::RLIMIT_FSIZE, 1 << 20).expect("less").for_good();
    for parameter in ["mode=ro", "mode=rw"] {
        let read = open(format!("file:{place}?{parameter}"))
            .and_then(|db| db.query_row("SELECT length(x) FROM t", [], |row| row.get::<_, u32>(0)));
        say(&format!("read {read:?}"));
    }
}

#[test]
fn what_is_larger_than_the_process_may_write_is_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.db");
    run(&opened(&path), "CREATE TABLE t(x); INSERT INTO t VALUES(randomblob(3000000))");
    let mut helper = start("limited", &path);
    for parameter in ["mode=ro", "mode=rw"] {
        assert_eq!(helper.hears("read ").as_deref(), Some("read Ok(3000000)"), "{parameter}");
    }
}
