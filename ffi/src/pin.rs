//! Pins: a pinned frame keeps its page and its address until its last pin is dropped.

use crate::boundary::{Answer, Failure, Out};
use crate::code;
use crate::handle;
use crate::object::Object;
use crate::options::Flags;
use crate::store::Store;
use pagestone::page::PINS_MAX;
use pagestone::store::PinRange;
use pagestone::units::{FRAME_SIZE, PfnRange};
use pagestone::{PageRef, Pfn};
use std::ffi::{c_int, c_void};
use std::mem::forget;

/// Size of a frame, and of a page, in bytes.
pub const PGS_FRAME_SIZE: usize = 4096;
/// Maximum number of pins of one frame.
pub const PGS_PINS_MAX: u32 = 0x7fff;
/// Number of bytes behind a pinned range that may be read, too. Their contents are undefined.
pub const PGS_PIN_SLACK: usize = 256;
/// pgs_pin(): allocate a zeroed frame for each page that has none.
pub const PGS_PIN_WRITE: u32 = 1;

const _: () = assert!(PGS_FRAME_SIZE == FRAME_SIZE && PGS_PINS_MAX == PINS_MAX && PGS_PIN_SLACK == 256);

/// Pins every frame that has a byte in [offset, offset + len), and sets `address` to the address of the byte
/// at `offset`. `flags`: 0 or PGS_PIN_WRITE. The range is contiguous in memory, and PGS_PIN_SLACK bytes
/// behind it are readable.
///
/// A pin is not a latch: other threads may still read and write the page, and the bytes change at once. While
/// the page is pinned, its address stays valid, and its frame is not given to another page, even if this page
/// is cut off. Take a latch (pgs_latch()) to read or store several bytes atomically. Each pgs_pin() needs one
/// pgs_unpin(); the object may be closed before that.
///
/// Errors: PGS_E_PAST_END; PGS_E_HOLE (without PGS_PIN_WRITE); PGS_E_SCATTERED; PGS_E_TOO_MANY_PINS;
/// PGS_E_HELD; PGS_E_POISONED_FRAME; PGS_E_INVALID (`len` is 0); PGS_E_NO_SPACE and PGS_E_READ_ONLY
/// (PGS_PIN_WRITE). On an error nothing stays pinned; pages to which PGS_PIN_WRITE gave a frame keep it.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_pin(
    object: *mut Object,
    offset: u64,
    len: usize,
    flags: u32,
    address: *mut *mut c_void,
) -> c_int {
    // SAFETY: as C promised: a live object, room for a pointer.
    unsafe {
        handle::on(object, |object| {
            let out = Out::new(address, "address")?;
            let flags = Flags::of(flags, PGS_PIN_WRITE)?;
            if flags.has(PGS_PIN_WRITE) && object.read_only {
                return Err(pagestone::Error::ReadOnly.into());
            }
            out.set(pin(object, offset, len, flags.has(PGS_PIN_WRITE))?.cast_mut().cast());
            Ok(())
        })
    }
}

/// Drops one pin of every frame that has a byte in [address, address + len); `address` and `len` are those of
/// the pin. Any thread may drop it. The call never waits.
///
/// Errors: PGS_E_INVALID (a frame has no pin; then no pin is dropped, unless another thread unpins at the
/// same time: if two threads drop the same pin, one of them gets the error); PGS_E_FOREIGN.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_unpin(store: *mut Store, address: *const c_void, len: usize) -> c_int {
    // SAFETY: as C promised: a live store, and a pin of the caller's on each frame that is pinned.
    unsafe {
        handle::on(store, |store| {
            let (pages, frames) = (store.engine.pages(), frames(address, len)?);
            // If there are several frames, check all of them before any pin is dropped.
            if frames.clone().nth(1).is_some() {
                for frame in frames.clone() {
                    if pages.peek(frame)?.pins == 0 {
                        return Err(Failure::invalid("a frame of the range has no pin: unpinned twice?\0"));
                    }
                }
            }
            for frame in frames {
                pages.release(frame)?;
            }
            Ok(())
        })
    }
}

