//! What the command line promises.

mod interrupted;
mod mistakes;
mod names;
mod sparse;

use interrupted::tampered;
use pagestone_kit::child::Child;
use pagestone_kit::disk::{Mounted, bytes_on_disk, make_btrfs, mounted};
use pagestone_kit::skip::skipped;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder of its own for each test.
struct Scene(tempfile::TempDir);

impl Scene {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    /// Runs `pagestone` in the folder.
    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_pagestone"))
            .args(args)
            .current_dir(self.0.path())
            .output()
            .expect("it runs")
    }
    /// Runs what must succeed, and returns what it printed.
    fn ok(&self, args: &[&str]) -> String {
        let out = self.run(args);
        assert!(out.status.success(), "{args:?}: {}", text(&out.stderr));
        text(&out.stdout)
    }
    /// Runs what must fail with `code`, and returns what it complained.
    fn fails(&self, code: i32, args: &[&str]) -> String {
        let out = self.run(args);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {}{}", text(&out.stdout), text(&out.stderr));
        text(&out.stderr)
    }
    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args)).expect("JSON")
    }
    /// The database of `r.pgs` and what belongs to it, exported, are the files that were imported.
    fn comes_back_as_it_was(&self, file: &str, suffix: &str) {
        self.ok(&["export", "r.pgs", "back.db"]);
        for suffix in ["", suffix] {
            let bytes = |name: &str| fs::read(self.path(&format!("{name}{suffix}"))).expect("a file");
            assert!(bytes(file) == bytes("back.db"), "{file}{suffix} came back different");
        }
    }
    /// A plain SQLite database with `rows` rows.
    fn database(&self, name: &str, rows: u32) -> Connection {
        let db = Connection::open(self.path(name)).expect("a database");
        db.execute_batch("CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)").expect("a table");
        for i in 0..rows {
            db.execute("INSERT INTO t VALUES(?, 'some text')", [i]).expect("a row");
        }
        db
    }
    /// A database `c.db`, with a WAL that holds row 777 and no other file beside it: the copy of one that was open.
    fn database_with_wal(&self) {
        let db = self.database("x.db", 10);
        db.pragma_update(None, "journal_mode", "WAL").expect("WAL");
        db.pragma_update(None, "wal_autocheckpoint", 0).expect("no checkpoint");
        db.execute("INSERT INTO t VALUES(777, 'only in the WAL')", []).expect("a row");
        for suffix in ["", "-wal"] {
            fs::copy(self.path(&format!("x.db{suffix}")), self.path(&format!("c.db{suffix}")))
                .expect("copied");
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Opens the database of a region.
fn in_region(region: &Path) -> Connection {
    pagestone_sqlite::register().expect("the VFS");
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    Connection::open_with_flags_and_vfs(region, flags, pagestone_sqlite::VFS)
        .expect("the database in the region")
}

fn rows(db: &Connection) -> u32 {
    db.query_row("SELECT count(*) FROM t", [], |r| r.get(0)).expect("the table")
}

fn integrity(db: &Connection) -> String {
    db.query_row("PRAGMA integrity_check", [], |r| r.get(0)).expect("an answer")
}

/// Bytes and time of change.
fn state(path: &Path) -> (Vec<u8>, std::time::SystemTime) {
    (fs::read(path).expect("its bytes"), fs::metadata(path).and_then(|m| m.modified()).expect("its time"))
}

#[test]
fn what_goes_in_comes_out() {
    let s = Scene::new();
    let mut bytes = vec![0; 3 << 20];
    for (i, b) in bytes.iter_mut().enumerate().skip(2 << 20) {
        *b = (i / 7) as u8;
    }
    fs::write(s.path("in.bin"), &bytes).expect("a file");
    s.ok(&["import", "in.bin", "r.pgs"]);
    s.ok(&["import", "in.bin", "r.pgs:second"]);
    s.ok(&["export", "r.pgs:in.bin", "out.bin"]);
    assert_eq!(fs::read(s.path("out.bin")).expect("the file"), bytes);
    let list = s.json(&["ls", "--json", "r.pgs"]);
    assert_eq!(list.as_array().map(Vec::len), Some(2));
    assert_eq!(list[0]["name"], "in.bin");
    assert_eq!(list[0]["bytes"], 3 << 20);
    let stat = s.json(&["stat", "--json", "r.pgs:in.bin"]);
    assert_eq!(stat["pages"], 768);
    assert_eq!(stat["mapped_pages"], 256, "two of three megabytes are zeros, and stay holes");
    s.ok(&["rm", "r.pgs:second"]);
    assert_eq!(s.json(&["ls", "--json", "r.pgs"]).as_array().map(Vec::len), Some(1));
    assert!(s.ok(&["check", "r.pgs"]).contains("no defect"));
    let info = s.json(&["info", "--json", "r.pgs"]);
    assert_eq!((&info["durability"], &info["objects"]), (&Value::from("fdatasync"), &Value::from(1)));
}

#[test]
fn looking_changes_nothing() {
    let s = Scene::new();
    fs::write(s.path("x"), b"hello").expect("a file");
    s.ok(&["import", "x", "r.pgs"]);
    looks_and_leaves(&s, "r.pgs", "r.pgs:x");
}

#[test]
fn looking_at_a_region_that_was_not_closed_changes_nothing() {
    let s = Scene::new();
    // A worker killed in mid-write leaves a region with a log to replay.
    let region = s.path("r.pgs");
    let mut worker = Command::new(env!("CARGO_BIN_EXE_pagestone"));
    let mut worker = Child::start(worker.arg("demo-worker").arg(&region));
    worker.line().expect("its first words");
    worker.kill().expect("killed");
    looks_and_leaves(&s, "r.pgs", "r.pgs:db");
}

fn looks_and_leaves(s: &Scene, region: &str, object: &str) {
    let before = state(&s.path(region));
    for args in [
        vec!["info", region],
        vec!["info", "--json", region],
        vec!["ls", region],
        vec!["stat", region],
        vec!["stat", object],
        vec!["check", region],
        vec!["export", object, "copy"],
    ] {
        s.ok(&args);
        assert!(state(&s.path(region)) == before, "{args:?} changed the region");
    }
}

#[test]
fn a_database_comes_with_its_rows_and_stays_as_it_was() {
    let s = Scene::new();
    drop(s.database("plain.db", 500));
    let before = state(&s.path("plain.db"));
    s.ok(&["import", "plain.db", "r.pgs"]);
    assert!(state(&s.path("plain.db")) == before, "the original changed");
    let db = in_region(&s.path("r.pgs"));
    assert_eq!((rows(&db), integrity(&db)), (500, "ok".into()));
    db.execute("INSERT INTO t VALUES(9999, 'new')", []).expect("a write");
    drop(db);
    s.ok(&["export", "r.pgs", "back.db"]);
    let back = Connection::open(s.path("back.db")).expect("a plain database again");
    assert_eq!((rows(&back), integrity(&back)), (501, "ok".into()));
}

#[test]
fn a_wal_that_was_not_checkpointed_comes_along() {
    let s = Scene::new();
    s.database_with_wal();
    let said = s.ok(&["import", "c.db", "r.pgs"]);
    assert!(said.contains("db-wal"), "{said}");
    s.comes_back_as_it_was("c.db", "-wal");
    let db = in_region(&s.path("r.pgs"));
    assert_eq!((rows(&db), integrity(&db)), (11, "ok".into()));
}

#[test]
fn a_hot_journal_comes_along_and_is_rolled_back() {
    let s = Scene::new();
    let db = s.database("x.db", 2000);
    db.pragma_update(None, "cache_size", 5).expect("a cache that spills");
    db.execute_batch(
        "BEGIN; UPDATE t SET b = 'half done, half done, half done'; DELETE FROM t WHERE a > 100;",
    )
    .expect("half a transaction");
    fs::copy(s.path("x.db"), s.path("c.db")).expect("copied");
    fs::copy(s.path("x.db-journal"), s.path("c.db-journal")).expect("copied");
    drop(db);
    let said = s.ok(&["import", "c.db", "r.pgs"]);
    assert!(said.contains("db-journal"), "{said}");
    s.comes_back_as_it_was("c.db", "-journal");
    let db = in_region(&s.path("r.pgs"));
    assert_eq!((rows(&db), integrity(&db)), (2000, "ok".into()));
    let half: u32 =
        db.query_row("SELECT count(*) FROM t WHERE b LIKE 'half%'", [], |r| r.get(0)).expect("a count");
    assert_eq!(half, 0);
}

/// VACUUM cuts the region's file behind what is still used, and a new region is as long as its database.
#[test]
fn a_vacuumed_database_gets_a_smaller_region_at_once_and_by_export_and_import() {
    let s = Scene::new();
    drop(s.database("plain.db", 10));
    s.ok(&["import", "plain.db", "r.pgs"]);
    let db = in_region(&s.path("r.pgs"));
    db.execute_batch("CREATE TABLE u AS SELECT randomblob(16000000); DROP TABLE u; VACUUM")
        .expect("a VACUUM");
    drop(db);
    let bytes = |name: &str| fs::metadata(s.path(name)).expect("a file").len();
    assert!(bytes("r.pgs") < 8 << 20, "{}", bytes("r.pgs"));
    s.ok(&["export", "r.pgs", "small.db"]);
    s.ok(&["import", "small.db", "small.pgs"]);
    assert!(bytes("small.db") < 100_000 && bytes("small.pgs") < 4 << 20, "{}", bytes("small.pgs"));
    let db = in_region(&s.path("small.pgs"));
    assert_eq!((rows(&db), integrity(&db)), (10, "ok".into()));
}

#[test]
fn a_database_that_is_being_written_is_refused() {
    let s = Scene::new();
    let db = s.database("x.db", 10);
    db.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES(50, '')").expect("a transaction");
    // From another process: locks of one process do not conflict.
    let why = s.fails(1, &["import", "x.db", "r.pgs"]);
    assert!(why.contains("being written"), "{why}");
    assert!(!s.path("r.pgs").exists(), "nothing is left of a failed import");
}

#[test]
fn nothing_is_overwritten_unasked() {
    let s = Scene::new();
    fs::write(s.path("x"), b"one").expect("a file");
    s.ok(&["import", "x", "r.pgs"]);
    assert!(s.fails(1, &["import", "x", "r.pgs"]).contains("--replace"));
    fs::write(s.path("x"), b"two").expect("a file");
    s.ok(&["import", "--replace", "x", "r.pgs"]);
    assert!(s.fails(1, &["export", "r.pgs:x", "x"]).contains("--force"));
    s.ok(&["export", "--force", "r.pgs:x", "x"]);
    assert_eq!(fs::read(s.path("x")).expect("the file"), b"two");
    assert!(s.fails(1, &["create", "r.pgs"]).contains("exists"));
}

#[test]
fn a_region_killed_in_mid_format_is_made_again() {
    let s = Scene::new();
    for (name, blank) in
        [("empty.pgs", vec![]), ("half.pgs", vec![0; 400 << 10]), ("most.pgs", vec![0; 1_200 << 10])]
    {
        fs::write(s.path(name), blank).expect("a file");
        assert!(s.fails(1, &["ls", name]).contains("blank"));
        s.ok(&["create", name]);
        s.ok(&["ls", name]);
        assert!(
            fs::metadata(s.path(name)).expect("its size").len() <= 1536 << 10,
            "an empty region is small"
        );
    }
}

#[test]
fn a_mistake_is_explained() {
    let s = Scene::new();
    drop(s.database("plain.db", 3));
    let why = s.fails(1, &["ls", "plain.db"]);
    assert!(why.contains("SQLite database") && why.contains("pagestone import plain.db"), "{why}");
    fs::write(s.path("noise"), vec![7; 100_000]).expect("a file");
    assert!(s.fails(1, &["info", "noise"]).contains("not a Pagestone region"));
    assert!(s.fails(1, &["info", "absent.pgs"]).contains("absent.pgs"));
    s.ok(&["create", "r.pgs"]);
    assert!(s.fails(1, &["stat", "r.pgs:nobody"]).contains("nobody"));
    assert!(s.fails(1, &["rm", "r.pgs"]).contains("REGION:OBJECT"));
    s.fails(2, &["fly"]);
}

#[test]
fn a_region_in_use_is_named_so() {
    let s = Scene::new();
    s.ok(&["create", "r.pgs"]);
    let store = pagestone::Store::options().open(s.path("r.pgs")).expect("open here");
    fs::write(s.path("x"), b"one").expect("a file");
    assert!(s.fails(4, &["import", "x", "r.pgs"]).contains("in use"));
    let start = std::time::Instant::now();
    assert!(s.fails(4, &["--wait", "0.2", "info", "r.pgs"]).contains("in use"));
    assert!(start.elapsed() >= std::time::Duration::from_millis(200));
    for wrong in ["-1", "soon", "NaN"] {
        assert!(!s.run(&["info", &format!("--wait={wrong}"), "r.pgs"]).status.success(), "{wrong}");
    }
    drop(store);
    s.ok(&["import", "x", "r.pgs"]);
}

#[test]
fn a_damaged_region_is_reported_by_exit_code_3() {
    let s = Scene::new();
    s.ok(&["create", "r.pgs"]);
    let mut bytes = fs::read(s.path("r.pgs")).expect("its bytes");
    // The frames of the root: no number in them can be right now.
    bytes[6 * 4096..8 * 4096].fill(0xa5);
    fs::write(s.path("r.pgs"), bytes).expect("damaged");
    let out = s.run(&["check", "--json", "r.pgs"]);
    assert_eq!(out.status.code(), Some(3), "{}{}", text(&out.stdout), text(&out.stderr));
    let report: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert!(!report["findings"].as_array().expect("a list").is_empty());
}

#[test]
fn a_repair_is_told_before_it_is_made_and_made_only_when_asked_for() {
    let s = Scene::new();
    fs::write(s.path("x"), b"a few bytes").expect("a file");
    s.ok(&["import", "x", "r.pgs"]);
    assert!(s.ok(&["check", "--repair", "r.pgs"]).contains("nothing to repair"));
    let mut damaged = fs::read(s.path("r.pgs")).expect("its bytes");
    // The first bitmap, and both roots.
    for frame in [10, 6, 7] {
        damaged[frame * 4096..(frame + 1) * 4096].fill(0xa5);
    }
    fs::write(s.path("r.pgs"), &damaged).expect("damaged");
    let out = s.run(&["check", "--repair", "--dry-run", "r.pgs"]);
    let shown = text(&out.stdout);
    assert_eq!(out.status.code(), Some(3), "{shown}{}", text(&out.stderr));
    for expected in ["root-line", "bitmap", "nothing was changed"] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    assert!(fs::read(s.path("r.pgs")).expect("its bytes") == damaged);
    let report: Value =
        serde_json::from_slice(&s.run(&["check", "--repair", "--dry-run", "--json", "r.pgs"]).stdout)
            .expect("JSON");
    assert_eq!(
        (report["repaired"].as_bool(), report["left"].as_array().map(Vec::len)),
        (Some(false), Some(0))
    );
    let shown = s.ok(&["check", "--repair", "r.pgs"]);
    assert!(shown.contains("root-line") && shown.contains("repaired"), "{shown}");
    assert!(s.ok(&["check", "r.pgs"]).contains("no defect found"));
    s.ok(&["export", "r.pgs:x", "back"]);
    assert_eq!(fs::read(s.path("back")).expect("a file"), b"a few bytes");
    assert!(!s.run(&["check", "--dry-run", "r.pgs"]).status.success(), "it is of --repair");
}

#[test]
fn what_a_crash_may_tear_is_reported_and_is_no_damage() {
    let s = Scene::new();
    s.ok(&["create", "r.pgs"]);
    let mut bytes = fs::read(s.path("r.pgs")).expect("its bytes");
    // In the second copy of the superblock.
    bytes[4096 + 60] ^= 1;
    fs::write(s.path("r.pgs"), bytes).expect("torn");
    let shown = s.ok(&["check", "r.pgs"]);
    assert!(shown.contains("no defect found") && shown.contains("left by a crash"), "{shown}");
    let report: Value = serde_json::from_str(&s.ok(&["check", "--json", "r.pgs"])).expect("JSON");
    assert!(report["findings"].as_array().expect("a list").is_empty());
    assert_eq!(report["repairable"][0]["name"], "superblock-copy");
    fs::write(s.path("x"), b"one").expect("a file");
    s.ok(&["import", "x", "r.pgs"]);
    assert!(!s.ok(&["check", "r.pgs"]).contains("left by a crash"), "the first change repairs it");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let s = Scene::new();
    s.ok(&["create", "r.pgs"]);
    let mut info = Command::new(env!("CARGO_BIN_EXE_pagestone"))
        .args(["info", "r.pgs"])
        .current_dir(s.0.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    drop(info.stdout.take());
    let out = info.wait_with_output().expect("it ends");
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert_eq!(text(&out.stderr), "");
}

#[test]
fn the_demo_proves_itself_on_its_own_data_and_on_yours() {
    let s = Scene::new();
    for args in [vec!["demo"], vec!["demo", "--db", "plain.db"]] {
        drop(fs::remove_file(s.path("plain.db")));
        drop(s.database("plain.db", 300));
        let before = state(&s.path("plain.db"));
        let shown = s.ok(&args);
        assert!(shown.contains("Proven: nothing acknowledged was lost."), "{shown}");
        assert!(state(&s.path("plain.db")) == before, "the original changed");
    }
}

/// The rights of a file.
fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
}

#[test]
fn a_copy_is_no_more_readable_than_its_source() {
    for rights in [0o600, 0o640, 0o664, 0o644] {
        let s = Scene::new();
        let db = s.database("x.db", 10);
        db.pragma_update(None, "journal_mode", "WAL").expect("WAL");
        db.pragma_update(None, "wal_autocheckpoint", 0).expect("no checkpoint");
        db.execute("INSERT INTO t VALUES(777, 'only in the WAL')", []).expect("a row");
        for suffix in ["", "-wal"] {
            fs::copy(s.path(&format!("x.db{suffix}")), s.path(&format!("c.db{suffix}"))).expect("copied");
            set_mode(&s.path(&format!("c.db{suffix}")), rights);
        }
        drop(db);
        s.ok(&["import", "c.db", "r.pgs"]);
        assert_eq!(mode(&s.path("r.pgs")), rights, "of the region");
        s.ok(&["export", "r.pgs", "back.db"]);
        assert_eq!(
            (mode(&s.path("back.db")), mode(&s.path("back.db-wal"))),
            (rights, rights),
            "of the export"
        );
        // A region that is there keeps its rights, and a file that is replaced gets no more than it had.
        s.ok(&["import", "c.db-wal", "r.pgs:more"]);
        assert_eq!(mode(&s.path("r.pgs")), rights);
        fs::write(s.path("there"), b"secret").expect("a file");
        set_mode(&s.path("there"), 0o600);
        s.ok(&["export", "--force", "r.pgs:more", "there"]);
        assert_eq!(mode(&s.path("there")), 0o600);
    }
}

#[test]
fn a_copy_belongs_to_the_owner_of_its_source() {
    let s = Scene::new();
    fs::write(s.path("x"), b"theirs").expect("a file");
    if std::os::unix::fs::chown(s.path("x"), Some(4711), Some(4712)).is_err() {
        skipped("the owner of a copy", "only root gives files away");
        return;
    }
    set_mode(&s.path("x"), 0o660);
    let owner = |name: &str| {
        let is = fs::metadata(s.path(name)).expect("a file");
        (is.uid(), is.gid(), is.mode() & 0o777)
    };
    s.ok(&["import", "x", "r.pgs"]);
    assert_eq!(owner("r.pgs"), (4711, 4712, 0o660));
    s.ok(&["export", "r.pgs:x", "back"]);
    assert_eq!(owner("back"), (4711, 4712, 0o660));
}

/// System calls of a command, one a line, with the paths of their descriptors; `None` without strace.
fn calls(s: &Scene, which: &str, args: &[&str]) -> Option<Vec<String>> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-o", "calls", "-e"]).arg(format!("trace={which}"));
    let out = strace.arg(env!("CARGO_BIN_EXE_pagestone")).args(args).current_dir(s.0.path()).output();
    match out {
        Ok(out) => assert!(out.status.success(), "{args:?}: {}", text(&out.stderr)),
        Err(_) => {
            skipped("system calls of copies", "strace is not installed (apt install strace)");
            return None;
        }
    }
    let calls = fs::read_to_string(s.path("calls")).expect("what strace wrote");
    Some(calls.lines().map(str::to_owned).collect())
}

#[test]
fn a_copy_is_private_until_it_is_whole_and_its_name_is_durable() {
    let s = Scene::new();
    fs::write(s.path("x"), vec![7; 5 << 20]).expect("a file");
    let folder = s.path("").canonicalize().expect("the folder").display().to_string();
    let which = "openat,linkat,rename,renameat,renameat2,fchmod,fsync";
    let is_made = |call: &str| call.contains("O_CREAT") || call.contains("O_TMPFILE");
    for args in [["import", "x", "r.pgs"], ["export", "r.pgs:x", "back"]] {
        let Some(calls) = calls(&s, which, &args) else { return };
        let made: Vec<_> = calls.iter().filter(|c| is_made(c) && !c.contains("/dev/")).collect();
        assert!(
            !made.is_empty() && made.iter().all(|c| c.contains(", 0600)") || c.contains(", 01600)")),
            "{made:?}"
        );
        let last = |what: &dyn Fn(&str) -> bool| calls.iter().rposition(|c| what(c));
        // A region gets its name when it is made, an export when it is whole.
        let named = last(&|c| {
            c.contains(" rename") || c.contains(" linkat") || c.contains("O_EXCL") && c.contains("r.pgs")
        });
        let synced = last(&|c| c.contains("fsync(") && c.contains(&format!("<{folder}>")));
        assert!(named.is_some() && named < synced, "{args:?}: {calls:#?}");
    }
}

#[test]
fn colons_in_a_name_do_not_make_another_file() {
    let s = Scene::new();
    drop(s.database("a.db", 3));
    let backup = "backup-2026-01-02T10:20:30.pgs";
    s.ok(&["import", "a.db", backup]);
    assert_eq!(fs::read_dir(s.path("")).expect("the folder").count(), 2, "the database and the backup");
    assert_eq!(s.json(&["ls", "--json", backup])[0]["name"], "db");
    s.ok(&["import", "a.db", &format!("{backup}:second")]);
    s.ok(&["export", &format!("{backup}:second"), "second.db"]);
    s.ok(&["import", "a.db", "10:20"]);
    s.ok(&["import", "a.db", "10:20:second"]);
    assert_eq!(s.json(&["ls", "--json", "10:20"]).as_array().map(Vec::len), Some(2));
    s.ok(&["import", "a.db", "new.pgs:first"]);
    s.ok(&["stat", "new.pgs:first"]);
}

#[test]
fn what_is_missing_is_found_before_anything_is_removed() {
    let s = Scene::new();
    fs::write(s.path("x"), b"one").expect("a file");
    for place in ["r.pgs:db", "r.pgs:more", "other.pgs:x"] {
        s.ok(&["import", "x", place]);
    }
    let count = |region: &str| s.json(&["ls", "--json", region]).as_array().map(Vec::len);
    let why = s.fails(1, &["rm", "r.pgs:db", "r.pgs:nosuch"]);
    assert!(why.contains("nosuch") && why.contains("nothing was removed"), "{why}");
    s.fails(1, &["rm", "r.pgs:db", "other.pgs:nosuch"]);
    s.fails(1, &["rm", "r.pgs:db", "absent.pgs:x"]);
    let held = pagestone::Store::options().open(s.path("other.pgs")).expect("open here");
    s.fails(4, &["rm", "r.pgs:db", "other.pgs:x"]);
    drop(held);
    assert_eq!((count("r.pgs"), count("other.pgs")), (Some(2), Some(1)));
    let said = s.ok(&["rm", "r.pgs:db", "other.pgs:x", "./r.pgs:more", "r.pgs:db"]);
    assert!(said.contains("r.pgs:db removed") && said.contains("other.pgs:x removed"), "{said}");
    assert_eq!((count("r.pgs"), count("other.pgs")), (Some(0), Some(0)));
}

#[test]
fn an_object_is_exported_to_standard_output() {
    let s = Scene::new();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 5) as u8).collect();
    fs::write(s.path("x"), &bytes).expect("a file");
    s.ok(&["import", "x", "r.pgs"]);
    let out = s.run(&["export", "r.pgs:x", "-"]);
    assert!(out.status.success() && out.stdout == bytes, "{}", text(&out.stderr));
    assert!(!s.path("-").exists());
    s.ok(&["import", "x", "r.pgs:db"]);
    s.ok(&["import", "--force", "x", "r.pgs:db-wal"]);
    assert!(s.fails(1, &["export", "r.pgs", "-"]).contains("db-wal"));
    assert!(s.fails(1, &["export", "--force", "r.pgs:x", "/dev/stdout"]).contains("not a plain file"));
}

