//! What a machine cannot show, said aloud and counted.

use std::fs::OpenOptions;
use std::io::Write;

/// The file that `make test` counts from: a line for each part that was not run, from every test program.
const COUNTED: &str = "PAGESTONE_SKIPPED";

/// Says that `what` was not run on this machine, and why; past the test harness, which swallows what passing tests print.
pub fn skipped(what: &str, why: &str) {
    let line = format!("SKIPPED: {what}: {why}\n");
    // One write each: lines of several test threads and programs do not mix.
    std::io::stderr().write_all(line.as_bytes()).expect("standard error takes a line");
    if let Some(path) = std::env::var_os(COUNTED) {
        let counted = OpenOptions::new().append(true).create(true).open(&path);
        counted.and_then(|mut file| file.write_all(line.as_bytes())).expect("what was skipped is counted");
    }
}
