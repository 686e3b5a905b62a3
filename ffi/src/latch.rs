//! Latches on pinned pages, and what the one descriptor of a frame says.

use crate::boundary::{Answer, Failure, Growing, SizedOut};
use crate::code;
use crate::handle;
use crate::pin::frame_of;
use crate::store::Store;
use pagestone::page::{PageRef, ReadGuard, WriteGuard};
use pagestone::units::FRAME_SIZE;
use std::ffi::{c_int, c_void};
use std::mem::ManuallyDrop;
use std::ops::Range;

/// pgs_latch(): with other readers.
pub const PGS_LATCH_SHARED: u32 = 1;
/// pgs_latch(): alone.
pub const PGS_LATCH_EXCLUSIVE: u32 = 2;
/// pgs_latch(), with either: PGS_E_BUSY instead of waiting.
pub const PGS_LATCH_TRY: u32 = 4;

/// Latches the frame that holds `address`, which the caller has pinned: PGS_LATCH_SHARED or
/// PGS_LATCH_EXCLUSIVE, with PGS_LATCH_TRY to not wait. Hold it briefly. Not recursive: a thread that holds
/// any latch on the frame and asks for an exclusive one, or writes it by pgs_object_write(), waits for
/// itself.
///
/// Errors: PGS_E_FOREIGN; PGS_E_INVALID (nobody pinned the frame; an unknown mode); PGS_E_BUSY
/// (PGS_LATCH_TRY); exclusive: PGS_E_READ_ONLY, PGS_E_DETACHED (the page no longer belongs to its object;
/// what would be stored is lost).
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_latch(store: *mut Store, address: *const c_void, mode: u32) -> c_int {
    // SAFETY: as C promised: a live store, and a pin of the caller's on the frame.
    unsafe { handle::on(store, |store| store.latch(address, mode)) }
}

/// Gives the latch back: `mode` as taken, without PGS_LATCH_TRY, by the same `address`. The caller stored to
/// the `dirty_len` bytes from `address + dirty_from`; 0 if it changed nothing, and for a shared latch. A
/// store to bytes not named may not become durable.
///
/// Errors: PGS_E_INVALID (no such latch is held; dirty bytes under a shared latch; an unknown mode);
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

/// What the descriptor of a frame says: one descriptor a frame, whatever way the frame was reached.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Page {
    /// In: sizeof(pgs_page).
    pub size: usize,
    /// Number of the frame in this process.
    pub pfn: u64,
    /// Byte offset of the frame in the region.
    pub offset: u64,
    /// Changes whenever the bytes may have changed.
    pub version: u64,
    /// Pins, of everybody.
    pub pins: u32,
    /// Shared latches.
    pub shared: u32,
    /// 1 while somebody has it latched exclusively.
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
/// taken, and a frame that nobody has used yet is all zero. A snapshot: it may be past when the call returns.
///
/// Set `page->size` before the call.
///
/// Errors: PGS_E_FOREIGN.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_page_info(store: *mut Store, address: *const c_void, page: *mut Page) -> c_int {
    // SAFETY: as C promised: a live store, and a struct of the size it names.
    unsafe {
        handle::on(store, |store| {
            let out = SizedOut::new(page)?;
            let info = store.engine.pages().peek(frame_of(address))?;
            out.set(Page {
                size: size_of::<Page>(),
                pfn: info.pfn.get(),
                offset: (info.pfn.get() - store.pfns.start.get()) * FRAME_SIZE as u64,
                version: info.version,
                pins: info.pins,
                shared: info.readers,
                exclusive: info.writer.into(),
                dirty: info.dirty.into(),
                detached: info.detached.into(),
                poisoned: info.poisoned.into(),
                reserved: [0; 4],
            });
            Ok(())
        })
    }
}

// SAFETY: repr(C), integers only, the layout asserted below leaves no padding.
unsafe impl Growing for Page {
    const FIRST: usize = 88;
    const NAME: &'static str = "pgs_page";
}
const _: () = assert!(size_of::<Page>() == 88);

/// How a latch is held.
#[derive(Clone, Copy)]
enum Mode {
    Shared,
    Exclusive,
}

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
        let taken = match (mode, wait) {
            (Mode::Shared, true) => Some(page.read().map(ReadGuard::into_raw)?),
            (Mode::Shared, false) => page.try_read()?.map(ReadGuard::into_raw),
            (Mode::Exclusive, true) => Some(page.write().map(WriteGuard::into_raw)?),
            (Mode::Exclusive, false) => page.try_write()?.map(WriteGuard::into_raw),
        };
        taken.ok_or_else(|| Failure::new(code::PGS_E_BUSY, "the latch is taken\0"))
    }

    /// # Safety
    /// The caller holds a pin on the frame, and the latch if anybody holds such a latch.
    unsafe fn unlatch(&self, address: *const c_void, mode: u32, from: usize, len: usize) -> Answer {
        let mode = Mode::of(mode)?;
        // SAFETY: this function's contract.
        let page = unsafe { self.pinned(address) }?;
        let info = page.info();
        match mode {
            Mode::Shared if info.readers == 0 => return Err(Failure::invalid("no such latch is held\0")),
            Mode::Exclusive if !info.writer => return Err(Failure::invalid("no such latch is held\0")),
            Mode::Shared if len != 0 => {
                return Err(Failure::invalid("nothing may be stored under a shared latch\0"));
            }
            // SAFETY: a shared latch is held, so the caller holds one, by this function's contract.
            Mode::Shared => unsafe { page.release_read() },
            Mode::Exclusive => {
                let dirty = in_frame(address, from, len)?;
                // SAFETY: the latch is held, so the caller holds it, by this function's contract.
                unsafe { page.release_write(dirty) }?;
            }
        }
        Ok(())
    }
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
