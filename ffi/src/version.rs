//! Which release this is.

/// Major version: the ABI changed when it did.
pub const PGS_VERSION_MAJOR: u32 = 0;
/// Minor version: functions were added; below 1.0 the ABI may have changed.
pub const PGS_VERSION_MINOR: u32 = 1;
/// Patch version: defects were mended.
pub const PGS_VERSION_PATCH: u32 = 0;
/// The header's version in one number, to be compared with pgs_version().
pub const PGS_VERSION: u32 = (PGS_VERSION_MAJOR << 16) | (PGS_VERSION_MINOR << 8) | PGS_VERSION_PATCH;

/// The library's version, in the form of PGS_VERSION.
#[unsafe(no_mangle)]
pub extern "C" fn pgs_version() -> u32 {
    PGS_VERSION
}
