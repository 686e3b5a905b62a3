//! Turns of writers and readers of one page, on many schedules: how often a waiting writer is passed, and whether threads
//! that wait for each other all come to an end.

use super::{Choice, Sweep, sweep};
use pagestone::frame::FrameTable;
use pagestone::page::PageRef;
use pagestone::region::region_at;
use pagestone::store::{Object, Store};
use pagestone::units::PageIndex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// The most latches that threads without a guard may be given past a waiting writer.
pub const MOST: u64 = 64;
const READERS: usize = 8;
const WRITES: u64 = 3;

/// A case: what threads do. It returns the most latches that were given past a waiting writer in any write.
pub struct Turns {
    /// Its name.
    pub name: &'static str,
    body: fn() -> u64,
}

impl Turns {
    /// Runs it on this many schedules. Returns how many ran, the most of all, and a violation if there is one.
    #[must_use]
    pub fn explore(&self, seed: u64, schedules: usize) -> (usize, u64, Option<String>) {
        let halves = [(Choice::Random, schedules.div_ceil(2)), (Choice::Priorities, schedules / 2)];
        let (mut ran, mut most, mut violation) = (0, 0, None);
        for (choice, schedules) in halves.into_iter().filter(|half| half.1 > 0) {
            let (passed, stopped) = sweep(Sweep { seed, schedules, choice }, self.body);
            ran += passed.len();
            most = passed.into_iter().fold(most, u64::max);
            violation = violation.or(stopped);
        }
        if most > MOST {
            violation = violation.or(Some(format!("{most} latches were given past a writer that waited")));
        }
        (ran, most, violation)
    }
}

/// All of them.
#[must_use]
pub fn turns() -> Vec<Turns> {
    vec![
        Turns { name: "guards in a loop", body: guards_in_a_loop },
        Turns { name: "guards that cross", body: guards_that_cross },
        Turns { name: "a reader is joined", body: a_reader_is_joined },
        Turns { name: "a cut beside reads", body: a_cut_beside_reads },
        Turns { name: "a put beside a close", body: a_put_beside_a_close },
    ]
}

fn store(pages: u64) -> (Store, Object) {
    let store = Store::options().log_frames(4).open_memory(256 << 10).expect("heap");
    let object = store.create("object").expect("a name");
    (0..pages).for_each(|n| object.write_at(n * 4096, &[1; 4096]).expect("room"));
    (store, object)
}

fn pin(object: &Object, index: u64) -> PageRef {
    object.pin(PageIndex(index)).expect("readable").expect("written")
}

fn one_waits(page: &PageRef) -> bool {
    FrameTable::global().peek(page.pfn()).expect("pinned").waiters()
}

/// Eight threads hold guards of one page in a loop beside a writer of it.
fn guards_in_a_loop() -> u64 {
    let (_store, object) = store(1);
    let page = pin(&object, 0);
    let (begun, done, end) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let passed: Vec<_> = (0..=WRITES).map(|_| AtomicU64::new(0)).collect();
    shuttle::thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                while !end.load(SeqCst) {
                    let write = begun.load(SeqCst);
                    let waits = one_waits(&page) && write > done.load(SeqCst);
                    let guard = page.read().expect("readable");
                    if waits && write > done.load(SeqCst) {
                        passed[write as usize].fetch_add(1, SeqCst);
                    }
                    shuttle::thread::yield_now();
                    drop(guard);
                }
            });
        }
        for write in 1..=WRITES {
            begun.store(write, SeqCst);
            object.write_at(0, &write.to_le_bytes()).expect("in place");
            done.store(write, SeqCst);
        }
        end.store(true, SeqCst);
    });
    passed.into_iter().map(AtomicU64::into_inner).max().unwrap_or_default()
}

/// Two readers want each other's page, while a writer waits for one page and a batch for the other.
fn guards_that_cross() -> u64 {
    let (store, object) = store(2);
    let pages = [pin(&object, 0), pin(&object, 1)];
    shuttle::thread::scope(|scope| {
        for (own, other) in [(&pages[0], &pages[1]), (&pages[1], &pages[0])] {
            scope.spawn(move || {
                let held = own.read().expect("readable");
                drop(other.read().expect("readable"));
                drop(held);
            });
        }
        scope.spawn(|| object.write_at(4096, b"written").expect("in place"));
        scope.spawn(|| {
            let mut batch = store.batch();
            batch.write_at(&object, 0, b"batched").expect("staged");
            batch.commit().expect("room");
        });
    });
    assert_eq!(&pages[1].read().expect("readable")[..7], b"written");
    assert_eq!(&pages[0].read().expect("readable")[..7], b"batched");
    0
}

/// The writer waits for a guard whose thread joins a reader that waits behind the writer.
fn a_reader_is_joined() -> u64 {
    let (_store, object) = store(1);
    let page = pin(&object, 0);
    shuttle::thread::scope(|scope| {
        let held = page.read().expect("readable");
        scope.spawn(|| object.write_at(0, b"x").expect("in place"));
        let reader = scope.spawn(|| drop(page.read().expect("readable")));
        reader.join().expect("no panic");
        drop(held);
    });
    assert_eq!(page.read().expect("readable")[0], b'x');
    0
}

/// A cut waits for pins that begin and end.
fn a_cut_beside_reads() -> u64 {
    let (store, object) = store(2);
    shuttle::thread::scope(|scope| {
        for _ in 0..2 {
            // Without the yield, a schedule of priorities might never leave this thread.
            scope.spawn(|| {
                while object.pin(PageIndex(1)).expect("readable").is_some() {
                    shuttle::thread::yield_now();
                }
            });
        }
        object.set_len_wait(4096, std::time::Duration::MAX).expect("cut");
    });
    drop(object);
    assert!(store.check().expect("readable").is_clean());
    0
}

/// The last pin of a store is dropped while the store is dropped: one of the two lets the region go.
fn a_put_beside_a_close() -> u64 {
    let (store, object) = store(1);
    let page = pin(&object, 0);
    let address = page.address().addr();
    shuttle::thread::scope(|scope| {
        scope.spawn(move || drop(page));
        drop((object, store));
    });
    assert!(region_at(std::ptr::without_provenance(address)).is_none(), "no thread lets the region go");
    0
}
