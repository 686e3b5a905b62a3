//! The C tests and examples, as programs.

use crate::build::{Prefix, compiler, files, root, run};
use std::path::{Path, PathBuf};
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

fn example(name: &str) -> PathBuf {
    root().join("bindings-c/examples").join(name)
}

const GREETING: &str = "Hello from a persistent page.\n";

#[test]
fn quickstart_greets_again_after_a_restart() {
    let scratch = TempDir::new().unwrap();
    let program = Prefix::installed().compile(&example("quickstart.c"), &[], scratch.path());
    for _ in 0..2 {
        assert_eq!(run(Command::new(&program).arg(scratch.path().join("q.pgs"))), GREETING);
    }
}

#[test]
fn aliasing_shows_one_descriptor() {
    let scratch = TempDir::new().unwrap();
    let program = Prefix::installed().compile(&example("aliasing.c"), &[], scratch.path());
    let told = "same address: yes, pins: 3\nseen through the pin: row 2\n\
                after the truncate: row 2, detached: 1\na latch to write it: PGS_E_DETACHED\n";
    assert_eq!(run(&mut Command::new(program)), told);
}

/// Builds the quickstart as its users do, with nothing but what pkg-config says.
fn quickstart_by_pkg_config(arguments: &[&str], scratch: &Path) -> Option<PathBuf> {
    let flags = Prefix::installed().pkg_config(arguments)?;
    let program = scratch.join("quickstart");
    run(compiler("CC", "cc").arg(example("quickstart.c")).args(flags).arg("-o").arg(&program));
    Some(program)
}

#[test]
fn pkg_config_links_the_shared_library() {
    let scratch = TempDir::new().unwrap();
    let Some(program) = quickstart_by_pkg_config(&["--cflags", "--libs"], scratch.path()) else { return };
    let needed = run(Command::new("readelf").arg("-d").arg(&program));
    assert!(needed.contains("[libpagestone.so.0]"), "{needed}");
    let mut command = Command::new(&program);
    command.env("LD_LIBRARY_PATH", Prefix::installed().path("lib")).arg(scratch.path().join("q.pgs"));
    assert_eq!(run(&mut command), GREETING);
}

#[test]
fn pkg_config_links_the_static_library() {
    let scratch = TempDir::new().unwrap();
    // With both libraries in one folder the linker prefers the shared one: hide it, as a static build does.
    let lib = Prefix::installed().path("lib");
    let alone = scratch.path().join("lib");
    std::fs::create_dir(&alone).unwrap();
    std::fs::copy(lib.join("libpagestone.a"), alone.join("libpagestone.a")).unwrap();
    let variable = format!("--define-variable=libdir={}", alone.display());
    let Some(program) =
        quickstart_by_pkg_config(&["--static", "--cflags", "--libs", &variable], scratch.path())
    else {
        return;
    };
    assert!(!run(Command::new("readelf").arg("-d").arg(&program)).contains("libpagestone"));
    assert_eq!(run(Command::new(&program).arg(scratch.path().join("q.pgs"))), GREETING);
}
