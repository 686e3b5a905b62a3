//! Reading a file.

use crate::bytes::PinnedBytes;
use crate::reads::Counters;
use crate::slices::{Runs, Slice};
use pagestone::page::ReadRange;
use pagestone::store::PinRange;
use pagestone::units::FRAME_SIZE;
use pagestone::{Error, Object};
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use tantivy::HasLen;
use tantivy::directory::{FileHandle, OwnedBytes};

/// An object with its length when it was opened. It stays while the handle lives, even if its name is removed.
pub(crate) struct File {
    object: Object,
    len: usize,
    counters: Arc<Counters>,
    runs: Arc<Runs>,
}

impl File {
    pub(crate) fn new(object: Object, counters: Arc<Counters>, runs: Arc<Runs>) -> Self {
        let len = usize::try_from(object.len()).unwrap_or(usize::MAX);
        Self { object, len, counters, runs }
    }

    /// The bytes of a non-empty range in place, if the frames of its pages are adjacent and their latch is already
    /// shared or can take another reader.
    fn pin(&self, range: &Range<usize>) -> io::Result<Option<Slice>> {
        let pages = range.start / FRAME_SIZE..range.end.div_ceil(FRAME_SIZE);
        let start = pages.start * FRAME_SIZE;
        let len = (pages.end * FRAME_SIZE).min(self.len) - start;
        let bytes = range.start - start..range.end - start;
        self.runs.slice(pages, bytes, || self.latch(start, len))
    }

    fn latch(&self, start: usize, len: usize) -> io::Result<Option<ReadRange>> {
        match self.object.pin_range(start as u64, len) {
            Ok(PinRange::Pinned(pinned)) => Ok(pinned.try_read()?),
            Ok(PinRange::Hole | PinRange::PastEnd | PinRange::Scattered) | Err(Error::TooManyPins { .. }) => {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn copy(&self, range: &Range<usize>) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; range.len()];
        match self.object.read_at(range.start as u64, &mut bytes)? {
            read if read == bytes.len() => Ok(bytes),
            _ => Err(self.past_the_end(range)),
        }
    }

    fn past_the_end(&self, range: &Range<usize>) -> io::Error {
        let why = format!("bytes {range:x?} of a file of {:#x} bytes", self.len);
        io::Error::new(io::ErrorKind::UnexpectedEof, why)
    }
}

impl FileHandle for File {
    fn read_bytes(&self, range: Range<usize>) -> io::Result<OwnedBytes> {
        if range.start > range.end || range.end > self.len {
            return Err(self.past_the_end(&range));
        }
        if range.is_empty() {
            return Ok(OwnedBytes::empty());
        }
        if let Some(pinned) = self.pin(&range)? {
            self.counters.pinned(range.len());
            return Ok(OwnedBytes::new(PinnedBytes(pinned)));
        }
        let copy = self.copy(&range)?;
        self.counters.copied(range.len());
        Ok(OwnedBytes::new(copy))
    }
}

impl HasLen for File {
    fn len(&self) -> usize {
        self.len
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("object", &self.object).finish_non_exhaustive()
    }
}
