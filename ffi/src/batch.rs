//! Failure-atomic batches.

use crate::boundary::{Out, bytes, enter_with};
use crate::code;
use crate::handle::{self, Handle};
use crate::object::Object;
use crate::store::Store;
use crate::value::Kind;
use std::ffi::{c_int, c_void};
use std::sync::{Mutex, PoisonError};

/// Writes to objects of one store that happen together or not at all. Made by pgs_batch_begin(), ended by
/// pgs_batch_commit() or pgs_batch_cancel(). Until then no reader sees them, and the store cannot be closed.
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

/// Stages `len` bytes from `buf` for `offset` of the object; what the batch had staged there is replaced. Past the end
/// the object will grow. `buf` is copied.
///
/// Errors: PGS_E_OUT_OF_RANGE (the object, or the batch, would be too large); PGS_E_INVALID (an object of another
/// store); -ENOMEM (no memory for the bytes). The batch is as before.
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

/// Stages that the object is at least `size` bytes long; what no write covers will read as zeros.
///
/// Errors: PGS_E_INVALID (the object is longer already: a batch does not cut; or it is of another store);
/// PGS_E_OUT_OF_RANGE. The batch is as before.
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

/// Writes everything that is staged, all or nothing, whatever the moment of a crash; and ends the batch, whatever the
/// answer. Each page shows its old bytes or its new ones, never a mix. The calling thread holds no latch on a page of
/// the store.
///
/// Errors: PGS_E_NO_SPACE and PGS_E_OUT_OF_RANGE (more objects grow than a record of the log holds, 255 with the
/// usual log): nothing has changed; -ENOMEM (no memory for its pages): nor has it then; PGS_E_READ_ONLY. After
/// PGS_E_POISONED or another -errno what has changed is known only when the store is opened again.
///
/// Durability: all of it survives a loss of power when it returns PGS_OK.
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

/// Forgets everything that is staged, and ends the batch. NULL, and what is no live handle of a batch, is a no-op.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_batch_cancel(batch: *mut Batch) {
    if batch.is_null() {
        return;
    }
    // No status can be returned; pgs_message() has the words.
    let _ = crate::boundary::enter(|| {
        drop(handle::take(batch)?);
        Ok(())
    });
}
