//! VACUUM: what a database leaves free goes back to the disk.

use crate::{assert_whole, opened, run, value};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const MIB: u64 = 1 << 20;

fn on_disk(path: &Path) -> u64 {
    path.metadata().expect("it is there").blocks() * 512
}

/// Fills a database with 10 MB, empties and vacuums it; what it takes before and after.
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
    let full = on_disk(&path);
    run(&db, "DELETE FROM t; VACUUM");
    if mode == "wal" {
        run(&db, "PRAGMA wal_checkpoint(TRUNCATE)");
    }
    let vacuumed = on_disk(&path);
    run(&db, "INSERT INTO t VALUES('still here')");
    assert_eq!(value::<String>(&db, "SELECT x FROM t"), "still here");
    assert_whole(&db);
    drop(db);
    let db = opened(&path);
    assert_eq!(value::<String>(&db, "SELECT x FROM t"), "still here");
    assert_whole(&db);
    (on_disk(&empty), full, vacuumed)
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

#[test]
fn copy_on_write_is_a_parameter_that_is_understood() {
    let folder = tempfile::tempdir().expect("a directory");
    let uri = |value: &str| format!("file:{}?copy_on_write={value}", folder.path().join("a.pgs").display());
    for value in ["1", "on", "0", "no"] {
        run(&opened(uri(value)), "CREATE TABLE IF NOT EXISTS t(x)");
    }
    assert!(crate::open(uri("perhaps")).and_then(|db| db.execute_batch("CREATE TABLE u(x)")).is_err());
}
