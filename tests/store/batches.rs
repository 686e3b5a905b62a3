//! What a batch promises without crashes: all or nothing, its cost, and what it refuses.

use crate::{PAGE, check, content, filled, memory, pin};
use pagestone::Error;
use pagestone::frame::FrameTable;
use pagestone::page::PageOwner;
use pagestone::persist::{Event, FileOperation, Recorder};
use pagestone::store::{Batch, Object, Store};
use pagestone::units::{Durability, PageIndex, Pfn};
use pagestone_explorer::gate::Gate;
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const CLASSES: [Durability; 3] = [Durability::CacheLine, Durability::Fdatasync, Durability::Volatile];

/// Fences, file syncs, write-throughs, bytes of records.
fn cost(store: &Store, f: impl FnOnce()) -> (u64, u64, u64, u64) {
    let before = store.stats();
    f();
    let after = store.stats();
    (
        after.fences - before.fences,
        after.file_syncs - before.file_syncs,
        after.write_throughs - before.write_throughs,
        after.log_bytes - before.log_bytes,
    )
}

/// Two objects, everything durable, the first batch of the opening done.
fn pair(class: Durability) -> (Store, Object, Object) {
    let store = memory(class);
    let (a, b) = (filled(&store, "a", 20), filled(&store, "b", 20));
    let mut first = store.batch();
    first.write_at(&a, 0, b"first").unwrap();
    first.commit().unwrap();
    store.sync().unwrap();
    (store, a, b)
}

#[test]
fn a_batch_that_is_dropped_writes_nothing() {
    let (store, a, _) = pair(Durability::Fdatasync);
    let before = content(&a);
    let mut batch = store.batch();
    batch.write_at(&a, 0, &[1; 9000]).unwrap();
    assert_eq!(batch.staged_bytes(), 9000);
    let nothing = cost(&store, || drop(batch));
    assert_eq!(nothing, (0, 0, 0, 0));
    assert!(content(&a) == before);
    store.batch().commit().unwrap();
}

#[test]
fn a_batch_costs_one_write_of_the_log_and_no_file_sync() {
    let (store, a, b) = pair(Durability::Fdatasync);
    let mut batch = store.batch();
    batch.write_at(&a, 100, b"here").unwrap();
    batch.write_at(&b, 5 * PAGE, &[3; 600]).unwrap();
    let (fences, syncs, writes, _) = cost(&store, || batch.commit().unwrap());
    assert_eq!((fences, syncs, writes), (0, 0, 1));
    // New pages and a new length too: the record carries them.
    let mut batch = store.batch();
    batch.write_at(&a, 20 * PAGE, &[4; 5000]).unwrap();
    let (fences, syncs, writes, _) = cost(&store, || batch.commit().unwrap());
    assert_eq!((fences, syncs, writes), (0, 0, 1));
    check(&store);
}

#[test]
fn a_batch_costs_one_fence_and_a_second_one_for_a_payload() {
    let (store, a, b) = pair(Durability::CacheLine);
    let mut batch = store.batch();
    batch.write_at(&a, 100, b"here").unwrap();
    batch.write_at(&b, 5 * PAGE, &[3; 600]).unwrap();
    assert_eq!(cost(&store, || batch.commit().unwrap()).0, 1);
    let mut batch = store.batch();
    batch.write_at(&a, 0, &[9; 20 * PAGE as usize]).unwrap();
    assert_eq!(cost(&store, || batch.commit().unwrap()).0, 2);
    assert!(content(&a) == [9; 20 * PAGE as usize]);
}

#[test]
fn only_lines_that_change_are_logged() {
    for class in CLASSES {
        let (store, a, _) = pair(class);
        let mut bytes = content(&a);
        bytes[5000] ^= 1;
        bytes[70_000] ^= 1;
        let mut batch = store.batch();
        batch.write_at(&a, 0, &bytes).unwrap();
        let (_, _, _, logged) = cost(&store, || batch.commit().unwrap());
        // A record without entries, and two lines with their heads.
        assert_eq!(logged, 48 + 2 * 72, "{class}");
        assert!(content(&a) == bytes);
    }
}

