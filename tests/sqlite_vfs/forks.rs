//! A child of `fork` abandons what its parent had open, as SQLite says, and opens the database anew.

use crate::processes::start;
use crate::{opened, run, value};
use pagestone_kit::child::say;
use pagestone_kit::fork::{beside, wait};
use rusqlite::Connection;
use std::path::Path;
use std::time::{Duration, Instant};

/// How the statement fails, and what the VFS says to it.
fn refusal(db: &Connection, statement: &str) -> String {
    let code = match db.execute_batch(statement) {
        Ok(()) => "none".to_owned(),
        Err(error) => format!("{:?}", error.sqlite_error_code()),
    };
    let why: String = db.query_row("PRAGMA pagestone_error", [], |row| row.get(0)).unwrap_or_default();
    format!("{code}: {why}")
}

/// Of the parent of this process.
fn wait_for_the_end_of(parent: i32) {
    let end = Instant::now() + Duration::from_secs(20);
    // SAFETY: has no condition.
    while unsafe { libc::getppid() } == parent && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The child: a connection of its own, and the parent's, which answers nothing but errors and can be closed.
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

/// What the process does that the tests below start.
pub fn abandon_and_open_anew(place: &str) {
    let db = opened(place);
    run(&db, "CREATE TABLE t(x); INSERT INTO t VALUES(1)");
    // SAFETY: has no condition.
    let parent = unsafe { libc::getpid() };
    let mut inherited = Some(db);
    let child = beside(HANGS, || tell(in_child(place, inherited.take(), parent)));
    // A child that ends before its parent is killed has failed, and says nothing more.
    wait(child);
}

/// A child that takes longer waits for ever.
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

/// The child, when its parent is gone: a WAL of its own, beside the parent's connection, which is closed.
fn with_a_wal(place: &str, inherited: Option<Connection>, parent: i32) -> rusqlite::Result<u32> {
    wait_for_the_end_of(parent);
    let own =
        Connection::open_with_flags_and_vfs(place, rusqlite::OpenFlags::default(), pagestone_sqlite::VFS)?;
    own.busy_timeout(Duration::from_secs(20))?;
    own.execute_batch("PRAGMA wal_autocheckpoint=0; INSERT INTO t VALUES(2)")?;
    drop(inherited);
    own.query_row("SELECT count(*) FROM t", [], |row| row.get(0))
}

/// A process that has the database for itself alone, with a WAL that is empty, and ends.
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

/// SQLite removes the WAL by its path, which leads to the child's by then.
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
