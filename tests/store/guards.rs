//! The guards that a thread holds, and the error when it would wait for itself.

use crate::turns::{in_time, until_one_waits};
use crate::{PAGE, filled, pin, store};
use pagestone::Error;
use pagestone::page::PageRef;
use pagestone::store::{Object, Store};
use pagestone::units::PageIndex;
use std::thread;
use std::time::Instant;

#[test]
fn a_thread_that_would_wait_for_itself_is_told() {
    fn told<T>(result: Result<T, Error>) {
        match result.err() {
            Some(Error::WaitsForItself { what }) => assert!(what.contains("guard of frame"), "{what}"),
            other => panic!("{other:?}"),
        }
    }
    in_time(|| {
        let store = store();
        let object = filled(&store, "a", 2);
        let (page, same, other) = (pin(&object, 0), pin(&object, 0), pin(&object, 1));
        let batch = || {
            let mut batch = store.batch();
            batch.write_at(&object, 0, b"x").unwrap();
            batch.commit()
        };
        let guard = page.read().unwrap();
        told(page.write());
        told(same.write_range(0..1));
        told(object.write_at(0, b"x"));
        told(object.punch_hole(0, 10));
        told(batch());
        drop(page.read().expect("with itself"));
        object.read_at(0, &mut [0; 9]).expect("with itself");
        object.write_at(PAGE, b"x").expect("another page");
        drop(guard);
        let guard = page.write().unwrap();
        told(page.read());
        told(same.write());
        told(object.read_at(0, &mut [0; 9]));
        told(object.write_at(0, b"x"));
        told(batch());
        assert!(page.try_read().unwrap().is_none() && page.try_write().unwrap().is_none());
        drop(guard);
        let guard = other.read().unwrap();
        told(batch());
        drop(guard);
        batch().unwrap();
        // Another thread's guard is waited for.
        thread::scope(|scope| {
            let guard = page.read().unwrap();
            let writer = scope.spawn(|| object.write_at(0, b"y"));
            until_one_waits(page.pfn());
            drop(guard);
            writer.join().unwrap().unwrap();
        });
    });
}

#[test]
fn a_guard_that_was_forgotten_is_held_against_its_thread_as_long_as_its_latch() {
    let batch = |store: &Store, object: &Object| {
        let mut batch = store.batch();
        batch.write_at(object, 0, b"x").unwrap();
        batch.commit()
    };
    let forgotten: [fn(&PageRef); 2] =
        [|page| std::mem::forget(page.read().unwrap()), |page| std::mem::forget(page.write().unwrap())];
    for (alone, forget) in [false, true].into_iter().zip(forgotten) {
        in_time(move || {
            for round in 0..3 {
                let store = store();
                let object = filled(&store, "a", 2);
                batch(&store, &object).expect("no guard of this store was forgotten");
                let page = pin(&object, 1);
                forget(&page);
                assert!(matches!(batch(&store, &object), Err(Error::WaitsForItself { .. })));
                if round == 1 {
                    // The latch goes with the store, and the next store may have the same frame numbers.
                    continue;
                }
                if alone {
                    // SAFETY: the latch that was forgotten, given back once.
                    unsafe { page.release_write(0..0) }.unwrap();
                } else {
                    // SAFETY: as above.
                    unsafe { page.release_read() };
                }
                batch(&store, &object).expect("it was given back");
                drop(page.write().unwrap());
                // Another guard of the page does not bring the note back.
                let guards = (page.read().unwrap(), page.read().unwrap());
                assert!(matches!(batch(&store, &object), Err(Error::WaitsForItself { .. })));
                drop(guards);
                batch(&store, &object).expect("nothing is held");
            }
        });
    }
}

/// A few guards of a thread are noted one by one. Further guards are only counted, and they go before a writer too.
#[test]
fn of_many_guards_each_is_given_back() {
    in_time(|| {
        let store = Store::options().open_memory(1 << 20).unwrap();
        let object = filled(&store, "a", 40);
        let pages: Vec<_> = (0..40).map(|n| pin(&object, n)).collect();
        for _ in 0..3 {
            let guards: Vec<_> = pages.iter().map(|page| page.read().unwrap()).collect();
            thread::scope(|scope| {
                let writer = scope.spawn(|| object.write_at(39 * PAGE, b"x").unwrap());
                until_one_waits(pages[39].pfn());
                let start = Instant::now();
                (0..20).for_each(|_| drop(pages[39].read().unwrap()));
                println!("20 latches past a writer in {:?}", start.elapsed());
                drop(guards);
                writer.join().unwrap();
            });
        }
        object.write_at(0, &vec![9; 40 * PAGE as usize]).unwrap();
        let mut batch = store.batch();
        batch.write_at(&object, 0, b"x").unwrap();
        batch.commit().expect("none is held");
    });
}

#[test]
fn an_owned_guard_gives_its_latch_its_note_and_its_pin_back() {
    let store = Store::options().open_memory(1 << 20).unwrap();
    let object = store.create("o").unwrap();
    let page = || object.pin_mut(PageIndex(0)).unwrap();
    let mut writer = page().write_range_owned(8..16).unwrap();
    writer.copy_from_slice(b"in place");
    assert!(writer.page().info().exclusive && writer.len() == 8);
    assert!(matches!(page().read(), Err(Error::WaitsForItself { .. })));
    assert!(matches!(page().read_owned(), Err(Error::WaitsForItself { .. })));
    drop(writer);
    let reader = page().read_owned().unwrap();
    assert_eq!((&reader[8..16], reader.page().info().shared), (&b"in place"[..], 1));
    assert!(matches!(page().write_owned(), Err(Error::WaitsForItself { .. })));
    assert!(matches!(page().write_range_owned(1..5000), Err(Error::OutOfRange { .. })));
    drop(reader);
    drop(page().write_owned().unwrap());
    let left = page();
    let info = left.info();
    assert_eq!((info.pins, info.shared, info.exclusive, info.dirty), (1, 0, false, false));
    drop((left, object));
    store.close().unwrap();
}
