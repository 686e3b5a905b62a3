//! Writers have a turn, limits are errors, and no thread waits for itself.

use crate::{PAGE, check, filled, pin, store};
use pagestone::Error;
use pagestone::frame::{FrameTable, HoldOutcome};
use pagestone::page::{PINS_MAX, PageRef, READERS_MAX, ReadGuard};
use pagestone::store::Object;
use pagestone::units::{PageIndex, Pfn};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// How long a waiting writer keeps readers out at a time.
const TURN: Duration = Duration::from_millis(50);

/// Runs `body` on a thread of its own. If it takes a minute, it hangs.
pub(crate) fn in_time<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    let thread = thread::spawn(move || done.send(body()).expect("the test waits"));
    match wait.recv_timeout(Duration::from_secs(60)) {
        Ok(value) => value,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("it has said nothing"),
        },
    }
}

/// Waits until a thread waits for a latch of the frame.
pub(crate) fn until_one_waits(pfn: Pfn) {
    while !FrameTable::global().peek(pfn).expect("in use").waiters() {
        thread::yield_now();
    }
    // It sets that flag before it sleeps.
    thread::sleep(Duration::from_millis(2));
}

fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

#[test]
fn a_writer_has_its_turn_among_eight_threads_that_hold_guards_in_a_loop() {
    const WRITES: u64 = 1000;
    let store = store();
    let object = filled(&store, "a", 1);
    let page = pin(&object, 0);
    let (begun, done, end) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let latches = AtomicU64::new(0);
    // For each write, the latches that were given past the waiting writer.
    let passed: Vec<_> = (0..=WRITES).map(|_| AtomicU64::new(0)).collect();
    let started = Instant::now();
    let took: Vec<Duration> = thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !end.load(SeqCst) {
                    let write = begun.load(SeqCst);
                    let waits = FrameTable::global().peek(page.pfn()).expect("pinned").waiters();
                    let waits = waits && write > done.load(SeqCst);
                    let guard = page.read().unwrap();
                    if waits && write > done.load(SeqCst) {
                        passed[write as usize].fetch_add(1, SeqCst);
                    }
                    latches.fetch_add(1, SeqCst);
                    spin(Duration::from_micros(20));
                    drop(guard);
                    thread::yield_now();
                }
            });
        }
        let took = (1..=WRITES).map(|write| {
            begun.store(write, SeqCst);
            let start = Instant::now();
            object.write_at(0, &write.to_le_bytes()).unwrap();
            let took = start.elapsed();
            done.store(write, SeqCst);
            thread::sleep(Duration::from_micros(200));
            took
        });
        let took = took.collect();
        end.store(true, SeqCst);
        took
    });
    let worst = took.iter().max().expect("some");
    // If the holder of a latch did not run for a whole turn, readers pass.
    let in_turn = (1..=WRITES as usize).filter(|write| took[write - 1] < TURN);
    let most = in_turn.clone().map(|write| passed[write].load(SeqCst)).max();
    println!(
        "{WRITES} writes in {:.2?}, the longest {worst:.2?}; {} ended in one turn, passed by at most {most:?} of {} latches",
        started.elapsed(),
        in_turn.count(),
        latches.into_inner(),
    );
    assert!(*worst < Duration::from_secs(1), "{worst:?}");
    assert!(most.is_none_or(|most| most <= 64), "{most:?} latches were given past a writer that waited");
}

/// Each reader holds the page that the other wants, while a writer waits for one page and a batch for the other. The
/// threads that hold guards go first.
#[test]
fn readers_that_want_each_others_pages_go_before_the_writers_that_wait_for_them() {
    in_time(|| {
        let store = store();
        let object = filled(&store, "a", 2);
        let pages = [pin(&object, 0), pin(&object, 1)];
        let both = Barrier::new(3);
        let start = Instant::now();
        thread::scope(|scope| {
            for (own, other) in [(&pages[0], &pages[1]), (&pages[1], &pages[0])] {
                let both = &both;
                scope.spawn(move || {
                    let held = own.read().unwrap();
                    both.wait();
                    both.wait();
                    drop(other.read().unwrap());
                    drop(held);
                });
            }
            both.wait();
            scope.spawn(|| object.write_at(PAGE, b"written").unwrap());
            scope.spawn(|| {
                let mut batch = store.batch();
                batch.write_at(&object, 0, b"batched").unwrap();
                batch.commit().unwrap();
            });
            pages.iter().for_each(|page| until_one_waits(page.pfn()));
            both.wait();
        });
        println!("all had their turn after {:?}", start.elapsed());
        assert_eq!(&pages[1].read().unwrap()[..7], b"written");
        assert_eq!(&pages[0].read().unwrap()[..7], b"batched");
    });
}

