//! Stores: open, close, sync, names.

use crate::boundary::{Failure, Out, enter, put, sized_in, text};
use crate::code;
use crate::handle::{self, Handle, Taken};
use crate::latches::Latches;
use crate::options::{Options, PGS_EXCLUSIVE};
use crate::value::Kind;
use pagestone::store::CloseError;
use pagestone::units::PfnRange;
use std::ffi::{OsStr, c_char, c_int};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

/// An open region with its objects. Created by pgs_open(), ended by pgs_close().
pub struct Store {
    /// The store of the engine.
    pub(crate) engine: pagestone::Store,
    /// Its pfns, which do not change while it is open.
    pub(crate) pfns: PfnRange,
    /// Whether it is open read-only.
    pub(crate) read_only: bool,
    /// The latches that C holds on its pages.
    pub(crate) latches: Latches,
}

impl Handle for Store {
    const NAME: &'static str = "store";
    const KIND: Kind = Kind::Store;
    fn poison(&self, why: &str) {
        self.engine.poison(why);
    }
}

impl From<pagestone::Store> for Store {
    fn from(engine: pagestone::Store) -> Self {
        let info = engine.info();
        Self { engine, pfns: info.pfns, read_only: info.read_only, latches: Latches::new(info.pfns.frames) }
    }
}

/// Maximum length of an object's name in bytes.
pub const PGS_NAME_MAX: usize = 255;

// The engine does not export this limit; the C test `names` checks that the two agree.
const _: () = assert!(PGS_NAME_MAX == u8::MAX as usize);

/// Opens the region in the file `path` and recovers it after a crash.
///
/// `options` may be NULL: then an existing region is opened for reading and writing. An opening that changes
/// nothing writes nothing, except what a recovery needs. A second opening at the same time, also by this
/// process or through another path, returns PGS_E_IN_USE.
///
/// Errors: -ENOENT, -EACCES, ...; PGS_E_EXISTS; PGS_E_NOT_A_REGION; PGS_E_VERSION; PGS_E_FEATURES;
/// PGS_E_IN_USE; PGS_E_TOO_WEAK; PGS_E_NO_SPACE; PGS_E_OUT_OF_RANGE (an option).
///
/// Durability: a new region is durable before the call returns.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_open(
    path: *const c_char,
    options: *const Options,
    store: *mut *mut Store,
) -> c_int {
    enter(|| {
        // SAFETY: as C promised: `path` is a string.
        let path = Path::new(OsStr::from_bytes(unsafe { text(path, "path") }?));
        if let Some(opened) = STAND_IN.get().and_then(|stand_in| stand_in(path)) {
            // SAFETY: as C promised: room for a pointer.
            let out = unsafe { Out::new(store, "store") }?;
            out.set(handle::give(Box::new(Store::from(opened?)))?);
            return Ok(());
        }
        // SAFETY: as C promised: an options struct of the size it names.
        let options = if options.is_null() { Options::DEFAULT } else { unsafe { sized_in(options) }? };
        // SAFETY: as C promised: room for a pointer.
        let out = unsafe { Out::new(store, "store") }?;
        let opened = options.engine()?.open(path).map_err(|error| told(path, options.flags, error))?;
        out.set(handle::give(Box::new(Store::from(opened)))?);
        Ok(())
    })
}

/// Opens another store in place of a path, or returns `None` for paths that it does not handle.
type StandIn = Box<dyn Fn(&Path) -> Option<pagestone::Result<pagestone::Store>> + Send + Sync>;

static STAND_IN: OnceLock<StandIn> = OnceLock::new();

/// Makes pgs_open() ask `stand_in` first, for the rest of the process. Tests use this to record what a
/// database does to a region, or to crash it. False: another stand-in is installed already.
#[doc(hidden)]
pub fn open_by(stand_in: StandIn) -> bool {
    STAND_IN.set(stand_in).is_ok()
}

/// The initial size of a store in memory, which grows.
const MEMORY_FIRST: u64 = 1 << 20;

/// Opens an empty store of at most `max_bytes` bytes in anonymous memory. Its durability is volatile.
///
/// Errors: PGS_E_NO_SPACE; PGS_E_OUT_OF_RANGE.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_open_memory(max_bytes: u64, store: *mut *mut Store) -> c_int {
    enter(|| {
        // SAFETY: as C promised: room for a pointer.
        let out = unsafe { Out::new(store, "store") }?;
        let opened =
            pagestone::Options::new().max_size(max_bytes).open_memory(max_bytes.min(MEMORY_FIRST))?;
        out.set(handle::give(Box::new(Store::from(opened)))?);
        Ok(())
    })
}

