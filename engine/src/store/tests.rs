//! What the engine promises beside its own work, shown through a store.

mod frames;

use super::{Object, Store};
use crate::error::Error;
use crate::units::{Durability, FRAME_SIZE, PageIndex};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const PAGE: u64 = FRAME_SIZE as u64;

#[test]
fn a_change_that_begins_while_owed_work_is_done_does_not_wait_for_its_end() {
    let store = Store::options().open_memory(1 << 20).unwrap();
    let engine = &store.engine;
    let (slot, id) = store.create("a").map(|object| (object.shared.slot, object.shared.id)).unwrap();
    engine.leave(slot, id);
    thread::scope(|scope| {
        // The worker comes as far as this lock. A change that finds the look below at work does nothing.
        let roles = engine.pages.roles();
        let worker = scope.spawn(|| -> crate::error::Result {
            while engine.is_due() {
                engine.begin_store()?;
            }
            Ok(())
        });
        while engine.settling.try_lock().is_some() {
            thread::yield_now();
        }
        let (send, done) = mpsc::channel();
        scope.spawn(move || send.send(engine.begin_store()).unwrap());
        let begun = done.recv_timeout(Duration::from_secs(20));
        let unfinished = !worker.is_finished();
        drop(roles);
        begun.expect("a change waits for the pending work").unwrap();
        assert!(unfinished, "the work was done already");
        worker.join().unwrap().unwrap();
    });
    assert!(!engine.is_due());
}

#[test]
fn what_is_owed_is_owed_to_an_object_and_not_to_the_next_one_in_its_slot() {
    let store = Store::options().open_memory(1 << 20).unwrap();
    let engine = &store.engine;
    let old = store.create("old").unwrap();
    old.append(&[1; 9000]).unwrap();
    let (slot, id) = (old.shared.slot, old.shared.id);
    drop(old);
    engine.change().unwrap().unlink(b"old").unwrap();
    engine.drop_object(slot, id);
    // Another thread had the same to do, and comes late.
    let new = store.create("new").unwrap();
    assert_eq!(new.shared.slot, slot);
    new.append(&[2; 9000]).unwrap();
    for unlinked in [false, true] {
        if unlinked {
            store.unlink("new").unwrap();
        }
        engine.drop_object(slot, id);
        engine.leave(slot, id);
        // Of an object that is open nothing is freed either: its last handle does that.
        engine.leave(slot, new.id());
        engine.settle().unwrap();
        // What was looked up before shows its bytes even where it is freed.
        assert_eq!(engine.ledger.resident(slot).unwrap(), Some((new.id(), unlinked)));
        let mut bytes = vec![0; 9000];
        store.create(format!("{unlinked}")).unwrap().append(&[3; 9000]).unwrap();
        assert_eq!(new.read_at(0, &mut bytes).unwrap(), 9000);
        assert_eq!(bytes, [2; 9000], "unlinked: {unlinked}");
    }
    assert_eq!(store.stats().set_aside, 0);
    drop(new);
    let report = store.check().unwrap();
    assert!(report.is_clean() && report.counts.orphans == 0, "{report:?}");
}

#[test]
fn a_call_that_does_no_owed_work_waits_for_none() {
    let store = Store::options().open_memory(1 << 20).unwrap();
    let engine = &store.engine;
    let object = store.create("a").unwrap();
    let (slot, id) = (object.shared.slot, object.shared.id);
    engine.leave(slot, id);
    thread::scope(|scope| {
        // No step is done while this is held.
        let roles = engine.pages.roles();
        let worker = scope.spawn(|| engine.settle());
        while engine.settling.try_lock().is_some() {
            thread::yield_now();
        }
        let (send, done) = mpsc::channel();
        scope.spawn(move || {
            let aside = engine.set_aside();
            engine.leave(slot, id);
            let mut report = crate::media::check::Report::default();
            engine.name_set_aside(&mut report);
            send.send(aside).unwrap();
        });
        let waited = done.recv_timeout(Duration::from_secs(20));
        let unfinished = !worker.is_finished();
        drop(roles);
        assert_eq!(waited, Ok(0));
        assert!(unfinished);
        worker.join().unwrap().unwrap();
    });
}

