//! What a region's objects, and regions themselves, may be called, and how they are named to a command.

use super::{Scene, in_region, rows, text};
use pagestone::store::Store;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{Command, Output};

/// As the other programs of a region make one: an object of any name, with these bytes.
fn object(s: &Scene, region: &str, name: &str, bytes: &[u8]) {
    let store = Store::options().create(true).open(s.path(region)).expect("a region");
    store.create(name).and_then(|object| object.write_at(0, bytes)).expect("an object");
    store.close().expect("closed");
}

/// `pagestone` with arguments of any bytes.
fn run(s: &Scene, args: &[&[u8]]) -> Output {
    let args = args.iter().map(|arg| OsStr::from_bytes(arg));
    Command::new(env!("CARGO_BIN_EXE_pagestone"))
        .args(args)
        .current_dir(s.path(""))
        .output()
        .expect("it runs")
}

fn ok(s: &Scene, args: &[&[u8]]) {
    let out = run(s, args);
    assert!(out.status.success(), "{}", text(&out.stderr));
}

#[test]
fn a_journal_or_wal_of_another_database_is_not_put_beside_one() {
    let s = Scene::new();
    s.database_with_wal();
    fs::rename(s.path("c.db-wal"), s.path("saved")).expect("renamed");
    drop(s.database("v.db", 3));
    s.ok(&["import", "v.db", "v.pgs"]);
    for place in ["v.pgs:db-wal", "v.pgs:db-journal"] {
        for how in ["--wait=0", "--replace"] {
            let why = s.fails(1, &["import", how, "saved", place]);
            assert!(why.contains("\"db\"") && why.contains("--force"), "{why}");
        }
    }
    let db = in_region(&s.path("v.pgs"));
    assert_eq!(rows(&db), 3);
    drop(db);
    assert_eq!(s.json(&["ls", "--json", "v.pgs"]).as_array().map(Vec::len), Some(1));
    s.ok(&["import", "saved", "v.pgs:other-wal"]);
    s.ok(&["import", "--force", "saved", "v.pgs:db-wal"]);
}

#[test]
fn an_object_that_is_named_by_a_path_can_be_named() {
    let s = Scene::new();
    object(&s, "all.pgs", "/srv/data/a.db", b"one");
    s.ok(&["stat", "all.pgs:/srv/data/a.db"]);
    s.ok(&["export", "all.pgs:/srv/data/a.db", "out"]);
    assert_eq!(fs::read(s.path("out")).expect("a file"), b"one");
    s.ok(&["import", "out", "all.pgs:/srv/data/b.db"]);
    s.ok(&["import", "out", "new.pgs:/srv/data/b.db"]);
    s.ok(&["rm", "all.pgs:/srv/data/a.db", "new.pgs:/srv/data/b.db"]);
    assert_eq!(s.json(&["ls", "--json", "all.pgs"])[0]["name"], "/srv/data/b.db");
    // The colon in a folder's name separates nothing.
    fs::create_dir(s.path("old.pgs:10")).expect("a folder");
    s.ok(&["import", "out", "old.pgs:10/new.pgs"]);
    s.ok(&["export", "old.pgs:10/new.pgs:out", "back"]);
    assert!(s.path("old.pgs:10/new.pgs").exists());
}

#[test]
fn an_object_whose_name_has_colons_can_be_named() {
    let s = Scene::new();
    fs::write(s.path("t:10:20.txt"), "one").expect("a file");
    s.ok(&["import", "t:10:20.txt", "n.pgs"]);
    s.ok(&["stat", "n.pgs:t:10:20.txt"]);
    s.ok(&["export", "n.pgs:t:10:20.txt", "out"]);
    assert_eq!(fs::read(s.path("out")).expect("a file"), b"one");
    s.ok(&["rm", "n.pgs:t:10:20.txt"]);
}

#[test]
fn names_that_are_not_utf_8_are_names_to_every_command() {
    let s = Scene::new();
    fs::write(s.path("x"), "one").expect("a file");
    ok(&s, &[b"create", b"r\xff.pgs"]);
    ok(&s, &[b"import", b"x", b"r\xff.pgs"]);
    ok(&s, &[b"import", b"x", b"r\xff.pgs:caf\xe9"]);
    ok(&s, &[b"stat", b"r\xff.pgs"]);
    ok(&s, &[b"stat", b"r\xff.pgs:caf\xe9"]);
    ok(&s, &[b"export", b"r\xff.pgs:caf\xe9", b"out"]);
    assert_eq!(fs::read(s.path("out")).expect("a file"), b"one");
    ok(&s, &[b"rm", b"r\xff.pgs:x"]);
    let region = OsString::from_vec(b"r\xff.pgs".to_vec());
    let store = Store::options().open(s.path("").join(region)).expect("open here");
    assert_eq!(store.list().expect("a list")[0].name, b"caf\xe9");
}

#[test]
fn a_link_to_a_shared_region_says_what_it_is_and_how_the_object_is_named() {
    let s = Scene::new();
    let all = s.path("all.pgs").display().to_string();
    object(&s, "all.pgs", "/srv/a.db", b"one");
    fs::write(s.path("a.db"), format!("Pagestone link 1\n{all}\n/srv/a.db\n")).expect("a file");
    for args in [
        &["export", "a.db", "out"][..],
        &["info", "a.db"],
        &["stat", "a.db"],
        &["rm", "a.db:db"],
        &["import", "a.db", "r.pgs"],
        &["import", "all.pgs", "a.db:x"],
    ] {
        let why = s.fails(1, args);
        assert!(why.contains("a link to the object /srv/a.db of the region"), "{args:?}: {why}");
        assert!(why.contains(&format!("{all}:/srv/a.db")), "{args:?}: {why}");
    }
    assert!(!s.path("r.pgs").exists());
    s.ok(&["export", &format!("{all}:/srv/a.db"), "out"]);
}

#[test]
fn objects_of_one_region_that_has_two_names_are_removed_together() {
    let s = Scene::new();
    fs::write(s.path("x"), "one").expect("a file");
    s.ok(&["import", "x", "r.pgs:a"]);
    s.ok(&["import", "x", "r.pgs:b"]);
    fs::hard_link(s.path("r.pgs"), s.path("same.pgs")).expect("a second name");
    s.ok(&["rm", "r.pgs:a", "same.pgs:b"]);
    assert_eq!(s.json(&["ls", "--json", "r.pgs"]).as_array().map(Vec::len), Some(0));
}