/// Syncs and closes the store. NULL does nothing and returns PGS_OK. After PGS_E_BUSY the store is still
/// open, unchanged. After any other status the handle has ended, even if the sync failed; then a part of what
/// was not synced may be lost, as after a crash.
///
/// Errors: PGS_E_BUSY (objects or batches are open, pages are pinned, or latches are held).
///
/// Durability: everything written is durable when the call returns PGS_OK.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_close(store: *mut Store) -> c_int {
    if store.is_null() {
        return code::PGS_OK;
    }
    enter(|| {
        // Other threads may use the handle during this check, and go on if the close is refused.
        let ready = |store: &Store| Ok(store.engine.refuse_in_use()?);
        let (Taken { mut value, place }, _turn) = handle::take_if(store, ready)?;
        match value.engine.close() {
            Ok(()) => Ok(()),
            Err(CloseError { store: engine, error: error @ pagestone::Error::Busy { .. } }) => {
                value.engine = engine;
                handle::put_back(value, place);
                Err(error.into())
            }
            Err(CloseError { error, .. }) => Err(error.into()),
        }
    })
}

/// Makes everything durable that was changed before the call: contents, sizes and names. On a read-only store
/// there is nothing to do, and it succeeds.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_store_sync(store: *mut Store) -> c_int {
    // SAFETY: as C promised: a live store.
    unsafe { handle::on(store, |store| Ok(store.engine.sync()?)) }
}

/// Returns free space to the file system. `bytes` (may be NULL) gets the number of bytes returned. The file
/// is cut behind the last used page and gets holes elsewhere; later writes take space from the disk again. The
/// library makes holes by itself if more than 16 MiB and 1/8 of the region is free.
///
/// Errors: PGS_E_READ_ONLY; -EOPNOTSUPP (a file system without holes).
///
/// Durability: names and sizes that were changed before are durable when the call returns PGS_OK.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_compact(store: *mut Store, bytes: *mut u64) -> c_int {
    // SAFETY: as C promised: a live store, and room for what is not NULL.
    unsafe {
        handle::on(store, |store| {
            put(bytes, store.engine.compact()?);
            Ok(())
        })
    }
}

/// Renames the object `from` to `to`, atomically for all callers. If an object is named `to`, it loses its
/// name, as by pgs_unlink(). Open handles keep their object.
///
/// Errors: PGS_E_NOT_FOUND; PGS_E_BAD_NAME; PGS_E_READ_ONLY; PGS_E_NO_SPACE; PGS_E_NAME_COLLISION.
///
/// Durability: after pgs_store_sync(), or a sync of either object.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_rename(store: *mut Store, from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: as C promised: a live store.
    unsafe {
        handle::on(store, |store| {
            let (from, to) = (text(from, "from")?, text(to, "to")?);
            Ok(store.engine.rename(from, to)?)
        })
    }
}

/// Removes the name. An open object stays usable through its handles, as in POSIX. Its space becomes free
/// after the last pgs_object_close() and the last unpin.
///
/// Errors: PGS_E_NOT_FOUND; PGS_E_BAD_NAME; PGS_E_READ_ONLY.
///
/// Durability: after pgs_store_sync().
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_unlink(store: *mut Store, name: *const c_char) -> c_int {
    // SAFETY: as C promised: a live store and a string.
    unsafe { handle::on(store, |store| Ok(store.engine.unlink(text(name, "name")?)?)) }
}

/// Sets `exists` to 1 if an object has this name, else to 0, and `size` (may be NULL) to its size in bytes,
/// or 0.
///
/// Errors: PGS_E_BAD_NAME.
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_exists(
    store: *const Store,
    name: *const c_char,
    exists: *mut c_int,
    size: *mut u64,
) -> c_int {
    // SAFETY: as C promised: a live store, a string, and room for what is not NULL.
    unsafe {
        handle::on(store, |store| {
            let name = text(name, "name")?;
            let out = Out::new(exists, "exists")?;
            let found = store.engine.exists(name)?;
            out.set(c_int::from(found.is_some()));
            put(size, found.unwrap_or(0));
            Ok(())
        })
    }
}

/// Why a region was not opened. A file that exists although PGS_EXCLUSIVE was given has its own code.
fn told(path: &Path, flags: u32, error: pagestone::Error) -> Failure {
    match error {
        pagestone::Error::Io { source, .. }
            if flags & PGS_EXCLUSIVE != 0 && source.kind() == io::ErrorKind::AlreadyExists =>
        {
            Failure::new(code::PGS_E_EXISTS, format!("cannot create {path:?}: {source}"))
        }
        error => error.into(),
    }
}
