//! First touch and reclaim.

use super::{PFN, explore, must_pin, pins, put, table};
use loom::thread;
use pagestone::frame::FrameTable;
use pagestone::units::Pfn;

/// One thread's visit: while it has its pin, its mark in the descriptor stays.
fn visit(table: &FrameTable, pfn: Pfn, mark: u64) -> bool {
    let populated = must_pin(table, pfn);
    table.set_owner(pfn, mark);
    let state = table.peek(pfn).expect("a pinned frame is live");
    assert!(state.pins() >= 1);
    assert_eq!(table.owner(pfn), mark);
    put(table, pfn);
    populated
}

#[test]
fn racing_first_touches_populate_a_frame_once_and_lose_no_pin() {
    explore(5, || {
        let table = table(1);
        let other = {
            thread::spawn({
                let table = table.clone();
                move || must_pin(&table, PFN)
            })
        };
        let mine = must_pin(&table, PFN);
        let theirs = other.join().expect("no panic");
        assert_ne!(mine, theirs);
        assert_eq!(pins(&table, PFN), 2);
        put(&table, PFN);
        put(&table, PFN);
        assert_eq!(pins(&table, PFN), 0, "increments in vain were wiped");
        assert_eq!(table.stats().first_touches, 1);
    });
}

#[test]
fn three_racing_first_touches_populate_once() {
    explore(3, || {
        let table = table(1);
        let others = [0, 1].map(|_| {
            let table = table.clone();
            thread::spawn(move || {
                let populated = must_pin(&table, PFN);
                put(&table, PFN);
                populated
            })
        });
        let mut populated = usize::from(must_pin(&table, PFN));
        put(&table, PFN);
        for other in others {
            populated += usize::from(other.join().expect("no panic"));
        }
        assert_eq!((populated, pins(&table, PFN)), (1, 0));
    });
}

#[test]
fn reclaim_never_takes_a_pin_nor_a_pinned_descriptor() {
    explore(5, || {
        let table = table(1);
        must_pin(&table, PFN);
        put(&table, PFN);
        let reclaimer = thread::spawn({
            let table = table.clone();
            move || table.reclaim(1)
        });
        visit(&table, PFN, 7);
        let reclaimed = reclaimer.join().expect("no panic");
        assert_eq!(pins(&table, PFN), 0);
        let stats = table.stats();
        assert_eq!(stats.reclaimed_chunks as usize, reclaimed);
        assert_eq!(stats.populated_chunks, u64::from(table.peek(PFN).is_some()));
        assert_eq!(table.reclaim(1) as u64, stats.populated_chunks, "idle again, it can go");
    });
}

#[test]
fn reclaim_beside_a_first_touch_of_the_neighbour_and_a_pin() {
    explore(3, || {
        let table = table(1);
        must_pin(&table, PFN);
        put(&table, PFN);
        let reclaimer = thread::spawn({
            let table = table.clone();
            move || table.reclaim(1)
        });
        let neighbour = thread::spawn({
            let table = table.clone();
            move || visit(&table, Pfn::new(1), 8)
        });
        visit(&table, PFN, 7);
        reclaimer.join().expect("no panic");
        assert!(neighbour.join().expect("no panic"), "first touch");
        assert_eq!((pins(&table, PFN), pins(&table, Pfn::new(1))), (0, 0));
    });
}

#[test]
fn a_chunk_over_budget_takes_the_place_of_the_oldest() {
    explore(5, || {
        let table = table(2);
        table.set_budget(1);
        let other = thread::spawn({
            let table = table.clone();
            move || visit(&table, Pfn::new(2), 9)
        });
        visit(&table, PFN, 7);
        other.join().expect("no panic");
        table.reclaim(2);
        assert_eq!(table.stats().populated_chunks, 0, "nothing is pinned, so all can be reclaimed");
    });
}

#[test]
fn one_pin_that_two_drop_is_dropped_once() {
    explore(5, || {
        let table = table(1);
        must_pin(&table, PFN);
        let drop_it = |table: &FrameTable| table.unpin_checked(PFN).is_some();
        let other = thread::spawn({
            let table = table.clone();
            move || drop_it(&table)
        });
        let mine = drop_it(&table);
        assert_ne!(mine, other.join().expect("no panic"), "exactly one of them had a pin to drop");
        assert_eq!(pins(&table, PFN), 0);
        assert_eq!(table.reclaim(1), 1, "nothing but the pins has changed");
    });
}

#[test]
fn a_retired_frame_never_repeats_a_version() {
    explore(5, || {
        let table = table(1);
        must_pin(&table, PFN);
        let remembered = table.pinned(PFN).version();
        put(&table, PFN);
        let other = thread::spawn({
            let table = table.clone();
            move || {
                must_pin(&table, PFN);
                put(&table, PFN);
            }
        });
        table.reclaim(1);
        other.join().expect("no panic");
        let recycled = table.stats().reclaimed_chunks == 1;
        assert_eq!(table.pinned(PFN).validate(remembered), !recycled);
    });
}
