//! The loadable extension in a program that has an SQLite of its own, built without batches.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A program that loads the extension, says what SQLite logs, and uses a database.
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

/// The extension, built by the recipe that users run.
fn extension() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a target directory");
    let mut make = Command::new("make");
    make.args(["vfs", "PGS_PROFILE=dev", concat!("SQLITE_INCLUDE=", env!("SQLITE_INCLUDE"))]);
    make.current_dir(root).env_remove("MAKEFLAGS").env_remove("MAKELEVEL").env("CARGO_TARGET_DIR", target);
    run(make.env("CARGO", std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())));
    target.join("debug/c/pagestone_vfs.so")
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
