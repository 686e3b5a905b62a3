//! Views: a range of an object at consecutive addresses, wherever its frames are.

use crate::boundary::{Answer, Failure, Out, enter};
use crate::code;
use crate::handle::{self, Handle};
use crate::latch::{PGS_LATCH_EXCLUSIVE, PGS_LATCH_SHARED};
use crate::object::Object;
use crate::options::Flags;
use crate::value::Kind;
use pagestone::units::FRAME_SIZE;
use pagestone::{PageRef, ReadGuard, WriteGuard};
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// pgs_view_open(): the view can be written to.
pub const PGS_VIEW_WRITE: u32 = 1;

/// A handle of a view. Created by pgs_view_open(), ended by pgs_view_close().
pub struct View {
    /// The pins that C holds. Dropped before the view.
    pins: Mutex<Vec<Pinned>>,
    engine: pagestone::store::View,
}

/// A range of a view that is pinned.
struct Pinned {
    /// Bytes of the view.
    bytes: Range<usize>,
    /// Its pages, in order: all of them, because a hole is not pinned.
    pages: Vec<PageRef>,
    latch: Latch,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Latch {
    None,
    Shared,
    Exclusive,
}

impl Handle for View {
    const NAME: &'static str = "view";
    const KIND: Kind = Kind::View;
    fn poison(&self, why: &str) {
        self.engine.object().store().poison(why);
    }
}

/// Shows [offset, offset + len) of the object at consecutive addresses, wherever its frames are, and sets `address` to
/// the first. `flags`: 0 or PGS_VIEW_WRITE. The range lies inside the object.
///
/// The view pins nothing, and the object may change under it. A page that is written becomes visible; a page that is
/// cut off becomes zeros, and its frame can be used again at once. Holes show zeros. A load from the view never shows bytes
/// of another page, and never faults, but in an emergency (pgs_view_open(3)). A store needs an exclusive
/// pgs_view_pin(); a store to a hole, to what was cut off, or to a view without PGS_VIEW_WRITE is a SIGSEGV. A system
/// call that is given an address of the view needs a pgs_view_pin(), too. The view keeps its object open.
///
/// Errors: PGS_E_INVALID (`len` is 0, or the region cannot be mapped again); PGS_E_PAST_END; PGS_E_SCATTERED (it would
/// have more pieces than views may have: a quarter of vm.max_map_count); PGS_E_READ_ONLY; PGS_E_NO_SPACE; -ENOMEM.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_view_open(
    object: *mut Object,
    offset: u64,
    len: u64,
    flags: u32,
    view: *mut *mut View,
    address: *mut *const c_void,
) -> c_int {
    // SAFETY: as C promised: a live object, room for two pointers.
    unsafe {
        handle::on(object, |object| {
            let (out, at) = (Out::new(view, "view")?, Out::new(address, "address")?);
            let flags = Flags::of(flags, PGS_VIEW_WRITE)?;
            let end =
                offset.checked_add(len).filter(|end| *end <= object.engine.len()).ok_or_else(past_end)?;
            let viewed = match flags.has(PGS_VIEW_WRITE) {
                true => object.engine.view_mut(offset..end),
                false => object.engine.view(offset..end),
            };
            let engine = match viewed {
                // It was cut meanwhile.
                Err(pagestone::Error::OutOfRange { .. }) => return Err(past_end()),
                viewed => viewed?,
            };
            let start = engine.address();
            out.set(handle::give(Box::new(View { pins: Mutex::default(), engine }))?);
            at.set(start.cast());
            Ok(())
        })
    }
}

