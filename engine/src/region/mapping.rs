//! The window: one run of addresses per region, whatever its file's length. Its part beyond the file's end is mapped
//! as well, and becomes usable as the file grows.

use super::addresses::{self, Addresses};
use super::covered::Covered;
use super::options::RegionOptions;
use super::overlay::Overlay;
use super::probe::SYNCHRONOUS;
use super::source::{Bytes, Opened};
use crate::error::{Error, Result};
use crate::sync::fork;
use crate::units::{Durability, FRAME_SIZE};
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Windows begin at block boundaries and are whole blocks, so that 2 MiB of the medium can be one mapping.
pub(super) const BLOCK: u64 = 2 << 20;

/// A mapped window; unmapped when dropped.
#[derive(Debug)]
pub(super) struct Mapping {
    /// The addresses: one block more than the window, so that the window can begin at a block. They are given back as
    /// a whole, whatever was mapped over them; but not in a forked child.
    addresses: ManuallyDrop<Addresses>,
    base: *mut u8,
    window: usize,
    /// Whether it maps a device, whose size is fixed.
    fixed: bool,
    /// Bytes of which each mapping must be a multiple.
    page_size: u64,
    /// For a device that is open for private stores.
    overlay: Option<Overlay>,
    /// Parts that show zeros in place of the file.
    covered: Covered,
    forks: u32,
}

