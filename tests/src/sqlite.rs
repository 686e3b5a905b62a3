//! SQLite with the VFS `pagestone`, and the VFS's contract tests, which are C (`bindings-c/sqlite/tests`).

use libsqlite3_sys::SQLITE_OK;
use std::ffi::{CStr, CString, c_char, c_int};
use std::path::Path;
use std::sync::OnceLock;

unsafe extern "C" {
    fn pagestone_vfs_contract_start() -> c_int;
    fn pagestone_vfs_contract(name: *const c_char, directory: *const c_char) -> *const c_char;
    fn pagestone_vfs_contract_name(index: c_int) -> *const c_char;
    fn pagestone_vfs_contract_die_at_unlink(after: c_int);
    fn pagestone_vfs_contract_register_liar(directory: *const c_char) -> c_int;
    fn pagestone_vfs_contract_lie(number: c_int);
}

/// Starts SQLite, prepared for the contract tests, and registers the VFS. Each test calls it first.
pub fn start() {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        // SAFETY: the first call into SQLite of this program, and the only one for now: others wait for this cell.
        let prepared = unsafe { pagestone_vfs_contract_start() };
        assert_eq!(prepared, SQLITE_OK, "SQLite was started before its memory could be counted");
        pagestone_sqlite::register().expect("the VFS registers");
    });
}

/// The names of the contract tests.
pub fn contract_names() -> Vec<String> {
    let mut names = Vec::new();
    loop {
        // SAFETY: any index may be asked for.
        let name = unsafe { pagestone_vfs_contract_name(names.len() as c_int) };
        if name.is_null() {
            return names;
        }
        // SAFETY: the name is a literal of the C code.
        names.push(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned());
    }
}

/// Runs one contract test in an empty directory. An error says what did not hold.
pub fn contract(name: &str, directory: &Path) -> Result<(), String> {
    start();
    let name = CString::new(name).expect("names have no NUL");
    let directory = CString::new(directory.as_os_str().as_encoded_bytes()).expect("paths have no NUL");
    // SAFETY: both are strings that outlive the call; SQLite runs and the VFS is registered.
    let failure = unsafe { pagestone_vfs_contract(name.as_ptr(), directory.as_ptr()) };
    if failure.is_null() {
        return Ok(());
    }
    // SAFETY: a failure is a literal of the C code.
    Err(unsafe { CStr::from_ptr(failure) }.to_string_lossy().into_owned())
}

/// From now on the process dies when SQLite removes a file of the default VFS: `after` the file is gone, or before.
pub fn die_at_unlink(after: bool) {
    // SAFETY: SQLite runs (tests call `start` first); the call replaces a function pointer of the VFS "unix".
    unsafe { pagestone_vfs_contract_die_at_unlink(c_int::from(after)) }
}

/// What the VFS `liar` changes of the VFS `pagestone` (`bindings-c/sqlite/tests/liar.c`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum Lie {
    /// Nothing.
    Nothing,
    /// Batches are not offered: SQLite keeps a journal.
    NoBatch,
    /// A batch is not atomic.
    BatchInPlace,
    /// No batches, and a write destroys the rest of its sector for a moment.
    Sectors,
    /// No batches, and `SAFE_APPEND` is claimed.
    SafeAppend,
    /// No batches, and a sync does nothing.
    NoSync,
}

/// The name of a VFS. From now on it tells this lie to the calling thread.
pub fn lie(lie: Lie) -> &'static str {
    static REGISTERED: OnceLock<()> = OnceLock::new();
    start();
    REGISTERED.get_or_init(|| {
        let directory = tempfile::tempdir().expect("a directory");
        let path = CString::new(directory.path().as_os_str().as_encoded_bytes()).expect("paths have no NUL");
        // SAFETY: a string that outlives the call; SQLite runs and the VFS is registered.
        let result = unsafe { pagestone_vfs_contract_register_liar(path.as_ptr()) };
        assert_eq!(result, SQLITE_OK, "the VFS `liar`");
    });
    // SAFETY: sets a variable of this thread; the number is one of C's enum, which has the same order.
    unsafe { pagestone_vfs_contract_lie(lie as c_int) };
    "liar"
}
