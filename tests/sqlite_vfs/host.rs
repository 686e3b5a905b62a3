//! Programs of users: ones with an SQLite of their own that loads the extension, ones that link the VFS, and Python.

use pagestone_kit::skip::skipped;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A program that loads the extension, prints what SQLite logs, and uses a database.
const PROGRAM: &str = r#"
#include <sqlite3.h>
#include <stdio.h>
static void say(void *unused, int code, const char *words) { (void)unused; printf("log %d %s\n", code, words); }
static int show(void *unused, int n, char **values, char **names)
{
    (void)unused; (void)names;
    for (int i = 0; i < n; i++) printf("row %s\n", values[i]);
    return 0;
}
static void run(sqlite3 *db, const char *sql)
{
    char *why = 0;
    if (sqlite3_exec(db, sql, show, 0, &why) != SQLITE_OK) printf("failed %s: %s\n", sql, why);
}
int main(int argc, char **argv)
{
    sqlite3 *db;
    char *why = 0;
    if (argc != 3) return 2;
    sqlite3_config(SQLITE_CONFIG_LOG, say, 0);
    for (int life = 0; life < 2; life++) {
        if (sqlite3_open(":memory:", &db) != SQLITE_OK) return 3;
        sqlite3_enable_load_extension(db, 1);
        if (sqlite3_load_extension(db, argv[1], 0, &why) != SQLITE_OK) { printf("failed %s\n", why); return 4; }
        sqlite3_close(db);
        if (sqlite3_open_v2(argv[2], &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "pagestone") != SQLITE_OK) return 5;
        run(db, "CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES(1); INSERT INTO t VALUES(2)");
        run(db, "SELECT 'rows', count(*) FROM t; PRAGMA integrity_check; PRAGMA pagestone_stats");
        sqlite3_close(db);
    }
    return 0;
}
"#;

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (said, erred) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{said}{erred}", output.status);
    said.into_owned()
}

/// The folder in which `make vfs` built, once for all tests, and what it printed.
fn built() -> &'static (PathBuf, String) {
    static BUILT: OnceLock<(PathBuf, String)> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a target directory");
        let mut make = Command::new("make");
        make.args(["vfs", "PGS_PROFILE=dev", concat!("SQLITE_INCLUDE=", env!("SQLITE_INCLUDE"))]);
        make.current_dir(root())
            .env_remove("MAKEFLAGS")
            .env_remove("MAKELEVEL")
            .env("CARGO_TARGET_DIR", target);
        let said = run(make.env("CARGO", std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())));
        (target.join("debug/c"), said)
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The extension, built by the recipe that users run.
fn extension() -> PathBuf {
    built().0.join("pagestone_vfs.so")
}

#[test]
fn make_vfs_says_where_the_extension_is() {
    let (_, said) = built();
    assert!(said.contains(&format!("the extension is {}", extension().display())), "{said}");
}

/// The program with SQLite in it, compiled with these flags.
fn program(directory: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let (source, program) = (directory.join("program.c"), directory.join(name));
    std::fs::write(&source, PROGRAM).expect("the source");
    let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    cc.args(["-O0", "-w", "-rdynamic"]).args(flags).arg("-I").arg(env!("SQLITE_INCLUDE")).arg(&source);
    cc.arg(concat!(env!("SQLITE_INCLUDE"), "/sqlite3.c"))
        .args(["-lpthread", "-lm", "-ldl", "-o"])
        .arg(&program);
    run(&mut cc);
    program
}

#[test]
fn the_extension_says_once_what_the_host_lacks() {
    const FLAG: &str = "SQLITE_ENABLE_BATCH_ATOMIC_WRITE";
    let directory = tempfile::tempdir().expect("a directory");
    let extension = extension();
    let define = format!("-D{FLAG}");
    for (name, flags, told, batches) in
        [("lacks", vec![], 1, "batches=0"), ("has", vec![&*define], 0, "batches=2")]
    {
        let program = program(directory.path(), name, &flags);
        let database = directory.path().join(format!("{name}.db"));
        let said = run(Command::new(program).arg(&extension).arg(database));
        let logged = said.lines().filter(|line| line.starts_with("log 27 ") && line.contains(FLAG)).count();
        assert_eq!(logged, told, "{said}");
        assert!(!said.contains("failed"), "{said}");
        assert!(said.contains("row 2\n") && said.contains("row 4\n"), "{said}");
        assert_eq!(said.matches("row ok\n").count(), 2, "{said}");
        assert!(said.lines().next_back().is_some_and(|line| line.contains(batches)), "{said}");
    }
}

