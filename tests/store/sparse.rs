//! Holes, growth ahead of need, and far offsets.

use crate::{PAGE, check, content, pin, shown, store};
use pagestone::Error;
use pagestone::store::{Object, Store};
use pagestone::units::PageIndex;

const MIB: u64 = 1 << 20;

#[test]
fn holes_read_as_zeros_and_reading_allocates_nothing() {
    let store = store();
    let object = store.create("a").unwrap();
    object.set_len(10 * PAGE + 5).unwrap();
    let records = store.stats().log_records;
    assert_eq!(content(&object), vec![0; 10 * PAGE as usize + 5]);
    assert!(object.pin(PageIndex(3)).unwrap().is_none());
    assert!(object.pin(PageIndex(1 << 35)).unwrap().is_none());
    assert_eq!(store.stats().log_records, records);
}

#[test]
fn offsets_far_out_are_as_good_as_near_ones() {
    let store = store();
    let object = store.create("a").unwrap();
    for offset in [4 << 30, (4 << 30) + 123, (1 << 40) - 3, Object::LEN_MAX - 7] {
        object.write_at(offset, b"farther").unwrap();
        assert_eq!(object.len(), object.len().max(offset + 7));
        let mut bytes = [1; 9];
        let read = object.read_at(offset - 1, &mut bytes).unwrap();
        assert_eq!(&bytes[1..8], b"farther");
        assert_eq!(bytes[0], 0);
        assert!(read >= 8);
    }
    let page = pin(&object, (4 << 30) / PAGE);
    assert_eq!(&shown(&page)[123..130], b"farther");
    object.set_len(4 << 30).unwrap();
    assert!(page.is_detached());
    object.set_len(Object::LEN_MAX).unwrap();
    let mut bytes = [1; 8];
    assert_eq!(object.read_at(Object::LEN_MAX - 7, &mut bytes).unwrap(), 7);
    assert_eq!(bytes[..7], [0; 7]);
}

#[test]
fn the_limit_is_an_error_and_changes_nothing() {
    let store = store();
    let object = store.create("a").unwrap();
    assert!(matches!(object.write_at(Object::LEN_MAX, b"x"), Err(Error::OutOfRange { .. })));
    assert!(matches!(object.write_at(u64::MAX, b"x"), Err(Error::OutOfRange { .. })));
    assert!(matches!(object.set_len(Object::LEN_MAX + 1), Err(Error::OutOfRange { .. })));
    assert!(matches!(object.pin_mut(PageIndex(1 << 36)), Err(Error::OutOfRange { .. })));
    assert!(matches!(object.pin_mut(PageIndex(u64::MAX)), Err(Error::OutOfRange { .. })));
    assert!(matches!(object.allocate(1, u64::MAX), Err(Error::OutOfRange { .. })));
    assert!(matches!(object.punch_hole(2, u64::MAX), Err(Error::OutOfRange { .. })));
    assert!(object.pin(PageIndex(u64::MAX)).unwrap().is_none());
    assert_eq!(object.read_at(u64::MAX, &mut [0; 4]).unwrap(), 0);
    assert_eq!(object.len(), 0);
}

#[test]
fn a_pin_to_write_fills_a_hole_and_grows_past_the_end() {
    let store = store();
    let object = store.create("a").unwrap();
    let page = object.pin_mut(PageIndex(2)).unwrap();
    assert_eq!(object.len(), 3 * PAGE);
    assert_eq!(shown(&page), [0; PAGE as usize]);
    page.write().unwrap().fill(7);
    assert!(object.pin(PageIndex(1)).unwrap().is_none());
    let again = object.pin_mut(PageIndex(2)).unwrap();
    assert_eq!(again.pfn(), page.pfn());
    object.set_len(2 * PAGE + 10).unwrap();
    let _tail = object.pin_mut(PageIndex(2)).unwrap();
    assert_eq!(object.len(), 2 * PAGE + 10, "inside the last page nothing grows");
}

#[test]
fn an_object_that_has_grown_ahead_appends_into_zeros_and_publishes_nothing() {
    let store = store();
    let object = store.create("wal").unwrap();
    object.allocate(0, 64 * PAGE).unwrap();
    assert_eq!(object.len(), 0);
    assert!(object.pin(PageIndex(3)).unwrap().is_none(), "past the end");
    let records = store.stats().log_records;
    for frame in 0..50u8 {
        assert_eq!(object.append(&[frame; 4120]).unwrap(), u64::from(frame) * 4120);
    }
    assert_eq!(store.stats().log_records, records + 50, "one record each: the length");
    let expected: Vec<u8> = (0..50).flat_map(|n| [n; 4120]).collect();
    assert_eq!(content(&object), expected);
}

