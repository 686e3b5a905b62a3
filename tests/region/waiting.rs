//! A region that is in use: which holder is waited for, and for how long.

use crate::child;
use crate::refusal::refuse;
use crate::{attach, attach_with};
use pagestone::Error;
use pagestone::region::RegionOptions;
use pagestone_kit::child::wait_for_death;
use pagestone_kit::fork::beside;
use std::path::Path;
use std::time::{Duration, Instant};

/// Longer than any wait takes that must end by itself.
const LONG: Duration = Duration::from_secs(60);

fn waiting(wait: Duration) -> RegionOptions {
    RegionOptions { wait, ..Default::default() }
}

#[test]
fn an_opening_waits_as_long_as_it_was_told_for_the_owner_to_let_go() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    let mut owner = child::start("owner", &path);
    let start = Instant::now();
    match attach_with(&path, waiting(Duration::from_millis(300))) {
        Err(Error::InUse { by, .. }) => assert!(by.contains(&owner.id().to_string()), "{by}"),
        other => panic!("{other:?}"),
    }
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
    std::thread::scope(|scope| {
        let second = scope.spawn(|| attach_with(&path, waiting(LONG)).map(drop));
        std::thread::sleep(Duration::from_millis(50));
        owner.kill().unwrap();
        second.join().unwrap().unwrap();
    });
    assert!(start.elapsed() < LONG);
}

#[test]
fn an_endless_wait_is_no_mistake() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    let first = attach(&path).unwrap();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| attach_with(&path, waiting(Duration::MAX)).map(drop));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!second.is_finished());
        drop(first);
        pagestone::region::Region::attach(
            pagestone::region::Source::Memory { bytes: 4096 },
            &RegionOptions::default(),
        )
        .unwrap();
        second.join().unwrap().unwrap();
    });
}

#[test]
fn a_short_look_at_the_lock_refuses_no_opening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    attach(&path).unwrap().close();
    let _passes = child::start("looks", &path);
    for start in 0..100 {
        let opened = attach(&path).map(|region| region.close());
        opened.unwrap_or_else(|error| panic!("start {start}: {error}"));
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_owner_that_was_killed_is_waited_for_until_it_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    for _ in 0..5 {
        // It has much memory to unmap, which the kernel does after the signal was sent.
        let owner = child::start("large-owner", &path);
        owner.signal(libc::SIGKILL);
        attach(&path).unwrap_or_else(|error| panic!("{error}")).close();
    }
}

#[test]
fn a_child_that_is_forked_while_an_opening_waits_has_no_part_of_the_claim() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    let mut parent = child::start("forks-while-waiting", &path);
    let orphan = child::forked_by(&path);
    parent.kill().unwrap();
    let outcome = attach(&path).map(drop);
    child::kill_forked(orphan);
    outcome.unwrap();
}

/// Runs in a process of its own: a fork in this one would copy the state of the other tests.
pub fn fork_while_an_opening_waits(path: &Path) {
    let owned = attach(path).unwrap();
    let open = || {
        let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        files.filter(|file| std::fs::read_link(file.path()).is_ok_and(|leads| leads == path)).count()
    };
    let before = open();
    let region = std::thread::scope(|scope| {
        let waits = scope.spawn(|| attach_with(path, waiting(LONG)).unwrap());
        while open() == before {
            std::thread::sleep(Duration::from_millis(1));
        }
        // By now it has opened the file and waits for the lock.
        std::thread::sleep(Duration::from_millis(50));
        let child = beside(0, || wait_for_death());
        std::fs::write(path.with_extension("child"), child.to_string()).unwrap();
        owned.close();
        drop(owned);
        waits.join().unwrap()
    });
    // The region is still open when this process is killed.
    std::mem::forget(region);
}

#[test]
fn a_lock_that_is_forbidden_is_not_called_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    attach(&path).unwrap().close();
    child::start("forbidden", &path);
}

/// Runs in a process of its own, in which no file may be locked.
pub fn without_locks(path: &Path) {
    refuse(libc::SYS_fcntl, Some(libc::F_OFD_SETLK as u32), libc::EACCES);
    let error = attach(path).unwrap_err();
    assert!(
        matches!(&error, Error::Io { source, .. } if source.raw_os_error() == Some(libc::EACCES)),
        "{error}"
    );
    let words = error.to_string();
    assert!(words.contains("forbids") && !words.contains("in use"), "{words}");
}

/// Runs in a process of its own: looks at the lock again and again.
pub fn look_again_and_again(path: &Path) -> ! {
    loop {
        let options = RegionOptions { read_only: true, wait: LONG, ..Default::default() };
        let region = attach_with(path, options).unwrap();
        std::thread::sleep(Duration::from_millis(1));
        region.close();
        drop(region);
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Runs in a process of its own: an owner whose memory takes the kernel a while to unmap.
pub fn own_with_much_memory(path: &Path) -> impl Sized {
    let region = attach(path).unwrap();
    let mut much = vec![0_u8; 1 << 29];
    for page in much.iter_mut().step_by(4096) {
        *page = 1;
    }
    (region, much)
}
