//! `make bench-hit`: the cost of a pin and of a plain read of a random page, in one run.
//!
//! Bursts of each kind alternate, so that other load on the machine affects all alike. Each number is the median of
//! its bursts, and each ratio is the median of the ratios of adjacent bursts. A second table compares the same pin
//! with the least that its steps cost, in the same memory. There each burst of each row has its own pages, so that
//! none finds lines in the cache that another has loaded.

use pagestone::units::FRAME_SIZE;
use pagestone::{Object, PageIndex, Store};
use pagestone_benches::clock::timed;
use pagestone_benches::floor::{Floor, Step};
use pagestone_benches::{Machine, Random, medians};
use std::hint::black_box;

/// Pages of the object, unless the first argument says otherwise: 1M pages are 4 GiB.
const PAGES: u64 = 1 << 20;
/// Bursts of each kind.
const BURSTS: usize = 15;
/// Reads of one burst.
const READS: u64 = 200_000;
/// Pages of an object none of which lies behind another, as a part of the others.
const SCATTERED: u64 = 8;
/// Bytes beyond the pages, for everything except content.
const OVERHEAD: u64 = 256 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pages = match std::env::args().nth(1) {
        Some(n) => n.parse()?,
        None => PAGES,
    };
    let all = pages + 2 * (pages / SCATTERED);
    let store = Store::options().open_memory(all * FRAME_SIZE as u64 + OVERHEAD)?;
    let object = store.create("pages")?;
    object.allocate(0, pages * FRAME_SIZE as u64)?;
    object.set_len(pages * FRAME_SIZE as u64)?;
    let ring = Ring::make(&object, pages)?;
    let results = measure(&object, &ring)?;
    let levels = Levels::measure(&object, &ring)?;
    let scattered = scattered(&store, &object, pages / SCATTERED)?;
    println!("{}", Machine::look());
    println!(
        "{pages} pages of {FRAME_SIZE} B in anonymous shared memory (memfd), one thread, medians of {BURSTS} bursts"
    );
    println!();
    println!("random page                     bare read   pin + read + unpin   ratio");
    println!(
        "  independent                  {:>7.1} ns  {:>12.1} ns        {:>5.2}",
        results[0], results[1], results[4]
    );
    println!(
        "  dependent chain              {:>7.1} ns  {:>12.1} ns        {:>5.2}",
        results[2], results[3], results[5]
    );
    println!();
    println!("hot pin + unpin                {:>7.2} ns", results[6]);
    levels.print();
    println!("pin + read + unpin of an object without two adjacent pages, of one in a run: {scattered:.2}");
    Ok(())
}

/// How much more a pin of a page costs whose place has a word of its own, because the object has no run. Objects of
/// `pages` pages; `whole` is in one run.
fn scattered(store: &Store, whole: &Object, pages: u64) -> Result<f64, Box<dyn std::error::Error>> {
    let (one, other) = (store.create("scattered")?, store.create("between")?);
    let page = [1; FRAME_SIZE];
    for _ in 0..pages {
        one.append(&page)?;
        other.append(&page)?;
    }
    // Each page was pinned twice before anything is measured.
    for index in (0..pages).chain(0..pages) {
        drop(one.pin(PageIndex(index))?.ok_or("a page that was written is a hole")?);
    }
    let mut random = Random::new(4);
    let mut ratios: Vec<f64> = (0..BURSTS)
        .map(|_| {
            let order: Vec<u32> = (0..READS).map(|_| random.below(pages) as u32).collect();
            let in_run = timed(READS, || pinned(whole, &order));
            timed(READS, || pinned(&one, &order)) / in_run
        })
        .collect();
    Ok(medians::median(&mut ratios))
}

/// One cycle through all pages, written into them: the first word of a page is the number of the next page, the
/// second word its address.
struct Ring {
    /// Address of each page.
    addresses: Vec<*const u64>,
}