#[test]
fn what_a_killed_import_leaves_is_removed_by_the_next() {
    let s = Scene::new();
    fs::write(s.path("large"), vec![7; 8 << 20]).expect("a file");
    set_mode(&s.path("large"), 0o600);
    let args = ["import", "large", "r.pgs:db"];
    let Some(mut import) = tampered(&s, Some("large"), "read", "signal=KILL:when=6", &args) else { return };
    assert!(!import.output().expect("it ends").status.success());
    assert_eq!(mode(&s.path("r.pgs")), 0o600, "a region that is not finished is its maker's");
    let checked = s.ok(&["check", "r.pgs"]);
    assert!(checked.contains("no defect") && checked.contains("unfinished-import"), "{checked}");
    fs::write(s.path("x"), b"one").expect("a file");
    s.ok(&["import", "x", "r.pgs"]);
    assert!(!s.ok(&["check", "r.pgs"]).contains("unfinished-import"));
    s.ok(&["import", "x", "r.pgs:db"]);
    let list = s.json(&["ls", "--json", "r.pgs"]);
    let names: Vec<_> = list.as_array().expect("a list").iter().map(|object| &object["name"]).collect();
    assert_eq!(names, ["db", "x"]);
}

#[test]
fn advice_names_options_that_there_are() {
    let s = Scene::new();
    let why = s.fails(1, &["create", "--require", "cache-line", "r.pgs"]);
    assert!(why.contains("--require") && !why.contains("assume"), "{why}");
    assert!(!s.path("r.pgs").exists(), "nothing is left of a region that was refused");
}