#[test]
fn what_found_no_room_costs_the_next_changes_nothing() {
    const NOTES: u64 = 4 * 511;
    let store = Store::options().max_size(12 << 20).log_frames(8).open_memory(1 << 20).unwrap();
    let make = |name: &str| {
        let object = store.create(name).unwrap();
        object.append(&[1; 4096]).unwrap();
        object
    };
    let pin = |object: &Object| object.pin(PageIndex(0)).unwrap();
    let (pinned, other) = (make("pinned"), make("other"));
    let page = pin(&pinned);
    // These use up what a full store keeps for freeing.
    let crowd: Vec<_> = (0..NOTES).map(|n| pin(&make(&format!("crowd {n}")))).collect();
    let filler = make("filler");
    for pages in [64, 8, 1] {
        while filler.append(&vec![1; pages * 4096]).is_ok() {}
    }
    (0..NOTES).for_each(|n| store.open(format!("crowd {n}")).unwrap().set_len(0).unwrap());
    store.unlink("pinned").unwrap();
    drop(pinned);
    let looks = || {
        let before = store.engine.log.looks();
        other.write_at(0, b"in place").unwrap();
        store.engine.log.looks() - before
    };
    looks();
    assert_eq!(looks(), 0);
    drop((page, crowd));
    other.write_at(0, b"in place").unwrap();
    let counts = store.check().unwrap().counts;
    assert_eq!((counts.orphans, counts.busy), (0, 0), "a pin that goes is a reason to try again");
}

#[test]
fn names_are_free_while_what_lost_its_name_is_freed() {
    for replace in [false, true] {
        let store = Store::options().open_memory(1 << 20).unwrap();
        store.create("old").unwrap().append(&[1; 5000]).unwrap();
        store.create("new").unwrap();
        thread::scope(|scope| {
            // No page is freed while this is held.
            let roles = store.engine.pages.roles();
            let freeing = scope.spawn(|| match replace {
                false => store.unlink("old"),
                true => store.rename("new", "old"),
            });
            let (send, done) = mpsc::channel();
            let store = &store;
            scope.spawn(move || {
                while store.exists("old").unwrap() == Some(5000) {
                    thread::yield_now();
                }
                let again = store.create(if replace { "new" } else { "old" });
                send.send(again.and_then(|_| store.list()).map(|list| list.len())).unwrap();
            });
            let waited = done.recv_timeout(Duration::from_secs(20));
            let unfinished = !freeing.is_finished();
            drop(roles);
            assert_eq!(waited.expect("a name waits for the freeing").unwrap(), 2);
            assert!(unfinished);
            freeing.join().unwrap().unwrap();
        });
        let report = store.check().unwrap();
        assert!(report.is_clean() && report.counts.orphans == 0, "{report:?}");
    }
}

#[test]
fn a_page_that_is_cut_off_beside_owed_work_is_given_to_no_lookup() {
    let store = Store::options().max_size(4 << 20).open_memory(1 << 20).unwrap();
    let engine = &store.engine;
    let object = store.create("a").unwrap();
    object.append(&[1; 9000]).unwrap();
    let shared = &object.shared;
    std::thread::scope(|scope| {
        // A lookup that has seen the old length.
        let steady = shared.shape.read();
        let cutter = scope.spawn(|| object.set_len(0));
        for _ in 0..20 {
            if shared.len() != 0 {
                thread::sleep(Duration::from_millis(10));
            }
        }
        // As after an earlier cut that found no room.
        engine.leave(shared.slot, shared.id);
        engine.settle().unwrap();
        let frame = shared.locate(PageIndex(1)).unwrap();
        let page = frame.map(|frame| shared.pin_located(PageIndex(1), frame).unwrap());
        drop(steady);
        cutter.join().unwrap().unwrap();
        if let Some(page) = page {
            assert!(page.is_detached(), "its frame is free");
            assert!(matches!(page.write(), Err(Error::Detached { .. })));
        }
    });
    store.sync().unwrap();
    let other = store.create("b").unwrap();
    while other.append(&[2; 4096]).is_ok() {}
    assert_eq!(store.stats().set_aside, 0);
    let report = store.check().unwrap();
    assert!(report.is_clean() && report.counts.orphans == 0, "{report:?}");
}

