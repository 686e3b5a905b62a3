//! The least cost of a checked pin + read + unpin of a random page: the steps of a hit, one by one, on a table of
//! descriptors and nothing else.

use memmap2::{Advice, MmapMut};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bits of the engine's state word that the steps test.
const LIVE: u64 = 1 << 17;
const REFUSES_A_PIN: u64 = 0x034e_8000;
const KEEPS_A_PUT_BUSY: u64 = 0x000e_0000;

/// As large as the engine's.
#[repr(C, align(16))]
struct Descriptor {
    state: AtomicU64,
    _owner: AtomicU64,
}

/// How much of a hit is done. "Checked" means that the result of an atomic operation is tested.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The page is read.
    Bare,
    /// A count is added and subtracted, and no result is checked.
    Blind,
    /// Both results are checked.
    Checked,
    /// Also, the object's word must be the same before and after the pin.
    SecondLook,
    /// Also, the page's first line is prefetched before the pin.
    Prefetched,
    /// The pin is checked, the unpin is not.
    PutBlind,
    /// The pin is checked, the object's word is read twice, and the unpin subtracts and then checks: everything that
    /// a hit needs.
    PutAndLook,
    /// Also, the page's first line is prefetched before the pin.
    PutAndLookPrefetched,
}

impl Step {
    /// From the least work to the most.
    pub const ALL: [Self; 8] = [
        Self::Bare,
        Self::Blind,
        Self::Checked,
        Self::SecondLook,
        Self::Prefetched,
        Self::PutBlind,
        Self::PutAndLook,
        Self::PutAndLookPrefetched,
    ];

    /// The name in a table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare read",
            Self::Blind => "add, subtract, blindly",
            Self::Checked => "both looked at",
            Self::SecondLook => "both looked at, second look",
            Self::Prefetched => "both looked at, second look, page prefetched",
            Self::PutBlind => "add looked at, put blind",
            Self::PutAndLook => "add looked at, second look, put + look",
            Self::PutAndLookPrefetched => "add looked at, second look, put + look, prefetched",
        }
    }
}

/// A table of descriptors, an object's word, and frames in other memory.
pub struct Floor {
    table: MmapMut,
    word: AtomicU64,
    frames: *const u64,
    pages: usize,
}

impl Floor {
    /// The steps on the `pages` consecutive frames from `frames` on.
    ///
    /// # Safety
    /// The frames are readable while this lives, and no thread writes them.
    ///
    /// # Errors
    /// When there is no memory for the table.
    pub unsafe fn over(frames: *const u64, pages: usize) -> io::Result<Self> {
        let table = MmapMut::map_anon(pages * size_of::<Descriptor>())?;
        // Like the engine's table, whose chunks are given back page by page.
        table.advise(Advice::NoHugePage)?;
        let floor = Self { table, word: AtomicU64::new(5), frames, pages };
        (0..pages).for_each(|page| floor.descriptor(page).state.store(LIVE, Ordering::Relaxed));
        Ok(floor)
    }

    #[inline(always)]
    fn descriptor(&self, page: usize) -> &Descriptor {
        debug_assert!(page < self.pages);
        // SAFETY: the mapping holds `pages` descriptors, zero bytes are valid ones, and all access is through atomics.
        unsafe { &*self.table.as_ptr().cast::<Descriptor>().wrapping_add(page) }
    }

    #[inline(always)]
    fn page(&self, page: usize) -> *const u64 {
        self.frames.wrapping_add(page * (crate::PAGE / size_of::<u64>()))
    }

    #[inline(always)]
    fn read(&self, page: usize) -> u64 {
        // SAFETY: one of the frames that `over` was given.
        unsafe { self.page(page).read_volatile() }
    }

    #[inline(always)]
    fn prefetch(&self, page: usize) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a hint; the address is that of a frame.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(self.page(page).cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = page;
    }

    /// Pins a page. True if the state allows it without further work.
    #[inline(always)]
    fn pin(&self, page: usize) -> bool {
        let word = self.descriptor(page).state.fetch_add(1, Ordering::Acquire).wrapping_add(1);
        word & REFUSES_A_PIN == LIVE
    }

