//! What Miri runs: real threads on the frame table and on a store in heap memory, its rules about memory and its weak
//! memory included. `make miri` tries several seeds. Without Miri they are ordinary tests.

use pagestone::frame::{FrameTable, OrphanOutcome, PinOutcome, UnpinOutcome};
use pagestone::store::Store;
use pagestone::units::{PageIndex, Pfn, PfnRange};
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
    thread::scope(|scope| {
        for _ in 0..3 {
            let (table, cell) = (&table, &cell);
            scope.spawn(move || {
                assert!(table.pin(PFN).is_pinned());
                table.latch_exclusive(PFN);
                // SAFETY: under the exclusive latch.
                unsafe { *cell.0.get() += 1 };
                table.release_exclusive(PFN);
                put(table, PFN);
            });
        }
    });
    assert_eq!(cell.0.into_inner(), 3);
}

#[test]
fn an_optimistic_copy_that_validates_is_of_one_piece() {
    let table = FrameTable::with_capacity(256, 1).expect("heap");
    let words = [AtomicU64::new(0), AtomicU64::new(0)];
    assert!(table.pin(PFN).is_pinned());
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..4 {
                table.latch_exclusive(PFN);
                words.iter().for_each(|word| word.store(n, Ordering::Relaxed));
                table.release_exclusive(PFN);
            }
        });
        for _ in 0..6 {
            let before = table.version(PFN);
            let copy = [words[0].load(Ordering::Relaxed), words[1].load(Ordering::Relaxed)];
            assert!(!table.validate(PFN, before) || copy[0] == copy[1], "torn");
        }
    });
    put(&table, PFN);
}

#[test]
fn an_orphan_is_freed_once() {
    let table = FrameTable::with_capacity(256, 1).expect("heap");
    assert!(table.pin(PFN).is_pinned());
    table.mark_dirty(PFN, 1);
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
    store.close().map_err(|(_, error)| error).expect("nothing is open");
}
