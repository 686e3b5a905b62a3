//! SQLite on Pagestone: the VFS of `bindings-c/sqlite`, linked statically with SQLite and the C ABI below it.
//!
//! After [`register`], a connection opened with the VFS name `pagestone` keeps its database, its journal and its WAL in
//! one region file:
//!
//! ```no_run
//! # // No rusqlite here: its users do this.
//! pagestone_sqlite::register().expect("SQLite starts");
//! // rusqlite::Connection::open_with_flags_and_vfs("x.pgs", flags, pagestone_sqlite::VFS)
//! ```

// Rust calls neither of them, but the linker needs both: the VFS calls the C ABI, and SQLite calls the VFS.
use libsqlite3_sys as ffi;
use pagestone_ffi as _;
use std::ffi::c_int;

/// The name of the VFS.
pub const VFS: &str = "pagestone";

unsafe extern "C" {
    fn pagestone_vfs_register(make_default: c_int) -> c_int;
}

/// Registers the VFS with the SQLite of this program, not as the default. Another call is harmless.
///
/// # Errors
/// SQLite's result code, in words, if SQLite cannot start or refuses the VFS.
pub fn register() -> Result<(), String> {
    // SAFETY: no arguments, and SQLite guards its own initialization.
    let started = unsafe { ffi::sqlite3_initialize() };
    if started != ffi::SQLITE_OK {
        return Err(format!("SQLite does not start: code {started}"));
    }
    // SAFETY: SQLite is initialized; the function has no other condition.
    match unsafe { pagestone_vfs_register(0) } {
        ffi::SQLITE_OK => Ok(()),
        code => Err(format!("the VFS cannot be registered: SQLite's code {code}")),
    }
}
