//! Tests for Miri: real threads on the frame table and on a store in heap memory ([`stores`]), under Miri's rules about
//! memory and with its weak memory. `make miri` tries several seeds. Without Miri they are ordinary tests.

mod stores;

use pagestone::frame::{FrameTable, OrphanOutcome, PinOutcome, UnpinOutcome};
use pagestone::units::{Lines, Pfn, PfnRange};
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
