//! Objects: named arrays of bytes.

use crate::boundary::{Out, bytes, bytes_mut, enter, put, text};
use crate::handle::{self, Handle};
use crate::options::{Flags, PGS_CREATE, PGS_EXCLUSIVE};
use crate::store::Store;
use crate::value::Kind;
use std::ffi::{c_char, c_int, c_void};

/// A handle of an object of a store. Created by pgs_object_open(), ended by pgs_object_close().
pub struct Object {
    /// The object of the engine.
    pub(crate) engine: pagestone::Object,
    /// Whether its store is open read-only.
    pub(crate) read_only: bool,
}

impl Handle for Object {
    const NAME: &'static str = "object";
    const KIND: Kind = Kind::Object;
    fn poison(&self, why: &str) {
        self.engine.store().poison(why);
    }
}

/// Opens the object `name`. `flags`: PGS_CREATE, PGS_EXCLUSIVE. All handles of an object share its contents.
///
/// Errors: PGS_E_NOT_FOUND; PGS_E_EXISTS; PGS_E_BAD_NAME; PGS_E_READ_ONLY (it would have to be created);
/// PGS_E_NO_SPACE; PGS_E_NAME_COLLISION.
///
/// Durability: a new name is durable after a sync of the object or of the store.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_object_open(
    store: *mut Store,
    name: *const c_char,
    flags: u32,
    object: *mut *mut Object,
) -> c_int {
    // SAFETY: as C promised: a live store, a string, room for a pointer.
    unsafe {
        handle::on(store, |store| {
            let name = text(name, "name")?;
            let out = Out::new(object, "object")?;
            let flags = Flags::of(flags, PGS_CREATE | PGS_EXCLUSIVE)?;
            let engine = match (flags.has(PGS_CREATE), flags.has(PGS_EXCLUSIVE)) {
                (true, true) => store.engine.create(name)?,
                (true, false) => store.engine.open_or_create(name)?,
                (false, _) => store.engine.open(name)?,
            };
            out.set(handle::give(Box::new(Object { engine, read_only: store.read_only }))?);
            Ok(())
        })
    }
}

/// Ends the handle. It syncs nothing and keeps pins. NULL, and a value that is not a live handle of an
/// object, does nothing.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_object_close(object: *mut Object) {
    if object.is_null() {
        return;
    }
    // It returns no status; pgs_message() has the words.
    let _ = enter(|| {
        drop(handle::take(object)?);
        Ok(())
    });
}

/// Copies up to `len` bytes from `offset` to `buf`. `done` gets the number of bytes copied, which is less
/// than `len` only at the end of the object. Bytes that were never written read as zeros. Each page is copied
/// under its latch, so no page is torn, but several pages may be of different moments. `buf` must not be in a
/// region: the library does not know of these stores, so a loss of power may lose them even after a sync.
///
/// Errors: PGS_E_POISONED_FRAME.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_object_read(
    object: *const Object,
    offset: u64,
    buf: *mut c_void,
    len: usize,
    done: *mut usize,
) -> c_int {
    // SAFETY: as C promised: a live object, `len` bytes to write to, room for a size.
    unsafe {
        handle::on(object, |object| {
            let buf = bytes_mut(buf.cast(), len)?;
            let out = Out::new(done, "done")?;
            out.set(object.engine.read_at(offset, buf)?);
            Ok(())
        })
    }
}

/// Copies `len` bytes from `buf` to `offset`: all of them, or an error. A write past the end grows the
/// object, and the gap reads as zeros. Every reader, pin and mapping sees the bytes at once. The call never
/// waits for a pin. `buf` may be in a pinned page, but not in a page that the call changes.
///
/// Errors: PGS_E_NO_SPACE (bytes inside the old size may be new); PGS_E_READ_ONLY; PGS_E_OUT_OF_RANGE
/// (the object would be too large); PGS_E_POISONED_FRAME.
///
/// Durability: after pgs_object_sync(), or pgs_object_sync_range() of these bytes, or pgs_store_sync().
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_object_write(
    object: *mut Object,
    offset: u64,
    buf: *const c_void,
    len: usize,
) -> c_int {
    // SAFETY: as C promised: a live object, `len` bytes to read.
    unsafe { handle::on(object, |object| Ok(object.engine.write_at(offset, bytes(buf.cast(), len)?)?)) }
}

