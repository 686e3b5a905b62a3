//! One owner per region.

use crate::child;
use crate::{attach, attach_with};
use pagestone::Error;
use pagestone::region::{Holder, Region, RegionOptions};
use pagestone_kit::child::{under, wait_for_death};
use pagestone_kit::fork::beside;
use pagestone_kit::skip::skipped;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

fn holder_of(outcome: pagestone::Result<Arc<Region>>) -> String {
    match outcome {
        Err(Error::InUse { by, .. }) => by,
        other => panic!("not claimed: {other:?}"),
    }
}

fn reading() -> RegionOptions {
    RegionOptions { read_only: true, ..Default::default() }
}

#[test]
fn of_two_openers_through_two_names_one_wins_and_the_other_is_told_which() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    let owner = child::start("owner", &path);
    let (hard, soft) = (directory.path().join("hard"), directory.path().join("soft"));
    std::fs::hard_link(&path, &hard).unwrap();
    symlink(&path, &soft).unwrap();
    let program = std::fs::read_to_string(format!("/proc/{}/comm", owner.id())).unwrap();
    for name in [&path, &hard, &soft] {
        let by = holder_of(attach(name));
        assert_eq!(by, format!("process {} ({})", owner.id(), program.trim_end()));
    }
    let by = holder_of(attach_with(&hard, reading()));
    assert!(by.contains(&owner.id().to_string()), "{by}");
}

#[test]
fn a_second_opener_in_the_same_process_is_told_that_it_is_this_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    let first = attach(&path).unwrap();
    assert_eq!(holder_of(attach(&path)), "this process");
    drop(first);
    attach(&path).unwrap();
}

#[test]
fn a_killed_owner_is_succeeded_at_once_and_its_stores_are_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    for _ in 0..3 {
        let mut owner = child::start("owner", &path);
        holder_of(attach(&path));
        owner.kill().unwrap();
        let region = attach(&path).unwrap();
        assert_eq!(region.memory().load(4096).unwrap(), 42);
        region.close();
    }
}

#[test]
fn readers_share_a_region_and_keep_writers_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    attach(&path).unwrap().close();
    let mut reader = child::start("reader", &path);
    let second = attach_with(&path, reading()).unwrap();
    second.close();
    drop(second);
    let by = holder_of(attach(&path));
    assert!(by.contains(&reader.id().to_string()) && by.ends_with("reading)"), "{by}");
    reader.kill().unwrap();
    attach(&path).unwrap();
}

#[test]
fn a_closed_region_is_free_for_other_processes_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    let region = attach(&path).unwrap();
    region.close();
    assert!(matches!(region.ensure_usable(), Err(Error::Closed)));
    drop(region);
    child::start("owner", &path);
}

#[test]
fn a_program_that_is_started_inherits_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    let _region = attach(&path).unwrap();
    let list = Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(!list.contains("region"), "{list}");
}

#[test]
fn a_forked_child_has_neither_the_bytes_nor_its_dead_parent_s_claim() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    let mut parent = child::start("parent", &path);
    let orphan = child::forked_by(&path);
    parent.kill().unwrap();
    let outcome = attach(&path).map(|region| region.memory().load(0).unwrap());
    child::kill_forked(orphan);
    assert_eq!(outcome.unwrap(), 1);
}

#[test]
fn the_search_for_an_owner_reads_few_files_however_many_are_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    let _hog = child::start("hog", &path);
    let _owner = child::start("owner", &path);
    child::start("refused", &path);
}

/// The process that a child says it is.
fn said_by(path: &Path) -> Holder {
    let said = std::fs::read_to_string(path).unwrap();
    let numbers: Vec<u64> = said.split(' ').map(|number| number.parse().unwrap()).collect();
    Holder { pid: numbers[0] as u32, start_time: numbers[1], space: numbers[2] }
}

/// Runs in a process of its own.
pub fn say_who_this_is(path: &Path) {
    let Holder { pid, start_time, space } = Holder::this_process();
    std::fs::write(path, format!("{pid} {start_time} {space}")).unwrap();
}

#[test]
fn a_process_whose_first_thread_has_ended_is_an_owner_still() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("who");
    let mut owner = child::start("headless", &path);
    let holder = said_by(&path);
    let stat = || std::fs::read_to_string(format!("/proc/{}/stat", owner.id())).unwrap();
    while !stat().contains(") Z ") {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert!(holder.may_live(), "{}", stat());
    assert!(holder.to_string().contains(&format!("process {} (", owner.id())), "{holder}");
    owner.kill().unwrap();
    assert!(!holder.may_live());
}

