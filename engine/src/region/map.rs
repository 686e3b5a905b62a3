//! The region map: which region has this pfn, and which this address.
//!
//! A snapshot that readers take without a lock. It holds one `Arc` of every region, so that a region outlives
//! the pins of its frames, whoever forgot it.

use super::Region;
use crate::sync::Mutex;
use crate::units::Pfn;
use arc_swap::ArcSwap;
use std::sync::{Arc, LazyLock};

/// All attached regions.
#[derive(Clone, Default)]
struct Map {
    /// In order of their pfns.
    by_pfn: Vec<Arc<Region>>,
    /// The same ones in order of their addresses, as positions in `by_pfn`.
    by_address: Vec<usize>,
}

static MAP: LazyLock<ArcSwap<Map>> = LazyLock::new(ArcSwap::default);
/// Held by who replaces the snapshot.
static CHANGING: LazyLock<Mutex<()>> = LazyLock::new(Mutex::default);

impl Map {
    fn new(mut regions: Vec<Arc<Region>>) -> Self {
        regions.sort_by_key(|region| region.base());
        let mut by_address: Vec<usize> = (0..regions.len()).collect();
        by_address.sort_by_key(|&i| regions[i].memory().base().addr());
        Self { by_pfn: regions, by_address }
    }

    fn by_pfn(&self, pfn: Pfn) -> Option<&Arc<Region>> {
        let after = self.by_pfn.partition_point(|region| region.base() <= pfn);
        self.by_pfn[..after].last().filter(|region| region.frames().contains(pfn))
    }

    fn by_address(&self, address: usize) -> Option<(&Arc<Region>, u64)> {
        let start = |i: usize| self.by_pfn[i].memory().base().addr();
        let after = self.by_address.partition_point(|&i| start(i) <= address);
        let i = *self.by_address[..after].last()?;
        let offset = (address - start(i)) as u64;
        (offset < self.by_pfn[i].window_bytes()).then_some((&self.by_pfn[i], offset))
    }
}

/// The region that has this pfn.
#[must_use]
pub fn region_of(pfn: Pfn) -> Option<Arc<Region>> {
    MAP.load().by_pfn(pfn).cloned()
}

/// The region whose window holds this address, and the byte offset there.
#[must_use]
pub fn region_at(address: *const u8) -> Option<(Arc<Region>, u64)> {
    MAP.load().by_address(address.addr()).map(|(region, offset)| (Arc::clone(region), offset))
}

/// Makes a region known.
pub(super) fn publish(region: &Arc<Region>) {
    change(|regions| regions.push(Arc::clone(region)));
}

/// Forgets a region.
pub(super) fn withdraw(region: &Region) {
    change(|regions| regions.retain(|known| !std::ptr::eq(Arc::as_ptr(known), region)));
}

/// All regions, closing ones included.
pub(super) fn all() -> Vec<Arc<Region>> {
    MAP.load().by_pfn.clone()
}

/// Whether this process has that file, open or still closing.
pub(super) fn holds(device: u64, inode: u64) -> bool {
    MAP.load().by_pfn.iter().any(|region| region.medium.file == Some((device, inode)))
}

fn change(edit: impl FnOnce(&mut Vec<Arc<Region>>)) {
    let _changing = CHANGING.lock();
    let mut regions = all();
    edit(&mut regions);
    MAP.store(Arc::new(Map::new(regions)));
}
