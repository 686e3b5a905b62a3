//! How a store is opened.

use crate::boundary::{Answer, Failure, Growing};
use pagestone::Durability;
use std::time::Duration;

/// pgs_open(): create the region if the file is missing, empty or never formatted. pgs_object_open(): create
/// the object if it is missing.
pub const PGS_CREATE: u32 = 1;
/// With PGS_CREATE: PGS_E_EXISTS if it is there already.
pub const PGS_EXCLUSIVE: u32 = 2;
/// pgs_open(): change nothing, not even the file's bytes; several readers may have the region open at once.
pub const PGS_READ_ONLY: u32 = 4;
/// pgs_open(): recover as after a loss of power, whatever can be told of the last owner's end. For a region file whose
/// bytes were put back to earlier ones under the same inode.
pub const PGS_ASSUME_POWER_LOSS: u32 = 8;

/// pgs_open(): allow storage that writes elsewhere when it is overwritten (btrfs, bcachefs, zfs), where a full disk can
/// end the process with SIGBUS although space was allocated.
pub const PGS_COPY_ON_WRITE: u32 = 16;

/// No demand; or: the medium is taken for what it says it is.
pub const PGS_DURABILITY_ANY: u32 = 0;
/// Lost with the machine (DRAM, tmpfs).
pub const PGS_DURABILITY_VOLATILE: u32 = 1;
/// Durable by fdatasync (an ordinary file).
pub const PGS_DURABILITY_FDATASYNC: u32 = 2;
/// Durable by cache-line flush and fence (persistent memory).
pub const PGS_DURABILITY_CACHE_LINE: u32 = 3;

/// How to open a store. All zero but `size` is the default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Options {
    /// sizeof(pgs_options).
    pub size: usize,
    /// PGS_CREATE, PGS_EXCLUSIVE, PGS_READ_ONLY, PGS_ASSUME_POWER_LOSS, PGS_COPY_ON_WRITE.
    pub flags: u32,
    /// The weakest durability that will do (PGS_DURABILITY_*); a weaker medium is PGS_E_TOO_WEAK.
    pub required: u32,
    /// Take the medium for this class whatever it is (tests, a known platform); pgs_info() shows it.
    pub assume: u32,
    /// Frames of the log of a region that is created; 0: the default.
    pub log_frames: u32,
    /// The region never grows beyond this many bytes; 0: as large as the medium and the address window allow.
    pub max_bytes: u64,
    /// Milliseconds that pgs_open() waits while another process, or this one, has the region open; 0: an owner that was
    /// killed and is still being cleared away is waited for, and for a moment one that reads.
    pub wait_ms: u64,
    /// Must be 0.
    pub reserved: [u64; 3],
}

// SAFETY: repr(C), integers only, the layout asserted below leaves no padding.
unsafe impl Growing for Options {
    const FIRST: usize = 64;
    const NAME: &'static str = "pgs_options";
}
const _: () = assert!(size_of::<Options>() == 64);

impl Options {
    /// What pgs_open() does without options.
    pub(crate) const DEFAULT: Self = Self {
        size: 64,
        flags: 0,
        required: 0,
        assume: 0,
        log_frames: 0,
        max_bytes: 0,
        wait_ms: 0,
        reserved: [0; 3],
    };

    /// The engine's options.
    pub(crate) fn engine(&self) -> Answer<pagestone::Options> {
        let known = PGS_CREATE | PGS_EXCLUSIVE | PGS_READ_ONLY | PGS_ASSUME_POWER_LOSS | PGS_COPY_ON_WRITE;
        let flags = Flags::of(self.flags, known)?;
        if flags.has(PGS_READ_ONLY) && flags.has(PGS_CREATE) {
            return Err(Failure::invalid("PGS_READ_ONLY and PGS_CREATE contradict each other\0"));
        }
        if self.reserved != [0; 3] {
            return Err(Failure::invalid("pgs_options.reserved is not 0\0"));
        }
        let mut options = pagestone::Options::new()
            .create(flags.has(PGS_CREATE))
            .create_new(flags.has(PGS_EXCLUSIVE))
            .wait(Duration::from_millis(self.wait_ms))
            .read_only(flags.has(PGS_READ_ONLY))
            .assume_power_loss(flags.has(PGS_ASSUME_POWER_LOSS))
            .copy_on_write(flags.has(PGS_COPY_ON_WRITE));
        if let Some(class) = class(self.required)? {
            options = options.require(class);
        }
        if let Some(class) = class(self.assume)? {
            options = options.assume(class);
        }
        if self.log_frames != 0 {
            options = options.log_frames(self.log_frames);
        }
        if self.max_bytes != 0 {
            options = options.max_size(self.max_bytes);
        }
        Ok(options)
    }
}

fn class(number: u32) -> Answer<Option<Durability>> {
    Ok(Some(match number {
        PGS_DURABILITY_ANY => return Ok(None),
        PGS_DURABILITY_VOLATILE => Durability::Volatile,
        PGS_DURABILITY_FDATASYNC => Durability::Fdatasync,
        PGS_DURABILITY_CACHE_LINE => Durability::CacheLine,
        _ => return Err(Failure::invalid(format!("there is no durability class {number}"))),
    }))
}

/// The PGS_DURABILITY_* of a class.
pub(crate) fn number(class: Durability) -> u32 {
    match class {
        Durability::Volatile => PGS_DURABILITY_VOLATILE,
        Durability::Fdatasync => PGS_DURABILITY_FDATASYNC,
        Durability::CacheLine => PGS_DURABILITY_CACHE_LINE,
    }
}

/// Flags of a call, all of them known.
#[derive(Clone, Copy)]
pub(crate) struct Flags(u32);

impl Flags {
    /// `bits`, if none lies outside `known`; PGS_EXCLUSIVE only with PGS_CREATE.
    pub(crate) fn of(bits: u32, known: u32) -> Answer<Self> {
        let flags = Self(bits);
        if bits & !known != 0 {
            return Err(Failure::invalid(format!("unknown flags {:#x}", bits & !known)));
        }
        if known & PGS_EXCLUSIVE != 0 && flags.has(PGS_EXCLUSIVE) && !flags.has(PGS_CREATE) {
            return Err(Failure::invalid("PGS_EXCLUSIVE means something with PGS_CREATE only\0"));
        }
        Ok(flags)
    }
    /// Whether `flag` is among them.
    pub(crate) const fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }
}