/// The writer waits for the first reader, which waits for the reader behind the writer.
#[test]
fn a_reader_that_a_writers_holder_waits_for_is_delayed_and_not_locked_out() {
    in_time(|| {
        let store = store();
        let object = filled(&store, "a", 1);
        let page = pin(&object, 0);
        thread::scope(|scope| {
            let held = page.read().unwrap();
            let writer = scope.spawn(|| object.write_at(0, b"x").unwrap());
            until_one_waits(page.pfn());
            let start = Instant::now();
            let reader = scope.spawn(|| drop(page.read().unwrap()));
            reader.join().unwrap();
            println!("the reader was delayed by {:?}", start.elapsed());
            assert!(!writer.is_finished());
            drop(held);
        });
        assert_eq!(page.read().unwrap()[0], b'x');
    });
}

/// After a turn readers pass for as long, although the writer still waits.
#[test]
fn readers_pass_a_writer_whose_turn_is_over() {
    in_time(|| {
        let store = store();
        let object = filled(&store, "a", 1);
        let page = pin(&object, 0);
        thread::scope(|scope| {
            let held = page.read().unwrap();
            let writer = scope.spawn(|| object.write_at(0, b"x").unwrap());
            until_one_waits(page.pfn());
            let reader = scope.spawn(|| {
                let start = Instant::now();
                let latches = (0..100_000).take_while(|_| start.elapsed() < 8 * TURN);
                latches.map(|_| drop(page.read().unwrap())).count()
            });
            let latches = reader.join().unwrap();
            println!("{latches} latches in eight turns");
            assert!(latches > 100, "one a turn: the gate never opened");
            assert!(!writer.is_finished());
            drop(held);
        });
    });
}

/// If the gate stayed open, the writer might never get the page.
#[test]
fn after_a_pause_the_gate_closes_again() {
    in_time(|| {
        let store = store();
        let object = filled(&store, "a", 1);
        let page = pin(&object, 0);
        thread::scope(|scope| {
            let held = page.read().unwrap();
            let writer = scope.spawn(|| object.write_at(0, b"x").unwrap());
            until_one_waits(page.pfn());
            let changes = scope.spawn(|| {
                let (start, mut changes, mut open) = (Instant::now(), Vec::new(), false);
                while changes.len() < 5 && start.elapsed() < 30 * TURN {
                    if page.try_read().unwrap().is_some() != open {
                        open = !open;
                        changes.push(start.elapsed());
                    }
                    thread::sleep(TURN / 50);
                }
                changes
            });
            let changes = changes.join().unwrap();
            println!("open, closed and so on after {changes:.0?}");
            assert!(!writer.is_finished());
            drop(held);
            assert_eq!(changes.len(), 5, "{changes:?}");
        });
    });
}

/// What a thread does again and again.
type Again<'a> = &'a (dyn Fn() + Sync);

/// Runs a writer for each closure, until the end of `body` or for five seconds.
fn beside<T>(writers: &[Again<'_>], body: impl FnOnce() -> T) -> T {
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        for write in writers {
            let end = &end;
            scope.spawn(move || {
                let start = Instant::now();
                while !end.load(SeqCst) && start.elapsed() < Duration::from_secs(5) {
                    write();
                }
            });
        }
        let value = body();
        end.store(true, SeqCst);
        value
    })
}

