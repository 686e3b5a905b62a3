//! A child of `fork` abandons what its parent had open, as SQLite's documentation demands, and opens the database anew.

use crate::processes::start;
use crate::{opened, run, value};
use pagestone_kit::child::say;
use pagestone_kit::fork::{beside, wait};
use rusqlite::Connection;
use std::path::Path;
use std::time::{Duration, Instant};

/// How a statement fails, and the reason that the VFS gives.
fn refusal(db: &Connection, statement: &str) -> String {
    let code = match db.execute_batch(statement) {
        Ok(()) => "none".to_owned(),
        Err(error) => format!("{:?}", error.sqlite_error_code()),
    };
    let why: String = db.query_row("PRAGMA pagestone_error", [], |row| row.get(0)).unwrap_or_default();
    format!("{code}: {why}")
}

/// Waits until this process's parent has ended.
fn wait_for_the_end_of(parent: i32) {
    let end = Instant::now() + Duration::from_secs(20);
    // SAFETY: has no condition.
    while unsafe { libc::getppid() } == parent && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs in the child: it opens a connection of its own. The inherited one answers only with errors and can be closed.
fn in_child(place: &str, inherited: Option<Connection>, parent: i32) -> rusqlite::Result<u32> {
    let own =
        Connection::open_with_flags_and_vfs(place, rusqlite::OpenFlags::default(), pagestone_sqlite::VFS)?;
    own.busy_timeout(Duration::ZERO)?;
    say(&format!("beside {}", refusal(&own, "INSERT INTO t VALUES(2)")));
    say(&format!(
        "inherited {}",
        refusal(inherited.as_ref().expect("the parent's"), "INSERT INTO t VALUES(3)")
    ));
    drop(inherited);
    say("go");
    wait_for_the_end_of(parent);
    own.busy_timeout(Duration::from_secs(20))?;
    own.execute_batch("INSERT INTO t VALUES(4)")?;
    own.query_row("SELECT count(*) FROM t", [], |row| row.get(0))
}

/// The role of the process that the tests below start.
pub fn abandon_and_open_anew(place: &str) {
    let db = opened(place);
    run(&db, "CREATE TABLE t(x); INSERT INTO t VALUES(1)");
    // SAFETY: has no condition.
    let parent = unsafe { libc::getpid() };
    let mut inherited = Some(db);
    let child = beside(HANGS, || tell(in_child(place, inherited.take(), parent)));
    // If the child ends before its parent is killed, it has failed, and the parent must not hide that.
    wait(child);
}

/// A child that takes longer hangs.
const HANGS: u32 = 30;

fn tell(rows: rusqlite::Result<u32>) -> Result<(), String> {
    say(&rows.map_or_else(|error| format!("rows {error}"), |rows| format!("rows {rows}")));
    Ok(())
}

#[test]
fn a_child_opens_anew_what_its_parent_had_when_the_parent_is_gone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.db");
    let mut helper = start("fork", Path::new(&path));
    // While the parent has the region, the child is told so.
    let beside = helper.hears("beside ").expect("the child says");
    let process = helper.id();
    assert!(
        beside.contains("DatabaseBusy") && beside.contains(&format!("in use by process {process}")),
        "{beside}"
    );
    let inherited = helper.hears("inherited ").expect("the child says");
    assert!(inherited.contains("SystemIoFailure") && inherited.contains("before a fork"), "{inherited}");
    helper.hears("go").expect("the child waits");
    helper.kill().unwrap();
    assert_eq!(helper.hears("rows ").as_deref(), Some("rows 2"));
    assert_eq!(value::<u32>(&opened(&path), "SELECT count(*) FROM t"), 2);
}

/// Runs in the child when its parent has gone: it makes a WAL of its own, and closes the inherited connection.
fn with_a_wal(place: &str, inherited: Option<Connection>, parent: i32) -> rusqlite::Result<u32> {
    wait_for_the_end_of(parent);
    let own =
        Connection::open_with_flags_and_vfs(place, rusqlite::OpenFlags::default(), pagestone_sqlite::VFS)?;
    own.busy_timeout(Duration::from_secs(20))?;
    own.execute_batch("PRAGMA wal_autocheckpoint=0; INSERT INTO t VALUES(2)")?;
    drop(inherited);
    own.query_row("SELECT count(*) FROM t", [], |row| row.get(0))
}

/// A process that has the database with an exclusive lock and an empty WAL, forks a child, and ends.
pub fn leave_to_a_child(place: &str) {
    let db = opened(place);
    let mode: String = value(&db, "PRAGMA locking_mode=EXCLUSIVE");
    assert_eq!(
        (mode.as_str(), value::<String>(&db, "PRAGMA journal_mode=WAL").as_str()),
        ("exclusive", "wal")
    );
    run(&db, "CREATE TABLE t(x); INSERT INTO t VALUES(1)");
    assert_eq!(value::<u32>(&db, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
    // SAFETY: has no condition.
    let parent = unsafe { libc::getpid() };
    let mut inherited = Some(db);
    beside(HANGS, || tell(with_a_wal(place, inherited.take(), parent)));
    // SAFETY: ends the process, which closes no connection.
    unsafe { libc::_exit(0) };
}

/// SQLite removes the WAL by its path, which by then leads to the child's WAL.
#[test]
fn an_inherited_connection_with_an_exclusive_lock_is_closed_and_leaves_the_childs_wal_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.db");
    let mut helper = start("leave", Path::new(&path));
    assert_eq!(helper.hears("rows ").as_deref(), Some("rows 2"));
    let db = opened(&path);
    db.busy_timeout(Duration::from_secs(20)).expect("a timeout");
    assert_eq!(value::<u32>(&db, "SELECT count(*) FROM t"), 2);
    crate::assert_whole(&db);
}
