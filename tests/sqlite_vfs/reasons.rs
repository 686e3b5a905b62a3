//! Where programs can read why something failed, and what the environment may set.

use crate::processes::{command, start};
use crate::{open, opened, run, value};
use pagestone_kit::child::{Child, play, say};
use pagestone_kit::skip::skipped;
use pagestone_tests::sqlite;
use rusqlite::Connection;
use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn a_pragma_says_what_failed_last() {
    let directory = tempfile::tempdir().expect("a directory");
    let db = opened(directory.path().join("a.db"));
    run(&db, "CREATE TABLE t(x)");
    let plain = directory.path().join("plain.db");
    run(&Connection::open(&plain).expect("SQLite's own VFS"), "CREATE TABLE t(x)");
    assert!(open(&plain).is_err());
    let reason: String = value(&db, "PRAGMA pagestone_error");
    for words in [
        "plain.db is an ordinary SQLite database",
        "pagestone import",
        "foreign=pass",
        "PGS_VFS_FOREIGN=pass",
    ] {
        assert!(reason.contains(words), "{words}: {reason}");
    }
}

#[test]
fn the_reason_is_the_last_failures_own_and_is_forgotten_by_an_opening_that_succeeds() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let db = opened(at("a.db"));
    let reason = || value::<String>(&db, "PRAGMA pagestone_error");
    assert!(open(at("nowhere").join("x.db")).is_err());
    assert!(reason().contains("nowhere/x.db"), "{}", reason());
    assert!(open(format!("file:{}?mode=ro", at("missing.db").display())).is_err());
    assert!(reason().contains("missing.db: No such file"), "{}", reason());
    assert!(open(directory.path()).is_err());
    assert!(reason().contains("directory"), "{}", reason());
    drop(opened(at("b.db")));
    // By now it may be the reason of a failure in another thread.
    let said = reason();
    assert!(!said.contains(directory.path().to_str().expect("a text")), "{said}");
}

/// The role of the processes that the tests below start: opens the database by the default VFS and by ours.
pub fn try_to_open(place: &str) {
    sqlite::start();
    let by_default = Connection::open(format!("{place}-by-default"))
        .and_then(|db| db.execute_batch("CREATE TABLE IF NOT EXISTS t(x)"));
    by_default.expect("any VFS can do that");
    let region = fs::read(format!("{place}-by-default")).is_ok_and(|bytes| bytes.starts_with(b"PAGESTN"));
    say(if region { "default pagestone" } else { "default unix" });
    match open(place).and_then(|db| db.execute_batch("CREATE TABLE IF NOT EXISTS t(x)")) {
        Ok(()) => say("tried ok"),
        Err(error) => say(&format!("tried {error}")),
    }
}

/// What a process with these variables prints about its default VFS and about its opening.
fn tried(command: &mut Command, variables: &[(&str, &str)]) -> (String, String) {
    let mut helper = Child::start(command.envs(variables.iter().copied()));
    let default = helper.hears("default ").expect("it has a default VFS");
    (default, helper.hears("tried ").expect("it tries"))
}

#[test]
fn the_environment_makes_it_the_default_vfs() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().join("a.db");
    let (yes, no) = ("default pagestone", "default unix");
    for (value, default) in
        [("1", yes), ("true", yes), ("on", yes), ("YES", yes), ("0", no), ("off", no), ("", no)]
    {
        let (said, tried) = tried(&mut command("try", &place), &[("PGS_VFS_DEFAULT", value)]);
        assert_eq!((said.as_str(), tried.as_str()), (default, "tried ok"), "{value:?}");
        fs::remove_file(directory.path().join("a.db-by-default")).expect("it was made");
    }
}

/// The VFS does not guess what such a value means: a program that was to have regions would make ordinary files.
#[test]
fn a_wish_for_the_default_vfs_that_is_not_understood_fails_the_registration() {
    let directory = tempfile::tempdir().expect("a directory");
    let (place, log) = (directory.path().join("a.db"), directory.path().join("log"));
    let mut program = command("try", &place);
    program.env("PGS_VFS_DEFAULT", "perhaps").env("PGS_VFS_LOG", &log).stderr(Stdio::null());
    let mut helper = Child::start(&mut program);
    assert_eq!(helper.hears("default "), None, "it goes on");
    let said = fs::read_to_string(&log).expect("a log");
    assert!(said.contains("PGS_VFS_DEFAULT is \"perhaps\""), "{said}");
    assert_eq!(crate::files(directory.path()), ["log"]);
}

#[test]
fn variables_that_are_misspelt_are_refused_by_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let (place, log) = (directory.path().join("a.db"), directory.path().join("log"));
    for name in
        ["PGS_VFS_MAXSIZE", "PGS_VFS_DURABILTY", "PGS_VFS_", "PGS_VFS_REGION", "PGS_VFS_WAITS", "PGS_VFS_LO"]
    {
        let variables = [(name, "fdatasync"), ("PGS_VFS_LOG", log.to_str().expect("a text"))];
        let (_, tried) = tried(&mut command("try", &place), &variables);
        assert!(tried.contains("unable to open"), "{name}: {tried}");
        let said = fs::read_to_string(&log).expect("a log");
        assert!(said.contains(&format!("the environment has {name}:")), "{said}");
        fs::remove_file(&log).expect("it was there");
    }
    assert!(!place.exists(), "nothing was made");
}

