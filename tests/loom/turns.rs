//! Turns: a writer that waits goes before readers that come later, but keeps no reader out that it may be waiting for.

use super::{PFN, explore, must_pin, put, table};
use loom::thread;
use pagestone::frame::{FrameTable, HoldOutcome, Manner, OrphanOutcome, PinOutcome, SharedOutcome, model};
use std::sync::Arc;

/// A table with a frame that the caller has pinned and latched shared.
fn shared() -> Arc<FrameTable> {
    let table = table(1);
    must_pin(&table, PFN);
    assert!(table.pinned(PFN).try_latch_shared(Manner::GivesWay), "no writer waits");
    table
}

fn writer(table: &Arc<FrameTable>) -> thread::JoinHandle<()> {
    let table = table.clone();
    thread::spawn(move || {
        must_pin(&table, PFN);
        table.pinned(PFN).latch_exclusive();
        table.pinned(PFN).release_exclusive();
        put(&table, PFN);
    })
}

/// Whether the state says that a writer waits. In these models nothing else sets that flag, and it stays until the writer
/// had its turn.
fn one_waits(table: &FrameTable) -> bool {
    table.peek(PFN).expect("live").waiters()
}

#[test]
fn a_reader_that_comes_after_a_waiting_writer_gives_way() {
    explore(4, || {
        let table = shared();
        let writer = writer(&table);
        let reader = thread::spawn({
            let table = table.clone();
            move || {
                must_pin(&table, PFN);
                if one_waits(&table) {
                    assert!(!table.pinned(PFN).try_latch_shared(Manner::GivesWay), "the writer is passed");
                    assert!(
                        table.pinned(PFN).try_latch_shared(Manner::GoesFirst),
                        "a guard's thread is locked out"
                    );
                    table.pinned(PFN).release_shared();
                }
                put(&table, PFN);
            }
        });
        reader.join().expect("no panic");
        table.pinned(PFN).release_shared();
        writer.join().expect("no panic");
        assert!(table.pinned(PFN).try_latch_shared(Manner::GivesWay), "the gate is open again");
        table.pinned(PFN).release_shared();
        put(&table, PFN);
    });
}

#[test]
fn a_writer_readers_and_the_threads_behind_it_all_get_their_turn() {
    explore(3, || {
        let table = shared();
        let writer = writer(&table);
        let reader = thread::spawn({
            let table = table.clone();
            move || {
                must_pin(&table, PFN);
                table.pinned(PFN).latch_shared(Manner::GivesWay);
                table.pinned(PFN).release_shared();
                put(&table, PFN);
            }
        });
        table.pinned(PFN).release_shared();
        writer.join().expect("no panic");
        reader.join().expect("no panic");
        put(&table, PFN);
    });
}

/// A release wakes the writer. Until the writer has run, the gate stays closed.
#[test]
fn a_writer_that_was_woken_is_not_passed_before_it_runs() {
    explore(4, || {
        let table = shared();
        let version = |table: &FrameTable| table.peek(PFN).expect("live").version_number();
        let before = version(&table);
        let writer = writer(&table);
        let waits = one_waits(&table);
        table.pinned(PFN).release_shared();
        if table.pinned(PFN).try_latch_shared(Manner::GivesWay) {
            assert!(!waits || version(&table) != before, "the writer is passed");
            table.pinned(PFN).release_shared();
        }
        writer.join().expect("no panic");
        put(&table, PFN);
    });
}

#[test]
fn a_reader_and_a_writer_that_wait_for_a_writer_both_get_their_turn() {
    explore(3, || {
        let table = table(1);
        must_pin(&table, PFN);
        table.pinned(PFN).latch_exclusive();
        let writer = writer(&table);
        let reader = thread::spawn({
            let table = table.clone();
            move || {
                must_pin(&table, PFN);
                table.pinned(PFN).latch_shared(Manner::GivesWay);
                table.pinned(PFN).release_shared();
                put(&table, PFN);
            }
        });
        table.pinned(PFN).release_exclusive();
        writer.join().expect("no panic");
        reader.join().expect("no panic");
        put(&table, PFN);
    });
}

#[test]
fn two_writers_and_a_thread_that_gives_way_all_get_their_turn() {
    explore(2, || {
        let table = shared();
        let writers = [writer(&table), writer(&table)];
        table.pinned(PFN).release_shared();
        table.pinned(PFN).latch_shared(Manner::GivesWay);
        table.pinned(PFN).release_shared();
        writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
        put(&table, PFN);
    });
}

/// The writer waits for the latch that this thread holds. If this thread waited for the writer, both would wait for ever.
#[test]
fn a_thread_that_holds_a_guard_is_not_locked_out_by_one_that_waits_for_it() {
    explore(4, || {
        let table = shared();
        let writer = writer(&table);
        assert_eq!(table.pinned(PFN).latch_shared_unless_full(Manner::GoesFirst), SharedOutcome::Latched);
        table.pinned(PFN).release_shared();
        table.pinned(PFN).release_shared();
        writer.join().expect("no panic");
        put(&table, PFN);
    });
}

