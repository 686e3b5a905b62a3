//! Checking a region that is not open for writing.

use crate::boundary::{Failure, enter, text};
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
/// defect; what it is shown is valid during the call. Anything but 0 from `visit` ends the call, which
/// returns it.
///
/// Errors: PGS_E_CORRUPT (there are defects, and all were shown); those of pgs_open().
// # Safety: that of the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgs_check(
    path: *const c_char,
    visit: Option<unsafe extern "C" fn(arg: *mut c_void, finding: *const Finding) -> c_int>,
    arg: *mut c_void,
) -> c_int {
    let mut stopped = 0;
    let status = enter(|| {
        // SAFETY: as C promised: `path` is a string.
        let path = Path::new(OsStr::from_bytes(unsafe { text(path, "path") }?));
        let report = pagestone::store::Options::new().read_only(true).open(path)?.check()?;
        for finding in &report.findings {
            // Neither text holds a NUL: both are made by the engine.
            let name = CString::new(finding.name).unwrap_or_default();
            let detail = CString::new(finding.detail.as_str()).unwrap_or_default();
            let (name, detail) = (name.as_ptr(), detail.as_ptr());
            let finding = Finding { size: size_of::<Finding>(), name, at: finding.at, detail };
            // SAFETY: as C promised: a function that takes `arg` and a finding.
            stopped = visit.map_or(0, |visit| unsafe { visit(arg, &raw const finding) });
            if stopped != 0 {
                return Ok(());
            }
        }
        match report.findings.len() {
            0 => Ok(()),
            n => Err(Failure::new(code::PGS_E_CORRUPT, format!("{path:?} has {n} defects"))),
        }
    });
    if status == 0 { stopped } else { status }
}
