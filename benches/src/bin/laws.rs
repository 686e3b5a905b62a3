//! `make bench-laws PLACE=folder`: costs that must not grow with unrelated sizes: calls, and the longest time of one.
#![forbid(unsafe_code)]

use pagestone::store::frames_at;
use pagestone::{Durability, Object, PageIndex, Result, Store};
use pagestone_benches::Machine;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PAGE: u64 = 4096;
const MIB: usize = 1 << 20;

fn main() -> Result<()> {
    println!("{}", Machine::look());
    let place = std::env::args().nth(1).unwrap_or_else(|| std::env::temp_dir().display().to_string());
    let path = Path::new(&place).join(format!("bench-laws.{}.pgs", std::process::id()));
    let measured = tails(&path)
        .and_then(|()| batches(&path))
        .and_then(|()| freeing(&path))
        .and_then(|()| cuts(&path))
        .and_then(|()| dirt())
        .and_then(|()| frames());
    let _ = std::fs::remove_file(&path);
    measured
}

/// A new store with a log of that many frames.
fn fresh(path: &Path, log_frames: u32) -> Result<Store> {
    let _ = std::fs::remove_file(path);
    Store::options().create(true).log_frames(log_frames).open(path)
}

fn filled(store: &Store, name: &str, mib: usize) -> Result<Object> {
    let object = store.create(name)?;
    let bytes = vec![1; MIB];
    (0..mib).try_for_each(|_| object.append(&bytes).map(drop))?;
    store.sync()?;
    Ok(object)
}

/// The longest of 1,500 commits of a batch while another object is dirty; the median of three runs, in which the dirt
/// comes at different places of the log.
fn tails(path: &Path) -> Result<()> {
    for dirty in [0, 10, 100, 600] {
        let runs = [50, 250, 450].map(|before| tail_run(path, dirty, before));
        let mut runs: Vec<(Duration, u64)> = runs.into_iter().collect::<Result<_>>()?;
        runs.sort_unstable();
        println!(
            "{dirty:4} MiB dirty elsewhere: longest of 1,500 commits {:?}, {} moves of the tail",
            runs[1].0, runs[1].1
        );
    }
    Ok(())
}

fn tail_run(path: &Path, dirty: usize, before: u64) -> Result<(Duration, u64)> {
    let store = fresh(path, 64)?;
    let (other, small) = (filled(&store, "other", dirty.max(1))?, filled(&store, "small", 1)?);
    let commit = |n: u64| {
        let begun = Instant::now();
        let mut batch = store.batch();
        batch.write_at(&small, n * 37 % 256 * PAGE, &n.to_le_bytes().repeat(16))?;
        batch.commit()?;
        Ok::<_, pagestone::Error>(begun.elapsed())
    };
    (0..before).try_for_each(|n| commit(n).map(drop))?;
    let bytes = vec![2; MIB];
    (0..dirty).try_for_each(|n| other.write_at((n * MIB) as u64, &bytes))?;
    let moves = store.stats().log_tail_moves;
    let longest =
        (0..1_500).try_fold(Duration::ZERO, |longest, n| commit(n).map(|took| longest.max(took)))?;
    Ok((longest, store.stats().log_tail_moves - moves))
}

/// Batches of new pages, each in its own leaf of the map.
fn batches(path: &Path) -> Result<()> {
    for pages in [1_000, 10_000, 40_000_u64] {
        let store = fresh(path, 16_384)?;
        let object = store.create("a")?;
        let mut batch = store.batch();
        (0..pages).try_for_each(|n| batch.write_at(&object, n * 513 * PAGE, &[1; 64]))?;
        let begun = Instant::now();
        batch.commit()?;
        println!("batch of {pages} scattered new pages: {:.1} us a page", micros(begun) / pages as f64);
    }
    Ok(())
}

/// Unlinks objects of adjacent pages and of pages in one leaf each. Also the longest look-up of a name meanwhile.
fn freeing(path: &Path) -> Result<()> {
    for (what, distance) in [("dense", 1), ("scattered", 513)] {
        let store = fresh(path, 64)?;
        let object = store.create("a")?;
        let pages = 100_000_u64;
        (0..pages).try_for_each(|n| object.write_at(n * distance * PAGE, &[1; 64]))?;
        drop(object);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let looking = scope.spawn(|| {
                let mut longest = Duration::ZERO;
                while !done.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    let _ = store.exists("b");
                    longest = longest.max(begun.elapsed());
                    std::thread::sleep(Duration::from_micros(200));
                }
                longest
            });
            let begun = Instant::now();
            let freed = store.unlink("a");
            let each = micros(begun) / pages as f64;
            done.store(true, Ordering::Relaxed);
            let longest = looking.join().unwrap_or_default();
            println!(
                "unlink of {pages} {what} pages: {each:.2} us a page; the longest look-up beside it {longest:?}"
            );
            freed
        })?;
    }
    Ok(())
}

