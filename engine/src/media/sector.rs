//! A sector that can be told whole from torn: little-endian fields, and a checksum bound to its place.

use crate::error::Result;
use crate::media::layout::{SECTOR_SIZE, WORD_SIZE};
use crate::region::Memory;

/// Where a sector's checksum stands.
const CHECKSUM: usize = SECTOR_SIZE - 4;

/// One sector's bytes, built or read field by field.
#[derive(Clone, PartialEq, Eq)]
pub struct Sector([u8; SECTOR_SIZE]);

/// What was found in a sector.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Found<T> {
    /// It is whole.
    Whole(T),
    /// It was never written.
    Blank,
    /// Its checksum does not match: torn, worn or written to the wrong place.
    Torn,
}

impl<T> Found<T> {
    /// The content, if the sector is whole.
    pub fn whole(self) -> Option<T> {
        match self {
            Self::Whole(value) => Some(value),
            Self::Blank | Self::Torn => None,
        }
    }
}

impl std::fmt::Debug for Sector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sector")
    }
}

impl Sector {
    /// An empty sector that begins with `magic`.
    #[must_use]
    pub fn new(magic: &[u8; 8]) -> Self {
        let mut sector = Self([0; SECTOR_SIZE]);
        sector.put(0, magic);
        sector
    }

    /// Stores bytes at `at`.
    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }
    /// Stores a number at `at`.
    pub fn put_u64(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_le_bytes());
    }
    /// Stores a number at `at`.
    pub fn put_u32(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_le_bytes());
    }
    /// The `N` bytes at `at`.
    #[must_use]
    pub fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&self.0[at..at + N]);
        out
    }
    /// The number at `at`.
    #[must_use]
    pub fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes(at))
    }
    /// The number at `at`.
    #[must_use]
    pub fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }

    /// Reads the sector at `offset`.
    pub fn read(memory: &Memory, offset: u64, magic: &[u8; 8]) -> Result<Found<Self>> {
        let mut sector = Self([0; SECTOR_SIZE]);
        memory.read(offset, &mut sector.0)?;
        if sector.0.iter().all(|&b| b == 0) {
            return Ok(Found::Blank);
        }
        let whole = sector.bytes(0) == *magic && sector.u32(CHECKSUM) == sector.checksum(offset);
        Ok(if whole { Found::Whole(sector) } else { Found::Torn })
    }

    /// Stores the sector at `offset`.
    ///
    /// # Durability
    /// None: if the power fails, the sector is torn, absent or whole.
    pub fn store(self, memory: &Memory, offset: u64) -> Result {
        memory.write(offset, &self.sealed(offset).0)
    }

    /// Writes the sector to the file of a region that is open read-only.
    ///
    /// # Durability
    /// As [`Self::write`].
    pub fn write_past(self, memory: &Memory, offset: u64) -> Result {
        memory.write_past(offset, &self.sealed(offset).0)
    }

    /// The words of the sector as they stand at `offset`.
    pub fn words(self, offset: u64) -> impl Iterator<Item = u64> {
        let sealed = self.sealed(offset);
        (0..SECTOR_SIZE).step_by(WORD_SIZE as usize).map(move |at| sealed.u64(at))
    }

    fn sealed(mut self, offset: u64) -> Self {
        let checksum = self.checksum(offset);
        self.put_u32(CHECKSUM, checksum);
        self
    }

    /// Stores the sector at `offset` and returns when it is durable.
    ///
    /// # Durability
    /// Durable on return. If the power fails before, the sector is torn, absent or whole.
    pub fn write(self, memory: &Memory, offset: u64) -> Result {
        self.store(memory, offset)?;
        memory.flush(offset, SECTOR_SIZE)?;
        memory.fence();
        memory.write_through(offset, SECTOR_SIZE)
    }

    /// The checksum, bound to the place so that a misdirected write is noticed.
    fn checksum(&self, offset: u64) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&offset.to_le_bytes()), &self.0[..CHECKSUM])
    }
}
