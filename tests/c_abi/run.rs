//! The C tests, as programs.

use crate::build::{Prefix, files, run};
use std::process::Command;
use tempfile::TempDir;

/// Builds every C test with `flags` and runs it by way of `runner` in a directory of its own.
fn run_tests(prefix: &Prefix, flags: &[&str], runner: &[&str], configure: impl Fn(&mut Command)) {
    for test in files("bindings-c/tests", "c") {
        let scratch = TempDir::new().unwrap();
        let program = prefix.compile(&test, flags, scratch.path());
        let mut command = match runner {
            [] => Command::new(&program),
            [tool, arguments @ ..] => {
                let mut command = Command::new(tool);
                command.args(arguments).arg(&program);
                command
            }
        };
        configure(command.arg(scratch.path()));
        run(&mut command);
        // Counted by tests/sanitizers/run.sh.
        println!("C program {} passed", test.file_stem().unwrap().to_string_lossy());
    }
}

#[test]
fn c_tests_pass() {
    run_tests(Prefix::installed(), &[], &[], |_| ());
}

#[test]
#[ignore = "needs valgrind and minutes: make c-valgrind"]
fn c_tests_pass_under_valgrind() {
    // In optimized Rust memcheck takes branches on padding for branches on values never set.
    // Leaks are the sanitizer's: memcheck would look for pointers in every byte that regions map.
    let valgrind = ["valgrind", "--quiet", "--error-exitcode=99", "--leak-check=no"];
    run_tests(&Prefix::unoptimized(), &[], &valgrind, |_| ());
}

#[test]
#[ignore = "needs the sanitizer's library: make c-asan"]
fn c_tests_pass_with_the_address_sanitizer() {
    let flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    run_tests(Prefix::installed(), &flags, &[], |command| {
        command.env("ASAN_OPTIONS", "detect_leaks=1:strict_string_checks=1");
    });
}
