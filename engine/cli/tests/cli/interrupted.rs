//! Commands that another comes by, that fail in the middle, and that are killed there.

use super::Scene;
use pagestone_tests::skip::skipped;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// `pagestone` whose calls `which` on the file `on`, or on any, are tampered with; `None` without strace.
fn tampered(s: &Scene, on: Option<&str>, which: &str, how: &str, args: &[&str]) -> Option<Command> {
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
