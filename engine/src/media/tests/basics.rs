//! One promise each.

use super::*;

#[test]
fn a_name_finds_its_object_until_it_is_unlinked() {
    let ledger = fresh();
    let slot = create(&ledger, b"a");
    assert_eq!(ledger.lookup(b"a").unwrap(), Some(slot));
    assert_eq!(ledger.lookup(b"b").unwrap(), None);
    assert!(matches!(ledger.create_object(b"a", ObjectKind::PLAIN), Err(Error::Exists { .. })));
    let record = ledger.record(slot).unwrap();
    assert_eq!((record.name, record.size, record.unlinked), (b"a".to_vec(), 0, false));
    assert_eq!(ledger.unlink(b"a").unwrap(), slot);
    assert_eq!(ledger.lookup(b"a").unwrap(), None);
    assert!(matches!(ledger.unlink(b"a"), Err(Error::NotFound { .. })));
    assert_eq!(ledger.orphans().unwrap(), [slot]);
    assert!(ledger.record(slot).unwrap().unlinked);
    finish(|| ledger.drop_step(slot, &mut all_free));
    assert_eq!((ledger.orphans().unwrap(), ledger.objects().unwrap()), (vec![], 0));
    assert_eq!(create(&ledger, b"b"), slot, "its record is used again");
}

#[test]
fn linked_pages_are_mapped_and_holes_are_not() {
    let ledger = fresh();
    let slot = create(&ledger, b"a");
    let mut linked = Vec::new();
    for pages in [0..1, 3..5, 511..514, 70_000..70_002, (1 << 36) - 1..1 << 36] {
        linked.extend(fill(&ledger, slot, pages));
    }
    let ledger = reopened(ledger);
    for (page, frame) in &linked {
        assert_eq!(ledger.map(slot, *page).unwrap(), Some(*frame), "{page:?}");
    }
    for hole in [1, 2, 5, 510, 514, 69_999, 1 << 35] {
        assert_eq!(ledger.map(slot, PageIndex(hole)).unwrap(), None, "{hole}");
    }
    let run = ledger.map_range(slot, PageIndex(1), 600).unwrap();
    for (i, frame) in run.into_iter().enumerate() {
        assert_eq!(frame, ledger.map(slot, PageIndex(1 + i as u64)).unwrap());
    }
    finish(|| ledger.punch_step(slot, PageIndex(0)..PageIndex(1 << 36), &mut all_free));
    assert_eq!(ledger.map(slot, PageIndex(3)).unwrap(), None);
    assert!(ledger.busy_frames().unwrap().is_empty());
}
