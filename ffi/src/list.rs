//! The objects of a store, by name.

use crate::boundary::{Failure, null, put, text};
use crate::code::PGS_E_CORRUPT;
use crate::handle;
use crate::store::Store;
use std::ffi::{CString, c_char, c_int, c_void};

/// One object in a pgs_list().
#[repr(C)]
pub struct Entry {
    /// sizeof(pgs_entry) in the library. Newer libraries add fields at the end.
    pub size: usize,
    /// The name of the object, valid during the call.
    pub name: *const c_char,
    /// Its number, which is never used again in this region.
    pub id: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Calls `visit` for each object whose name begins with `prefix` (NULL: for each that has a name), in the
/// order of their names, until there are no more or `visit` returns a value other than 0. `stopped` (may be
/// NULL) gets the last value that `visit` returned. `visit` may call any function but pgs_close(). Objects
/// that are created or unlinked meanwhile may be shown or not.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_list(
    store: *const Store,
    prefix: *const c_char,
    visit: Option<unsafe extern "C" fn(arg: *mut c_void, entry: *const Entry) -> c_int>,
    arg: *mut c_void,
    stopped: *mut c_int,
) -> c_int {
    // SAFETY: as C promised: a live store, a string or NULL, a function that takes `arg` and an entry, and room for what is
    // not NULL.
    unsafe {
        handle::on(store, |store| {
            let visit = visit.ok_or_else(|| null("visit"))?;
            let prefix = if prefix.is_null() { &[] } else { text(prefix, "prefix")? };
            let mut said = 0;
            for object in store.engine.list_prefix(prefix)? {
                let name = CString::new(object.name)
                    .map_err(|_| Failure::new(PGS_E_CORRUPT, "a name on the medium contains a NUL\0"))?;
                let size = size_of::<Entry>();
                let entry = Entry { size, name: name.as_ptr(), id: object.id, bytes: object.len };
                said = visit(arg, &raw const entry);
                if said != 0 {
                    break;
                }
            }
            put(stopped, said);
            Ok(())
        })
    }
}
