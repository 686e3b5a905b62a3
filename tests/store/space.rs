//! Free space that goes back to the file system.

use crate::{PAGE, check, content};
use pagestone::Error;
use pagestone::persist::{Event, FileOperation, Recorder};
use pagestone::store::{Object, Options, Store};
use pagestone::units::MediumKind;
use pagestone_explorer::gate::Gate;
use pagestone_kit::child;
use pagestone_kit::disk::{bytes_on_disk, memory};
use pagestone_kit::skip::skipped;
use pagestone_kit::stop::Stop;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// A new store in a file.
fn fresh(path: &Path) -> Store {
    Store::options().create(true).open(path).unwrap()
}

fn close(store: Store) {
    store.close().unwrap();
}

fn file_len(path: &Path) -> u64 {
    path.metadata().unwrap().len()
}

/// By how much the file may be longer than its last page wants it: a DAX file gets and loses blocks 2 MiB at a time.
fn slack(store: &Store) -> u64 {
    if store.info().kind == MediumKind::DaxFile { 2 * MIB } else { 0 }
}

/// Bytes that were given back since the last call.
fn punched(recorder: &Recorder) -> u64 {
    let bytes = |event| if let Event::Punch { len, .. } = event { len } else { 0 };
    recorder.take().into_iter().map(bytes).sum()
}

fn recorded() -> (Store, Arc<Recorder>) {
    let recorder = Recorder::new();
    (Options::new().recorder(Arc::clone(&recorder)).open_memory(1 << 20).unwrap(), recorder)
}

#[test]
fn a_compact_gives_all_free_space_back_and_what_is_kept_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (path, empty) = (folder.path().join("r.pgs"), folder.path().join("empty.pgs"));
    close(fresh(&empty));
    let store = fresh(&path);
    let kept = store.create("kept").unwrap();
    let bytes: Vec<u8> = (0..40 * PAGE).map(|at| (at % 251) as u8).collect();
    for part in 0..10u64 {
        // Runs that are kept and runs that are freed, in turns.
        store.create(format!("gone{part}")).unwrap().write_at(0, &vec![7; MIB as usize]).unwrap();
        let range = (part * 4 * PAGE) as usize..((part + 1) * 4 * PAGE) as usize;
        kept.append(&bytes[range]).unwrap();
    }
    (0..10).for_each(|part| store.unlink(format!("gone{part}")).unwrap());
    assert!(store.compact().unwrap() >= 10 * MIB);
    assert!(bytes_on_disk(&path) < bytes_on_disk(&empty) + MIB, "{} KiB", bytes_on_disk(&path) >> 10);
    assert_eq!(store.compact().unwrap(), 0, "it is gone already");
    assert_eq!(content(&kept), bytes);
    check(&store);
    // The space is used again, now and by the next opening. The file does not grow for that.
    let len = file_len(&path);
    let again = store.create("again").unwrap();
    again.write_at(0, &vec![8; 3 * MIB as usize]).unwrap();
    assert!(bytes_on_disk(&path) >= 3 * MIB);
    drop((kept, again));
    close(store);
    let store = Store::options().open(&path).unwrap();
    let again = store.open("again").unwrap();
    again.append(&vec![8; 4 * MIB as usize]).unwrap();
    assert_eq!(content(&again), vec![8; 7 * MIB as usize]);
    assert_eq!(content(&store.open("kept").unwrap()), bytes);
    assert_eq!(file_len(&path), len);
    check(&store);
}

/// A file of 48 MiB and more whose end is free from 1 MiB on.
fn with_a_free_end(path: &Path) -> Store {
    let store = fresh(path);
    store.create("kept").unwrap().write_at(0, &[5; MIB as usize]).unwrap();
    store.create("big").unwrap().write_at(0, &vec![1; 48 << 20]).unwrap();
    store.sync().unwrap();
    store.unlink("big").unwrap();
    assert!(file_len(path) >= 49 * MIB);
    store
}

#[test]
fn a_compact_cuts_the_file_behind_its_last_page_beside_readers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.pgs");
    let store = with_a_free_end(&path);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Readers that look everywhere: no signal ends the process.
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(SeqCst) {
                    assert_eq!(content(&store.open("kept").unwrap()), [5; MIB as usize]);
                    assert!(store.check().unwrap().is_clean());
                }
            });
        }
        let _stop = Stop(&done);
        for round in 0..10u8 {
            assert!(store.compact().unwrap() >= 46 * MIB, "round {round}");
            assert!(file_len(&path) <= 3 * MIB + slack(&store), "{} KiB", file_len(&path) >> 10);
            let big = store.create("big").unwrap();
            big.write_at(0, &vec![round; 48 << 20]).unwrap();
            assert!(content(&big).iter().all(|byte| *byte == round));
            drop(big);
            store.unlink("big").unwrap();
        }
    });
    close(store);
    check(&Store::options().open(&path).unwrap());
}