#[test]
fn what_was_grown_ahead_is_zeros_in_the_next_life_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let options = pagestone::store::Store::options().create(true);
    let store = options.open(&path).unwrap();
    let object = store.create("wal").unwrap();
    object.allocate(0, 8 * PAGE).unwrap();
    object.append(&[1; 100]).unwrap();
    // As a process leaves it that died during an append: bytes behind the end that no length covers.
    let range = object.pin_range(0, 100).unwrap().pinned().unwrap();
    range.first().write_range(100..4096).unwrap().fill(0xDD);
    drop((range, object));
    store.close().unwrap();
    let store = options.open(&path).unwrap();
    let object = store.open("wal").unwrap();
    object.set_len(4 * PAGE).unwrap();
    let mut expected = vec![1; 100];
    expected.resize(4 * PAGE as usize, 0);
    assert_eq!(content(&object), expected);
}

#[test]
fn appends_get_frames_that_follow_each_other() {
    let store = store();
    let object = store.create("a").unwrap();
    for _ in 0..64 {
        object.append(&[1; PAGE as usize]).unwrap();
    }
    let address = |index| pin(&object, index).address() as u64;
    let breaks = (1..64).filter(|&n| address(n) != address(n - 1) + PAGE).count();
    assert!(breaks <= 3, "{breaks} breaks: nodes of the map may lie between");
}

/// A run of frames serves pins from one word, and is what a reader of a device or a view of memory wants.
#[test]
fn the_nodes_of_a_map_do_not_lie_between_pages_that_are_allocated_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = || Store::options().create(true).open(folder.path().join("r.pgs")).unwrap();
    for store in [Store::options().open_memory(300 * MIB).unwrap(), file()] {
        // The region has pages and structures already.
        store.create("other").unwrap().append(&[1; 100 * PAGE as usize]).unwrap();
        let object = store.create("o").unwrap();
        object.allocate(0, 200 * MIB).unwrap();
        assert_eq!((object.mapped().unwrap(), object.runs().unwrap()), (200 * MIB / PAGE, 1));
        check(&store);
    }
}

#[test]
fn the_nodes_of_a_map_do_not_lie_between_pages_that_are_appended_once_the_region_is_large() {
    let store = Store::options().open_memory(300 * MIB).unwrap();
    let object = store.create("o").unwrap();
    let part = vec![1; MIB as usize];
    let runs_after = |parts| {
        (0..parts).for_each(|_| _ = object.append(&part).unwrap());
        object.runs().unwrap()
    };
    let small = runs_after(40);
    // Each 2 MiB of pages takes a node.
    assert!(runs_after(200) - small <= 10, "{}", object.runs().unwrap() - small);
}

#[test]
fn what_is_mapped_is_found_without_walking_the_holes() {
    let store = store();
    let object = store.create("a").unwrap();
    let found = |from| object.mapped_ranges(from..u64::MAX).collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(found(0), []);
    object.set_len(Object::LEN_MAX).unwrap();
    assert_eq!(found(0), [], "an object of holes alone");
    object.write_at(0, b"x").unwrap();
    object.write_at(3 * PAGE, &vec![1; 3000 * PAGE as usize]).unwrap();
    object.write_at(Object::LEN_MAX - 1, b"x").unwrap();
    let last = Object::LEN_MAX - PAGE..Object::LEN_MAX;
    assert_eq!(found(0), [0..PAGE, 3 * PAGE..3003 * PAGE, last.clone()]);
    assert_eq!(found(5), [5..PAGE, 3 * PAGE..3003 * PAGE, last.clone()]);
    assert_eq!(found(4 * PAGE + 7), [4 * PAGE + 7..3003 * PAGE, last]);
    object.set_len(3 * PAGE + 10).unwrap();
    assert_eq!(found(0), [0..PAGE, 3 * PAGE..3 * PAGE + 10]);
    assert_eq!(found(3 * PAGE + 10), []);
    assert_eq!(found(u64::MAX), []);
    let part: Vec<_> = object.mapped_ranges(7..3 * PAGE + 2).map(Result::unwrap).collect();
    assert_eq!(part, [7..PAGE, 3 * PAGE..3 * PAGE + 2]);
}
