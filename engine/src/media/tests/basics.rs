//! One promise each.

use super::*;

#[test]
fn a_name_finds_its_object_until_it_is_unlinked() {
    let volume = fresh();
    let slot = create(&volume, b"a");
    assert_eq!(volume.lookup(b"a").unwrap(), Some(slot));
    assert_eq!(volume.lookup(b"b").unwrap(), None);
    assert!(matches!(volume.create_object(b"a", ObjectKind::PLAIN), Err(Error::Exists { .. })));
    let record = volume.record(slot).unwrap();
    assert_eq!((record.name, record.size, record.unlinked), (b"a".to_vec(), 0, false));
    assert_eq!(volume.unlink(b"a").unwrap(), slot);
    assert_eq!(volume.lookup(b"a").unwrap(), None);
    assert!(matches!(volume.unlink(b"a"), Err(Error::NotFound { .. })));
    assert_eq!(volume.orphans().unwrap(), [slot]);
    assert!(volume.record(slot).unwrap().unlinked);
    finish(|| volume.drop_step(slot, &mut all_free));
    assert_eq!((volume.orphans().unwrap(), volume.objects().unwrap()), (vec![], 0));
    assert_eq!(create(&volume, b"b"), slot, "its record is used again");
}

#[test]
fn linked_pages_are_mapped_and_holes_are_not() {
    let volume = fresh();
    let slot = create(&volume, b"a");
    let mut linked = Vec::new();
    for pages in [0..1, 3..5, 511..514, 70_000..70_002, (1 << 36) - 1..1 << 36] {
        linked.extend(fill(&volume, slot, pages));
    }
    let volume = reopened(volume);
    for (page, frame) in &linked {
        assert_eq!(volume.map(slot, *page).unwrap(), Some(*frame), "{page:?}");
    }
    for hole in [1, 2, 5, 510, 514, 69_999, 1 << 35] {
        assert_eq!(volume.map(slot, PageIndex(hole)).unwrap(), None, "{hole}");
    }
    let run = volume.map_range(slot, PageIndex(1), 600).unwrap();
    for (i, frame) in run.into_iter().enumerate() {
        assert_eq!(frame, volume.map(slot, PageIndex(1 + i as u64)).unwrap());
    }
    finish(|| volume.punch_step(slot, PageIndex(0)..PageIndex(1 << 36), &mut all_free));
    assert_eq!(volume.map(slot, PageIndex(3)).unwrap(), None);
    assert!(volume.busy_frames().unwrap().is_empty());
}
