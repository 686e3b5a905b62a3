//! Latches, versions, and waits for latches.

use super::{PFN, explore, must_pin, put, table};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use pagestone::frame::before_stores_under_latches_of_another;
use pagestone::frame::{FrameTable, Manner, OrphanOutcome, PinOutcome, SHARED_MAX, UnpinOutcome};
use std::sync::Arc;

/// A page's bytes. Loom watches the accesses to them.
struct Bytes(UnsafeCell<u64>);

// SAFETY: loom reports every access that the latch does not order.
unsafe impl Sync for Bytes {}
// SAFETY: as for Sync.
unsafe impl Send for Bytes {}

fn write_once(table: &FrameTable, bytes: &Bytes) {
    must_pin(table, PFN);
    table.pinned(PFN).latch_exclusive();
    // SAFETY: under the exclusive latch.
    bytes.0.with_mut(|value| unsafe { *value += 1 });
    table.pinned(PFN).release_exclusive();
    put(table, PFN);
}

fn read_once(table: &FrameTable, bytes: &Bytes) -> u64 {
    must_pin(table, PFN);
    table.pinned(PFN).latch_shared(Manner::GivesWay);
    // SAFETY: under the shared latch.
    let value = bytes.0.with(|value| unsafe { *value });
    table.pinned(PFN).release_shared();
    put(table, PFN);
    value
}

fn latch_model(preemptions: usize, visitors: &'static [fn(&FrameTable, &Bytes)]) {
    explore(preemptions, move || {
        let table = table(1);
        must_pin(&table, PFN);
        let bytes = Arc::new(Bytes(UnsafeCell::new(0)));
        let threads: Vec<_> = visitors
            .iter()
            .map(|visit| {
                let (table, bytes) = (table.clone(), bytes.clone());
                thread::spawn(move || visit(&table, &bytes))
            })
            .collect();
        write_once(&table, &bytes);
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        let writes = 1 + visitors.iter().filter(|visit| std::ptr::fn_addr_eq(**visit, WRITER)).count() as u64;
        assert_eq!(read_once(&table, &bytes), writes);
        put(&table, PFN);
    });
}

const WRITER: fn(&FrameTable, &Bytes) = write_once;
const READER: fn(&FrameTable, &Bytes) = |table, bytes| {
    read_once(table, bytes);
};

#[test]
fn two_writers_hand_the_latch_over() {
    latch_model(5, &[WRITER]);
}

#[test]
fn a_writer_and_a_reader_hand_the_latch_over() {
    latch_model(5, &[READER]);
}

#[test]
fn three_writers_all_get_their_turn() {
    latch_model(2, &[WRITER, WRITER]);
}

#[test]
fn two_writers_and_a_reader_all_get_their_turn() {
    latch_model(2, &[WRITER, READER]);
}

#[test]
fn an_optimistic_copy_that_validates_is_of_one_piece() {
    explore(5, || {
        let table = table(1);
        must_pin(&table, PFN);
        must_pin(&table, PFN);
        let words = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let writer = thread::spawn({
            let (table, words) = (table.clone(), words.clone());
            move || {
                table.pinned(PFN).latch_exclusive();
                words.iter().for_each(|word| word.store(1, Ordering::Relaxed));
                table.pinned(PFN).release_exclusive();
                put(&table, PFN);
            }
        });
        let before = table.pinned(PFN).version();
        let copy = [words[0].load(Ordering::Relaxed), words[1].load(Ordering::Relaxed)];
        if table.pinned(PFN).validate(before) {
            assert_eq!(copy[0], copy[1], "torn");
        }
        writer.join().expect("no panic");
        put(&table, PFN);
    });
}

/// As for a batch: its thread latches the pages and waits, and the log's leader stores to them.
#[test]
fn an_optimistic_copy_beside_a_batch_that_another_stores_is_of_one_piece() {
    explore(5, || {
        let table = table(1);
        must_pin(&table, PFN);
        must_pin(&table, PFN);
        let words = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let batch = thread::spawn({
            let (table, words) = (table.clone(), words.clone());
            move || {
                table.pinned(PFN).latch_exclusive();
                let leader = thread::spawn(move || {
                    before_stores_under_latches_of_another();
                    words.iter().for_each(|word| word.store(1, Ordering::Relaxed));
                });
                leader.join().expect("no panic");
                table.pinned(PFN).release_exclusive();
                put(&table, PFN);
            }
        });
        let before = table.pinned(PFN).version();
        let copy = [words[0].load(Ordering::Relaxed), words[1].load(Ordering::Relaxed)];
        if table.pinned(PFN).validate(before) {
            assert_eq!(copy[0], copy[1], "torn");
        }
        batch.join().expect("no panic");
        put(&table, PFN);
    });
}

