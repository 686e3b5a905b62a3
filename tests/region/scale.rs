//! Opening is as cheap for the largest medium as for a small one.

use crate::attach_with;
use crate::child::Child;
use pagestone::region::{Region, RegionOptions, Source};
use pagestone_tests::skip::skipped;
use std::path::Path;
use std::time::{Duration, Instant};

const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// The quickest of many: what the work takes when nobody disturbs.
fn quickest(mut attach: impl FnMut() -> std::sync::Arc<Region>) -> Duration {
    let once = |_| {
        let start = Instant::now();
        let region = attach();
        let took = start.elapsed();
        region.close();
        took
    };
    (0..200).map(once).min().unwrap()
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn assert_flat(what: &str, small: Duration, large: Duration) {
    println!("{what}: {small:?} small, {large:?} large");
    assert!(large <= 2 * small, "{what}: {large:?} is more than twice {small:?}");
}

#[test]
fn the_largest_sparse_file_attaches_as_fast_as_a_small_one_and_takes_no_memory() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (small, large) = (directory.path().join("small"), directory.path().join("large"));
    let sparse = |path: &Path, len| std::fs::File::create(path).and_then(|file| file.set_len(len));
    sparse(&small, GIB).unwrap();
    if let Err(error) = sparse(&large, 15 * TIB) {
        skipped("a file of 15 TiB", &format!("this file system has none ({error})"));
        return;
    }
    let open = |path: &Path| attach_with(path, RegionOptions::default()).unwrap();
    assert_flat("sparse file", quickest(|| open(&small)), quickest(|| open(&large)));

    Child::start("attacher", &large);
}

/// Runs in a process of its own: memory is the process's.
pub fn attach_the_largest(path: &Path) {
    drop(Region::attach(Source::Memory { bytes: GIB }, &RegionOptions::default()).unwrap());
    let before = resident();
    let region = attach_with(path, RegionOptions::default()).unwrap();
    assert_eq!(region.len_bytes(), 15 * TIB);
    assert_eq!(region.memory().load(15 * TIB - 8).unwrap(), 0);
    let grown = resident().saturating_sub(before);
    assert!(grown < 1 << 20, "{grown} bytes resident");
}

#[test]
fn memory_of_sixteen_tebibytes_attaches_as_fast_as_a_small_one() {
    let open = |bytes| Region::attach(Source::Memory { bytes }, &RegionOptions::default()).unwrap();
    assert_flat("memory", quickest(|| open(GIB)), quickest(|| open(16 * TIB)));
    assert_eq!(open(16 * TIB).window_bytes(), 16 * TIB);
}
