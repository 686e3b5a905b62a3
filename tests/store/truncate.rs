//! Cuts of objects whose pages are pinned.

use crate::{PAGE, content, filled, pin, shown, store};
use pagestone::Error;
use pagestone::store::{Object, Store};
use pagestone::units::{PageIndex, PfnRange};
use std::collections::HashSet;
use std::time::Duration;

/// Takes every frame that the region has or can get. Returns their numbers.
fn take_all(store: &Store, name: &str) -> HashSet<u64> {
    let object = store.create(name).unwrap();
    let mut page = 0;
    let refused = loop {
        match object.write_at(page * PAGE, &[0xAA; PAGE as usize]) {
            Ok(()) => page += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::NoSpace { .. }), "{refused}");
    (0..page).map(|index| pin(&object, index).pfn().get()).collect()
}

#[test]
fn a_pinned_page_outlives_a_truncate_and_its_frame_is_used_again_only_after() {
    let store = Store::options().max_size(4 << 20).open_memory(1 << 20).unwrap();
    let object = filled(&store, "a", 20);
    // More frames than a full store keeps for itself.
    let held: Vec<_> = (2..18).map(|index| pin(&object, index)).collect();
    let frames: HashSet<_> = held.iter().map(|page| page.pfn().get()).collect();
    object.set_len(PAGE).unwrap();
    assert!(held.iter().all(|page| page.is_detached()));
    assert!(object.pin(PageIndex(2)).unwrap().is_none());
    assert!(take_all(&store, "greedy").is_disjoint(&frames));
    assert_eq!(shown(&held[0]), [3; PAGE as usize], "the holder goes on seeing what it had");
    assert!(matches!(held[0].write(), Err(Error::Detached { .. })), "a write would be lost");
    drop(held);
    store.unlink("greedy").unwrap();
    assert!(!take_all(&store, "greedier").is_disjoint(&frames), "after the last put the frames are free");
}

#[test]
fn a_frame_whose_latch_was_forgotten_is_not_used_again() {
    let latches: [fn(&pagestone::page::PageRef); 2] =
        [|page| page.read().unwrap().into_raw(), |page| page.write().unwrap().into_raw()];
    for latch in latches {
        let store = Store::options().max_size(4 << 20).open_memory(1 << 20).unwrap();
        let object = filled(&store, "a", 2);
        // A call that gives the latch back later knows the frame only by its number: it would give back another page's
        // latch.
        let page = pin(&object, 1);
        latch(&page);
        let frame = page.pfn().get();
        drop(page);
        object.set_len(0).unwrap();
        assert!(!take_all(&store, "greedy").contains(&frame));
        store.unlink("greedy").unwrap();
        assert!(!take_all(&store, "greedier").contains(&frame));
    }
}

#[test]
fn after_a_cut_neither_sees_the_others_bytes() {
    let store = store();
    let object = filled(&store, "a", 3);
    let held = pin(&object, 1);
    object.set_len(0).unwrap();
    object.write_at(0, &[9; 3 * PAGE as usize]).unwrap();
    let fresh = pin(&object, 1);
    assert_ne!(fresh.pfn(), held.pfn());
    assert_eq!(shown(&held), [2; PAGE as usize]);
    assert_eq!(shown(&fresh), [9; PAGE as usize]);
}

#[test]
fn a_detached_frame_is_not_found_by_its_number() {
    let store = store();
    let object = filled(&store, "a", 1);
    let held = pin(&object, 0);
    object.set_len(0).unwrap();
    assert!(store.frames(PfnRange::new(held.pfn(), 1)).is_err());
    assert_eq!(held.info().pins, 1);
    let again = held.try_clone().unwrap();
    assert_eq!(again.info().pins, 2);
}

#[test]
fn a_cut_that_waits_returns_at_the_put_or_changes_nothing() {
    let store = store();
    let object = filled(&store, "a", 2);
    let held = pin(&object, 1);
    let refused = object.set_len_wait(0, Duration::from_millis(20));
    assert!(matches!(refused, Err(Error::TimedOut { .. })));
    assert_eq!(object.len(), 2 * PAGE);
    assert!(!held.is_detached());
    std::thread::scope(|scope| {
        let cut = scope.spawn(|| object.set_len_wait(0, Duration::from_secs(30)));
        std::thread::sleep(Duration::from_millis(20));
        assert!(!cut.is_finished());
        drop(held);
        cut.join().unwrap().unwrap();
    });
    assert_eq!(object.len(), 0);
}

#[test]
fn a_hole_that_waits_returns_at_the_put_or_changes_nothing() {
    let store = store();
    let object = filled(&store, "a", 4);
    let held = pin(&object, 1);
    let refused = object.punch_hole_wait(10, 2 * PAGE, Duration::from_millis(20));
    assert!(matches!(refused, Err(Error::TimedOut { .. })));
    assert!(content(&object)[..4].iter().all(|&byte| byte == 1) && !held.is_detached());
    // A page that the hole only clears in part stays, so its pins are no reason to wait.
    let beside = pin(&object, 2);
    object.punch_hole_wait(2 * PAGE + 1, PAGE, Duration::ZERO).unwrap();
    assert!(!beside.is_detached());
    std::thread::scope(|scope| {
        let cut = scope.spawn(|| object.punch_hole_wait(PAGE, PAGE, Duration::from_secs(30)));
        std::thread::sleep(Duration::from_millis(20));
        assert!(!cut.is_finished());
        drop(held);
        cut.join().unwrap().unwrap();
    });
    assert!(object.pin(PageIndex(1)).unwrap().is_none(), "a hole now");
    assert_eq!(object.len(), 4 * PAGE);
}

