//! Private stores to a device that only supports shared mappings (devdax): a block is replaced by a private copy
//! before the first store to it. This is how a region that was not closed cleanly is read without changing it.

use super::addresses;
use crate::error::{Error, Result};
use crate::sync::Mutex;
use memmap2::{Advice, MmapMut};
use std::collections::BTreeSet;
use std::{io, ptr};

/// The blocks that are private copies.
#[derive(Debug)]
pub(super) struct Overlay {
    /// The unit in which the device is mapped, and so replaced.
    block: usize,
    copied: Mutex<BTreeSet<usize>>,
}

impl Overlay {
    /// An overlay over a device whose mappings are whole blocks.
    pub(super) fn new(block: u64) -> Self {
        Self { block: block as usize, copied: Mutex::default() }
    }

    /// Makes a range of the mapping at `base` private to this process.
    ///
    /// # Safety
    /// The range lies in a mapping of whole blocks at `base`, readable, and the caller's to replace.
    pub(super) unsafe fn own(&self, base: *mut u8, offset: u64, len: usize) -> Result {
        if len == 0 {
            return Ok(());
        }
        let mut copied = self.copied.lock();
        for block in offset as usize / self.block..=(offset as usize + len - 1) / self.block {
            if !copied.contains(&block) {
                // SAFETY: a block of the caller's range.
                unsafe { replace(base.wrapping_add(block * self.block), self.block) }?;
                copied.insert(block);
            }
        }
        Ok(())
    }
}

/// Replaces `len` bytes by a private copy, in one step for threads that read them meanwhile.
///
/// # Safety
/// The bytes are whole pages, readable, and the caller's to replace.
unsafe fn replace(at: *mut u8, len: usize) -> Result {
    let failed = |source| Error::io(format!("copying {len} bytes of the region to private memory"), source);
    let mut copy = MmapMut::map_anon(len).map_err(failed)?;
    // As for the rest of the window.
    addresses::keep_unlocked(copy.as_mut_ptr(), len).map_err(failed)?;
    // SAFETY: `len` readable bytes, and as many new ones.
    unsafe { ptr::copy_nonoverlapping(at, copy.as_mut_ptr(), len) };
    // A child that inherited the copy would keep what its parent reads.
    copy.advise(Advice::DontFork).map_err(failed)?;
    let how = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: moves the mapping made above over bytes that are the caller's to replace.
    if unsafe { libc::mremap(copy.as_mut_ptr().cast(), len, len, how, at) } == libc::MAP_FAILED {
        return Err(failed(io::Error::last_os_error()));
    }
    // The copy has moved: dropping it would unmap its old place.
    std::mem::forget(copy);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use memmap2::MmapOptions;
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_store_changes_its_own_copy_of_the_block_and_nothing_else() {
        const BLOCK: usize = 8192;
        let file: File = tempfile::tempfile().unwrap();
        file.write_all_at(&[7; 4 * BLOCK], 0).unwrap();
        let mapping = MmapOptions::new().len(4 * BLOCK).map_raw_read_only(&file).unwrap();
        let base = mapping.as_mut_ptr();
        let overlay = Overlay::new(BLOCK as u64);
        for _ in 0..2 {
            // SAFETY: inside the mapping, which is ours.
            unsafe { overlay.own(base, 2 * BLOCK as u64 - 1, 2) }.unwrap();
        }
        assert_eq!(*overlay.copied.lock(), BTreeSet::from([1, 2]));
        let byte = |at: usize| base.wrapping_add(at);
        // SAFETY: a byte of block 1, which is private and writable by now.
        unsafe { byte(2 * BLOCK - 1).write(9) };
        // SAFETY: mapped.
        let seen = [2 * BLOCK - 1, 2 * BLOCK, 0].map(|at| unsafe { byte(at).read() });
        assert_eq!(seen, [9, 7, 7]);
        let mut found = [0; 4 * BLOCK];
        file.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(found, [7; 4 * BLOCK], "the medium was changed");
        // A block that is not copied still shows the medium.
        file.write_all_at(&[8], 0).unwrap();
        // SAFETY: mapped.
        assert_eq!(unsafe { base.read() }, 8);
        for block in [1, 2] {
            let flags = flags_of(byte(block * BLOCK).addr());
            assert!(flags.contains(" dd"), "it would be in a core file: {flags}");
            assert!(flags.contains(" dc"), "a child would have it: {flags}");
        }
    }

    /// The kernel's flags of the mapping that begins at or before this address.
    fn flags_of(address: usize) -> String {
        let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let begins = |line: &str| usize::from_str_radix(line.split_once('-')?.0, 16).ok();
        let mut flags = String::new();
        let mut at = 0;
        for line in text.lines() {
            at = begins(line).unwrap_or(at);
            if at > address {
                break;
            }
            if let Some(found) = line.strip_prefix("VmFlags:") {
                flags = found.to_owned();
            }
        }
        flags
    }
}
