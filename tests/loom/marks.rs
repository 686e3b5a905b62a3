//! Marks on a frame (dirty lines, write-back, poison) beside each other and beside what ends a frame.

use super::{PFN, explore, must_pin, pins, put, table};
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::thread;
use pagestone::engine::Syncs;
use pagestone::frame::{FrameTable, OrphanOutcome, PinOutcome, UnpinOutcome};
use pagestone::units::Lines;
use std::sync::Arc;

const LINE: Lines = Lines::new(0b01);
const OTHER_LINE: Lines = Lines::new(0b10);

/// A table whose frame is idle and dirty.
fn dirty_table() -> Arc<FrameTable> {
    let table = table(1);
    must_pin(&table, PFN);
    assert!(table.pinned(PFN).mark_dirty(LINE), "it was clean");
    put(&table, PFN);
    table
}

#[test]
fn dirty_lines_are_taken_or_still_there() {
    explore(5, || {
        let table = table(1);
        must_pin(&table, PFN);
        let writer = thread::spawn({
            let table = table.clone();
            move || {
                must_pin(&table, PFN);
                table.pinned(PFN).mark_dirty(LINE);
                table.pinned(PFN).mark_dirty(OTHER_LINE);
                put(&table, PFN);
            }
        });
        let taken = table.take_dirty(PFN);
        assert_eq!(table.reclaim(1), 0, "pinned");
        writer.join().expect("no panic");
        assert_eq!(taken.with(table.take_dirty(PFN)), LINE.with(OTHER_LINE));
        assert_eq!(table.take_dirty(PFN), Lines::NONE);
        put(&table, PFN);
    });
}

/// A batch leaves a line out of its record if it changes nothing and the line is durable.
#[test]
fn a_line_that_looks_clean_beside_no_sync_is_durable() {
    explore(4, || {
        let (table, syncs) = (dirty_table(), Arc::new(Syncs::default()));
        must_pin(&table, PFN);
        let durable = Arc::new(AtomicBool::new(false));
        let sync = thread::spawn({
            let (table, syncs, durable) = (table.clone(), syncs.clone(), durable.clone());
            move || {
                let (ticket, lines) = syncs.take(|| table.take_dirty(PFN));
                assert_eq!(lines, LINE);
                durable.store(true, Ordering::Relaxed);
                drop(ticket);
            }
        });
        assert!(table.pinned(PFN).try_latch_exclusive());
        let (dirty, trusted) = syncs.look(|| table.pinned(PFN).dirty_lines());
        assert!(dirty == LINE || !trusted || durable.load(Ordering::Relaxed), "neither dirty nor durable");
        table.pinned(PFN).release_exclusive();
        sync.join().expect("no panic");
        put(&table, PFN);
    });
}

#[test]
fn a_thread_that_takes_a_line_sees_what_was_stored_to_it() {
    explore(4, || {
        let table = dirty_table();
        let bytes = Arc::new(AtomicU64::new(0));
        let writer = thread::spawn({
            let (table, bytes) = (table.clone(), bytes.clone());
            move || {
                must_pin(&table, PFN);
                bytes.store(1, Ordering::Relaxed);
                let noted = table.pinned(PFN).mark_dirty(OTHER_LINE);
                put(&table, PFN);
                noted
            }
        });
        let taken = table.take_dirty(PFN);
        if !taken.among(OTHER_LINE).is_empty() {
            assert_eq!(bytes.load(Ordering::Relaxed), 1, "flushed without its bytes");
        }
        let noted = writer.join().expect("no panic");
        if taken.among(OTHER_LINE).is_empty() {
            assert!(noted, "the line is left, and no sync will look for it");
            assert_eq!(table.take_dirty(PFN), OTHER_LINE);
        }
    });
}

#[test]
fn a_sync_flushes_a_line_or_finds_it_durable() {
    explore(4, || {
        let table = dirty_table();
        let durable = Arc::new(AtomicBool::new(false));
        let writer = thread::spawn({
            let (table, durable) = (table.clone(), durable.clone());
            move || {
                must_pin(&table, PFN);
                durable.store(true, Ordering::Relaxed);
                table.pinned(PFN).mark_durable(LINE);
                put(&table, PFN);
            }
        });
        if table.take_dirty(PFN).among(LINE).is_empty() {
            assert!(durable.load(Ordering::Relaxed), "no sync flushes the line");
        }
        writer.join().expect("no panic");
        assert_eq!(table.take_dirty(PFN), Lines::NONE);
    });
}

#[test]
fn of_two_syncs_one_takes_the_line() {
    explore(5, || {
        let table = dirty_table();
        let other = thread::spawn({
            let table = table.clone();
            move || table.take_dirty(PFN)
        });
        let taken = [table.take_dirty(PFN), other.join().expect("no panic")];
        assert!(taken == [LINE, Lines::NONE] || taken == [Lines::NONE, LINE], "{taken:?}");
    });
}

