//! The map of dirty frames: writers note frames while syncs take them. In these models a word has two bits, and objects
//! with odd numbers share a trail.

use super::{PFN, explore, must_pin, put, table};
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;
use pagestone::engine::Syncs;
use pagestone::page::DirtMap;
use pagestone::units::{FrameNo, Lines};
use std::sync::Arc;

const OBJECT: u32 = 1;
/// Another object of the same trail.
const OTHER: u32 = 3;

fn map(frames: usize) -> Arc<DirtMap> {
    Arc::new(DirtMap::reserve(frames).expect("heap"))
}

/// A thread that notes a frame of `OBJECT`. `noted` counts the notes that have returned.
fn writer(map: &Arc<DirtMap>, noted: &Arc<AtomicUsize>, frame: FrameNo) -> thread::JoinHandle<()> {
    let (map, noted) = (map.clone(), noted.clone());
    thread::spawn(move || {
        map.note(OBJECT, frame);
        noted.fetch_add(1, Ordering::AcqRel);
    })
}

/// Each of two syncs finds what was noted before it began, even under a word that an earlier sync has cleared.
fn syncs_find_what_was_noted(frames: usize, preemptions: usize, dirty: &'static [FrameNo]) {
    explore(preemptions, move || {
        let (map, noted) = (map(frames), Arc::new(AtomicUsize::new(0)));
        let writers: Vec<_> = dirty.iter().map(|frame| writer(&map, &noted, *frame)).collect();
        let mut taken = 0;
        for _ in 0..2 {
            let before = noted.load(Ordering::Acquire);
            taken += map.take(OBJECT, |_| None).len();
            assert!(taken >= before, "a sync has missed what was noted before");
        }
        writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
        taken += map.take(OBJECT, |_| None).len();
        assert_eq!(taken, dirty.len());
    });
}

/// The second writer finds a bit in its word, and must not rely on steps that the first writer has not done yet.
#[test]
fn two_frames_of_a_word_are_found_by_the_next_sync() {
    syncs_find_what_was_noted(4, 4, &[FrameNo(0), FrameNo(1)]);
}

#[test]
fn two_frames_under_a_step_are_found_by_the_next_sync() {
    syncs_find_what_was_noted(8, 3, &[FrameNo(0), FrameNo(2)]);
}

#[test]
fn a_frame_beside_a_sync_is_found_by_the_next_one() {
    explore(5, || {
        let (map, noted) = (map(8), Arc::new(AtomicUsize::new(0)));
        // The trail leads to the frame's word already.
        map.note(OBJECT, FrameNo(1));
        let writer = writer(&map, &noted, FrameNo(0));
        let mut taken = map.take(OBJECT, |_| None).len();
        let before = noted.load(Ordering::Acquire);
        taken += map.take(OBJECT, |_| None).len();
        assert!(taken > before, "a sync has missed what was noted before");
        writer.join().expect("no panic");
        assert_eq!(taken + map.take(OBJECT, |_| None).len(), 2);
    });
}

/// A bit that one sync leaves can be found by another at every moment: neither the bit nor a step to it is absent for a
/// while.
#[test]
fn two_syncs_of_a_trail_find_their_own_each() {
    explore(4, || {
        let map = map(8);
        let owner = |frame: FrameNo| if frame == FrameNo(0) { OBJECT } else { OTHER };
        [0, 1].map(FrameNo).iter().for_each(|frame| map.note(owner(*frame), *frame));
        let take = move |map: &DirtMap, object| {
            map.take(object, |frame| Some(owner(frame)).filter(|o| *o != object))
        };
        let other = thread::spawn({
            let map = map.clone();
            move || take(&map, OTHER)
        });
        assert_eq!(take(&map, OBJECT), [FrameNo(0)]);
        assert_eq!(other.join().expect("no panic"), [FrameNo(1)]);
    });
}

#[test]
fn dirt_of_unknown_owners_is_taken_by_any_sync_once() {
    explore(4, || {
        let map = map(4);
        map.note(DirtMap::UNKNOWN, FrameNo(3));
        let other = thread::spawn({
            let map = map.clone();
            move || map.take(OTHER, |_| None).len()
        });
        let mine = map.take(OBJECT, |_| None).len();
        assert_eq!(mine + other.join().expect("no panic"), 1);
    });
}

/// A writer that finds its frame dirty notes nothing. Its line is flushed by the sync that has taken the frame's bit, or
/// by the next one.
#[test]
fn a_line_stored_beside_a_sync_is_flushed_by_it_or_found_by_the_next() {
    const LINE: Lines = Lines::new(0b01);
    const OTHER_LINE: Lines = Lines::new(0b10);
    explore(3, || {
        let (table, map, syncs) = (table(1), map(4), Arc::new(Syncs::default()));
        let frame = FrameNo(PFN.get() as u32);
        must_pin(&table, PFN);
        assert!(table.pinned(PFN).mark_dirty(LINE));
        map.note(OBJECT, frame);
        let flushed = Arc::new(AtomicBool::new(false));
        let sync = thread::spawn({
            let (table, map, syncs, flushed) = (table.clone(), map.clone(), syncs.clone(), flushed.clone());
            move || {
                let take = || {
                    map.take(OBJECT, |_| None)
                        .iter()
                        .fold(Lines::NONE, |lines, _| lines.with(table.take_dirty(PFN)))
                };
                let (ticket, lines) = syncs.take(take);
                flushed.store(!lines.among(OTHER_LINE).is_empty(), Ordering::Relaxed);
                drop(ticket);
            }
        });
        if table.pinned(PFN).mark_dirty(OTHER_LINE) {
            map.note(OBJECT, frame);
        }
        let found =
            map.take(OBJECT, |_| None).iter().fold(Lines::NONE, |lines, _| lines.with(table.take_dirty(PFN)));
        sync.join().expect("no panic");
        assert!(
            flushed.load(Ordering::Relaxed) || !found.among(OTHER_LINE).is_empty(),
            "no sync flushes the line"
        );
        put(&table, PFN);
    });
}
