//! The file's time of change, by which programs find out what to copy.

use crate::PAGE;
use pagestone::store::Store;
use pagestone::units::PageIndex;
use pagestone_kit::disk::memory;
use pagestone_kit::skip::skipped;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

fn changed(path: &Path) -> SystemTime {
    std::fs::metadata(path).unwrap().modified().unwrap()
}

/// Sets the file's time to one long ago.
fn age(path: &Path) -> SystemTime {
    let past = SystemTime::now() - Duration::from_secs(5000);
    File::options().write(true).open(path).unwrap().set_modified(past).unwrap();
    changed(path)
}

/// Whether the file is newer after `f`, and whether it is newer after the close.
fn newer(path: &Path, f: impl FnOnce(&Store)) -> (bool, bool) {
    let store = Store::options().open(path).unwrap();
    let before = age(path);
    f(&store);
    let during = changed(path) > before;
    let before = age(path);
    store.close().unwrap();
    (during, changed(path) > before)
}

fn region(folder: &tempfile::TempDir) -> PathBuf {
    let path = folder.path().join("r.pgs");
    let store = Store::options().create(true).open(&path).unwrap();
    store.create("a").unwrap().write_at(0, &[1; 4 * PAGE as usize]).unwrap();
    store.close().unwrap();
    path
}

#[test]
fn a_region_in_memory_that_is_overwritten_has_a_new_time_after_a_sync_or_a_close() {
    let Some(folder) = memory() else {
        skipped("times of a region in memory", "there is no /dev/shm");
        return;
    };
    let path = region(&folder);
    let write = |store: &Store| store.open("a").unwrap().write_at(5, b"in place").unwrap();
    let store_to = |store: &Store| {
        let page = store.open("a").unwrap().pin(PageIndex(1)).unwrap().unwrap();
        page.write_range(7..9).unwrap().fill(9);
    };
    // The kernel may tell of a store by itself: it does where the page was not there yet.
    assert!(newer(&path, write).1);
    assert!(newer(&path, store_to).1);
    for change in [&write as &dyn Fn(&Store), &store_to] {
        let synced = newer(&path, |store| {
            change(store);
            store.sync().unwrap();
        });
        assert!(synced.0, "a sync tells of what was stored before");
    }
    assert_eq!(newer(&path, |_| ()), (false, false), "what was opened and not changed is not new");
    let reads = |store: &Store| assert!(store.open("a").unwrap().read_at(0, &mut [0; 100]).is_ok());
    assert_eq!(newer(&path, reads), (false, false), "nor is what was read");
}

#[test]
fn a_region_on_a_disk_has_a_new_time_too() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = region(&folder);
    let synced = newer(&path, |store| {
        store.open("a").unwrap().write_at(5, b"in place").unwrap();
        store.sync().unwrap();
    });
    assert!(synced.0);
}
