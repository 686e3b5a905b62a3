//! Commands that another comes by, that fail in the middle, and that are killed there.

use super::mistakes::run_for;
use super::{Scene, mode, set_mode, text};
use pagestone_kit::skip::skipped;
use rusqlite::Connection;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// `pagestone` whose calls `which` on the file `on`, or on any, are tampered with; `None` without strace.
pub fn tampered(s: &Scene, on: Option<&str>, which: &str, how: &str, args: &[&str]) -> Option<Command> {
    if Command::new("strace").arg("-V").output().is_err() {
        skipped("commands that are delayed or disturbed", "strace is not installed (apt install strace)");
        return None;
    }
    let folder = s.path("").canonicalize().expect("the folder");
    let mut strace = Command::new("strace");
    strace.args(["-o", "/dev/null", "-e"]).arg(format!("trace={which}"));
    strace.arg("-e").arg(format!("inject={which}:{how}"));
    if let Some(name) = on {
        strace.arg("-P").arg(folder.join(name));
    }
    let on_path = |arg: &&str| if Some(*arg) == on { folder.join(arg).into_os_string() } else { arg.into() };
    strace.arg(env!("CARGO_BIN_EXE_pagestone")).args(args.iter().map(on_path)).current_dir(folder);
    Some(strace)
}

/// One import makes the file and is held up; another comes by, takes the file and finishes.
#[test]
fn an_import_that_fails_leaves_the_region_of_another() {
    let s = Scene::new();
    for name in ["a", "b"] {
        fs::write(s.path(name), name).expect("a file");
    }
    let slow = ["import", "a", "r.pgs", "--wait", "30"];
    let Some(mut slow) = tampered(&s, Some("r.pgs"), "fcntl", "delay_enter=3000000:when=1", &slow) else {
        return;
    };
    // Both import to one name.
    fs::rename(s.path("b"), s.path("other")).expect("renamed");
    fs::create_dir(s.path("b")).expect("a folder");
    fs::rename(s.path("other"), s.path("b/a")).expect("renamed");
    let slow = slow.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    let begun = Instant::now();
    while !s.path("r.pgs").exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the first import makes no region");
        std::thread::sleep(Duration::from_millis(1));
    }
    let quick = s.run(&["import", "b/a", "r.pgs", "--wait", "30"]);
    let slow = slow.wait_with_output().expect("it ends");
    assert!(slow.status.success() != quick.status.success(), "one of both is the first");
    s.ok(&["export", "r.pgs:a", "back"]);
    let first = if quick.status.success() { "b" } else { "a" };
    assert_eq!(fs::read_to_string(s.path("back")).expect("a file"), first);
}

#[test]
fn a_region_that_comes_meanwhile_is_not_told_as_made() {
    let s = Scene::new();
    let slow = ["create", "r.pgs"];
    let Some(mut slow) = tampered(&s, Some("r.pgs"), "openat", "delay_enter=3000000:when=1", &slow) else {
        return;
    };
    let slow = slow.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    std::thread::sleep(Duration::from_millis(1000));
    let quick = s.run(&["create", "r.pgs"]);
    let slow = slow.wait_with_output().expect("it ends");
    assert!(slow.status.success() != quick.status.success(), "one of both has made it");
    s.ok(&["info", "r.pgs"]);
}

/// Whatever call of an export fails, and wherever it is killed: a WAL is beside the database that it belongs to.
#[test]
fn an_export_that_is_interrupted_mixes_no_two_databases() {
    let s = Scene::new();
    s.database_with_wal();
    s.ok(&["import", "c.db", "r.pgs"]);
    let read = |name: &str| fs::read(s.path(name)).ok();
    let (main, wal, old) = (read("c.db"), read("c.db-wal"), Some(b"an older database".to_vec()));
    let renaming = "rename,renameat,renameat2";
    for (which, how) in [(renaming, "error=EIO"), (renaming, "signal=KILL"), ("unlink,unlinkat", "error=EIO")]
    {
        for when in 1..=3 {
            drop(fs::remove_file(s.path("back.db-wal")));
            fs::write(s.path("back.db"), "an older database").expect("a file");
            let how = format!("{how}:when={when}");
            let args = ["export", "--force", "r.pgs", "back.db"];
            let Some(mut export) = tampered(&s, None, which, &how, &args) else { return };
            let out = export.output().expect("it ends");
            let left = (read("back.db"), read("back.db-wal"));
            let is_one = match &left.0 {
                None => true,
                there if *there == old => left.1.is_none(),
                there => *there == main && left.1 == wal,
            };
            let why = text(&out.stderr);
            assert!(is_one, "{which} {how}: {why}");
            assert!(!out.status.success() || left == (main.clone(), wal.clone()), "{which} {how}: {why}");
            if out.status.code() == Some(1) && left.0.is_none() {
                assert!(why.contains("removed"), "{why}");
            }
        }
    }
    s.ok(&["export", "--force", "r.pgs", "back.db"]);
    assert_eq!((read("back.db"), read("back.db-wal")), (main, wal));
}

