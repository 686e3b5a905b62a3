//! The objects of a store, by name.

use crate::boundary::{Failure, null};
use crate::code::PGS_E_CORRUPT;
use crate::handle;
use crate::store::Store;
use std::ffi::{CString, c_char, c_int, c_void};

/// One object, as pgs_list() shows it.
#[repr(C)]
pub struct Entry {
    /// sizeof(pgs_entry) of the library: newer ones have more fields behind.
    pub size: usize,
    /// The object's name, valid during the call.
    pub name: *const c_char,
    /// Its number: never used again in this region.
    pub id: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Calls `visit` with each object that has a name, in the order of names. It stops when `visit` returns
/// anything but 0, and returns that. `visit` may call any function but pgs_close(); objects created or
/// unlinked meanwhile may be missing or shown.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_list(
    store: *mut Store,
    visit: Option<unsafe extern "C" fn(arg: *mut c_void, entry: *const Entry) -> c_int>,
    arg: *mut c_void,
) -> c_int {
    let mut stopped = 0;
    // SAFETY: as C promised: a live store, and a function that takes `arg` and an entry.
    let status = unsafe {
        handle::on(store, |store| {
            let visit = visit.ok_or_else(|| null("visit"))?;
            for object in store.engine.list()? {
                let name = CString::new(object.name)
                    .map_err(|_| Failure::new(PGS_E_CORRUPT, "a name on the medium holds a NUL\0"))?;
                let size = size_of::<Entry>();
                let entry = Entry { size, name: name.as_ptr(), id: object.id, bytes: object.len };
                stopped = visit(arg, &raw const entry);
                if stopped != 0 {
                    break;
                }
            }
            Ok(())
        })
    };
    if status == 0 { stopped } else { status }
}
