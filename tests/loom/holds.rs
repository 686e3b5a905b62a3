//! Holds and waits, ranges that are detached, and counts at their limits.

use super::{PFN, explore, must_pin, pins, put, table};
use loom::cell::UnsafeCell;
use loom::thread;
use pagestone::frame::{FrameTable, HoldOutcome, OrphanOutcome, PINS_MAX, PinOutcome, UnpinOutcome};
use pagestone::units::PfnRange;
use std::sync::Arc;
use std::time::Duration;

/// The bytes of a frame. A thread that holds the frame may do anything with them while it is not pinned, such as unmap
/// them.
struct Bytes(UnsafeCell<u64>);

// SAFETY: loom reports every access that pins do not order.
unsafe impl Sync for Bytes {}
// SAFETY: as for Sync.
unsafe impl Send for Bytes {}

impl Bytes {
    fn new() -> Arc<Self> {
        Arc::new(Self(UnsafeCell::new(0)))
    }

    /// Reads with a pin.
    fn read(&self) {
        // SAFETY: the pin keeps the frame, or loom reports it.
        self.0.with(|bytes| assert_eq!(unsafe { *bytes }, 0, "taken from under a pin"));
    }

    /// Takes the bytes of an idle frame that admits no pin.
    fn take(&self) {
        // SAFETY: no other thread uses the frame, or loom reports it.
        self.0.with_mut(|bytes| unsafe { *bytes = 1 });
    }
}

/// Pins, reads and puts, unless the frame is held.
fn visit(table: &FrameTable, bytes: &Bytes) {
    match table.pin(PFN) {
        PinOutcome::Held => {}
        outcome => {
            assert!(outcome.is_pinned(), "{outcome:?}");
            bytes.read();
            assert_ne!(table.unpin(PFN), UnpinOutcome::LastOfOrphan);
        }
    }
}

fn visitor(table: &Arc<FrameTable>, bytes: &Arc<Bytes>) -> thread::JoinHandle<()> {
    let (table, bytes) = (table.clone(), bytes.clone());
    thread::spawn(move || visit(&table, &bytes))
}

#[test]
fn a_hold_beside_a_first_touch_holds_or_finds_nothing() {
    explore(5, || {
        let (table, bytes) = (table(1), Bytes::new());
        let pinner = visitor(&table, &bytes);
        if table.hold(PFN) != HoldOutcome::Unpopulated {
            assert!(table.wait_idle(PFN, None));
            bytes.take();
            assert_eq!(table.pin(PFN), PinOutcome::Held);
            table.unhold(PFN);
        }
        pinner.join().expect("no panic");
        must_pin(&table, PFN);
        put(&table, PFN);
    });
}

#[test]
fn a_hold_beside_reclaim_holds_or_finds_nothing() {
    explore(5, || {
        let table = table(1);
        must_pin(&table, PFN);
        put(&table, PFN);
        let reclaimer = thread::spawn({
            let table = table.clone();
            move || table.reclaim(1)
        });
        let held = table.hold(PFN) == HoldOutcome::Idle;
        let reclaimed = reclaimer.join().expect("no panic") == 1;
        assert_ne!(held, reclaimed);
        assert_eq!(table.pin(PFN) == PinOutcome::Held, held);
    });
}

#[test]
fn a_holder_that_gives_up_lets_pins_begin_again() {
    explore(4, || {
        let (table, bytes) = (table(1), Bytes::new());
        must_pin(&table, PFN);
        let holder = thread::spawn({
            let (table, bytes) = (table.clone(), bytes.clone());
            move || {
                bytes.read();
                let _ = table.unpin(PFN);
            }
        });
        assert_ne!(table.hold(PFN), HoldOutcome::Unpopulated);
        // In a model every wait with a limit times out at once.
        let idle = table.wait_idle(PFN, Some(Duration::from_secs(1)));
        if idle {
            bytes.take();
        }
        table.unhold(PFN);
        if !idle {
            visit(&table, &bytes);
        }
        holder.join().expect("no panic");
        must_pin(&table, PFN);
        put(&table, PFN);
        assert_eq!(pins(&table, PFN), 0);
    });
}

#[test]
fn a_hold_and_a_wait_for_a_latch_share_the_bell() {
    explore(1, || {
        let (table, bytes) = (table(1), Bytes::new());
        must_pin(&table, PFN);
        must_pin(&table, PFN);
        let writers = [0, 1].map(|_| {
            let (table, bytes) = (table.clone(), bytes.clone());
            thread::spawn(move || {
                table.pinned(PFN).latch_exclusive();
                bytes.read();
                table.pinned(PFN).release_exclusive();
                let _ = table.unpin(PFN);
            })
        });
        let _ = table.hold(PFN);
        assert!(table.wait_idle(PFN, None));
        bytes.take();
        writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
    });
}

