//! Latches, versions, and who waits for them.

use super::{PFN, explore, must_pin, put, table};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use pagestone::frame::FrameTable;
use std::sync::Arc;

/// A page's bytes, raced for under loom's eyes.
struct Bytes(UnsafeCell<u64>);

// SAFETY: loom reports every access that the latch does not order.
unsafe impl Sync for Bytes {}
// SAFETY: as for Sync.
unsafe impl Send for Bytes {}

fn write_once(table: &FrameTable, bytes: &Bytes) {
    must_pin(table, PFN);
    table.latch_exclusive(PFN);
    // SAFETY: under the exclusive latch.
    bytes.0.with_mut(|value| unsafe { *value += 1 });
    table.release_exclusive(PFN);
    put(table, PFN);
}

fn read_once(table: &FrameTable, bytes: &Bytes) -> u64 {
    must_pin(table, PFN);
    table.latch_shared(PFN);
    // SAFETY: under the shared latch.
    let value = bytes.0.with(|value| unsafe { *value });
    table.release_shared(PFN);
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
                table.latch_exclusive(PFN);
                words.iter().for_each(|word| word.store(1, Ordering::Relaxed));
                table.release_exclusive(PFN);
                put(&table, PFN);
            }
        });
        let before = table.version(PFN);
        let copy = [words[0].load(Ordering::Relaxed), words[1].load(Ordering::Relaxed)];
        if table.validate(PFN, before) {
            assert_eq!(copy[0], copy[1], "torn");
        }
        writer.join().expect("no panic");
        put(&table, PFN);
    });
}
