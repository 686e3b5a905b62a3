//! How much one batch can carry, and the errors where it is more.

use crate::{PAGE, check, content, memory};
use pagestone::Error;
use pagestone::store::{Object, Store};
use pagestone::units::Durability;

const CLASSES: [Durability; 2] = [Durability::CacheLine, Durability::Fdatasync];

#[test]
fn a_thousand_objects_change_in_one_batch() {
    for class in CLASSES {
        let store = memory(class);
        let objects: Vec<Object> = (0..1000).map(|n| store.create(format!("o{n}")).unwrap()).collect();
        objects.iter().for_each(|object| object.write_at(0, b"old").unwrap());
        store.sync().unwrap();
        let mut batch = store.batch();
        objects.iter().for_each(|object| batch.write_at(object, 0, b"new").unwrap());
        let records = store.stats().log_records;
        batch.commit().unwrap();
        assert_eq!(store.stats().log_records, records + 1);
        assert!(objects.iter().all(|object| content(object) == b"new"));
        check(&store);
    }
}

#[test]
fn too_many_objects_that_grow_are_refused_and_nothing_has_changed() {
    let store = memory(Durability::Fdatasync);
    let objects: Vec<Object> = (0..300).map(|n| store.create(format!("o{n}")).unwrap()).collect();
    let grown = |count: usize| {
        let mut batch = store.batch();
        objects[..count].iter().for_each(|object| batch.write_at(object, 0, b"new").unwrap());
        batch.commit()
    };
    let Err(Error::OutOfRange { value: 300, limit, .. }) = grown(300) else { panic!("300 grow") };
    assert!(objects.iter().all(|object| object.is_empty()));
    grown(limit as usize).unwrap();
    assert_eq!(objects.iter().filter(|object| content(object) == b"new").count(), limit as usize);
    check(&store);
}

/// A store in memory with 24 MiB of free frames of which no two are neighbours, and an object of 20 MiB.
fn fragmented(class: Durability, limit: u64) -> (Store, Object) {
    let store = Store::options().assume(class).max_size(limit).open_memory(1 << 20).unwrap();
    let (holes, object) = (store.create("holes").unwrap(), store.create("a").unwrap());
    let megabyte = vec![1; 1 << 20];
    (0..20).for_each(|n| object.write_at(n << 20, &megabyte).unwrap());
    (0..48).for_each(|n| holes.write_at(n << 20, &megabyte).unwrap());
    (0..48 << 7).for_each(|n| holes.punch_hole(2 * n * PAGE, PAGE).unwrap());
    store.sync().unwrap();
    (store, object)
}

#[test]
fn a_large_batch_finds_room_in_a_fragmented_region() {
    for class in CLASSES {
        let (store, object) = fragmented(class, 1 << 30);
        for value in [2, 3] {
            let mut batch = store.batch();
            batch.write_at(&object, 0, &vec![value; 20 << 20]).unwrap();
            batch.commit().unwrap();
            assert!(content(&object).iter().all(|&byte| byte == value));
        }
        check(&store);
    }
}

#[test]
fn a_large_batch_is_refused_where_a_fragmented_region_cannot_grow() {
    let (store, object) = fragmented(Durability::Fdatasync, 72 << 20);
    let mut batch = store.batch();
    batch.write_at(&object, 0, &vec![2; 20 << 20]).unwrap();
    let Err(Error::NoSpace { why }) = batch.commit() else { panic!("there is no room in large pieces") };
    assert!(!why.is_empty());
    assert!(content(&object).iter().all(|&byte| byte == 1));
    // A batch for which the free frames are enough succeeds.
    let mut batch = store.batch();
    batch.write_at(&object, 0, &vec![3; 1 << 20]).unwrap();
    batch.commit().unwrap();
    assert!(content(&object)[..1 << 20].iter().all(|&byte| byte == 3));
    check(&store);
}