#[test]
fn another_pin_of_a_pinned_frame_keeps_a_holder_waiting() {
    explore(4, || {
        let (table, bytes) = (table(1), Bytes::new());
        must_pin(&table, PFN);
        let owner = thread::spawn({
            let (table, bytes) = (table.clone(), bytes.clone());
            move || {
                assert_eq!(table.pinned(PFN).pin_again(), PinOutcome::Pinned, "a hold does not refuse it");
                let _ = table.unpin(PFN);
                bytes.read();
                let _ = table.unpin(PFN);
            }
        });
        let _ = table.hold(PFN);
        assert!(table.wait_idle(PFN, None));
        bytes.take();
        owner.join().expect("no panic");
    });
}

#[test]
fn another_pin_of_an_orphan_is_freed_by_the_last_put() {
    explore(4, || {
        let table = table(1);
        must_pin(&table, PFN);
        let owner = thread::spawn({
            let table = table.clone();
            move || {
                assert_eq!(table.pinned(PFN).pin_again(), PinOutcome::Pinned);
                [table.unpin(PFN), table.unpin(PFN)].map(|put| usize::from(put == UnpinOutcome::LastOfOrphan))
            }
        });
        let free = table.orphan(PFN) == OrphanOutcome::Idle;
        let puts = owner.join().expect("no panic");
        assert_eq!(usize::from(free) + puts[0] + puts[1], 1, "freed once");
    });
}

#[test]
fn after_a_range_is_held_no_pin_of_it_begins() {
    explore(5, || {
        let (table, bytes) = (table(1), Bytes::new());
        let range = PfnRange::new(PFN, 2);
        let pinner = visitor(&table, &bytes);
        table.hold_range(range);
        assert!(table.populated(range).all(|pfn| table.wait_idle(pfn, None)));
        bytes.take();
        assert_eq!(table.retire_range(range), Ok(()));
        pinner.join().expect("no panic");
        assert_eq!(table.pin(PFN), PinOutcome::Held, "until the range is handed out again");
        table.free(range);
    });
}

#[test]
fn a_vain_pin_of_a_held_range_delays_its_retirement_and_is_not_lost() {
    explore(4, || {
        let (table, bytes) = (table(1), Bytes::new());
        let range = PfnRange::new(PFN, 2);
        must_pin(&table, PFN);
        put(&table, PFN);
        let pinner = visitor(&table, &bytes);
        table.hold_range(range);
        assert!(table.populated(range).all(|pfn| table.wait_idle(pfn, None)));
        bytes.take();
        // As `Region::detach`: the vain pin that prevents it is about to go.
        while let Err(pfn) = table.retire_range(range) {
            assert_eq!(pfn, PFN);
            thread::yield_now();
        }
        pinner.join().expect("no panic");
        assert!(table.peek(PFN).is_none());
    });
}

#[test]
fn reclaim_beside_a_range_that_is_held_opens_no_door() {
    explore(2, || {
        let (table, bytes) = (table(1), Bytes::new());
        let range = PfnRange::new(PFN, 2);
        must_pin(&table, PFN);
        put(&table, PFN);
        let reclaimer = thread::spawn({
            let table = table.clone();
            move || table.reclaim(1)
        });
        let pinner = visitor(&table, &bytes);
        table.hold_range(range);
        assert!(table.populated(range).all(|pfn| table.wait_idle(pfn, None)));
        // As `Region::detach`. The lock that this takes orders it behind what was reclaimed meanwhile.
        while table.retire_range(range).is_err() {
            thread::yield_now();
        }
        bytes.take();
        pinner.join().expect("no panic");
        reclaimer.join().expect("no panic");
        assert_eq!(table.pin(PFN), PinOutcome::Held);
    });
}

#[test]
fn a_hold_that_ends_beside_a_range_that_is_held_opens_no_door() {
    explore(3, || {
        let (table, bytes) = (table(1), Bytes::new());
        let range = PfnRange::new(PFN, 2);
        must_pin(&table, PFN);
        put(&table, PFN);
        let holder = thread::spawn({
            let table = table.clone();
            move || match table.hold(PFN) {
                HoldOutcome::Unpopulated | HoldOutcome::AlreadyHeld => {}
                HoldOutcome::Idle | HoldOutcome::Pinned => table.unhold(PFN),
            }
        });
        let pinner = visitor(&table, &bytes);
        table.hold_range(range);
        assert!(table.populated(range).all(|pfn| table.wait_idle(pfn, None)));
        bytes.take();
        while table.retire_range(range).is_err() {
            thread::yield_now();
        }
        holder.join().expect("no panic");
        pinner.join().expect("no panic");
        assert_eq!(table.pin(PFN), PinOutcome::Held);
    });
}

