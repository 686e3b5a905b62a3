//! Checking a region that is not open for writing.

use crate::boundary::{Failure, enter, put, text};
use crate::code;
use std::ffi::{CString, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// One defect of a region.
#[repr(C)]
pub struct Finding {
    /// sizeof(pgs_finding) in the library. Newer libraries add fields at the end.
    pub size: usize,
    /// The kind of defect, a word that is the same in all releases.
    pub name: *const c_char,
    /// Byte offset of the defect in the region.
    pub at: u64,
    /// A description for people.
    pub detail: *const c_char,
}

/// Reads the whole region in the file `path`, changes nothing, and calls `visit` (may be NULL) for each
/// defect. The finding is valid during the call. A value other than 0 from `visit` ends the calls. `stopped`
/// (may be NULL) gets the last value that `visit` returned, also with PGS_E_CORRUPT.
///
/// Errors: PGS_E_CORRUPT (there are defects; all were shown, unless `visit` ended the calls); those of
/// pgs_open().
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