/// The reader came when no writer waited, and is not the one that a release wakes first.
#[test]
fn a_reader_that_came_first_comes_in_beside_writers_that_hand_the_page_over() {
    in_time(|| {
        let store = store();
        let object = filled(&store, "a", 1);
        let page = pin(&object, 0);
        // Each writer gives the page back when the other one waits for it.
        let about_to_wait = AtomicU64::new(0);
        let write = || {
            about_to_wait.fetch_add(1, SeqCst);
            let guard = page.write().unwrap();
            about_to_wait.fetch_sub(1, SeqCst);
            let start = Instant::now();
            while about_to_wait.load(SeqCst) == 0 && start.elapsed() < 2 * TURN {
                thread::sleep(Duration::from_micros(100));
            }
            thread::sleep(Duration::from_millis(1));
            drop(guard);
        };
        thread::scope(|scope| {
            let held = page.write().unwrap();
            let reader = scope.spawn(|| drop(page.read().unwrap()));
            until_one_waits(page.pfn());
            let start = Instant::now();
            let took = beside(&[&write, &write], || {
                thread::sleep(Duration::from_millis(5));
                drop(held);
                reader.join().unwrap();
                start.elapsed()
            });
            println!("the reader was delayed by {took:?}");
            assert!(took < Duration::from_secs(1), "{took:?}");
        });
    });
}

/// A release wakes the waiting threads, but the page may be taken again before they run.
#[test]
fn a_waiting_thread_is_not_kept_out_by_others_that_take_the_page_again_and_again() {
    const MOST: u64 = 100;
    in_time(|| {
        let store = store();
        let object = filled(&store, "a", 1);
        let page = pin(&object, 0);
        let taken = AtomicU64::new(0);
        let hold = || {
            let guard = page.write().unwrap();
            taken.fetch_add(1, SeqCst);
            spin(Duration::from_millis(2));
            drop(guard);
        };
        let commit = || {
            let mut batch = store.batch();
            batch.write_at(&object, 64, &[7; 1000]).unwrap();
            batch.commit().unwrap();
        };
        let write = || object.write_at(0, b"x").unwrap();
        let read = || drop(page.read().unwrap());
        let copy = || assert_eq!(object.read_at(2000, &mut [0; 100]).unwrap(), 100);
        let others: [(&str, &[Again<'_>]); 4] = [
            ("one holds", &[&hold]),
            ("two hold", &[&hold, &hold]),
            ("one commits", &[&commit]),
            ("two commit", &[&commit, &commit]),
        ];
        let calls: [(&str, &dyn Fn()); 4] =
            [("write", &write), ("read", &read), ("copy", &copy), ("batch", &commit)];
        let mut late = Vec::new();
        for (beside_what, writers) in others {
            for (what, call) in calls {
                let (passed, took) = beside(writers, || {
                    let each = (0..20).map(|_| {
                        thread::sleep(Duration::from_millis(3));
                        let (before, start) = (taken.load(SeqCst), Instant::now());
                        call();
                        (taken.load(SeqCst) - before, start.elapsed())
                    });
                    each.fold((0, Duration::ZERO), |most, one| (most.0.max(one.0), most.1.max(one.1)))
                });
                println!("{beside_what}: a {what} was passed {passed} times at most, and took {took:.1?}");
                if passed > MOST || took > Duration::from_secs(2) {
                    late.push((beside_what, what, passed, took));
                }
            }
        }
        assert!(late.is_empty(), "{late:?}");
    });
}

/// Reads that pin the page again and again may leave no moment without a pin.
#[test]
fn a_cut_that_waits_does_not_time_out_beside_short_reads() {
    in_time(|| {
        let store = store();
        let object = filled(&store, "a", 3);
        let (end, readers) = (AtomicBool::new(false), Barrier::new(5));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    readers.wait();
                    while let (false, Some(page)) = (end.load(SeqCst), object.pin(PageIndex(2)).unwrap()) {
                        spin(Duration::from_micros(20));
                        drop(page);
                    }
                });
            }
            readers.wait();
            let start = Instant::now();
            let cut = object.set_len_wait(2 * PAGE, Duration::from_secs(20));
            end.store(true, SeqCst);
            println!("cut after {:?}", start.elapsed());
            cut.unwrap();
        });
        assert_eq!(object.len(), 2 * PAGE);
        drop(object);
        check(&store);
    });
}

