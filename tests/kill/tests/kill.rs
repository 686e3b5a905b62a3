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