/// A program that does not name the VFS: its SQLite registers the VFS that it was linked with.
const LINKED: &str = r#"
#include <sqlite3.h>
#include <stdio.h>
int main(int argc, char **argv)
{
    sqlite3 *db;
    if (argc != 2 || sqlite3_open(argv[1], &db) != SQLITE_OK) return 2;
    if (sqlite3_exec(db, "CREATE TABLE t(x); INSERT INTO t VALUES(1)", 0, 0, 0) != SQLITE_OK) return 3;
    sqlite3_close(db);
    puts(sqlite3_vfs_find(0)->zName);
    return 0;
}
"#;

/// A program that is linked with SQLite, compiled with these flags, and with the VFS.
fn linked(directory: &Path, name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let at = |end: &str| directory.join(format!("{name}{end}"));
    std::fs::write(at(".c"), source).expect("the source");
    let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    cc.args(["-O0", "-w", "-I", env!("SQLITE_INCLUDE")]).args(flags);
    cc.arg(at(".c")).arg(concat!(env!("SQLITE_INCLUDE"), "/sqlite3.c"));
    cc.args(["libpagestone_vfs.a", "libpagestone.a"].map(|archive| built().0.join(archive)));
    cc.args(["-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-o"]).arg(at(""));
    run(&mut cc);
    at("")
}

#[test]
fn a_program_is_linked_with_the_vfs_and_its_sqlite_registers_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    linked(directory.path(), "linked", LINKED, &["-DSQLITE_EXTRA_INIT=pagestone_vfs_init_default"]);
    assert_eq!(run(Command::new(at("linked")).arg(at("a.db"))), "pagestone\n");
    assert!(std::fs::read(at("a.db")).expect("the region").starts_with(b"PAGESTN"));
    assert_eq!(crate::value::<u32>(&crate::opened(at("a.db")), "SELECT count(*) FROM t"), 1);
}

/// A program whose threads register the VFS at once, in many processes, and then look at SQLite's list.
const REGISTERS: &str = r#"
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
int pagestone_vfs_register(int make_default);
enum { THREADS = 4, PROCESSES = 1000 };
static atomic_int ready;
static void *registers(void *make_default)
{
    atomic_fetch_add(&ready, 1);
    while (atomic_load(&ready) < THREADS) continue;
    return pagestone_vfs_register(make_default != 0) == SQLITE_OK ? 0 : &ready;
}
static int process(const char *path)
{
    pthread_t threads[THREADS];
    sqlite3 *db;
    void *failed;
    int seen = 0, all = 0;
    alarm(20);
    for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], 0, registers, i % 2 ? &ready : 0);
    for (int i = 0; i < THREADS; i++)
        if (pthread_join(threads[i], &failed) != 0 || failed) return 2;
    for (sqlite3_vfs *vfs = sqlite3_vfs_find(0); vfs && all < 100; vfs = vfs->pNext, all++) seen += strcmp(vfs->zName, "pagestone") == 0;
    if (seen != 1 || all < 2 || all == 100 || !sqlite3_vfs_find("unix")) return 3;
    /* What is not the VFS's own is another one's. */
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "unix") != SQLITE_OK) return 4;
    if (sqlite3_exec(db, "CREATE TABLE IF NOT EXISTS t(x)", 0, 0, 0) != SQLITE_OK || sqlite3_close(db) != SQLITE_OK) return 5;
    int answer = -1;
    sqlite3_vfs *ours = sqlite3_vfs_find("pagestone");
    return ours->xAccess(ours, "/nothing-journal", SQLITE_ACCESS_EXISTS, &answer) == SQLITE_OK && answer == 0 ? 0 : 6;
}
int main(int argc, char **argv)
{
    int status, bad = 0;
    if (argc != 2 || sqlite3_initialize() != SQLITE_OK) return 1;
    for (int i = 0; i < PROCESSES; i++) {
        pid_t child = fork();
        if (child == 0) _exit(process(argv[1]));
        if (waitpid(child, &status, 0) != child || status != 0) printf("process %d: status %x\n", i, status), bad++;
    }
    printf("%d failed\n", bad);
    return 0;
}
"#;

#[test]
fn threads_that_register_the_vfs_at_once_register_it_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = linked(directory.path(), "registers", REGISTERS, &[]);
    assert_eq!(run(Command::new(program).arg(directory.path().join("plain.db"))), "0 failed\n");
}