#[test]
fn a_close_cuts_the_file_where_much_is_free_at_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.pgs");
    let store = with_a_free_end(&path);
    let slack = slack(&store);
    close(store);
    assert!(file_len(&path) <= 19 * MIB + slack, "{} KiB", file_len(&path) >> 10);
    let store = Store::options().open(&path).unwrap();
    assert_eq!(content(&store.open("kept").unwrap()), [5; MIB as usize]);
    check(&store);
    store.create("again").unwrap().write_at(0, &vec![2; 48 << 20]).unwrap();
    check(&store);
}

/// Free frames at the end of a file on tmpfs have no blocks, and the opening has zeros in their place. The file is cut among
/// them, and grows: a store to a frame without a block would end the process.
#[test]
fn a_growth_behind_a_cut_among_holes_gives_blocks_to_every_frame() {
    let this = "space::a_growth_behind_a_cut_among_holes_gives_blocks_to_every_frame";
    if let Some(role) = child::role() {
        return grow_behind_a_cut(&role.place);
    }
    let Some(folder) = memory() else {
        return skipped("a growth behind a cut among holes", "there is no /dev/shm");
    };
    let ended = child::again_as(this, "grow", &folder.path().join("r.pgs")).status().unwrap();
    assert!(ended.success(), "{ended}");
}

fn grow_behind_a_cut(path: &Path) {
    let store = fresh(path);
    store.create("kept").unwrap().write_at(0, &[5; MIB as usize]).unwrap();
    store.create("middle").unwrap().write_at(0, &vec![1; 8 << 20]).unwrap();
    store.create("end").unwrap().write_at(0, &[6; PAGE as usize]).unwrap();
    store.unlink("middle").unwrap();
    store.compact().unwrap();
    close(store);
    let store = Store::options().open(path).unwrap();
    store.unlink("end").unwrap();
    let len = file_len(path);
    store.compact().unwrap();
    assert!(file_len(path) < len - 4 * MIB, "it is cut");
    for round in 0..3 {
        let again = store.open_or_create("again").unwrap();
        again.write_at(0, &vec![round; 12 << 20]).unwrap();
        assert!(content(&again).iter().all(|byte| *byte == round));
        drop(again);
        store.unlink("again").unwrap();
        store.compact().unwrap();
    }
    check(&store);
    close(store);
}

#[test]
fn a_file_that_cannot_be_cut_stays_as_long_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.pgs");
    close(with_a_free_end(&path));
    let recorder = Recorder::new();
    let store = Store::options().recorder(Arc::clone(&recorder)).open(&path).unwrap();
    let len = file_len(&path);
    recorder.fail_next(FileOperation::Cut, 0);
    assert!(matches!(store.compact(), Err(Error::Io { .. })));
    assert_eq!(file_len(&path), len);
    check(&store);
    store.create("more").unwrap().write_at(0, &vec![2; 4 << 20]).unwrap();
    store.unlink("more").unwrap();
    store.compact().unwrap();
    assert!(file_len(&path) <= 3 * MIB + slack(&store));
    close(store);
    check(&Store::options().open(&path).unwrap());
}

#[test]
fn what_is_free_beyond_sixteen_mebibytes_goes_back_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.pgs");
    let store = fresh(&path);
    let big = store.create("big").unwrap();
    big.write_at(0, &vec![1; 48 << 20]).unwrap();
    store.sync().unwrap();
    assert!(bytes_on_disk(&path) >= 48 * MIB);
    big.set_len(0).unwrap();
    store.sync().unwrap();
    assert!(bytes_on_disk(&path) <= 18 * MIB, "{} KiB", bytes_on_disk(&path) >> 10);
    big.write_at(0, &vec![2; 48 << 20]).unwrap();
    assert_eq!(content(&big), vec![2; 48 << 20]);
    check(&store);
}

#[test]
fn a_journal_that_comes_and_goes_punches_nothing() {
    let (store, recorder) = recorded();
    let database = store.create("db").unwrap();
    database.write_at(0, &vec![1; 4 << 20]).unwrap();
    store.sync().unwrap();
    for _ in 0..40 {
        let journal = store.create("journal").unwrap();
        journal.write_at(0, &vec![2; 1 << 20]).unwrap();
        journal.sync().unwrap();
        store.unlink("journal").unwrap();
        drop(journal);
        store.sync().unwrap();
    }
    assert_eq!(punched(&recorder), 0);
}

