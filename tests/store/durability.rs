//! What a sync costs, and what its failure means.

use crate::{PAGE, filled, memory, pin};
use pagestone::Error;
use pagestone::media::layout::LEASE_OFFSET;
use pagestone::persist::{FileOperation, Recorder};
use pagestone::store::Store;
use pagestone::units::{Durability, PageIndex};

/// The cost of `f`: lines flushed, fences, file syncs, write-throughs.
fn cost(store: &Store, f: impl FnOnce()) -> (u64, u64, u64, u64) {
    let before = store.stats();
    f();
    let after = store.stats();
    (
        after.lines_flushed - before.lines_flushed,
        after.fences - before.fences,
        after.file_syncs - before.file_syncs,
        after.write_throughs - before.write_throughs,
    )
}

#[test]
fn a_sync_with_nothing_to_do_touches_nothing() {
    for class in [Durability::CacheLine, Durability::Fdatasync, Durability::Volatile] {
        let store = memory(class);
        let object = filled(&store, "a", 20);
        object.sync().unwrap();
        assert_eq!(cost(&store, || object.sync().unwrap()), (0, 0, 0, 0), "{class}");
        assert_eq!(cost(&store, || store.sync().unwrap()), (0, 0, 0, 0), "{class}");
    }
}

#[test]
fn a_sync_flushes_the_dirty_lines_and_no_more() {
    let store = memory(Durability::CacheLine);
    let object = filled(&store, "a", 20);
    object.sync().unwrap();
    let page = pin(&object, 3);
    page.write_range(60..70).unwrap().fill(9);
    page.write_range(640..641).unwrap().fill(9);
    object.write_at(7 * PAGE + 100, b"few bytes").unwrap();
    assert!(page.info().dirty);
    assert_eq!(cost(&store, || object.sync().unwrap()), (4, 1, 0, 0));
    assert!(!page.info().dirty);
}

#[test]
fn a_whole_page_needs_no_flush() {
    let store = memory(Durability::CacheLine);
    let object = filled(&store, "a", 4);
    object.sync().unwrap();
    object.write_at(PAGE, &[7; PAGE as usize]).unwrap();
    assert_eq!(cost(&store, || object.sync().unwrap()), (0, 0, 0, 0));
}

#[test]
fn an_fdatasync_store_syncs_its_file_once_for_data() {
    let store = memory(Durability::Fdatasync);
    let object = filled(&store, "a", 20);
    object.sync().unwrap();
    object.write_at(3 * PAGE, &[9; 3 * PAGE as usize]).unwrap();
    assert_eq!(cost(&store, || object.sync().unwrap()), (0, 0, 1, 0), "in place: no record");
    object.append(&[1; PAGE as usize]).unwrap();
    let (_, _, files, writes) = cost(&store, || object.sync().unwrap());
    assert_eq!((files, writes), (1, 1), "published data, then the records");
    object.set_len(3).unwrap();
    let (_, _, files, writes) = cost(&store, || object.sync().unwrap());
    assert_eq!((files, writes), (0, 1), "records alone are one write");
}

#[test]
fn dirt_through_a_raw_pin_is_flushed_by_the_sync_of_its_owner_alone() {
    let store = memory(Durability::CacheLine);
    let object = filled(&store, "a", 2);
    let other = filled(&store, "b", 2);
    store.sync().unwrap();
    let by_pfn = store.frames(pagestone::units::PfnRange::new(pin(&object, 1).pfn(), 1)).unwrap();
    by_pfn[0].write_range(0..1).unwrap().fill(1);
    assert_eq!(cost(&store, || other.sync().unwrap()).0, 0, "its owner is known");
    assert_eq!(cost(&store, || object.sync().unwrap()).0, 1);
}

#[test]
fn a_range_syncs_its_pages_and_leaves_the_others_dirty() {
    let store = memory(Durability::CacheLine);
    let object = filled(&store, "a", 9);
    object.sync().unwrap();
    for page in [1, 4, 8] {
        object.write_at(page * PAGE, b"x").unwrap();
    }
    assert_eq!(cost(&store, || object.sync_range(4 * PAGE, 1).unwrap()).0, 1);
    assert!(!pin(&object, 4).info().dirty);
    assert!(pin(&object, 1).info().dirty && pin(&object, 8).info().dirty);
    assert_eq!(cost(&store, || object.sync().unwrap()).0, 2);
}