#[test]
fn an_equal_line_that_is_not_durable_is_logged() {
    for class in [Durability::CacheLine, Durability::Fdatasync] {
        let (store, a, _) = pair(class);
        a.write_at(640, b"unsynced").unwrap();
        let mut batch = store.batch();
        batch.write_at(&a, 640, b"unsynced").unwrap();
        assert_eq!(cost(&store, || batch.commit().unwrap()).3, 48 + 72, "{class}");
    }
}

#[test]
fn sixty_four_mebibytes_go_in_one_batch() {
    const BYTES: usize = 64 << 20;
    for class in [Durability::CacheLine, Durability::Fdatasync] {
        let store = Store::options().assume(class).max_size(1 << 30).open_memory(1 << 20).unwrap();
        let (a, b) = (store.create("a").unwrap(), store.create("b").unwrap());
        for round in 1..=2u8 {
            let mut batch = store.batch();
            batch.write_at(&a, 1000, &vec![round; BYTES]).unwrap();
            batch.write_at(&b, 0, b"done").unwrap();
            let records = store.stats().log_records;
            batch.commit().unwrap();
            assert_eq!(a.len(), 1000 + BYTES as u64);
            assert!(content(&a)[1000..].iter().all(|&byte| byte == round), "{class}");
            assert_eq!(&content(&b), b"done");
            if round == 2 {
                assert_eq!(store.stats().log_records, records + 1, "one record, whatever it carries");
            }
        }
        check(&store);
    }
}

#[test]
fn what_cannot_be_done_is_refused_and_nothing_has_changed() {
    let store =
        Store::options().assume(Durability::Fdatasync).max_size(2 << 20).open_memory(2 << 20).unwrap();
    let (a, b) = (filled(&store, "a", 4), filled(&store, "b", 4));
    let (before_a, before_b) = (content(&a), content(&b));
    let mut batch = store.batch();
    batch.write_at(&b, 0, b"new").unwrap();
    batch.write_at(&a, 0, &vec![1; 3 << 20]).unwrap();
    assert!(matches!(batch.commit(), Err(Error::NoSpace { .. })));
    assert!(content(&a) == before_a && content(&b) == before_b);
    assert_eq!(a.len(), 4 * PAGE);
    let mut batch = store.batch();
    assert!(matches!(batch.set_len(&a, 3), Err(Error::Invalid(_))));
    let other = memory(Durability::Volatile);
    let foreign = other.create("foreign").unwrap();
    assert!(matches!(batch.write_at(&foreign, 0, b"x"), Err(Error::Invalid(_))));
    assert!(matches!(batch.write_at(&a, Object::LEN_MAX, b"x"), Err(Error::OutOfRange { .. })));
    let much = vec![0; (Batch::BYTES_MAX / 2 + 1) as usize];
    batch.write_at(&a, 0, &much).unwrap();
    assert!(matches!(batch.write_at(&a, Batch::BYTES_MAX, &much), Err(Error::OutOfRange { .. })));
    // The store goes on.
    a.write_at(0, b"and on").unwrap();
    let mut batch = store.batch();
    batch.write_at(&b, 0, b"and on").unwrap();
    batch.commit().unwrap();
    check(&store);
}

/// A batch pins the frames of holes before it links them. If it fails, no descriptor of them stays, and they belong to the
/// object that gets them next.
#[test]
fn frames_of_a_batch_that_failed_belong_to_the_object_they_go_to() {
    const PAGES: u64 = 100;
    let store = Store::options().max_size(2 << 20).open_memory(2 << 20).unwrap();
    let [a, b, other] = ["a", "b", "other"].map(|name| store.create(name).unwrap());
    while other.append(&[9; PAGE as usize]).is_ok() {}
    other.set_len(other.len() - (PAGES + 20) * PAGE).unwrap();
    let live = || {
        let range = store.info().pfns;
        let pfns = range.start.get()..range.start.get() + range.frames;
        pfns.filter(|&pfn| FrameTable::global().peek(Pfn::new(pfn)).is_some()).count()
    };
    let before = live();
    let mut batch = store.batch();
    // There is room for the pages, but none for a payload as large.
    batch.write_at(&a, 0, &vec![1; (PAGES * PAGE) as usize]).unwrap();
    let failed = batch.commit();
    assert!(matches!(failed, Err(Error::NoSpace { .. })), "{failed:?}");
    assert_eq!(live(), before, "descriptors of frames that are free");
    b.write_at(0, &vec![2; (PAGES * PAGE) as usize]).unwrap();
    for page in 0..PAGES {
        let owner = pin(&b, page).info().owner;
        assert_eq!(owner, Some(PageOwner { object: b.id() as u32, index: PageIndex(page) }));
    }
    assert_eq!(a.mapped().unwrap(), 0);
}

