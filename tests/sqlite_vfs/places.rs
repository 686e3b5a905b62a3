//! Databases that share a region: `?region=`, and the links that stand for them.

use crate::processes::{command, start};
use crate::{assert_whole, files, open, opened, run, value};
use pagestone_kit::child::{Child, say};
use pagestone_kit::disk;
use pagestone_kit::limit::Limit;
use rusqlite::Connection;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

fn uri(path: &Path, parameters: &str) -> String {
    format!("file:{}?{parameters}", path.display())
}

fn in_region(path: &Path, region: &Path) -> rusqlite::Result<Connection> {
    open(uri(path, &format!("region={}", region.display())))
}

/// A directory, two database paths in it, and a region.
fn place() -> (tempfile::TempDir, PathBuf, PathBuf, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name| directory.path().join(name);
    let (a, b, region) = (at("a.db"), at("b.db"), at("both.pgs"));
    (directory, a, b, region)
}

#[test]
fn databases_of_one_region_do_not_touch_each_other() {
    let (directory, a, b, region) = place();
    let one = in_region(&a, &region).expect("it opens");
    let other = in_region(&b, &region).expect("it opens");
    run(&one, "CREATE TABLE t(x); INSERT INTO t VALUES('one'); BEGIN IMMEDIATE");
    run(&other, "PRAGMA journal_mode=wal; CREATE TABLE t(x); INSERT INTO t VALUES('other')");
    run(&one, "INSERT INTO t VALUES('more'); COMMIT");
    assert_eq!(value::<u32>(&one, "SELECT count(*) FROM t"), 2);
    assert_eq!(value::<String>(&other, "SELECT x FROM t"), "other");
    assert_eq!(files(directory.path()), ["a.db", "b.db", "both.pgs"]);
    assert_whole(&one);
    assert_whole(&other);
}

#[test]
fn the_link_alone_finds_the_database() {
    let (directory, a, b, region) = place();
    run(&in_region(&a, &region).expect("it opens"), "CREATE TABLE t(x); INSERT INTO t VALUES('one')");
    assert_eq!(value::<String>(&opened(&a), "SELECT x FROM t"), "one");
    // A second name of the link finds it too, and meets the locks of the first path.
    let held = opened(&a);
    run(&held, "BEGIN IMMEDIATE");
    fs::hard_link(&a, &b).expect("a second name");
    let second = opened(&b);
    run(&second, "PRAGMA busy_timeout=0");
    assert!(second.execute_batch("BEGIN IMMEDIATE").is_err());
    run(&held, "COMMIT");
    run(&second, "BEGIN IMMEDIATE; COMMIT");
    drop((held, second));
    fs::rename(&a, directory.path().join("c.db")).expect("a new name");
    assert_eq!(value::<String>(&opened(directory.path().join("c.db")), "SELECT x FROM t"), "one");
}

/// A renamed link keeps its database, even if another link then gets its old name.
#[test]
fn a_new_database_takes_none_that_a_link_had_before_it() {
    let (_directory, a, archive, region) = place();
    run(&in_region(&a, &region).expect("it opens"), "CREATE TABLE t(x); INSERT INTO t VALUES('2025')");
    fs::rename(&a, &archive).expect("a new name");
    let next = in_region(&a, &region).expect("it opens");
    run(&next, "CREATE TABLE t(x); INSERT INTO t VALUES('2026')");
    assert_eq!(value::<String>(&opened(&archive), "SELECT group_concat(x) FROM t"), "2025");
    assert_eq!(value::<String>(&next, "SELECT group_concat(x) FROM t"), "2026");
    let old = opened(&archive);
    for n in 0..2 {
        let copy = uri(&a.with_file_name("copy.db"), &format!("region={}", region.display()));
        run(&old, &format!("INSERT INTO t VALUES({n}); VACUUM INTO '{copy}'"));
        let copy = a.with_file_name("copy.db");
        assert_eq!(value::<u32>(&opened(&copy), "SELECT count(*) FROM t"), 2 + n);
        fs::remove_file(&copy).expect("it was made");
    }
}

