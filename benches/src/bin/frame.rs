//! The cost of the frame table by itself: medians of several rounds, in nanoseconds per operation.
//!
//! `cargo run --release -p pagestone-benches --features internals --bin frame`

use pagestone::Pfn;
use pagestone::frame::{FrameTable, Manner};
use pagestone_kit::random::Random;
use std::hint::black_box;
use std::time::{Duration, Instant};

const ROUNDS: usize = 11;
/// Frames of the random test: 16 MiB of descriptors, far more than the nearest caches hold.
const RESIDENT: u64 = 1 << 20;

/// Prints the median of `ROUNDS` runs of `round`, which returns the time of `operations` operations.
fn report(name: &str, operations: u64, mut round: impl FnMut() -> Duration) {
    let mut times: Vec<f64> = (0..ROUNDS).map(|_| round().as_nanos() as f64 / operations as f64).collect();
    times.sort_by(f64::total_cmp);
    println!("{name:<58} {:>8.1} ns   (fastest {:.1})", times[ROUNDS / 2], times[0]);
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn new_table() -> FrameTable {
    FrameTable::with_capacity(1 << 32, 1 << 20).expect("address space for a frame table")
}

fn pin_and_unpin(table: &FrameTable, pfn: Pfn) {
    let _ = black_box(table.pin(pfn));
    let _ = black_box(table.unpin(pfn));
}

/// Each of the first `RESIDENT` frames once, in an order that no prefetcher predicts.
fn shuffled() -> Vec<Pfn> {
    let mut order: Vec<_> = (0..RESIDENT).map(Pfn::new).collect();
    Random::new(1).shuffle(&mut order);
    order
}

fn hot(table: &FrameTable) {
    const PINS: u64 = 1_000_000;
    let pfn = Pfn::new(42);
    (0..2).for_each(|_| pin_and_unpin(table, pfn));
    report("pin + unpin, one hot frame", PINS, || {
        timed(|| (0..PINS).for_each(|_| pin_and_unpin(table, pfn)))
    });
    report("pin + unpin, one hot frame, two threads", PINS, || {
        let work = || timed(|| (0..PINS).for_each(|_| pin_and_unpin(table, pfn)));
        std::thread::scope(|scope| {
            let other = scope.spawn(work);
            work().max(other.join().expect("a thread of the benchmark"))
        })
    });
    let _ = table.pin(pfn);
    report("latch + release, exclusive", PINS, || {
        timed(|| {
            (0..PINS).for_each(|_| {
                table.pinned(pfn).latch_exclusive();
                table.pinned(pfn).release_exclusive();
            });
        })
    });
    report("latch + release, shared", PINS, || {
        timed(|| {
            (0..PINS).for_each(|_| {
                table.pinned(pfn).latch_shared(Manner::GivesWay);
                table.pinned(pfn).release_shared();
            });
        })
    });
    report("version + validate", PINS, || {
        timed(|| {
            (0..PINS)
                .for_each(|_| assert!(black_box(table.pinned(pfn).validate(table.pinned(pfn).version()))))
        })
    });
    report("peek", PINS, || timed(|| (0..PINS).for_each(|_| assert!(black_box(table.peek(pfn)).is_some()))));
    let _ = table.unpin(pfn);
}

fn random(table: &FrameTable, order: &[Pfn]) {
    (0..2).for_each(|_| order.iter().for_each(|pfn| pin_and_unpin(table, *pfn)));
    report("pin + unpin, random of 1M resident frames", RESIDENT, || {
        timed(|| order.iter().for_each(|pfn| pin_and_unpin(table, *pfn)))
    });
}

fn first_touches() {
    const TOUCHES: u64 = 400_000;
    report("first touch + unpin, sequential, fresh memory", TOUCHES, || {
        let table = new_table();
        timed(|| (0..TOUCHES).for_each(|n| pin_and_unpin(&table, Pfn::new(n))))
    });
    report("first touch + unpin, one a chunk, fresh memory", TOUCHES / 256, || {
        let table = new_table();
        timed(|| (0..TOUCHES / 256).for_each(|n| pin_and_unpin(&table, Pfn::new(n * 256))))
    });
    report("first touch + unpin, sequential, over budget", TOUCHES, || {
        let table = new_table();
        table.set_budget(512);
        (0..TOUCHES).for_each(|n| pin_and_unpin(&table, Pfn::new(n)));
        timed(|| (TOUCHES..2 * TOUCHES).for_each(|n| pin_and_unpin(&table, Pfn::new(n))))
    });
    report("reclaim of a full chunk", TOUCHES / 256, || {
        let table = new_table();
        (0..TOUCHES).for_each(|n| pin_and_unpin(&table, Pfn::new(n)));
        timed(|| {
            black_box(table.reclaim(usize::MAX));
        })
    });
}

fn main() {
    let table = new_table();
    hot(&table);
    random(&table, &shuffled());
    first_touches();
}