/// The role of the process that the test below starts.
pub fn open_after_the_environment_changed(place: &str) {
    sqlite::start();
    // SAFETY: the process has no other thread that asks the environment.
    unsafe { env::set_var("PGS_VFS_SOMETHING", "1") };
    say(match open(place) {
        Ok(_) => "tried ok",
        Err(_) => "tried and refused",
    });
}

/// Another thread may be changing the environment when a database is opened.
#[test]
fn names_in_the_environment_are_looked_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut helper = start("late", &directory.path().join("a.db"));
    assert_eq!(helper.hears("tried ").as_deref(), Some("tried ok"));
}

/// What an opening found is no failure: it is in the log, and `PRAGMA pagestone_error` does not answer with it.
#[test]
fn a_recovery_is_told_in_the_log() {
    let directory = tempfile::tempdir().expect("a directory");
    let (place, log) = (directory.path().join("a.db"), directory.path().join("log"));
    let mut helper = start("hold", &place);
    helper.hears("ready").expect("it has the database open");
    helper.kill().unwrap();
    let variables = [("PGS_VFS_LOG", log.to_str().expect("a text"))];
    let (_, tried) = tried(&mut command("try", &place), &variables);
    assert_eq!(tried, "tried ok");
    let said = fs::read_to_string(&log).expect("a log");
    assert!(
        said.lines().any(|line| line.contains("a.db: recovered as after the death of a process")),
        "{said}"
    );
    let db = opened(&place);
    assert!(value::<String>(&db, "PRAGMA pagestone_stats").contains(" set_aside=0 "));
}

/// A log in a folder where other users can make files is written only if the file is the user's own.
#[test]
fn the_log_goes_to_a_file_of_ones_own_and_through_no_link() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    run(&Connection::open(at("plain.db")).expect("SQLite's own VFS"), "CREATE TABLE t(x)");
    fs::write(at("victim"), "precious").expect("a file");
    let logged = |log: &Path| {
        let variables = [("PGS_VFS_LOG", log.to_str().expect("a text"))];
        let (_, tried) = tried(&mut command("try", &at("plain.db")), &variables);
        assert!(tried.contains("file is not a database"), "{tried}");
        drop(fs::remove_file(at("plain.db-by-default")));
    };
    for _ in 0..2 {
        logged(&at("log"));
    }
    let said = fs::read_to_string(at("log")).expect("a log");
    assert_eq!(said.matches("foreign=pass").count(), 2, "{said}");
    assert!(said.lines().all(|line| line.starts_with("pagestone[")), "{said}");
    assert_eq!(fs::metadata(at("log")).expect("a log").mode() & 0o777, 0o600);
    symlink(at("victim"), at("symbolic")).expect("a link");
    fs::hard_link(at("victim"), at("hard")).expect("a link");
    for link in ["symbolic", "hard"] {
        logged(&at(link));
        assert_eq!(fs::read_to_string(at("victim")).expect("a file"), "precious", "{link}");
    }
}

/// A program that runs with more rights than its caller takes no settings from the caller's environment.
#[test]
fn a_set_user_id_program_hears_nothing_from_its_callers_environment() {
    const NOBODY: u32 = 65534;
    let directory = tempfile::tempdir().expect("a directory");
    let (program, place) = (directory.path().join("program"), directory.path().join("a.db"));
    let log = directory.path().join("log");
    let variables = [
        ("PGS_VFS_DURABILITY", "nonsense"),
        ("PGS_VFS_UNKNOWN", "1"),
        ("PGS_VFS_DEFAULT", "1"),
        ("PGS_VFS_LOG", log.to_str().expect("a text")),
    ];
    let (default, tried_by_itself) = tried(&mut command("try", &place), &variables[..1]);
    assert!(
        default == "default unix" && tried_by_itself.contains("unable to open"),
        "{default} {tried_by_itself}"
    );
    fs::remove_file(directory.path().join("a.db-by-default")).expect("it was made");
    fs::copy(env::current_exe().expect("this program"), &program).expect("a copy");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).expect("its directory");
    if chown(&program, Some(NOBODY), None).is_err() {
        return skipped("a set-user-ID program", "needs root");
    }
    fs::set_permissions(&program, Permissions::from_mode(0o4755)).expect("its own file");
    let mut copy = Command::new(&program);
    let said = tried(play(copy.args(command("", &place).get_args()), "try", &place), &variables);
    if fs::metadata(&place).is_ok_and(|made| made.uid() != NOBODY) {
        return skipped("a set-user-ID program", "the temporary folder is mounted nosuid");
    }
    assert_eq!(said, ("default unix".to_owned(), "tried ok".to_owned()));
    assert!(!log.exists(), "no log was written");
}
