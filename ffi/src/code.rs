//! Status codes.

use pagestone::Error;
use std::ffi::CStr;

/// Success.
pub const PGS_OK: i32 = 0;
/// The library panicked: a defect in it. The store is poisoned.
pub const PGS_E_PANIC: i32 = -10001;
/// An argument is invalid: NULL, a handle of another kind, an unknown flag, a bad struct, an unpin of a page
/// that is not pinned.
pub const PGS_E_INVALID: i32 = -10002;
/// The file is not a region; the message says what it seems to be.
pub const PGS_E_NOT_A_REGION: i32 = -10003;
/// The region's format version is newer than this release.
pub const PGS_E_VERSION: i32 = -10004;
/// The region uses features that this release does not know.
pub const PGS_E_FEATURES: i32 = -10005;
/// The file is shorter than the region: it was cut.
pub const PGS_E_TRUNCATED: i32 = -10006;
/// A structure on the medium contradicts itself.
pub const PGS_E_CORRUPT: i32 = -10007;
/// The region is already open, in this process or another; the message names the holder, if it is known.
pub const PGS_E_IN_USE: i32 = -10008;
/// The medium does not have the durability that was required; the message names both.
pub const PGS_E_TOO_WEAK: i32 = -10009;
/// The region or the disk is full. Names and sizes are unchanged; bytes of a pgs_object_write() inside the
/// old size may be new, and pages that got a frame keep it.
pub const PGS_E_NO_SPACE: i32 = -10010;
/// No object has this name. (A missing region file is -ENOENT.)
pub const PGS_E_NOT_FOUND: i32 = -10011;
/// An object or a region file of this name exists.
pub const PGS_E_EXISTS: i32 = -10012;
/// A name has 1 to PGS_NAME_MAX bytes.
pub const PGS_E_BAD_NAME: i32 = -10013;
/// A number is out of its range; the message names the limit.
pub const PGS_E_OUT_OF_RANGE: i32 = -10014;
/// The frame has PGS_PINS_MAX pins.
pub const PGS_E_TOO_MANY_PINS: i32 = -10015;
/// The frame accepts no new pin at the moment: try again.
pub const PGS_E_HELD: i32 = -10016;
/// The page was cut off from its object, and a write to it would be lost. Pin the page again.
pub const PGS_E_DETACHED: i32 = -10017;
/// Something is still in use: an open object, a pinned page, a latch.
pub const PGS_E_BUSY: i32 = -10018;
/// The allowed time has passed.
pub const PGS_E_TIMED_OUT: i32 = -10019;
/// The address or pfn belongs to no frame of this store.
pub const PGS_E_FOREIGN: i32 = -10020;
/// An earlier commit failed. Nothing more is written until the region is opened again.
pub const PGS_E_POISONED: i32 = -10021;
/// The medium of this frame failed.
pub const PGS_E_POISONED_FRAME: i32 = -10022;
/// The store was opened by the parent, before a fork.
pub const PGS_E_FORKED: i32 = -10023;
/// The store is open read-only.
pub const PGS_E_READ_ONLY: i32 = -10024;
/// The handle has ended: it was closed, committed or cancelled.
pub const PGS_E_CLOSED: i32 = -10025;
/// The range has a page that was never written: read it, or pin it with PGS_PIN_WRITE.
pub const PGS_E_HOLE: i32 = -10026;
/// The frames of the range are not adjacent in memory: pin less, or read it. For a view: they lie in more runs than
/// may be mapped.
pub const PGS_E_SCATTERED: i32 = -10027;
/// The range reaches past the end of the object.
pub const PGS_E_PAST_END: i32 = -10028;
/// The frame has PGS_READERS_MAX shared latches: release one, or read a copy by pgs_object_read().
pub const PGS_E_TOO_MANY_READERS: i32 = -10029;
/// The process has too few addresses for a region of this size, or for so many regions; the message says what
/// to do. Changes are as after PGS_E_NO_SPACE.
pub const PGS_E_NO_ADDRESSES: i32 = -10030;
/// The library found its own state inconsistent: a defect in it. Close the store and open it again.
pub const PGS_E_INTERNAL: i32 = -10031;
/// As many names as the directory can hold in one place have the hash of this one: choose another name.
pub const PGS_E_NAME_COLLISION: i32 = -10032;
/// A failure for which this header has no code; see the message.
pub const PGS_E_OTHER: i32 = -10099;