    /// Drops a pin by a subtraction that returns the word; 1 if more work is left.
    #[inline(always)]
    fn put(&self, page: usize) -> u64 {
        let before = self.descriptor(page).state.fetch_sub(1, Ordering::Release);
        u64::from(before & KEEPS_A_PUT_BUSY != LIVE)
    }

    /// Drops a pin by a subtraction whose result is not used, then loads the word; 1 if more work is left.
    #[inline(always)]
    fn put_and_look(&self, page: usize) -> u64 {
        let state = &self.descriptor(page).state;
        state.fetch_sub(1, Ordering::Release);
        u64::from(state.load(Ordering::Relaxed) & KEEPS_A_PUT_BUSY != LIVE)
    }

    /// Loads the object's word.
    #[inline(always)]
    fn look(&self) -> u64 {
        self.word.load(Ordering::Acquire)
    }

    /// One pass over the pages of `order`, which are below the number of pages. Returns a sum of what was read.
    #[must_use]
    pub fn pass(&self, step: Step, order: &[u32]) -> u64 {
        match step {
            Step::Bare => self.bare(order),
            Step::Blind => self.blind(order),
            Step::Checked => self.checked(order),
            Step::SecondLook => self.second_look::<false>(order),
            Step::Prefetched => self.second_look::<true>(order),
            Step::PutBlind => self.put_blind(order),
            Step::PutAndLook => self.whole::<false>(order),
            Step::PutAndLookPrefetched => self.whole::<true>(order),
        }
    }

    #[inline(never)]
    fn bare(&self, order: &[u32]) -> u64 {
        order.iter().fold(0, |sum: u64, &page| sum.wrapping_add(self.read(page as usize)))
    }

    #[inline(never)]
    fn blind(&self, order: &[u32]) -> u64 {
        each(order, |page| {
            let state = &self.descriptor(page).state;
            state.fetch_add(1, Ordering::Acquire);
            let read = self.read(page);
            state.fetch_sub(1, Ordering::Release);
            read
        })
    }

    #[inline(never)]
    fn checked(&self, order: &[u32]) -> u64 {
        each(order, |page| {
            if !self.pin(page) {
                return 1;
            }
            self.read(page).wrapping_add(self.put(page))
        })
    }

    #[inline(never)]
    fn second_look<const PREFETCH: bool>(&self, order: &[u32]) -> u64 {
        each(order, |page| {
            let then = self.look();
            if PREFETCH {
                self.prefetch(page);
            }
            if !self.pin(page) || self.look() != then {
                return 1;
            }
            self.read(page).wrapping_add(self.put(page))
        })
    }

    #[inline(never)]
    fn put_blind(&self, order: &[u32]) -> u64 {
        each(order, |page| {
            if !self.pin(page) {
                return 1;
            }
            let read = self.read(page);
            self.descriptor(page).state.fetch_sub(1, Ordering::Release);
            read
        })
    }

    #[inline(never)]
    fn whole<const PREFETCH: bool>(&self, order: &[u32]) -> u64 {
        each(order, |page| {
            let then = self.look();
            if PREFETCH {
                self.prefetch(page);
            }
            if !self.pin(page) || self.look() != then {
                return 1;
            }
            self.read(page).wrapping_add(self.put_and_look(page))
        })
    }
}

#[inline(always)]
fn each(order: &[u32], visit: impl Fn(usize) -> u64) -> u64 {
    order.iter().fold(0, |sum: u64, &page| sum.wrapping_add(visit(page as usize)))
}

#[test]
fn every_step_reads_the_same_and_leaves_no_pin() {
    let frames: Vec<u64> = (0..8 * 512).collect();
    // SAFETY: the frames are the vector's, which lives longer and is not written.
    let floor = unsafe { Floor::over(frames.as_ptr(), 8) }.expect("memory");
    let order = [3, 0, 7, 3];
    for step in Step::ALL {
        assert_eq!(floor.pass(step, &order), (3 + 7 + 3) * 512, "{step:?}");
    }
    assert!((0..8).all(|page| floor.descriptor(page).state.load(Ordering::Relaxed) == LIVE));
}
