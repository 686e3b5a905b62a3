//! Tests for Miri: real threads on the frame table and on a store in heap memory, under Miri's rules about memory and
//! with its weak memory. `make miri` tries several seeds. Without Miri they are ordinary tests.

use pagestone::frame::{FrameTable, OrphanOutcome, PinOutcome, UnpinOutcome};
use pagestone::store::{Object, Store};
use pagestone::units::{Durability, Lines, PageIndex, Pfn, PfnRange};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

const PFN: Pfn = Pfn::new(7);

fn put(table: &FrameTable, pfn: Pfn) {
    assert_eq!(table.unpin(pfn), UnpinOutcome::Kept);
}

#[test]
fn pins_beside_reclaim_are_all_counted() {
    let table = FrameTable::with_capacity(512, 1).expect("heap");
    thread::scope(|scope| {
        for at in [7, 8, 300] {
            let table = &table;
            scope.spawn(move || {
                for _ in 0..3 {
                    assert!(table.pin(Pfn::new(at)).is_pinned());
                    put(table, Pfn::new(at));
                }
            });
        }
        table.reclaim(2);
    });
    table.reclaim(2);
    assert_eq!(table.stats().populated_chunks, 0);
}

#[test]
fn latches_order_plain_accesses() {
    let table = FrameTable::with_capacity(256, 1).expect("heap");
    let cell = Cell(std::cell::UnsafeCell::new(0));
    struct Cell(std::cell::UnsafeCell<u64>);
    // SAFETY: accessed under the frame's latch; Miri reports it otherwise.
    unsafe impl Sync for Cell {}
    // Pinned once for all threads: a pin and an unpin in each thread would order their accesses too.
    assert!(table.pin(PFN).is_pinned());
    thread::scope(|scope| {
        for _ in 0..3 {
            let (table, cell) = (&table, &cell);
            scope.spawn(move || {
                for _ in 0..2 {
                    table.pinned(PFN).latch_exclusive();
                    // SAFETY: under the exclusive latch.
                    unsafe { *cell.0.get() += 1 };
                    table.pinned(PFN).release_exclusive();
                }
            });
        }
    });
    put(&table, PFN);
    assert_eq!(cell.0.into_inner(), 6);
}

#[test]
fn an_optimistic_copy_that_validates_is_of_one_piece() {
    let table = FrameTable::with_capacity(256, 1).expect("heap");
    let words = [AtomicU64::new(0), AtomicU64::new(0)];
    assert!(table.pin(PFN).is_pinned());
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..4 {
                table.pinned(PFN).latch_exclusive();
                words.iter().for_each(|word| word.store(n, Ordering::Relaxed));
                table.pinned(PFN).release_exclusive();
            }
        });
        for _ in 0..6 {
            let before = table.pinned(PFN).version();
            let copy = [words[0].load(Ordering::Relaxed), words[1].load(Ordering::Relaxed)];
            assert!(!table.pinned(PFN).validate(before) || copy[0] == copy[1], "torn");
        }
    });
    put(&table, PFN);
}

#[test]
fn an_orphan_is_freed_once() {
    let table = FrameTable::with_capacity(256, 1).expect("heap");
    assert!(table.pin(PFN).is_pinned());
    table.pinned(PFN).mark_dirty(Lines::new(1));
    let freed = AtomicU64::new(0);
    let free = || freed.fetch_add(1, Ordering::Relaxed);
    thread::scope(|scope| {
        scope.spawn(|| match table.pin(PFN) {
            PinOutcome::Pinned => {
                if table.unpin(PFN) == UnpinOutcome::LastOfOrphan {
                    free();
                }
            }
            PinOutcome::OrphanClaimed => drop(free()),
            PinOutcome::Orphan => {}
            other => panic!("{other:?}"),
        });
        scope.spawn(|| table.take_dirty(PFN));
        assert_eq!(table.orphan(PFN), OrphanOutcome::Busy);
        if table.unpin(PFN) == UnpinOutcome::LastOfOrphan {
            free();
        }
    });
    assert_eq!(freed.load(Ordering::Relaxed), 1);
    table.retire_orphan(PFN);
    assert_eq!(table.retire_range(PfnRange::new(PFN, 1)), Ok(()));
}

#[test]
fn a_store_in_memory_is_read_and_written_by_threads() {
    let store = Store::options().log_frames(4).open_memory(256 << 10).expect("heap");
    let object = store.create("object").expect("a name");
    thread::scope(|scope| {
        for value in [1, 2] {
            let object = &object;
            scope.spawn(move || {
                object.write_at(4000, &[value; 200]).expect("room");
                object.append(&[value; 100]).expect("room");
                let page = object.pin(PageIndex(0)).expect("readable").expect("written");
                let bytes = page.read().expect("readable");
                assert!(bytes[4000..].iter().all(|byte| *byte == bytes[4000]), "of one write");
            });
        }
    });
    object.set_len(10).expect("shorter");
    assert_eq!(object.read_at(0, &mut [0; 100]).expect("readable"), 10);
    store.unlink("object").expect("its name");
    drop(object);
    store.close().expect("nothing is open");
}

/// A byte of a page, whose bytes a reader must always see all equal.
fn of_one_value(object: &Object) -> u8 {
    let page = object.pin(PageIndex(0)).expect("readable").expect("written");
    let bytes = page.read().expect("readable");
    assert!(bytes.iter().all(|byte| *byte == bytes[0]), "of one batch");
    bytes[0]
}

#[test]
fn batches_in_opposite_orders_beside_a_reader_and_a_sync() {
    let options = Store::options().log_frames(4).assume(Durability::CacheLine);
    let store = options.open_memory(512 << 10).expect("heap");
    let (a, b) = (store.create("a").expect("a name"), store.create("b").expect("a name"));
    [&a, &b].iter().for_each(|object| object.write_at(0, &[0; 4096]).expect("room"));
    thread::scope(|scope| {
        for (value, objects) in [(1, [&a, &b]), (2, [&b, &a])] {
            let store = &store;
            scope.spawn(move || {
                let mut batch = store.batch();
                // Two pages of lines are more than a record takes: it names a payload.
                for object in objects {
                    batch.write_at(object, 0, &[value; 4096]).expect("staged");
                }
                batch.commit().expect("room");
                let mut batch = store.batch();
                batch.write_at(objects[0], 5000 + u64::from(value) * 100, &[value; 90]).expect("staged");
                batch.commit().expect("room");
            });
        }
        of_one_value(&a);
        store.sync().expect("memory");
        of_one_value(&b);
    });
    assert_eq!(of_one_value(&a), of_one_value(&b), "both batches had both objects");
    drop((a, b));
    assert!(store.check().expect("readable").is_clean());
    store.close().expect("nothing is open");
}
