//! The region map: finds the region of a pfn. (`windows` finds the region of an address.)
//!
//! Readers take a snapshot without a lock. A snapshot does not keep regions alive: an old one lives as long as its
//! last reader, and would keep a released region mapped. A separate list keeps the regions.

use super::windows::{Tenant, WINDOWS, Window};
use super::{Identity, Region};
use crate::sync::atomic::Ordering;
use crate::sync::{Global, Mutex};
use crate::units::{Pfn, PfnRange};
use arc_swap::ArcSwap;
use std::sync::{Arc, Weak};

/// The place of a region.
#[derive(Clone)]
struct Entry {
    region: Weak<Region>,
    frames: PfnRange,
}

/// All attached regions, closing ones included, in order of their pfns.
#[derive(Default)]
struct Map(Vec<Entry>);

static MAP: Global<ArcSwap<Map>> = Global::new(ArcSwap::default);
/// The `Arc` that keeps each region attached. Locked while the snapshots here and in `windows` are replaced.
static ATTACHED: Global<Mutex<Vec<Arc<Region>>>> = Global::new(Mutex::default);

impl Map {
    fn new(regions: &[Arc<Region>]) -> Self {
        let entry =
            |region: &Arc<Region>| Entry { region: Arc::downgrade(region), frames: region.frames().range() };
        let mut by_pfn: Vec<_> = regions.iter().map(entry).collect();
        by_pfn.sort_by_key(|entry| entry.frames.start);
        Self(by_pfn)
    }

    fn by_pfn(&self, pfn: Pfn) -> Option<&Weak<Region>> {
        let after = self.0.partition_point(|entry| entry.frames.start <= pfn);
        let entry = self.0[..after].last()?;
        entry.frames.contains(pfn).then_some(&entry.region)
    }
}

/// The region that has this pfn.
#[must_use]
pub fn region_of(pfn: Pfn) -> Option<Arc<Region>> {
    MAP.get().load().by_pfn(pfn).and_then(Weak::upgrade)
}

/// Queues a frame whose freeing the caller has claimed, with the region that has its pfn now. The put that claimed it
/// may be late: its pin may have been of the frame's earlier use.
pub(super) fn queue_orphan(pfn: Pfn) {
    let region = MAP.get().load().by_pfn(pfn).map(Weak::as_ptr);
    if let Some(region) = region {
        // SAFETY: a region stays attached, and so allocated, while the freeing of one of its frames is claimed and
        // the frame is not queued (`Region::finish`); the push is the last access. No `Arc` is taken: dropping it
        // could be the last drop, which unmaps the region while other threads still expect it to be mapped.
        unsafe { &*region }.queue_orphan(pfn);
    }
}

/// Adds a region to the map, which keeps it.
pub(super) fn publish(region: &Arc<Region>) {
    change(|regions| regions.push(Arc::clone(region)));
}

/// Sets or clears the tenant of a region.
pub(super) fn let_to(region: &Region, tenant: Option<Weak<Tenant>>) {
    change(|_| region.set_tenant(tenant));
}

/// Removes a region from the map; false if it was not there.
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

/// The regions that only this list still holds. One caller at a time: each would count the other's `Arc` as a user's.
pub(super) fn forgotten() -> Vec<Arc<Region>> {
    ATTACHED.get().lock().iter().filter(|one| Arc::strong_count(one) == 1).cloned().collect()
}

/// Whether this process has that file open or still closing.
pub(super) fn holds(device: u64, inode: u64) -> bool {
    let is_it = |one: &Region| one.medium.file == Some((device, inode)) && !one.memory().forked();
    ATTACHED.get().lock().iter().any(|region| is_it(region))
}

/// Whether this process has a region with that identity open or still closing, and one of the two openings would
/// write.
pub(super) fn excludes(identity: Identity, writes: bool) -> bool {
    let is_it = |one: &Region| one.medium.identity == identity && !one.memory().forked();
    ATTACHED.get().lock().iter().any(|region| is_it(region) && (writes || !region.read_only()))
}

fn change<R>(edit: impl FnOnce(&mut Vec<Arc<Region>>) -> R) -> R {
    let mut regions = ATTACHED.get().lock();
    let edited = edit(&mut regions);
    MAP.get().store(Arc::new(Map::new(&regions)));
    WINDOWS.get().replace(regions.iter().map(Window::of).collect());
    edited
}