impl Ring {
    fn make(object: &Object, pages: u64) -> Result<Self, Box<dyn std::error::Error>> {
        let mut addresses = Vec::with_capacity(pages as usize);
        for index in 0..pages {
            let page = object.pin(PageIndex(index))?.ok_or("an allocated page is a hole")?;
            addresses.push(page.address().cast::<u64>());
        }
        // Sattolo's shuffle: a single cycle.
        let mut next: Vec<u64> = (0..pages).collect();
        let mut random = Random::new(1);
        for i in (1..pages).rev() {
            next.swap(i as usize, random.below(i) as usize);
        }
        for index in 0..pages {
            let successor = next[index as usize];
            let mut words = [0; 16];
            words[..8].copy_from_slice(&successor.to_le_bytes());
            words[8..].copy_from_slice(&(addresses[successor as usize] as u64).to_le_bytes());
            object.write_at(index * FRAME_SIZE as u64, &words)?;
        }
        Ok(Self { addresses })
    }
}

/// A word of a page that is no longer written.
fn word(page: *const u64, at: usize) -> u64 {
    // SAFETY: `page` is the address of a frame of a store that outlives the measurement; its 512 words are readable,
    // and no thread writes them after the ring was made.
    u64::from_le(unsafe { page.wrapping_add(at).read() })
}

/// Nanoseconds: independent bare, independent pinned, dependent bare, dependent pinned; the two ratios; a hot pin.
fn measure(object: &Object, ring: &Ring) -> Result<[f64; 7], Box<dyn std::error::Error>> {
    let pages = ring.addresses.len() as u64;
    let base = ring.addresses.iter().copied().min().ok_or("no pages")?;
    let mut kinds: [Vec<f64>; 7] = Default::default();
    let mut random = Random::new(2);
    let mut chain = (0, ring.addresses[0]);
    for _ in 0..BURSTS {
        // Drawn in advance: a generator inside the loop would compete for registers with what is measured.
        let order: Vec<u32> = (0..READS).map(|_| random.below(pages) as u32).collect();
        let independent_bare = timed(READS, || bare(base, &order));
        let independent_pinned = timed(READS, || pinned(object, &order));
        let dependent_bare = timed(READS, || chain.1 = bare_chain(chain.1));
        let dependent_pinned = timed(READS, || chain.0 = pinned_chain(object, chain.0));
        let hot = timed(READS, || hot(object));
        let ratios = [independent_pinned / independent_bare, dependent_pinned / dependent_bare];
        let burst = [
            independent_bare,
            independent_pinned,
            dependent_bare,
            dependent_pinned,
            ratios[0],
            ratios[1],
            hot,
        ];
        for (kind, value) in kinds.iter_mut().zip(burst) {
            kind.push(value);
        }
    }
    Ok(kinds.map(|mut k| medians::median(&mut k)))
}

/// The cost of a pin and of the steps that make it up.
struct Levels {
    /// By `Step::ALL`, then `Object::pin`, then `Object::pin` with a read guard.
    costs: Vec<f64>,
    /// The ratio of `Object::pin` to all the steps that it needs.
    ratio: f64,
    /// The ratio of a pin with a read guard to one without.
    guard: f64,
}

impl Levels {
    const NEEDED: Step = Step::PutAndLook;

