//! The window of a view: a run of addresses that shows frames of the region a second time. This is the only place that maps
//! a frame again.

use super::Region;
use super::addresses::{self, Addresses};
use super::fork::MappingSlot;
use super::mapping::BLOCK;
use super::opening;
use crate::error::{Error, Result};
use crate::sync::fork;
use crate::units::{FRAME_SIZE, FrameNo};
use std::io;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Makes loads and stores fault, and changes no mapping (Linux 6.15 for mapped files; `mm/madvise.c`).
const MADV_GUARD_INSTALL: libc::c_int = 102;

/// How many mappings the kernel allows a process, if it says so.
pub(crate) fn mappings_max() -> Option<usize> {
    opening::text("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}

/// What a page shows from which its frame was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Blank {
    /// Zeros.
    Zeros,
    /// Nothing: a load faults. The process has as many mappings as it may have, and zeros would take one more.
    Nothing,
}

/// A run of addresses in which each page shows a frame, or zeros. A store faults where zeros are shown, or everywhere if the
/// window is for reading. A load faults where there is nothing ([`Blank::Nothing`]).
///
/// One thread at a time changes what is shown.
///
/// What is shown changes beside threads that read: each of them finds what was shown before or what is shown now. When a
/// call returns that took a frame away, no thread reaches the frame through this window any more: `mmap` has made every
/// processor forget its translation.
#[derive(Debug)]
pub(crate) struct ViewWindow {
    region: Arc<Region>,
    /// One block more than the window. Not given back in a forked child, where they may be something else by now.
    addresses: ManuallyDrop<Addresses>,
    base: *mut u8,
    pages: u64,
    writable: bool,
    slot: &'static MappingSlot,
    forks: u32,
    /// A mapping failed and left a gap.
    broken: AtomicBool,
}

// SAFETY: the addresses belong to the process, not to a thread; what may be done at them, guards decide.
unsafe impl Send for ViewWindow {}
// SAFETY: as above.
unsafe impl Sync for ViewWindow {}

impl ViewWindow {
    /// A window of `pages` pages, all of which show zeros. If page `like.0` will show frame `like.1`, a large page can
    /// reach over both.
    ///
    /// In a region that is open for reading, nothing may have been stored in private memory.
    ///
    /// # Errors
    /// `Invalid` for a region that cannot be mapped a second time.
    pub(crate) fn new(
        region: &Arc<Region>,
        pages: u64,
        like: (u64, FrameNo),
        writable: bool,
    ) -> Result<Self> {
        let refused = |why: &str| Error::Invalid(format!("{} cannot be viewed: {why}", region.name()));
        if region.memory.claim().is_none() {
            return Err(refused("it is an image, which has no file to map again"));
        }
        if region.memory.mapping.page_size() > FRAME_SIZE as u64 {
            return Err(refused("its device is mapped in blocks of more than one page"));
        }
        let lacking = |error| Error::io(format!("reserving addresses for a view of {pages} pages"), error);
        let too_many = || lacking(io::Error::from_raw_os_error(libc::ENOMEM));
        let bytes = pages.checked_mul(FRAME_SIZE as u64).and_then(|bytes| usize::try_from(bytes).ok());
        let bytes = bytes.ok_or_else(too_many)?;
        let room = bytes.checked_add(BLOCK as usize).ok_or_else(too_many)?;
        let addresses = ManuallyDrop::new(Addresses::take(room).map_err(lacking)?);
        let start = addresses.start();
        // The first address at or after `start` whose place in its block is that of page 0 in the file.
        let place = like.1.offset().wrapping_sub(like.0 * FRAME_SIZE as u64) % BLOCK;
        let skip = place.wrapping_sub(start.addr() as u64) % BLOCK;
        let base = start.wrapping_add(skip as usize);
        let window = Self {
            region: Arc::clone(region),
            slot: MappingSlot::take(),
            addresses,
            base,
            pages,
            writable,
            forks: fork::generation(),
            broken: AtomicBool::new(false),
        };
        // SAFETY: the window is new. (Not locked, so it takes no memory.)
        unsafe { addresses::open(base, bytes, false) }?;
        // SAFETY: advice about it.
        if unsafe { libc::madvise(base.cast(), bytes, libc::MADV_DONTFORK) } != 0 {
            return Err(Error::os("keeping a view from forked children"));
        }
        Ok(window)
    }

    /// The first address.
    pub(crate) fn base(&self) -> *mut u8 {
        self.base
    }

    /// Whether stores are possible where frames are shown.
    pub(crate) fn writable(&self) -> bool {
        self.writable
    }

    /// Whether this process is a forked child, which has nothing of the window.
    pub(crate) fn forked(&self) -> bool {
        self.forks != fork::generation()
    }

    /// Checks that the window is whole, and this process's.
    pub(crate) fn ensure_usable(&self) -> Result {
        if self.forked() {
            return Err(Error::Forked);
        }
        // ORDERING: Relaxed: what a thread that misses it finds is a fault, as before it was set.
        if self.broken.load(Ordering::Relaxed) {
            return Err(Error::Busy {
                what: "the view",
                why: "the kernel took a part of it: make it again".into(),
            });
        }
        Ok(())
    }

    /// Shows the frames from `frame` on at these pages.
    ///
    /// # Errors
    /// `Io` (mostly ENOMEM: the process has as many mappings as it may have): what was shown before stays.
    pub(crate) fn show(&self, pages: Range<u64>, frame: FrameNo) -> Result {
        let (memory, size) = (&self.region.memory, FRAME_SIZE as u64);
        let access = libc::PROT_READ | if self.writable { libc::PROT_WRITE } else { 0 };
        let file = memory.descriptor()?.ok_or_else(|| Error::internal("a view of no file"))?;
        let what = || format!("showing frames from {:#x} in a view", frame.offset());
        let end = frame.offset() + (pages.end - pages.start) * size;
        // An opening that only reads shows zeros in the place of holes of the file, and so does the window.
        let covered =
            if self.region.read_only() { memory.covered(&(frame.offset()..end)) } else { Vec::new() };
        let mut from = frame.offset();
        for hole in covered.into_iter().chain(std::iter::once(end..end)) {
            if from < hole.start {
                let part = [from, hole.start].map(|at| pages.start + (at - frame.offset()) / size);
                self.map(part[0]..part[1], access, memory.mapping.sharing(), file.as_raw_fd(), from)
                    .map_err(|error| Error::io(what(), error))?;
            }
            from = hole.end;
        }
        Ok(())
    }

    /// Takes the frames of these pages away.
    ///
    /// # Errors
    /// `Io`: they still show their frames.
    pub(crate) fn blank(&self, pages: Range<u64>) -> Result<Blank> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        match self.map(pages.clone(), libc::PROT_READ, flags, -1, 0) {
            Ok(()) => Ok(Blank::Zeros),
            Err(error) => match self.guard(pages) {
                Ok(()) => Ok(Blank::Nothing),
                Err(_) => Err(Error::io("taking frames from a view", error)),
            },
        }
    }

    fn map(&self, pages: Range<u64>, access: i32, flags: i32, file: i32, offset: u64) -> io::Result<()> {
        let (start, len) = self.bytes(&pages);
        // SAFETY: a part of the window, which is ours: only raw loads and stores reach it, and threads with guards, whose
        // pages the callers do not take.
        let map = || unsafe { addresses::map_over(start, len, access, flags, file, offset) };
        let mapped = self.slot.beside_forks(start, len, map);
        if mapped.is_err() {
            self.mend(start, len);
        }
        mapped
    }

    /// Makes loads and stores fault: the last resort where a mapping cannot be replaced, because that may need more
    /// mappings than the process can have.
    fn guard(&self, pages: Range<u64>) -> io::Result<()> {
        let (start, len) = self.bytes(&pages);
        // SAFETY: a part of the window, as in `map`.
        if unsafe { libc::madvise(start.cast(), len, MADV_GUARD_INSTALL) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// After a failure: reserves the addresses again if the kernel has let them go, before another mapping gets them.
    fn mend(&self, start: *mut u8, len: usize) {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: it replaces no mapping.
        let mapped = unsafe { libc::mmap(start.cast(), len, libc::PROT_NONE, flags, -1, 0) };
        if mapped == start.cast() {
            // ORDERING: Relaxed: see `ensure_usable`.
            self.broken.store(true, Ordering::Relaxed);
        }
    }

    fn bytes(&self, pages: &Range<u64>) -> (*mut u8, usize) {
        debug_assert!(pages.start < pages.end && pages.end <= self.pages, "pages of the window");
        let start = self.base.wrapping_add(pages.start as usize * FRAME_SIZE);
        (start, (pages.end - pages.start) as usize * FRAME_SIZE)
    }
}

impl Drop for ViewWindow {
    fn drop(&mut self) {
        if self.forked() {
            return;
        }
        self.slot.release();
        // SAFETY: dropped once, here; no guard, pin or view of the window lives.
        unsafe { ManuallyDrop::drop(&mut self.addresses) }
    }
}
