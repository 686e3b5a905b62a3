//! What a forked child sees of the table. Alone in its process, because it forks.

use pagestone::frame::{FrameTable, PinOutcome, UnpinOutcome};
use pagestone::units::Pfn;
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs `child` in a forked child; the number it returns must be zero.
fn in_child(child: impl FnOnce() -> i32) {
    // SAFETY: this test is the process's only thread of consequence; the child leaves by `_exit`.
    match unsafe { libc::fork() } {
        0 => {
            let code = child();
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(code) };
        }
        pid => {
            let mut status = 0;
            // SAFETY: `pid` is our child and `status` is ours.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            assert_eq!(status, 0, "the child's check number {} failed", libc::WEXITSTATUS(status));
        }
    }
}

/// The first of `checks` that failed, from 1; zero if none did.
fn first_failure(checks: &[bool]) -> i32 {
    checks.iter().position(|ok| !ok).map_or(0, |i| i as i32 + 1)
}

#[test]
fn a_child_inherits_no_frame_and_has_a_table_of_its_own() {
    let parents = FrameTable::global();
    let range = parents.allocate(1000).expect("pfns");
    let (pinned, untouched) = (range.start, Pfn::new(range.start.get() + 999));
    assert_eq!(parents.pin(pinned), PinOutcome::Populated);
    in_child(|| {
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
            in_child(|| {
                let forked = range.iter().step_by(4096).all(|pfn| table.pin(pfn) == PinOutcome::Forked);
                first_failure(&[forked])
            });
        }
        stop.store(1, Ordering::Relaxed);
    });
}