#[test]
fn a_frame_has_one_holder() {
    explore(4, || {
        let (table, bytes) = (table(1), Bytes::new());
        must_pin(&table, PFN);
        put(&table, PFN);
        let hold = |table: &FrameTable, bytes: &Bytes| match table.hold(PFN) {
            HoldOutcome::AlreadyHeld => false,
            outcome => {
                assert_eq!(outcome, HoldOutcome::Idle);
                bytes.0.with_mut(|_| ());
                table.unhold(PFN);
                true
            }
        };
        let other = thread::spawn({
            let (table, bytes) = (table.clone(), bytes.clone());
            move || hold(&table, &bytes)
        });
        let held = hold(&table, &bytes);
        assert!(other.join().expect("no panic") || held, "one of them at least");
        must_pin(&table, PFN);
    });
}

#[test]
fn a_range_is_not_retired_under_a_claim_of_a_freeing() {
    const LINK: u64 = 77;
    explore(4, || {
        let table = table(1);
        let range = PfnRange::new(PFN, 2);
        must_pin(&table, PFN);
        assert_eq!(table.orphan(PFN), OrphanOutcome::Busy);
        let last = thread::spawn({
            let table = table.clone();
            move || {
                // The range may have been retired between this put and its claim.
                if table.unpin(PFN) == UnpinOutcome::LastOfOrphan {
                    table.set_owner(PFN, LINK);
                    assert_eq!(table.owner(PFN), LINK, "the link of a queue");
                    table.retire_orphan(PFN);
                }
            }
        });
        table.hold_range(range);
        while table.retire_range(range).is_err() {
            thread::yield_now();
        }
        last.join().expect("no panic");
        assert!(table.peek(PFN).is_none());
    });
}

/// A frame with as many pins as there may be, less `room`.
fn full(room: u32) -> Arc<FrameTable> {
    let table = table(1);
    must_pin(&table, PFN);
    (1..PINS_MAX - room).for_each(|_| assert_eq!(table.pinned(PFN).pin_again(), PinOutcome::Pinned));
    table
}

#[test]
fn a_pin_beyond_the_most_is_refused_and_leaves_no_trace() {
    explore(3, || {
        let table = full(1);
        let others = [PinOutcome::Saturated; 2].map(|refused| {
            let table = table.clone();
            thread::spawn(move || {
                let outcome = table.pin(PFN);
                assert!(outcome.is_pinned() || outcome == refused, "{outcome:?}");
                outcome.is_pinned()
            })
        });
        let pinned = others.map(|other| u32::from(other.join().expect("no panic"))).iter().sum::<u32>();
        assert_eq!(pinned, 1, "there was room for one");
        assert_eq!(pins(&table, PFN), PINS_MAX);
        assert_eq!(table.pinned(PFN).pin_again(), PinOutcome::Saturated);
        assert_eq!(pins(&table, PFN), PINS_MAX);
    });
}

#[test]
fn a_pin_beyond_the_most_may_be_the_last_of_an_orphan() {
    explore(3, || {
        let table = full(0);
        let vain = thread::spawn({
            let table = table.clone();
            move || match table.pin(PFN) {
                PinOutcome::Saturated | PinOutcome::Orphan => 0,
                PinOutcome::OrphanClaimed => 1,
                PinOutcome::Pinned => usize::from(table.unpin(PFN) == UnpinOutcome::LastOfOrphan),
                other => panic!("{other:?}"),
            }
        });
        let mut freed = usize::from(table.orphan(PFN) == OrphanOutcome::Idle);
        for _ in 0..PINS_MAX {
            freed += usize::from(table.unpin(PFN) == UnpinOutcome::LastOfOrphan);
        }
        assert_eq!(freed + vain.join().expect("no panic"), 1, "freed once");
    });
}

/// Whichever thread ends the frame's life, the wait of the holder ends. It must not wait for pins of the frame's next life.
#[test]
fn a_hold_beside_a_truncate_ends_its_wait() {
    explore(3, || {
        let table = table(1);
        must_pin(&table, PFN);
        let freed = |last: bool, table: &FrameTable| {
            if last {
                table.retire_orphan(PFN);
                // A visit by the next owner, unless the hold came so late that it holds the frame in its next life.
                match table.pin(PFN) {
                    PinOutcome::Held => {}
                    outcome => {
                        assert!(outcome.is_pinned(), "{outcome:?}");
                        let _ = table.unpin(PFN);
                    }
                }
            }
            usize::from(last)
        };
        let last_put = thread::spawn({
            let table = table.clone();
            move || freed(table.unpin(PFN) == UnpinOutcome::LastOfOrphan, &table)
        });
        let truncate = thread::spawn({
            let table = table.clone();
            move || match table.orphan(PFN) {
                OrphanOutcome::Idle => freed(true, &table),
                OrphanOutcome::Busy => 0,
            }
        });
        if table.hold(PFN) != HoldOutcome::Unpopulated {
            assert!(table.wait_idle(PFN, None));
        }
        let freed = [last_put, truncate].map(|thread| thread.join().expect("no panic"));
        assert_eq!(freed[0] + freed[1], 1, "freed once");
        assert_eq!(pins(&table, PFN), 0);
    });
}