/// Pins [at, at + len) of the view, and sets `bytes` to its address. `latch`: 0, PGS_LATCH_SHARED or
/// PGS_LATCH_EXCLUSIVE, on all its pages, in the order of their frames. While it is pinned, its addresses show the same
/// frames, also of pages that are cut off. With PGS_LATCH_EXCLUSIVE a hole gets a zeroed frame. As with pgs_latch(), a thread
/// that holds a latch of a page and asks for an exclusive one waits for itself.
///
/// Errors: PGS_E_PAST_END (beyond the view; with PGS_LATCH_EXCLUSIVE also beyond the object, which was cut); PGS_E_HOLE
/// (without PGS_LATCH_EXCLUSIVE); PGS_E_BUSY (for a second, a page had to stay as it is shown: it was cut off, and its
/// former frame is pinned; or the object was cut and written again and again); PGS_E_SCATTERED; PGS_E_INVALID (`len` is 0, the latch is
/// unknown, or exclusive in a view without PGS_VIEW_WRITE); PGS_E_POISONED_FRAME; PGS_E_TOO_MANY_PINS;
/// PGS_E_TOO_MANY_READERS; PGS_E_NO_SPACE; PGS_E_DETACHED (the object was cut at this moment: pin again).
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_view_pin(
    view: *mut View,
    at: u64,
    len: usize,
    latch: u32,
    bytes: *mut *mut c_void,
) -> c_int {
    // SAFETY: as C promised: a live view, room for a pointer.
    unsafe {
        handle::on(view, |view| {
            let out = Out::new(bytes, "bytes")?;
            out.set(view.pin(at, len, latch)?.cast_mut().cast());
            Ok(())
        })
    }
}

/// Ends a pgs_view_pin() of this view: `bytes`, `len` and `latch` are those of the pin. With PGS_LATCH_EXCLUSIVE,
/// `dirty_len` bytes from `bytes + dirty_from` were stored to; otherwise `dirty_len` is 0.
///
/// Errors: PGS_E_INVALID (there is no such pin, or dirty bytes without PGS_LATCH_EXCLUSIVE); PGS_E_OUT_OF_RANGE (the
/// dirty bytes are not all in the range). After an error the pin is still held.
///
/// Durability: the named bytes are durable after the next sync of the object or of the store.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_view_unpin(
    view: *mut View,
    bytes: *const c_void,
    len: usize,
    latch: u32,
    dirty_from: usize,
    dirty_len: usize,
) -> c_int {
    // SAFETY: as C promised: a live view.
    unsafe { handle::on(view, |view| view.unpin(bytes.cast(), len, latch, dirty_from, dirty_len)) }
}

/// How many pages were cut off under the view. If it is the same before and after a load, no page of the view was cut off
/// meanwhile. (A page that was cut off before shows zeros, or its former bytes while it is pinned.)
///
/// Errors: those of every call.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_view_taken(view: *const View, times: *mut u64) -> c_int {
    // SAFETY: as C promised: a live view, room for a number.
    unsafe {
        handle::on(view, |view| {
            Out::new(times, "times")?.set(view.engine.taken());
            Ok(())
        })
    }
}

/// Ends the view and its pins: its addresses may not be used any more. Bytes that were stored under a pin that was not
/// ended before may never become durable. NULL, and a value that is not a live handle of a view, does nothing.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_view_close(view: *mut View) {
    if view.is_null() {
        return;
    }
    // It returns no status; pgs_message() has the words.
    let _ = enter(|| {
        drop(handle::take(view)?);
        Ok(())
    });
}

fn past_end() -> Failure {
    Failure::new(code::PGS_E_PAST_END, "the range reaches past the end of the object or the view\0")
}

impl View {
    fn pin(&self, at: u64, len: usize, latch: u32) -> Answer<*const u8> {
        let latch = Latch::of(latch)?;
        if len == 0 {
            return Err(Failure::invalid("`len` is 0: there is nothing to pin\0"));
        }
        let start = usize::try_from(at).map_err(|_| past_end())?;
        let end = start.checked_add(len).filter(|end| *end <= self.engine.len()).ok_or_else(past_end)?;
        let pin = match latch {
            Latch::Exclusive => match self.engine.pin_mut(start..end) {
                Err(pagestone::Error::OutOfRange { .. }) => return Err(past_end()),
                pin => pin?,
            },
            Latch::None | Latch::Shared => self.engine.pin(start..end)?.ok_or_else(|| {
                Failure::new(code::PGS_E_HOLE, "the range has a page that was never written\0")
            })?,
        };
        let address = pin.address();
        let pinned =
            Pinned { bytes: start..end, pages: pin.into_pages(), latch: Latch::None }.latched(latch)?;
        self.pins.lock().unwrap_or_else(PoisonError::into_inner).push(pinned);
        Ok(address)
    }

