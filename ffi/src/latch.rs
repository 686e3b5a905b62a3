//! Latches on pinned pages, and the state of a frame's descriptor.

use crate::boundary::{Answer, Failure, Growing, SizedOut};
use crate::code;
use crate::handle;
use crate::latches::{Account, Mode};
use crate::pin::{frame_of, frames};
use crate::store::Store;
use pagestone::page::READERS_MAX;
use pagestone::units::FRAME_SIZE;
use pagestone::{PageRef, ReadGuard, WriteGuard};
use std::ffi::{c_int, c_void};
use std::mem::ManuallyDrop;
use std::ops::Range;

/// pgs_latch(): shared with other readers.
pub const PGS_LATCH_SHARED: u32 = 1;
/// pgs_latch(): exclusive.
pub const PGS_LATCH_EXCLUSIVE: u32 = 2;
/// pgs_latch(), with either mode: return PGS_E_BUSY instead of waiting.
pub const PGS_LATCH_TRY: u32 = 4;
/// Maximum number of shared latches of one frame.
pub const PGS_READERS_MAX: u32 = 511;

const _: () = assert!(PGS_READERS_MAX == READERS_MAX);

/// Latches the frame that contains `address`, which the caller has pinned. `mode`: PGS_LATCH_SHARED or
/// PGS_LATCH_EXCLUSIVE, with PGS_LATCH_TRY not to wait. Hold a latch briefly. It is not recursive: a thread
/// that holds any latch of the frame and then asks for an exclusive one, or writes the page by
/// pgs_object_write(), waits for itself. While a thread waits for an exclusive latch, new shared ones wait
/// behind it, for 50 ms at a time.
///
/// Errors: PGS_E_FOREIGN; PGS_E_INVALID (the frame is not pinned, or the mode is unknown); PGS_E_BUSY
/// (PGS_LATCH_TRY); shared: PGS_E_TOO_MANY_READERS (PGS_READERS_MAX are held); exclusive: PGS_E_READ_ONLY,
/// PGS_E_DETACHED (the page no longer belongs to its object; a store would be lost).
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_latch(store: *mut Store, address: *const c_void, mode: u32) -> c_int {
    // SAFETY: as C promised: a live store, and a pin of the caller's on the frame.
    unsafe { handle::on(store, |store| store.latch(address, mode)) }
}

/// Releases a latch that pgs_latch() took on this store. `mode` is as taken, without PGS_LATCH_TRY, and
/// `address` is the same. `dirty_from` and `dirty_len` name the bytes that the caller stored to: `dirty_len`
/// bytes from `address + dirty_from`. `dirty_len` is 0 if it stored nothing, and for a shared latch. A store
/// to bytes that are not named may never become durable.
///
/// Errors: PGS_E_INVALID (pgs_latch() took no such latch, or it was released; dirty bytes under a shared
/// latch; an unknown mode); PGS_E_FOREIGN; PGS_E_OUT_OF_RANGE (the dirty bytes are not all in the frame).
/// After an error a latch that was held is still held.
///
/// Durability: the named bytes are durable after the next sync of the object or of the store.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_unlatch(
    store: *mut Store,
    address: *const c_void,
    mode: u32,
    dirty_from: usize,
    dirty_len: usize,
) -> c_int {
    // SAFETY: as C promised: a live store, and a latch that the caller took and gives back.
    unsafe { handle::on(store, |store| store.unlatch(address, mode, dirty_from, dirty_len)) }
}

/// Latches every frame that has a byte in [address, address + len), in the order of their addresses. The
/// caller has pinned them. `mode` is as for pgs_latch(). On an error no latch stays.
///
/// Errors: as pgs_latch(), and PGS_E_INVALID (`len` is 0).
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_latch_range(
    store: *mut Store,
    address: *const c_void,
    len: usize,
    mode: u32,
) -> c_int {
    // SAFETY: as C promised: a live store, and a pin of the caller's on each frame.
    unsafe { handle::on(store, |store| store.latch_range(address, len, mode)) }
}

/// Releases the latches of the frames of [address, address + len). `mode` is as taken, without PGS_LATCH_TRY.
/// `dirty_from` and `dirty_len` are as for pgs_unlatch(); the bytes may be in several frames.
///
/// Errors: as pgs_unlatch(); PGS_E_OUT_OF_RANGE (the dirty bytes are not all in the range); PGS_E_INVALID
/// (`len` is 0). After an error the latches are still held, unless another thread releases them at the same
/// time.
///
/// Durability: as pgs_unlatch().
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_unlatch_range(
    store: *mut Store,
    address: *const c_void,
    len: usize,
    mode: u32,
    dirty_from: usize,
    dirty_len: usize,
) -> c_int {
    // SAFETY: as C promised: a live store, and latches that the caller took and gives back.
    unsafe { handle::on(store, |store| store.unlatch_range(address, len, mode, dirty_from, dirty_len)) }
}