#[test]
fn a_sync_beside_a_truncate_leaves_no_frame_behind() {
    explore(5, || {
        let table = dirty_table();
        let sync = thread::spawn({
            let table = table.clone();
            move || table.take_dirty(PFN)
        });
        assert_eq!(table.orphan(PFN), OrphanOutcome::Idle, "it has no pin, so no put would ever free it");
        sync.join().expect("no panic");
        assert!(table.peek(PFN).is_none());
        must_pin(&table, PFN);
        assert_eq!(table.take_dirty(PFN), Lines::NONE, "lines of its former life");
        put(&table, PFN);
    });
}

#[test]
fn a_sync_beside_the_last_put_of_an_orphan_leaves_no_frame_behind() {
    explore(5, || {
        let table = dirty_table();
        must_pin(&table, PFN);
        assert_eq!(table.orphan(PFN), OrphanOutcome::Busy);
        let sync = thread::spawn({
            let table = table.clone();
            move || table.take_dirty(PFN)
        });
        assert_eq!(table.unpin(PFN), UnpinOutcome::LastOfOrphan);
        table.retire_orphan(PFN);
        sync.join().expect("no panic");
        assert!(table.peek(PFN).is_none());
    });
}

#[test]
fn reclaim_leaves_a_dirty_frame_and_its_lines_alone() {
    explore(5, || {
        let table = table(1);
        let writer = thread::spawn({
            let table = table.clone();
            move || {
                must_pin(&table, PFN);
                table.pinned(PFN).mark_dirty(LINE);
                put(&table, PFN);
            }
        });
        table.reclaim(1);
        writer.join().expect("no panic");
        assert_eq!(table.reclaim(1), 0, "dirty");
        assert_eq!(table.take_dirty(PFN), LINE);
        assert_eq!(table.reclaim(1), 1, "clean and idle");
    });
}

#[test]
fn reclaim_beside_a_sync_takes_the_frame_or_leaves_it_clean() {
    explore(5, || {
        let table = dirty_table();
        let sync = thread::spawn({
            let table = table.clone();
            move || table.take_dirty(PFN)
        });
        let reclaimed = table.reclaim(1);
        assert_eq!(sync.join().expect("no panic"), LINE, "the sync has the line to flush, reclaimed or not");
        assert_eq!(reclaimed + table.reclaim(1), 1);
    });
}

#[test]
fn one_of_two_begins_a_write_back_and_reclaim_waits_for_its_end() {
    explore(4, || {
        let table = table(1);
        must_pin(&table, PFN);
        let other = thread::spawn({
            let table = table.clone();
            move || {
                must_pin(&table, PFN);
                let mine = table.pinned(PFN).begin_writeback();
                put(&table, PFN);
                mine
            }
        });
        let mine = table.pinned(PFN).begin_writeback();
        put(&table, PFN);
        assert_eq!(table.reclaim(1), 0, "on its way to the backing");
        assert_ne!(mine, other.join().expect("no panic"));
        must_pin(&table, PFN);
        table.pinned(PFN).end_writeback();
        assert!(table.pinned(PFN).begin_writeback(), "the next one");
        table.pinned(PFN).end_writeback();
        put(&table, PFN);
        assert_eq!(table.reclaim(1), 1);
    });
}

#[test]
fn no_pin_begins_after_a_poison() {
    explore(5, || {
        let table = table(1);
        must_pin(&table, PFN);
        let failed = Arc::new(AtomicBool::new(false));
        let finder = thread::spawn({
            let (table, failed) = (table.clone(), failed.clone());
            move || {
                table.pinned(PFN).poison();
                failed.store(true, Ordering::Release);
                put(&table, PFN);
            }
        });
        let known = failed.load(Ordering::Acquire);
        match table.pin(PFN) {
            PinOutcome::Poisoned => {}
            outcome => {
                assert!(outcome.is_pinned() && !known, "{outcome:?}");
                put(&table, PFN);
            }
        }
        finder.join().expect("no panic");
        assert_eq!((pins(&table, PFN), table.pin(PFN)), (0, PinOutcome::Poisoned));
    });
}

#[test]
fn reclaim_does_not_forget_a_poison() {
    explore(5, || {
        let table = table(1);
        let finder = thread::spawn({
            let table = table.clone();
            move || {
                must_pin(&table, PFN);
                table.pinned(PFN).poison();
                put(&table, PFN);
            }
        });
        table.reclaim(1);
        finder.join().expect("no panic");
        assert_eq!((table.reclaim(1), table.pin(PFN)), (0, PinOutcome::Poisoned));
    });
}

#[test]
fn reclaim_leaves_an_orphan_to_the_claim_of_its_freeing() {
    const LINK: u64 = 77;
    explore(5, || {
        let table = table(1);
        must_pin(&table, PFN);
        assert_eq!(table.orphan(PFN), OrphanOutcome::Busy);
        let reclaimer = thread::spawn({
            let table = table.clone();
            move || table.reclaim(1)
        });
        assert_eq!(table.unpin(PFN), UnpinOutcome::LastOfOrphan);
        table.set_owner(PFN, LINK);
        assert_eq!(table.owner(PFN), LINK, "the link of a queue");
        table.retire_orphan(PFN);
        reclaimer.join().expect("no panic");
        assert!(table.peek(PFN).is_none());
    });
}
