//! Threads, real punches, sleeping latches: no count is lost.

use pagestone::frame::{FrameTable, HoldOutcome, Manner, PinOutcome, UnpinOutcome};
use pagestone::units::{Pfn, PfnRange};
use pagestone_kit::random::Random;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const THREADS: u64 = 4;

#[test]
fn no_count_is_lost_beside_real_punches() {
    const CHUNKS: u64 = 48;
    let table = FrameTable::with_capacity(CHUNKS * 256, 2).expect("address space");
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (table, done) = (&table, &done);
            scope.spawn(move || {
                hold_and_drop(table, CHUNKS, thread);
                done.fetch_add(1, Ordering::Release);
            });
        }
        while done.load(Ordering::Acquire) < THREADS {
            table.reclaim(usize::MAX);
            // Locks are not fair: the other threads need a pause to get them.
            std::thread::sleep(Duration::from_micros(5));
        }
    });
    let stats = table.stats();
    assert!(stats.reclaimed_chunks > 1000, "{stats:?}: too few punches");
    for pfn in table.populated(PfnRange::new(Pfn::new(0), CHUNKS * 256)) {
        assert_eq!(table.peek(pfn).expect("live").pins(), 0, "{pfn}");
    }
    table.reclaim(usize::MAX);
    assert_eq!(table.stats().populated_chunks, 0, "all idle");
}

/// Keeps a few frames pinned and checks that each has at least the pins of this thread. It goes on until there were enough
/// punches, however the threads are scheduled.
fn hold_and_drop(table: &FrameTable, chunks: u64, thread: u64) {
    let mut random = Random::new(thread);
    let mut held = Vec::new();
    let patience = Instant::now() + Duration::from_secs(60);
    for n in 0_u64.. {
        let enough = || table.stats().reclaimed_chunks > 1000 || Instant::now() > patience;
        if n >= 150_000 && n % 1024 == 0 && enough() {
            break;
        }
        let pfn = Pfn::new(random.below(chunks) * 256 + random.below(3));
        assert!(table.pin(pfn).is_pinned());
        held.push(pfn);
        let known = held.iter().filter(|other| **other == pfn).count();
        assert!(table.peek(pfn).expect("a pinned frame is live").pins() as usize >= known);
        if held.len() > 2 {
            let pfn = held.swap_remove(random.below(3) as usize);
            assert_eq!(table.unpin(pfn), UnpinOutcome::Kept);
        }
    }
    held.into_iter().for_each(|pfn| assert_eq!(table.unpin(pfn), UnpinOutcome::Kept));
}

#[test]
fn a_million_racing_first_touches_of_few_frames_populate_each_once() {
    const FRAMES: u64 = 64;
    const ROUNDS: usize = 4000;
    let table = FrameTable::with_capacity(1 << 20, 1 << 12).expect("address space");
    let barrier = Barrier::new(THREADS as usize);
    let populated = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    barrier.wait();
                    let first = round as u64 * FRAMES;
                    let mine =
                        (first..first + FRAMES).filter(|n| table.pin(Pfn::new(*n)) == PinOutcome::Populated);
                    populated.fetch_add(mine.count() as u64, Ordering::Relaxed);
                }
            });
        }
    });
    let distinct = ROUNDS as u64 * FRAMES;
    assert_eq!(distinct * THREADS, 1_024_000, "a million touches");
    assert_eq!(populated.into_inner(), distinct);
    assert_eq!(table.stats().first_touches, distinct);
    for number in 0..distinct {
        assert_eq!(table.peek(Pfn::new(number)).expect("live").pins(), THREADS as u32);
    }
}

#[test]
fn writers_and_readers_exclude_each_other_and_all_wake_up() {
    let table = FrameTable::with_capacity(512, 8).expect("address space");
    let pfn = Pfn::new(77);
    let words = [AtomicU64::new(0), AtomicU64::new(0)];
    let both = || words.each_ref().map(|word| word.load(Ordering::Relaxed));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (table, words) = (&table, &words);
            scope.spawn(move || {
                for _ in 0..50_000 {
                    assert!(table.pin(pfn).is_pinned());
                    if thread % 2 == 0 {
                        table.pinned(pfn).latch_exclusive();
                        words
                            .iter()
                            .for_each(|word| word.store(word.load(Ordering::Relaxed) + 1, Ordering::Relaxed));
                        table.pinned(pfn).release_exclusive();
                    } else {
                        table.pinned(pfn).latch_shared(Manner::GivesWay);
                        let [a, b] = both();
                        assert_eq!(a, b, "torn");
                        table.pinned(pfn).release_shared();
                        let version = table.pinned(pfn).version();
                        let [a, b] = both();
                        assert!(a == b || !table.pinned(pfn).validate(version), "torn and validated");
                    }
                    let _ = table.unpin(pfn);
                }
            });
        }
    });
    assert_eq!(both(), [THREADS / 2 * 50_000; 2]);
}

#[test]
fn waiting_for_idle_ends_in_time_or_with_the_last_put() {
    let table = FrameTable::with_capacity(512, 8).expect("address space");
    let pfn = Pfn::new(5);
    assert!(table.pin(pfn).is_pinned());
    let range = PfnRange::new(Pfn::new(0), 512);
    table.hold_range(range);
    assert_eq!([table.pin(pfn), table.pin(Pfn::new(6))], [PinOutcome::Held; 2], "populated or not");
    let start = Instant::now();
    assert!(!table.wait_idle(pfn, Some(Duration::from_millis(20))));
    assert!(start.elapsed() >= Duration::from_millis(20));
    assert_eq!(table.retire_range(range), Err(pfn));
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| table.wait_idle(pfn, None));
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(table.unpin(pfn), UnpinOutcome::LastOfHeld);
        assert!(waiter.join().expect("no panic"));
    });
    assert_eq!(table.hold(pfn), HoldOutcome::AlreadyHeld);
    table.unhold(pfn);
    assert_eq!(table.pin(pfn), PinOutcome::Held, "the range is held until it is given back");
    assert_eq!(table.retire_range(range), Ok(()));
    table.free(range);
    assert_eq!([table.pin(pfn), table.pin(Pfn::new(6))], [PinOutcome::Populated; 2]);
}

#[test]
fn the_budget_bounds_memory_however_fast_threads_populate() {
    const BUDGET: usize = 64;
    let table = FrameTable::with_capacity(1 << 22, BUDGET).expect("address space");
    let most = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (table, most) = (&table, &most);
            scope.spawn(move || {
                let mut random = Random::new(thread);
                for _ in 0..20_000 {
                    let pfn = Pfn::new(random.below(1 << 22));
                    assert!(table.pin(pfn).is_pinned());
                    assert_eq!(table.unpin(pfn), UnpinOutcome::Kept);
                    most.fetch_max(table.stats().populated_chunks, Ordering::Relaxed);
                }
            });
        }
    });
    let most = most.into_inner();
    assert!(most <= BUDGET as u64 + 2 * 64 + THREADS, "{most} chunks");
}
