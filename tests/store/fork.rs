//! Forks amid everything that other threads do. Alone in its process, because it forks.

use pagestone::Error;
use pagestone::store::{Object, Store};
use pagestone::units::PageIndex;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Forks in which the state of the parent's threads is copied as it happens to be.
const FORKS: u64 = 200;
/// A child that takes longer waits for a thread that it lacks, even on a busy machine.
const HANGS: u32 = 60;

/// Opens, changes, lists and closes stores, so that every process-wide lock is taken often.
fn churn(folder: &Path, stop: &AtomicBool) {
    let path = folder.join("churn");
    let mut rounds = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let store = Store::options().create(true).open(&path).unwrap();
        let object = store.open_or_create("a").unwrap();
        object.write_at(rounds % 100_000, b"some bytes").unwrap();
        let page = object.pin_mut(PageIndex(0)).unwrap();
        // Every other time the region outlives its store, and a later opening lets it go.
        if rounds % 2 == 0 {
            drop((object, store, page));
        } else {
            drop((object, store));
            drop(page);
        }
        rounds += 1;
    }
}

/// Works on a store that stays open while the process forks.
fn work(store: &Store, object: &Object, stop: &AtomicBool, done: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        let round = done.fetch_add(1, Ordering::Relaxed);
        object.write_at(round % 50 * 4096, &[7; 5000]).unwrap();
        object.set_len(round % 40 * 4096 + 1).unwrap();
        let other = store.open_or_create(format!("other {}", round % 3)).unwrap();
        other.append(&[1; 100]).unwrap();
        drop(other);
        store.unlink(format!("other {}", round % 3)).ok();
        let _ = pagestone::page::frames_at(object.pin_mut(PageIndex(0)).unwrap().address(), 1);
    }
}

/// What a child does; the number of the step that went wrong, or 0.
fn child(store: Store, object: Object, path: &Path) -> i32 {
    // SAFETY: `alarm` ends this process by a signal when it takes too long.
    unsafe { libc::alarm(HANGS) };
    let forked = [
        object.pin(PageIndex(0)).err(),
        object.write_at(0, b"x").err(),
        object.read_at(0, &mut [0; 8]).err(),
        object.set_len(3).err(),
        object.sync().err(),
        store.create("b").err(),
        store.exists("b").err(),
        store.list().err(),
        store.unlink("a").err(),
        store.sync().err(),
        store.check().err(),
    ];
    if let Some(step) = forked.iter().position(|error| !matches!(error, Some(Error::Forked))) {
        return 10 + step as i32;
    }
    drop((object, store));
    let own = || -> pagestone::Result<bool> {
        let store = Store::options().create(true).open(path)?;
        let object = store.open_or_create("own")?;
        object.write_at(0, b"the child's own")?;
        let pages = pagestone::page::frames_at(object.pin_mut(PageIndex(0))?.address(), 1)?;
        let found = pages.len() == 1;
        drop((pages, object));
        store.close().map_err(|(_, error)| error)?;
        Ok(found)
    };
    if matches!(own(), Ok(true)) { 0 } else { 1 }
}

#[test]
fn a_child_forked_at_any_moment_never_hangs_and_opens_regions_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::options().create(true).open(folder.path().join("parent")).unwrap();
    let object = store.create("a").unwrap();
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let churned = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for n in 0..2 {
            let folder = churned.path().join(n.to_string());
            std::fs::create_dir(&folder).unwrap();
            let stop = &stop;
            scope.spawn(move || churn(&folder, stop));
        }
        scope.spawn(|| work(&store, &object, &stop, &done));
        let mut failures = Vec::new();
        for n in 0..FORKS {
            let own = folder.path().join("child");
            let (store, object) = (store.clone(), object.clone());
            // SAFETY: the library promises that its calls are safe in a child; the child leaves by `_exit`.
            match unsafe { libc::fork() } {
                0 => {
                    let code = child(store, object, &own);
                    // SAFETY: ends the child without running the parent's exit handlers.
                    unsafe { libc::_exit(code) };
                }
                pid => {
                    let mut status = 0;
                    // SAFETY: `pid` is our child and `status` is ours.
                    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
                    if status != 0 {
                        failures.push((n, libc::WTERMSIG(status), libc::WEXITSTATUS(status)));
                    }
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(failures.is_empty(), "of {FORKS} children (number, signal, step): {failures:?}");
    });
    assert!(done.load(Ordering::Relaxed) > 0);
    assert!(object.len() < u64::MAX, "the parent goes on");
}
