//! Readers see one moment, whatever changes around them.

use super::*;
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
    let ledger = fresh_with(2 << 20, LOG_FRAMES_DEFAULT);
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