/// A program that loads an extension by an entry point, as SQLite's shell does, opens a database, and prints what went
/// wrong.
const ENTRIES: &str = r#"
#include <sqlite3.h>
#include <stdio.h>
static int show(void *unused, int n, char **values, char **names)
{
    (void)unused; (void)n; (void)names;
    printf("why %s\n", values[0]);
    return 0;
}
int main(int argc, char **argv)
{
    sqlite3 *loader, *db;
    char *why = 0;
    if (argc != 4 || sqlite3_open(":memory:", &loader) != SQLITE_OK) return 2;
    sqlite3_enable_load_extension(loader, 1);
    if (sqlite3_load_extension(loader, argv[1], argv[2], &why) != SQLITE_OK) { printf("failed %s\n", why); return 3; }
    printf("default %s\n", sqlite3_vfs_find(0)->zName);
    printf("opened %d\n", sqlite3_open_v2(argv[3], &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "pagestone"));
    sqlite3_close(db);
    sqlite3_exec(loader, "SELECT pagestone_error()", show, 0, 0);
    sqlite3_close(loader);
    return 0;
}
"#;

/// Tries each entry point that README names. Where an opening left no connection, the reason comes by the function and on
/// standard error.
#[test]
fn each_entry_point_registers_the_vfs_and_says_why_an_opening_failed() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("entries.c"), ENTRIES).expect("the source");
    let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    cc.args(["-O0", "-w", "-rdynamic", "-I", env!("SQLITE_INCLUDE")]).arg(at("entries.c"));
    cc.arg(concat!(env!("SQLITE_INCLUDE"), "/sqlite3.c")).args(["-lpthread", "-lm", "-ldl", "-o"]);
    run(cc.arg(at("entries")));
    std::fs::write(at("text.db"), "this is no database of any kind, and no region").expect("a file");
    for (entry, default) in
        [("sqlite3_pagestonevfs_init", "unix"), ("sqlite3_pagestonevfs_default_init", "pagestone")]
    {
        let mut program = Command::new(at("entries"));
        program.arg(extension()).arg(entry).arg(at("text.db")).env("PGS_VFS_LOG", "stderr");
        let output = program.output().expect("it runs");
        let (said, erred) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(said.starts_with(&format!("default {default}\nopened 26\nwhy ")), "{entry}: {said}{erred}");
        let why = said.lines().find_map(|line| line.strip_prefix("why ")).expect("a reason");
        assert!(why.contains("text.db"), "{why}");
        assert!(erred.lines().any(|line| line.starts_with("pagestone[") && line.ends_with(why)), "{erred}");
    }
    for (entry, default) in [("pagestone_vfs_init", "unix"), ("pagestone_vfs_init_default", "pagestone")] {
        let flag = format!("-DSQLITE_EXTRA_INIT={entry}");
        let program = linked(directory.path(), entry, VFS_NAMES, &[&flag]);
        assert_eq!(run(&mut Command::new(program)), format!("{default}\npagestone\n"), "{entry}");
    }
}

/// A program that prints the default VFS, and ours, which only the start of SQLite has registered.
const VFS_NAMES: &str = r#"
#include <sqlite3.h>
#include <stdio.h>
int main(void)
{
    sqlite3_initialize();
    puts(sqlite3_vfs_find(0)->zName);
    puts(sqlite3_vfs_find("pagestone") ? "pagestone" : "nothing");
    return 0;
}
"#;

/// Runs the example that README quotes with each Python on the machine. One may have been built without extensions.
#[test]
fn pythons_example_does_what_readme_says() {
    let example = root().join("bindings-c/sqlite/examples/app.py");
    let mut ran = 0;
    for python in ["python3", "/usr/bin/python3"] {
        if Command::new(python)
            .args(["-c", "import sqlite3, ctypes"])
            .output()
            .is_ok_and(|o| o.status.success())
        {
            let directory = tempfile::tempdir().expect("a directory");
            let region = directory.path().join("app.pgs");
            for visits in 1..=2 {
                let said = run(Command::new(python).arg(&example).arg(extension()).arg(&region));
                assert_eq!(said, format!("{visits} visits\n"), "{python}");
            }
            assert!(std::fs::read(&region).expect("the region").starts_with(b"PAGESTN"), "{python}");
            assert_eq!(crate::files(directory.path()), ["app.pgs"]);
            ran += 1;
        }
    }
    if ran == 0 {
        skipped("README's example in Python", "there is no python3 with sqlite3 (apt install python3)");
    }
}