#[test]
fn the_manual_names_every_command() {
    let manual =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/man/pagestone.1")).expect("the manual");
    let help = Scene::new().ok(&["help"]);
    let commands =
        help.lines().skip_while(|l| *l != "Commands:").skip(1).take_while(|l| !l.trim().is_empty());
    let mut seen = 0;
    // Two spaces and a name; what is wrapped is further in.
    let names = commands.filter(|l| !l.starts_with("   ")).filter_map(|l| l.split_whitespace().next());
    for name in names.filter(|n| *n != "help") {
        assert!(
            manual.contains(&format!(".B {name}\n")) || manual.contains(&format!(".BR {name} ")),
            "{name}"
        );
        seen += 1;
    }
    assert_eq!(seen, 10);
}

#[test]
fn compact_gives_free_space_back() {
    let scene = Scene::new();
    fs::write(scene.path("big"), vec![7; 5 << 20]).expect("room");
    scene.ok(&["import", "big", "r.pgs:big"]);
    scene.ok(&["rm", "r.pgs:big"]);
    let on_disk = || bytes_on_disk(&scene.path("r.pgs"));
    assert!(on_disk() >= 5 << 20);
    let said = scene.ok(&["compact", "r.pgs"]);
    assert!(said.contains("MiB given back"), "{said}");
    assert!(on_disk() < 2 << 20, "{} KiB", on_disk() >> 10);
    assert_eq!(scene.json(&["compact", "--json", "r.pgs"])["returned_bytes"], 0);
    scene.ok(&["check", "r.pgs"]);
    scene.ok(&["import", "--copy-on-write", "big", "r.pgs:big"]);
    scene.ok(&["export", "r.pgs:big", "back"]);
    assert!(fs::read(scene.path("back")).expect("a file") == vec![7; 5 << 20]);
    scene.fails(1, &["compact", "missing.pgs"]);
}

