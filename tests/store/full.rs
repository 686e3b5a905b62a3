//! A full store frees what it can, and refuses nothing that needs no room.

use crate::{PAGE, check, content, filled, pin};
use pagestone::Error;
use pagestone::page::PageRef;
use pagestone::store::{Object, Store};

/// How many pinned pages can be noted in the four frames that a full store keeps for freeing.
const NOTES: u64 = 4 * 511;

/// A store that cannot grow, with a small log.
fn small() -> Store {
    Store::options().max_size(12 << 20).log_frames(8).open_memory(1 << 20).unwrap()
}

/// Pins of pages that will need all of these frames. Their objects are so small that nothing else becomes free with them.
fn crowd(store: &Store) -> Vec<PageRef> {
    (0..NOTES).map(|n| pin(&filled(store, &format!("crowd {n}"), 1), 0)).collect()
}

/// Fills the store, and makes the crowd use up the frames that it kept.
fn fill_up(store: &Store) -> Object {
    let filler = fill(store);
    (0..NOTES).for_each(|n| store.open(format!("crowd {n}")).unwrap().set_len(0).unwrap());
    let counts = store.check().unwrap().counts;
    assert_eq!((counts.busy, counts.free), (NOTES, 0));
    filler
}

/// Takes the last frame.
fn fill(store: &Store) -> Object {
    let object = store.create("filler").unwrap();
    for pages in [64, 8, 1] {
        while object.append(&vec![0xF1; pages * PAGE as usize]).is_ok() {}
    }
    let refused = object.append(&[1; PAGE as usize]);
    assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
    object
}

#[test]
fn an_unlinked_page_that_is_pinned_stops_no_other_object() {
    let store = small();
    let (pinned, other) = (filled(&store, "pinned", 1), filled(&store, "other", 3));
    let (page, crowd) = (pin(&pinned, 0), crowd(&store));
    let _filler = fill_up(&store);
    store.unlink("pinned").unwrap();
    drop(pinned);
    // There is no frame in which the pinned one could be noted. That work is owed, and these calls do not need it.
    other.write_at(0, b"in place").unwrap();
    store.rename("other", "renamed").unwrap();
    check(&store);
    store.unlink("filler").unwrap();
    drop(_filler);
    other.append(&vec![7; 40 * PAGE as usize]).unwrap();
    assert_eq!(page.read().unwrap()[..], [1; PAGE as usize]);
    check(&store);
    drop((page, crowd));
    other.append(b"the frame is free").unwrap();
    assert_eq!((store.check().unwrap().counts.orphans, store.check().unwrap().counts.busy), (0, 0));
    check(&store);
}

#[test]
fn the_idle_pages_of_an_unlinked_object_go_and_make_room_for_the_note() {
    let store = small();
    let object = filled(&store, "a", 14);
    let (page, _crowd) = (pin(&object, 4), crowd(&store));
    let filler = fill_up(&store);
    store.unlink("a").unwrap();
    drop(object);
    assert_eq!(store.check().unwrap().counts.orphans, 0, "it is gone but for the pinned page");
    assert_eq!(store.check().unwrap().counts.busy, NOTES + 1);
    filler.append(&[2; 5 * PAGE as usize]).unwrap();
    assert_eq!(page.read().unwrap()[..], [5; PAGE as usize]);
    check(&store);
}

#[test]
fn a_cut_in_a_full_store_is_a_cut() {
    let store = small();
    let object = filled(&store, "a", 2);
    let (pins, _crowd) = ([pin(&object, 0), pin(&object, 1)], crowd(&store));
    let filler = fill_up(&store);
    object.set_len(10).unwrap();
    assert_eq!(content(&object), [1; 10]);
    assert!(pins[1].is_detached() && !pins[0].is_detached());
    filler.write_at(0, b"in place").unwrap();
    let refused = object.append(&[3; 2 * PAGE as usize]);
    assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
    assert_eq!(content(&object), [1; 10]);
    check(&store);
    drop((pins, object));
    store.create("b").unwrap();
    assert_eq!(store.check().unwrap().counts.orphans, 0, "what was left of the cut is done");
    let object = store.open("a").unwrap();
    // The busy table keeps the frames of the notes, and as many frames as before are kept for freeing.
    filler.set_len(filler.len() - 5 * PAGE).unwrap();
    object.append(&[3; PAGE as usize]).unwrap();
    assert_eq!(content(&object)[..10], [1; 10]);
    check(&store);
}

#[test]
fn an_object_that_was_cut_short_and_then_unlinked_is_freed_once() {
    let store = small();
    let object = filled(&store, "a", 2);
    let (pins, crowd) = ([pin(&object, 0), pin(&object, 1)], crowd(&store));
    let _filler = fill_up(&store);
    object.set_len(10).unwrap();
    // The rest of the cut is owed, and then the drop of the object.
    drop(object);
    store.unlink("a").unwrap();
    drop((pins, crowd));
    for name in ["b", "c"] {
        store.create(name).unwrap();
    }
    assert_eq!(store.check().unwrap().counts.orphans, 0);
    assert_eq!(store.stats().set_aside, 0);
    check(&store);
}

#[test]
fn what_is_left_of_a_cut_goes_with_the_pins_though_the_object_is_open() {
    for again in [false, true] {
        let store = small();
        let mut object = filled(&store, "a", 2);
        let (pins, _crowd) = ([pin(&object, 0), pin(&object, 1)], crowd(&store));
        let filler = fill_up(&store);
        object.set_len(10).unwrap();
        if again {
            drop(object);
            object = store.open("a").unwrap();
            filler.write_at(0, b"a change beside it").unwrap();
        }
        assert_eq!(store.check().unwrap().counts.orphans, 1);
        drop(pins);
        filler.write_at(0, b"a change").unwrap();
        assert_eq!(store.check().unwrap().counts.orphans, 0, "opened again: {again}");
        assert_eq!(content(&object), [1; 10]);
        check(&store);
    }
}