#[test]
fn a_batch_extends_an_object_with_zeros_whatever_was_cut_off_there() {
    let (store, a, b) = pair(Durability::Fdatasync);
    a.set_len(PAGE + 10).unwrap();
    let mut batch = store.batch();
    batch.set_len(&a, 3 * PAGE).unwrap();
    batch.write_at(&a, PAGE + 20, b"island").unwrap();
    batch.write_at(&b, 30 * PAGE + 1, b"far").unwrap();
    let (_, syncs, writes, _) = cost(&store, || batch.commit().unwrap());
    assert_eq!((syncs, writes), (0, 1));
    let bytes = content(&a);
    assert_eq!(bytes.len() as u64, 3 * PAGE);
    assert!(bytes[PAGE as usize + 10..][..10].iter().all(|&byte| byte == 0));
    assert_eq!(&bytes[PAGE as usize + 20..][..6], b"island");
    assert!(bytes[PAGE as usize + 26..].iter().all(|&byte| byte == 0));
    assert_eq!(b.len(), 30 * PAGE + 4);
    assert!(b.pin(PageIndex(25)).unwrap().is_none(), "what no write covers stays a hole");
    check(&store);
}

#[test]
fn a_failed_flush_poisons() {
    let recorder = Recorder::new();
    let options = Store::options().assume(Durability::Fdatasync).recorder(std::sync::Arc::clone(&recorder));
    let store = options.open_memory(1 << 20).unwrap();
    let a = filled(&store, "a", 2);
    store.sync().unwrap();
    let mut batch = store.batch();
    batch.write_at(&a, 0, b"lost?").unwrap();
    recorder.fail_next(FileOperation::WriteThrough, 0);
    assert!(matches!(batch.commit(), Err(Error::Io { .. })));
    assert!(store.poisoned().is_some());
    let mut batch = store.batch();
    batch.write_at(&a, 0, b"no more").unwrap();
    assert!(matches!(batch.commit(), Err(Error::Poisoned { .. })));
}

#[test]
fn a_guard_of_the_same_store_is_noticed() {
    let (store, a, b) = pair(Durability::Volatile);
    let page = pin(&a, 3);
    let commit = |store: &Store| {
        let mut batch = store.batch();
        batch.write_at(&b, 0, b"x").unwrap();
        batch.commit()
    };
    let guard = page.read().unwrap();
    assert!(matches!(commit(&store), Err(Error::WaitsForItself { .. })));
    drop(guard);
    assert!(commit(&store).is_ok());
    drop(page.write_range(0..3).unwrap());
    assert!(commit(&store).is_ok());
}

