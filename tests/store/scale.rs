//! A store in a huge region opens as fast as one in a small region, and takes no more memory. A scan takes no memory
//! either.

use crate::{PAGE, check, content, filled};
use pagestone::store::Store;
use pagestone::units::{Durability, FRAME_SIZE, PageIndex};
use pagestone_kit::disk::bytes_on_disk;
use pagestone_kit::skip::skipped;
use pagestone_kit::{child, memory};
use std::fs::OpenOptions;
use std::path::Path;
use std::time::{Duration, Instant};

const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
/// One frame less than the largest region.
const LARGEST: u64 = 16 * TIB - FRAME_SIZE as u64;

/// The middle one of five openings.
fn median(open: impl Fn() -> Store) -> Duration {
    let mut took: Vec<_> = (0..5)
        .map(|_| {
            let start = Instant::now();
            let store = open();
            let took = start.elapsed();
            drop(store);
            took
        })
        .collect();
    took.sort();
    took[2]
}

/// Resident bytes that `open` adds to this process.
fn resident(open: impl Fn() -> Store) -> u64 {
    let before = memory::resident();
    let store = open();
    let after = memory::resident();
    drop(store);
    after.saturating_sub(before)
}

/// Private memory of this process. A copied page would be in it.
fn private_bytes() -> u64 {
    memory::status("RssAnon")
}

/// Reads every page of an object where it lies; each pin is an address inside the region.
fn assert_scan_copies_nothing(store: &Store, pages: u64) {
    let object = store.create("scanned").unwrap();
    for index in 0..pages {
        object.write_at(index * PAGE, &[(index % 251) as u8; FRAME_SIZE]).unwrap();
    }
    let base = object.pin(PageIndex(0)).unwrap().unwrap().address();
    let before = private_bytes();
    for index in 0..pages {
        let page = object.pin(PageIndex(index)).unwrap().unwrap();
        assert!(page.address().addr().abs_diff(base.addr()) < GIB as usize);
        assert_eq!(page.read().unwrap()[0], (index % 251) as u8);
    }
    let grown = private_bytes().saturating_sub(before);
    println!("scan of {} bytes: {grown} bytes of private memory", pages * PAGE);
    assert!(grown < 1 << 20, "{grown} bytes");
}

fn assert_flat(what: &str, small: impl Fn() -> Store, large: impl Fn() -> Store) {
    // The first opening of a process costs more, which is not the store's cost.
    drop((small(), large()));
    let (quick, slow) = (median(&small), median(&large));
    let (little, much) = (resident(&small), resident(&large));
    println!("{what}: {quick:?} and {little} bytes small, {slow:?} and {much} bytes large");
    assert!(slow <= 2 * quick + Duration::from_millis(1), "{what}: {slow:?}, small {quick:?}");
    assert!(much < little + (1 << 20), "{what}: {much} bytes resident, small {little}");
}

/// Makes a store with one object in a file that is then extended to `len`; false if the file system cannot.
fn extended(path: &Path, len: u64) -> bool {
    let store = Store::options().create(true).open(path).unwrap();
    filled(&store, "a", 10);
    store.close().unwrap();
    match OpenOptions::new().write(true).open(path).unwrap().set_len(len) {
        Ok(()) => true,
        Err(error) => {
            skipped(&format!("a file of {len} bytes"), &format!("this file system has none ({error})"));
            false
        }
    }
}

#[test]
fn a_file_grown_behind_our_back_to_fifteen_tebibytes_is_the_store_it_was() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("s");
    if !extended(&path, 15 * TIB) {
        return;
    }
    for opening in 0..2 {
        let store = Store::options().open(&path).unwrap();
        let object = store.open("a").unwrap();
        assert_eq!(object.len(), 10 * PAGE);
        assert!((0..10).all(|page| content(&object)[page * PAGE as usize] == page as u8 + 1));
        let more = filled(&store, &format!("b{opening}"), 200);
        store.sync().unwrap();
        assert!(content(&more)[199 * PAGE as usize..].iter().all(|&byte| byte == 200));
        check(&store);
        drop((object, more));
        store.close().unwrap();
    }
    assert_eq!(path.metadata().unwrap().len(), 15 * TIB);
    assert!(bytes_on_disk(&path) < GIB, "{} bytes", bytes_on_disk(&path));
}

