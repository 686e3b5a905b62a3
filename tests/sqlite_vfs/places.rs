//! Databases that share a region: `?region=`, and the links that stand for them.

use crate::{assert_whole, files, open, opened, run, value};
use rusqlite::Connection;
use std::fs;
use std::path::{Path, PathBuf};

fn uri(path: &Path, parameters: &str) -> String {
    format!("file:{}?{parameters}", path.display())
}

fn in_region(path: &Path, region: &Path) -> rusqlite::Result<Connection> {
    open(uri(path, &format!("region={}", region.display())))
}

/// A directory, two database paths in it, and a region.
fn place() -> (tempfile::TempDir, PathBuf, PathBuf, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name| directory.path().join(name);
    let (a, b, region) = (at("a.db"), at("b.db"), at("both.pgs"));
    (directory, a, b, region)
}

#[test]
fn databases_of_one_region_are_strangers() {
    let (directory, a, b, region) = place();
    let one = in_region(&a, &region).expect("it opens");
    let other = in_region(&b, &region).expect("it opens");
    run(&one, "CREATE TABLE t(x); INSERT INTO t VALUES('one'); BEGIN IMMEDIATE");
    run(&other, "PRAGMA journal_mode=wal; CREATE TABLE t(x); INSERT INTO t VALUES('other')");
    run(&one, "INSERT INTO t VALUES('more'); COMMIT");
    assert_eq!(value::<u32>(&one, "SELECT count(*) FROM t"), 2);
    assert_eq!(value::<String>(&other, "SELECT x FROM t"), "other");
    assert_eq!(files(directory.path()), ["a.db", "b.db", "both.pgs"]);
    assert_whole(&one);
    assert_whole(&other);
}

#[test]
fn the_link_alone_finds_the_database() {
    let (directory, a, b, region) = place();
    run(&in_region(&a, &region).expect("it opens"), "CREATE TABLE t(x); INSERT INTO t VALUES('one')");
    assert_eq!(value::<String>(&opened(&a), "SELECT x FROM t"), "one");
    // Renamed, it still does, and meets the other path's locks.
    let held = opened(&a);
    run(&held, "BEGIN IMMEDIATE");
    fs::copy(&a, &b).expect("a second link");
    let second = opened(&b);
    run(&second, "PRAGMA busy_timeout=0");
    assert!(second.execute_batch("BEGIN IMMEDIATE").is_err());
    run(&held, "COMMIT");
    run(&second, "BEGIN IMMEDIATE; COMMIT");
    drop((held, second));
    fs::rename(&a, directory.path().join("c.db")).expect("a new name");
    assert_eq!(value::<String>(&opened(directory.path().join("c.db")), "SELECT x FROM t"), "one");
}

#[test]
fn a_region_name_is_absolute_from_the_first_opening() {
    let (directory, a, _, _) = place();
    // Relative names are relative to the process; this test cannot change that for the others, so it spells it out.
    let here = std::env::current_dir().expect("a directory");
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    let relative = up.join(directory.path().strip_prefix("/").expect("absolute")).join("r.pgs");
    run(&in_region(&a, &relative).expect("it opens"), "CREATE TABLE t(x)");
    let link = fs::read_to_string(&a).expect("a text");
    assert!(link.lines().nth(1).is_some_and(|region| region.starts_with('/')), "{link}");
    assert_eq!(value::<u32>(&opened(&a), "SELECT count(*) FROM t"), 0);
}

#[test]
fn a_database_is_in_one_region_only() {
    let (directory, a, b, region) = place();
    run(&in_region(&a, &region).expect("it opens"), "CREATE TABLE t(x)");
    assert!(in_region(&a, &directory.path().join("else.pgs")).is_err());
    run(&opened(&b), "CREATE TABLE t(x)");
    assert!(in_region(&b, &region).is_err(), "a region of its own has no place in another");
    assert!(in_region(&b, &b).is_ok(), "naming itself is no other place");
    assert_eq!(files(directory.path()), ["a.db", "b.db", "both.pgs"]);
}

#[test]
fn a_link_that_leads_nowhere_is_refused() {
    let (_directory, a, b, region) = place();
    run(&in_region(&a, &region).expect("it opens"), "CREATE TABLE t(x)");
    fs::remove_file(&region).expect("it was there");
    assert!(open(&a).is_err());
    assert!(!region.exists(), "opening by a link makes no region");
    fs::write(&b, "Pagestone link 1\nboth.pgs\n").expect("a damaged link");
    assert!(open(&b).is_err());
}

#[test]
fn a_region_that_is_cut_while_open_is_an_error_and_no_signal() {
    is_an_error_when_cut("PRAGMA journal_mode = DELETE");
}

/// There the lock of the database stays SHARED from one transaction to the next.
#[test]
fn a_region_that_is_cut_in_wal_mode_is_an_error_and_no_signal() {
    is_an_error_when_cut("PRAGMA journal_mode = WAL");
}

fn is_an_error_when_cut(mode: &str) {
    let (_directory, a, _, _) = place();
    let db = opened(&a);
    let _: String = value(&db, mode);
    run(&db, "CREATE TABLE t(x); INSERT INTO t VALUES(randomblob(2000000))");
    assert_eq!(value::<u32>(&db, "SELECT count(*) FROM t"), 1);
    let file = fs::OpenOptions::new().write(true).open(&a).expect("the region");
    let len = file.metadata().expect("its length").len();
    file.set_len(len / 2).expect("cut");
    for _ in 0..2 {
        let error = db.query_row("SELECT sum(length(x)) FROM t", [], |_| Ok(())).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::SystemIoFailure), "{error}");
    }
    assert!(db.execute_batch("INSERT INTO t VALUES('more')").is_err());
    drop(db);
    assert!(open(&a).and_then(|db| db.query_row("SELECT 1 FROM t", [], |_| Ok(()))).is_err());
    assert_eq!(file.metadata().expect("its length").len(), len / 2, "the rest was left alone");
}