/// Each batch fills two pages with one value. A page that is read under a latch, by copy or optimistically is all of one
/// value. And a thread that has seen a batch in a page sees no older batch there.
#[test]
fn each_page_shows_a_batch_whole_or_not_at_all() {
    for class in CLASSES {
        let (store, a, b) = pair(class);
        let mut zero = store.batch();
        zero.write_at(&a, 0, &[0; PAGE as usize]).unwrap();
        zero.write_at(&b, 0, &[0; PAGE as usize]).unwrap();
        zero.commit().unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for object in [&a, &b] {
                let done = &done;
                scope.spawn(move || {
                    let page = object.pin(PageIndex(0)).unwrap().unwrap();
                    let mut copy = [0; PAGE as usize];
                    let mut last = 0;
                    while !done.load(Ordering::Relaxed) {
                        if page.read_optimistic(&mut copy).unwrap() {
                            assert!(copy.iter().all(|&byte| byte == copy[0]));
                            assert!(copy[0] >= last);
                            last = copy[0];
                        }
                        let guard = page.read().unwrap();
                        assert!(guard.iter().all(|&byte| byte == guard[0]) && guard[0] >= last);
                    }
                });
            }
            for value in 1..=200 {
                let mut batch = store.batch();
                batch.write_at(&b, 0, &[value; PAGE as usize]).unwrap();
                batch.write_at(&a, 0, &[value; PAGE as usize]).unwrap();
                batch.commit().unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}

/// The log's leader has stored one line of a page, and not yet the other.
#[test]
fn no_thread_reads_a_page_while_a_batch_is_stored_to_it() {
    const LINE: [u8; 64] = [9; 64];
    let (recorder, gate) = (Recorder::new(), Gate::new());
    let passer = Arc::clone(&gate);
    recorder.on_event(move |event| passer.pass(event));
    let options = Store::options().assume(Durability::CacheLine).recorder(recorder);
    let store = options.open_memory(1 << 20).unwrap();
    let object = filled(&store, "a", 1);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut homes = 0;
            gate.stop_me_before(move |event| {
                let home = matches!(event, Event::Store { bytes, .. } if bytes[..] == LINE);
                homes += u32::from(home);
                home && homes == 2
            });
            let mut batch = store.batch();
            batch.write_at(&object, 0, &LINE).unwrap();
            batch.write_at(&object, 1024, &LINE).unwrap();
            batch.commit()
        });
        assert!(gate.wait_stopped(Duration::from_secs(10)), "the second line is about to be stored");
        let reader = scope.spawn(|| content(&object));
        // Long enough for a reader that does not wait.
        thread::sleep(Duration::from_millis(100));
        gate.open();
        writer.join().unwrap().unwrap();
        let seen = reader.join().unwrap();
        assert_eq!((seen[0], seen[1024]), (9, 9), "the reader waited for the batch");
    });
}

/// Group commit: the next commit serves all batches that came while one was committed.
#[test]
fn batches_that_wait_for_a_commit_share_the_next_one() {
    const WAITING: u64 = 3;
    let (recorder, gate) = (Recorder::new(), Gate::new());
    let passer = Arc::clone(&gate);
    recorder.on_event(move |event| passer.pass(event));
    let options = Store::options().assume(Durability::Fdatasync).recorder(recorder);
    let store = options.open_memory(1 << 20).unwrap();
    let objects: Vec<_> = (0..=WAITING).map(|n| filled(&store, &format!("o{n}"), 1)).collect();
    store.sync().unwrap();
    let write = |n: u64| {
        let mut batch = store.batch();
        batch.write_at(&objects[n as usize], 0, b"here").unwrap();
        batch.commit().unwrap();
    };
    let before = store.stats();
    thread::scope(|scope| {
        scope.spawn(|| {
            gate.stop_me_before(|event| matches!(event, Event::WriteThroughBegin { .. }));
            write(0);
        });
        assert!(gate.wait_stopped(Duration::from_secs(10)), "the first is about to write the log");
        (1..=WAITING).for_each(|n| drop(scope.spawn(move || write(n))));
        let appended = || store.stats().log_records - before.log_records;
        let all = (0..1000).any(|_| {
            thread::sleep(Duration::from_millis(10));
            appended() == 1 + WAITING
        });
        gate.open();
        assert!(all, "only {} have appended", appended());
    });
    let after = store.stats();
    assert_eq!(
        (after.log_commits - before.log_commits, after.write_throughs - before.write_throughs),
        (2, 2)
    );
}

