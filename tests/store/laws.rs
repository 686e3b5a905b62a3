//! No cost grows with what has nothing to do with it: counted, not timed.

use crate::{PAGE, check, killed};
use pagestone::store::{Object, Options, Store};

/// A store in a file after its process died with `objects` objects of `pages` pages each on its list of orphans.
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
        let before = store.stats().records;
        other.append(b"more").unwrap();
        most = most.max(store.stats().records - before);
        changes += 1;
    }
    assert!(most <= 20, "a change appended {most} records");
    assert!(changes >= ORPHANS / 20 && changes <= ORPHANS, "{changes} changes");
    check(&store);
    // What is left at the end goes then.
    let (_folder, store) = with_orphans(&Options::new(), ORPHANS, 1);
    store.create("last").unwrap();
    assert!(store.check().unwrap().counts.orphans > ORPHANS / 2);
    let path = store.info().path.unwrap();
    store.close().map_err(|(_, error)| error).unwrap();
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