/// It does not matter which of the openings makes the database.
#[test]
fn openings_that_make_one_database_at_once_share_it() {
    let (directory, a, b, region) = place();
    let keeps = in_region(&b, &region).expect("it opens");
    run(&keeps, "CREATE TABLE t(x)");
    thread::scope(|scope| {
        for n in 0..8 {
            let (a, region) = (&a, &region);
            scope.spawn(move || {
                let db = in_region(a, region).expect("it opens");
                run(&db, &format!("PRAGMA busy_timeout=60000; CREATE TABLE t{n}(x)"));
            });
        }
    });
    assert_eq!(value::<u32>(&opened(&a), "SELECT count(*) FROM sqlite_schema"), 8);
    assert_eq!(files(directory.path()), ["a.db", "b.db", "both.pgs"]);
}

/// A copy would be a second name, often in another folder, for a database that has one.
#[test]
fn a_copied_link_is_refused_and_says_what_makes_it_a_link() {
    let (directory, a, _, region) = place();
    let db = in_region(&a, &region).expect("it opens");
    run(&db, "CREATE TABLE t(x); INSERT INTO t VALUES('production')");
    let staging = directory.path().join("staging");
    fs::create_dir(&staging).expect("a folder");
    let (copy, copied) = (staging.join("a.db"), staging.join("both.pgs"));
    fs::copy(&a, &copy).expect("a copy");
    assert!(open(&copy).is_err());
    let reason: String = value(&db, "PRAGMA pagestone_error");
    for words in ["is a copy of a link", "both.pgs", "second line", "fourth line"] {
        assert!(reason.contains(words), "{words}: {reason}");
    }
    assert!(in_region(&copy, &region).is_err(), "its region does not make it another link");
    drop(db);
    // With a copy of its region, and changed as the reason says.
    fs::copy(&region, &copied).expect("a copy");
    let link = fs::read_to_string(&copy).expect("a text");
    let mut lines: Vec<&str> = link.lines().take(3).collect();
    lines[1] = copied.to_str().expect("a text");
    fs::write(&copy, lines.join("\n") + "\n").expect("a link");
    run(&opened(&copy), "UPDATE t SET x='staging'");
    assert_eq!(value::<String>(&opened(&copy), "SELECT x FROM t"), "staging");
    assert_eq!(value::<String>(&opened(&a), "SELECT x FROM t"), "production");
}

#[test]
fn a_region_name_is_absolute_from_the_first_opening() {
    let (directory, a, _, _) = place();
    // Relative names depend on the folder of the process. This test must not change that for the other tests, so it
    // spells the name
    // out.
    let here = std::env::current_dir().expect("a directory");
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    let relative = up.join(directory.path().strip_prefix("/").expect("absolute")).join("r.pgs");
    run(&in_region(&a, &relative).expect("it opens"), "CREATE TABLE t(x)");
    let link = fs::read_to_string(&a).expect("a text");
    assert!(link.lines().nth(1).is_some_and(|region| region.starts_with('/')), "{link}");
    assert_eq!(value::<u32>(&opened(&a), "SELECT count(*) FROM t"), 0);
}

#[test]
fn a_database_is_in_one_region_only() {
    let (directory, a, b, region) = place();
    run(&in_region(&a, &region).expect("it opens"), "CREATE TABLE t(x)");
    assert!(in_region(&a, &directory.path().join("else.pgs")).is_err());
    run(&opened(&b), "CREATE TABLE t(x)");
    assert!(in_region(&b, &region).is_err(), "a region of its own has no place in another");
    assert!(in_region(&b, &b).is_ok(), "naming itself is no other place");
    assert_eq!(files(directory.path()), ["a.db", "b.db", "both.pgs"]);
}

