//! The contents of the fixtures.

use crate::format::name_hash;

/// The directory's bucket in which the names of [`crowd`] meet.
pub const BUCKET: u64 = 77;
/// The number of these names: two more than a chain takes.
const CROWD: usize = 10;

/// Bytes and where they were written.
pub type Pieces = Vec<(u64, Vec<u8>)>;

/// Names of objects that were synced, and what was written to them: offset, bytes.
#[must_use]
pub fn synced() -> Vec<(&'static str, Pieces)> {
    let page = |value: u8| (0..4096).map(|i| value ^ (i / 32) as u8).collect::<Vec<u8>>();
    vec![
        ("greeting", vec![(0, b"written by the first release of format 1".to_vec())]),
        (
            "sparse",
            vec![(0, page(1)), (3 * 4096, page(2)), (600 * 4096, page(3)), (300_000 * 4096 + 17, page(4))],
        ),
        ("pages", (0..3).map(|n| (n * 4096, page(n as u8 + 10))).collect()),
        ("before", vec![(5000, b"renamed after the last sync".to_vec())]),
        ("empty", vec![]),
    ]
}

/// What two batches wrote to objects of [`synced`] after that: one goes into a record, one needs a payload.
#[must_use]
pub fn batches() -> [Vec<(&'static str, u64, Vec<u8>)>; 2] {
    let large = (0..20_000).map(|i| (i / 64) as u8).collect();
    [
        vec![("greeting", 0, b"together".to_vec()), ("pages", 4096 + 100, b"together".to_vec())],
        vec![("pages", 3 * 4096 + 50, large), ("greeting", 100, b"and grown".to_vec())],
    ]
}

/// The last write, which was never synced. It survives the death of a process; a replay of the batches would overwrite it.
pub const LAST: (&str, u64, &[u8]) = ("greeting", 0, b"at last!");

/// Names that fall into one bucket of the directory, in a region with this key.
#[must_use]
pub fn crowd(key: &[u8; 16]) -> Vec<Vec<u8>> {
    let names = (0..).map(|n: u32| format!("crowd {n}").into_bytes());
    names.filter(|name| name_hash(key, name) % 512 == BUCKET).take(CROWD).collect()
}
