//! A page that moves to another frame beside threads that read and write it: no store is lost, and no thread sees the next
//! owner of the frame that it has left.

use super::{explore, table};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Mutex, RwLock};
use loom::thread;
use pagestone::frame::{FrameTable, HoldOutcome, Manner, PinOutcome, UnpinOutcome};
use pagestone::lookup::Lookaside;
use pagestone::sync::mutant;
use pagestone::units::{FrameNo, PageIndex, Pfn};
use std::sync::Arc;
use std::time::Duration;

/// Where the page is, and where it moves. Frame 0 holds no page.
const FROM: FrameNo = FrameNo(1);
const TO: FrameNo = FrameNo(2);
const MINE: u64 = 7;
const THEIRS: u64 = 1000;
/// A wait with a limit, which in a model ends at once.
const LIMIT: Option<Duration> = Some(Duration::from_secs(1));

fn pfn(frame: FrameNo) -> Pfn {
    Pfn::new(frame.0.into())
}

/// An object with one page, and what leads to the page.
struct World {
    table: Arc<FrameTable>,
    lookaside: Lookaside,
    page: PageIndex,
    map: AtomicU32,
    /// As `OpenObject::shape`.
    shape: RwLock<()>,
    /// By frame number.
    bytes: [UnsafeCell<u64>; 3],
    /// The frame that a view shows. A load through the view, and a change of its mapping, are each one step.
    view: Mutex<FrameNo>,
}

// SAFETY: loom reports every access to the bytes that pins, latches and mappings do not order.
unsafe impl Sync for World {}
// SAFETY: as for Sync.
unsafe impl Send for World {}

/// A pin as `PageRef`.
struct Pin<'w>(&'w World, FrameNo);

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        self.0.put(self.1);
    }
}

impl World {
    /// Page 0 is in the first run, any other has a word of its own. `used`: its frame was pinned before.
    fn new(page: u64, used: bool) -> Arc<Self> {
        let table = table(2);
        let lookaside = Lookaside::new(4);
        lookaside.fill(PageIndex(page), FROM);
        let pins = if used { 2 } else { 0 };
        (0..pins).for_each(|_| assert!(table.pin(pfn(FROM)).is_pinned()));
        (0..pins).for_each(|_| assert_eq!(table.unpin(pfn(FROM)), UnpinOutcome::Kept));
        Arc::new(Self {
            table,
            lookaside,
            page: PageIndex(page),
            map: AtomicU32::new(FROM.0),
            shape: RwLock::new(()),
            bytes: [UnsafeCell::new(0), UnsafeCell::new(MINE), UnsafeCell::new(0)],
            view: Mutex::new(FROM),
        })
    }

    fn put(&self, frame: FrameNo) {
        assert_ne!(
            self.table.unpin(pfn(frame)),
            UnpinOutcome::LastOfOrphan,
            "a frame that moves is no orphan"
        );
    }