#[test]
fn what_is_kept_from_a_group_or_an_owner_is_kept_from_them_in_a_copy() {
    let s = Scene::new();
    fs::write(s.path("x"), "theirs").expect("a file");
    let own = |name: &str, owner, group, mode| {
        std::os::unix::fs::chown(s.path(name), Some(owner), Some(group))
            .map(|()| set_mode(&s.path(name), mode))
    };
    s.ok(&["import", "x", "r.pgs"]);
    if own("r.pgs", 4711, 4712, 0o640).is_err() {
        skipped("copies of files of several owners", "only root gives files away");
        return;
    }
    let maker = fs::metadata(s.path("x")).expect("a file").uid();
    for ((owner, group, mode), becomes) in [
        ((4711, 4712, 0o640), (4711, 4712, 0o640)),
        ((4711, 4713, 0o640), (4711, 4712, 0o600)),
        ((4714, 4712, 0o640), (maker, 4712, 0o640)),
        ((4714, 4713, 0o640), (maker, 4712, 0o600)),
        ((4714, 4713, 0o644), (4711, 4712, 0o640)),
    ] {
        fs::write(s.path("back"), "secret").expect("a file");
        own("back", owner, group, mode).expect("given");
        s.ok(&["export", "--force", "r.pgs:x", "back"]);
        let is = fs::metadata(s.path("back")).expect("a file");
        assert_eq!((is.uid(), is.gid(), is.mode() & 0o777), becomes, "{owner}:{group} {mode:o}");
    }
}

#[test]
fn storage_that_writes_elsewhere_is_used_where_copy_on_write_allows_it() {
    let s = Scene::new();
    fs::write(s.path("file"), "content").expect("room");
    let (image, at) = (s.path("image"), s.path("disk"));
    let make = || make_btrfs(&image, 256 << 20).and_then(|()| Mounted::loop_on(&image, &at));
    let Some(_disk) = mounted("a region on btrfs", make) else { return };
    let refused = s.run(&["import", "file", "disk/r.pgs:file"]);
    let said = text(&refused.stderr);
    assert!(!refused.status.success() && said.contains("btrfs"), "{said}");
    assert!(said.contains("--copy-on-write") && !said.contains("copy_on_write"), "{said}");
    s.ok(&["--copy-on-write", "import", "file", "disk/r.pgs:file"]);
    s.ok(&["check", "disk/r.pgs"]);
    s.ok(&["export", "disk/r.pgs:file", "back"]);
    assert_eq!(fs::read_to_string(s.path("back")).expect("a file"), "content");
}
