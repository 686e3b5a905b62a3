//! Refused latches leave no trace, however many are refused at once.

use pagestone::frame::{FrameTable, Manner, SHARED_MAX, SharedOutcome};
use pagestone::units::Pfn;
use pagestone_kit::stop::Stop;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

const PFN: Pfn = Pfn::new(3);

fn pinned() -> FrameTable {
    let table = FrameTable::with_capacity(512, 8).expect("address space");
    assert!(table.pin(PFN).is_pinned());
    table
}

/// The field has some room beyond the most latches. If each refused latch were counted for a moment, more threads than that
/// would overflow the field.
#[test]
fn of_thousands_that_are_refused_none_is_counted() {
    let table = pinned();
    let (end, tries) = (AtomicBool::new(false), AtomicU64::new(0));
    for full in [true, false] {
        if full {
            (0..SHARED_MAX).for_each(|_| assert!(table.pinned(PFN).try_latch_shared(Manner::GivesWay)));
        } else {
            table.pinned(PFN).latch_exclusive();
        }
        end.store(false, SeqCst);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while !end.load(SeqCst) {
                        assert!(!table.pinned(PFN).try_latch_shared(Manner::GivesWay));
                        assert!(!table.pinned(PFN).try_latch_shared(Manner::GoesFirst));
                        tries.fetch_add(2, SeqCst);
                    }
                });
            }
            let _stop = Stop(&end);
            let (want, before) = (if full { SHARED_MAX } else { 0 }, tries.load(SeqCst));
            while tries.load(SeqCst) < before + 20_000 {
                assert_eq!(table.peek(PFN).expect("live").shared(), want, "one was counted");
            }
        });
        if full {
            assert_eq!(table.pinned(PFN).latch_shared_unless_full(Manner::GivesWay), SharedOutcome::Full);
            (0..SHARED_MAX).for_each(|_| table.pinned(PFN).release_shared());
        } else {
            table.pinned(PFN).release_exclusive();
        }
    }
    assert!(table.pinned(PFN).try_latch_exclusive(), "nothing is left");
}
