//! Hold, orphan, last put: which thread frees a frame, and when.

use super::{PFN, explore, must_pin, pins, put, table};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use loom::thread;
use pagestone::frame::{FrameTable, HoldOutcome, OrphanOutcome, PinOutcome, UnpinOutcome};
use pagestone::region::Orphans;
use pagestone::sync::mutant;
use pagestone::units::{FrameNo, Pfn};
use std::sync::Arc;

/// An object of one page: a map word that leads to the frame, the frame's bytes, and how often it was freed.
struct Object {
    map: AtomicU64,
    bytes: UnsafeCell<u64>,
    freed: AtomicUsize,
}

// SAFETY: loom reports every access to the bytes that pins do not order.
unsafe impl Sync for Object {}
// SAFETY: as for Sync.
unsafe impl Send for Object {}

impl Object {
    fn new() -> Arc<Self> {
        Arc::new(Self { map: AtomicU64::new(1), bytes: UnsafeCell::new(0), freed: AtomicUsize::new(0) })
    }

    /// Gives the frame to another owner, which stores to it at once.
    fn free(&self) {
        // SAFETY: the frame is free: no other thread may touch it, or loom reports it.
        self.bytes.with_mut(|bytes| unsafe { *bytes = 2 });
        self.freed.fetch_add(1, Ordering::Relaxed);
    }

    fn put(&self, table: &FrameTable) {
        if table.unpin(PFN) == UnpinOutcome::LastOfOrphan {
            table.retire_orphan(PFN);
            self.free();
        }
    }

    /// Pins the page as `Object::pin` does: map word, pin, map word again.
    fn pin(&self, table: &FrameTable) -> bool {
        let found = self.map.load(Ordering::Acquire);
        let early = self.map.load(Ordering::Acquire);
        if found == 0 {
            return false;
        }
        match table.pin(PFN) {
            PinOutcome::Pinned | PinOutcome::Populated => {}
            PinOutcome::OrphanClaimed => {
                table.retire_orphan(PFN);
                self.free();
                return false;
            }
            PinOutcome::Orphan => return false,
            other => panic!("{other:?}"),
        }
        let again = if mutant("map_read_before_pin") { early } else { self.map.load(Ordering::Acquire) };
        if again != found {
            self.put(table);
            return false;
        }
        true
    }

    fn read(&self, table: &FrameTable) {
        if self.pin(table) {
            // SAFETY: the pin keeps the frame from being freed, or loom reports it.
            self.bytes.with(|bytes| assert_eq!(unsafe { *bytes }, 0, "another owner's bytes"));
            self.put(table);
        }
    }

    fn truncate(&self, table: &FrameTable) {
        self.map.store(0, Ordering::Release);
        if table.orphan(PFN) == OrphanOutcome::Idle {
            self.free();
        }
    }
}

fn truncate_model(preemptions: usize, readers: usize, populated: bool) {
    explore(preemptions, move || {
        let (table, object) = (table(1), Object::new());
        if populated {
            must_pin(&table, PFN);
            put(&table, PFN);
        }
        let threads: Vec<_> = (0..readers)
            .map(|_| {
                let (table, object) = (table.clone(), object.clone());
                thread::spawn(move || object.read(&table))
            })
            .collect();
        object.truncate(&table);
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert_eq!(object.freed.load(Ordering::Relaxed), 1, "freed once, and not forgotten");
        assert_eq!(pins(&table, PFN), 0);
    });
}

#[test]
fn a_pin_and_a_truncate_of_a_populated_frame_see_each_other() {
    truncate_model(5, 1, true);
}

#[test]
fn a_first_touch_and_a_truncate_see_each_other() {
    truncate_model(5, 1, false);
}

#[test]
fn two_pins_and_a_truncate_see_each_other() {
    truncate_model(3, 2, true);
}

#[test]
fn two_first_touches_and_a_truncate_see_each_other() {
    truncate_model(2, 2, false);
}