fn cuts(path: &Path) -> Result<()> {
    let store = fresh(path, 64)?;
    let object = filled(&store, "a", 1)?;
    let (begun, before) = (Instant::now(), store.stats());
    for n in 0..1_000 {
        object.set_len(100_000 + n % 50)?;
        object.append(&[1; 300])?;
    }
    let each = micros(begun) / 1_000.0;
    println!(
        "1,000 cuts and appends: {each:.1} us each, {} commits",
        store.stats().log_commits - before.log_commits
    );
    Ok(())
}

/// Dirty pages beside the one that is synced.
const DIRTY: u64 = 150_000;

/// Syncs of one dirty page, alone and beside many dirty pages of another object. The numbers of the two objects are 1, 16
/// or 1,024 apart: the map of dirt has 16 bitmaps and 1,024 trails, each for the objects whose numbers are equal in the
/// low bits. In memory and by cache lines, where a sync costs little else.
fn dirt() -> Result<()> {
    for apart in [1, 16, 1_024] {
        let store = Store::options().assume(Durability::CacheLine).open_memory(1 << 20)?;
        let one = filled(&store, "one", 1)?;
        // A number for each: the next object's is then so many apart.
        (1..apart).try_for_each(|n| store.create(format!("between {n}")).map(drop))?;
        let other = filled(&store, "other", (DIRTY * PAGE).div_ceil(MIB as u64) as usize)?;
        let alone = page_syncs(&one, || one.sync())?;
        (0..DIRTY).try_for_each(|page| other.write_at(page * PAGE, &[3; 8]))?;
        let beside = page_syncs(&one, || one.sync())?;
        let begun = Instant::now();
        other.sync()?;
        let all = micros(begun) / DIRTY as f64;
        println!(
            "sync of a dirty page: {alone:.2} us alone, {beside:.2} us beside {DIRTY} of the object {apart} further on; of those \
             {all:.3} us each"
        );
        if apart == 1 {
            (0..DIRTY).try_for_each(|page| other.write_at(page * PAGE, &[3; 8]))?;
            let range = page_syncs(&other, || other.sync_range(0, PAGE))?;
            println!("sync_range of a page beside {DIRTY} dirty ones of its object: {range:.2} us");
        }
    }
    Ok(())
}

/// Frames whose descriptors share a page of memory, which appears with the first pin of one of them.
const SHARING: u64 = 256;

/// Pins by address of pages that no descriptor knows. The first of all walks all maps. Of the later ones there are two
/// figures: a pin that is the first among frames whose descriptors share a page of memory waits for the kernel to make
/// that page, which costs several times as much as the pin itself. How many of the asks meet that depends on how far they
/// are apart. So they are equally far apart in a store of any size, and over all of it: each of the first round makes a
/// page, and none of the second does. Neither figure may grow with the pages.
fn frames() -> Result<()> {
    for pages in [10_000, 100_000, 400_000_u64] {
        let (mut walks, mut rounds) = (Vec::new(), [Vec::new(), Vec::new()]);
        // More than one store, for the smallest has few such pages of memory.
        for _ in 0..3 {
            let store = Store::options().open_memory(pages * PAGE + (64 << 20))?;
            let object = store.create("a")?;
            object.allocate(0, pages * PAGE)?;
            object.set_len(pages * PAGE)?;
            let first = object.pin(PageIndex(0))?.map_or(std::ptr::null(), |page| page.address());
            let ask = |page: u64| {
                let address = first.wrapping_add((page * PAGE) as usize);
                let begun = Instant::now();
                frames_at(address, 1)?;
                Ok::<_, pagestone::Error>(micros(begun))
            };
            walks.push(ask(1)?);
            for (round, page) in rounds.iter_mut().zip([SHARING + 2, SHARING + 3]) {
                let asks = (0..(pages - 1_001) / SHARING).map(|n| ask(page + n * SHARING));
                round.extend(asks.collect::<Result<Vec<f64>>>()?);
            }
        }
        let ([new, there], walk) = (rounds.map(middle), middle(walks));
        println!(
            "frames_at of a page of {pages} that no descriptor knows: {walk:.0} us the first; later {there:.2} us, or {new:.2} us \
             where a page of descriptors is touched first"
        );
    }
    Ok(())
}

/// The middle of many syncs of an object whose first page was just stored to, in microseconds.
fn page_syncs(object: &Object, sync: impl Fn() -> Result<()>) -> Result<f64> {
    let one = |n: u64| {
        object.write_at(n % 64 * 64, &n.to_le_bytes())?;
        let begun = Instant::now();
        sync()?;
        Ok::<_, pagestone::Error>(micros(begun))
    };
    Ok(middle((0..1_001).map(one).collect::<Result<Vec<f64>>>()?))
}

fn middle(mut took: Vec<f64>) -> f64 {
    took.sort_by(f64::total_cmp);
    took[took.len() / 2]
}

fn micros(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e6
}