#[test]
fn a_cut_that_waits_lets_its_time_run_out_under_a_pin_that_stays() {
    in_time(|| {
        let store = store();
        let object = filled(&store, "a", 3);
        let kept = pin(&object, 1);
        thread::scope(|scope| {
            let cut = scope.spawn(|| object.set_len_wait(0, 4 * TURN));
            let start = Instant::now();
            while !cut.is_finished() {
                // Pins are delayed and then given, even to the thread that holds one already.
                drop((pin(&object, 1), pin(&object, 2)));
            }
            println!("pinned all the {:?}", start.elapsed());
            assert!(matches!(cut.join().unwrap(), Err(Error::TimedOut { .. })));
        });
        assert_eq!(object.len(), 3 * PAGE, "nothing has changed");
        drop(kept);
        object.set_len_wait(0, Duration::MAX).unwrap();
    });
}

/// Other holds of the frame begin and end beside the cut.
#[test]
fn a_cut_that_waits_takes_no_end_of_a_hold_for_the_end_of_a_pin() {
    in_time(|| {
        let store = store();
        let object = filled(&store, "a", 2);
        let kept = pin(&object, 1);
        // Long enough for a cut to begin its wait meanwhile, and short enough to end during that wait.
        let hold_and_let_go = || {
            if FrameTable::global().hold(kept.pfn()) != HoldOutcome::AlreadyHeld {
                spin(Duration::from_micros(5));
                FrameTable::global().unhold(kept.pfn());
            }
            spin(Duration::from_micros(5));
        };
        let (cuts, last) = beside(&[&hold_and_let_go], || {
            let start = Instant::now();
            let mut cuts = (0u64..).map(|n| (n, object.set_len_wait(PAGE, Duration::from_micros(50))));
            let ends = |cut: &(u64, Result<(), Error>)| {
                !matches!(cut.1, Err(Error::TimedOut { .. })) || start.elapsed() > Duration::from_secs(1)
            };
            cuts.find(ends).expect("no end of numbers")
        });
        println!("{cuts} cuts");
        assert!(matches!(last, Err(Error::TimedOut { .. })), "{last:?}");
        assert_eq!(object.len(), 2 * PAGE, "nothing has changed");
        drop(kept);
        object.set_len_wait(PAGE, Duration::MAX).unwrap();
    });
}

/// As many guards on a page as can be counted.
fn all_guards(page: &PageRef) -> Vec<ReadGuard<'_>> {
    (0..READERS_MAX).map(|_| page.read().unwrap()).collect()
}

#[test]
#[cfg_attr(pagestone_tsan, ignore = "a refused copy waits there")]
fn a_reader_too_many_is_an_error_and_copies_need_no_room() {
    in_time(|| {
        let store = store();
        let object = filled(&store, "a", 1);
        let page = pin(&object, 0);
        let guards = all_guards(&page);
        assert!(matches!(page.read(), Err(Error::TooManyReaders { readers: 511, .. })));
        assert!(page.try_read().unwrap().is_none());
        thread::scope(|scope| {
            let refused = scope.spawn(|| matches!(page.read(), Err(Error::TooManyReaders { .. })));
            assert!(refused.join().unwrap(), "a thread without a guard");
        });
        let handles: Vec<Object> = (0..5000).map(|_| store.open("a").unwrap()).collect();
        for (n, handle) in handles.iter().enumerate() {
            let mut bytes = [0; 100];
            assert_eq!(handle.read_at(n as u64 % 3000, &mut bytes).unwrap(), 100);
            assert_eq!(bytes, [1; 100]);
        }
        assert_eq!(page.info().shared, 511);
        drop(guards);
        assert_eq!(page.info().shared, 0);
        drop(page.read().unwrap());
    });
}

/// Copies begin and end at every place in a word.
#[test]
#[cfg_attr(pagestone_tsan, ignore = "a refused copy waits there")]
fn a_copy_without_a_latch_is_of_the_bytes_it_was_asked_for() {
    let store = store();
    let object = store.create("a").unwrap();
    let content: Vec<u8> = (0..2 * PAGE).map(|n| (n * 7 + n / 251) as u8).collect();
    object.write_at(0, &content).unwrap();
    let pages = [pin(&object, 0), pin(&object, 1)];
    let guards = pages.each_ref().map(all_guards);
    for start in (0..20).chain(4080..4100) {
        for len in (0..30).chain([4076, 4090]) {
            let mut bytes = vec![0; len];
            assert_eq!(object.read_at(start as u64, &mut bytes).unwrap(), len);
            assert_eq!(bytes, content[start..start + len], "{len} bytes from {start} on");
        }
    }
    drop(guards);
}

