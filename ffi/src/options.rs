//! How to open a store.

use crate::boundary::{Answer, Failure, Growing};
use pagestone::Durability;
use std::time::Duration;

/// pgs_open(): create the region if the file is missing, empty or was never formatted. pgs_object_open():
/// create the object if it is missing.
pub const PGS_CREATE: u32 = 1;
/// With PGS_CREATE: fail with PGS_E_EXISTS if it exists already.
pub const PGS_EXCLUSIVE: u32 = 2;
/// pgs_open(): change nothing, not even the bytes of the file. Several readers may have the region open at
/// once.
pub const PGS_READ_ONLY: u32 = 4;
/// pgs_open(): recover as after a loss of power, whatever the region says about the last owner. Use it for a
/// region file whose bytes were replaced by older ones under the same inode.
pub const PGS_ASSUME_POWER_LOSS: u32 = 8;

/// pgs_open(): allow copy-on-write storage (btrfs, bcachefs, zfs). There a full disk can end the process with
/// SIGBUS although space was allocated.
pub const PGS_COPY_ON_WRITE: u32 = 16;

/// No requirement; for `assume`: use the class that the medium reports.
pub const PGS_DURABILITY_ANY: u32 = 0;
/// Lost when the machine loses power (DRAM, tmpfs).
pub const PGS_DURABILITY_VOLATILE: u32 = 1;
/// Made durable by fdatasync (an ordinary file).
pub const PGS_DURABILITY_FDATASYNC: u32 = 2;
/// Made durable by cache-line flush and fence (persistent memory).
pub const PGS_DURABILITY_CACHE_LINE: u32 = 3;

/// Options of pgs_open(). All fields but `size` may be 0, which is the default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Options {
    /// sizeof(pgs_options).
    pub size: usize,
    /// PGS_CREATE, PGS_EXCLUSIVE, PGS_READ_ONLY, PGS_ASSUME_POWER_LOSS, PGS_COPY_ON_WRITE.
    pub flags: u32,
    /// The weakest durability that is acceptable (PGS_DURABILITY_*). A weaker medium is PGS_E_TOO_WEAK.
    pub required: u32,
    /// Treat the medium as this class, whatever it is (for tests, or a known platform). pgs_info() reports it
    /// as assumed.
    pub assume: u32,
    /// Frames of the log of a new region; 0: the default.
    pub log_frames: u32,
    /// The region never grows beyond this many bytes; 0: as far as the medium and the reserved addresses
    /// allow.
    pub max_bytes: u64,
    /// How many milliseconds pgs_open() waits while another process, or this one, has the region open. With 0
    /// it still waits for an owner that was killed and has not gone yet, and for a moment for a reader.
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
    /// The options that pgs_open() uses for NULL.
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

    /// The same as options of the engine.
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
        _ => return Err(Failure::invalid(format!("unknown durability class {number}"))),
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

/// The flags of a call; all bits are known ones.
#[derive(Clone, Copy)]
pub(crate) struct Flags(u32);

impl Flags {
    /// `bits`, if all are in `known`. PGS_EXCLUSIVE needs PGS_CREATE.
    pub(crate) fn of(bits: u32, known: u32) -> Answer<Self> {
        let flags = Self(bits);
        if bits & !known != 0 {
            return Err(Failure::invalid(format!("unknown flags {:#x}", bits & !known)));
        }
        if known & PGS_EXCLUSIVE != 0 && flags.has(PGS_EXCLUSIVE) && !flags.has(PGS_CREATE) {
            return Err(Failure::invalid("PGS_EXCLUSIVE needs PGS_CREATE\0"));
        }
        Ok(flags)
    }
    /// Whether `flag` is set.
    pub(crate) const fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }
}
