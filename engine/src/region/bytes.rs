//! Loads and stores of a region's bytes. [`Persist`](crate::persist::Persist) hears of each store.

use super::memory::Memory;
use crate::error::{Error, Result};
use crate::persist::word_at;
use crate::units::{FRAME_SIZE, FrameNo, LINE_SIZE};
use std::sync::atomic::Ordering;

impl Memory {
    /// Loads a word, with acquire order.
    #[inline]
    pub fn load(&self, offset: u64) -> Result<u64> {
        self.check_word(offset)?;
        // SAFETY: mapped and aligned; words of the medium that can race are only accessed atomically.
        let word = unsafe { word_at(self.base(), offset) };
        // ORDERING: Acquire: pairs with the Release of `store`.
        Ok(u64::from_le(word.load(Ordering::Acquire)))
    }

    /// Loads consecutive words, each with acquire order.
    pub fn load_run(&self, offset: u64, into: &mut [u64]) -> Result {
        if offset % 8 != 0 {
            return Err(Error::corrupt("offset", offset, "it is not a multiple of 8"));
        }
        self.check(offset, size_of_val(into))?;
        for (n, word) in into.iter_mut().enumerate() {
            // SAFETY: mapped and aligned, as `load` says; the whole run was checked.
            let from = unsafe { word_at(self.base(), offset + n as u64 * 8) };
            // ORDERING: Acquire: pairs with the Release of `store`.
            *word = u64::from_le(from.load(Ordering::Acquire));
        }
        Ok(())
    }

    /// Stores a word, with release order.
    ///
    /// # Durability
    /// None before [`Self::flush`] and [`Self::fence`], [`Self::sync_file`], or [`Self::write_through`].
    #[inline]
    pub fn store(&self, offset: u64, value: u64) -> Result {
        self.check_word(offset)?;
        self.prepare_store(offset, 8)?;
        // SAFETY: mapped, writable and aligned; see `load`.
        unsafe { self.persist.store(self.base(), offset, value) }
        Ok(())
    }

    /// Copies bytes out.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result {
        self.check(offset, into.len())?;
        let from = self.base().wrapping_add(offset as usize);
        // SAFETY: mapped; the caller keeps writers out, as the type says.
        unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) }
        Ok(())
    }

    /// Copies bytes in.
    ///
    /// # Durability
    /// As [`Self::store`].
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result {
        self.check(offset, bytes.len())?;
        self.prepare_store(offset, bytes.len())?;
        // SAFETY: mapped and writable; the caller keeps others out, as the type says.
        unsafe { self.persist.write(self.base(), offset, bytes) }
        Ok(())
    }

    /// Copies bytes in with non-temporal stores: from a few lines on, that is cheaper than [`Self::write`] and
    /// [`Self::flush`]. Call [`Self::fence`] before any store that refers to these bytes.
    ///
    /// # Durability
    /// Durable after the next [`Self::fence`] on `CacheLine`; otherwise as [`Self::store`].
    pub fn write_nt(&self, offset: u64, bytes: &[u8]) -> Result {
        self.check(offset, bytes.len())?;
        self.prepare_store(offset, bytes.len())?;
        // SAFETY: mapped and writable; the caller keeps others out, as the type says.
        unsafe { self.persist.write_nt(self.base(), offset, bytes) }
        Ok(())
    }

    /// Zeroes whole lines with non-temporal stores; otherwise as [`Self::write_nt`].
    ///
    /// # Durability
    /// As [`Self::write_nt`].
    pub fn zero_nt(&self, offset: u64, len: usize) -> Result {
        self.check(offset, len)?;
        if offset % LINE_SIZE as u64 != 0 || len % LINE_SIZE != 0 {
            return Err(Error::Invalid(format!(
                "zeroing {len} bytes at {offset:#x}: these are not whole lines"
            )));
        }
        self.prepare_store(offset, len)?;
        // SAFETY: mapped, writable, whole lines; the caller keeps others out, as the type says.
        unsafe { self.persist.zero_nt(self.base(), offset, len) }
        Ok(())
    }

    /// Starts writing back the lines of a range.
    ///
    /// # Durability
    /// On `CacheLine`, durable after this thread's next [`Self::fence`]; elsewhere nothing happens.
    pub fn flush(&self, offset: u64, len: usize) -> Result {
        self.check(offset, len)?;
        // SAFETY: mapped.
        unsafe { self.persist.flush(self.base(), offset, len) }
        Ok(())
    }

    /// Completes this thread's flushes and non-temporal stores.
    ///
    /// # Durability
    /// On `CacheLine`, what this thread flushed is durable; elsewhere nothing happens.
    pub fn fence(&self) {
        self.audit();
        self.persist.fence();
    }

    /// Tells the recorder of bytes that were stored through [`Region::address`](super::Region::address).
    pub fn wrote(&self, offset: u64, len: usize) -> Result {
        self.check(offset, len)?;
        // SAFETY: mapped; the caller still holds the latch, as the type says.
        unsafe { self.persist.wrote(self.base(), offset, len) }
        Ok(())
    }

    /// Tells a recorder what the region holds at the start, when no other thread knows the region yet.
    pub(super) fn tell_beginning(&self) {
        // SAFETY: mapped, and no thread writes before the region is attached or while its recovery begins.
        unsafe { self.persist.begins(self.base(), self.len()) }
    }

    /// Lets a recorder look for stores that it was not told of. A store under an exclusive latch is reported just
    /// before the latch is released.
    pub(super) fn audit(&self) {
        if self.persist.recorder().is_none() {
            return;
        }
        let latched = |offset: u64| {
            let frame = FrameNo((offset / FRAME_SIZE as u64) as u32);
            self.frames.peek(frame).is_some_and(|now| now.exclusive())
        };
        // SAFETY: mapped, from the start of a block.
        unsafe { self.persist.audit(self.base(), self.len(), latched) }
    }

    /// Prepares stores to a range that was checked.
    #[inline]
    fn prepare_store(&self, offset: u64, len: usize) -> Result {
        self.check_writable()?;
        self.note_store(offset, len);
        self.mapping.own(offset, len)
    }
}
