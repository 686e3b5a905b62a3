//! A file that is cut while it is open is an error at the next look, and no signal.

use crate::{PAGE, content, filled};
use pagestone::Error;
use pagestone::store::{CloseError, Object, Store};
use pagestone::units::{Durability, PageIndex};
use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::time::Duration;

/// A store whose file was cut in the middle of an object.
struct Cut {
    folder: tempfile::TempDir,
    file: File,
    store: Store,
    object: Object,
}

impl Cut {
    /// `unsynced`: there are stores that no sync has covered.
    fn new(class: Durability, unsynced: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let store = Store::options().create(true).assume(class).open(&path).unwrap();
        drop(filled(&store, "a", 250));
        store.sync().unwrap();
        // This handle has not looked up any page yet.
        let object = store.open("a").unwrap();
        if unsynced {
            object.write_at(0, b"not synced").unwrap();
            store.create("b").unwrap();
        }
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        Self { folder, file, store, object }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// Asserts that the call with the result `first` has noticed, that no call works afterwards, and that the drops of
    /// all handles
    /// touch nothing that is gone.
    fn noticed_by<T: std::fmt::Debug>(self, first: pagestone::Result<T>) {
        let (have, path) = (self.file.metadata().unwrap().len(), self.path());
        match first {
            Err(Error::Truncated { found, expected }) => assert!(found == have && expected > have),
            other => panic!("{other:?}"),
        }
        assert!(matches!(self.store.sync(), Err(Error::Poisoned { .. })));
        assert!(matches!(self.object.sync(), Err(Error::Poisoned { .. })));
        assert!(matches!(self.object.append(b"more"), Err(Error::Poisoned { .. })));
        assert!(self.store.poisoned().is_some_and(|why| why.contains("cut")));
        let before = std::fs::read(&path).unwrap();
        let Self { folder: _folder, file: _, store, object } = self;
        drop((store, object));
        assert!(std::fs::read(&path).unwrap() == before, "the rest was changed");
        for create in [false, true] {
            let reopened = Store::options().create(create).open(&path);
            assert!(matches!(reopened, Err(Error::Truncated { .. })), "{reopened:?}");
        }
    }
}

const CLASSES: [Durability; 3] = [Durability::Volatile, Durability::Fdatasync, Durability::CacheLine];

#[test]
fn the_next_sync_notices() {
    for class in CLASSES {
        let cut = Cut::new(class, true);
        let result = cut.store.sync();
        cut.noticed_by(result);
        let cut = Cut::new(class, true);
        let result = cut.object.sync();
        cut.noticed_by(result);
    }
}

#[test]
fn the_next_page_that_has_to_be_looked_up_notices() {
    for class in CLASSES {
        let cut = Cut::new(class, false);
        let result = cut.object.pin(PageIndex(249));
        cut.noticed_by(result);
    }
}

#[test]
fn the_next_walk_over_names_notices() {
    for class in CLASSES {
        let walks: [fn(&Store) -> pagestone::Result; 5] = [
            |store| store.open("a").map(drop),
            |store| store.create("c").map(drop),
            |store| store.rename("a", "c"),
            |store| store.list().map(drop),
            |store| store.check().map(drop),
        ];
        for walk in walks {
            let cut = Cut::new(class, true);
            let result = walk(&cut.store);
            cut.noticed_by(result);
        }
    }
}

#[test]
fn the_next_growth_notices() {
    for class in CLASSES {
        let cut = Cut::new(class, false);
        let result = cut.object.allocate(250 * PAGE, 4096 * PAGE);
        cut.noticed_by(result);
    }
}

#[test]
fn the_close_notices() {
    let cut = Cut::new(Durability::Fdatasync, true);
    let Cut { folder, file, store, object } = cut;
    drop(object);
    let CloseError { store, error } = store.close().unwrap_err();
    assert!(matches!(error, Error::Truncated { .. }), "{error}");
    drop(store);
    assert!(Store::options().open(folder.path().join("s")).is_err());
    drop(file);
}

#[test]
fn a_file_that_got_longer_is_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = Store::options().create(true).open(&path).unwrap();
    let object = filled(&store, "a", 10);
    OpenOptions::new().write(true).open(&path).unwrap().set_len(64 << 20).unwrap();
    store.sync().unwrap();
    object.allocate(0, 1000 * PAGE).unwrap();
    drop(object);
    store.close().unwrap();
    let store = Store::options().open(&path).unwrap();
    assert_eq!(content(&store.open("a").unwrap())[..10 * PAGE as usize].len(), 10 * PAGE as usize);
    crate::check(&store);
}

#[test]
fn a_cut_that_waits_for_pins_notices() {
    for class in CLASSES {
        let cut = Cut::new(class, false);
        // Neither the objects nor their records are left.
        cut.file.set_len(75 * PAGE).unwrap();
        let result = cut.object.set_len_wait(0, Duration::from_secs(9));
        cut.noticed_by(result);
    }
}

#[test]
fn a_cut_that_cannot_be_waits_for_no_pin() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = Store::options().create(true).open(&path).unwrap();
    drop(filled(&store, "a", 3));
    store.close().unwrap();
    let store = Store::options().read_only(true).open(&path).unwrap();
    let object = store.open("a").unwrap();
    let _page = object.pin(PageIndex(1)).unwrap();
    // A cut that waited all the same would return an error when its time has run out.
    let long = Duration::from_secs(20);
    let refused = object.set_len_wait(0, long);
    assert!(matches!(refused, Err(Error::ReadOnly)), "{refused:?}");
    assert!(matches!(object.set_len_wait(u64::MAX, long), Err(Error::OutOfRange { .. })));
}