#[test]
fn bytes_cut_off_read_as_zeros_when_the_object_grows_again() {
    for grown in [500, 1000, PAGE, 3 * PAGE] {
        let store = store();
        let object = filled(&store, "a", 3);
        object.set_len(100).unwrap();
        object.set_len(grown).unwrap();
        let mut expected = vec![1; 100];
        expected.resize(grown as usize, 0);
        assert_eq!(content(&object), expected);
    }
}

#[test]
fn a_write_past_the_end_uncovers_zeros() {
    let store = store();
    let object = filled(&store, "a", 2);
    object.set_len(10).unwrap();
    object.write_at(20, &[7; 4]).unwrap();
    object.write_at(2 * PAGE, &[8; 4]).unwrap();
    let mut expected = vec![0; 2 * PAGE as usize + 4];
    expected[..10].fill(1);
    expected[20..24].fill(7);
    expected[2 * PAGE as usize..].fill(8);
    assert_eq!(content(&object), expected);
}

#[test]
fn a_punched_page_is_a_hole_and_its_holder_keeps_the_old_one() {
    let store = store();
    let object = filled(&store, "a", 4);
    let held = pin(&object, 2);
    object.punch_hole(PAGE + 100, 2 * PAGE).unwrap();
    assert!(object.pin(PageIndex(2)).unwrap().is_none());
    assert_eq!(shown(&held), [3; PAGE as usize]);
    assert!(matches!(held.write(), Err(Error::Detached { .. })));
    let mut expected: Vec<u8> = (1..=4).flat_map(|n| [n; PAGE as usize]).collect();
    expected[PAGE as usize + 100..3 * PAGE as usize + 100].fill(0);
    assert_eq!(content(&object), expected);
    object.write_at(2 * PAGE, &[5]).unwrap();
    assert_eq!(shown(&held), [3; PAGE as usize]);
    assert_ne!(pin(&object, 2).pfn(), held.pfn());
}

#[test]
fn unlinking_gives_every_frame_back() {
    let store = Store::options().max_size(4 << 20).open_memory(1 << 20).unwrap();
    let count = take_all(&store, "a").len();
    for round in 0..4 {
        store.unlink("a").unwrap();
        let again = take_all(&store, "a").len();
        assert!(again + 2 >= count, "round {round}: {again} of {count}");
    }
}

/// A region of at most `frames` frames with no room for another page, and the object that has them.
fn full(frames: u64) -> (Store, Object) {
    let store = Store::options().max_size(frames * PAGE).open_memory(500 << 10).unwrap();
    let object = store.create("a").unwrap();
    while object.append(&[7; PAGE as usize]).is_ok() {}
    assert!(matches!(object.append(&[7; PAGE as usize]), Err(Error::NoSpace { .. })));
    (store, object)
}

#[test]
fn a_full_region_can_be_emptied_while_pages_are_pinned() {
    let (store, object) = full(150);
    let held = pin(&object, 3);
    object.set_len(PAGE).unwrap();
    assert!(held.is_detached() && shown(&held) == [7; PAGE as usize]);
    object.write_at(9 * PAGE, &[8; PAGE as usize]).unwrap();
    crate::check(&store);

    let (store, object) = full(150);
    let held = pin(&object, 3);
    object.punch_hole(PAGE + 5, 5 * PAGE).unwrap();
    assert!(held.is_detached());
    assert!(content(&object)[PAGE as usize + 5..][..5 * PAGE as usize].iter().all(|&byte| byte == 0));
    store.create("b").unwrap().write_at(0, b"there is room").unwrap();
    crate::check(&store);
}

/// A region in which no further pinned page can be noted, its one object, and all pins of that object.
fn noted_out() -> (Store, Object, Vec<pagestone::page::PageRef>) {
    let (store, object) = full(6000);
    let pages = object.len() / PAGE;
    let pins: Vec<_> = (0..pages).map(|index| pin(&object, index)).collect();
    // Only every second page, so that no node of the map is given back.
    let mut odd = (1..pages).step_by(2).map(|index| object.punch_hole(index * PAGE, PAGE));
    assert!(odd.any(|punched| matches!(punched, Err(Error::NoSpace { .. }))));
    (store, object, pins)
}

#[test]
fn a_cut_is_made_even_if_there_is_no_room_to_note_all_pins() {
    let (store, object, pins) = noted_out();
    object.set_len(PAGE).unwrap();
    assert_eq!((object.len(), content(&object)), (PAGE, vec![7; PAGE as usize]));
    assert!(object.pin(PageIndex(1)).unwrap().is_none());
    assert!(matches!(object.write_at(PAGE, b"growth"), Err(Error::NoSpace { .. })));
    assert!(pins.iter().all(|page| shown(page) == [7; PAGE as usize]));
    let pages = pins.len() as u64;
    drop(pins);
    object.write_at(PAGE, b"growth").unwrap();
    crate::check(&store);
    drop(object);
    store.unlink("a").unwrap();
    assert!(full_again(&store) + 20 >= pages);
}

#[test]
fn an_object_that_cannot_go_yet_stops_nothing_that_takes_no_space() {
    let (store, object, pins) = noted_out();
    let other = store.create("b").unwrap();
    store.unlink("a").unwrap();
    drop(object);
    store.rename("b", "c").unwrap();
    other.set_len(10).unwrap();
    drop(pins);
    other.write_at(0, &[1; 100]).unwrap();
    crate::check(&store);
}

/// The number of pages that an object gets until there is no space.
fn full_again(store: &Store) -> u64 {
    let object = store.create("again").unwrap();
    while object.append(&[9; PAGE as usize]).is_ok() {}
    object.len() / PAGE
}
