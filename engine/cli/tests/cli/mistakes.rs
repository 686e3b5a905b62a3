//! Mistakes that would cost something else than what was meant, and results that cannot be told.

use super::{Scene, text};
use pagestone_kit::child::finish;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::process::{Command, Output};
use std::time::Duration;

/// Runs `pagestone`; `None` if it does not end.
pub fn run_for(s: &Scene, time: Duration, command: &mut Command) -> Option<Output> {
    finish(command.current_dir(s.path("")), time)
}

pub fn pagestone(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagestone"));
    command.args(args);
    command
}

/// A device that is always full.
fn full() -> fs::File {
    fs::OpenOptions::new().write(true).open("/dev/full").expect("the device")
}

#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let s = Scene::new();
    assert!(Command::new("mkfifo").arg(s.path("pipe")).status().expect("mkfifo").success());
    fs::write(s.path("x"), "one").expect("a file");
    for args in [
        &["info", "pipe"][..],
        &["ls", "pipe"],
        &["stat", "pipe"],
        &["check", "pipe"],
        &["compact", "pipe"],
        &["create", "pipe"],
        &["import", "x", "pipe"],
        &["export", "pipe:x", "back"],
        &["rm", "pipe:x"],
    ] {
        let out = run_for(&s, Duration::from_secs(20), &mut pagestone(args));
        let out = out.unwrap_or_else(|| panic!("{args:?} does not end"));
        let why = text(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{args:?}: {why}");
        assert!(why.contains("it is a pipe") || why.contains("exists already"), "{args:?}: {why}");
    }
}

#[test]
fn an_export_replaces_what_a_link_leads_to_and_not_the_link() {
    let s = Scene::new();
    fs::write(s.path("x"), "new").expect("a file");
    s.ok(&["import", "x", "r.pgs"]);
    fs::create_dir(s.path("versions")).expect("a folder");
    fs::write(s.path("versions/v7"), "old").expect("a file");
    symlink("versions/v7", s.path("current")).expect("a link");
    s.ok(&["export", "--force", "r.pgs:x", "current"]);
    assert!(s.path("current").is_symlink());
    assert_eq!(fs::read_to_string(s.path("versions/v7")).expect("a file"), "new");
    symlink("versions/none", s.path("lost")).expect("a link");
    assert!(s.fails(1, &["export", "--force", "r.pgs:x", "lost"]).contains("lost is a link"));
    assert!(s.path("lost").is_symlink());
}

#[test]
fn a_region_is_not_replaced_by_one_of_its_objects() {
    let s = Scene::new();
    fs::write(s.path("x"), "one").expect("a file");
    s.ok(&["import", "x", "r.pgs"]);
    symlink("r.pgs", s.path("link")).expect("a link");
    for name in ["r.pgs", "link"] {
        assert!(s.fails(1, &["export", "--force", "r.pgs:x", name]).contains("the region itself"));
    }
    s.ok(&["check", "r.pgs"]);
}

#[test]
fn a_region_is_not_copied_into_itself() {
    let s = Scene::new();
    fs::write(s.path("x"), vec![7; 4 << 20]).expect("a file");
    s.ok(&["import", "x", "r.pgs"]);
    fs::hard_link(s.path("r.pgs"), s.path("same")).expect("a second name");
    for name in ["r.pgs", "same"] {
        let import = &mut pagestone(&["import", name, "r.pgs:copy"]);
        let out = run_for(&s, Duration::from_secs(5), import).expect("it ends");
        let why = text(&out.stderr);
        assert!(out.status.code() == Some(1) && why.contains("the region itself"), "{why}");
    }
    assert_eq!(s.json(&["ls", "--json", "r.pgs"]).as_array().map(Vec::len), Some(1));
}

