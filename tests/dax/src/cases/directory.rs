//! Promises that hold for files.

use super::common::{creating, has_flag, mapping_of, region_at};
use pagestone::Error;
use pagestone::region::{Region, RegionOptions, Source};
use pagestone::store::Store;
use pagestone::units::{Durability, MediumKind, PageIndex};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

const MIB: u64 = 1 << 20;

/// A grown file has neither holes nor blocks that were allocated and never written: a store to such a block would be work
/// for the file system.
pub fn grown_bytes_are_written_blocks(place: &Path) {
    let path = region_at(place);
    let options = RegionOptions { create: true, ..Default::default() };
    let region = Region::attach(Source::File { path: path.clone() }, &options).unwrap();
    for bytes in [480 * 1024, 3 * MIB, 40 * MIB + 4096] {
        region.grow_to(bytes).unwrap();
        let file = File::open(&path).unwrap();
        assert_eq!(file.metadata().unwrap().len(), bytes);
        // SAFETY: an open descriptor.
        let hole = unsafe { libc::lseek(file.as_raw_fd(), 0, libc::SEEK_HOLE) };
        assert_eq!(hole, bytes as libc::off_t, "a hole, or a block that was never written");
    }
}

/// Fills the file system with a file, up to the last block that it gives.
fn fill(path: &Path) {
    let file = File::create(path).unwrap();
    let (mut at, mut step) = (0, 16 * MIB);
    while step >= 4096 {
        // SAFETY: an open descriptor.
        let rc = unsafe { libc::fallocate(file.as_raw_fd(), 0, at, step as libc::off_t) };
        if rc == 0 { at += step as libc::off_t } else { step /= 2 }
    }
}

pub fn a_full_disk_is_full_at_allocation(place: &Path) {
    const CHUNK: usize = 1 << 20;
    let store = creating().open(region_at(place)).unwrap();
    let object = store.create("object").unwrap();
    let chunk = |n: u64| vec![n as u8 + 1; CHUNK];
    for n in 0..8 {
        object.write_at(n * CHUNK as u64, &chunk(n)).unwrap();
    }
    fill(&place.join("filler"));
    let mut whole = 8;
    let error = loop {
        match object.write_at(whole * CHUNK as u64, &chunk(whole)) {
            Ok(()) => whole += 1,
            Err(error) => break error,
        }
    };
    println!("@@note the disk was full after {whole} MiB: {error}");
    assert!(matches!(&error, Error::NoSpace { .. }), "{error}");
    // Every byte that was given can be stored to, in any order, although the disk has no block left.
    for n in (0..whole).rev() {
        for page in (0..CHUNK as u64 / 4096).rev() {
            let page = object.pin_mut(PageIndex(n * CHUNK as u64 / 4096 + page)).unwrap();
            page.write().unwrap()[17] = 0xaa;
        }
    }
    store.sync().unwrap();
    for n in 0..whole {
        let mut found = vec![0; CHUNK];
        object.read_at(n * CHUNK as u64, &mut found).unwrap();
        assert!(found[17] == 0xaa && found[18] == n as u8 + 1 && found[CHUNK - 1] == n as u8 + 1);
    }
    std::fs::remove_file(place.join("filler")).unwrap();
    object.write_at(whole * CHUNK as u64, &chunk(whole)).unwrap();
    assert_eq!(store.check().unwrap().findings, []);
}

pub fn a_weaker_class_can_be_assumed(place: &Path) {
    let path = region_at(place);
    let store = creating().assume(Durability::Fdatasync).open(&path).unwrap();
    let info = store.info();
    assert_eq!(
        (info.kind, info.medium, info.durability),
        (MediumKind::DaxFile, Durability::CacheLine, Durability::Fdatasync)
    );
    let object = store.create("object").unwrap();
    object.write_at(0, &[9; 100_000]).unwrap();
    object.sync().unwrap();
    assert!(store.stats().file_syncs > 0 && store.stats().write_throughs > 0);
    let page = object.pin(PageIndex(0)).unwrap().unwrap();
    assert!(!has_flag(&mapping_of(page.address()), "sf"), "the weaker class needs no promise");
    drop((page, object));
    store.close().unwrap();
    let store = Store::options().open(&path).unwrap();
    assert_eq!(store.info().durability, Durability::CacheLine);
    assert_eq!(store.exists("object").unwrap(), Some(100_000));
}