/// The state of a frame's descriptor. A frame has one descriptor, however it was reached.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PageInfo {
    /// In: sizeof(pgs_page_info).
    pub size: usize,
    /// Number of the frame in this process.
    pub pfn: u64,
    /// Byte offset of the frame in the region.
    pub offset: u64,
    /// Changes whenever the bytes may have changed.
    pub version: u64,
    /// Number of pins, of all holders.
    pub pins: u32,
    /// Number of shared latches.
    pub shared: u32,
    /// 1 while it is latched exclusively.
    pub exclusive: u32,
    /// 1 while stored bytes wait for a sync.
    pub dirty: u32,
    /// 1 after the page was cut off from its object.
    pub detached: u32,
    /// 1 after its medium failed.
    pub poisoned: u32,
    /// 0.
    pub reserved: [u64; 4],
}

/// Reads the descriptor of the frame that contains `address` and changes nothing: no pin is needed or taken.
/// All fields are 0 for a frame that was not used yet. The result is a snapshot and may be outdated when the
/// call returns.
///
/// Set `info->size` before the call.
///
/// Errors: PGS_E_FOREIGN.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_peek(store: *const Store, address: *const c_void, info: *mut PageInfo) -> c_int {
    // SAFETY: as C promised: a live store, and a struct of the size it names.
    unsafe {
        handle::on(store, |store| {
            let out = SizedOut::new(info)?;
            let found = store.engine.pages().peek(frame_of(address))?;
            out.set(PageInfo {
                size: size_of::<PageInfo>(),
                pfn: found.pfn.get(),
                offset: (found.pfn.get() - store.pfns.start.get()) * FRAME_SIZE as u64,
                version: found.version,
                pins: found.pins,
                shared: found.shared,
                exclusive: found.exclusive.into(),
                dirty: found.dirty.into(),
                detached: found.detached.into(),
                poisoned: found.poisoned.into(),
                reserved: [0; 4],
            });
            Ok(())
        })
    }
}

// SAFETY: repr(C), integers only, the layout asserted below leaves no padding.
unsafe impl Growing for PageInfo {
    const FIRST: usize = 88;
    const NAME: &'static str = "pgs_page_info";
}
const _: () = assert!(size_of::<PageInfo>() == 88);

impl Mode {
    fn of(number: u32) -> Answer<Self> {
        match number {
            PGS_LATCH_SHARED => Ok(Self::Shared),
            PGS_LATCH_EXCLUSIVE => Ok(Self::Exclusive),
            _ => Err(Failure::invalid(format!("unknown latch mode {number:#x}"))),
        }
    }
}

impl Store {
    /// The page that contains `address`, by the pin that the caller keeps.
    ///
    /// # Safety
    /// The caller holds a pin on the frame as long as it uses the result.
    unsafe fn pinned(&self, address: *const c_void) -> Answer<ManuallyDrop<PageRef>> {
        // SAFETY: this function's contract; the pin stays the caller's, as nothing drops it here.
        Ok(ManuallyDrop::new(unsafe { self.engine.pages().adopt(frame_of(address)) }?))
    }

    /// # Safety
    /// The caller holds a pin on the frame.
    unsafe fn latch(&self, address: *const c_void, mode: u32) -> Answer {
        let wait = mode & PGS_LATCH_TRY == 0;
        let mode = Mode::of(mode & !PGS_LATCH_TRY)?;
        // SAFETY: this function's contract.
        let page = unsafe { self.pinned(address) }?;
        // Before the latch is taken, because nothing may fail afterwards.
        let account = self.account(&page);
        let taken = match (mode, wait) {
            (Mode::Shared, true) => Some(page.read().map(ReadGuard::into_raw)?),
            (Mode::Shared, false) => page.try_read()?.map(ReadGuard::into_raw),
            (Mode::Exclusive, true) => Some(page.write().map(WriteGuard::into_raw)?),
            (Mode::Exclusive, false) => page.try_write()?.map(WriteGuard::into_raw),
        };
        taken
            .map(|()| account.take(mode))
            .ok_or_else(|| Failure::new(code::PGS_E_BUSY, "the latch is held by another caller\0"))
    }

    /// # Safety
    /// The caller holds a pin on the frame, and the latch if C holds such a latch.
    unsafe fn unlatch(&self, address: *const c_void, mode: u32, from: usize, len: usize) -> Answer {
        let mode = Mode::of(mode)?;
        // SAFETY: this function's contract.
        let page = unsafe { self.pinned(address) }?;
        let account = self.account(&page);
        if !account.has(mode) {
            return Err(not_held());
        }
        if mode == Mode::Shared && len != 0 {
            return Err(stored_to());
        }
        let dirty = in_frame(address, from, len)?;
        if !account.give_back(mode) {
            return Err(not_held());
        }
        match mode {
            // SAFETY: pgs_latch() left it, and of the calls that give it back this is the one that the account knows.
            Mode::Shared => unsafe { page.release_read() },
            // SAFETY: as above.
            Mode::Exclusive => unsafe { page.release_write(dirty) }?,
        }
        Ok(())
    }

