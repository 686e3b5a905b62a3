//! The region map: which region has this pfn, and which this address.
//!
//! A snapshot that readers take without a lock.

use super::{Identity, Region};
use crate::sync::atomic::Ordering;
use crate::sync::{Global, Mutex};
use crate::units::Pfn;
use arc_swap::ArcSwap;
use std::sync::Arc;

/// The map's one `Arc` of a region, however many snapshots there are.
#[derive(Debug)]
struct Entry(Arc<Region>);

/// All attached regions, closing ones included.
#[derive(Clone, Default)]
struct Map {
    /// In order of their pfns.
    by_pfn: Vec<Arc<Entry>>,
    /// The same ones in order of their addresses, as positions in `by_pfn`.
    by_address: Vec<usize>,
}

static MAP: Global<ArcSwap<Map>> = Global::new(ArcSwap::default);
/// Held by who replaces the snapshot.
static CHANGING: Global<Mutex<()>> = Global::new(Mutex::default);

impl Map {
    fn new(mut regions: Vec<Arc<Entry>>) -> Self {
        regions.sort_by_key(|entry| entry.0.base());
        let mut by_address: Vec<usize> = (0..regions.len()).collect();
        by_address.sort_by_key(|&i| regions[i].0.start());
        Self { by_pfn: regions, by_address }
    }

    fn by_pfn(&self, pfn: Pfn) -> Option<&Arc<Region>> {
        let after = self.by_pfn.partition_point(|entry| entry.0.base() <= pfn);
        let region = &self.by_pfn[..after].last()?.0;
        region.frames().contains(pfn).then_some(region)
    }

    fn by_address(&self, address: usize) -> Option<(&Arc<Region>, u64)> {
        let after = self.by_address.partition_point(|&i| self.by_pfn[i].0.start() <= address);
        let region = &self.by_pfn[*self.by_address[..after].last()?].0;
        let offset = (address - region.start()) as u64;
        (offset < region.window_bytes()).then_some((region, offset))
    }
}

/// The region that has this pfn.
#[must_use]
pub fn region_of(pfn: Pfn) -> Option<Arc<Region>> {
    MAP.get().load().by_pfn(pfn).cloned()
}

/// The region whose window holds this address, and the byte offset there.
#[must_use]
pub fn region_at(address: *const u8) -> Option<(Arc<Region>, u64)> {
    MAP.get().load().by_address(address.addr()).map(|(region, offset)| (Arc::clone(region), offset))
}

/// Makes a region known.
pub(super) fn publish(region: &Arc<Region>) {
    change(|regions| regions.push(Arc::new(Entry(Arc::clone(region)))));
}

/// Forgets a region.
pub(super) fn withdraw(region: &Region) {
    change(|regions| regions.retain(|entry| !std::ptr::eq(Arc::as_ptr(&entry.0), region)));
}

/// The regions that are closing, or of which only the map still knows. One caller at a time: each would take the
/// other's `Arc` for a user's.
pub(super) fn closed_or_forgotten() -> Vec<Arc<Region>> {
    let map = MAP.get().load();
    let regions = map.by_pfn.iter().map(|entry| &entry.0);
    // ORDERING: Acquire: pairs with the Release that closed it.
    let found = regions.filter(|one| one.closed.load(Ordering::Acquire) || Arc::strong_count(one) == 1);
    found.cloned().collect()
}

/// Whether this process has that file, open or still closing.
pub(super) fn holds(device: u64, inode: u64) -> bool {
    let is_it = |one: &Region| one.medium.file == Some((device, inode)) && !one.memory().forked();
    MAP.get().load().by_pfn.iter().any(|entry| is_it(&entry.0))
}

/// Whether this process has a region with that identity, open or still closing, and one of the two would write.
pub(super) fn excludes(identity: Identity, writes: bool) -> bool {
    let is_it = |one: &Region| one.medium.identity == identity && !one.memory().forked();
    MAP.get().load().by_pfn.iter().any(|entry| is_it(&entry.0) && (writes || !entry.0.read_only()))
}

fn change(edit: impl FnOnce(&mut Vec<Arc<Entry>>)) {
    let _changing = CHANGING.get().lock();
    let mut regions = MAP.get().load().by_pfn.clone();
    edit(&mut regions);
    MAP.get().store(Arc::new(Map::new(regions)));
}
