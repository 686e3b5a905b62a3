//! No cost grows with things that it has nothing to do with. Costs are counted here, not timed.

use crate::{PAGE, check, killed};
use pagestone::persist::{FileOperation, Recorder};
use pagestone::stats::Stats;
use pagestone::store::{Object, Options, Store};
use pagestone::units::{Durability, PageIndex};
use pagestone_kit::skip::skipped;
use pagestone_kit::stop::Stop;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A store in a file. Its process died with `objects` objects of `pages` pages each on the list of orphans.
fn with_orphans(options: &Options, objects: u64, pages: usize) -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("laws.pgs");
    let store = options.clone().create(true).open(&path).unwrap();
    store.create("other").unwrap().append(&[9; 3 * PAGE as usize]).unwrap();
    let make = |n: u64| {
        let object = store.create(format!("orphan {n}")).unwrap();
        object.append(&vec![n as u8; pages * PAGE as usize]).unwrap();
        object
    };
    let open: Vec<Object> = (0..objects).map(make).collect();
    (0..objects).for_each(|n| store.unlink(format!("orphan {n}")).unwrap());
    store.sync().unwrap();
    let left = killed(&path, options);
    drop(open);
    left
}

#[test]
fn the_first_change_after_a_death_does_a_part_of_what_is_owed_and_the_next_ones_the_rest() {
    const ORPHANS: u64 = 2_000;
    let (_folder, store) = with_orphans(&Options::new(), ORPHANS, 1);
    let other = store.open("other").unwrap();
    let (mut changes, mut most) = (0, 0);
    while store.check().unwrap().counts.orphans > 0 {
        let before = store.stats().log_records;
        other.append(b"more").unwrap();
        most = most.max(store.stats().log_records - before);
        changes += 1;
    }
    assert!(most <= 20, "a change appended {most} records");
    assert!((ORPHANS / 20..=ORPHANS).contains(&changes), "{changes} changes");
    check(&store);
    // The close does what is left.
    let (_folder, store) = with_orphans(&Options::new(), ORPHANS, 1);
    store.create("last").unwrap();
    assert!(store.check().unwrap().counts.orphans > ORPHANS / 2);
    let path = store.info().path.unwrap();
    store.close().unwrap();
    assert_eq!(Store::options().open(path).unwrap().check().unwrap().counts.orphans, 0);
}

#[test]
fn a_change_that_needs_the_room_of_what_is_owed_gets_it() {
    let options = Store::options().max_size(24 << 20).log_frames(16);
    let (_folder, store) = with_orphans(&options, 300, 16);
    let other = store.open("other").unwrap();
    other.append(&vec![7; 4_800 * PAGE as usize]).unwrap();
    assert_eq!(store.check().unwrap().counts.orphans, 0);
    check(&store);
}

/// Bytes that were appended to the log.
fn appended(stats: &Stats) -> u64 {
    /// Bytes of a mark in the log.
    const MARK: u64 = 48;
    stats.log_bytes + MARK * stats.log_commits
}

/// Bytes that lie beside the batches of [`moves_of_the_tail`]: eight times the least stride in which write-back is started.
const LARGE: u64 = 8 << 20;

/// For each move of the tail under small batches, except the first: parts of the file whose write-back was started before
/// it, commits since the last of these, and bytes of the log in use, of `LOG`. Beside each batch `store_beside` is
/// called.
fn moves_of_the_tail(store_beside: impl Fn(&Object, u64)) -> Vec<(usize, u64, u64)> {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::new();
    let options = Store::options().create(true).log_frames(16).assume(Durability::Fdatasync);
    let store = options.recorder(recorder.clone()).open(folder.path().join("laws.pgs")).unwrap();
    let large = store.create("large").unwrap();
    large.append(&vec![1; LARGE as usize]).unwrap();
    let small = store.create("small").unwrap();
    small.append(&[0; 64 * PAGE as usize]).unwrap();
    store.sync().unwrap();
    let commit = |n: u64| {
        let mut batch = store.batch();
        batch.write_at(&small, n % 64 * PAGE, &n.to_le_bytes()).unwrap();
        batch.write_at(&small, n % 64 * PAGE + 2048, &n.to_le_bytes()).unwrap();
        batch.commit().unwrap();
    };
    let (mut seen, mut started) = (recorder.file_operations().len(), 0);
    let (mut latest, mut tail, mut found) = (0, 0, Vec::new());
    // A look at the stats takes long: one for each commit.
    let mut before = store.stats();
    for n in 1..900 {
        store_beside(&large, n);
        commit(n);
        let all = recorder.file_operations();
        let now = all[seen..].iter().filter(|&&done| done == FileOperation::WriteBack).count();
        seen = all.len();
        (started, latest) = (started + now, if now > 0 { n } else { latest });
        assert!(now <= 16, "{now} parts with one commit");
        let after = store.stats();
        if after.log_tail_moves > before.log_tail_moves {
            let used = appended(&before);
            found.push((started, n - latest, used - tail));
            (started, tail) = (0, used);
        }
        before = after;
    }
    assert!(found.len() > 4, "{found:?}");
    // The first move also depends on what was done before.
    found.split_off(1)
}

