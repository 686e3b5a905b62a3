//! The last pin of a store that has gone releases what the store kept.

use crate::{PAGE, filled, pin, shown};
use pagestone::Error;
use pagestone::page::{PageRef, WriteGuard};
use pagestone::store::{CloseError, Store};
use pagestone::units::PageIndex;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Whether the file is locked. No function of the library is called for that, because it might let regions go by the way.
fn is_claimed(path: &Path) -> bool {
    let file = File::options().read(true).write(true).open(path).unwrap();
    // SAFETY: all-zero bytes are a `flock`.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    // SAFETY: an open descriptor and an initialized `flock`.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) }, 0);
    lock.l_type != libc::F_UNLCK as libc::c_short
}

/// Whether a part of the file is mapped.
fn is_mapped(path: &Path) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().any(|line| line.ends_with(path.to_str().unwrap()))
}

/// Whether the region is let go soon. A put leaves that to another thread which is already letting regions go, and in
/// this process other tests open and close stores.
fn is_let_go(path: &Path) -> bool {
    let end = Instant::now() + Duration::from_secs(20);
    while is_claimed(path) || is_mapped(path) {
        if Instant::now() > end {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

fn open(path: &Path) -> Store {
    Store::options().create(true).open(path).unwrap()
}

#[test]
fn the_last_pin_of_a_store_that_is_gone_ends_the_claim() {
    let folder = tempfile::tempdir().unwrap();
    for (round, pages) in [1, 3, 200].into_iter().enumerate() {
        let path = folder.path().join(round.to_string());
        let store = open(&path);
        let object = filled(&store, "a", pages);
        let mut pins: Vec<PageRef> = (0..pages).map(|page| pin(&object, page)).collect();
        pins.push(pins[0].try_clone().unwrap());
        drop((object, store));
        // Pins are dropped in three orders: from the front, from the back, and from both ends in turns.
        for n in 0.. {
            assert!(is_claimed(&path) && is_mapped(&path), "{} of {pages} pages are pinned", pins.len());
            drop(if n % 3 == 0 { pins.remove(0) } else { pins.pop().unwrap() });
            if pins.is_empty() {
                break;
            }
        }
        assert!(is_let_go(&path), "the last put lets the region go");
        assert_eq!(open(&path).open("a").unwrap().len(), pages * PAGE);
    }
}

#[test]
fn the_last_pin_of_a_page_that_was_cut_off_ends_the_claim_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = open(&path);
    let object = filled(&store, "a", 3);
    let (cut, kept) = (pin(&object, 2), pin(&object, 0));
    object.set_len(PAGE).unwrap();
    drop((object, store));
    drop(kept);
    assert!(is_claimed(&path));
    assert_eq!(shown(&cut), [3; PAGE as usize]);
    drop(cut);
    assert!(is_let_go(&path));
    open(&path).close().unwrap();
}

#[test]
fn what_was_stored_through_a_pin_that_outlived_its_store_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = open(&path);
    let object = filled(&store, "a", 2);
    let page = pin(&object, 1);
    drop((object, store));
    page.write_range(0..4).unwrap().copy_from_slice(b"late");
    drop(page);
    assert!(is_let_go(&path));
    let mut bytes = [0; 5];
    open(&path).open("a").unwrap().read_at(PAGE, &mut bytes).unwrap();
    assert_eq!(&bytes, b"late\x02");
}

#[test]
fn pins_dropped_by_many_threads_at_once_end_the_claim() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..50 {
        let path = folder.path().join(round.to_string());
        let store = open(&path);
        let object = filled(&store, "a", 8);
        let pins: Vec<_> = (0..8).map(|page| (pin(&object, page), pin(&object, page / 2))).collect();
        std::thread::scope(|scope| {
            pins.into_iter().for_each(|pins| drop(scope.spawn(move || drop(pins))));
            drop((object, store));
        });
        assert!(is_let_go(&path), "round {round}");
    }
}

/// When a put looks whether it was the last, the pages and the region of its pin may have gone: another put was the last,
/// and another store was opened and closed meanwhile. Under a sanitizer threads hesitate there (`--cfg
/// pagestone_hesitate`).
#[test]
fn a_put_touches_nothing_that_another_put_may_free() {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    drop(crate::store());
                }
            });
        }
        for round in 0..300_u64 {
            let store = crate::store();
            let object = filled(&store, "a", 2);
            let pins: Vec<_> = (0..4).map(|n| pin(&object, n % 2)).collect();
            match round % 3 {
                0 => object.set_len(0).unwrap(),
                1 => object.set_len(PAGE).unwrap(),
                _ => {}
            }
            std::thread::scope(|scope| {
                pins.into_iter().for_each(|pin| drop(scope.spawn(move || drop(pin))));
                drop((object, store));
            });
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_store_with_a_forgotten_latch_is_not_closed_and_says_which() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = open(&path);
    let object = filled(&store, "a", 2);
    let page = pin(&object, 1);
    std::mem::forget(page.write().unwrap());
    let pfn = page.pfn();
    drop((page, object));
    let CloseError { store, error } = store.close().unwrap_err();
    let named = |why: &str| why.contains(&format!("frame {pfn}")) && why.contains("page 1 of object");
    assert!(
        matches!(&error, Error::Busy { why, .. } if named(why) && why.contains("latched exclusively")),
        "{error}"
    );
    // As the error says: when the page is pinned again, the latch can be given back.
    let object = store.open("a").unwrap();
    let page = pin(&object, 1);
    // SAFETY: the latch that was forgotten, given back once.
    unsafe { page.release_write(0..0) }.unwrap();
    drop((page, object));
    store.close().unwrap();
    assert!(is_let_go(&path));
}

#[test]
fn a_forgotten_latch_of_a_page_that_was_cut_off_keeps_no_dropped_store_claimed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    for how in ["latched for reading", "latched exclusively"] {
        for cut_first in [false, true] {
            let store = open(&path);
            let object = store.open_or_create("a").unwrap();
            let page = object.pin_mut(PageIndex(0)).unwrap();
            match how {
                "latched for reading" => std::mem::forget(page.read().unwrap()),
                _ => std::mem::forget(page.write().unwrap()),
            }
            let pfn = page.pfn();
            if cut_first {
                object.set_len(0).unwrap();
                drop(page);
            } else {
                drop(page);
                object.set_len(0).unwrap();
            }
            drop(object);
            let CloseError { store, error } = store.close().unwrap_err();
            let named = |why: &str| why.contains(&format!("frame {pfn} is {how}")) && why.contains("cut off");
            assert!(matches!(&error, Error::Busy { why, .. } if named(why)), "{error}");
            assert_eq!(store.stats().pinned_pages, 0);
            drop(store);
            assert!(is_let_go(&path), "{how}, cut first: {cut_first}");
        }
    }
    let store = open(&path);
    store.create("what is owed is done first").unwrap();
    let report = store.check().unwrap();
    assert!(report.is_clean() && report.counts.busy == 0, "{report:?}");
}

#[test]
fn a_forgotten_latch_does_not_keep_a_dropped_store_claimed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    for latch in [
        |page: &PageRef| page.read().unwrap().into_raw(),
        |page: &PageRef| page.write().map(WriteGuard::into_raw).unwrap(),
    ] {
        let store = open(&path);
        let object = store.open_or_create("a").unwrap();
        let page = object.pin_mut(PageIndex(0)).unwrap();
        latch(&page);
        drop((page, object, store));
        assert!(is_let_go(&path));
    }
}
