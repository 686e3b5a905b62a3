//! Cutting objects whose pages are pinned.

use crate::{PAGE, content, filled, pin, shown, store};
use pagestone::Error;
use pagestone::store::Store;
use pagestone::units::{PageIndex, PfnRange};
use std::collections::HashSet;
use std::time::Duration;

/// Takes every frame the region has or can get, and says which.
fn take_all(store: &Store, name: &str) -> HashSet<u64> {
    let object = store.create(name).unwrap();
    let mut page = 0;
    while object.write_at(page * PAGE, &[0xAA; PAGE as usize]).is_ok() {
        page += 1;
    }
    (0..page).map(|index| pin(&object, index).pfn().get()).collect()
}

#[test]
fn a_pinned_page_outlives_a_truncate_and_its_frame_is_used_again_only_after() {
    let store = Store::options().max_size(4 << 20).open_memory(1 << 20).unwrap();
    let object = filled(&store, "a", 4);
    let held = pin(&object, 2);
    let frame = held.pfn().get();
    object.set_len(PAGE).unwrap();
    assert!(held.is_detached());
    assert!(object.pin(PageIndex(2)).unwrap().is_none());
    assert!(!take_all(&store, "greedy").contains(&frame));
    assert_eq!(shown(&held), [3; PAGE as usize], "the holder goes on seeing what it had");
    assert!(matches!(held.write(), Err(Error::Detached { .. })), "a write would be lost");
    drop(held);
    store.unlink("greedy").unwrap();
    assert!(take_all(&store, "greedier").contains(&frame), "after the last put the frame is free");
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
