//! Latches on pinned pages, and what the one descriptor of a frame says.

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

/// pgs_latch(): with other readers.
pub const PGS_LATCH_SHARED: u32 = 1;
/// pgs_latch(): alone.
pub const PGS_LATCH_EXCLUSIVE: u32 = 2;
/// pgs_latch(), with either: PGS_E_BUSY instead of waiting.
pub const PGS_LATCH_TRY: u32 = 4;
/// Most shared latches one frame can have at a time.
pub const PGS_READERS_MAX: u32 = 511;

const _: () = assert!(PGS_READERS_MAX == READERS_MAX);

/// Latches the frame that holds `address`, which the caller has pinned: PGS_LATCH_SHARED or
/// PGS_LATCH_EXCLUSIVE, with PGS_LATCH_TRY to not wait. Hold it briefly. Not recursive: a thread that holds
/// any latch on the frame and asks for an exclusive one, or writes it by pgs_object_write(), waits for
/// itself. While an exclusive latch is waited for, new shared ones wait behind it, for 50 ms at a time.
///
/// Errors: PGS_E_FOREIGN; PGS_E_INVALID (the frame is not pinned; an unknown mode); PGS_E_BUSY
/// (PGS_LATCH_TRY); shared: PGS_E_TOO_MANY_READERS (PGS_READERS_MAX have it); exclusive: PGS_E_READ_ONLY,
/// PGS_E_DETACHED (the page no longer belongs to its object; what would be stored is lost).
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_latch(store: *mut Store, address: *const c_void, mode: u32) -> c_int {
    // SAFETY: as C promised: a live store, and a pin of the caller's on the frame.
    unsafe { handle::on(store, |store| store.latch(address, mode)) }
}

/// Gives back a latch that pgs_latch() took on this store: `mode` as taken, without PGS_LATCH_TRY, by the same
/// `address`. The caller stored to
/// the `dirty_len` bytes from `address + dirty_from`; 0 if it changed nothing, and for a shared latch. A
/// store to bytes not named may not become durable.
///
/// Errors: PGS_E_INVALID (pgs_latch() took no such latch, or it was given back; dirty bytes under a shared latch; an unknown mode);
/// PGS_E_FOREIGN; PGS_E_OUT_OF_RANGE (the dirty bytes leave the frame). The latch is still held then.
///
/// Durability: the bytes named are durable after the next sync of the object or of the store.
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

/// Latches every frame that holds a byte of [address, address + len), which the caller has pinned, in the order of their
/// addresses: `mode` as for pgs_latch(). On an error no latch is left.
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

/// Gives back the latches on the frames of [address, address + len): `mode` as taken, without PGS_LATCH_TRY. The caller
/// stored to the `dirty_len` bytes from `address + dirty_from`; 0 if it changed nothing, and for shared latches. A
/// store to bytes not named may not become durable.
///
/// Errors: as pgs_unlatch(); PGS_E_OUT_OF_RANGE (the dirty bytes leave the range); PGS_E_INVALID (`len` is 0). The latches
/// are still held then, unless another thread gives them back at the same time.
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

/// What the descriptor of a frame says: one descriptor a frame, whatever way the frame was reached.
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
    /// Pins of all holders.
    pub pins: u32,
    /// Shared latches.
    pub shared: u32,
    /// 1 while it is latched exclusively.
    pub exclusive: u32,
    /// 1 while bytes stored await a sync.
    pub dirty: u32,
    /// 1 after the page was cut off from its object.
    pub detached: u32,
    /// 1 after its medium failed.
    pub poisoned: u32,
    /// 0.
    pub reserved: [u64; 4],
}

/// Looks at the descriptor of the frame that holds `address`, without touching it: no pin is needed, none is
/// taken, and a frame that was not used yet is all zero. A snapshot: it may be past when the call returns.
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
            _ => Err(Failure::invalid(format!("there is no latch mode {number:#x}"))),
        }
    }
}

impl Store {
    /// The page that holds `address`, by the pin that the caller keeps.
    ///
    /// # Safety
    /// The caller holds a pin on the frame until it is done with what this gives.
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
        // Before the latch is taken, so that nothing fails behind it.
        let account = self.account(&page);
        let taken = match (mode, wait) {
            (Mode::Shared, true) => Some(page.read().map(ReadGuard::into_raw)?),
            (Mode::Shared, false) => page.try_read()?.map(ReadGuard::into_raw),
            (Mode::Exclusive, true) => Some(page.write().map(WriteGuard::into_raw)?),
            (Mode::Exclusive, false) => page.try_write()?.map(WriteGuard::into_raw),
        };
        taken
            .map(|()| account.take(mode))
            .ok_or_else(|| Failure::new(code::PGS_E_BUSY, "the latch is taken\0"))
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
            return Err(Failure::new(code::PGS_E_OUT_OF_RANGE, "the dirty bytes leave the range\0"));
        }
        // Of several, all are looked at before one is given back.
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

    /// What C holds of the latches of the page, which is of this store.
    fn account(&self, page: &PageRef) -> Account<'_> {
        self.latches.of(page.pfn().get() - self.pfns.start.get())
    }
}

fn stored_to() -> Failure {
    Failure::invalid("nothing may be stored under a shared latch\0")
}

fn not_held() -> Failure {
    Failure::invalid("pgs_latch() has taken no such latch that is still held\0")
}

/// The bytes of the frame that `address + from` and `len` name.
fn in_frame(address: *const c_void, from: usize, len: usize) -> Answer<Range<usize>> {
    if len == 0 {
        return Ok(0..0);
    }
    let from = (address.addr() % FRAME_SIZE).saturating_add(from);
    let to = from.saturating_add(len);
    if to > FRAME_SIZE {
        return Err(Failure::new(code::PGS_E_OUT_OF_RANGE, "the dirty bytes leave the frame\0"));
    }
    Ok(from..to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::c_int;

    /// What a frame's latches are, and what giving one back that C does not hold answers.
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
