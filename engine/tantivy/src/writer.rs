//! Writing a file.

use pagestone::Object;
use std::io::{self, Write};
use tantivy::directory::{AntiCallToken, TerminatingWrite};

/// Number of bytes stored at once. Their frames are adjacent if the region has so many together, and reads within
/// them are then not copied.
const CHUNK: usize = 1 << 20;

/// Appends to an object, in large pieces.
pub(crate) struct Writer {
    object: Object,
    pending: Vec<u8>,
}

impl Writer {
    /// A writer for a new, empty object.
    pub(crate) fn new(object: Object) -> Self {
        Self { object, pending: Vec::new() }
    }

    fn store(&mut self) -> io::Result<()> {
        self.object.append(&self.pending)?;
        self.pending.clear();
        Ok(())
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK - self.pending.len();
        let taken = &bytes[..bytes.len().min(room)];
        self.pending.extend_from_slice(taken);
        if self.pending.len() == CHUNK {
            self.store()?;
        }
        Ok(taken.len())
    }

    /// Keeps the bytes: nothing reads a file before it is terminated, and larger pieces are better.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TerminatingWrite for Writer {
    fn terminate_ref(&mut self, _: AntiCallToken) -> io::Result<()> {
        self.store()?;
        self.pending = Vec::new();
        Ok(())
    }
}