/// A full store but for a few frames, an object of which one page is mapped, and room that is pending.
fn about_to_settle(mapped: u64, spare: u64) -> (Store, Object) {
    let store = Store::options().max_size(4 << 20).open_memory(1 << 20).unwrap();
    let object = store.create("object").unwrap();
    object.write_at(mapped * PAGE, &[9; PAGE as usize]).unwrap();
    object.set_len((mapped + 2) * PAGE).unwrap();
    let owed = store.create("owed").unwrap();
    owed.append(&[1; 8 * PAGE as usize]).unwrap();
    let filler = store.create("filler").unwrap();
    while filler.append(&[1; PAGE as usize]).is_ok() {}
    filler.set_len(filler.len() - spare * PAGE).unwrap();
    let pins: Vec<_> = (0..8).map(|page| owed.pin(PageIndex(page)).unwrap()).collect();
    owed.set_len(0).unwrap();
    drop(pins);
    (store, object)
}

#[test]
fn what_a_write_stored_before_it_found_no_room_is_not_stored_again() {
    let mut overwritten = 0;
    // A hole behind a page with a frame; and one before it, for which the map needs a node.
    for (mapped, hole, spare) in [(0, 1, 0), (512, 511, 0), (512, 511, 1), (512, 511, 2)] {
        let (store, object) = about_to_settle(mapped, spare);
        let shows = |page: u64| {
            let mut byte = [0];
            object.read_at(page * PAGE, &mut byte).unwrap();
            byte[0]
        };
        let expected = thread::scope(|scope| {
            // Nothing that is pending is done while this is held.
            let settling = store.engine.settling.lock();
            let writer = scope.spawn(|| object.write_at(mapped.min(hole) * PAGE, &[1; 2 * PAGE as usize]));
            for _ in 0..30 {
                if shows(mapped) != 1 {
                    thread::sleep(Duration::from_millis(10));
                }
            }
            let seen = shows(mapped) == 1 && shows(hole) == 0;
            if seen {
                object.write_at(mapped * PAGE, &[2; PAGE as usize]).unwrap();
                overwritten += 1;
            }
            drop(settling);
            writer.join().unwrap().unwrap();
            if seen { 2 } else { 1 }
        });
        assert_eq!((shows(mapped), shows(hole)), (expected, 1), "{mapped}, {spare} frames");
    }
    assert!(overwritten >= 2, "{overwritten}");
}

/// Owner words keep the low bits of an object's number: those of two objects may be the same.
#[test]
fn dirt_outlives_an_object_whose_number_has_the_same_low_bits() {
    for apart in [1 << 28, 1 << 32] {
        let store = Store::options().assume(Durability::CacheLine).open_memory(1 << 20).unwrap();
        let made = |name| {
            let object = store.create(name).unwrap();
            object.append(&[1; PAGE as usize]).unwrap();
            object
        };
        let object = made("a");
        let id = object.shared.id;
        store.engine.change().unwrap().pass_numbers_up_to(id + apart).unwrap();
        let other = made("b");
        assert_eq!(other.shared.id, id + apart);
        store.sync().unwrap();
        [&object, &other].iter().for_each(|object| object.write_at(0, b"dirty").unwrap());
        store.unlink("b").unwrap();
        drop(other);
        // The records are durable, and what was dirty is so still.
        store.create("c").unwrap().sync().unwrap();
        let before = store.stats().lines_flushed;
        object.sync().unwrap();
        assert_eq!(store.stats().lines_flushed - before, 1, "the line of the object that is left");
        assert!(!object.pin(PageIndex(0)).unwrap().expect("no hole").info().dirty);
    }
}

/// A drain that began before the frame got this page ends its hold at any moment.
#[test]
fn a_page_in_a_frame_that_is_being_drained_does_not_move() {
    let store = Store::options().open_memory(1 << 20).unwrap();
    let object = store.create("a").unwrap();
    object.write_at(0, &[7; 100]).unwrap();
    let frame = object.pin(PageIndex(0)).unwrap().unwrap().frame();
    let draining = store.engine.pages.is_draining(frame);
    let moved = object.move_pages(0..1, Duration::ZERO).unwrap();
    assert_eq!((moved.pages, moved.stayed), (0, 1));
    drop(draining);
    let moved = object.move_pages(0..1, Duration::ZERO).unwrap();
    assert_eq!((moved.pages, moved.stayed), (1, 0));
}
