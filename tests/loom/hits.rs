//! A hit beside a cut: the lookaside leads no hit to a frame that went to another owner.

use super::{explore, table};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use pagestone::frame::{FrameTable, OrphanOutcome, PinOutcome, UnpinOutcome};
use pagestone::lookup::Lookaside;
use pagestone::sync::mutant;
use pagestone::units::{FrameNo, PageIndex, Pfn};
use std::sync::Arc;

/// Not 0: frame 0 holds no page.
const FRAME: FrameNo = FrameNo(1);
const PFN: Pfn = Pfn::new(1);
const MINE: u64 = 0;
const THEIRS: u64 = 2;

/// An object that knows where one of its pages is, and the bytes of that frame.
struct World {
    table: Arc<FrameTable>,
    lookaside: Lookaside,
    page: PageIndex,
    bytes: UnsafeCell<u64>,
    freed: AtomicBool,
}

// SAFETY: loom reports every access to the bytes that pins do not order.
unsafe impl Sync for World {}
// SAFETY: as for Sync.
unsafe impl Send for World {}

/// A pin as `PageRef`, whose drop is the one put.
struct Pin<'w>(&'w World);

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        if self.0.table.unpin(PFN) == UnpinOutcome::LastOfOrphan {
            self.0.reuse();
        }
    }
}

impl World {
    /// Page 0 goes into the first run. Any other page gets a word of its own.
    fn new(page: u64) -> Arc<Self> {
        let lookaside = Lookaside::new(4);
        lookaside.fill(PageIndex(page), FRAME);
        let table = table(1);
        // After the second pin of a frame, a further pin only counts.
        (0..2).for_each(|_| assert!(table.pin(PFN).is_pinned()));
        (0..2).for_each(|_| assert_eq!(table.unpin(PFN), UnpinOutcome::Kept));
        Arc::new(Self {
            table,
            lookaside,
            page: PageIndex(page),
            bytes: UnsafeCell::new(MINE),
            freed: AtomicBool::new(false),
        })
    }

    /// As `Window::try_pin`: a first touch is undone.
    fn try_pin(&self, frame: FrameNo) -> Option<Pin<'_>> {
        assert_eq!(frame, FRAME);
        match self.table.pin(PFN) {
            PinOutcome::Pinned => Some(Pin(self)),
            PinOutcome::Populated => {
                drop(Pin(self));
                None
            }
            PinOutcome::Orphan => None,
            PinOutcome::OrphanClaimed => {
                self.reuse();
                None
            }
            other => panic!("{other:?}"),
        }
    }

    /// As `OpenObject::hit`; whether there was a pin.
    fn hit(&self) -> bool {
        let Some(pin) = self.lookaside.pin(self.page, |frame| self.try_pin(frame)) else { return false };
        // SAFETY: the pin keeps the frame from going to another owner, or loom reports it.
        self.bytes.with(|bytes| assert_eq!(unsafe { *bytes }, MINE, "another owner's bytes"));
        drop(pin);
        true
    }

    /// As `OpenObject::cut`: forget, then detach.
    fn cut(&self, pages: std::ops::Range<u64>) {
        if mutant("detach_before_forget") {
            self.detach();
        }
        self.lookaside.clear(pages);
        if !mutant("detach_before_forget") {
            self.detach();
        }
    }

    fn detach(&self) {
        if self.table.orphan(PFN) == OrphanOutcome::Idle {
            self.reuse();
        }
    }

    /// Gives the frame to another owner, which pins it like any page of its own, and stores to it.
    fn reuse(&self) {
        self.table.retire_orphan(PFN);
        (0..2).for_each(|_| assert!(self.table.pin(PFN).is_pinned()));
        // SAFETY: the frame had no owner, or loom reports it.
        self.bytes.with_mut(|bytes| unsafe { *bytes = THEIRS });
        assert!(!self.freed.swap(true, Ordering::Relaxed), "freed twice");
    }
}