/// A copy does not wait for a waiting writer, and a writer that stores does not tear it.
#[test]
#[cfg_attr(pagestone_tsan, ignore = "a refused copy waits there")]
fn a_copy_passes_a_writer_that_waits_and_is_never_torn() {
    in_time(|| {
        let store = store();
        let object = filled(&store, "a", 1);
        let page = pin(&object, 0);
        thread::scope(|scope| {
            let held = page.read().unwrap();
            let writer = scope.spawn(|| {
                (0..5000u32).for_each(|n| object.write_at(0, &[n as u8; PAGE as usize]).unwrap());
            });
            until_one_waits(page.pfn());
            for n in 0..5000 {
                let mut bytes = [0; PAGE as usize];
                object.read_at(0, &mut bytes).unwrap();
                assert!(bytes.iter().all(|byte| *byte == bytes[0]), "torn");
                if n == 1000 {
                    assert!(!writer.is_finished());
                    break;
                }
            }
            drop(held);
            while !writer.is_finished() {
                let mut bytes = [0; PAGE as usize];
                object.read_at(0, &mut bytes).unwrap();
                assert!(bytes.iter().all(|byte| *byte == bytes[0]), "torn");
            }
        });
    });
}

#[test]
fn a_page_with_as_many_pins_as_there_may_be_is_read_and_written() {
    let store = store();
    let object = filled(&store, "a", 2);
    let pins: Vec<_> = (0..PINS_MAX).map(|_| pin(&object, 0)).collect();
    let refused = object.pin(PageIndex(0));
    assert!(matches!(refused, Err(Error::TooManyPins { .. })), "{refused:?}");
    object.write_at(10, b"written").unwrap();
    let mut batch = store.batch();
    batch.write_at(&object, 20, b"batched").unwrap();
    batch.commit().unwrap();
    object.punch_hole(30, 7).unwrap();
    let mut bytes = [0; 27];
    object.read_at(10, &mut bytes).unwrap();
    assert_eq!(&bytes, b"written\x01\x01\x01batched\x01\x01\x01\0\0\0\0\0\0\0");
    assert_eq!(pins[0].info().pins, PINS_MAX);
    let refused = object.pin(PageIndex(0));
    assert!(matches!(refused, Err(Error::TooManyPins { .. })), "{refused:?}");
    drop(pins);
    assert_eq!(store.stats().pinned_pages, 0);
}

/// The thread that keeps the range may be the same that would wait for it.
#[test]
fn a_write_and_a_batch_under_a_range_that_is_kept_are_told() {
    in_time(|| {
        let store = store();
        let object = filled(&store, "a", 3);
        let kept = object.pin_range(100, 5000).unwrap().pinned().unwrap().try_read().unwrap().unwrap();
        let mut batch = store.batch();
        batch.write_at(&object, 4096, b"batched").unwrap();
        batch.write_at(&object, 2 * PAGE, b"batched").unwrap();
        assert!(matches!(batch.commit(), Err(Error::Busy { .. })));
        assert!(matches!(object.write_at(0, b"x"), Err(Error::Busy { .. })));
        assert!(matches!(pin(&object, 1).write().map(drop), Err(Error::Busy { .. })));
        object.write_at(2 * PAGE, b"x").expect("another page");
        assert_eq!(kept[4000], 2, "nothing has changed");
        drop(kept);
        object.write_at(0, b"x").unwrap();
        let mut bytes = [0; 1];
        object.read_at(2 * PAGE + 1, &mut bytes).unwrap();
        assert_eq!(bytes, [3], "nothing of the failed batch is there");
        drop(object);
        check(&store);
    });
}

