//! Readers see one moment, whatever changes around them.

use super::*;
use crate::media::allocator::KEPT_FOR_FREEING;
use crate::media::layout::{GROUP_FRAMES, file_bytes};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `write` several times while two threads run `read` again and again.
fn race(mut write: impl FnMut(u32), read: impl Fn() + Sync) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    read();
                }
            });
        }
        // Readers end when the writer ends, even if it fails: a failure must not hang.
        let _end = End(&done);
        for i in 0..400 {
            write(i);
        }
    });
}

#[test]
fn a_replaced_name_always_means_the_old_object_or_the_new_one() {
    let ledger = fresh();
    create(&ledger, b"name");
    let write = |_| {
        create(&ledger, b"next");
        let old = ledger.rename(b"next", b"name").unwrap().replaced.unwrap();
        finish(|| ledger.drop_step(old, &mut all_free));
    };
    race(write, || {
        assert!(ledger.lookup(b"name").unwrap().is_some());
        assert!(ledger.list().unwrap().len() <= 2);
    });
    assert_sound(&ledger);
}

#[test]
fn a_map_is_read_while_its_nodes_come_and_go() {
    let ledger = fresh_with(2 << 20, LOG_FRAMES_SMALL);
    let slot = create(&ledger, b"a");
    fill(&ledger, slot, 0..1);
    let region = ledger.log().region().clone();
    let write = |i: u32| {
        let pairs = fill(&ledger, slot, (1..40).map(|page| page * u64::from(i % 700 + 1)));
        finish(|| ledger.punch_step(slot, PageIndex(1)..PageIndex(PAGES_MAX), &mut all_free));
        // What were nodes becomes data: a reader that still follows them must notice.
        ledger.log().checkpoint().unwrap();
        let frames = ledger.allocate(100, None).unwrap();
        for frame in frames.iter().chain(pairs.iter().map(|(_, frame)| frame)) {
            region.memory().write(frame.offset(), &[0x5a; 4096]).unwrap();
        }
        ledger.release(&frames).unwrap();
    };
    race(write, || {
        assert!(ledger.map(slot, PageIndex(0)).unwrap().is_some());
        for page in [1, 39, 600, 5000] {
            ledger.map(slot, PageIndex(page)).unwrap();
        }
        ledger.map_range(slot, PageIndex(0), 2000).unwrap();
        ledger.record(slot).unwrap();
    });
    assert_eq!(assert_sound(&ledger).pages, 1);
}

#[test]
fn a_cut_leaves_no_page_where_groups_come_and_go_beside_it() {
    // With this log a step takes one page more in a region of one group than in one of two.
    let ledger = fresh_with(file_bytes(3 * GROUP_FRAMES), 7);
    let kept = create(&ledger, b"kept");
    for first in (0..).step_by(1000).take_while(|_| ledger.frames() < GROUP_FRAMES - 4096) {
        fill(&ledger, kept, first..first + 1000);
    }
    let slot = create(&ledger, b"a");
    let write = |_| {
        // Each has a leaf of its own, so that a step looks for long.
        fill(&ledger, slot, (0..200).map(|n| n * 512));
        ledger.begin_truncate(slot, 0).unwrap();
        finish(|| ledger.truncate_step(slot, &mut all_free));
        assert_eq!(ledger.mapped(slot, PageIndex(0)..PageIndex(PAGES_MAX), 1).unwrap(), []);
    };
    let grown = AtomicBool::new(false);
    race(write, || {
        let more = ledger.allocate(6000, None).unwrap();
        grown.fetch_or(ledger.shape().groups() == 2, Ordering::Relaxed);
        ledger.release(&more).unwrap();
        ledger.allocator.cut_end(KEPT_FOR_FREEING).unwrap();
    });
    assert!(grown.into_inner());
    assert_sound(&ledger);
}

/// Holes lie behind the end, too, while it is cut.
#[test]
fn what_is_handed_out_beside_cuts_lies_inside_the_region() {
    let ledger = fresh_with(file_bytes(GROUP_FRAMES), LOG_FRAMES_SMALL);
    let memory = ledger.log().region().memory();
    let take = |n: u32| {
        let taken = ledger.allocate(40 + (n as usize * 37) % 300, None).unwrap();
        for frame in &taken {
            assert!(u64::from(frame.0) < ledger.frames(), "{frame:?} of {}", ledger.frames());
            memory.store(frame.offset(), u64::from(n)).unwrap();
        }
        ledger.release(&taken).unwrap();
    };
    race(take, || {
        ledger.release(&ledger.allocate(3000, None).unwrap()).unwrap();
        ledger.compact().unwrap();
        ledger.release(&ledger.allocate(1500, None).unwrap()).unwrap();
        ledger.allocator.cut_end(KEPT_FOR_FREEING).unwrap();
    });
    assert_sound(&ledger);
}