#[test]
fn a_file_that_comes_while_it_is_exported_is_not_replaced() {
    let s = Scene::new();
    fs::write(s.path("x"), "copied").expect("a file");
    s.ok(&["import", "x", "r.pgs"]);
    let args = ["export", "r.pgs:x", "back"];
    let Some(mut export) = tampered(&s, None, "fsync", "delay_enter=4000000:when=1", &args) else { return };
    let export = export.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
    // All is written by now, and without a name.
    std::thread::sleep(Duration::from_millis(2000));
    fs::write(s.path("back"), "mine").expect("a file");
    let out = export.wait_with_output().expect("it ends");
    assert_eq!(fs::read_to_string(s.path("back")).expect("a file"), "mine");
    assert!(!out.status.success() && text(&out.stderr).contains("--force"), "{}", text(&out.stderr));
    assert_eq!(fs::read_dir(s.path("")).expect("the folder").count(), 3, "nothing else is left");
}

#[test]
fn nothing_is_left_of_an_export_that_is_killed_while_it_copies() {
    let s = Scene::new();
    let how = rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::WRONLY;
    if rustix::fs::open(s.path(""), how, rustix::fs::Mode::RWXU).is_err() {
        return skipped(
            "an export that is killed",
            "the file system of temporary files has none without a name",
        );
    }
    fs::write(s.path("x"), "copied").expect("a file");
    s.ok(&["import", "x", "r.pgs"]);
    for args in [["export", "r.pgs:x", "back", "--wait=0"], ["export", "r.pgs:x", "x", "--force"]] {
        let Some(mut export) = tampered(&s, None, "fsync", "signal=KILL:when=1", &args) else { return };
        assert!(!export.output().expect("it ends").status.success());
        assert_eq!(fs::read_dir(s.path("")).expect("the folder").count(), 2, "{args:?}");
        assert_eq!(fs::read_to_string(s.path("x")).expect("a file"), "copied");
    }
}

#[test]
fn an_export_to_a_full_device_fails() {
    let s = Scene::new();
    for bytes in ["no line end", "lines\nand no end"] {
        fs::write(s.path("x"), bytes).expect("a file");
        s.ok(&["import", "--replace", "x", "r.pgs"]);
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("the device");
        let status = Command::new(env!("CARGO_BIN_EXE_pagestone"))
            .args(["export", "r.pgs:x", "-"])
            .current_dir(s.0.path())
            .stdout(full)
            .stderr(Stdio::null())
            .status();
        assert_eq!(status.expect("it ends").code(), Some(1), "{bytes:?}");
    }
}

/// It is longer by far when it is read than when it was looked at.
#[test]
fn a_file_that_grows_while_it_is_copied_is_not_followed() {
    let s = Scene::new();
    fs::write(s.path("log"), vec![7; 8 << 20]).expect("a file");
    let args = ["import", "log", "r.pgs"];
    let Some(mut import) = tampered(&s, Some("log"), "read", "delay_enter=3000000:when=5", &args) else {
        return;
    };
    let out = std::thread::scope(|scope| {
        let import = scope.spawn(|| run_for(&s, Duration::from_secs(20), &mut import));
        std::thread::sleep(Duration::from_millis(1500));
        let log = fs::OpenOptions::new().write(true).open(s.path("log")).expect("the file");
        log.set_len(1 << 40).expect("a hole that takes long to read");
        import.join().expect("no panic")
    });
    let out = out.expect("it ends");
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("changed while it was copied"), "{}", text(&out.stderr));
}

