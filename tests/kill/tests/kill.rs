//! A few rounds of `make kill`, on every run of the tests.

use std::process::Command;

#[test]
fn nothing_acknowledged_is_lost_to_a_kill() {
    let out = Command::new(env!("CARGO_BIN_EXE_kill")).args(["--rounds", "18"]).output().expect("kill runs");
    let text = String::from_utf8_lossy(&out.stdout);
    println!("{text}{}", String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "see above");
    assert!(
        !text.contains("\n0 transactions acknowledged"),
        "rounds in which nothing was written prove nothing"
    );
}

#[test]
fn kept_regions_are_those_of_both_media() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = Command::new(env!("CARGO_BIN_EXE_kill"))
        .args(["--rounds", "18", "--keep"])
        .arg(directory.path())
        .output()
        .expect("kill runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    let kept = |medium: &str| {
        std::fs::read_dir(directory.path())
            .expect("readable")
            .filter(|e| e.as_ref().is_ok_and(|e| e.file_name().to_string_lossy().contains(medium)))
            .count()
    };
    assert!(kept("-file.pgs") > 0);
    assert!(kept("-cacheline.pgs") > 0 || pagestone_kit::disk::memory().is_none());
}
