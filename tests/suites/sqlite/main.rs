//! SQLite's own tests on the VFS, in every `make test`: the 322 scripts that the list `subset` names.
//!
//! This is not the usual harness: where SQLite's test program cannot be built, it says so aloud, and the output of a test
//! is captured. `make test-sqlite` runs all scripts (`README.md` of this folder).

use std::path::Path;
use std::process::{Command, ExitCode};

/// The exit code of `suite.sh` on a machine that lacks a program that it needs.
const CANNOT: i32 = 77;
const NAME: &str = "sqlite_suite::subset";

fn main() -> ExitCode {
    // Options of the usual harness have no meaning here. Words choose tests by name.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if !words.iter().all(|word| NAME.contains(word.as_str())) {
        return ExitCode::SUCCESS;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/sqlite/suite.sh");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a target directory");
    let status = Command::new("sh")
        .arg(script)
        .env("PARTS", std::env::var_os("PARTS").unwrap_or_else(|| "subset".into()))
        .env("PGS_PROFILE", "dev")
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO", std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .status()
        .expect("sh runs");
    if status.success() || status.code() == Some(CANNOT) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
