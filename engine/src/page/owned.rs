//! Guards that own their pin, for values that outlive the scope of the pin.

use super::guards::Held;
use super::latch::{ReadGuard, WriteGuard};
use super::pin::PageRef;
use crate::error::Result;
use crate::units::FRAME_SIZE;
use std::marker::PhantomData;
use std::mem::forget;
use std::ops::{Deref, DerefMut, Range};

/// A [`ReadGuard`] and its pin in one value, made by [`PageRef::read_owned`].
///
/// ```
/// # use pagestone::{Object, PageIndex, Store, page::OwnedReadGuard};
/// fn header(object: &Object) -> pagestone::Result<Option<OwnedReadGuard>> {
///     object.pin(PageIndex(0))?.map(|page| page.read_owned()).transpose()
/// }
/// # fn main() -> pagestone::Result {
/// # let store = Store::options().open_memory(1 << 20)?;
/// # let object = store.create("o")?;
/// object.write_at(0, b"version 1")?;
/// assert_eq!(&header(&object)?.expect("no hole")[..9], b"version 1");
/// # Ok(())
/// # }
/// ```
///
/// Like every guard it stays with its thread. To keep bytes for long, or to send them to another thread, use a
/// [`ReadRange`](super::ReadRange).
#[must_use = "a guard that is dropped at once excludes no thread"]
pub struct OwnedReadGuard {
    page: PageRef,
    _held: Held,
}

/// A [`WriteGuard`] and its pin in one value: made by [`PageRef::write_owned`] and [`PageRef::write_range_owned`].
///
/// # Durability
/// See [`WriteGuard`].
#[must_use = "a guard that is dropped at once writes nothing"]
pub struct OwnedWriteGuard {
    page: PageRef,
    /// The bytes of the guard.
    bytes: Range<usize>,
    _held: Held,
}

impl PageRef {
    /// As [`read`](Self::read); the guard owns the pin. With an error, the pin is dropped.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_owned(self) -> Result<OwnedReadGuard> {
        // The new value takes over the latch and its note.
        forget(self.read()?);
        Ok(OwnedReadGuard { page: self, _held: PhantomData })
    }

    /// As [`write`](Self::write); the guard owns the pin. With an error, the pin is dropped.
    ///
    /// # Durability
    /// See [`WriteGuard`].
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_owned(self) -> Result<OwnedWriteGuard> {
        self.write_range_owned(0..FRAME_SIZE)
    }

    /// As [`write_range`](Self::write_range); the guard owns the pin. With an error, the pin is dropped.
    ///
    /// # Durability
    /// See [`WriteGuard`].
    ///
    /// # Errors
    /// As [`write_range`](Self::write_range).
    pub fn write_range_owned(self, bytes: Range<usize>) -> Result<OwnedWriteGuard> {
        forget(self.write_range(bytes.clone())?);
        Ok(OwnedWriteGuard { page: self, bytes, _held: PhantomData })
    }
}

impl OwnedReadGuard {
    /// The pin.
    pub fn page(&self) -> &PageRef {
        &self.page
    }
}

impl OwnedWriteGuard {
    /// The pin.
    pub fn page(&self) -> &PageRef {
        &self.page
    }
}

impl Drop for OwnedReadGuard {
    fn drop(&mut self) {
        drop(ReadGuard::of_taken(&self.page));
    }
}

impl Drop for OwnedWriteGuard {
    fn drop(&mut self) {
        drop(WriteGuard::of_taken(&self.page, self.bytes.clone()));
    }
}

impl Deref for OwnedReadGuard {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the frame is pinned and mapped; the shared latch keeps writers out while `self` lives.
        unsafe { std::slice::from_raw_parts(self.page.bytes().as_ptr(), FRAME_SIZE) }
    }
}

impl Deref for OwnedWriteGuard {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the range was checked to lie in the frame when the guard was made.
        let first = unsafe { self.page.bytes().add(self.bytes.start) };
        // SAFETY: the frame is pinned and mapped; the exclusive latch keeps all other threads out while `self` lives.
        unsafe { std::slice::from_raw_parts(first.as_ptr(), self.bytes.end - self.bytes.start) }
    }
}

impl DerefMut for OwnedWriteGuard {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: the range was checked to lie in the frame when the guard was made.
        let first = unsafe { self.page.bytes().add(self.bytes.start) };
        // SAFETY: as in `deref`, and `self` is borrowed exclusively; a guard only exists on a writable region.
        unsafe { std::slice::from_raw_parts_mut(first.as_ptr(), self.bytes.end - self.bytes.start) }
    }
}