/// A head of zeros is what a creation leaves that was cut short, and what remains of a region whose head was lost.
#[test]
fn a_link_replaces_no_file_that_has_bytes() {
    let (_directory, a, b, region) = place();
    run(&opened(&a), "CREATE TABLE t(x); INSERT INTO t VALUES('one')");
    let mut bytes = fs::read(&a).expect("a small region");
    bytes[..8192].fill(0);
    fs::write(&a, &bytes).expect("without its head");
    let error = in_region(&a, &region).expect_err("the file is no empty one");
    assert!(error.to_string().contains("unable to open"), "{error}");
    assert!(fs::read(&a).expect("still a file") == bytes, "its bytes are left alone");
    fs::write(&b, [0; 4096]).expect("zeros");
    assert!(in_region(&b, &region).is_err());
    assert_eq!(fs::read(&b).expect("still a file"), [0; 4096]);
    fs::write(&b, "").expect("a file of no bytes");
    run(&in_region(&b, &region).expect("a link takes its place"), "CREATE TABLE t(x)");
}

#[test]
fn a_link_that_leads_nowhere_is_refused() {
    let (_directory, a, b, region) = place();
    run(&in_region(&a, &region).expect("it opens"), "CREATE TABLE t(x)");
    fs::remove_file(&region).expect("it was there");
    assert!(open(&a).is_err());
    assert!(!region.exists(), "opening by a link makes no region");
    fs::write(&b, "Pagestone link 1\nboth.pgs\n").expect("a damaged link");
    assert!(open(&b).is_err());
}

#[test]
fn a_region_that_is_cut_while_open_is_an_error_and_no_signal() {
    is_an_error_when_cut("PRAGMA journal_mode = DELETE");
}

/// In WAL mode the lock of the database stays SHARED from one transaction to the next.
#[test]
fn a_region_that_is_cut_in_wal_mode_is_an_error_and_no_signal() {
    is_an_error_when_cut("PRAGMA journal_mode = WAL");
}

fn is_an_error_when_cut(mode: &str) {
    let (_directory, a, _, _) = place();
    let db = opened(&a);
    let _: String = value(&db, mode);
    run(&db, "CREATE TABLE t(x); INSERT INTO t VALUES(randomblob(2000000))");
    assert_eq!(value::<u32>(&db, "SELECT count(*) FROM t"), 1);
    let file = fs::OpenOptions::new().write(true).open(&a).expect("the region");
    let len = file.metadata().expect("its length").len();
    file.set_len(len / 2).expect("cut");
    for _ in 0..2 {
        let error = db.query_row("SELECT sum(length(x)) FROM t", [], |_| Ok(())).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::SystemIoFailure), "{error}");
    }
    assert!(db.execute_batch("INSERT INTO t VALUES('more')").is_err());
    drop(db);
    assert!(open(&a).and_then(|db| db.query_row("SELECT 1 FROM t", [], |_| Ok(()))).is_err());
    assert_eq!(file.metadata().expect("its length").len(), len / 2, "the rest was left alone");
}

/// Two names in the directory `place`.
fn two_in(place: &str) -> (PathBuf, PathBuf) {
    (Path::new(place).join("a.db"), Path::new(place).join("r.pgs"))
}

/// The role of the process that the test below starts: a signal kills it when it writes the link, the first file that it
/// makes longer.
pub fn die_while_a_link_is_made(place: &str) {
    let (a, region) = two_in(place);
    let keeps = open(uri(&region, "assume=volatile")).expect("it opens");
    run(&keeps, "CREATE TABLE t(x)");
    Limit::set(libc::RLIMIT_FSIZE, 0).expect("less").for_good();
    let made = open(uri(&a, &format!("region={}&assume=volatile", region.display())));
    say(&format!("made {}", made.is_ok()));
}

#[test]
fn a_process_that_dies_while_it_makes_a_link_leaves_none() {
    let directory = disk::memory().expect("a directory in memory");
    let mut helper = start("die", directory.path());
    let status = helper.end();
    assert_eq!(status.signal(), Some(libc::SIGXFSZ), "{status}, {:?}", helper.hears("made "));
    assert_eq!(files(directory.path()), ["r.pgs"]);
}

