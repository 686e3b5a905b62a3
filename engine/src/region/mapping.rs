//! The window: one run of addresses per region, whatever its file's length. Its parts beyond the file's end are
//! mapped as well, and become usable as the file grows.

use super::fork;
use super::options::RegionOptions;
use super::source::Backing;
use crate::error::{Error, Result};
use crate::units::FRAME_SIZE;
use memmap2::{MmapOptions, MmapRaw};
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::ptr;

/// Windows begin at block boundaries and are whole blocks, so that 2 MiB of the medium can be one mapping.
pub(super) const BLOCK: u64 = 2 << 20;

/// A mapped window; unmapped when dropped.
#[derive(Debug)]
pub(super) struct Mapping {
    /// The addresses, a block more than the window so that it can begin at a block. Given back as a whole, whatever
    /// was mapped over them; not in a forked child.
    addresses: ManuallyDrop<MmapRaw>,
    base: *mut u8,
    window: usize,
    forks: u64,
}

// SAFETY: the addresses belong to the process, not to a thread; what may be done at them is `Memory`'s to say.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `backing` into a window of `window` bytes, a multiple of [`BLOCK`].
    pub(super) fn new(backing: &Backing, window: u64, options: &RegionOptions) -> Result<Self> {
        let mapping = Self::reserve(window as usize)?;
        match backing {
            Backing::File(claim) => {
                let sharing = if options.private { libc::MAP_PRIVATE } else { libc::MAP_SHARED };
                mapping.cover(options.writable(), sharing, claim.descriptor()?.as_raw_fd())?;
            }
            Backing::Image(bytes) => {
                mapping.fill(bytes);
            }
        }
        // SAFETY: the window is ours. A child that had it would write without a claim.
        if unsafe { libc::madvise(mapping.base.cast(), mapping.window, libc::MADV_DONTFORK) } != 0 {
            return Err(Error::os("keeping the region from forked children"));
        }
        Ok(mapping)
    }

    /// Takes aligned addresses, with zeros behind them.
    fn reserve(window: usize) -> Result<Self> {
        let slack = BLOCK as usize;
        let addresses =
            MmapOptions::new().len(window + slack).no_reserve_swap().map_anon().map_err(|error| {
                Error::io(format!("reserving {window} bytes of addresses for the region"), error)
            })?;
        let addresses = ManuallyDrop::new(MmapRaw::from(addresses));
        let start = addresses.as_mut_ptr();
        let base = start.wrapping_add(start.addr().next_multiple_of(slack) - start.addr());
        Ok(Self { addresses, base, window, forks: fork::generation() })
    }

    /// Maps the window anew.
    fn cover(&self, writable: bool, flags: libc::c_int, descriptor: libc::c_int) -> Result {
        let access = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        let flags = flags | libc::MAP_NORESERVE | libc::MAP_FIXED;
        // SAFETY: replaces the window, which is ours and which nobody uses yet.
        let start = unsafe { libc::mmap(self.base.cast(), self.window, access, flags, descriptor, 0) };
        if start == libc::MAP_FAILED {
            return Err(Error::os(format!("mapping the region into {} bytes of addresses", self.window)));
        }
        Ok(())
    }

    /// Copies an image into a new window. Pages of zeros are there already, and cost a fault each if they are touched.
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

    /// Whether this process is a forked child, where nothing is mapped.
    #[inline]
    pub(super) fn forked(&self) -> bool {
        self.forks != fork::generation()
    }

    /// Lets the kernel forget which pages it showed here; a file's bytes stay.
    pub(super) fn forget_pages(&self) -> Result {
        // SAFETY: the window is ours and mapped; of a shared mapping nothing is lost.
        if unsafe { libc::madvise(self.base.cast(), self.window, libc::MADV_DONTNEED) } != 0 {
            return Err(Error::os("dropping the region's pages"));
        }
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // In a forked child the addresses may belong to something else by now.
        if !self.forked() {
            // SAFETY: dropped once, here, and nobody uses the window any more.
            unsafe { ManuallyDrop::drop(&mut self.addresses) }
        }
    }
}
