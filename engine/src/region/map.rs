//! The region map: finds the region of a pfn. (`windows` finds the region of an address.)
//!
//! Readers take a snapshot without a lock. A snapshot does not keep regions alive: an old one lives as long as its
//! last reader, and would keep a released region mapped. A separate list keeps the regions.

use super::windows::{ListedView, Tenant, WINDOWS, Window};
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
/// What the snapshots here and in `windows` are made of. Locked while they are replaced.
#[derive(Default)]
struct Attached {
    /// The `Arc` that keeps each region attached.
    regions: Vec<Arc<Region>>,
    views: Vec<ListedView>,
}

static ATTACHED: Global<Mutex<Attached>> = Global::new(Mutex::default);

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
    change(|attached| attached.regions.push(Arc::clone(region)));
}

/// Sets or clears the tenant of a region.
pub(super) fn let_to(region: &Region, tenant: Option<Weak<Tenant>>) {
    change(|_| region.set_tenant(tenant));
}

/// Removes a region from the map; false if it was not there.
pub(super) fn withdraw(region: &Region) -> bool {
    change(|attached| {
        let before = attached.regions.len();
        attached.regions.retain(|one| !std::ptr::eq(Arc::as_ptr(one), region));
        attached.regions.len() < before
    })
}

/// Makes `tenant` findable by the `bytes` addresses from `start` on, which are the window of a view of its own.
pub(crate) fn list_view(start: usize, bytes: u64, tenant: Weak<Tenant>) {
    change(|attached| attached.views.push(ListedView { start, bytes, tenant }));
}

/// Removes the view that begins at `start`.
pub(crate) fn unlist_view(start: usize) {
    change(|attached| attached.views.retain(|view| view.start != start));
}

/// The regions that are closing.
pub(super) fn closed() -> Vec<Arc<Region>> {
    // ORDERING: Acquire: pairs with the Release that closed it.
    let is_closed = |one: &&Arc<Region>| one.closed.load(Ordering::Acquire);
    ATTACHED.get().lock().regions.iter().filter(is_closed).cloned().collect()
}

/// The regions that only this list still holds. One caller at a time: each would count the other's `Arc` as a user's.
pub(super) fn forgotten() -> Vec<Arc<Region>> {
    ATTACHED.get().lock().regions.iter().filter(|one| Arc::strong_count(one) == 1).cloned().collect()
}

/// Whether this process has that file open or still closing.
pub(super) fn holds(device: u64, inode: u64) -> bool {
    let is_it = |one: &Region| one.medium.file == Some((device, inode)) && !one.memory().forked();
    ATTACHED.get().lock().regions.iter().any(|region| is_it(region))
}

/// Whether this process has a region with that identity open or still closing, and one of the two openings would
/// write.
pub(super) fn excludes(identity: Identity, writes: bool) -> bool {
    let is_it = |one: &Region| one.medium.identity == identity && !one.memory().forked();
    ATTACHED.get().lock().regions.iter().any(|region| is_it(region) && (writes || !region.read_only()))
}

fn change<R>(edit: impl FnOnce(&mut Attached) -> R) -> R {
    let mut attached = ATTACHED.get().lock();
    let edited = edit(&mut attached);
    MAP.get().store(Arc::new(Map::new(&attached.regions)));
    let regions = attached.regions.iter().map(Window::of);
    WINDOWS.get().replace(regions.chain(attached.views.iter().map(Window::of_view)).collect());
    edited
}
