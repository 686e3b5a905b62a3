//! A file of pages: mapped, and read by system calls.

use super::{PAGE, Reader, Ring, gone, word};
use memmap2::Mmap;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Writes a page for each of the ring.
///
/// # Errors
/// Errors of the file.
pub fn write_pages(path: &Path, ring: &Ring) -> io::Result<File> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    let mut writer = BufWriter::with_capacity(1 << 20, &file);
    let mut bytes = [0; PAGE];
    for page in 0..ring.pages() {
        ring.fill(page, &mut bytes);
        writer.write_all(&bytes)?;
    }
    writer.flush()?;
    drop(writer);
    file.sync_all()?;
    Ok(file)
}

/// The mapped file: nothing keeps a page there, and an error of the disk is a signal.
pub struct Mapped(Mmap);

impl Mapped {
    /// Maps the whole file.
    ///
    /// # Errors
    /// Errors of the mapping.
    pub fn of(file: &File) -> io::Result<Self> {
        // SAFETY: a file of this run; nothing truncates or writes it any more.
        Ok(Self(unsafe { Mmap::map(file) }?))
    }
}

impl Reader for Mapped {
    #[inline(always)]
    fn read(&self, page: u64) -> u64 {
        word(&self.0[page as usize * PAGE..])
    }
}

/// `pread` of whole pages out of the page cache into one buffer.
pub struct Pread<'a> {
    file: &'a File,
    buffer: RefCell<Box<[u8; PAGE]>>,
}

impl<'a> Pread<'a> {
    /// Reads from this file.
    pub fn of(file: &'a File) -> Self {
        Self { file, buffer: RefCell::new(Box::new([0; PAGE])) }
    }
}

impl Reader for Pread<'_> {
    #[inline(always)]
    fn read(&self, page: u64) -> u64 {
        let mut buffer = self.buffer.borrow_mut();
        if self.file.read_exact_at(&mut buffer[..], page * PAGE as u64).is_err() {
            gone();
        }
        word(&buffer[..])
    }
}