/// Bytes of the log of [`moves_of_the_tail`], of which an append wants a quarter.
const LOG: u64 = 16 * PAGE;

#[test]
fn the_tail_moves_ahead_of_need_after_the_write_back_was_started_bit_by_bit() {
    let moves = moves_of_the_tail(|large, n| large.write_at(n * 65_536 % LARGE, &[2; 100]).unwrap());
    for (started, since, used) in moves {
        // Two passes, in strides of 1, 2 and 4 MiB at most.
        assert!(started >= 2 * 4, "{started} parts before a move of the tail");
        assert!(used < LOG / 32 * 23, "it moved when an append needed the room: {used} bytes");
        assert!(since <= 1, "what became dirty in {since} commits was left to the sync");
    }
}

#[test]
fn much_that_is_stored_behind_the_first_pass_is_started_before_the_last_one() {
    const LOG_FRAMES: u32 = 64;
    const MUCH: usize = 40 << 20;
    let (folder, recorder) = (tempfile::tempdir().unwrap(), Recorder::new());
    let options = Store::options().create(true).log_frames(LOG_FRAMES).assume(Durability::Fdatasync);
    let store = options.recorder(recorder.clone()).open(folder.path().join("laws.pgs")).unwrap();
    let (large, small) = (store.create("large").unwrap(), store.create("small").unwrap());
    large.append(&vec![1; MUCH]).unwrap();
    small.append(&[0; PAGE as usize]).unwrap();
    // The tail moves here.
    store.compact().unwrap();
    // More than what a sync may wait for.
    large.write_at(0, &vec![2; 2 << 20]).unwrap();
    let stats = store.stats();
    let (empty, moves) = (appended(&stats), stats.log_tail_moves);
    let commit = |byte: u8| {
        let mut batch = store.batch();
        batch.write_at(&small, 0, &[byte; 256]).unwrap();
        batch.commit().unwrap();
    };
    // Commits until so many sixteenths of the log are in use; then the parts whose write-back was started.
    let commit_until = |sixteenths: u64| {
        let seen = recorder.file_operations().len();
        while appended(&store.stats()) - empty < u64::from(LOG_FRAMES) * PAGE / 16 * sixteenths {
            (0..20).for_each(commit);
        }
        assert_eq!(store.stats().log_tail_moves, moves, "the tail moved early");
        recorder.file_operations()[seen..].iter().filter(|&&done| done == FileOperation::WriteBack).count()
    };
    let (first, behind) = (commit_until(8), commit_until(9));
    assert!(first > 0 && behind == 0, "{first} parts by the first pass, {behind} behind it");
    large.write_at(0, &vec![4; MUCH]).unwrap();
    let second = commit_until(10);
    assert!(second > 0, "no part before the last pass began");
    store.sync().unwrap();
    check(&store);
}

#[test]
fn where_little_was_stored_the_tail_moves_ahead_of_need_and_nothing_is_written_twice() {
    for (started, _, used) in moves_of_the_tail(|_, _| {}) {
        assert_eq!(started, 0, "parts before a move of the tail");
        assert!(used < LOG / 4 * 3, "it moved when an append needed the room: {used} bytes");
    }
}

