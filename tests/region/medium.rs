//! What a medium can do, and what is claimed for it.

use crate::attach_with;
use pagestone::Error;
use pagestone::region::{Region, RegionOptions, Source};
use pagestone::units::Durability;
use pagestone_kit::disk;
use pagestone_kit::skip::skipped;

fn memory(options: &RegionOptions) -> pagestone::Result<std::sync::Arc<Region>> {
    Region::attach(Source::Memory { bytes: 1 << 20 }, options)
}

#[test]
fn a_medium_is_never_taken_for_more_than_it_is() {
    let region = memory(&RegionOptions::default()).unwrap();
    assert_eq!((region.class(), region.assumed()), (Durability::Volatile, None));
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let options = RegionOptions { create: true, ..Default::default() };
    let region = attach_with(&disk.path().join("region"), options).unwrap();
    assert_eq!(region.class(), Durability::Fdatasync);
}

#[test]
fn what_is_assumed_is_shown_beside_what_the_medium_is() {
    let assume = Some(Durability::CacheLine);
    let region = memory(&RegionOptions { assume, required: assume, ..Default::default() }).unwrap();
    assert_eq!(region.class(), Durability::CacheLine);
    assert_eq!(region.assumed(), assume);
    assert_eq!(region.medium_class(), Durability::Volatile);
}

#[test]
fn a_medium_weaker_than_required_is_refused_by_name_and_leaves_no_file() {
    let required = Some(Durability::CacheLine);
    match memory(&RegionOptions { required, ..Default::default() }) {
        Err(Error::TooWeak { required, available, .. }) => {
            assert_eq!((required, available), (Durability::CacheLine, Durability::Volatile));
        }
        other => panic!("{other:?}"),
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    let options = RegionOptions { create: true, required, ..Default::default() };
    assert!(matches!(attach_with(&path, options), Err(Error::TooWeak { .. })));
    assert!(!path.exists());
}

#[test]
fn what_an_opening_that_only_reads_requires_is_of_the_medium() {
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = disk.path().join("region");
    crate::attach(&path).unwrap().close();
    for (read_only, private) in [(true, false), (false, true), (true, true)] {
        let reading = |required| RegionOptions { read_only, private, required, ..Default::default() };
        attach_with(&path, reading(Some(Durability::Fdatasync))).unwrap().close();
        match attach_with(&path, reading(Some(Durability::CacheLine))) {
            Err(Error::TooWeak { available, .. }) => assert_eq!(available, Durability::Fdatasync),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_shared_memory_file_system_is_volatile() {
    let Some(directory) = disk::memory() else {
        return skipped("the class of shared memory", "there is no /dev/shm");
    };
    let options = RegionOptions { create: true, ..Default::default() };
    let region = attach_with(&directory.path().join("region"), options).unwrap();
    assert_eq!(region.class(), Durability::Volatile);
}

#[test]
fn stores_to_a_private_region_never_reach_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    let region = crate::attach(&path).unwrap();
    region.grow_to(8192).unwrap();
    region.memory().store(0, 1).unwrap();
    drop(region);
    let private = RegionOptions { private: true, ..Default::default() };
    let region = attach_with(&path, private).unwrap();
    assert!(region.read_only());
    region.memory().store(0, 2).unwrap();
    region.memory().sync_file().unwrap();
    region.memory().write_through(0, 4096).unwrap();
    assert_eq!(region.memory().load(0).unwrap(), 2);
    assert!(matches!(region.grow_to(16384), Err(Error::ReadOnly)));
    drop(region);
    let read_only = RegionOptions { read_only: true, ..Default::default() };
    let region = attach_with(&path, read_only).unwrap();
    assert_eq!(region.memory().load(0).unwrap(), 1);
    assert!(matches!(region.memory().store(0, 3), Err(Error::ReadOnly)));
    assert!(matches!(region.memory().zero_nt(0, 64), Err(Error::ReadOnly)));
}

#[test]
fn written_through_bytes_are_in_the_file_and_survive_a_dropped_cache() {
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = disk.path().join("region");
    let region = crate::attach(&path).unwrap();
    region.grow_to(1 << 20).unwrap();
    region.memory().write(5000, b"through").unwrap();
    region.memory().write_through(5000, 7).unwrap();
    region.memory().drop_page_cache().unwrap();
    let mut bytes = [0; 7];
    region.memory().read(5000, &mut bytes).unwrap();
    assert_eq!(&bytes, b"through");
    assert_eq!(&std::fs::read(&path).unwrap()[5000..5007], b"through");
    let stats = region.memory().persist().stats();
    assert_eq!((stats.write_throughs, stats.lines_flushed), (1, 0));
}
