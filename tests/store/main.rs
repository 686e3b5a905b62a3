//! What the object store promises, tested through its public interface.

mod aliases;
mod arguments;
mod batch_limits;
mod batch_memory;
mod batches;
mod damaged;
mod durability;
mod errors;
mod failures;
mod full;
mod guards;
mod kill_points;
mod laws;
mod letting_go;
mod lifetimes;
mod moves;
mod names;
mod repair;
mod scale;
mod shrunk;
mod space;
mod sparse;
mod stress;
mod times;
mod truncate;
mod turns;
mod views;

use pagestone::store::{Object, Options, Store};
use pagestone::units::{Durability, PageIndex};
use std::time::{Duration, Instant};

/// Bytes of a page.
const PAGE: u64 = 4096;

/// A store in memory that is assumed to be of `class`.
fn memory(class: Durability) -> Store {
    Store::options().assume(class).open_memory(1 << 20).unwrap()
}

/// A store in memory.
fn store() -> Store {
    memory(Durability::Volatile)
}

/// Asserts that nothing on the medium contradicts anything else.
fn check(store: &Store) {
    let report = store.check().unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
}

/// All bytes of an object.
fn content(object: &Object) -> Vec<u8> {
    let mut bytes = vec![0xEE; object.len() as usize + 1];
    let read = object.read_at(0, &mut bytes).unwrap();
    assert_eq!(read as u64, object.len());
    bytes.truncate(read);
    bytes
}

/// The store in `path` after the death of its process: all that was stored is there, and nothing that was only in its
/// memory.
fn killed(path: &std::path::Path, options: &Options) -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.pgs");
    std::fs::copy(path, &copy).unwrap();
    (folder, options.open(copy).unwrap())
}

/// An object with `pages` pages, each full of its index + 1.
fn filled(store: &Store, name: &str, pages: u64) -> Object {
    let object = store.create(name).unwrap();
    for page in 0..pages {
        object.write_at(page * PAGE, &[(page as u8).wrapping_add(1); PAGE as usize]).unwrap();
    }
    object
}

/// The bytes behind a pin.
fn shown(page: &pagestone::page::PageRef) -> Vec<u8> {
    page.read().unwrap().to_vec()
}

/// Whether threads that began their work then go on with it: they work for 3 s, and on a busy machine for up to a minute until
/// they have seen enough.
fn goes_on(begun: Instant, enough: bool) -> bool {
    begun.elapsed() < Duration::from_secs(if enough { 3 } else { 60 })
}

/// The page with this index, which is no hole.
fn pin(object: &Object, index: u64) -> pagestone::page::PageRef {
    object.pin(PageIndex(index)).unwrap().expect("no hole")
}