#[test]
fn a_huge_store_opens_as_fast_as_a_small_one_and_takes_no_memory() {
    // In a process of its own, because it measures the process's memory, and other tests would disturb it.
    let this = "scale::a_process_that_measures";
    assert!(child::again_as(this, "measure", Path::new("")).status().unwrap().success());
}

#[test]
fn a_process_that_measures() {
    if child::role().is_none() {
        return;
    }
    let memory = |bytes| Store::options().open_memory(bytes).unwrap();
    assert_flat("memory", || memory(GIB), || memory(LARGEST));
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (small, large) = (folder.path().join("small"), folder.path().join("large"));
    if extended(&small, GIB) && extended(&large, 15 * TIB) {
        let file = |path: &Path| Store::options().open(path).unwrap();
        assert_flat("sparse file", || file(&small), || file(&large));
    }
}

#[test]
fn a_scan_copies_no_page() {
    // In a process of its own, as above.
    let this = "scale::a_process_that_scans";
    assert!(child::again_as(this, "scan", Path::new("")).status().unwrap().success());
}

#[test]
fn a_process_that_scans() {
    if child::role().is_some() {
        assert_scan_copies_nothing(&Store::options().open_memory(GIB).unwrap(), 1 << 14);
    }
}

#[test]
fn a_commit_takes_the_same_time_however_long_ago_the_tail_of_the_log_moved() {
    const COMMITS: u64 = 20_000;
    let store = Store::options().log_frames(16_384).open_memory(80 << 20).unwrap();
    let object = store.create("object").unwrap();
    object.append(&[1; 4096]).unwrap();
    let moves = store.stats().log_tail_moves;
    let commit = |n: u64| {
        let start = Instant::now();
        let mut batch = store.batch();
        batch.write_at(&object, 0, &n.to_le_bytes()).unwrap();
        batch.commit().unwrap();
        start.elapsed()
    };
    let took: Vec<_> = (1..=COMMITS).map(commit).collect();
    assert_eq!(store.stats().log_tail_moves, moves, "the records live still");
    let median = |took: &[Duration]| {
        let mut took = took.to_vec();
        took.sort_unstable();
        took[took.len() / 2]
    };
    let (early, late) = (median(&took[..400]), median(&took[took.len() - 400..]));
    println!("a commit took {early:?}, and {late:?} after {COMMITS} of them");
    assert!(late < 5 * early, "{late:?} and {early:?}");
}

/// A sync of one page does not look at the other dirty pages of the object.
#[test]
fn a_sync_of_few_pages_takes_the_same_time_however_many_others_are_dirty() {
    const OTHERS: u64 = 20_000;
    let store = crate::memory(Durability::CacheLine);
    let object = store.create("a").unwrap();
    (0..=OTHERS / 200).for_each(|_| assert!(object.append(&[1; 200 * PAGE as usize]).is_ok()));
    object.sync().unwrap();
    let median = || {
        let mut took: Vec<Duration> = (0..99)
            .map(|_| {
                object.write_at(0, b"x").unwrap();
                let start = Instant::now();
                object.sync_range(0, 1).unwrap();
                start.elapsed()
            })
            .collect();
        took.sort();
        took[49]
    };
    let alone = median();
    (1..=OTHERS).for_each(|page| object.write_at(page * PAGE, b"x").unwrap());
    let beside = median();
    println!("a sync of a page: {alone:?} alone, {beside:?} beside {OTHERS} dirty pages of its object");
    assert!(beside <= 5 * alone + Duration::from_micros(5), "{beside:?}, alone {alone:?}");
    assert!(object.pin(PageIndex(OTHERS)).unwrap().unwrap().info().dirty);
}
