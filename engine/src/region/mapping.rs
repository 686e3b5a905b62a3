//! The window: one run of addresses per region, whatever its file's length. Its parts beyond the file's end are
//! mapped as well, and become usable as the file grows.

use super::fork;
use super::options::RegionOptions;
use super::source::Backing;
use crate::error::{Error, Result};
use crate::units::FRAME_SIZE;
use std::os::fd::AsRawFd;
use std::ptr;

/// Windows begin at block boundaries and are whole blocks, so that 2 MiB of the medium can be one mapping.
pub(super) const BLOCK: u64 = 2 << 20;

/// A mapped window; unmapped when dropped.
#[derive(Debug)]
pub(super) struct Mapping {
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
                mapping.cover(true, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
                mapping.fill(bytes);
            }
        }
        // SAFETY: the window is ours. A child that had it would write without a claim.
        if unsafe { libc::madvise(mapping.base.cast(), mapping.window, libc::MADV_DONTFORK) } != 0 {
            return Err(Error::os("keeping the region from forked children"));
        }
        Ok(mapping)
    }

    /// Takes aligned addresses where nothing is accessible.
    fn reserve(window: usize) -> Result<Self> {
        let slack = BLOCK as usize;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping at addresses of the kernel's choice.
        let start = unsafe { libc::mmap(ptr::null_mut(), window + slack, libc::PROT_NONE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(Error::os(format!("reserving {window} bytes of addresses for the region")));
        }
        let start = start.cast::<u8>();
        let head = start.addr().next_multiple_of(slack) - start.addr();
        let mapping = Self { base: start.wrapping_add(head), window, forks: fork::generation() };
        unmap(start, head);
        unmap(mapping.base.wrapping_add(window), slack - head);
        Ok(mapping)
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
            unmap(self.base, self.window);
        }
    }
}

/// Gives addresses back. It can only fail where the kernel cannot split a mapping: the addresses are lost then.
fn unmap(start: *mut u8, len: usize) {
    if len > 0 {
        // SAFETY: the callers pass addresses that they mapped and that nobody uses.
        unsafe { libc::munmap(start.cast(), len) };
    }
}
