//! Readers, writers and cuts at once.

use crate::{PAGE, store};
use pagestone::units::PageIndex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long each of these runs.
const TIME: Duration = Duration::from_millis(800);

/// A page of one value, or of zeros behind a cut.
fn is_whole(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == bytes[0])
}

#[test]
fn a_page_is_read_whole_while_it_is_written_cut_and_grown() {
    let store = store();
    let object = store.create("a").unwrap();
    let (end, pages) = (Instant::now() + TIME, 16);
    std::thread::scope(|scope| {
        for value in 1..=2u8 {
            let object = &object;
            scope.spawn(move || {
                let mut page = u64::from(value);
                while Instant::now() < end {
                    page = (page * 7 + 3) % pages;
                    object.write_at(page * PAGE, &[value; PAGE as usize]).unwrap();
                }
            });
        }
        scope.spawn(|| {
            let mut page = 0;
            while Instant::now() < end {
                page = (page * 5 + 1) % pages;
                object.set_len(page * PAGE).unwrap();
                object.punch_hole((page / 2) * PAGE, PAGE).unwrap();
            }
        });
        scope.spawn(|| {
            let mut bytes = [0; PAGE as usize];
            while Instant::now() < end {
                for page in 0..pages {
                    let read = object.read_at(page * PAGE, &mut bytes).unwrap();
                    assert!(is_whole(&bytes[..read]) || read == 0);
                }
            }
        });
        scope.spawn(|| {
            while Instant::now() < end {
                for page in 0..pages {
                    if let Some(page) = object.pin(PageIndex(page)).unwrap() {
                        assert!(is_whole(&page.read().unwrap()));
                    }
                }
            }
        });
    });
    store.unlink("a").unwrap();
    drop(object);
    store.create("after").unwrap();
    assert_eq!(store.stats().pinned_pages, 0);
    crate::check(&store);
    store.close().unwrap();
}

#[test]
fn two_objects_that_take_each_others_frames_never_see_each_others_bytes() {
    let store = pagestone::store::Store::options().max_size(2 << 20).open_memory(1 << 20).unwrap();
    let objects = [store.create("a").unwrap(), store.create("b").unwrap()];
    let end = Instant::now() + TIME;
    std::thread::scope(|scope| {
        for (n, object) in objects.iter().enumerate() {
            let own = [n as u8 + 1; PAGE as usize];
            scope.spawn(move || {
                while Instant::now() < end {
                    for page in 0..60 {
                        object.write_at(page * PAGE, &own).unwrap();
                    }
                    object.set_len(0).unwrap();
                }
            });
            scope.spawn(move || {
                while Instant::now() < end {
                    for page in 0..60 {
                        let Some(pin) = object.pin(PageIndex(page)).unwrap() else { continue };
                        // Long enough for the object to be cut and for its frame to go to the other object.
                        std::thread::yield_now();
                        assert_eq!(pin.read().unwrap()[..], own);
                    }
                }
            });
        }
    });
    drop(objects);
    crate::check(&store);
    store.close().unwrap();
}

#[test]
fn appends_of_many_threads_do_not_overlap() {
    let store = store();
    let object = store.create("log").unwrap();
    std::thread::scope(|scope| {
        for value in 1..=4u8 {
            let object = &object;
            scope.spawn(move || {
                for _ in 0..300 {
                    let at = object.append(&[value; 100]).unwrap();
                    assert_eq!(at % 100, 0);
                }
            });
        }
    });
    let bytes = crate::content(&object);
    assert_eq!(bytes.len(), 120_000);
    let mut counts = [0; 5];
    for piece in bytes.chunks(100) {
        assert!(is_whole(piece));
        counts[piece[0] as usize] += 1;
    }
    assert_eq!(counts, [0, 300, 300, 300, 300]);
}

#[test]
fn handles_come_and_go_while_names_change() {
    let store = store();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for n in 0..2u8 {
            let (store, stop) = (&store, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Ok(object) = store.open_or_create("a") {
                        object.write_at(0, &[n; 5000]).unwrap();
                    }
                    let _ = store.unlink("a");
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                drop(store.open_or_create("b").unwrap());
                let _ = store.rename("b", "a");
            }
        });
        std::thread::sleep(TIME);
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(store.stats().open_objects, 0);
    crate::check(&store);
    store.close().unwrap();
}

#[test]
fn pins_by_number_are_made_while_pages_are_punched_and_objects_go() {
    let store = store();
    let steady = crate::filled(&store, "steady", 8);
    let end = Instant::now() + TIME;
    let base = store.info().pfns.start.get();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while Instant::now() < end {
                let object = store.open_or_create("a").unwrap();
                object.write_at(0, &[1; 8 * PAGE as usize]).unwrap();
                object.punch_hole(PAGE, 2 * PAGE).unwrap();
                store.unlink("a").unwrap();
            }
        });
        scope.spawn(|| {
            let frames = store.stats().table_frames.min(400);
            let mut found = 0;
            // On a busy machine the first round may take longer than the test. It is finished all the same.
            let mut rounds = 0;
            while Instant::now() < end || rounds == 0 {
                rounds += 1;
                for frame in 60..frames {
                    let range = pagestone::units::PfnRange::new(pagestone::units::Pfn::new(base + frame), 1);
                    if let Ok(pins) = store.frames(range) {
                        assert!(is_whole(&pins[0].read().unwrap()));
                        found += 1;
                    }
                }
            }
            assert!(found > 0);
        });
    });
    crate::check(&store);
    drop(steady);
    store.close().unwrap();
}

#[test]
fn a_pin_that_was_given_is_of_a_page_or_of_one_that_was_cut_off() {
    let store = store();
    let object = store.create("a").unwrap();
    let end = Instant::now() + TIME;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while Instant::now() < end {
                object.write_at(0, &[1; PAGE as usize]).unwrap();
                std::hint::spin_loop();
                object.set_len(0).unwrap();
            }
        });
        scope.spawn(|| {
            while Instant::now() < end {
                let Some(page) = object.pin(PageIndex(0)).unwrap() else { continue };
                let by_number = store.frames(pagestone::units::PfnRange::new(page.pfn(), 1));
                // A pin is never on a free frame: the next page in the frame would be seen through it. A cut that has
                // begun reaches its frames a moment later.
                let soon = Instant::now() + Duration::from_secs(5);
                while by_number.is_err() && !page.is_detached() {
                    assert!(Instant::now() < soon, "{by_number:?}");
                }
            }
        });
    });
    drop(object);
    store.close().unwrap();
}
