//! Parts of tests that cannot run on a machine: they are named aloud and counted.

use std::fs::OpenOptions;
use std::io::Write;

/// Names the file in which `make test` counts: every test program adds a line for each part that it did not run.
const COUNTED: &str = "PAGESTONE_SKIPPED";

/// Says that `what` was not run on this machine, and why. It writes past the test harness, which hides what passing tests
/// print.
pub fn skipped(what: &str, why: &str) {
    let line = format!("SKIPPED: {what}: {why}\n");
    // One write for each line, so that lines of several threads and programs do not mix.
    std::io::stderr().write_all(line.as_bytes()).expect("standard error takes a line");
    if let Some(path) = std::env::var_os(COUNTED) {
        let counted = OpenOptions::new().append(true).create(true).open(&path);
        counted.and_then(|mut file| file.write_all(line.as_bytes())).expect("what was skipped is counted");
    }
}