/// One of the readers stays. A reader that waits for room must not wait for that one.
#[test]
fn readers_beyond_the_most_wait_for_the_first_that_goes() {
    assert_eq!(SHARED_MAX, 2, "a model's");
    explore(3, || {
        let table = table(1);
        must_pin(&table, PFN);
        table.pinned(PFN).latch_shared(Manner::GivesWay);
        let others = [0, 1].map(|_| {
            let table = table.clone();
            thread::spawn(move || {
                must_pin(&table, PFN);
                table.pinned(PFN).latch_shared(Manner::GivesWay);
                assert!(table.peek(PFN).expect("live").shared() >= 2);
                table.pinned(PFN).release_shared();
                put(&table, PFN);
            })
        });
        others.into_iter().for_each(|other| other.join().expect("no panic"));
        assert_eq!(table.peek(PFN).expect("live").shared(), 1);
        table.pinned(PFN).release_shared();
        put(&table, PFN);
    });
}

#[test]
fn a_writer_that_only_tries_waits_for_no_thread_and_harms_none() {
    explore(4, || {
        let table = table(1);
        must_pin(&table, PFN);
        let bytes = Arc::new(Bytes(UnsafeCell::new(0)));
        let reader = thread::spawn({
            let (table, bytes) = (table.clone(), bytes.clone());
            move || read_once(&table, &bytes)
        });
        let wrote = table.pinned(PFN).try_latch_exclusive();
        if wrote {
            // SAFETY: under the exclusive latch.
            bytes.0.with_mut(|value| unsafe { *value += 1 });
            table.pinned(PFN).release_exclusive();
        }
        assert!(reader.join().expect("no panic") <= u64::from(wrote));
        assert!(table.pinned(PFN).try_latch_shared(Manner::GivesWay), "no writer is there");
        assert!(!table.pinned(PFN).try_latch_exclusive(), "a reader is");
        table.pinned(PFN).release_shared();
        put(&table, PFN);
    });
}

/// A truncate sets ORPHAN even if a writer has the latch. The writer looks for ORPHAN under the latch, and the frame is
/// freed once, when latch and pin have gone.
#[test]
fn a_writer_and_a_truncate_see_each_other() {
    explore(4, || {
        let table = table(1);
        must_pin(&table, PFN);
        must_pin(&table, PFN);
        let (bytes, cut) = (Arc::new(Bytes(UnsafeCell::new(0))), Arc::new(AtomicU64::new(0)));
        let writer = thread::spawn({
            let (table, bytes, cut) = (table.clone(), bytes.clone(), cut.clone());
            move || {
                let known = cut.load(Ordering::Acquire) == 1;
                table.pinned(PFN).latch_exclusive();
                let detached = table.peek(PFN).expect("pinned").orphan();
                assert!(detached || !known, "a lost write");
                // SAFETY: under the exclusive latch.
                bytes.0.with_mut(|value| unsafe { *value += u64::from(!detached) });
                table.pinned(PFN).release_exclusive();
                usize::from(table.unpin(PFN) == UnpinOutcome::LastOfOrphan)
            }
        });
        let mut freed = usize::from(table.orphan(PFN) == OrphanOutcome::Idle);
        cut.store(1, Ordering::Release);
        freed += usize::from(table.unpin(PFN) == UnpinOutcome::LastOfOrphan);
        if freed == 1 {
            // SAFETY: the frame is free: no other thread may touch it, or loom reports it.
            bytes.0.with_mut(|value| unsafe { *value = 9 });
        }
        assert_eq!(freed + writer.join().expect("no panic"), 1, "freed once");
    });
}

/// A writer's latch beside vain pins. EXCLUSIVE without a pin would mean that the freeing is claimed.
#[test]
fn a_latch_beside_a_vain_pin_of_an_orphan_is_no_claim() {
    explore(4, || {
        let table = table(1);
        must_pin(&table, PFN);
        table.pinned(PFN).latch_exclusive();
        assert_eq!(table.orphan(PFN), OrphanOutcome::Busy);
        let vain = thread::spawn({
            let table = table.clone();
            move || match table.pin(PFN) {
                PinOutcome::Orphan => 0,
                PinOutcome::OrphanClaimed => 1,
                other => panic!("{other:?}"),
            }
        });
        table.pinned(PFN).release_exclusive();
        let last = usize::from(table.unpin(PFN) == UnpinOutcome::LastOfOrphan);
        assert_eq!(last + vain.join().expect("no panic"), 1, "freed once");
    });
}