    fn measure(object: &Object, ring: &Ring) -> Result<Self, Box<dyn std::error::Error>> {
        let pages = ring.addresses.len();
        let base = ring.addresses.iter().copied().min().ok_or("no pages")?;
        // SAFETY: the object's frames begin at the lowest one and are not fewer than its pages; the store outlives this,
        // and no thread writes them any more.
        let floor = unsafe { Floor::over(base, pages) }?;
        let mut random = Random::new(3);
        let mut draw = || -> Vec<u32> { (0..READS).map(|_| random.below(pages as u64) as u32).collect() };
        let mut kinds = vec![Vec::new(); Step::ALL.len() + 2];
        let (mut ratios, mut guards) = (Vec::new(), Vec::new());
        for _ in 0..BURSTS {
            let mut needed = f64::INFINITY;
            for (kind, step) in kinds.iter_mut().zip(Step::ALL) {
                let order = draw();
                let cost = timed(READS, || _ = black_box(floor.pass(step, &order)));
                kind.push(cost);
                needed = if step == Self::NEEDED { cost } else { needed };
            }
            let order = draw();
            let cost = timed(READS, || pinned(object, &order));
            kinds[Step::ALL.len()].push(cost);
            ratios.push(cost / needed);
            let order = draw();
            let with_guard = timed(READS, || guarded(object, &order));
            kinds[Step::ALL.len() + 1].push(with_guard);
            guards.push(with_guard / cost);
        }
        let costs = kinds.iter_mut().map(|kind| medians::median(kind)).collect();
        Ok(Self { costs, ratio: medians::median(&mut ratios), guard: medians::median(&mut guards) })
    }

    fn print(&self) {
        println!();
        println!("steps of a hit, pages of its own each                        of a bare read");
        let names = Step::ALL.iter().map(|step| step.name()).chain([
            "Object::pin + read + drop of PageRef",
            "Object::pin + read guard + read + drop of both",
        ]);
        for (name, cost) in names.zip(&self.costs) {
            println!("  {name:<50} {cost:>7.1} ns {:>5.2}", cost / self.costs[0]);
        }
        println!("Object::pin of \"{}\": {:.2}", Self::NEEDED.name(), self.ratio);
        println!("with a read guard, of Object::pin: {:.2}", self.guard);
    }
}

/// Reads random frames: no table, no pin, the address computed as a slice index would be.
#[inline(never)]
fn bare(base: *const u64, order: &[u32]) {
    let mut sum = 0_u64;
    for &frame in order {
        // The object's frames begin at the lowest one and are not fewer than its pages.
        sum = sum.wrapping_add(word(base.wrapping_add(frame as usize * (FRAME_SIZE / 8)), 0));
    }
    black_box(sum);
}

#[inline(never)]
fn pinned(object: &Object, order: &[u32]) {
    let mut sum = 0_u64;
    for &index in order {
        sum = sum.wrapping_add(read_pinned(object, index.into()));
    }
    black_box(sum);
}

#[inline(always)]
fn read_pinned(object: &Object, index: u64) -> u64 {
    match object.pin(PageIndex(index)) {
        Ok(page) => match page {
            Some(page) => word(page.address().cast(), 0),
            None => gone(),
        },
        Err(error) => failed(error),
    }
}

#[inline(never)]
fn guarded(object: &Object, order: &[u32]) {
    let mut sum = 0_u64;
    for &index in order {
        let Ok(Some(page)) = object.pin(PageIndex(index.into())) else { gone() };
        let Ok(bytes) = page.read() else { gone() };
        sum = sum.wrapping_add(bytes.first_chunk().map_or(0, |word| u64::from_le_bytes(*word)));
    }
    black_box(sum);
}

#[cold]
#[inline(never)]
fn failed(error: pagestone::Error) -> ! {
    panic!("{error}")
}

#[cold]
#[inline(never)]
fn gone() -> ! {
    panic!("a page that was allocated cannot be pinned")
}

#[inline(never)]
fn bare_chain(mut at: *const u64) -> *const u64 {
    for _ in 0..READS {
        at = word(at, 1) as *const u64;
    }
    black_box(at)
}

#[inline(never)]
fn pinned_chain(object: &Object, mut index: u64) -> u64 {
    for _ in 0..READS {
        index = read_pinned(object, index);
    }
    black_box(index)
}

#[inline(never)]
fn hot(object: &Object) {
    for _ in 0..READS {
        drop(black_box(object.pin(PageIndex(0))));
    }
}