#[test]
fn the_last_put_of_an_orphan_is_claimed_once_beside_a_vain_pin() {
    explore(5, || {
        let table = table(1);
        must_pin(&table, PFN);
        assert_eq!(table.orphan(PFN), OrphanOutcome::Busy);
        let vain = thread::spawn({
            let table = table.clone();
            move || match table.pin(PFN) {
                PinOutcome::Orphan => 0,
                PinOutcome::OrphanClaimed => 1,
                other => panic!("{other:?}"),
            }
        });
        let mine = usize::from(table.unpin(PFN) == UnpinOutcome::LastOfOrphan);
        assert_eq!(mine + vain.join().expect("no panic"), 1);
        assert_eq!(pins(&table, PFN), 0);
        table.retire_orphan(PFN);
        assert!(table.peek(PFN).is_none());
    });
}

#[test]
fn retiring_an_orphan_loses_no_vain_pin() {
    explore(5, || {
        let table = table(1);
        must_pin(&table, PFN);
        assert_eq!(table.orphan(PFN), OrphanOutcome::Busy);
        assert_eq!(table.unpin(PFN), UnpinOutcome::LastOfOrphan);
        let late = thread::spawn({
            let table = table.clone();
            move || table.pin(PFN)
        });
        table.retire_orphan(PFN);
        match late.join().expect("no panic") {
            PinOutcome::Populated => put(&table, PFN),
            PinOutcome::Orphan => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(pins(&table, PFN), 0);
    });
}

#[test]
fn waiting_for_idle_ends_with_the_last_put() {
    explore(5, || {
        let (table, object) = (table(1), Object::new());
        must_pin(&table, PFN);
        let holder = thread::spawn({
            let (table, object) = (table.clone(), object.clone());
            move || {
                // SAFETY: pinned.
                object.bytes.with(|bytes| assert_eq!(unsafe { *bytes }, 0));
                table.unpin(PFN)
            }
        });
        let found = table.hold(PFN);
        assert!(table.wait_idle(PFN, None));
        object.free();
        let last = holder.join().expect("no panic");
        assert_eq!(last == UnpinOutcome::LastOfHeld, found == HoldOutcome::Pinned);
        assert_eq!(table.pin(PFN), PinOutcome::Held);
        table.unhold(PFN);
        must_pin(&table, PFN);
        put(&table, PFN);
    });
}

#[test]
fn a_vain_pin_does_not_keep_a_holder_waiting() {
    explore(3, || {
        let table = table(1);
        must_pin(&table, PFN);
        assert_eq!(table.hold(PFN), HoldOutcome::Pinned);
        let holder = thread::spawn({
            let table = table.clone();
            move || table.unpin(PFN)
        });
        let vain = thread::spawn({
            let table = table.clone();
            move || table.pin(PFN)
        });
        assert!(table.wait_idle(PFN, None));
        assert_ne!(holder.join().expect("no panic"), UnpinOutcome::LastOfOrphan);
        assert_eq!(vain.join().expect("no panic"), PinOutcome::Held);
        assert_eq!(pins(&table, PFN), 0);
    });
}

/// Last puts on two threads push frames onto the queue, and a third thread takes them. Each frame is taken once. From
/// then on its owner word belongs to the thread that took it.
#[test]
fn each_orphan_that_is_queued_is_taken_once() {
    explore(4, || {
        let (table, orphans) = (table(1), Arc::new(Orphans::default()));
        let pfn = |frame: FrameNo| Pfn::new(u64::from(frame.0));
        for frame in [FrameNo(0), FrameNo(1)] {
            must_pin(&table, pfn(frame));
            assert_eq!(table.orphan(pfn(frame)), OrphanOutcome::Busy);
        }
        let putters = [FrameNo(0), FrameNo(1)].map(|frame| {
            let (table, orphans) = (table.clone(), orphans.clone());
            thread::spawn(move || {
                assert_eq!(table.unpin(pfn(frame)), UnpinOutcome::LastOfOrphan);
                orphans.push(&table, frame, pfn(frame));
            })
        });
        let mut taken = orphans.take(&table, pfn);
        taken.iter().for_each(|frame| table.retire_orphan(pfn(*frame)));
        putters.into_iter().for_each(|putter| putter.join().expect("no panic"));
        let rest = orphans.take(&table, pfn);
        rest.iter().for_each(|frame| table.retire_orphan(pfn(*frame)));
        taken.extend(rest);
        taken.sort_unstable();
        assert_eq!(taken, [FrameNo(0), FrameNo(1)]);
        assert!(orphans.is_empty());
    });
}

/// The pages and the region of a pin, which go when nothing is pinned any more. Loom reports a touch of what is gone.
struct Home {
    orphans: Orphans,
    alive: UnsafeCell<()>,
}

// SAFETY: loom reports every touch that the freeing does not come after.
unsafe impl Sync for Home {}
// SAFETY: as for Sync.
unsafe impl Send for Home {}

/// The region map: the two regions that have the frame one after the other, and which one has it now.
struct Homes {
    homes: [Home; 2],
    now: AtomicUsize,
}

impl Homes {
    fn new() -> Arc<Self> {
        let home = || Home { orphans: Orphans::default(), alive: UnsafeCell::new(()) };
        Arc::new(Self { homes: [home(), home()], now: AtomicUsize::new(0) })
    }

    /// Drops a pin that was made in region `of`, as `PageRef` does. A put that claims the freeing finds the region by the
    /// pfn.
    fn put(&self, table: &FrameTable, of: usize) {
        self.settle(of, table.unpin(PFN) == UnpinOutcome::LastOfOrphan, table);
    }

    fn settle(&self, of: usize, claimed: bool, table: &FrameTable) {
        let late = mutant("queue_through_the_pin");
        if claimed || late {
            let home = &self.homes[if late { of } else { self.now.load(Ordering::Acquire) }];
            home.alive.with(|_| {
                if claimed {
                    home.orphans.push(table, FrameNo(0), PFN);
                }
            });
        }
    }

    /// Lets region `of` go if its one frame was freed. Returns whether it was.
    fn reap(&self, table: &FrameTable, of: usize) -> bool {
        let taken = self.homes[of].orphans.take(table, |_| PFN);
        for _ in &taken {
            table.retire_orphan(PFN);
            self.now.store(1, Ordering::Release);
            self.homes[of].alive.with_mut(|_| ());
        }
        !taken.is_empty()
    }
}

/// A page with two pins is cut off. Both pins are put, and a third pin is refused and taken back. Meanwhile the region
/// goes, and the next region gets the frame, pins it, cuts it off and puts it. A put that looks late may claim a freeing
/// in the frame's next life. The frame is freed once in each life, by the region that has it then.
#[test]
fn a_late_put_touches_no_region_but_the_one_that_has_the_frame() {
    explore(3, || {
        let (table, homes) = (table(1), Homes::new());
        must_pin(&table, PFN);
        must_pin(&table, PFN);
        assert_eq!(table.orphan(PFN), OrphanOutcome::Busy);
        let putter = thread::spawn({
            let (table, homes) = (table.clone(), homes.clone());
            move || homes.put(&table, 0)
        });
        let vain = thread::spawn({
            let (table, homes) = (table.clone(), homes.clone());
            move || match table.pin(PFN) {
                PinOutcome::Orphan => {}
                PinOutcome::OrphanClaimed => homes.settle(0, true, &table),
                // The frame's next life has admitted it.
                outcome if outcome.is_pinned() => homes.put(&table, 1),
                other => panic!("{other:?}"),
            }
        });
        homes.put(&table, 0);
        let mut lives = 0;
        if homes.reap(&table, 0) {
            lives += 1;
            must_pin(&table, PFN);
            if table.orphan(PFN) == OrphanOutcome::Busy {
                homes.put(&table, 1);
            }
            lives += usize::from(homes.reap(&table, 1));
        }
        putter.join().expect("no panic");
        vain.join().expect("no panic");
        lives += [0, 1].map(|of| usize::from(homes.reap(&table, of))).iter().sum::<usize>();
        assert!(lives == 1 || lives == 2, "{lives}");
        assert_eq!(pins(&table, PFN), 0);
        // The third pin may have been the first touch of a life that was not ended.
        assert!(table.peek(PFN).is_none_or(|state| !state.orphan()), "an orphan was not freed");
    });
}