/// Runs in a process of its own: goes on in another thread than the first.
pub fn go_on_without_the_first_thread(path: &Path) -> ! {
    say_who_this_is(path);
    std::thread::spawn(|| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        child::stay()
    });
    let first = std::process::id();
    // SAFETY: a question.
    let this = unsafe { libc::gettid() } as u32;
    if this != first {
        // The first thread is the harness's and waits for this one. A signal ends it, by a handler that ends the thread.
        extern "C" fn end(_: libc::c_int) {
            // SAFETY: ends this thread alone, and none of its destructors run.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
        }
        // SAFETY: a handler that makes one system call.
        unsafe { libc::signal(libc::SIGUSR2, end as extern "C" fn(libc::c_int) as libc::sighandler_t) };
        // SAFETY: a signal to the first thread of this process.
        unsafe { libc::syscall(libc::SYS_tgkill, first, first, libc::SIGUSR2) };
    }
    loop {
        std::thread::park();
    }
}

#[test]
fn an_owner_in_another_pid_namespace_is_not_taken_for_dead() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("who");
    let apart = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    let may = Command::new("unshare").args(apart).arg("true").status();
    if !may.is_ok_and(|status| status.success()) {
        skipped("an owner in another PID namespace", "it needs the right to make one (root, and util-linux)");
        return;
    }
    let mut owner = child::begun(&mut under("unshare", &apart, &child::command("named", &path)));
    let holder = said_by(&path);
    assert_ne!(holder.space, Holder::this_process().space);
    assert!(holder.may_live(), "{holder:?}");
    owner.kill().unwrap();
    // A process that sees all others knows that it is dead. A process in another name space cannot know.
    let last = || !holder.may_live() || holder.to_string().contains("if that process still lives");
    let start = std::time::Instant::now();
    while !last() {
        assert!(start.elapsed() < std::time::Duration::from_secs(10), "{holder}");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Open files of the hog.
const MANY: u64 = 12_000;

/// Runs in a process of its own: has very many files open.
pub fn open_many_files() -> Vec<std::fs::File> {
    if !child::may_open("a process with many open files", MANY + 100) {
        return Vec::new();
    }
    let file = std::fs::File::open("/dev/null").unwrap();
    (0..MANY).map(|_| file.try_clone().unwrap()).collect()
}

/// Runs in a process of its own, whose reads are counted.
pub fn refused_after_few_reads(path: &Path) {
    let reads = || {
        let text = std::fs::read_to_string("/proc/self/io").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("syscr: ")).unwrap();
        line.parse::<u64>().unwrap()
    };
    let before = reads();
    let by = holder_of(attach(path));
    let count = reads() - before;
    assert!(by.starts_with("process "), "{by}");
    assert!(count < MANY, "{count} reads");
}

/// Runs in a process of its own: a fork in this one would copy the state of the other tests.
pub fn fork_with_a_region(path: &Path) {
    let region = attach(path).unwrap();
    region.grow_to(1 << 20).unwrap();
    region.memory().store(0, 1).unwrap();
    let mut pipe = [0; 2];
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    let child = beside(0, || {
        let refused = matches!(region.ensure_usable(), Err(Error::Forked))
            && matches!(region.memory().load(0), Err(Error::Forked))
            && matches!(region.memory().sync_file(), Err(Error::Forked))
            && matches!(region.grow_to(2 << 20), Err(Error::Forked));
        // SAFETY: one byte of a local.
        unsafe { libc::write(pipe[1], (&raw const refused).cast(), 1) };
        wait_for_death()
    });
    // SAFETY: our own copy of the end that the child writes to: without it, a dead child is an end of file.
    unsafe { libc::close(pipe[1]) };
    let mut refused = 0u8;
    // SAFETY: room for one byte.
    let read = unsafe { libc::read(pipe[0], (&raw mut refused).cast(), 1) };
    assert_eq!((read, refused), (1, 1), "the child could use the region, or died of it");
    std::fs::write(path.with_extension("child"), child.to_string()).unwrap();
    // The region is still open when this process is killed.
    std::mem::forget(region);
}
