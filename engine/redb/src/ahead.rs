//! Frames are allocated ahead of the writes.
//!
//! redb grows its storage in large steps and fills it over many commits. A write that fills a hole costs a record of
//! the region's log, which the next sync must commit, with a second wait for the medium. So the first write into a
//! chunk fills all holes of the chunk, and later commits only flush the bytes that they wrote.

use pagestone::{Error, Object};
use std::collections::HashMap;
use std::io;
use std::sync::{PoisonError, RwLock};

/// The size of a chunk, and the most that may be allocated and unused in a small database's region.
const CHUNK: u64 = 1 << 20;

/// Up to which byte each chunk has no holes, as far as this handle knows. It is only a hint: if another handle has
/// made a hole since, the write that meets it fills it.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    filled: RwLock<HashMap<u64, u64>>,
}

impl Ahead {
    /// Fills the holes that a write would meet.
    pub(crate) fn prepare(&self, object: &Object, offset: u64, len: usize) -> io::Result<()> {
        let end = offset.saturating_add(len as u64);
        for chunk in offset / CHUNK..end.div_ceil(CHUNK) {
            let chunk_end = (chunk + 1).saturating_mul(CHUNK);
            let filled = self.filled.read().unwrap_or_else(PoisonError::into_inner).get(&chunk).copied();
            if filled.is_some_and(|filled| filled >= chunk_end.min(end)) {
                continue;
            }
            // Not beyond the end, which may never be written.
            let bytes = chunk * CHUNK..chunk_end.min(object.len());
            if bytes.is_empty() {
                return Ok(());
            }
            match object.allocate(bytes.start, bytes.end - bytes.start) {
                // The write itself may need less room.
                Err(Error::NoSpace { .. } | Error::NoAddresses { .. }) => return Ok(()),
                filled => filled?,
            }
            self.filled.write().unwrap_or_else(PoisonError::into_inner).insert(chunk, bytes.end);
        }
        Ok(())
    }

    /// Forgets what is beyond `len`, where the storage is about to be cut.
    pub(crate) fn cut(&self, len: u64) {
        let mut filled = self.filled.write().unwrap_or_else(PoisonError::into_inner);
        filled.retain(|_, end| *end <= len);
    }
}