/// The role of the process that the test below starts: it has closed its standard files, and prints all the same.
pub fn link_without_standard_descriptors(place: &str) {
    let (a, region) = two_in(place);
    let keeps = opened(&region);
    run(&keeps, "CREATE TABLE t(x)");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        // SAFETY: only the thread below uses the numbers, and files that are opened wrongly.
        let said = unsafe { libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 10) };
        // They are closed again and again, because SQLite's own VFS fills them when it opens a file.
        let close = || {
            (0..3).for_each(|number| {
                // SAFETY: as above.
                unsafe { libc::close(number) };
            });
        };
        let prints = || {
            while !done.load(Ordering::Relaxed) {
                (0..3).for_each(|number| {
                    // SAFETY: two bytes that live; no memory is touched by the call.
                    unsafe { libc::write(number, c"!\n".as_ptr().cast(), 2) };
                });
            }
        };
        scope.spawn(prints);
        for n in 0..300 {
            let path = a.with_file_name(format!("{n}.db"));
            close();
            drop(open(uri(&path, &format!("region={}", region.display()))).expect("it opens"));
            close();
            assert!(open(uri(&path, "wait=wrong")).is_err(), "for the log");
        }
        done.store(true, Ordering::Relaxed);
        // SAFETY: the descriptor of above.
        assert_eq!(unsafe { libc::dup2(said, 1) }, 1);
    });
    say("done");
}

/// The link, its folder and the log are never descriptor 0, 1 or 2, not even for a moment.
#[test]
fn what_a_program_prints_to_closed_descriptors_is_in_no_link_and_no_log() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, place) = (directory.path().join("log"), directory.path().join("in"));
    fs::create_dir(&place).expect("a folder");
    let mut helper = Child::start(command("low", &place).env("PGS_VFS_LOG", &log));
    assert_eq!(helper.hears("done").as_deref(), Some("done"));
    let said = fs::read_to_string(&log).expect("a log");
    assert!(said.lines().count() >= 300 && said.lines().all(|line| line.starts_with("pagestone[")), "{said}");
    for name in files(&place).iter().filter(|name| name.ends_with(".db")) {
        let link = fs::read_to_string(place.join(name)).expect("a text");
        assert!(link.starts_with("Pagestone link 1\n/") && link.lines().count() == 4, "{name}: {link}");
    }
    assert_eq!(files(&place).len(), 301);
}

/// The role of the process that the test below starts: it logs a failure while standard input and standard error are
/// closed.
pub fn open_without_standard_descriptors(place: &str) {
    pagestone_tests::sqlite::start();
    [0, 2].into_iter().for_each(|number| {
        // SAFETY: the numbers are used by nothing but the test.
        unsafe { libc::close(number) };
    });
    assert!(open(uri(Path::new(place), "wait=wrong")).is_err(), "for the log");
    // SAFETY: a question about a number, whether it is open or not.
    let filled = [0, 2].map(|number| unsafe { libc::fcntl(number, libc::F_GETFL) });
    say(&format!(
        "filled {}",
        filled.iter().all(|flags| *flags != -1 && flags & libc::O_ACCMODE == libc::O_RDONLY)
    ));
}

/// The engine may be opening a region in another thread, and has found the number filled. If it were given back, the region
/// would get it.
#[test]
fn a_closed_descriptor_that_was_filled_is_not_given_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, place) = (directory.path().join("log"), directory.path().join("a.db"));
    let mut helper = Child::start(command("filled", &place).env("PGS_VFS_LOG", &log));
    assert_eq!(helper.hears("filled").as_deref(), Some("filled true"));
    let said = fs::read_to_string(&log).expect("a log");
    assert!(said.contains("wait is \"wrong\""), "{said}");
}
