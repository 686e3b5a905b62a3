//! A page pool like vmcache: one flat array of state words, the page number is the position, and optimistic readers
//! use versions.
//!
//! ```text
//!  63      56 55                                   0
//! +----------+--------------------------------------+
//! |  state   |               version                |   a word a page
//! +----------+--------------------------------------+
//!  0            no latch
//!  1 to 252     so many shared latches
//!  253          the exclusive latch
//!  255          not in memory
//! ```
//! A shared latch keeps a page in place: there are no pins besides. Optimistic readers count nothing, and read again
//! if the version changed. The pool has room for all its pages and evicts nothing, but every path checks whether the
//! page is there, as it would with eviction.

use memmap2::{Advice, MmapMut};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Bytes of a page.
pub const PAGE: usize = 4096;

const STATE_SHIFT: u32 = 56;
const VERSION: u64 = (1 << STATE_SHIFT) - 1;
const SHARED_MAX: u64 = 252;
const EXCLUSIVE: u64 = 253;
const EVICTED: u64 = 255;

const fn state_of(word: u64) -> u64 {
    word >> STATE_SHIFT
}
const fn with_state(word: u64, state: u64) -> u64 {
    (word & VERSION) | (state << STATE_SHIFT)
}

/// Stores the content of a page into its frame.
type Load = dyn Fn(u64, &mut [u8]) + Send + Sync;

/// The pool.
pub struct Pool {
    states: Vec<AtomicU64>,
    frames: MmapMut,
    load: Box<Load>,
}

impl Pool {
    /// A pool of `pages` pages, none in memory; `load` gives the content of a page at its first use.
    ///
    /// # Errors
    /// When there are no addresses for its frames.
    pub fn new(pages: usize, load: impl Fn(u64, &mut [u8]) + Send + Sync + 'static) -> io::Result<Self> {
        let frames = MmapMut::map_anon(pages * PAGE)?;
        // An eviction would give single pages back.
        frames.advise(Advice::NoHugePage)?;
        let states = (0..pages).map(|_| AtomicU64::new(with_state(0, EVICTED))).collect();
        Ok(Self { states, frames, load: Box::new(load) })
    }

    /// Where a page is, in memory or not.
    #[inline(always)]
    pub fn address(&self, page: u64) -> *const u64 {
        self.frames.as_ptr().wrapping_add(page as usize * PAGE).cast()
    }

    /// Reads by `read`, which may see a page while it is written: then its result is discarded.
    #[inline(always)]
    pub fn read_optimistic<T>(&self, page: u64, read: impl Fn(*const u64) -> T) -> T {
        let state = &self.states[page as usize];
        loop {
            let before = state.load(Ordering::Acquire);
            if state_of(before) <= SHARED_MAX {
                let value = read(self.address(page));
                fence(Ordering::Acquire);
                let after = state.load(Ordering::Relaxed);
                // Shared latches do not change the page.
                if state_of(after) <= SHARED_MAX && after & VERSION == before & VERSION {
                    return value;
                }
            } else {
                self.wait_for(page, before);
            }
        }
    }

    /// Takes the shared latch, which keeps the page in memory.
    #[inline(always)]
    pub fn fix_shared(&self, page: u64) -> Fixed<'_> {
        let state = &self.states[page as usize];
        loop {
            let word = state.load(Ordering::Acquire);
            if state_of(word) < SHARED_MAX {
                let more = with_state(word, state_of(word) + 1);
                if state.compare_exchange_weak(word, more, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                    return Fixed { pool: self, page };
                }
            } else {
                self.wait_for(page, word);
            }
        }
    }

    #[inline(always)]
    fn unfix_shared(&self, page: u64) {
        let state = &self.states[page as usize];
        loop {
            let word = state.load(Ordering::Relaxed);
            let less = with_state(word, state_of(word) - 1);
            if state.compare_exchange_weak(word, less, Ordering::Release, Ordering::Relaxed).is_ok() {
                return;
            }
        }
    }

    /// Loads a page that is not in memory; yields if another thread has it.
    #[cold]
    #[inline(never)]
    fn wait_for(&self, page: u64, word: u64) {
        let state = &self.states[page as usize];
        let taken = with_state(word, EXCLUSIVE);
        if state_of(word) != EVICTED
            || state.compare_exchange(word, taken, Ordering::Acquire, Ordering::Relaxed).is_err()
        {
            std::thread::yield_now();
            return;
        }
        // SAFETY: the page's frame, exclusively latched by this thread; optimistic readers read it with atomic or
        // volatile loads and discard what they saw.
        let frame =
            unsafe { std::slice::from_raw_parts_mut(self.address(page).cast_mut().cast::<u8>(), PAGE) };
        (self.load)(page, frame);
        state.store(with_state(word.wrapping_add(1), 0), Ordering::Release);
    }
}

/// A page under a shared latch.
pub struct Fixed<'a> {
    pool: &'a Pool,
    page: u64,
}

impl Fixed<'_> {
    /// Where the page is.
    #[inline(always)]
    pub fn address(&self) -> *const u64 {
        self.pool.address(self.page)
    }
}

impl Drop for Fixed<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.pool.unfix_shared(self.page);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Pool {
        Pool::new(4, |page, frame| frame[..8].copy_from_slice(&(page + 7).to_le_bytes())).expect("memory")
    }

    fn first_word(address: *const u64) -> u64 {
        // SAFETY: the address of a page of a pool that lives.
        unsafe { address.read_volatile() }
    }

    #[test]
    fn a_page_is_loaded_once_and_read_either_way() {
        let pool = pool();
        assert_eq!(state_of(pool.states[2].load(Ordering::Relaxed)), EVICTED);
        assert_eq!(pool.read_optimistic(2, first_word), 9);
        assert_eq!(first_word(pool.fix_shared(2).address()), 9);
        assert_eq!(pool.states[2].load(Ordering::Relaxed), 1, "one version, no latch");
    }

    #[test]
    fn shared_latches_are_counted_and_do_not_disturb_readers() {
        let pool = pool();
        let (one, two) = (pool.fix_shared(1), pool.fix_shared(1));
        assert_eq!(state_of(pool.states[1].load(Ordering::Relaxed)), 2);
        assert_eq!(pool.read_optimistic(1, first_word), 8);
        drop((one, two));
        assert_eq!(state_of(pool.states[1].load(Ordering::Relaxed)), 0);
    }
}