#[test]
fn a_writer_that_gives_up_lets_readers_in() {
    explore(3, || {
        let table = shared();
        let writer = thread::spawn({
            let table = table.clone();
            move || {
                must_pin(&table, PFN);
                // In a model every wait with a limit times out at once.
                if table.pinned(PFN).latch_exclusive_within(Some(std::time::Duration::from_secs(1))) {
                    table.pinned(PFN).release_exclusive();
                }
                put(&table, PFN);
            }
        });
        let reader = thread::spawn({
            let table = table.clone();
            move || {
                must_pin(&table, PFN);
                table.pinned(PFN).latch_shared(Manner::GivesWay);
                table.pinned(PFN).release_shared();
                put(&table, PFN);
            }
        });
        reader.join().expect("no panic");
        table.pinned(PFN).release_shared();
        writer.join().expect("no panic");
        put(&table, PFN);
    });
}

/// In a model one vain wake-up is enough.
#[test]
fn a_writer_that_was_woken_in_vain_is_not_passed_again() {
    explore(3, || {
        let table = table(1);
        must_pin(&table, PFN);
        let version = || table.peek(PFN).expect("live").version_number();
        table.pinned(PFN).latch_exclusive();
        let writer = writer(&table);
        table.pinned(PFN).release_exclusive();
        table.pinned(PFN).latch_exclusive();
        let (before, overdue) = (version(), model::one_is_overdue(&table, PFN));
        table.pinned(PFN).release_exclusive();
        table.pinned(PFN).latch_exclusive();
        assert!(!overdue || version() > before + 1, "the writer is passed");
        table.pinned(PFN).release_exclusive();
        writer.join().expect("no panic");
        put(&table, PFN);
    });
}

/// The reader is one that the holder of the latch waits for. In a model, time does not end the writer's turn.
#[test]
fn a_reader_passes_a_writer_whose_turn_has_ended() {
    explore(2, || {
        model::turns_end(1);
        let table = shared();
        let writer = writer(&table);
        let reader = thread::spawn({
            let table = table.clone();
            move || {
                must_pin(&table, PFN);
                table.pinned(PFN).latch_shared(Manner::GivesWay);
                table.pinned(PFN).release_shared();
                put(&table, PFN);
            }
        });
        reader.join().expect("no panic");
        table.pinned(PFN).release_shared();
        writer.join().expect("no panic");
        put(&table, PFN);
    });
}

/// The second of two turns closes the gate for a reader that the end of the first has let go on.
#[test]
fn a_writer_readers_and_the_turns_between_them_all_come_to_an_end() {
    explore(2, || {
        model::turns_end(2);
        let table = shared();
        let writer = writer(&table);
        let reader = thread::spawn({
            let table = table.clone();
            move || {
                must_pin(&table, PFN);
                table.pinned(PFN).latch_shared(Manner::GivesWay);
                table.pinned(PFN).release_shared();
                put(&table, PFN);
            }
        });
        table.pinned(PFN).release_shared();
        writer.join().expect("no panic");
        reader.join().expect("no panic");
        put(&table, PFN);
    });
}

#[test]
fn a_wait_for_an_idle_frame_is_woken_by_the_end_of_the_hold() {
    explore(4, || {
        let table = table(1);
        must_pin(&table, PFN);
        assert_eq!(table.hold(PFN), HoldOutcome::Pinned);
        let waiter = thread::spawn({
            let table = table.clone();
            move || assert!(table.wait_idle(PFN, None))
        });
        table.unhold(PFN);
        waiter.join().expect("no panic");
        put(&table, PFN);
    });
}

#[test]
fn a_wait_for_the_end_of_a_hold_is_woken_by_that_end() {
    explore(4, || {
        let table = table(1);
        must_pin(&table, PFN);
        assert_eq!(table.hold(PFN), HoldOutcome::Pinned);
        let pinner = thread::spawn({
            let table = table.clone();
            move || {
                while table.pin(PFN) == PinOutcome::Held {
                    assert!(table.wait_unheld(PFN, None));
                }
                put(&table, PFN);
            }
        });
        table.unhold(PFN);
        pinner.join().expect("no panic");
        put(&table, PFN);
    });
}

#[test]
fn a_wait_for_the_end_of_a_hold_is_woken_by_the_end_of_the_frame() {
    explore(4, || {
        let table = table(1);
        must_pin(&table, PFN);
        put(&table, PFN);
        assert_eq!(table.hold(PFN), HoldOutcome::Idle);
        let pinner = thread::spawn({
            let table = table.clone();
            move || assert!(table.wait_unheld(PFN, None))
        });
        assert_eq!(table.orphan(PFN), OrphanOutcome::Idle);
        pinner.join().expect("no panic");
    });
}

/// The store's own short pins are counted even where a user's pin is refused.
#[test]
fn a_short_pin_of_a_full_frame_counts_beside_one_that_is_refused() {
    use pagestone::frame::{PINS_MAX, UnpinOutcome};
    explore(3, || {
        let table = table(1);
        must_pin(&table, PFN);
        (1..PINS_MAX).for_each(|_| assert!(table.pin(PFN).is_pinned()));
        let short = thread::spawn({
            let table = table.clone();
            move || {
                assert_eq!(table.pin_short(PFN), PinOutcome::Pinned);
                assert_eq!(table.unpin(PFN), UnpinOutcome::Kept);
            }
        });
        assert_eq!(table.pin(PFN), PinOutcome::Saturated);
        short.join().expect("no panic");
        assert_eq!(table.peek(PFN).expect("live").pins(), PINS_MAX);
    });
}
