//! Calls on handles that have ended, that are of another kind, or that no function gave. Each is an error, and changes no
//! count and no content; the program compares these afterwards.

use super::world::{World, told};
use pagestone_ffi::*;
use std::ffi::{c_int, c_void};
use std::mem;
use std::ptr;

impl World {
    /// Makes every call with one wrong handle, for an object or for a store.
    pub fn call_wrongly(&self, object: bool, n: u8) {
        let (at, n) = (usize::from(n / 3), n % 3);
        if object {
            let (handle, answer) = match n {
                0 => (nth(&self.closed_objects, at).cast(), PGS_E_CLOSED),
                1 => (nth(&self.some_stores(), at).cast::<c_void>(), PGS_E_INVALID),
                _ => (no_handle(at), PGS_E_INVALID),
            };
            on_object(handle.cast(), if handle.is_null() { PGS_E_INVALID } else { answer });
        } else {
            let objects: Vec<_> = self.objects.iter().flatten().map(|object| object.handle).collect();
            let (handle, answer) = match n {
                0 => (nth(&self.closed_stores, at).cast(), PGS_E_CLOSED),
                1 => (nth(&objects, at).cast::<c_void>(), PGS_E_INVALID),
                _ => (no_handle(at), PGS_E_INVALID),
            };
            on_store(handle.cast(), if handle.is_null() { PGS_E_INVALID } else { answer });
        }
    }

    /// Stores that are open, and ones that were closed.
    fn some_stores(&self) -> Vec<*mut Store> {
        self.stores.iter().chain(&self.closed_stores).copied().filter(|store| !store.is_null()).collect()
    }
}

/// NULL if there is none.
fn nth<T>(handles: &[*mut T], n: usize) -> *mut T {
    if handles.is_empty() { ptr::null_mut() } else { handles[n % handles.len()] }
}

/// A value that is no handle: an address, or a number close to a handle.
fn no_handle(n: usize) -> *mut c_void {
    let word = 0_u64;
    match n % 4 {
        0 => (&raw const word).cast_mut().cast(),
        1 => ptr::without_provenance_mut(usize::MAX - n),
        // The number of a kind, with a generation that no entry has reached, or with no entry.
        _ => ptr::without_provenance_mut((n % 16) << 60 | 0xffff_ffff << 24 | n),
    }
}

fn answers(expected: c_int, statuses: &[c_int]) {
    for status in statuses {
        told(*status);
        assert_eq!(*status, expected, "{statuses:?}");
    }
}

fn on_object(object: *mut Object, expected: c_int) {
    let (mut word, mut done, mut address) = (0_u64, 0, ptr::null_mut());
    let bytes = (&raw mut word).cast::<c_void>();
    // SAFETY: a handle that no other call ends, or none; buffers and outputs of ours.
    unsafe {
        pgs_object_close(object);
        answers(
            expected,
            &[
                pgs_object_read(object, 0, bytes, 8, &raw mut done),
                pgs_object_write(object, 0, bytes, 8),
                pgs_object_append(object, bytes, 8, ptr::null_mut()),
                pgs_object_size(object, &raw mut word),
                pgs_object_resize(object, 0),
                pgs_object_allocate(object, 0, 1),
                pgs_object_punch(object, 0, 1),
                pgs_object_sync(object),
                pgs_object_sync_range(object, 0, 1),
                pgs_pin(object, 0, 1, 0, &raw mut address),
            ],
        );
        // The handle is never one of a batch.
        pgs_batch_cancel(object.cast());
        answers(PGS_E_INVALID, &[pgs_batch_commit(object.cast())]);
    }
}

fn on_store(store: *mut Store, expected: c_int) {
    let (mut there, mut object, mut address) = (0, ptr::null_mut(), ptr::null_mut());
    let (mut batch, mut words) = (ptr::null_mut(), [0_u64; 64]);
    let name = c"a".as_ptr();
    words[0] = mem::size_of_val(&words) as u64;
    let at = words.as_ptr().cast::<c_void>();
    // SAFETY: a handle that no other call ends, or none; strings, structs and outputs of ours.
    unsafe {
        let statuses = [
            pgs_object_open(store, name, PGS_CREATE, &raw mut object),
            pgs_batch_begin(store, &raw mut batch),
            pgs_store_sync(store),
            pgs_compact(store, words.as_mut_ptr()),
            pgs_rename(store, name, name),
            pgs_unlink(store, name),
            pgs_exists(store, name, &raw mut there, ptr::null_mut()),
            pgs_info(store, words.as_mut_ptr().cast()),
            pgs_check_length(store),
            pgs_stats(store, words.as_mut_ptr().cast()),
            pgs_peek(store, at, words.as_mut_ptr().cast()),
            pgs_pin_frame(store, 0, &raw mut address),
            pgs_pin_address(store, at, 1),
            pgs_unpin(store, at, 1),
            pgs_latch(store, at, PGS_LATCH_SHARED),
            pgs_unlatch(store, at, PGS_LATCH_SHARED, 0, 0),
            pgs_latch_range(store, at, 1, PGS_LATCH_SHARED),
            pgs_unlatch_range(store, at, 1, PGS_LATCH_SHARED, 0, 0),
        ];
        answers(expected, &statuses);
        if !store.is_null() {
            answers(expected, &[pgs_close(store)]);
        }
    }
}