/// Opposite orders, shared pages, syncs, cuts and growth at once: no thread waits for ever, and the sums agree.
#[test]
fn batches_of_many_threads_share_pages() {
    for class in [Durability::CacheLine, Durability::Fdatasync] {
        let (store, a, b) = pair(class);
        let others: Vec<_> = (0..4).map(|n| store.create(format!("o{n}")).unwrap()).collect();
        thread::scope(|scope| {
            for (n, own) in (0..4u64).zip(&others) {
                let (store, a, b) = (&store, &a, &b);
                scope.spawn(move || {
                    for round in 0..60u64 {
                        let mut batch = store.batch();
                        let objects = if n % 2 == 0 { [a, b] } else { [b, a] };
                        for object in objects {
                            batch.write_at(object, n * 512, &[round as u8; 512]).unwrap();
                        }
                        batch.write_at(own, round * 700, &[n as u8 + 1; 700]).unwrap();
                        batch.commit().unwrap();
                        match round % 6 {
                            1 => own.sync().unwrap(),
                            3 => a.write_at(8 * PAGE + n * 64, &[round as u8; 64]).unwrap(),
                            5 => store.sync().unwrap(),
                            _ => {}
                        }
                    }
                });
            }
        });
        for (n, own) in (1..).zip(&others) {
            assert!(content(own) == [n; 60 * 700]);
        }
        assert!(content(&a)[..2048] == [59; 2048] && content(&b)[..2048] == [59; 2048]);
        check(&store);
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Object, offset, length: one batch.
    Batch(Vec<(usize, u64, u64)>),
    Write(usize, u64, u64),
    SetLen(usize, u64),
    Punch(usize, u64, u64),
    Sync,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = || (0usize..3, 0u64..40_000, 1u64..9000);
    let step = prop_oneof![
        4 => prop::collection::vec(place(), 1..6).prop_map(Step::Batch),
        2 => place().prop_map(|(o, at, len)| Step::Write(o, at, len)),
        2 => (0usize..3, 0u64..50_000).prop_map(|(o, len)| Step::SetLen(o, len)),
        1 => place().prop_map(|(o, at, len)| Step::Punch(o, at, len)),
        1 => Just(Step::Sync),
    ];
    prop::collection::vec(step, 1..40)
}

fn put(plain: &mut Vec<u8>, at: u64, byte: u8, len: u64) {
    let end = (at + len) as usize;
    if plain.len() < end {
        plain.resize(end, 0);
    }
    plain[at as usize..end].fill(byte);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn batches_agree_with_plain_bytes(steps in steps(), small in any::<bool>(), class in 0usize..3) {
        let options = Store::options().assume(CLASSES[class]).log_frames(if small { 4 } else { 64 });
        let store = options.max_size(8 << 20).open_memory(1 << 20).unwrap();
        let objects: Vec<_> = (0..3).map(|n| store.create(format!("o{n}")).unwrap()).collect();
        let mut plain = vec![Vec::new(); 3];
        for (n, step) in (1u8..).zip(steps) {
            match step {
                Step::Batch(writes) => {
                    let mut batch = store.batch();
                    for (m, (o, at, len)) in (0u8..).zip(writes) {
                        let byte = n.wrapping_mul(7).wrapping_add(m);
                        batch.write_at(&objects[o], at, &vec![byte; len as usize]).unwrap();
                        put(&mut plain[o], at, byte, len);
                    }
                    batch.commit().unwrap();
                }
                Step::Write(o, at, len) => {
                    objects[o].write_at(at, &vec![n; len as usize]).unwrap();
                    put(&mut plain[o], at, n, len);
                }
                Step::SetLen(o, len) => {
                    objects[o].set_len(len).unwrap();
                    plain[o].resize(len as usize, 0);
                }
                Step::Punch(o, at, len) => {
                    objects[o].punch_hole(at, len).unwrap();
                    let end = plain[o].len().min((at + len) as usize);
                    if (at as usize) < end { plain[o][at as usize..end].fill(0); }
                }
                Step::Sync => store.sync().unwrap(),
            }
            for (object, plain) in objects.iter().zip(&plain) {
                prop_assert!(content(object) == *plain);
            }
        }
        check(&store);
    }
}

#[test]
fn a_large_batch_that_fails_keeps_no_room() {
    let store = Store::options().max_size(12 << 20).open_memory(1 << 20).unwrap();
    let (a, b) = (filled(&store, "a", 1), store.create("b").unwrap());
    a.allocate(PAGE, PAGE).unwrap();
    let mut batch = store.batch();
    // There are frames for its pages, and none for its payload.
    batch.write_at(&a, 2 * PAGE, &vec![7; 2_000 * PAGE as usize]).unwrap();
    let refused = batch.commit();
    assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
    assert_eq!(a.mapped().unwrap(), 2, "what was allocated before stays");
    b.append(&vec![8; 2_500 * PAGE as usize]).unwrap();
    assert_eq!(content(&a), [1; PAGE as usize]);
    check(&store);
}
