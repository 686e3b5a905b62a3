//! The part of libpmem2 that a durable copy needs. The library is loaded at run time: a machine without it has one
//! row fewer.

use libloading::{Library, Symbol};
use std::ffi::{c_int, c_uint, c_void};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr;

/// The name under which Debian's package `libpmem2-1` installs it; `libpmem2-dev` depends on that.
const NAME: &str = "libpmem2.so.1";
/// `PMEM2_GRANULARITY_CACHE_LINE`: a store is durable once its cache line is flushed.
const CACHE_LINE: c_int = 1;

type New = unsafe extern "C" fn(*mut *mut c_void) -> c_int;
type SourceFromFd = unsafe extern "C" fn(*mut *mut c_void, c_int) -> c_int;
type SetGranularity = unsafe extern "C" fn(*mut c_void, c_int) -> c_int;
type MapNew = unsafe extern "C" fn(*mut *mut c_void, *const c_void, *const c_void) -> c_int;
type OfMap<T> = unsafe extern "C" fn(*mut c_void) -> T;
type Delete = unsafe extern "C" fn(*mut *mut c_void) -> c_int;
type Memcpy = unsafe extern "C" fn(*mut c_void, *const c_void, usize, c_uint) -> *mut c_void;

/// A file that libpmem2 has mapped.
pub struct Map {
    address: *mut u8,
    len: usize,
    copy: Memcpy,
    map: *mut c_void,
    delete: Delete,
    /// The library with the functions.
    _library: Library,
}

impl Map {
    /// Maps a file of a medium where stores become durable by cache-line flushes. Memory that stands in for such a
    /// medium counts as one if the environment has `PMEM2_FORCE_GRANULARITY=CACHE_LINE`, a setting of libpmem2 for
    /// tests.
    ///
    /// # Errors
    /// If the library is missing, or refuses.
    pub fn of(file: &File, len: usize) -> Result<Self, String> {
        // SAFETY: a library whose loading runs no code but its own initialization.
        let library = unsafe { Library::new(NAME) }.map_err(|error| error.to_string())?;
        let source_from_fd: SourceFromFd = *function(&library, b"pmem2_source_from_fd\0")?;
        let config_new: New = *function(&library, b"pmem2_config_new\0")?;
        let set_granularity: SetGranularity =
            *function(&library, b"pmem2_config_set_required_store_granularity\0")?;
        let map_new: MapNew = *function(&library, b"pmem2_map_new\0")?;
        let address: OfMap<*mut c_void> = *function(&library, b"pmem2_map_get_address\0")?;
        let get_copy: OfMap<Memcpy> = *function(&library, b"pmem2_get_memcpy_fn\0")?;
        let delete: Delete = *function(&library, b"pmem2_map_delete\0")?;
        let config_delete: Delete = *function(&library, b"pmem2_config_delete\0")?;
        let source_delete: Delete = *function(&library, b"pmem2_source_delete\0")?;
        let (mut source, mut config, mut map) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        // SAFETY: the pointers are to variables that outlive the call, and the descriptor is open.
        told("pmem2_source_from_fd", unsafe { source_from_fd(&mut source, file.as_raw_fd()) })?;
        // SAFETY: as above.
        told("pmem2_config_new", unsafe { config_new(&mut config) })?;
        // SAFETY: `config` was made just now.
        told("pmem2_config_set_required_store_granularity", unsafe { set_granularity(config, CACHE_LINE) })?;
        // SAFETY: `config` and `source` were made just now.
        told("pmem2_map_new", unsafe { map_new(&mut map, config, source) })?;
        // SAFETY: the mapping needs neither of them any more.
        unsafe { config_delete(&mut config) };
        // SAFETY: as above.
        unsafe { source_delete(&mut source) };
        // SAFETY: `map` was made just now.
        let address = unsafe { address(map) }.cast();
        // SAFETY: as above.
        let copy = unsafe { get_copy(map) };
        Ok(Self { address, len, copy, map, delete, _library: library })
    }

    /// Copies bytes to `offset`; durable on return.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= self.len);
        // SAFETY: inside the mapping, which only this value uses.
        unsafe {
            (self.copy)(self.address.wrapping_add(offset).cast(), bytes.as_ptr().cast(), bytes.len(), 0)
        };
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: made by this library, and dropped once.
        unsafe { (self.delete)(&mut self.map) };
    }
}

fn function<'a, T>(library: &'a Library, name: &'static [u8]) -> Result<Symbol<'a, T>, String> {
    // SAFETY: the types above are those of the header libpmem2.h.
    unsafe { library.get(name) }.map_err(|error| error.to_string())
}

fn told(what: &str, answer: c_int) -> Result<(), String> {
    if answer == 0 { Ok(()) } else { Err(format!("{what} answers {answer}")) }
}