/// If the range has fewer pages than are dirty, the sync looks at each page of the range. Otherwise it looks at the dirty
/// ones.
#[test]
fn a_range_of_any_length_syncs_all_of_its_dirt() {
    let store = memory(Durability::CacheLine);
    let object = filled(&store, "a", 40);
    for pages in [1, 2, 9, 10, 11, 39, 40] {
        object.sync().unwrap();
        (0..40).step_by(4).for_each(|page| object.write_at(page * PAGE, b"x").unwrap());
        let dirty =
            |from: u64| (from..from + pages).filter(|page| page % 4 == 0 && *page < 40).count() as u64;
        for from in [0, 3, 8] {
            let flushed = cost(&store, || object.sync_range(from * PAGE, pages * PAGE).unwrap()).0;
            assert_eq!(flushed, dirty(from), "{pages} pages from {from}");
            (0..40).step_by(4).for_each(|page| object.write_at(page * PAGE, b"x").unwrap());
        }
        assert_eq!(cost(&store, || object.sync_range(0, u64::MAX).unwrap()).0, 10);
    }
}

#[test]
fn a_failed_sync_is_final() {
    let recorder = Recorder::new();
    let options = Store::options().assume(Durability::Fdatasync).recorder(recorder.clone());
    let store = options.open_memory(1 << 20).unwrap();
    let object = filled(&store, "a", 2);
    object.sync().unwrap();
    object.write_at(0, b"lost?").unwrap();
    recorder.fail_next(FileOperation::Sync, 0);
    assert!(object.sync().is_err());
    assert!(store.poisoned().is_some());
    assert!(matches!(object.sync(), Err(Error::Poisoned { .. })));
    assert!(matches!(object.write_at(0, b"more"), Err(Error::Poisoned { .. })));
    let mut bytes = [0; 5];
    let page = object.pin(PageIndex(0));
    if let Ok(Some(page)) = page {
        bytes.copy_from_slice(&page.read().unwrap()[..5]);
        assert_eq!(&bytes, b"lost?");
    }
    drop(object);
    let store = store.close().unwrap_err().store;
    drop(store);
}

#[test]
fn dirt_of_pages_that_were_cut_off_costs_no_sync() {
    let store = memory(Durability::CacheLine);
    let object = filled(&store, "a", 8);
    object.sync().unwrap();
    for page in 0..8 {
        object.write_at(page * PAGE, b"dirty").unwrap();
    }
    object.set_len(2 * PAGE).unwrap();
    let other = store.create("b").unwrap();
    other.sync().unwrap();
    assert!(pin(&object, 0).info().dirty, "another object's sync commits the records and leaves this dirt");
    assert_eq!(cost(&store, || object.sync().unwrap()), (2, 1, 0, 0), "two of the eight pages are left");
}

#[test]
fn a_failed_sync_is_told_to_the_next_opening() {
    let recorder = Recorder::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r.pgs");
    let options = Store::options().create(true).assume(Durability::Fdatasync).recorder(recorder.clone());
    let store = options.open(&path).unwrap();
    let object = filled(&store, "a", 2);
    object.sync().unwrap();
    object.write_at(0, b"lost?").unwrap();
    recorder.fail_next(FileOperation::Sync, 0);
    assert!(object.sync().is_err());
    // The state in the lease: 3 is "failed".
    assert_eq!(std::fs::read(&path).unwrap()[LEASE_OFFSET as usize + 8], 3);
}

#[test]
fn the_first_sync_of_an_opening_covers_what_a_dead_process_stored_in_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r.pgs");
    let options = Store::options().create(true).assume(Durability::Fdatasync);
    let store = options.open(&path).unwrap();
    filled(&store, "a", 2).sync().unwrap();
    store.close().unwrap();
    // Stores in place are not in the log: those of a dead process are known only to the page cache.
    let store = options.open(&path).unwrap();
    let object = store.open("a").unwrap();
    assert_eq!(cost(&store, || object.sync().unwrap()).2, 1);
    assert_eq!(cost(&store, || object.sync().unwrap()).2, 0);
}