    /// # Safety
    /// The caller holds a pin on each frame.
    unsafe fn latch_range(&self, address: *const c_void, len: usize, mode: u32) -> Answer {
        let frames = frames(address, len)?;
        for (n, frame) in frames.clone().enumerate() {
            // SAFETY: this function's contract.
            if let Err(failure) = unsafe { self.latch(frame.cast(), mode) } {
                for taken in frames.take(n) {
                    // SAFETY: this function's contract; the latch was taken above, so that nothing is in the way.
                    let _ = unsafe { self.unlatch(taken.cast(), mode & !PGS_LATCH_TRY, 0, 0) };
                }
                return Err(failure);
            }
        }
        Ok(())
    }

    /// # Safety
    /// The caller holds a pin on each frame, and the latches if C holds such latches.
    unsafe fn unlatch_range(
        &self,
        address: *const c_void,
        len: usize,
        mode: u32,
        from: usize,
        dirty: usize,
    ) -> Answer {
        let frames = frames(address, len)?;
        let kind = Mode::of(mode)?;
        if kind == Mode::Shared && dirty != 0 {
            return Err(stored_to());
        }
        if dirty != 0 && from.checked_add(dirty).is_none_or(|end| end > len) {
            return Err(Failure::new(code::PGS_E_OUT_OF_RANGE, "the dirty bytes are not all in the range\0"));
        }
        // If there are several frames, check all of them before any latch is released.
        for frame in frames.clone() {
            // SAFETY: this function's contract.
            let page = unsafe { self.pinned(frame.cast()) }?;
            if !self.account(&page).has(kind) {
                return Err(not_held());
            }
        }
        let first = address.addr() + if dirty == 0 { 0 } else { from };
        let stored = first..first + dirty;
        for frame in frames {
            let start = stored.start.clamp(frame.addr(), frame.addr() + FRAME_SIZE);
            let end = stored.end.clamp(start, frame.addr() + FRAME_SIZE);
            // SAFETY: this function's contract.
            unsafe { self.unlatch(frame.cast(), mode, start - frame.addr(), end - start) }?;
        }
        Ok(())
    }

    /// The account of the latches that C holds on the page, which is of this store.
    fn account(&self, page: &PageRef) -> Account<'_> {
        self.latches.of(page.pfn().get() - self.pfns.start.get())
    }
}

fn stored_to() -> Failure {
    Failure::invalid("dirty bytes were named for a shared latch, under which nothing may be stored\0")
}

fn not_held() -> Failure {
    Failure::invalid("pgs_latch() took no such latch, or it was already released\0")
}

/// The bytes of the frame that `address + from` and `len` name.
fn in_frame(address: *const c_void, from: usize, len: usize) -> Answer<Range<usize>> {
    if len == 0 {
        return Ok(0..0);
    }
    let from = (address.addr() % FRAME_SIZE).saturating_add(from);
    let to = from.saturating_add(len);
    if to > FRAME_SIZE {
        return Err(Failure::new(code::PGS_E_OUT_OF_RANGE, "the dirty bytes are not all in the frame\0"));
    }
    Ok(from..to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::c_int;

    /// The status of releasing a latch that C does not hold, and the frame's latches after it.
    fn given_back(store: *mut Store, page: &PageRef, mode: u32) -> (c_int, u32, bool) {
        // SAFETY: a live store, a pinned page.
        let status = unsafe { pgs_unlatch(store, page.address().cast(), mode, 0, 0) };
        (status, page.info().shared, page.info().exclusive)
    }

    #[test]
    fn a_latch_that_c_did_not_take_is_out_of_its_reach() {
        let engine = pagestone::Options::new().open_memory(1 << 20).expect("a store");
        let object = engine.create("o").expect("an object");
        object.write_at(0, b"bytes").expect("a write");
        let page = object.pin(pagestone::PageIndex(0)).expect("a pin").expect("a page");
        let store = handle::give(Box::new(Store::from(engine.clone()))).expect("a handle");

        let reader = page.read().expect("a latch");
        assert_eq!(given_back(store, &page, PGS_LATCH_SHARED), (code::PGS_E_INVALID, 1, false));
        // SAFETY: a live store, a pinned page.
        assert_eq!(unsafe { pgs_latch(store, page.address().cast(), PGS_LATCH_SHARED) }, code::PGS_OK);
        assert_eq!(given_back(store, &page, PGS_LATCH_SHARED), (code::PGS_OK, 1, false));
        assert_eq!(given_back(store, &page, PGS_LATCH_SHARED), (code::PGS_E_INVALID, 1, false));
        drop(reader);
        let writer = page.write().expect("the latch");
        assert_eq!(given_back(store, &page, PGS_LATCH_EXCLUSIVE), (code::PGS_E_INVALID, 0, true));
        drop(writer);

        drop((page, object, engine));
        // SAFETY: a live store.
        assert_eq!(unsafe { crate::pgs_close(store) }, code::PGS_OK);
    }
}