// SAFETY: the addresses belong to the process, not to a thread; `Memory` decides what may be done at them.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps what was opened into a window of `window` bytes, a multiple of [`BLOCK`].
    pub(super) fn new(opened: &Opened, window: u64, options: &RegionOptions) -> Result<Self> {
        let mapping = match &opened.bytes {
            Bytes::File(claim) => {
                let mut mapping = Self::reserve(window as usize, BLOCK)?;
                // By the medium's own class too, not only by the assumed one: the kernel refuses `MAP_SYNC` for any
                // other medium.
                let synchronous =
                    opened.medium.class == Durability::CacheLine && opened.class == Durability::CacheLine;
                let sharing = match (options.private, synchronous) {
                    (true, _) => libc::MAP_PRIVATE,
                    (false, true) => SYNCHRONOUS,
                    (false, false) => libc::MAP_SHARED,
                };
                mapping.covered = Covered::nothing(sharing);
                mapping.cover(
                    mapping.window,
                    options.writable(),
                    sharing,
                    claim.descriptor()?.as_raw_fd(),
                )?;
                mapping
            }
            Bytes::Device { claim, align } => {
                let mut mapping = Self::reserve(window as usize, BLOCK.max(*align))?;
                let writable = options.writable() && !options.private;
                mapping.covered = Covered::nothing(SYNCHRONOUS);
                mapping.cover(opened.len as usize, writable, SYNCHRONOUS, claim.descriptor()?.as_raw_fd())?;
                mapping.fixed = true;
                mapping.page_size = *align;
                mapping.overlay = options.private.then(|| Overlay::new(*align));
                mapping
            }
            Bytes::Image(bytes) => {
                let mapping = Self::reserve(window as usize, BLOCK)?;
                // SAFETY: the new window, which no other thread knows.
                unsafe { addresses::open(mapping.base, mapping.window, true) }?;
                mapping.fill(bytes);
                mapping
            }
        };
        // SAFETY: the window is ours. (A child that had it would write without a claim.)
        let kept = || unsafe { libc::madvise(mapping.base.cast(), mapping.window, libc::MADV_DONTFORK) } == 0;
        if !cfg!(miri) && !kept() {
            return Err(Error::os("keeping the region from forked children"));
        }
        mapping.cover_holes(opened, options)?;
        Ok(mapping)
    }

    /// Reserves aligned addresses.
    fn reserve(window: usize, align: u64) -> Result<Self> {
        let slack = align as usize;
        let addresses = Addresses::take(window + slack).map_err(|error| {
            Error::io(format!("reserving {window} bytes of addresses for the region"), error)
        })?;
        let start = addresses.start();
        let base = start.wrapping_add(start.addr().next_multiple_of(slack) - start.addr());
        let addresses = ManuallyDrop::new(addresses);
        Ok(Self {
            addresses,
            base,
            window,
            fixed: false,
            page_size: FRAME_SIZE as u64,
            overlay: None,
            covered: Covered::nothing(libc::MAP_SHARED),
            forks: fork::generation(),
        })
    }

    /// Maps the first `len` bytes of the window anew.
    fn cover(&self, len: usize, writable: bool, flags: libc::c_int, descriptor: libc::c_int) -> Result {
        let flags = flags | libc::MAP_NORESERVE | libc::MAP_FIXED;
        // Without access at first: locked memory with access is filled at once.
        // SAFETY: replaces a part of the window, which is ours and not in use yet.
        let start = unsafe { libc::mmap(self.base.cast(), len, libc::PROT_NONE, flags, descriptor, 0) };
        if start == libc::MAP_FAILED {
            return Err(Error::os(format!("mapping the region into {len} bytes of addresses")));
        }
        addresses::keep_unlocked(self.base, len)
            .map_err(|error| Error::io("keeping the region from being locked in memory", error))?;
        // SAFETY: a part of the window, which is not in use yet.
        unsafe { addresses::open(self.base, len, writable) }
    }

    /// Covers the file's holes where a load from one would allocate a page: see `covered`.
    fn cover_holes(&self, opened: &Opened, options: &RegionOptions) -> Result {
        if let (Bytes::File(claim), Some(_)) = (&opened.bytes, &opened.medium.path) {
            let len = opened.len.min(self.window as u64);
            // SAFETY: the window is ours and new, and the file's bytes are mapped there.
            unsafe { self.covered.holes(self.base, len, claim.descriptor()?, options.private) }?;
        }
        Ok(())
    }

    /// Bytes of which each mapping of the medium must be a multiple.
    pub(super) fn page_size(&self) -> u64 {
        self.page_size
    }

    /// The flags with which the file is mapped.
    pub(super) fn sharing(&self) -> libc::c_int {
        self.covered.sharing()
    }

    /// The holes of the file within these bytes that are still covered.
    pub(super) fn covered(&self, within: &Range<u64>) -> Vec<Range<u64>> {
        self.covered.parts(within)
    }

    /// Shows zeros in place of the bytes that the file is going to be cut by: whole frames, which nothing uses.
    pub(super) fn cover_end(&self, bytes: Range<u64>) -> Result {
        // SAFETY: the window is ours; what is free shows zeros from here on.
        unsafe { self.covered.end(self.base, bytes) }
    }

    /// Maps the file where these bytes, whole frames, were covered: they have blocks now. The mapping is writable and
    /// shared.
    pub(super) fn show(&self, bytes: Range<u64>, file: BorrowedFd<'_>) -> Result {
        // SAFETY: the window is ours; covered bytes read as zeros, before and after.
        unsafe { self.covered.show(self.base, bytes, file) }
    }

    /// Prepares stores to a range: makes it private to this process where the mapping does not do so by itself.
    #[inline]
    pub(super) fn own(&self, offset: u64, len: usize) -> Result {
        match &self.overlay {
            None => Ok(()),
            // SAFETY: the caller has checked the range; the window is mapped in whole blocks and is ours.
            Some(overlay) => unsafe { overlay.own(self.base, offset, len) },
        }
    }

    /// Copies an image into a new window. Zero pages are skipped: they read as zeros already, and touching one costs
    /// a fault.
    fn fill(&self, image: &[u8]) {
        let zeros = [0; FRAME_SIZE];
        for (n, page) in image.chunks(FRAME_SIZE).enumerate() {
            if page != &zeros[..page.len()] {
                let to = self.base.wrapping_add(n * FRAME_SIZE);
                // SAFETY: the window is new, writable, and at least as long as the image.
                unsafe { ptr::copy_nonoverlapping(page.as_ptr(), to, page.len()) }
            }
        }
    }

    /// The first address.
    #[inline]
    pub(super) fn base(&self) -> *mut u8 {
        self.base
    }

    /// Bytes of addresses.
    pub(super) fn window(&self) -> u64 {
        self.window as u64
    }

    /// Whether it maps a device.
    pub(super) fn fixed(&self) -> bool {
        self.fixed
    }

    /// Whether this process is a forked child, where nothing is mapped.
    #[inline]
    pub(super) fn forked(&self) -> bool {
        self.forks != fork::generation()
    }

    /// Drops the pages that the kernel has mapped here; a file's bytes stay.
    pub(super) fn forget_pages(&self) -> Result {
        self.forget(0..self.window as u64)
    }

    /// Drops pages of the window, whole frames. Without a file they read as zeros then.
    pub(super) fn forget(&self, bytes: Range<u64>) -> Result {
        let (start, len) = (self.base.wrapping_add(bytes.start as usize), (bytes.end - bytes.start) as usize);
        // SAFETY: a part of the window, which is ours and mapped; a shared mapping loses nothing.
        if unsafe { libc::madvise(start.cast(), len, libc::MADV_DONTNEED) } != 0 {
            return Err(Error::os("dropping the region's pages"));
        }
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // In a forked child the addresses may belong to something else by now.
        if !self.forked() {
            // SAFETY: dropped once, here, and the window is not used any more.
            unsafe { ManuallyDrop::drop(&mut self.addresses) }
        }
    }
}
