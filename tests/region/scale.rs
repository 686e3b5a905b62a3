//! Opening is as cheap for the largest medium as for a small one.

use crate::attach_with;
use crate::child;
use pagestone::Error;
use pagestone::region::{Region, RegionOptions, Source};
use pagestone_kit::limit::Limit;
use pagestone_kit::memory::{addresses, resident};
use pagestone_kit::skip::skipped;
use std::path::Path;
use std::time::{Duration, Instant};

const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// The quickest of many openings: the time when nothing disturbs them.
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

    child::start("attacher", &large);
}

/// Runs in a process of its own, because it measures the process's memory.
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
fn a_process_opens_thousands_of_regions_and_still_makes_threads() {
    child::start("many-regions", Path::new(""));
}

const MANY: usize = 5000;

/// Runs in a process of its own, which has many files open.
pub fn attach_very_many() {
    if !child::may_open("thousands of regions", MANY as u64 * 2) {
        return;
    }
    let open = |n| match Region::attach(Source::Memory { bytes: 4096 }, &RegionOptions::default()) {
        Ok(region) => region,
        Err(error) => panic!("region {n}: {error}"),
    };
    let regions: Vec<_> = (0..MANY).map(open).collect();
    assert!(regions.iter().all(|region| region.window_bytes() >= GIB), "a window is narrower than promised");
    let folder = tempfile::tempdir().unwrap();
    let in_file = |n| {
        crate::attach(&folder.path().join(format!("{n}"))).unwrap_or_else(|error| panic!("file {n}: {error}"))
    };
    let in_files: Vec<_> = (0..MANY / 10).map(in_file).collect();
    assert!(in_files.iter().all(|region| region.window_bytes() >= GIB), "a window is narrower than promised");
    regions[MANY - 1].grow_to(64 << 20).unwrap();
    regions[MANY - 1].memory().store((64 << 20) - 8, 1).unwrap();
    let threads: Vec<_> = (0..100).map(|_| std::thread::spawn(std::thread::yield_now)).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_region_that_outgrows_its_addresses_says_so_and_gets_more_at_its_next_opening() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("region");
    let region = crate::attach(&path).unwrap();
    let window = region.window_bytes();
    let refused = region.grow_to(window + 4096).unwrap_err();
    let words = refused.to_string();
    assert!(matches!(refused, Error::NoAddresses { .. }), "{words}");
    assert!(words.contains("addresses") && words.contains("open it again"), "{words}");
    assert_eq!(region.frames().len(), window / 4096, "each frame that the window has room for has a pfn");
    region.close();
    drop(region);
    let narrow = RegionOptions { max_bytes: Some(GIB), ..Default::default() };
    let region = attach_with(&path, narrow).unwrap();
    assert_eq!(region.window_bytes(), GIB);
    assert!(matches!(region.grow_to(GIB + 4096), Err(Error::NoSpace { .. })), "the region has said so");
    region.close();
    drop(region);
    std::fs::OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(window)).unwrap();
    assert!(crate::attach(&path).unwrap().window_bytes() > window);
}

#[test]
fn a_region_that_fills_its_addresses_gets_more_at_its_next_opening_where_they_are_scarce() {
    child::start("few-addresses", Path::new(""));
}

/// Runs in a process of its own, whose addresses are limited.
pub fn outgrow_few_addresses() {
    let left = 96 << 20;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("region");
    // The first region makes what the process keeps for ever.
    let region = attach_with(&path, RegionOptions { max_bytes: Some(1 << 20), ..creating() }).unwrap();
    region.close();
    drop(region);
    Limit::set(libc::RLIMIT_AS, addresses() + left).unwrap().for_good();
    let mut filled = 0;
    loop {
        let region = crate::attach(&path).unwrap();
        let window = region.window_bytes();
        assert!(window > filled || filled * 2 > left / 2, "{window} bytes of addresses again, of {left}");
        if window <= filled {
            break;
        }
        region.grow_to(window).unwrap();
        filled = window;
        region.close();
    }
}

fn creating() -> RegionOptions {
    RegionOptions { create: true, ..Default::default() }
}

#[test]
fn memory_that_outgrows_its_addresses_is_not_told_to_be_closed() {
    let region = Region::attach(Source::Memory { bytes: 4096 }, &RegionOptions::default()).unwrap();
    let words = region.grow_to(region.window_bytes() + 4096).unwrap_err().to_string();
    assert!(words.contains("addresses") && words.contains("max_size") && !words.contains("again"), "{words}");
}

#[test]
fn a_core_file_has_no_page_of_a_region_and_none_of_the_table() {
    child::start("dumped", Path::new(""));
}

/// Runs in a process of its own: asks what the kernel would write into a core file.
pub fn hold_little_that_is_dumped() {
    let memory = RegionOptions { max_bytes: Some(8 * GIB), ..Default::default() };
    let region = Region::attach(Source::Memory { bytes: 8 * GIB }, &memory).unwrap();
    region.memory().store(4 * GIB, 1).unwrap();
    let image = Region::attach(Source::Image(vec![1; 1 << 20]), &RegionOptions::default()).unwrap();
    let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let (mut range, mut dumped) = ((0, 0), 0);
    for line in text.lines() {
        let first = line.split(' ').next().unwrap_or_default();
        if let Some((from, to)) = first.split_once('-') {
            range = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        } else if line.starts_with("VmFlags:") && !line.split(' ').any(|flag| flag == "dd") {
            let holds = |region: &Region| {
                (range.0..range.1).contains(&(region.address(pagestone::units::FrameNo(0)).addr() as u64))
            };
            assert!(!holds(&region) && !holds(&image), "a window is dumped");
            dumped += range.1 - range.0;
        }
    }
    assert!(dumped < GIB, "{dumped} bytes may be dumped");
}

#[test]
fn memory_of_sixteen_tebibytes_attaches_as_fast_as_a_small_one() {
    let open = |bytes| Region::attach(Source::Memory { bytes }, &RegionOptions::default()).unwrap();
    assert_flat("memory", quickest(|| open(GIB)), quickest(|| open(16 * TIB)));
    assert_eq!(open(16 * TIB).window_bytes(), 16 * TIB);
}