#[test]
fn what_is_done_and_cannot_be_told_is_told_as_done() {
    let s = Scene::new();
    fs::write(s.path("x"), "one").expect("a file");
    for args in [
        &["create", "r.pgs"][..],
        &["import", "x", "r.pgs"],
        &["export", "r.pgs:x", "back"],
        &["rm", "r.pgs:x"],
        &["compact", "r.pgs"],
        &["compact", "--json", "r.pgs"],
    ] {
        let out = pagestone(args).current_dir(s.path("")).stdout(full()).output().expect("it runs");
        let why = text(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{args:?}: {why}");
        assert!(why.contains("standard output") && why.contains("it is done: "), "{args:?}: {why}");
    }
    assert_eq!(fs::read_to_string(s.path("back")).expect("a file"), "one");
    assert_eq!(s.json(&["ls", "--json", "r.pgs"]).as_array().map(Vec::len), Some(0));
}

#[test]
fn the_exit_code_is_right_where_no_reason_can_be_written() {
    let s = Scene::new();
    s.ok(&["create", "r.pgs"]);
    let _held = pagestone::Store::options().open(s.path("r.pgs")).expect("open here");
    for (region, code) in [("absent.pgs", 1), ("r.pgs", 4)] {
        let status = pagestone(&["info", region]).current_dir(s.path("")).stderr(full()).status();
        assert_eq!(status.expect("it runs").code(), Some(code), "{region}");
    }
}

#[test]
fn a_name_that_is_not_utf_8_is_not_changed_into_another() {
    let s = Scene::new();
    for name in [&b"caf\xe9"[..], b"caf\xe8"] {
        fs::write(s.path("").join(OsStr::from_bytes(name)), "one").expect("a file");
        let mut import = pagestone(&["import", "--replace"]);
        let out = import.arg(OsStr::from_bytes(name)).arg("r.pgs").current_dir(s.path("")).output();
        let out = out.expect("it runs");
        assert_eq!(out.status.code(), Some(1));
        assert!(text(&out.stderr).contains("REGION:OBJECT"), "{}", text(&out.stderr));
        let mut import = pagestone(&["import", "--replace"]);
        let out = import.arg(OsStr::from_bytes(name)).arg("r.pgs:name").current_dir(s.path("")).output();
        assert!(out.expect("it runs").status.success());
    }
}

#[test]
fn a_pipe_beside_a_database_is_not_waited_for() {
    let s = Scene::new();
    for suffix in ["-shm", "-wal", "-journal"] {
        drop(s.database("w.db", 3));
        let pipe = s.path(&format!("w.db{suffix}"));
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        let out = run_for(&s, Duration::from_secs(20), &mut pagestone(&["import", "w.db", "w.pgs"]));
        let out = out.unwrap_or_else(|| panic!("{suffix}: it does not end"));
        assert!(out.status.success(), "{suffix}: {}", text(&out.stderr));
        for left in ["w.db", "w.pgs"] {
            fs::remove_file(s.path(left)).expect("removed");
        }
        fs::remove_file(pipe).expect("removed");
    }
}

#[test]
fn nothing_is_exported_to_a_standard_output_that_is_closed() {
    let s = Scene::new();
    fs::write(s.path("x"), "one").expect("a file");
    s.ok(&["import", "x", "r.pgs"]);
    for (to, code) in [(">&-", 1), (">/dev/null", 0)] {
        let command = format!("\"$0\" export r.pgs:x - {to}");
        let mut shell = Command::new("sh");
        shell.args(["-c", &command, env!("CARGO_BIN_EXE_pagestone")]).current_dir(s.path(""));
        let out = shell.output().expect("it runs");
        assert_eq!(out.status.code(), Some(code), "{to}: {}", text(&out.stderr));
        assert_eq!(text(&out.stderr).contains("standard output is closed"), code == 1, "{to}");
    }
}

/// `journal_mode=PERSIST` leaves it, and it is never rolled back.
#[test]
fn a_journal_that_is_over_belongs_to_no_database() {
    let s = Scene::new();
    fs::write(s.path("x"), "one").expect("a file");
    s.ok(&["import", "x", "r.pgs:db"]);
    for (head, code) in [(&[0; 8], 0), (b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7", 1)] {
        let store = pagestone::store::Store::options().open(s.path("r.pgs")).expect("open here");
        let journal = store.open_or_create("db-journal").expect("an object");
        journal.write_at(0, head).and_then(|()| journal.set_len(1000)).expect("written");
        drop(journal);
        store.close().expect("closed");
        let out = s.run(&["export", "r.pgs", "-"]);
        assert_eq!(out.status.code(), Some(code), "{}", text(&out.stderr));
        assert_eq!(out.stdout == b"one", code == 0);
    }
}
