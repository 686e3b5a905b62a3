//! The address map: finds the region whose window contains an address.
//!
//! Each look-up by address reads a snapshot without a lock, and holds neither a pin nor an `Arc` of what it looks for. A
//! replaced snapshot, and the windows in it, are forgotten after a grace period ([`Grace`]). A snapshot keeps nothing alive:
//! a released region is gone, and so is its tenant, whatever an old snapshot says.

use super::Region;
use crate::sync::{Global, Grace};
use std::any::Any;
use std::sync::{Arc, Weak};

/// What uses a region (a store), and can be found by any address of it.
pub type Tenant = dyn Any + Send + Sync;

/// Addresses that lead to frames: those of an attached region, or of a view.
pub(super) struct Window {
    start: usize,
    bytes: u64,
    /// The region that has an offset for each of the addresses; none for a view.
    region: Weak<Region>,
    tenant: Option<Weak<Tenant>>,
}

/// The windows of all views, and of all attached regions, closing ones included, in order of their addresses.
pub(super) struct Windows(Grace<Vec<Window>>);

pub(super) static WINDOWS: Global<Windows> = Global::new(|| Windows(Grace::new(Vec::new())));

impl Window {
    pub(super) fn of(region: &Arc<Region>) -> Self {
        Self {
            start: region.start(),
            bytes: region.window_bytes(),
            region: Arc::downgrade(region),
            tenant: region.tenant(),
        }
    }

    pub(super) fn of_view(view: &ListedView) -> Self {
        Self { start: view.start, bytes: view.bytes, region: Weak::new(), tenant: Some(view.tenant.clone()) }
    }
}

/// The addresses of a view, as the address map knows them.
pub(super) struct ListedView {
    pub(super) start: usize,
    pub(super) bytes: u64,
    pub(super) tenant: Weak<Tenant>,
}

impl Windows {
    /// Replaces all windows. One thread at a time.
    pub(super) fn replace(&self, mut windows: Vec<Window>) {
        windows.sort_by_key(|window| window.start);
        self.0.replace(windows);
    }

    /// Calls `take` with the window that contains this address, and the offset in it.
    fn find<R>(&self, address: usize, take: impl FnOnce(&Window, u64) -> Option<R>) -> Option<R> {
        self.0.read(|windows| {
            let after = windows.partition_point(|window| window.start <= address);
            let window = windows[..after].last()?;
            let offset = (address - window.start) as u64;
            if offset < window.bytes { take(window, offset) } else { None }
        })
    }
}

/// The region whose window contains this address, and the byte offset in it.
#[must_use]
pub fn region_at(address: *const u8) -> Option<(Arc<Region>, u64)> {
    WINDOWS.get().find(address.addr(), |window, offset| Some((window.region.upgrade()?, offset)))
}

/// The tenant of the region whose window contains this address, if it was published; or of the view whose window does.
#[must_use]
pub fn tenant_at(address: *const u8) -> Option<Arc<Tenant>> {
    WINDOWS.get().find(address.addr(), |window, _| window.tenant.as_ref()?.upgrade())
}
