//! Number types with one meaning each. None converts into another by accident, and none has arithmetic operators.

mod lines;

#[cfg(not(feature = "internals"))]
pub(crate) use lines::Lines;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub use lines::Lines;

use std::fmt;
use std::ops::Range;

/// Bytes in a frame, and in a page.
pub const FRAME_SIZE: usize = 4096;
/// Bytes in a cache line: the unit of flushing and of dirty tracking.
pub const LINE_SIZE: usize = 64;
/// Cache lines in a frame.
pub const LINES_PER_FRAME: usize = FRAME_SIZE / LINE_SIZE;
/// Frames in a block: 2 MiB, the unit of huge mappings.
pub const FRAMES_PER_BLOCK: u64 = 512;
/// Maximum number of frames of one region (16 TiB).
pub const REGION_FRAMES_MAX: u64 = 1 << 32;

/// Number of a page frame in the process-wide pfn space.
///
/// It names a frame but gives no access to its bytes; only a guard does.
///
/// ```compile_fail,E0614
/// # use pagestone::Pfn;
/// let bytes: &[u8] = &*Pfn::new(7);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pfn(u64);

impl Pfn {
    /// The frame with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
    /// The frame `frames` further on; `None` beyond the end of the space.
    #[must_use]
    pub const fn checked_add(self, frames: u64) -> Option<Self> {
        match self.0.checked_add(frames) {
            Some(n) => Some(Self(n)),
            None => None,
        }
    }
}

impl fmt::Debug for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pfn {:#x}", self.0)
    }
}

impl fmt::Display for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A run of frames in the pfn space.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct PfnRange {
    /// The first frame.
    pub start: Pfn,
    /// The number of frames.
    pub frames: u64,
}

impl PfnRange {
    /// The run of `frames` frames from `start`.
    #[must_use]
    pub const fn new(start: Pfn, frames: u64) -> Self {
        Self { start, frames }
    }
    /// Whether `pfn` is in the run.
    #[must_use]
    pub const fn contains(&self, pfn: Pfn) -> bool {
        pfn.0 >= self.start.0 && pfn.0 - self.start.0 < self.frames
    }
    /// Each frame of the run, in order.
    pub fn iter(&self) -> impl Iterator<Item = Pfn> + use<> {
        let Range { start, end } = self.start.0..self.start.0.saturating_add(self.frames);
        (start..end).map(Pfn)
    }
}

/// Number of a frame inside its region: its byte offset there is `number * FRAME_SIZE`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FrameNo(pub u32);

impl FrameNo {
    /// Byte offset of the frame in its region.
    #[must_use]
    pub const fn offset(self) -> u64 {
        self.0 as u64 * FRAME_SIZE as u64
    }
}

/// Number of a page inside its object: its byte offset there is `number * FRAME_SIZE`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PageIndex(pub u64);

impl PageIndex {
    /// The page that contains byte `offset` of the object.
    #[must_use]
    pub const fn of_byte(offset: u64) -> Self {
        Self(offset / FRAME_SIZE as u64)
    }
    /// The number of pages that `bytes` bytes need.
    #[must_use]
    pub const fn pages_for(bytes: u64) -> u64 {
        bytes.div_ceil(FRAME_SIZE as u64)
    }
}

/// How durable a sync is. A stronger class compares greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Durability {
    /// Lost with the process or the machine (DRAM, tmpfs).
    Volatile,
    /// Durable after `fdatasync` (an ordinary file).
    Fdatasync,
    /// Durable after a cache-line flush and a fence (persistent memory mapped with `MAP_SYNC`, devdax).
    CacheLine,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Volatile => "volatile",
            Self::Fdatasync => "fdatasync",
            Self::CacheLine => "cache-line",
        })
    }
}

/// The kind of medium of a region.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum MediumKind {
    /// Memory of the process.
    Memory,
    /// A file that is accessed through the kernel's page cache.
    File,
    /// A file on persistent memory that is mapped without a page cache (a file system mounted with `dax`).
    DaxFile,
    /// Persistent memory without a file system (`/dev/dax0.0`). Its size is fixed.
    DevDax,
}

impl fmt::Display for MediumKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::File => "file",
            Self::DaxFile => "DAX file",
            Self::DevDax => "devdax",
        })
    }
}