    fn unpin(&self, bytes: *const u8, len: usize, latch: u32, dirty_from: usize, dirty_len: usize) -> Answer {
        let latch = Latch::of(latch)?;
        let start = bytes.addr().wrapping_sub(self.engine.address().addr());
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |pin: &Pinned| pin.bytes.start == start && pin.bytes.len() == len && pin.latch == latch;
        let found = pins.iter().position(is_it);
        let at = found.ok_or_else(|| {
            Failure::invalid("the view has no such pin: address, length and latch are those of the pin\0")
        })?;
        if dirty_len != 0 && latch != Latch::Exclusive {
            return Err(Failure::invalid("dirty bytes without an exclusive latch\0"));
        }
        let dirty = dirty_from.checked_add(dirty_len).filter(|end| *end <= len).map(|end| dirty_from..end);
        let dirty = dirty.ok_or_else(|| {
            Failure::new(code::PGS_E_OUT_OF_RANGE, "the dirty bytes are not all in the range\0")
        })?;
        let pin = pins.swap_remove(at);
        drop(pins);
        pin.end(&(start + dirty.start..start + dirty.end), self.in_first());
        Ok(())
    }

    /// Where the view begins in its first page.
    fn in_first(&self) -> usize {
        self.engine.address().addr() % FRAME_SIZE
    }
}

impl Latch {
    /// Of what C passes.
    fn of(latch: u32) -> Answer<Self> {
        match latch {
            0 => Ok(Self::None),
            PGS_LATCH_SHARED => Ok(Self::Shared),
            PGS_LATCH_EXCLUSIVE => Ok(Self::Exclusive),
            _ => Err(Failure::invalid(format!("an unknown latch: {latch:#x}"))),
        }
    }
}

impl Pinned {
    /// Takes a latch of each page, in the order of their frames, or none.
    fn latched(mut self, latch: Latch) -> Answer<Self> {
        let mut order: Vec<_> = (0..self.pages.len()).collect();
        order.sort_unstable_by_key(|&n| self.pages[n].pfn());
        for (taken, &n) in order.iter().enumerate() {
            let page = &self.pages[n];
            let answer = match latch {
                Latch::None => Ok(()),
                Latch::Shared => page.read().map(ReadGuard::into_raw),
                Latch::Exclusive => page.write_range(0..0).map(WriteGuard::into_raw),
            };
            if let Err(error) = answer {
                order[..taken].iter().for_each(|&n| give_back(&self.pages[n], latch, 0..0));
                return Err(error.into());
            }
        }
        self.latch = latch;
        Ok(self)
    }

    /// Releases the latches and pins. `dirty`: bytes of the view that were stored to; `in_first`: where it begins in its
    /// first page.
    fn end(mut self, dirty: &Range<usize>, in_first: usize) {
        let first = (in_first + self.bytes.start) / FRAME_SIZE * FRAME_SIZE;
        for (n, page) in self.pages.iter().enumerate() {
            let start = first + n * FRAME_SIZE;
            let within = |at: usize| (in_first + at).saturating_sub(start).min(FRAME_SIZE);
            let stored = if dirty.is_empty() { 0..0 } else { within(dirty.start)..within(dirty.end) };
            give_back(page, self.latch, stored);
        }
        self.latch = Latch::None;
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.pages.iter().for_each(|page| give_back(page, self.latch, 0..0));
    }
}

/// Releases a latch that [`Pinned::latched`] has taken.
fn give_back(page: &PageRef, latch: Latch, stored: Range<usize>) {
    match latch {
        Latch::None => {}
        // SAFETY: `latched` took it, and every caller releases it once.
        Latch::Shared => unsafe { page.release_read() },
        Latch::Exclusive => {
            // SAFETY: as above. The bytes lie in the page, so it cannot fail.
            let _ = unsafe { page.release_write(stored) };
        }
    }
}
