//! What a forked child sees of the table. This test is alone in its process, because it forks.

use pagestone::frame::{FrameTable, PinOutcome, UnpinOutcome};
use pagestone::units::Pfn;
use pagestone_kit::fork::in_child;
use std::sync::atomic::{AtomicU64, Ordering};

/// A child that takes longer hangs.
const HANGS: u32 = 60;

/// The first of `checks` that failed.
fn first_failure(checks: &[bool]) -> Result<(), String> {
    checks.iter().position(|ok| !ok).map_or(Ok(()), |i| Err(format!("its check number {i} failed")))
}

#[test]
fn a_child_inherits_no_frame_and_has_a_table_of_its_own() {
    let parents = FrameTable::global();
    let range = parents.allocate(1000).expect("pfns");
    let (pinned, untouched) = (range.start, Pfn::new(range.start.get() + 999));
    assert_eq!(parents.pin(pinned), PinOutcome::Populated);
    let ended = in_child(HANGS, || {
        let own = FrameTable::global();
        let drop_inherited = own.unpin(pinned);
        let fresh = own.allocate(10).map(|range| range.start);
        first_failure(&[
            parents.pin(pinned) == PinOutcome::Forked,
            parents.pin(untouched) == PinOutcome::Forked,
            parents.peek(pinned).is_none(),
            own.pin(pinned) == PinOutcome::Forked,
            drop_inherited == UnpinOutcome::Kept,
            own.peek(pinned).is_none(),
            // What the child opens itself works, and shares no number with the parent's frames.
            fresh.as_ref().is_ok_and(|pfn| *pfn > untouched && own.pin(*pfn) == PinOutcome::Populated),
            // Thousands of vain touches leave no trace.
            (0..70_000).all(|_| own.pin(pinned) == PinOutcome::Forked),
            own.peek(pinned).is_none(),
        ])
    });
    assert_eq!(ended, Ok(()));
    assert_eq!(parents.pin(pinned), PinOutcome::Pinned, "the parent lost nothing");
    assert_eq!(parents.peek(pinned).expect("live").pins(), 2);
}

#[test]
fn a_child_forked_amid_first_touches_never_hangs() {
    let table = FrameTable::global();
    let range = table.allocate(1 << 20).expect("pfns");
    let stop = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while stop.load(Ordering::Relaxed) == 0 {
                for pfn in range.iter().step_by(61) {
                    assert!(table.pin(pfn).is_pinned());
                    let _ = table.unpin(pfn);
                }
                table.reclaim(usize::MAX);
            }
        });
        for _ in 0..50 {
            let forked = || range.iter().step_by(4096).all(|pfn| table.pin(pfn) == PinOutcome::Forked);
            assert_eq!(in_child(HANGS, || first_failure(&[forked()])), Ok(()));
        }
        stop.store(1, Ordering::Relaxed);
    });
}