#[test]
fn a_check_shows_one_moment_while_changes_go_on() {
    let store = Store::options().open_memory(1 << 20).unwrap();
    for n in 0..500 {
        store.create(format!("stays {n}")).unwrap().append(&[1; 9_000]).unwrap();
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (store, stop) = (&store, &stop);
        for thread in 0..2_u64 {
            scope.spawn(move || {
                for n in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let name = format!("comes {thread} {}", n % 50);
                    let object = store.open_or_create(&name).unwrap();
                    object.write_at(n % 7 * 600 * PAGE, &[n as u8; 5_000]).unwrap();
                    object.set_len(n % 5 * 1_000).unwrap();
                    if n % 3 == 0 {
                        store.unlink(&name).unwrap();
                    }
                }
            });
        }
        let _stop = Stop(stop);
        let reports: Vec<_> = (0..15).map(|_| store.check().unwrap()).collect();
        for report in reports {
            assert!(report.is_clean(), "{:?}", report.findings);
            assert!(report.counts.objects >= 500);
        }
    });
    check(&store);
}

#[test]
fn changes_go_on_beside_a_check() {
    const CHECKS: u64 = 5;
    let store = Store::options().open_memory(1 << 20).unwrap();
    let object = store.create("changes").unwrap();
    (0..20_000).for_each(|n| drop(store.create(n.to_string()).unwrap()));
    let (stop, changes) = (AtomicBool::new(false), AtomicU64::new(0));
    let beside = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                object.set_len(changes.fetch_add(1, Ordering::Relaxed) % 100).unwrap();
            }
        });
        let _stop = Stop(&stop);
        let beside = |_| {
            let before = changes.load(Ordering::Relaxed);
            assert!(store.check().unwrap().is_clean());
            changes.load(Ordering::Relaxed) - before
        };
        (0..CHECKS).map(beside).min()
    });
    // Hundreds are made before the check has its locks, and tens of thousands while it walks.
    assert!(beside > Some(5_000), "{beside:?} changes beside a check");
}

#[test]
fn cuts_and_appends_that_ask_for_no_sync_wait_for_none() {
    let folder = tempfile::tempdir().unwrap();
    let options = Store::options().create(true).assume(Durability::Fdatasync);
    let store = options.open(folder.path().join("laws.pgs")).unwrap();
    let object = store.create("a").unwrap();
    object.append(&[7; 3 * PAGE as usize]).unwrap();
    object.sync().unwrap();
    let before = store.stats();
    for n in 0..1_000 {
        object.set_len(2 * PAGE + 100 + n % 50).unwrap();
        object.append(&[n as u8; 300]).unwrap();
    }
    let after = store.stats();
    let (marks, moves) =
        (after.log_commits - before.log_commits, after.log_tail_moves - before.log_tail_moves);
    assert!(marks <= 2 * moves + 2, "{marks} commits, and the tail moved {moves} times");
    assert!(moves < 20, "{moves} moves");
    let mut shown = vec![0; 300];
    object.read_at(object.len() - 300, &mut shown).unwrap();
    assert_eq!(shown, [999 % 256; 300].map(|n| n as u8));
    check(&store);
}

#[test]
fn a_list_shows_each_name_that_stays_once_whatever_comes_and_goes() {
    const STAY: usize = 3_000;
    let store = Store::options().open_memory(1 << 20).unwrap();
    for n in 0..STAY {
        store.create(format!("stays {n}")).unwrap();
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (store, stop) = (&store, &stop);
        for thread in 0..2 {
            scope.spawn(move || {
                for n in (0..400).cycle() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let name = format!("comes {thread} {n}");
                    match n % 3 {
                        0 => drop(store.open_or_create(&name).unwrap()),
                        1 => drop(store.create(&name).and_then(|_| store.rename(&name, format!("{name}!")))),
                        _ => (0..400).for_each(|n| drop(store.unlink(format!("comes {thread} {n}")))),
                    }
                }
            });
        }
        let _stop = Stop(stop);
        for _ in 0..20 {
            let names: Vec<_> = store.list().unwrap().into_iter().map(|entry| entry.name).collect();
            assert!(names.windows(2).all(|two| two[0] < two[1]), "a name is given twice");
            let stay = names.iter().filter(|name| name.starts_with(b"stays ")).count();
            assert_eq!(stay, STAY);
        }
    });
    check(&store);
}

