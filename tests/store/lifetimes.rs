//! Pins, handles, stores and processes: which of them outlives which.

use crate::{PAGE, filled, killed, pin, shown, store};
use pagestone::Error;
use pagestone::store::{CloseError, Store};
use pagestone::units::PageIndex;
use pagestone_kit::fork::in_child;

#[test]
fn a_store_in_use_is_not_closed_and_comes_back_unharmed() {
    let store = store();
    let object = filled(&store, "a", 2);
    let CloseError { store, error } = store.close().unwrap_err();
    assert!(matches!(&error, Error::Busy { why, .. } if why.contains("1 objects")), "{error}");
    let page = pin(&object, 0);
    drop(object);
    let CloseError { store, error } = store.close().unwrap_err();
    assert!(matches!(&error, Error::Busy { why, .. } if why.contains("1 pages")), "{error}");
    assert_eq!(shown(&page), [1; PAGE as usize]);
    let other = store.clone();
    drop(page);
    let CloseError { store, error } = store.close().unwrap_err();
    assert!(matches!(error, Error::Busy { .. }));
    drop(other);
    assert_eq!(store.open("a").unwrap().len(), 2 * PAGE);
    store.close().unwrap();
}

/// Closes a store as a program does that uses `?`.
fn closed(store: Store) -> pagestone::Result {
    Ok(store.close()?)
}

#[test]
fn a_refused_close_is_an_error_of_the_crate_and_of_files() {
    let store = store();
    let _object = filled(&store, "a", 1);
    let refused = closed(store.clone()).unwrap_err();
    assert!(matches!(refused, Error::Busy { .. }) && !refused.is_fatal(), "{refused}");
    let refused = store.clone().close().unwrap_err();
    assert_eq!(refused.to_string(), refused.error.to_string());
    assert_eq!(std::io::Error::from(refused).kind(), std::io::ErrorKind::ResourceBusy);
    store.poison("a test");
    let refused = store.sync().unwrap_err();
    assert!(matches!(refused, Error::Poisoned { .. }) && refused.is_fatal(), "{refused}");
}

#[test]
fn pins_outlive_the_store_and_keep_its_file_claimed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = Store::options().create(true).open(&path).unwrap();
    let object = filled(&store, "a", 2);
    let page = pin(&object, 1);
    drop((object, store));
    assert_eq!(shown(&page), [2; PAGE as usize]);
    page.write_range(0..4).unwrap().copy_from_slice(b"late");
    assert!(matches!(Store::options().open(&path), Err(Error::InUse { .. })));
    drop(page);
    let store = Store::options().open(&path).unwrap();
    let mut bytes = [0; 5];
    store.open("a").unwrap().read_at(PAGE, &mut bytes).unwrap();
    assert_eq!(&bytes, b"late\x02");
}

#[test]
fn a_pin_of_a_detached_page_outlives_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = Store::options().create(true).open(&path).unwrap();
    let object = filled(&store, "a", 2);
    let page = pin(&object, 1);
    object.set_len(0).unwrap();
    drop((object, store));
    assert_eq!(shown(&page), [2; PAGE as usize]);
    drop(page);
    Store::options().open(&path).unwrap().close().unwrap();
}

#[test]
fn what_returned_survives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let identity = pagestone::region::Identity::plain([7; 16], 1, 2, 3);
    let options = Store::options().create(true).identity(identity);
    let store = options.open(&path).unwrap();
    let object = filled(&store, "a", 3);
    object.pin_mut(PageIndex(1)).unwrap().write_range(9..12).unwrap().copy_from_slice(b"pin");
    object.set_len(2 * PAGE + 1).unwrap();
    let gone = filled(&store, "gone", 3);
    store.unlink("gone").unwrap();
    let held = pin(&object, 2);
    object.set_len(2 * PAGE).unwrap();
    let (_folder, next) = killed(&path, &options);
    drop((held, gone));
    let object = next.open("a").unwrap();
    assert_eq!(object.len(), 2 * PAGE);
    assert_eq!(&shown(&pin(&object, 1))[8..13], b"\x02pin\x02");
    assert_eq!(next.list().unwrap().len(), 1);
    object.append(b"on it goes").unwrap();
    drop(object);
    next.close().unwrap();
}

#[test]
fn a_reader_reads_and_is_refused_every_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = Store::options().create(true).open(&path).unwrap();
    drop(filled(&store, "a", 2));
    store.close().unwrap();
    let before = std::fs::read(&path).unwrap();
    let store = Store::options().read_only(true).open(&path).unwrap();
    let second = Store::options().read_only(true).open(&path).unwrap();
    let object = store.open("a").unwrap();
    assert_eq!(shown(&pin(&object, 1)), [2; PAGE as usize]);
    let refusals = [
        object.write_at(0, b"x").err(),
        object.append(b"x").err(),
        object.set_len(0).err(),
        object.punch_hole(0, PAGE).err(),
        object.allocate(0, PAGE).err(),
        object.pin_mut(PageIndex(5)).err(),
        pin(&object, 0).write().err(),
        store.create("b").err(),
        store.unlink("a").err(),
        store.rename("a", "b").err(),
    ];
    for refusal in refusals {
        assert!(matches!(refusal, Some(Error::ReadOnly)), "{refusal:?}");
    }
    object.sync().unwrap();
    drop(object);
    store.close().unwrap();
    second.close().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_forked_child_is_told_so() {
    let store = store();
    let object = filled(&store, "a", 2);
    drop(pin(&object, 0));
    let ended = in_child(60, || {
        let told = matches!(object.pin(PageIndex(0)), Err(Error::Forked))
            && matches!(object.write_at(0, b"x"), Err(Error::Forked))
            && matches!(object.sync(), Err(Error::Forked))
            && matches!(store.create("b"), Err(Error::Forked));
        if told { Ok(()) } else { Err("it was not refused everywhere".to_owned()) }
    });
    assert_eq!(ended, Ok(()));
    assert_eq!(shown(&pin(&object, 0)), [1; PAGE as usize]);
}

#[test]
fn a_region_is_free_when_its_last_pin_has_gone_whichever_thread_drops_it() {
    let folder = tempfile::tempdir().unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Other threads open stores, and let go of what is left of our store while we open it.
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    drop(crate::store());
                }
            });
        }
        let path = folder.path().join("s");
        let rounds = (0..200).map(|_| {
            let store = Store::options().create(true).open(&path)?;
            let object = store.open_or_create("a")?;
            let page = object.pin_mut(PageIndex(0))?;
            drop((object, store));
            page.write()?.fill(7);
            drop(page);
            std::thread::sleep(std::time::Duration::from_micros(60));
            Ok(())
        });
        let failed: Vec<_> = rounds.filter_map(|round: pagestone::Result| round.err()).collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(failed.is_empty(), "{} of 200: {:?}", failed.len(), failed.first());
    });
}
