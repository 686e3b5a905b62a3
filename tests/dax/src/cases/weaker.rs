//! Media and platforms that promise less, or more.

use super::common::{creating, has_flag, mapping_of, region_at};
use pagestone::Error;
use pagestone::units::{Durability, MediumKind, PageIndex};
use std::path::Path;

/// virtio-pmem: a DAX file system whose mappings need the kernel (it flushes the host's cache).
pub fn syncs_go_through_the_kernel(place: &Path) {
    let path = region_at(place);
    match creating().require(Durability::CacheLine).open(&path) {
        Err(Error::TooWeak { available, .. }) => assert_eq!(available, Durability::Fdatasync),
        other => panic!("{other:?}"),
    }
    assert!(!path.exists());
    let store = creating().open(&path).unwrap();
    let info = store.info();
    println!("{info:?}");
    assert_eq!((info.kind, info.durability), (MediumKind::DaxFile, Durability::Fdatasync));
    let object = store.create("object").unwrap();
    object.write_at(0, &[3; 50_000]).unwrap();
    object.sync().unwrap();
    let stats = store.stats();
    assert!(stats.file_syncs > 0 && stats.write_throughs > 0 && stats.lines_flushed == 0);
    let page = object.pin(PageIndex(0)).unwrap().unwrap();
    assert!(!has_flag(&mapping_of(page.address()), "sf"));
    drop((page, object));
    store.close().unwrap();
}

/// eADR: the platform saves the caches, so there is nothing to flush.
pub fn caches_that_survive_are_not_flushed(place: &Path) {
    let store = creating().require(Durability::CacheLine).open(region_at(place)).unwrap();
    let info = store.info();
    println!("{info:?}");
    assert!(info.caches_survive && info.kind == MediumKind::DaxFile);
    let object = store.create("object").unwrap();
    let page = object.pin_mut(PageIndex(0)).unwrap();
    page.write().unwrap().fill(1);
    store.sync().unwrap();
    let stats = store.stats();
    assert!(stats.fences > 0 && stats.log_commits > 0);
    assert_eq!(stats.lines_flushed, 0);
}

/// The same memory, mounted without DAX. The mapping decides the class of the medium, not what lies under it.
pub fn memory_behind_a_page_cache_is_a_disk(place: &Path) {
    let path = region_at(place);
    match creating().require(Durability::CacheLine).open(&path) {
        Err(Error::TooWeak { available, .. }) => assert_eq!(available, Durability::Fdatasync),
        other => panic!("{other:?}"),
    }
    let store = creating().open(&path).unwrap();
    let info = store.info();
    println!("{info:?}");
    assert_eq!((info.kind, info.durability), (MediumKind::File, Durability::Fdatasync));
    let object = store.create("object").unwrap();
    object.write_at(0, &[4; 50_000]).unwrap();
    object.sync().unwrap();
    let stats = store.stats();
    assert!(stats.file_syncs > 0 && stats.lines_flushed == 0);
}