/// Writes `len` bytes at the current end of the object. `offset` (may be NULL) gets their position. Appends
/// of several threads never overlap. `buf` may be in a pinned page, but not in a page that the call changes.
///
/// Errors and durability: as pgs_object_write().
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_object_append(
    object: *mut Object,
    buf: *const c_void,
    len: usize,
    offset: *mut u64,
) -> c_int {
    // SAFETY: as C promised: a live object, `len` bytes to read, room for what is not NULL.
    unsafe {
        handle::on(object, |object| {
            let at = object.engine.append(bytes(buf.cast(), len)?)?;
            put(offset, at);
            Ok(())
        })
    }
}

/// Gets the size of the object in bytes.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_object_size(object: *const Object, size: *mut u64) -> c_int {
    // SAFETY: as C promised: a live object, room for a number.
    unsafe {
        handle::on(object, |object| {
            Out::new(size, "size")?.set(object.engine.len());
            Ok(())
        })
    }
}

/// Makes the object `size` bytes long. Bytes that are cut off are gone: if the object grows again, they read
/// as zeros. A pinned page that is cut off keeps its bytes for its pins, and its frame is not used again
/// before the last unpin.
///
/// Errors: PGS_E_READ_ONLY; PGS_E_OUT_OF_RANGE; PGS_E_NO_SPACE.
///
/// Durability: after pgs_object_sync() or pgs_store_sync().
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_object_resize(object: *mut Object, size: u64) -> c_int {
    // SAFETY: as C promised: a live object.
    unsafe { handle::on(object, |object| Ok(object.engine.set_len(size)?)) }
}

/// Allocates a frame for every page that has a byte in [offset, offset + len) and has no frame; it is zeroed.
/// The size stays. Later writes there cannot fail for lack of space and cost less to sync.
///
/// Errors: PGS_E_NO_SPACE (new frames may stay allocated); PGS_E_READ_ONLY; PGS_E_OUT_OF_RANGE.
///
/// Durability: after pgs_object_sync() or pgs_store_sync().
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_object_allocate(object: *mut Object, offset: u64, len: u64) -> c_int {
    // SAFETY: as C promised: a live object.
    unsafe { handle::on(object, |object| Ok(object.engine.allocate(offset, len)?)) }
}

/// Makes [offset, offset + len) read as zeros and frees the frames of whole pages in it. The size stays.
///
/// Errors: PGS_E_NO_SPACE (the region is full and thousands of its pages are pinned: a part of the range may
/// be zeros already); PGS_E_READ_ONLY; PGS_E_OUT_OF_RANGE.
///
/// Durability: after pgs_object_sync() or pgs_store_sync().
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_object_punch(object: *mut Object, offset: u64, len: u64) -> c_int {
    // SAFETY: as C promised: a live object.
    unsafe { handle::on(object, |object| Ok(object.engine.punch_hole(offset, len)?)) }
}

/// Makes durable what was written to the object before the call, its size and its name. The cost depends on
/// the number of dirty bytes, not on the size of the object.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_object_sync(object: *mut Object) -> c_int {
    // SAFETY: as C promised: a live object.
    unsafe { handle::on(object, |object| Ok(object.engine.sync()?)) }
}

/// As pgs_object_sync(), for the bytes of [offset, offset + len) and everything that is needed to read them
/// back. Bytes past the end are ignored.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_object_sync_range(object: *mut Object, offset: u64, len: u64) -> c_int {
    // SAFETY: as C promised: a live object.
    unsafe { handle::on(object, |object| Ok(object.engine.sync_range(offset, len)?)) }
}