/// The name of a code.
pub(crate) fn name(code: i32) -> &'static CStr {
    match code {
        PGS_OK => c"PGS_OK",
        PGS_E_PANIC => c"PGS_E_PANIC",
        PGS_E_INVALID => c"PGS_E_INVALID",
        PGS_E_NOT_A_REGION => c"PGS_E_NOT_A_REGION",
        PGS_E_VERSION => c"PGS_E_VERSION",
        PGS_E_FEATURES => c"PGS_E_FEATURES",
        PGS_E_TRUNCATED => c"PGS_E_TRUNCATED",
        PGS_E_CORRUPT => c"PGS_E_CORRUPT",
        PGS_E_IN_USE => c"PGS_E_IN_USE",
        PGS_E_TOO_WEAK => c"PGS_E_TOO_WEAK",
        PGS_E_NO_SPACE => c"PGS_E_NO_SPACE",
        PGS_E_NOT_FOUND => c"PGS_E_NOT_FOUND",
        PGS_E_EXISTS => c"PGS_E_EXISTS",
        PGS_E_BAD_NAME => c"PGS_E_BAD_NAME",
        PGS_E_OUT_OF_RANGE => c"PGS_E_OUT_OF_RANGE",
        PGS_E_TOO_MANY_PINS => c"PGS_E_TOO_MANY_PINS",
        PGS_E_HELD => c"PGS_E_HELD",
        PGS_E_DETACHED => c"PGS_E_DETACHED",
        PGS_E_BUSY => c"PGS_E_BUSY",
        PGS_E_TIMED_OUT => c"PGS_E_TIMED_OUT",
        PGS_E_FOREIGN => c"PGS_E_FOREIGN",
        PGS_E_POISONED => c"PGS_E_POISONED",
        PGS_E_POISONED_FRAME => c"PGS_E_POISONED_FRAME",
        PGS_E_FORKED => c"PGS_E_FORKED",
        PGS_E_READ_ONLY => c"PGS_E_READ_ONLY",
        PGS_E_CLOSED => c"PGS_E_CLOSED",
        PGS_E_HOLE => c"PGS_E_HOLE",
        PGS_E_SCATTERED => c"PGS_E_SCATTERED",
        PGS_E_PAST_END => c"PGS_E_PAST_END",
        PGS_E_TOO_MANY_READERS => c"PGS_E_TOO_MANY_READERS",
        PGS_E_NO_ADDRESSES => c"PGS_E_NO_ADDRESSES",
        PGS_E_INTERNAL => c"PGS_E_INTERNAL",
        PGS_E_NAME_COLLISION => c"PGS_E_NAME_COLLISION",
        PGS_E_OTHER => c"PGS_E_OTHER",
        ERRNO_LAST..0 => c"errno",
        _ => c"unknown",
    }
}

/// The largest errno of Linux, negated.
const ERRNO_LAST: i32 = -4095;

/// The code of an error of the engine.
pub(crate) fn of(error: &Error) -> i32 {
    match error {
        Error::Io { source, .. } => source.raw_os_error().map_or(PGS_E_OTHER, |errno| -errno),
        Error::NotARegion { .. } => PGS_E_NOT_A_REGION,
        Error::Version { .. } => PGS_E_VERSION,
        Error::Features { .. } => PGS_E_FEATURES,
        Error::Truncated { .. } => PGS_E_TRUNCATED,
        Error::Corrupt { .. } => PGS_E_CORRUPT,
        Error::InUse { .. } => PGS_E_IN_USE,
        Error::TooWeak { .. } => PGS_E_TOO_WEAK,
        Error::NoSpace { .. } => PGS_E_NO_SPACE,
        Error::NoAddresses { .. } => PGS_E_NO_ADDRESSES,
        Error::Scattered { .. } => PGS_E_SCATTERED,
        Error::NotFound { .. } => PGS_E_NOT_FOUND,
        Error::Exists { .. } => PGS_E_EXISTS,
        Error::BadName { .. } => PGS_E_BAD_NAME,
        Error::NameCollision { .. } => PGS_E_NAME_COLLISION,
        Error::OutOfRange { .. } => PGS_E_OUT_OF_RANGE,
        Error::Invalid(_) => PGS_E_INVALID,
        Error::TooManyPins { .. } => PGS_E_TOO_MANY_PINS,
        Error::TooManyReaders { .. } => PGS_E_TOO_MANY_READERS,
        Error::Held { .. } => PGS_E_HELD,
        Error::Detached { .. } => PGS_E_DETACHED,
        Error::Busy { .. } | Error::WaitsForItself { .. } => PGS_E_BUSY,
        Error::TimedOut { .. } => PGS_E_TIMED_OUT,
        Error::ForeignAddress { .. } => PGS_E_FOREIGN,
        Error::Poisoned { .. } => PGS_E_POISONED,
        Error::PoisonedFrame { .. } => PGS_E_POISONED_FRAME,
        Error::Forked => PGS_E_FORKED,
        Error::ReadOnly => PGS_E_READ_ONLY,
        Error::Closed => PGS_E_CLOSED,
        Error::Internal { .. } => PGS_E_INTERNAL,
        _ => PGS_E_OTHER,
    }
}