/// Small frees at the limit are collected: the file system is not called for each.
#[test]
fn pages_freed_one_by_one_go_back_in_large_runs() {
    let (store, recorder) = recorded();
    let big = store.create("big").unwrap();
    big.write_at(0, &vec![1; 32 << 20]).unwrap();
    store.sync().unwrap();
    let calls = |recorder: &Recorder| {
        recorder.take().iter().filter(|event| matches!(event, Event::Punch { .. })).count()
    };
    let _ = recorder.take();
    let mut len = big.len();
    while len > 0 {
        len -= 64 * PAGE;
        big.set_len(len).unwrap();
        store.sync().unwrap();
    }
    let calls = calls(&recorder);
    assert!((1..=16).contains(&calls), "{calls} calls for 128 cuts");
}

#[test]
fn a_pinned_page_that_was_cut_off_keeps_its_bytes() {
    let (store, _recorder) = recorded();
    let object = store.create("o").unwrap();
    object.write_at(0, &vec![5; 64 * PAGE as usize]).unwrap();
    let page = crate::pin(&object, 3);
    object.set_len(0).unwrap();
    store.compact().unwrap();
    assert_eq!(crate::shown(&page), [5; PAGE as usize]);
    drop(page);
    object.write_at(0, &vec![6; 64 * PAGE as usize]).unwrap();
    assert_eq!(content(&object), vec![6; 64 * PAGE as usize]);
    check(&store);
}

#[test]
fn room_that_was_asked_for_ahead_and_refused_is_room_for_others() {
    let store = Store::options().max_size(4 * MIB).open_memory(1 << 20).unwrap();
    let (one, other) = (store.create("one").unwrap(), store.create("other").unwrap());
    one.write_at(0, b"one").unwrap();
    one.allocate(PAGE, 4 * PAGE).unwrap();
    let refused = one.allocate(PAGE, 8 * MIB);
    assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
    other.write_at(0, &vec![1; 3 * MIB as usize]).unwrap();
    assert_eq!(one.mapped().unwrap(), 5, "what was had before stays");
    assert_eq!(content(&one), b"one");
    one.append(&[2; PAGE as usize]).unwrap();
    check(&store);
}

#[test]
fn a_store_that_only_reads_gives_nothing_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.pgs");
    close(fresh(&path));
    let store = Store::options().read_only(true).open(&path).unwrap();
    assert!(matches!(store.compact(), Err(Error::ReadOnly)));
}

#[test]
fn a_growth_is_seen_whole_or_not_at_all() {
    const LEN: u64 = 8 * MIB;
    let store = Store::options().max_size(16 * MIB).open_memory(1 << 20).unwrap();
    for room in [true, false].repeat(8) {
        let object = store.create("object").unwrap();
        let filler = store.create("filler").unwrap();
        filler.append(&vec![1; if room { 1 } else { 9 * MIB as usize }]).unwrap();
        let end = AtomicBool::new(false);
        let seen = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut seen = Vec::new();
                while !end.load(SeqCst) {
                    seen.push(object.len());
                    seen.dedup();
                }
                seen
            });
            let appended = object.append(&vec![2; LEN as usize]);
            end.store(true, SeqCst);
            assert_eq!(appended.is_ok(), room);
            watcher.join().unwrap()
        });
        let whole = if room { LEN } else { 0 };
        assert!(seen.iter().all(|&len| len == 0 || len == whole), "{seen:?}");
        assert_eq!((object.len(), object.mapped().unwrap()), (whole, whole / PAGE));
        assert!(content(&object) == vec![2; whole as usize]);
        store.unlink("object").unwrap();
        store.unlink("filler").unwrap();
    }
    check(&store);
}

#[test]
fn a_growth_that_fails_leaves_what_was_allocated_ahead() {
    let store = Store::options().max_size(4 * MIB).open_memory(1 << 20).unwrap();
    let one = store.create("one").unwrap();
    one.write_at(0, b"one").unwrap();
    one.allocate(PAGE, 4 * PAGE).unwrap();
    for offset in [3, PAGE, 2 * PAGE + 5] {
        let refused = one.write_at(offset, &vec![9; 8 * MIB as usize]);
        assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
        assert_eq!((one.mapped().unwrap(), one.len()), (5, 3));
    }
    one.set_len(6 * PAGE).unwrap();
    let mut expected = vec![0; 6 * PAGE as usize];
    expected[..3].copy_from_slice(b"one");
    assert!(content(&one) == expected, "bytes of a write that failed show");
    check(&store);
}

