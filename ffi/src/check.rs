//! Checking a region that is not open for writing.

use crate::boundary::{Failure, enter, put, text};
use crate::code;
use std::ffi::{CString, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// One defect of a region.
#[repr(C)]
pub struct Finding {
    /// sizeof(pgs_finding) of the library: newer ones have more fields behind.
    pub size: usize,
    /// The kind of defect: a word that stays the same from release to release.
    pub name: *const c_char,
    /// Where: byte offset in the region.
    pub at: u64,
    /// The particulars, for people.
    pub detail: *const c_char,
}

/// Reads the whole region in the file `path`, changes nothing, and calls `visit` (may be NULL) with each
/// defect; what it is shown is valid during the call. Anything but 0 from `visit` ends that. `stopped` (may be
/// NULL) tells what `visit` returned last; it is written with PGS_E_CORRUPT too.
///
/// Errors: PGS_E_CORRUPT (there are defects; all were shown, unless `visit` ended that); those of pgs_open().
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_check(
    path: *const c_char,
    visit: Option<unsafe extern "C" fn(arg: *mut c_void, finding: *const Finding) -> c_int>,
    arg: *mut c_void,
    stopped: *mut c_int,
) -> c_int {
    enter(|| {
        // SAFETY: as C promised: `path` is a string.
        let path = Path::new(OsStr::from_bytes(unsafe { text(path, "path") }?));
        let report = pagestone::Options::new().read_only(true).open(path)?.check()?;
        let mut said = 0;
        for finding in &report.findings {
            // Neither text holds a NUL: both are made by the engine.
            let name = CString::new(finding.name).unwrap_or_default();
            let detail = CString::new(finding.detail.as_str()).unwrap_or_default();
            let (name, detail) = (name.as_ptr(), detail.as_ptr());
            let finding = Finding { size: size_of::<Finding>(), name, at: finding.at, detail };
            // SAFETY: as C promised: a function that takes `arg` and a finding.
            said = visit.map_or(0, |visit| unsafe { visit(arg, &raw const finding) });
            if said != 0 {
                break;
            }
        }
        // SAFETY: as C promised: room for what is not NULL.
        unsafe { put(stopped, said) };
        match report.findings.len() {
            0 => Ok(()),
            n => Err(Failure::new(code::PGS_E_CORRUPT, format!("{path:?} has {n} defects"))),
        }
    })
}
