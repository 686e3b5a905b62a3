//! Caches and maps from a number to a page. All hold the same pages, by `Arc`: a page that was handed out stays, like
//! a pinned one. Each has room for twice the pages, so that every read is a hit.

use super::{PAGE, Reader, Ring, gone, word};
use std::sync::Arc;

type Page = Arc<[u8; PAGE]>;

/// The pages that the caches of a run share.
pub struct Caches(Vec<Page>);

impl Caches {
    /// One page for each of the ring.
    pub fn new(ring: &Ring) -> Self {
        let page = |number| {
            let mut bytes = [0; PAGE];
            ring.fill(number, &mut bytes);
            Arc::new(bytes)
        };
        Self((0..ring.pages()).map(page).collect())
    }

    fn each(&self) -> impl Iterator<Item = (u64, Page)> + '_ {
        (0..).zip(self.0.iter().cloned())
    }

    fn room(&self) -> usize {
        self.0.len() * 2
    }
}

/// `dashmap`: a sharded map. It evicts nothing.
pub struct DashMap(dashmap::DashMap<u64, Page>);

impl DashMap {
    /// A cache with all pages in it.
    pub fn of(caches: &Caches) -> Self {
        Self(caches.each().collect())
    }
}

impl Reader for DashMap {
    #[inline(always)]
    fn read(&self, page: u64) -> u64 {
        // The clone outlives the lock of the shard.
        let Some(page) = self.0.get(&page).map(|found| Arc::clone(found.value())) else { gone() };
        word(&page[..])
    }
}

/// `quick_cache`.
pub struct QuickCache(quick_cache::sync::Cache<u64, Page>);

impl QuickCache {
    /// A cache with all pages in it.
    pub fn of(caches: &Caches) -> Self {
        let cache = quick_cache::sync::Cache::new(caches.room());
        caches.each().for_each(|(number, page)| cache.insert(number, page));
        Self(cache)
    }
}

impl Reader for QuickCache {
    #[inline(always)]
    fn read(&self, page: u64) -> u64 {
        let Some(page) = self.0.get(&page) else { gone() };
        word(&page[..])
    }
}

/// `moka`.
pub struct Moka(moka::sync::Cache<u64, Page>);

impl Moka {
    /// A cache with all pages in it.
    pub fn of(caches: &Caches) -> Self {
        let cache = moka::sync::Cache::new(caches.room() as u64);
        caches.each().for_each(|(number, page)| cache.insert(number, page));
        cache.run_pending_tasks();
        Self(cache)
    }
}

impl Reader for Moka {
    #[inline(always)]
    fn read(&self, page: u64) -> u64 {
        let Some(page) = self.0.get(&page) else { gone() };
        word(&page[..])
    }
}

/// `foyer`, its part in memory, evicting by S3-FIFO.
pub struct Foyer(foyer_memory::Cache<u64, Page>);

impl Foyer {
    /// A cache with all pages in it.
    pub fn of(caches: &Caches) -> Self {
        let builder = foyer_memory::CacheBuilder::new(caches.room());
        let cache = builder.with_eviction_config(foyer_memory::S3FifoConfig::default()).build();
        for (number, page) in caches.each() {
            cache.insert(number, page);
        }
        Self(cache)
    }
}

impl Reader for Foyer {
    #[inline(always)]
    fn read(&self, page: u64) -> u64 {
        let Some(entry) = self.0.get(&page) else { gone() };
        word(&entry.value()[..])
    }
}
