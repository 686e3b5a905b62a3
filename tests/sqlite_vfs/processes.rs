//! Several processes: the second opener, and what a killed one leaves.

use crate::{assert_whole, files, open, opened, run, value};
use pagestone_kit::child::{self, Child, again_as, say, under, wait_for_death};
use pagestone_kit::skip::skipped;
use pagestone_tests::sqlite;
use rusqlite::ErrorCode;
use std::path::Path;
use std::process::Command;

/// Not a test: the roles of the processes that other tests start.
#[test]
fn child() {
    let Some(role) = child::role() else { return };
    let place = role.place.to_str().expect("a text");
    match &*role.name {
        "hold" => hold(place),
        "wal" => commit_in_wal(place),
        "count" => {
            let db = opened(place);
            say(&format!("rows {}", value::<u32>(&db, "SELECT count(*) FROM t")));
        }
        "spill" => spill(place),
        "insert" => insert(place, &role.about),
        "try" => crate::reasons::try_to_open(place),
        "leave" => crate::forks::leave_to_a_child(place),
        "late" => crate::reasons::open_after_the_environment_changed(place),
        "die" => crate::places::die_while_a_link_is_made(place),
        "low" => crate::places::link_without_standard_descriptors(place),
        "filled" => crate::places::open_without_standard_descriptors(place),
        "limited" => crate::opening::read_below_a_limit(place),
        "fork" => crate::forks::abandon_and_open_anew(place),
        "elsewhere" => crate::space::on_storage_that_writes_elsewhere(place),
        "two" => commit_two(place, role.about == "after"),
        _ => panic!("no such role: {role:?}"),
    }
}

/// This program in a role.
pub fn command(role: &str, place: &Path) -> Command {
    again_as("processes::child", role, place)
}

/// A process in a role.
pub fn start(role: &str, place: &Path) -> Child {
    Child::start(&mut command(role, place))
}

/// The same in a name space of mounts of its own, as a container or a service has one.
pub fn start_apart(role: &str, place: &Path) -> Child {
    Child::start(&mut under("unshare", &["-m"], &command(role, place)))
}

fn hold(place: &str) {
    let db = opened(place);
    run(&db, "CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES(1)");
    say("ready");
    wait_for_death();
}

#[test]
fn a_second_process_is_told_busy_until_the_first_is_gone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.db");
    let mut helper = start("hold", &path);
    helper.hears("ready").expect("it has the database open");
    let refused = open(format!("file:{}?wait=0", path.display())).expect_err("the region is in use");
    assert_eq!(refused.sqlite_error_code(), Some(ErrorCode::DatabaseBusy));
    helper.kill().unwrap();
    assert_eq!(value::<u32>(&opened(&path), "SELECT count(*) FROM t"), 1);
}

const COMMITS: u32 = 200;

fn commit_in_wal(place: &str) {
    let db = opened(place);
    run(&db, "PRAGMA journal_mode=wal; PRAGMA synchronous=normal; CREATE TABLE t(x)");
    (0..COMMITS).for_each(|n| run(&db, &format!("INSERT INTO t VALUES({n})")));
    say("ready");
    wait_for_death();
}

#[test]
fn the_restart_of_a_container_loses_no_commit() {
    if !Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success()) {
        skipped("the restart of a container", "a name space of mounts needs root");
        return;
    }
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let path = directory.path().join("a.db");
    let mut helper = start_apart("wal", &path);
    helper.hears("ready").expect("it commits");
    helper.kill().unwrap();
    let said = start_apart("count", &path).hears("rows ");
    assert_eq!(said, Some(format!("rows {COMMITS}")), "commits that returned survive the process");
}

/// A transaction that is larger than the cache: database and journal are half written when the process dies.
fn spill(place: &str) {
    let db = opened(place);
    run(
        &db,
        "PRAGMA journal_mode=delete; CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB, n INTEGER DEFAULT 0)",
    );
    run(
        &db,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2000)
              INSERT INTO t(v) SELECT randomblob(400) FROM n",
    );
    run(&db, "PRAGMA cache_size=5; BEGIN; UPDATE t SET n=1, v=randomblob(700); DELETE FROM t WHERE id%2");
    say("ready");
    wait_for_death();
}

#[test]
fn a_hot_journal_is_rolled_back_after_a_kill() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.db");
    let mut helper = start("spill", &path);
    helper.hears("ready").expect("the transaction is under way");
    helper.kill().unwrap();
    // A copy taken now has the journal in it.
    let copy = directory.path().join("copy.db");
    std::fs::copy(&path, &copy).expect("a copy");
    for file in [&copy, &path] {
        let db = opened(file);
        assert_eq!(value::<u32>(&db, "SELECT count(*) FROM t"), 2000);
        assert_eq!(value::<u32>(&db, "SELECT sum(n) FROM t"), 0);
        assert_whole(&db);
    }
    assert_eq!(files(directory.path()), ["a.db", "copy.db"]);
}

fn insert(place: &str, how: &str) {
    let (mode, synchronous) = how.split_once(' ').expect("a mode of journals, and of syncs");
    let db = opened(place);
    run(&db, &format!("PRAGMA journal_mode={mode}; PRAGMA synchronous={synchronous}"));
    run(&db, "CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)");
    for id in 1.. {
        db.execute("INSERT INTO t VALUES(?, randomblob(300))", [id]).expect("a row");
        say(&format!("row {id}"));
    }
}

