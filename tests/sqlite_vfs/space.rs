//! VACUUM: what a database leaves free goes back to the disk.

use crate::processes::start;
use crate::{assert_whole, opened, run, value};
use pagestone_kit::child::say;
use pagestone_kit::disk::{Mounted, bytes_on_disk, make_btrfs, mounted};
use pagestone_tests::sqlite;
use std::path::Path;

const MIB: u64 = 1 << 20;

/// Fills a database with 10 MB, then empties and vacuums it. Returns what it takes before, in between and after.
fn emptied(mode: &str) -> (u64, u64, u64) {
    let folder = tempfile::tempdir().expect("a directory");
    let (path, empty) = (folder.path().join("a.pgs"), folder.path().join("empty.pgs"));
    run(&opened(&empty), "CREATE TABLE t(x)");
    let db = opened(&path);
    run(&db, &format!("PRAGMA journal_mode={mode}; CREATE TABLE t(x)"));
    run(
        &db,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<10000)
              INSERT INTO t SELECT zeroblob(1000) FROM n",
    );
    let full = bytes_on_disk(&path);
    run(&db, "DELETE FROM t; VACUUM");
    if mode == "wal" {
        run(&db, "PRAGMA wal_checkpoint(TRUNCATE)");
    }
    let vacuumed = bytes_on_disk(&path);
    run(&db, "INSERT INTO t VALUES('still here')");
    assert_eq!(value::<String>(&db, "SELECT x FROM t"), "still here");
    assert_whole(&db);
    drop(db);
    let db = opened(&path);
    assert_eq!(value::<String>(&db, "SELECT x FROM t"), "still here");
    assert_whole(&db);
    (bytes_on_disk(&empty), full, vacuumed)
}

#[test]
fn a_database_that_is_emptied_and_vacuumed_takes_no_more_than_an_empty_one() {
    for mode in ["delete", "truncate", "persist", "wal"] {
        let (empty, full, vacuumed) = emptied(mode);
        println!(
            "{mode}: empty {} KiB, full {} KiB, vacuumed {} KiB",
            empty >> 10,
            full >> 10,
            vacuumed >> 10
        );
        assert!(full > 10 * MIB, "{mode}");
        assert!(vacuumed <= empty + MIB, "{mode}: {} KiB, empty {} KiB", vacuumed >> 10, empty >> 10);
    }
}

/// One database is in WAL mode: what it frees is free only after a checkpoint has cut it. The other one commits before
/// that.
#[test]
fn a_database_is_vacuumed_whatever_others_in_its_region_commit() {
    let folder = tempfile::tempdir().expect("a directory");
    let region = folder.path().join("both.pgs");
    let [db, other] = ["a.db", "b.db"].map(|name| {
        let path = folder.path().join(name);
        opened(format!("file:{}?region={}", path.display(), region.display()))
    });
    run(&other, "CREATE TABLE t(x)");
    run(&db, "PRAGMA journal_mode=wal; CREATE TABLE t(x)");
    let empty = bytes_on_disk(&region);
    run(
        &db,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<10000)
              INSERT INTO t SELECT zeroblob(1000) FROM n",
    );
    assert!(bytes_on_disk(&region) > empty + 10 * MIB);
    run(&db, "DELETE FROM t; VACUUM");
    run(&other, "INSERT INTO t VALUES('other')");
    run(&db, "PRAGMA wal_checkpoint(TRUNCATE)");
    let vacuumed = bytes_on_disk(&region);
    assert!(vacuumed <= empty + MIB, "{} KiB, empty {} KiB", vacuumed >> 10, empty >> 10);
    assert_whole(&db);
    assert_whole(&other);
}

#[test]
fn copy_on_write_is_a_parameter_that_is_understood() {
    let folder = tempfile::tempdir().expect("a directory");
    let uri = |value: &str| format!("file:{}?copy_on_write={value}", folder.path().join("a.pgs").display());
    for value in ["1", "on", "0", "no"] {
        run(&opened(uri(value)), "CREATE TABLE IF NOT EXISTS t(x)");
    }
    assert!(crate::open(uri("perhaps")).and_then(|db| db.execute_batch("CREATE TABLE u(x)")).is_err());
}

#[test]
fn storage_that_writes_elsewhere_is_used_where_copy_on_write_allows_it() {
    let what = "a database on btrfs";
    let folder = tempfile::tempdir().expect("a directory");
    let (image, at) = (folder.path().join("image"), folder.path().join("disk"));
    let make = || make_btrfs(&image, 256 * MIB).and_then(|()| Mounted::loop_on(&image, &at));
    let Some(disk) = mounted(what, make) else { return };
    // A process of its own, started where the disk is mounted, so that all its threads see it.
    let mut helper = start("elsewhere", disk.path());
    let said = helper.hears("elsewhere: ").expect("it says how it went");
    assert_eq!(said, "elsewhere: refused, then allowed");
}

/// Runs in a process that sees the disk.
pub fn on_storage_that_writes_elsewhere(disk: &str) {
    let uri = |parameter: &str| format!("file:{disk}/a.pgs{parameter}");
    for refused in [uri(""), uri("?copy_on_write=0")] {
        let made = crate::open(&refused).and_then(|db| db.execute_batch("CREATE TABLE t(x)"));
        assert!(made.is_err(), "{refused}");
    }
    let db = opened(uri("?copy_on_write=1"));
    run(&db, "CREATE TABLE t(x); INSERT INTO t VALUES('here')");
    assert_eq!(value::<String>(&db, "SELECT x FROM t"), "here");
    drop(db);
    std::fs::remove_file(format!("{disk}/a.pgs")).expect("it was there");
    let found = "journal_is_found_by_path_alone_where_copy_on_write_was_allowed";
    if let Err(failure) = sqlite::contract(found, Path::new(disk)) {
        return say(&format!("elsewhere: {failure}"));
    }
    say("elsewhere: refused, then allowed");
}