    /// As `OpenObject::hit`, `look_up` and `Pages::past_holds`.
    fn pin(&self) -> Pin<'_> {
        loop {
            if let Some(pin) = self.lookaside.pin(self.page, |frame| self.try_pin(frame)) {
                return pin;
            }
            let refused = {
                let _steady = self.shape.read().expect("not poisoned");
                let frame = FrameNo(self.map.load(Ordering::Acquire));
                match self.table.pin(pfn(frame)) {
                    PinOutcome::Held => frame,
                    outcome => {
                        assert!(outcome.is_pinned(), "{outcome:?}");
                        self.lookaside.fill(self.page, frame);
                        return Pin(self, frame);
                    }
                }
            };
            assert!(self.table.wait_unheld(pfn(refused), None));
        }
    }

    /// As `Window::try_pin`: a first touch is undone.
    fn try_pin(&self, frame: FrameNo) -> Option<Pin<'_>> {
        match self.table.pin(pfn(frame)) {
            PinOutcome::Pinned => Some(Pin(self, frame)),
            PinOutcome::Populated => {
                self.put(frame);
                None
            }
            PinOutcome::Held => None,
            other => panic!("{other:?}"),
        }
    }

    fn read(&self) -> u64 {
        let pin = self.pin();
        self.table.pinned(pfn(pin.1)).latch_shared(Manner::GivesWay);
        // SAFETY: pinned and latched, or loom reports it.
        let value = self.bytes[pin.1.0 as usize].with(|bytes| unsafe { *bytes });
        self.table.pinned(pfn(pin.1)).release_shared();
        value
    }

    fn add_one(&self) {
        let pin = self.pin();
        self.table.pinned(pfn(pin.1)).latch_exclusive();
        // SAFETY: pinned and latched alone, or loom reports it.
        self.bytes[pin.1.0 as usize].with_mut(|bytes| unsafe { *bytes += 1 });
        self.table.pinned(pfn(pin.1)).release_exclusive();
    }

    /// A load through the view, without a pin.
    fn look(&self) -> u64 {
        let shown = self.view.lock().expect("not poisoned");
        // SAFETY: the view shows the frame until its mapping is changed, or loom reports it.
        self.bytes[shown.0 as usize].with(|bytes| unsafe { *bytes })
    }

    /// As `OpenObject::hold`. Returns whether the frame is held and has no pin.
    fn hold(&self, limit: Option<Duration>) -> bool {
        if mutant("move_without_hold") {
            return true;
        }
        if !mutant("hold_of_nothing") {
            assert!(self.table.pin(pfn(FROM)).is_pinned());
        }
        let held = self.table.hold(pfn(FROM));
        if !mutant("hold_of_nothing") {
            self.put(FROM);
        }
        match held {
            HoldOutcome::AlreadyHeld => panic!("one thread moves"),
            HoldOutcome::Unpopulated => true,
            HoldOutcome::Idle | HoldOutcome::Pinned if self.table.wait_idle(pfn(FROM), limit) => true,
            HoldOutcome::Idle | HoldOutcome::Pinned => {
                self.table.unhold(pfn(FROM));
                false
            }
        }
    }

    /// As `OpenObject::switch`. Afterwards the frame has another owner, which stores to it. Returns whether the page moved.
    fn migrate(&self, limit: Option<Duration>) -> bool {
        if !self.hold(limit) {
            return false;
        }
        // SAFETY: the one frame is held and has no pin, no other thread knows the other; or loom reports it.
        let value = self.bytes[1].with(|bytes| unsafe { *bytes });
        // SAFETY: as above.
        self.bytes[2].with_mut(|bytes| unsafe { *bytes = value });
        {
            let _alone = self.shape.write().expect("not poisoned");
            self.map.store(TO.0, Ordering::Release);
            self.lookaside.clear(self.page.0..self.page.0 + 1);
            if !mutant("view_stays") {
                *self.view.lock().expect("not poisoned") = TO;
            }
            self.table.retire_orphan(pfn(FROM));
        }
        (0..2).for_each(|_| assert!(self.table.pin(pfn(FROM)).is_pinned()));
        // SAFETY: no thread has the frame any more, or loom reports it.
        self.bytes[1].with_mut(|bytes| unsafe { *bytes = THEIRS });
        true
    }
}

/// A move beside these visitors, which add `sum`.
fn model(preemptions: usize, page: u64, limit: Option<Duration>, visitors: Vec<fn(&World)>, sum: u64) {
    explore(preemptions, move || {
        let world = World::new(page, true);
        let visit = |visit: &fn(&World)| {
            let (world, visit) = (world.clone(), *visit);
            thread::spawn(move || visit(&world))
        };
        let threads: Vec<_> = visitors.iter().map(visit).collect();
        let moved = world.migrate(limit);
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert!(moved || limit.is_some());
        assert_eq!(world.read(), MINE + sum, "a store was lost");
        assert_eq!(world.look(), MINE + sum, "the view shows something else");
    });
}

fn reader(world: &World) {
    assert!(world.read() < THEIRS, "another owner's bytes");
}

fn viewer(world: &World) {
    assert!(world.look() < THEIRS, "another owner's bytes");
}

#[test]
fn a_move_of_a_frame_that_was_never_pinned_loses_no_store() {
    explore(3, || {
        let world = World::new(1, false);
        let writer = thread::spawn({
            let world = world.clone();
            move || world.add_one()
        });
        assert!(world.migrate(None));
        writer.join().expect("no panic");
        assert_eq!(world.read(), MINE + 1, "a store was lost");
    });
}

#[test]
fn a_move_and_a_reader_see_each_other() {
    model(3, 1, None, vec![reader], 0);
}

#[test]
fn a_move_and_a_reader_of_the_first_run_see_each_other() {
    model(3, 0, None, vec![reader], 0);
}

#[test]
fn a_move_loses_no_store() {
    model(3, 1, None, vec![World::add_one], 1);
}

#[test]
fn a_move_that_gives_up_leaves_the_page_and_wakes_the_threads_that_wait_for_it() {
    model(1, 1, LIMIT, vec![World::add_one, reader], 1);
}

#[test]
fn a_move_beside_a_writer_and_a_reader() {
    model(1, 1, None, vec![World::add_one, reader], 1);
}

#[test]
fn a_move_beside_a_look_through_a_view() {
    model(4, 1, None, vec![viewer], 0);
}