#[test]
fn a_kill_loses_no_acknowledged_row_whatever_synchronous_says() {
    for mode in ["delete", "truncate", "persist", "wal"] {
        for synchronous in ["off", "normal", "full"] {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("a.db");
            let mut helper = start(&format!("insert {mode} {synchronous}"), &path);
            for _ in 0..100 {
                helper.hears("row ").expect("it inserts");
            }
            helper.kill().unwrap();
            let rest = helper.rest();
            let acknowledged = 100 + rest.iter().filter(|line| line.starts_with("row ")).count() as u32;
            let db = opened(&path);
            let rows: u32 = value(&db, "SELECT count(*) FROM t");
            assert!(
                rows == acknowledged || rows == acknowledged + 1,
                "{mode} {synchronous}: {rows} of {acknowledged}"
            );
            assert_eq!(value::<u32>(&db, "SELECT max(id) FROM t"), rows, "{mode} {synchronous}");
            assert_whole(&db);
        }
    }
}

/// A transaction over two databases, during which the process dies: when SQLite removes the super-journal.
fn commit_two(place: &str, after: bool) {
    let (a, b) = place.split_once('|').expect("two places");
    let db = opened(a);
    run(&db, &format!("ATTACH '{b}' AS b"));
    run(
        &db,
        "CREATE TABLE main.t(x); INSERT INTO main.t VALUES(0); CREATE TABLE b.u(x); INSERT INTO b.u VALUES(0)",
    );
    sqlite::die_at_unlink(after);
    run(&db, "BEGIN; INSERT INTO t VALUES(1); INSERT INTO u VALUES(1); COMMIT");
    panic!("the transaction needed no super-journal");
}

/// Opens the databases one after the other, by their paths alone, and examines what the commit left.
fn assert_both(first: &Path, second: &Path, rows: u32, what: &str) {
    for path in [first, second] {
        let db = opened(path);
        let table: String = value(&db, "SELECT name FROM sqlite_schema");
        assert_eq!(value::<u32>(&db, &format!("SELECT count(*) FROM {table}")), rows, "{what}");
        assert_whole(&db);
    }
}

/// The database that this process has open was replaced at its path. Whether the super-journal is still needed depends on
/// the database that is at the path now.
#[test]
fn a_transaction_dies_whole_also_where_a_replaced_database_is_still_open() {
    let directory = tempfile::tempdir().expect("a directory");
    let (a, b) = (directory.path().join("a.db"), directory.path().join("b.db"));
    let replaced = opened(&b);
    run(&replaced, "CREATE TABLE u(x); INSERT INTO u VALUES('old')");
    std::fs::remove_file(&b).expect("it was there");
    let places = format!("{}|{}", a.display(), b.display());
    let status = start("two before", Path::new(&places)).end();
    assert_eq!(status.code(), Some(9), "it dies at the super-journal");
    assert_both(&a, &b, 1, "one of the databases was replaced");
    assert_eq!(value::<String>(&replaced, "SELECT x FROM u"), "old");
    assert_eq!(files(directory.path()), ["a.db", "b.db"]);
}

/// To learn whether the super-journal is still needed, SQLite looks for the other database's journal.
#[test]
fn a_transaction_is_rolled_back_also_while_another_process_has_the_other_database() {
    let directory = tempfile::tempdir().expect("a directory");
    let (a, b) = (directory.path().join("a.db"), directory.path().join("b.db"));
    let places = format!("{}|{}", a.display(), b.display());
    let status = start("two before", Path::new(&places)).end();
    assert_eq!(status.code(), Some(9), "it dies at the super-journal");
    let mut holder = start("hold", &b);
    holder.hears("ready").expect("it has the other one");
    assert_eq!(value::<u32>(&opened(&a), "SELECT count(*) FROM t"), 1);
    drop(holder);
    assert_eq!(value::<u32>(&opened(&b), "SELECT count(*) FROM u"), 1);
}

#[test]
fn a_transaction_over_two_databases_dies_whole_or_commits_whole() {
    for (after, rows) in [(false, 1), (true, 2)] {
        for (shared_a, shared_b) in [(false, false), (true, true), (true, false), (false, true)] {
            for reverse in [false, true] {
                let directory = tempfile::tempdir().expect("a directory");
                let (a, b) = (directory.path().join("a.db"), directory.path().join("b.db"));
                let uri = |path: &Path, shared: bool| {
                    let region = if shared {
                        format!("?region={}/r.pgs", directory.path().display())
                    } else {
                        String::new()
                    };
                    format!("file:{}{region}", path.display())
                };
                let places = format!("{}|{}", uri(&a, shared_a), uri(&b, shared_b));
                let role = if after { "two after" } else { "two before" };
                let mut helper = start(role, Path::new(&places));
                let status = helper.end();
                assert_eq!(status.code(), Some(9), "it dies at the super-journal");
                let what = format!("{role} {shared_a} {shared_b} {reverse}");
                if reverse {
                    assert_both(&b, &a, rows, &what);
                } else {
                    assert_both(&a, &b, rows, &what);
                }
                let left = files(directory.path());
                assert!(!left.iter().any(|name| name.contains("-mj")), "{what}: {left:?}");
            }
        }
    }
}