/// Runs a call of many records beside many dirty pages. Returns how often the write-back was started, and the tail moved.
fn ahead_of_need(store: &Store, recorder: &Recorder, object: &Object, run: impl FnOnce()) -> (u64, u64) {
    // This moves the tail, so that what was done before does not count.
    store.compact().unwrap();
    object.write_at(0, &vec![2; object.len() as usize]).unwrap();
    let (moves, seen) = (store.stats().log_tail_moves, recorder.file_operations().len());
    run();
    let all = recorder.file_operations();
    let started = all.iter().skip(seen).filter(|&&done| done == FileOperation::WriteBack).count();
    (started as u64, store.stats().log_tail_moves - moves)
}

#[test]
fn the_tail_moves_ahead_of_need_within_a_call_of_many_records() {
    // With a small log a step of a cut is a few pages.
    for log_frames in [16, 4] {
        let (folder, recorder) = (tempfile::tempdir().unwrap(), Recorder::new());
        let options = Store::options().create(true).log_frames(log_frames).assume(Durability::Fdatasync);
        let store = options.recorder(recorder.clone()).open(folder.path().join("laws.pgs")).unwrap();
        let object = store.create("a").unwrap();
        let ahead = |run: &dyn Fn()| ahead_of_need(&store, &recorder, &object, run);
        let mut seen = Vec::new();
        if log_frames == 16 {
            seen.push(("a write", ahead(&|| object.write_at(0, &vec![1; 48 << 20]).unwrap())));
            seen.push(("an allocation", ahead(&|| object.allocate(64 << 20, 48 << 20).unwrap())));
            seen.push(("a hole", ahead(&|| object.punch_hole(0, 48 << 20).unwrap())));
        } else {
            object.write_at(0, &vec![1; 48 << 20]).unwrap();
            seen.push(("a cut", ahead(&|| object.set_len(1).unwrap())));
            object.write_at(0, &vec![1; 48 << 20]).unwrap();
            let last = std::cell::RefCell::new(Some(store.create("b").unwrap()));
            last.borrow().as_ref().unwrap().write_at(0, &vec![1; 48 << 20]).unwrap();
            store.unlink("b").unwrap();
            seen.push(("an unlinked object", ahead(&|| drop(last.take()))));
        }
        for (what, (started, moves)) in seen {
            assert!(moves >= 3, "{what}: {moves} moves tell nothing");
            assert!(started >= 8, "{what}: {started} starts of the write-back before a move of the tail");
        }
        check(&store);
    }
}

#[test]
fn pages_are_found_while_others_are_punched() {
    const PAGES: u64 = 20_000;
    let store = Store::options().open_memory(1 << 20).unwrap();
    let object = store.create("a").unwrap();
    for _ in 0..20 {
        object.write_at(0, &vec![1; (PAGES * PAGE) as usize]).unwrap();
        let seen = std::thread::scope(|scope| {
            let punch = scope.spawn(|| object.punch_hole(0, PAGES * PAGE).unwrap());
            let mut seen = false;
            while !punch.is_finished() {
                // The first page is looked at first, because it is punched first.
                let gone = object.pin(PageIndex(0)).unwrap().is_none();
                seen |= gone && object.pin(PageIndex(PAGES - 1)).unwrap().is_some();
            }
            seen
        });
        if seen {
            return check(&store);
        }
    }
    panic!("nothing was found before all was punched");
}

/// Pages of a file that are dirty in the page cache, or being written; `None` where the kernel does not say.
fn dirty_pages(file: &std::fs::File) -> Option<u64> {
    const CACHESTAT: libc::c_long = 451;
    let (all, mut answer) = ([0_u64, 0], [0_u64; 5]);
    // SAFETY: an open descriptor, a range of two words, and room for the answer of five.
    let rc = unsafe {
        libc::syscall(CACHESTAT, file.as_raw_fd(), all.as_ptr(), answer.as_mut_ptr(), 0 as libc::c_uint)
    };
    (rc == 0).then_some(answer[1] + answer[2])
}

