//! Failure-atomic batches.

use crate::boundary::{Out, bytes, enter_with};
use crate::code;
use crate::handle::{self, Handle};
use crate::object::Object;
use crate::store::Store;
use crate::value::Kind;
use std::ffi::{c_int, c_void};
use std::sync::{Mutex, PoisonError};

/// Writes to objects of one store that are made together or not at all. Created by pgs_batch_begin(), ended
/// by pgs_batch_commit() or pgs_batch_cancel(). No reader sees them before the commit, and the store cannot
/// be closed before the batch ends.
pub struct Batch {
    store: pagestone::Store,
    engine: Mutex<pagestone::Batch>,
}

impl Handle for Batch {
    const NAME: &'static str = "batch";
    const KIND: Kind = Kind::Batch;
    fn poison(&self, why: &str) {
        self.store.poison(why);
    }
}

impl Batch {
    fn with<R>(&self, run: impl FnOnce(&mut pagestone::Batch) -> R) -> R {
        run(&mut self.engine.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Begins an empty batch.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_batch_begin(store: *mut Store, batch: *mut *mut Batch) -> c_int {
    // SAFETY: as C promised: a live store, room for a pointer.
    unsafe {
        handle::on(store, |store| {
            let out = Out::new(batch, "batch")?;
            let (store, engine) = (store.engine.clone(), Mutex::new(store.engine.batch()));
            out.set(handle::give(Box::new(Batch { store, engine }))?);
            Ok(())
        })
    }
}

/// Stages `len` bytes from `buf` for `offset` of the object, and replaces what the batch had staged there. A
/// write past the end will grow the object. `buf` is copied.
///
/// Errors: PGS_E_OUT_OF_RANGE (the object, or the batch, would be too large); PGS_E_INVALID (the object is of
/// another store); -ENOMEM (no memory for the bytes). The batch is unchanged.
///
/// Durability: none before pgs_batch_commit().
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_batch_write(
    batch: *mut Batch,
    object: *mut Object,
    offset: u64,
    buf: *const c_void,
    len: usize,
) -> c_int {
    // SAFETY: as C promised: a live batch, a live object, `len` bytes to read.
    unsafe {
        handle::on(batch, |batch| {
            let object = handle::get(object)?;
            let buf = bytes(buf.cast(), len)?;
            Ok(batch.with(|batch| batch.write_at(&object.engine, offset, buf))?)
        })
    }
}

/// Stages a growth of the object to at least `size` bytes. Bytes that no write covers will read as zeros.
///
/// Errors: PGS_E_INVALID (the object is already longer, since a batch does not cut; or it is of another
/// store); PGS_E_OUT_OF_RANGE. The batch is unchanged.
///
/// Durability: none before pgs_batch_commit().
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_batch_extend(batch: *mut Batch, object: *mut Object, size: u64) -> c_int {
    // SAFETY: as C promised: a live batch and a live object.
    unsafe {
        handle::on(batch, |batch| {
            let object = handle::get(object)?;
            Ok(batch.with(|batch| batch.set_len(&object.engine, size))?)
        })
    }
}

/// Writes everything that is staged, all or nothing, whenever a crash may come, and ends the batch, whatever
/// it returns. Each page shows its old bytes or its new ones, never a mix. The calling thread must hold no
/// latch on a page of the store.
///
/// Errors: PGS_E_NO_SPACE, PGS_E_OUT_OF_RANGE (more objects grow than a record of the log holds: 255 with the
/// usual log), -ENOMEM (no memory for its pages), PGS_E_READ_ONLY: nothing has changed. After PGS_E_POISONED
/// or another -errno, only the next opening of the store shows whether the batch happened.
///
/// Durability: if it returns PGS_OK, all of it survives a loss of power.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_batch_commit(batch: *mut Batch) -> c_int {
    let ended = handle::take(batch).and_then(|taken| {
        let Batch { store, engine } = *taken.value;
        let engine = engine.into_inner().unwrap_or_else(PoisonError::into_inner);
        enter_with(|| Ok(engine.commit()?), |why| store.poison(why))
    });
    ended.map_or_else(|failure| failure.tell(), |()| code::PGS_OK)
}

/// Discards everything that is staged and ends the batch. NULL, and a value that is not a live handle of a
/// batch, does nothing.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_batch_cancel(batch: *mut Batch) {
    if batch.is_null() {
        return;
    }
    // It returns no status; pgs_message() has the words.
    let _ = crate::boundary::enter(|| {
        drop(handle::take(batch)?);
        Ok(())
    });
}
