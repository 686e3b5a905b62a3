//! The region map: which region has this pfn, and which this address.
//!
//! A snapshot that readers take without a lock. It keeps no region: an old snapshot, which lives as long as its last
//! reader, would keep a region mapped that was let go. What keeps them is a list beside it.

use super::{Identity, Region};
use crate::sync::atomic::Ordering;
use crate::sync::{Global, Mutex};
use crate::units::{Pfn, PfnRange};
use arc_swap::ArcSwap;
use std::sync::{Arc, Weak};

/// Where a region is.
#[derive(Clone)]
struct Entry {
    region: Weak<Region>,
    frames: PfnRange,
    /// Addresses of the window.
    start: usize,
    window: u64,
}

/// All attached regions, closing ones included.
#[derive(Default)]
struct Map {
    /// In order of their pfns.
    by_pfn: Vec<Entry>,
    /// The same ones in order of their addresses, as positions in `by_pfn`.
    by_address: Vec<usize>,
}

static MAP: Global<ArcSwap<Map>> = Global::new(ArcSwap::default);
/// The one `Arc` that keeps a region attached. Held while the snapshot is replaced.
static ATTACHED: Global<Mutex<Vec<Arc<Region>>>> = Global::new(Mutex::default);

impl Map {
    fn new(regions: &[Arc<Region>]) -> Self {
        let entry = |region: &Arc<Region>| Entry {
            region: Arc::downgrade(region),
            frames: region.frames(),
            start: region.start(),
            window: region.window_bytes(),
        };
        let mut by_pfn: Vec<_> = regions.iter().map(entry).collect();
        by_pfn.sort_by_key(|entry| entry.frames.start);
        let mut by_address: Vec<usize> = (0..by_pfn.len()).collect();
        by_address.sort_by_key(|&i| by_pfn[i].start);
        Self { by_pfn, by_address }
    }

    fn by_pfn(&self, pfn: Pfn) -> Option<&Weak<Region>> {
        let after = self.by_pfn.partition_point(|entry| entry.frames.start <= pfn);
        let entry = self.by_pfn[..after].last()?;
        entry.frames.contains(pfn).then_some(&entry.region)
    }

    fn by_address(&self, address: usize) -> Option<(&Weak<Region>, u64)> {
        let after = self.by_address.partition_point(|&i| self.by_pfn[i].start <= address);
        let entry = &self.by_pfn[*self.by_address[..after].last()?];
        let offset = (address - entry.start) as u64;
        (offset < entry.window).then_some((&entry.region, offset))
    }
}

/// The region that has this pfn.
#[must_use]
pub fn region_of(pfn: Pfn) -> Option<Arc<Region>> {
    MAP.get().load().by_pfn(pfn).and_then(Weak::upgrade)
}

/// The region whose window holds this address, and the byte offset there.
#[must_use]
pub fn region_at(address: *const u8) -> Option<(Arc<Region>, u64)> {
    let map = MAP.get().load();
    let (region, offset) = map.by_address(address.addr())?;
    Some((region.upgrade()?, offset))
}

/// Queues a frame whose freeing the caller has claimed with the region that has its pfn now: the put that claimed it may
/// be late, and the pin that it ended of the frame's former life.
pub(super) fn queue_orphan(pfn: Pfn) {
    let region = MAP.get().load().by_pfn(pfn).map(Weak::as_ptr);
    if let Some(region) = region {
        // SAFETY: a region stays attached, and so allocated, while the freeing of one of its frames is claimed and the
        // frame not queued (`Region::finish`); the push is the last touch. No `Arc` is taken: its drop could be the last,
        // and unmap what others take for unmapped.
        unsafe { &*region }.queue_orphan(pfn);
    }
}

/// Makes a region known, and keeps it.
pub(super) fn publish(region: &Arc<Region>) {
    change(|regions| regions.push(Arc::clone(region)));
}

/// Forgets a region; whether it was known.
pub(super) fn withdraw(region: &Region) -> bool {
    change(|regions| {
        let before = regions.len();
        regions.retain(|one| !std::ptr::eq(Arc::as_ptr(one), region));
        regions.len() < before
    })
}

/// The regions that are closing.
pub(super) fn closed() -> Vec<Arc<Region>> {
    // ORDERING: Acquire: pairs with the Release that closed it.
    let is_closed = |one: &&Arc<Region>| one.closed.load(Ordering::Acquire);
    ATTACHED.get().lock().iter().filter(is_closed).cloned().collect()
}

/// The regions of which only this list still knows. One caller at a time: each would take the other's `Arc` for a
/// user's.
pub(super) fn forgotten() -> Vec<Arc<Region>> {
    ATTACHED.get().lock().iter().filter(|one| Arc::strong_count(one) == 1).cloned().collect()
}

/// Whether this process has that file, open or still closing.
pub(super) fn holds(device: u64, inode: u64) -> bool {
    let is_it = |one: &Region| one.medium.file == Some((device, inode)) && !one.memory().forked();
    ATTACHED.get().lock().iter().any(|region| is_it(region))
}

/// Whether this process has a region with that identity, open or still closing, and one of the two would write.
pub(super) fn excludes(identity: Identity, writes: bool) -> bool {
    let is_it = |one: &Region| one.medium.identity == identity && !one.memory().forked();
    ATTACHED.get().lock().iter().any(|region| is_it(region) && (writes || !region.read_only()))
}

fn change<R>(edit: impl FnOnce(&mut Vec<Arc<Region>>) -> R) -> R {
    let mut regions = ATTACHED.get().lock();
    let edited = edit(&mut regions);
    MAP.get().store(Arc::new(Map::new(&regions)));
    edited
}
