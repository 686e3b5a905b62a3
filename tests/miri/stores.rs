//! Stores in heap memory, used by threads.
//!
//! A store that is opened publishes its window, by `crossbeam_epoch`, whose list of threads breaks Miri's older rules of
//! aliasing (Stacked Borrows). So these run under the newer ones (Tree Borrows).

use pagestone::store::{Object, Store, frames_at};
use pagestone::units::{Durability, PageIndex};
use std::thread;

#[test]
fn a_store_in_memory_is_read_and_written_by_threads() {
    let store = Store::options().log_frames(4).open_memory(256 << 10).expect("heap");
    let object = store.create("object").expect("a name");
    thread::scope(|scope| {
        for value in [1, 2] {
            let object = &object;
            scope.spawn(move || {
                object.write_at(4000, &[value; 200]).expect("room");
                object.append(&[value; 100]).expect("room");
                let page = object.pin(PageIndex(0)).expect("readable").expect("written");
                let bytes = page.read().expect("readable");
                assert!(bytes[4000..].iter().all(|byte| *byte == bytes[4000]), "of one write");
            });
        }
    });
    object.set_len(10).expect("shorter");
    assert_eq!(object.read_at(0, &mut [0; 100]).expect("readable"), 10);
    store.unlink("object").expect("its name");
    drop(object);
    store.close().expect("nothing is open");
}

/// A byte of a page, whose bytes a reader must always see all equal.
fn of_one_value(object: &Object) -> u8 {
    let page = object.pin(PageIndex(0)).expect("readable").expect("written");
    let bytes = page.read().expect("readable");
    assert!(bytes.iter().all(|byte| *byte == bytes[0]), "of one batch");
    bytes[0]
}

#[test]
fn batches_in_opposite_orders_beside_a_reader_and_a_sync() {
    let options = Store::options().log_frames(4).assume(Durability::CacheLine);
    let store = options.open_memory(512 << 10).expect("heap");
    let (a, b) = (store.create("a").expect("a name"), store.create("b").expect("a name"));
    [&a, &b].iter().for_each(|object| object.write_at(0, &[0; 4096]).expect("room"));
    thread::scope(|scope| {
        for (value, objects) in [(1, [&a, &b]), (2, [&b, &a])] {
            let store = &store;
            scope.spawn(move || {
                let mut batch = store.batch();
                // Two pages of lines are more than a record takes: it names a payload.
                for object in objects {
                    batch.write_at(object, 0, &[value; 4096]).expect("staged");
                }
                batch.commit().expect("room");
                let mut batch = store.batch();
                batch.write_at(objects[0], 5000 + u64::from(value) * 100, &[value; 90]).expect("staged");
                batch.commit().expect("room");
            });
        }
        of_one_value(&a);
        store.sync().expect("memory");
        of_one_value(&b);
    });
    assert_eq!(of_one_value(&a), of_one_value(&b), "both batches had both objects");
    drop((a, b));
    assert!(store.check().expect("readable").is_clean());
    store.close().expect("nothing is open");
}

#[test]
fn a_page_is_found_by_its_address_beside_a_store_that_comes_and_goes() {
    let open = || Store::options().log_frames(4).open_memory(256 << 10).expect("heap");
    let store = open();
    let object = store.create("a").expect("room");
    object.append(b"a").expect("room");
    let page = object.pin(PageIndex(0)).expect("sound").expect("no hole");
    let address = page.address().addr();
    thread::scope(|scope| {
        // One: under Miri an opening takes a minute.
        scope.spawn(|| drop(open()));
        for _ in 0..3 {
            let found = frames_at(std::ptr::without_provenance(address), 1).expect("it is open");
            assert_eq!(found[0].pfn(), page.pfn());
        }
    });
}