#[test]
fn ranges_that_are_kept_one_after_another_keep_no_writer_out() {
    in_time(|| {
        let store = store();
        let object = filled(&store, "a", 1);
        let pfn = pin(&object, 0).pfn();
        let keep = || object.pin_range(0, 10).unwrap().pinned().unwrap().try_read().unwrap();
        thread::scope(|scope| {
            let kept = keep().unwrap();
            let writer = scope.spawn(|| object.write_at(0, b"x"));
            until_one_waits(pfn);
            let start = Instant::now();
            let mut past = 0;
            while start.elapsed() < 6 * TURN {
                past += u32::from(keep().is_some());
                thread::sleep(Duration::from_millis(1));
            }
            drop(kept);
            writer.join().unwrap().unwrap();
            assert_eq!(past, 0, "ranges were kept past a writer that waits");

            // A range that ends meanwhile is no reason to wait longer for the other.
            let (first, second) = (keep().unwrap(), keep().unwrap());
            let writer = scope.spawn(|| {
                let start = Instant::now();
                (object.write_at(0, b"y"), start.elapsed())
            });
            until_one_waits(pfn);
            drop(first);
            let (written, took) = writer.join().unwrap();
            assert!(matches!(written, Err(Error::Busy { .. })), "{written:?}");
            assert!(took < Duration::from_millis(3500), "{took:?}");
            drop(second);
        });
    });
}

/// While the batch waits, it has given back its latches, and its objects can grow and be cut.
#[test]
fn a_batch_that_waits_for_a_kept_range_keeps_nothing_from_others() {
    in_time(|| {
        let store = store();
        let object = filled(&store, "a", 3);
        let batch = || {
            let mut batch = store.batch();
            batch.write_at(&object, 0, &[9; 3 * PAGE as usize]).unwrap();
            batch.commit()
        };
        let others = || {
            let start = Instant::now();
            for index in [0, 2] {
                assert_eq!(pin(&object, index).read().unwrap()[0], index as u8 + 1);
                object.write_at(index * PAGE, &[index as u8 + 1]).unwrap();
            }
            object.append(b"more").unwrap();
            object.set_len(3 * PAGE).unwrap();
            start.elapsed()
        };
        let keep = || object.pin_range(PAGE, 100).unwrap().pinned().unwrap().try_read().unwrap().unwrap();
        for (cut, let_go) in [(false, false), (true, true), (false, true)] {
            let (kept, pfn) = (keep(), pin(&object, 1).pfn());
            thread::scope(|scope| {
                let batch = scope.spawn(batch);
                until_one_waits(pfn);
                let took = others();
                println!("others took {took:?}");
                assert!(!batch.is_finished());
                assert!(took < Duration::from_secs(1), "{took:?}");
                if cut {
                    // The page that the batch waits for is cut off.
                    object.set_len(PAGE).unwrap();
                }
                if let_go {
                    drop(kept);
                    batch.join().unwrap().unwrap();
                    assert_eq!(crate::content(&object), [9; 3 * PAGE as usize]);
                    (0..3).for_each(|n| object.write_at(n * PAGE, &[n as u8 + 1; PAGE as usize]).unwrap());
                } else {
                    assert!(matches!(batch.join().unwrap(), Err(Error::Busy { .. })));
                }
            });
        }
        drop(object);
        check(&store);
    });
}

#[test]
fn a_cut_that_waits_does_not_wait_for_pins_of_what_another_has_cut_off() {
    in_time(|| {
        let store = store();
        let object = filled(&store, "a", 4);
        let held = pin(&object, 2);
        thread::scope(|scope| {
            let cut = scope.spawn(|| object.set_len_wait(PAGE, Duration::MAX));
            while !FrameTable::global().peek(held.pfn()).expect("in use").waiters() {
                thread::yield_now();
            }
            object.set_len(2 * PAGE).unwrap();
            let end = Instant::now() + Duration::from_secs(20);
            while !cut.is_finished() && Instant::now() < end {
                thread::sleep(Duration::from_millis(1));
            }
            let waits = !cut.is_finished();
            assert!(held.is_detached());
            drop(held);
            cut.join().unwrap().unwrap();
            assert!(!waits, "the page was not the object's any more");
        });
        assert_eq!(object.len(), PAGE);
        check(&store);
    });
}
