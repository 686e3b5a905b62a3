//! Ways to read a page by its number, and how each is measured.
//!
//! The first word of every page is the number of another page. All pages form one ring, so a dependent chain of reads
//! visits each. The read is of that word; the measurement covers everything needed to reach it safely and to release
//! it.

mod bare;
mod caches;
mod databases;
mod files;
mod pages;
mod pool;

pub use bare::Bare;
pub use caches::{Caches, DashMap, Foyer, Moka, QuickCache};
pub use databases::{Lmdb, ReadEach, Redb};
pub use files::{Mapped, Pread, write_pages};
pub use pages::Pages;
pub use pool::{Latched, Optimistic};

use pagestone_benches::clock::{thread_time, timed};
use pagestone_benches::{Random, medians::median};
use std::cell::Cell;
use std::hint::black_box;

/// Bytes of a page.
pub const PAGE: usize = 4096;
/// Bursts of each kind.
pub const BURSTS: usize = 11;
/// Reads of a burst.
const READS: u64 = 100_000;
/// After this time a burst ends early: for contenders that make system calls.
const ENOUGH_NS: f64 = 1e8;

/// A way to read a page.
pub trait Reader {
    /// The first word of a page, which is in memory.
    fn read(&self, page: u64) -> u64;
}

impl<R: Reader> Reader for &R {
    #[inline(always)]
    fn read(&self, page: u64) -> u64 {
        (**self).read(page)
    }
}

/// One cycle through all pages: for each page the next one.
#[derive(Clone)]
pub struct Ring(Vec<u32>);

impl Ring {
    /// The ring of `pages` pages; always the same one.
    pub fn new(pages: u64) -> Self {
        // Sattolo's shuffle: a single cycle.
        let mut next: Vec<u32> = (0..pages as u32).collect();
        let mut random = Random::new(1);
        for at in (1..pages).rev() {
            next.swap(at as usize, random.below(at) as usize);
        }
        Self(next)
    }
    /// Pages.
    pub fn pages(&self) -> u64 {
        self.0.len() as u64
    }
    /// The expected first word of a page.
    pub fn next(&self, page: u64) -> u64 {
        self.0[page as usize].into()
    }
    /// Stores that word into a page.
    pub fn fill(&self, page: u64, frame: &mut [u8]) {
        frame[..8].copy_from_slice(&self.next(page).to_le_bytes());
    }
}

/// How reads follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Random pages, known in advance.
    Independent,
    /// Each page names the next one.
    Dependent,
    /// One page.
    Hot,
}

impl Kind {
    /// As columns of a table.
    pub const ALL: [Self; 3] = [Self::Independent, Self::Dependent, Self::Hot];
}

/// Reads these pages, or as many, in the order of a kind. Returns nanoseconds per read.
type Burst<'a> = dyn Fn(Kind, &[u32]) -> f64 + 'a;

/// One row: a reader, and the nanoseconds of its bursts by [`Kind::ALL`].
pub struct Contender<'a> {
    /// The name.
    pub name: String,
    /// Nanoseconds of a read, burst by burst.
    pub bursts: [Vec<f64>; 3],
    burst: Box<Burst<'a>>,
}

impl<'a> Contender<'a> {
    /// A contender that reads by `reader`, after a check that it returns what the ring says.
    ///
    /// # Errors
    /// If it returns anything else.
    pub fn new(name: &str, ring: &Ring, reader: impl Reader + 'a) -> Result<Self, String> {
        // All pages are read once: the first read of a page is not a hit.
        for page in 0..ring.pages() {
            let found = reader.read(page);
            if found != ring.next(page) {
                return Err(format!("{name}: page {page} says {found}"));
            }
        }
        let at = Cell::new(0);
        let burst = move |kind: Kind, order: &[u32]| match kind {
            Kind::Independent => in_parts(order.len(), |part| independent(&reader, &order[part])),
            Kind::Dependent => in_parts(order.len(), |part| at.set(dependent(&reader, at.get(), part.len()))),
            Kind::Hot => in_parts(order.len(), |part| hot(&reader, part.len())),
        };
        Ok(Self { name: name.to_owned(), bursts: Default::default(), burst: Box::new(burst) })
    }

    /// Medians by [`Kind::ALL`].
    pub fn medians(&self) -> [f64; 3] {
        self.bursts.each_ref().map(|bursts| median(&mut bursts.clone()))
    }

    /// Median ratios to another contender's adjacent bursts.
    pub fn beside(&self, other: &Self) -> [f64; 3] {
        [0, 1, 2].map(|kind| {
            let pairs = self.bursts[kind].iter().zip(&other.bursts[kind]);
            median(&mut pairs.map(|(own, other)| own / other).collect::<Vec<_>>())
        })
    }
}

/// Runs bursts of all contenders in turn. Each burst of each has its own pages, so that none finds lines in the cache
/// that another has loaded.
pub fn measure(contenders: &mut [Contender<'_>], pages: u64) {
    let mut random = Random::new(2);
    for _ in 0..BURSTS {
        for (column, kind) in Kind::ALL.into_iter().enumerate() {
            for contender in contenders.iter_mut() {
                let order: Vec<u32> = (0..READS).map(|_| random.below(pages) as u32).collect();
                contender.bursts[column].push((contender.burst)(kind, &order));
            }
        }
    }
}

/// Nanoseconds per read. Runs in tenths, until it took long enough.
fn in_parts(reads: usize, mut work: impl FnMut(std::ops::Range<usize>)) -> f64 {
    let part = reads.div_ceil(10).max(1);
    let first = timed(part as u64, || work(0..part));
    if first * reads as f64 > ENOUGH_NS {
        return first;
    }
    let start = thread_time();
    work(part..reads);
    let rest = (thread_time() - start).as_nanos() as f64;
    (first * part as f64 + rest) / reads as f64
}

#[inline(never)]
fn independent(reader: &impl Reader, order: &[u32]) {
    let mut sum = 0_u64;
    for &page in order {
        sum = sum.wrapping_add(reader.read(page.into()));
    }
    black_box(sum);
}

#[inline(never)]
fn dependent(reader: &impl Reader, mut page: u64, reads: usize) -> u64 {
    for _ in 0..reads {
        page = reader.read(page);
    }
    black_box(page)
}

#[inline(never)]
fn hot(reader: &impl Reader, reads: usize) {
    for _ in 0..reads {
        black_box(reader.read(black_box(0)));
    }
}

/// The error for a page that has disappeared.
#[cold]
#[inline(never)]
fn gone() -> ! {
    panic!("a page that was read before is gone")
}

/// The first word of a page.
#[inline(always)]
fn word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(word) => u64::from_le_bytes(*word),
        None => gone(),
    }
}