/// Pins the frame with number `pfn` and sets `address` to the address of its first byte. Dropped by
/// pgs_unpin(store, address, PGS_FRAME_SIZE).
///
/// Errors: PGS_E_FOREIGN (no frame of this store); PGS_E_TOO_MANY_PINS; PGS_E_HELD; PGS_E_DETACHED;
/// PGS_E_POISONED_FRAME.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_pin_frame(store: *mut Store, pfn: u64, address: *mut *mut c_void) -> c_int {
    // SAFETY: as C promised: a live store, room for a pointer.
    unsafe {
        handle::on(store, |store| {
            let out = Out::new(address, "address")?;
            let range = PfnRange::new(Pfn::new(pfn), 1);
            let foreign =
                || Failure::new(code::PGS_E_FOREIGN, format!("frame {pfn:#x} does not belong to this store"));
            if !store.pfns.contains(range.start) {
                return Err(foreign());
            }
            if let Some(page) = in_use(store.engine.frames(range), foreign)?.pop() {
                out.set(page.into_raw().cast_mut().cast());
            }
            Ok(())
        })
    }
}

/// Pins every frame that has a byte in [address, address + len), however the address was found: by another
/// pin or a pfn. (For an address of a view there is pgs_view_pin().) Dropped by pgs_unpin() of the same range. On an error nothing stays pinned.
///
/// Errors: as pgs_pin_frame(), and PGS_E_INVALID (`len` is 0).
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_pin_address(store: *mut Store, address: *const c_void, len: usize) -> c_int {
    // SAFETY: as C promised: a live store.
    unsafe {
        handle::on(store, |store| {
            let ends = [frames(address, len)?.next(), frames(address, len)?.next_back()];
            for end in ends.into_iter().flatten() {
                store.engine.pages().peek(end)?;
            }
            let foreign =
                || Failure::new(code::PGS_E_FOREIGN, "the range reaches beyond the frames of this store\0");
            for page in in_use(pagestone::store::frames_at(address.cast(), len), foreign)? {
                forget(page);
            }
            Ok(())
        })
    }
}

/// The pins, or `foreign` if a frame is not in use: a store has addresses for more frames than it has.
fn in_use(
    frames: pagestone::Result<Vec<PageRef>>,
    foreign: impl FnOnce() -> Failure,
) -> Answer<Vec<PageRef>> {
    match frames {
        Err(pagestone::Error::OutOfRange { .. }) => Err(foreign()),
        frames => Ok(frames?),
    }
}

/// Pins the range and returns the address of the byte at `offset`.
fn pin(object: &Object, offset: u64, len: usize, write: bool) -> Answer<*const u8> {
    if len == 0 {
        return Err(Failure::invalid("`len` is 0: there is nothing to pin\0"));
    }
    let past_end = || Failure::new(code::PGS_E_PAST_END, "the range reaches past the end of the object\0");
    // A range beyond the longest possible object is reported as past the end, not as a number out of range.
    offset.checked_add(len as u64).filter(|end| *end <= object.engine.len()).ok_or_else(past_end)?;
    let mut found = object.engine.pin_range(offset, len)?;
    if write && matches!(found, PinRange::Hole) {
        object.engine.allocate(offset, len as u64)?;
        found = object.engine.pin_range(offset, len)?;
    }
    match found {
        PinRange::Pinned(pins) => Ok(pins.into_raw().cast()),
        PinRange::PastEnd => Err(past_end()),
        PinRange::Hole => {
            Err(Failure::new(code::PGS_E_HOLE, "the range has a page that was never written\0"))
        }
        PinRange::Scattered => {
            Err(Failure::new(code::PGS_E_SCATTERED, "the frames of the range are not adjacent in memory\0"))
        }
    }
}

/// The first byte of each frame that has a byte in [address, address + len).
pub(crate) fn frames(
    address: *const c_void,
    len: usize,
) -> Answer<impl DoubleEndedIterator<Item = *const u8> + Clone> {
    let first = frame_of(address);
    let more = len.checked_sub(1).ok_or_else(|| Failure::invalid("`len` is 0: there is nothing to pin\0"))?;
    let last =
        address.addr().checked_add(more).ok_or_else(|| Failure::invalid("`len` is larger than memory\0"))?;
    Ok((0..=(last - first.addr()) / FRAME_SIZE).map(move |n| first.wrapping_add(n * FRAME_SIZE)))
}

/// The first byte of the frame that contains `address`.
pub(crate) fn frame_of(address: *const c_void) -> *const u8 {
    address.cast::<u8>().wrapping_sub(address.addr() % FRAME_SIZE)
}
