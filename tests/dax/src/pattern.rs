//! The bytes that the load writes. They name their writer and their operation, so that none can be taken for others.

use pagestone_kit::random::Random;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

/// How many writers there are.
pub const WRITERS: u64 = 2;
/// Files of a writer that are kept.
pub const KEPT: u64 = 8;
/// Pages of a writer that are written over and over.
pub const PAGES: u64 = 64;
/// Every so many operations, the journal is replaced by a new one.
pub const ROTATION: u64 = 50;
/// Bytes before a journal record's payload: writer, operation, length.
pub const RECORD_HEAD: usize = 24;

const BLOCK: u64 = 4096;
const DISK: &str = "/dev/vda";

/// `len` bytes that only this writer's operation `n` writes for this purpose.
pub fn bytes(writer: u64, n: u64, purpose: u64, len: usize) -> Vec<u8> {
    Random::new(writer << 56 ^ n << 8 ^ purpose).bytes(len)
}

/// The journal's record of operation `n`.
pub fn record(writer: u64, n: u64) -> Vec<u8> {
    let payload = bytes(writer, n, 1, 16 + (n * 37 % 3000) as usize);
    let head = [writer, n, payload.len() as u64];
    head.iter().flat_map(|word| word.to_le_bytes()).chain(payload).collect()
}

/// The page that operation `n` writes.
pub fn page(writer: u64, n: u64) -> Vec<u8> {
    bytes(writer, n, 2, 4096)
}

/// The file that operation `n` makes.
pub fn file(writer: u64, n: u64) -> Vec<u8> {
    bytes(writer, n, 3, (n * 911 % 20_000) as usize)
}

/// The names of a writer's objects.
pub fn journal_name(writer: u64) -> String {
    format!("journal-{writer}")
}
pub fn pages_name(writer: u64) -> String {
    format!("pages-{writer}")
}
pub fn file_name(writer: u64, n: u64) -> String {
    format!("file-{writer}-{n}")
}

/// What was acknowledged, kept outside of the memory that loses power: a block for each writer on a disk of the host.
pub struct Ledger(File);

impl Ledger {
    /// Opens the disk. A write to it has left the guest when it returns.
    pub fn open() -> io::Result<Self> {
        let flags = libc::O_DIRECT | libc::O_SYNC;
        OpenOptions::new().read(true).write(true).custom_flags(flags).open(DISK).map(Self)
    }

    /// Notes that operation `n` is durable.
    pub fn acknowledge(&self, writer: u64, n: u64) -> io::Result<()> {
        let mut block = Block([0; BLOCK as usize]);
        block.0[..8].copy_from_slice(&n.to_le_bytes());
        self.0.write_all_at(&block.0, writer * BLOCK)
    }

    /// The last operation that was acknowledged; 0 when there is none.
    pub fn acknowledged(&self, writer: u64) -> io::Result<u64> {
        let mut block = Block([0; BLOCK as usize]);
        self.0.read_exact_at(&mut block.0, writer * BLOCK)?;
        let mut word = [0; 8];
        word.copy_from_slice(&block.0[..8]);
        Ok(u64::from_le_bytes(word))
    }
}

/// O_DIRECT wants its memory aligned.
#[repr(align(4096))]
struct Block([u8; BLOCK as usize]);