/// A hit, perhaps two, beside a cut of `pages`, which holds the page at `page`.
fn hit_model(preemptions: usize, readers: usize, page: u64, pages: std::ops::Range<u64>) {
    explore(preemptions, move || {
        let world = World::new(page);
        let threads: Vec<_> = (0..readers)
            .map(|_| {
                let world = world.clone();
                thread::spawn(move || world.hit())
            })
            .collect();
        world.cut(pages.clone());
        threads.into_iter().for_each(|thread| {
            thread.join().expect("no panic");
        });
        assert!(world.freed.load(Ordering::Relaxed), "forgotten");
        assert_eq!(world.table.peek(PFN).expect("the other owner's").pins(), 2);
        assert!(!world.hit());
    });
}

#[test]
fn a_hit_of_the_first_run_and_a_cut_see_each_other() {
    hit_model(4, 1, 0, 0..u64::MAX);
}

#[test]
fn a_hit_of_a_word_and_a_cut_see_each_other() {
    hit_model(4, 1, 1, 1..2);
}

#[test]
fn a_hit_of_a_word_and_a_cut_that_gives_its_memory_back_see_each_other() {
    hit_model(4, 1, 1, 0..u64::MAX);
}

#[test]
fn two_hits_and_a_cut_see_each_other() {
    hit_model(2, 2, 0, 0..u64::MAX);
}

#[test]
fn a_hit_of_what_a_cut_leaves_is_not_disturbed() {
    explore(4, || {
        let world = World::new(0);
        // A second page in the first run, and a third outside it.
        world.lookaside.fill(PageIndex(1), FrameNo(2));
        world.lookaside.fill(PageIndex(3), FrameNo(9));
        let cutter = thread::spawn({
            let world = world.clone();
            move || world.lookaside.clear(1..u64::MAX)
        });
        // A miss is allowed here: the word that the hit read has changed.
        world.hit();
        cutter.join().expect("no panic");
        assert!(world.hit(), "page 0 was not cut");
    });
}

/// Two lookups each link a page's frame and note where it is. A hit may find it before they return.
fn fill_model(pages: [u64; 2], frames: [u32; 2]) {
    struct Linked(Lookaside, [UnsafeCell<u64>; 2]);
    // SAFETY: loom reports every access that the lookaside's words do not order.
    unsafe impl Sync for Linked {}
    // SAFETY: as for Sync.
    unsafe impl Send for Linked {}
    explore(4, move || {
        let linked = Linked(Lookaside::new(4), [UnsafeCell::new(0), UnsafeCell::new(0)]);
        // The words are reserved under a lock of `std`, which loom does not know. So that happens before there are threads.
        linked.0.fill(PageIndex(2), FrameNo(20));
        let linked = Arc::new(linked);
        let fillers = [0, 1].map(|n: usize| {
            let linked = linked.clone();
            thread::spawn(move || {
                // SAFETY: no other thread knows the frame yet, or loom reports it.
                linked.1[n].with_mut(|bytes| unsafe { *bytes = 1 });
                linked.0.fill(PageIndex(pages[n]), FrameNo(frames[n]));
            })
        });
        let look = |n: usize| {
            let found = linked.0.pin(PageIndex(pages[n]), Some);
            if let Some(frame) = found {
                assert_eq!(frame, FrameNo(frames[n]));
                // SAFETY: a thread that finds the frame sees it linked, or loom reports it.
                linked.1[n].with(|bytes| assert_eq!(unsafe { *bytes }, 1));
            }
            found.is_some()
        };
        [0, 1].map(look).iter().for_each(drop);
        fillers.into_iter().for_each(|filler| filler.join().expect("no panic"));
        assert!([0, 1].map(look) == [true; 2], "noted");
    });
}

#[test]
fn a_hit_beside_the_lookups_that_make_a_first_run_finds_linked_frames() {
    fill_model([0, 1], [1, 2]);
}

#[test]
fn a_hit_beside_the_lookups_that_fill_words_finds_linked_frames() {
    fill_model([1, 3], [5, 9]);
}