/// There is no `-shm` to lock. A commit and a checkpoint come between the copy of the WAL and that of the database.
#[test]
fn a_database_and_its_wal_are_copied_as_of_one_moment() {
    let s = Scene::new();
    s.database_with_wal();
    // Opened twice to see what it is, to be locked, and to be copied.
    let args = ["import", "c.db", "r.pgs"];
    let Some(mut import) = tampered(&s, Some("c.db"), "openat", "delay_enter=4000000:when=4", &args) else {
        return;
    };
    let import = import.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
    std::thread::sleep(Duration::from_millis(1500));
    let db = Connection::open(s.path("c.db")).expect("the database");
    db.execute_batch("INSERT INTO t VALUES(888, 'later'); PRAGMA wal_checkpoint(TRUNCATE)")
        .expect("a commit");
    let out = import.wait_with_output().expect("it ends");
    assert_eq!(out.status.code(), Some(1), "the region has a newer database and an older WAL");
    assert!(text(&out.stderr).contains("changed while it was copied"), "{}", text(&out.stderr));
    assert!(!s.path("r.pgs").exists(), "nothing is left of a failed import");
}

#[test]
fn what_fails_when_all_is_there_says_so() {
    let s = Scene::new();
    fs::write(s.path("x"), "one").expect("a file");
    let syncs = "fsync,fdatasync,msync,sync_file_range";
    for when in 1..100 {
        let how = format!("error=EIO:when={when}");
        let Some(mut create) = tampered(&s, None, syncs, &how, &["create", "r.pgs"]) else { return };
        let out = create.output().expect("it ends");
        let why = text(&out.stderr);
        let there = fs::remove_file(s.path("r.pgs")).is_ok();
        assert_eq!(there, out.status.success() || why.contains("is made"), "{when}: {why}");
        if out.status.success() {
            break;
        }
    }
    let args = ["import", "x", "r.pgs"];
    let out = tampered(&s, None, "fchmod", "error=EPERM:when=1", &args).expect("strace").output();
    let why = text(&out.expect("it ends").stderr);
    assert!(why.contains("all of it is in r.pgs"), "{why}");
    let args = ["export", "r.pgs:x", "back"];
    let out = tampered(&s, None, "fsync", "error=EIO:when=2", &args).expect("strace").output();
    let why = text(&out.expect("it ends").stderr);
    assert!(why.contains("all of it is exported"), "{why}");
    assert_eq!(fs::read_to_string(s.path("back")).expect("a file"), "one");
}

/// It was made for the import that was killed, and gets the rights that it was to have.
#[test]
fn a_region_that_a_killed_import_has_made_gets_the_rights_of_the_next_ones_source() {
    let s = Scene::new();
    fs::write(s.path("x"), vec![7; 8 << 20]).expect("a file");
    set_mode(&s.path("x"), 0o664);
    let early = (None, "fallocate,ftruncate,pwrite64");
    for (on, which, when) in [(early.0, early.1, 1), (Some("x"), "read", 6)] {
        let args = ["import", "x", "r.pgs"];
        let how = format!("signal=KILL:when={when}");
        let Some(mut import) = tampered(&s, on, which, &how, &args) else { return };
        assert!(!import.output().expect("it ends").status.success());
        assert_eq!(mode(&s.path("r.pgs")), 0o600, "{which}");
        s.ok(&args);
        assert_eq!(mode(&s.path("r.pgs")), 0o664, "{which}");
        fs::remove_file(s.path("r.pgs")).expect("removed");
    }
    // What was made private by intention stays so.
    fs::write(s.path("blank.pgs"), "").expect("a file");
    s.ok(&["create", "empty.pgs"]);
    for region in ["blank.pgs", "empty.pgs"] {
        set_mode(&s.path(region), 0o600);
        s.ok(&["import", "x", region]);
        assert_eq!(mode(&s.path(region)), 0o600, "{region}");
    }
}

#[test]
fn a_region_that_loses_its_name_during_an_import_is_not_told_by_it() {
    let s = Scene::new();
    fs::write(s.path("x"), "one").expect("a file");
    for other in [Some("other.pgs"), None] {
        let args = ["import", "x", "r.pgs"];
        // Those before are to see what it is.
        let Some(mut import) = tampered(&s, Some("x"), "read", "delay_enter=3000000:when=5", &args) else {
            return;
        };
        let import = import.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
        let begun = Instant::now();
        while !s.path("r.pgs").exists() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the import makes no region");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(1000));
        match other {
            Some(other) => fs::rename(s.path("r.pgs"), s.path(other)),
            None => fs::remove_file(s.path("r.pgs")),
        }
        .expect("gone");
        let out = import.wait_with_output().expect("it ends");
        let why = text(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{why}");
        assert!(!why.contains("is in r.pgs") && why.contains("no longer the region"), "{why}");
    }
    s.ok(&["stat", "other.pgs:x"]);
}