#[test]
fn a_growth_waits_for_no_dirt_of_the_file() {
    const PAGES: u64 = 2_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("laws.pgs");
    let options = Store::options().create(true).assume(Durability::Fdatasync);
    let store = options.open(&path).unwrap();
    let (large, small) = (store.create("large").unwrap(), store.create("small").unwrap());
    large.append(&vec![1; (PAGES * PAGE) as usize]).unwrap();
    store.sync().unwrap();
    let file = std::fs::File::open(&path).unwrap();
    // The kernel may write some by itself meanwhile; it does not do so each time.
    let kept = (2..7).any(|value| {
        large.write_at(0, &vec![value; (PAGES * PAGE) as usize]).unwrap();
        let dirty = dirty_pages(&file).filter(|dirty| *dirty >= PAGES);
        let Some(dirty) = dirty else {
            skipped("a growth beside dirt", "the kernel does not count dirty pages of this file");
            return true;
        };
        let (frames, moves) = (store.info().frames, store.stats().log_tail_moves);
        while store.info().frames == frames {
            small.append(&[3; 16 * PAGE as usize]).unwrap();
        }
        assert_eq!(store.stats().log_tail_moves, moves, "the tail has synced the file");
        dirty_pages(&file) >= Some(dirty)
    });
    assert!(kept, "pages that were dirty before a growth are clean after it");
}

#[test]
fn the_first_growth_through_a_handle_waits_for_no_sync() {
    let folder = tempfile::tempdir().unwrap();
    let options = Store::options().create(true).assume(Durability::Fdatasync);
    let store = options.open(folder.path().join("laws.pgs")).unwrap();
    store.create("grown").unwrap().append(&[1; 100]).unwrap();
    store.sync().unwrap();
    let before = store.stats().file_syncs;
    let grow: [fn(&Object); 4] = [
        |object| assert!(object.append(&[1; 100]).unwrap() > 0),
        |object| object.write_at(object.len() + 50, &[1; 50]).unwrap(),
        |object| object.set_len(object.len() + 100).unwrap(),
        |object| object.allocate(object.len(), 5000).unwrap(),
    ];
    for n in 0..400 {
        let object = store.open("grown").unwrap();
        grow[n % 4](&object);
    }
    let syncs = store.stats().file_syncs - before;
    assert!(syncs <= 4, "{syncs} file syncs for 400 growths, none of which asked for one");
    // What was cut off is gone before the end moves over it, whichever length a crash shows.
    let object = store.open("grown").unwrap();
    object.write_at(0, &[1; 200]).unwrap();
    object.set_len(200).unwrap();
    object.set_len(120).unwrap();
    drop(object);
    let object = store.open("grown").unwrap();
    object.set_len(200).unwrap();
    assert_eq!(crate::content(&object)[120..], [0; 80]);
    assert!(store.stats().file_syncs > before + syncs, "the old length was hidden first");
}

#[test]
fn a_sync_gives_back_a_part_of_what_others_freed_and_later_ones_the_rest() {
    const RUNS: u64 = 400;
    const RUN: u64 = 20;
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::new();
    let options = Store::options().create(true).assume(Durability::Fdatasync).recorder(recorder.clone());
    let store = options.open(folder.path().join("laws.pgs")).unwrap();
    let (gone, kept, other) =
        (store.create("gone").unwrap(), store.create("kept").unwrap(), store.create("other").unwrap());
    for _ in 0..RUNS {
        gone.append(&[1; (RUN * PAGE) as usize]).unwrap();
        kept.append(&[2; PAGE as usize]).unwrap();
    }
    other.append(&[3; 100]).unwrap();
    store.sync().unwrap();
    drop(gone);
    store.unlink("gone").unwrap();
    let punches = || {
        let operations = recorder.file_operations();
        operations.iter().filter(|operation| **operation == FileOperation::Punch).count()
    };
    let (mut syncs, mut most, mut all) = (0, 0, punches());
    loop {
        let before = punches();
        other.write_at(0, b"ten bytes.").unwrap();
        other.sync().unwrap();
        let now = punches();
        most = most.max(now - before);
        syncs += 1;
        if now == before {
            break;
        }
        all = now;
    }
    assert!(most <= 16, "one sync gave back {most} runs");
    let expected = (RUNS * RUN).saturating_sub((16 << 20) / PAGE) / RUN;
    assert!(all as u64 >= expected / 2, "{all} of {expected} runs have gone back in {syncs} syncs");
    check(&store);
}
