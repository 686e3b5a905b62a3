//! The version of the library.

/// Major version. A new one may break the ABI.
pub const PGS_VERSION_MAJOR: u32 = 0;
/// Minor version. A new one adds functions; below 1.0 it may also break the ABI.
pub const PGS_VERSION_MINOR: u32 = 1;
/// Patch version. A new one fixes defects.
pub const PGS_VERSION_PATCH: u32 = 0;
/// The version of the header as one number, to compare with pgs_version().
pub const PGS_VERSION: u32 = (PGS_VERSION_MAJOR << 16) | (PGS_VERSION_MINOR << 8) | PGS_VERSION_PATCH;

/// The version of the library, in the form of PGS_VERSION.
#[unsafe(no_mangle)]
pub extern "C" fn pgs_version() -> u32 {
    PGS_VERSION
}