#[test]
fn a_call_that_fails_between_two_of_its_records_keeps_no_room() {
    let (mut failed, mut linked) = (0, 0);
    for spare in 0..10 {
        let store = Store::options().max_size(4 * MIB).log_frames(4).open_memory(1 << 20).unwrap();
        let one = store.create("one").unwrap();
        one.write_at(0, b"one").unwrap();
        let filler = store.create("filler").unwrap();
        filler.write_at(0, &[1; 2 * PAGE as usize]).unwrap();
        while filler.append(&[1; PAGE as usize]).is_ok() {}
        // Four frames are kept for freeing.
        filler.set_len(filler.len() - (508 + spare) * PAGE).unwrap();
        let records = store.stats().log_records;
        // The range crosses the end of a leaf: a later record needs one more node than the first ones.
        match one.allocate(256 * PAGE, 512 * PAGE) {
            Ok(()) => assert_eq!(one.mapped().unwrap(), 513),
            Err(Error::NoSpace { .. }) => {
                failed += 1;
                linked += u64::from(store.stats().log_records > records);
                assert_eq!(one.mapped().unwrap(), 1, "{spare} frames more than it needs for its pages");
            }
            Err(other) => panic!("{other}"),
        }
        check(&store);
    }
    assert!(failed > 1 && linked > 0, "{failed} failed, {linked} after a record");
}

#[test]
fn what_no_region_of_this_size_can_hold_is_refused_at_once() {
    let store = Store::options().max_size(64 * MIB).open_memory(1 << 20).unwrap();
    let object = store.create("o").unwrap();
    object.write_at(0, &[1; 3 * PAGE as usize]).unwrap();
    let (frames, records) = (store.info().frames, store.stats().log_records);
    for len in [65 * MIB, 1 << 40, Object::LEN_MAX] {
        let refused = object.allocate(0, len);
        assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
    }
    assert_eq!((store.info().frames, store.stats().log_records), (frames, records), "it grew for nothing");
    object.allocate(0, 60 * MIB).unwrap();
    // Pages that are there already need no room.
    object.allocate(0, 60 * MIB + PAGE).unwrap();
    check(&store);
}

/// A store that cannot grow much, with free space before its last page, and a gate at its next punch.
fn about_to_punch() -> (Store, Arc<Gate>) {
    let (recorder, gate) = (Recorder::new(), Gate::new());
    let at = Arc::clone(&gate);
    recorder.on_event(move |event| at.pass(event));
    let store = Options::new().max_size(4 * MIB).recorder(recorder).open_memory(1 << 20).unwrap();
    let most = store.create("most").unwrap();
    most.write_at(0, &vec![1; 3 * MIB as usize]).unwrap();
    store.create("last").unwrap().write_at(0, &[2; 9 * PAGE as usize]).unwrap();
    drop(most);
    store.unlink("most").unwrap();
    store.sync().unwrap();
    (store, gate)
}

#[test]
fn beside_a_compact_room_that_comes_back_is_waited_for_and_what_goes_is_not_given_out() {
    let (store, gate) = about_to_punch();
    std::thread::scope(|scope| {
        let compact = scope.spawn(|| {
            gate.stop_me_before(|event| matches!(event, Event::Punch { .. }));
            store.compact()
        });
        assert!(gate.wait_stopped(Duration::from_secs(20)));
        // There is room for it, but at this moment the room is going back to the disk.
        let large = scope.spawn(|| {
            let object = store.create("large").unwrap();
            object.write_at(0, &vec![5; 2 * MIB as usize]).map(|()| object)
        });
        std::thread::sleep(Duration::from_millis(300));
        assert!(!large.is_finished(), "{:?}", large.join().map(|done| done.map(|object| object.len())));
        gate.open();
        compact.join().unwrap().unwrap();
        let object = large.join().unwrap().unwrap();
        assert!(content(&object) == vec![5; 2 * MIB as usize], "what was stored has been punched");
    });
    check(&store);
}

#[test]
fn a_disk_that_has_room_again_is_not_taken_for_a_full_one() {
    let (folder, recorder) = (tempfile::tempdir().unwrap(), Recorder::new());
    let options = Options::new().create(true).max_size(256 * MIB).recorder(Arc::clone(&recorder));
    let store = options.open(folder.path().join("r.pgs")).unwrap();
    let object = store.create("o").unwrap();
    object.write_at(0, &vec![1; 36 << 20]).unwrap();
    // Behind it, so that the end of the file stays.
    store.create("last").unwrap().write_at(0, &vec![2; MIB as usize]).unwrap();
    object.set_len(0).unwrap();
    // All free space is holes now.
    store.compact().unwrap();
    // The first allocation asks for what structures may need, too. The others do without, and the last one asks for less.
    (0..3).for_each(|nth| recorder.fail_next_with(FileOperation::Allocate, nth, libc::ENOSPC));
    let refused = object.append(&[2; 4 * PAGE as usize]);
    assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
    object.append(&vec![2; 8 << 20]).unwrap();
    let _ = punched(&recorder);
    object.set_len(PAGE).unwrap();
    store.sync().unwrap();
    assert_eq!(punched(&recorder), 0, "less is free than is kept where the disk has room");
}
