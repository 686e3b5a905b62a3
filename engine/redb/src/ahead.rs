//! Room ahead of the writes.
//!
//! redb grows its storage in large steps and fills it over many commits. A hole that is filled by a write costs a record
//! of the region's log, which the next sync must commit, with a second wait for the medium. So the first write into a
//! chunk fills all its holes; the commits after that only flush what they wrote.

use pagestone::{Error, Object};
use std::collections::HashMap;
use std::io;
use std::sync::{PoisonError, RwLock};

/// What is filled in one go: this much of a small database's region may lie unused.
const CHUNK: u64 = 1 << 20;

/// Up to where chunks have no holes, as far as this handle knows. It is a hint: a hole that another handle has made since
/// is filled by the write that meets it.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    filled: RwLock<HashMap<u64, u64>>,
}

impl Ahead {
    /// Sees to it that a write meets no holes.
    pub(crate) fn prepare(&self, object: &Object, offset: u64, len: usize) -> io::Result<()> {
        let end = offset.saturating_add(len as u64);
        for chunk in offset / CHUNK..end.div_ceil(CHUNK) {
            let chunk_end = (chunk + 1).saturating_mul(CHUNK);
            let filled = self.filled.read().unwrap_or_else(PoisonError::into_inner).get(&chunk).copied();
            if filled.is_some_and(|filled| filled >= chunk_end.min(end)) {
                continue;
            }
            // Not beyond the end, where nothing may ever be written.
            let bytes = chunk * CHUNK..chunk_end.min(object.len());
            if bytes.is_empty() {
                return Ok(());
            }
            match object.allocate(bytes.start, bytes.end - bytes.start) {
                // The write itself may need less.
                Err(Error::NoSpace { .. } | Error::NoAddresses { .. }) => return Ok(()),
                filled => filled?,
            }
            self.filled.write().unwrap_or_else(PoisonError::into_inner).insert(chunk, bytes.end);
        }
        Ok(())
    }

    /// The storage will be as long as this: what lies behind is cut off.
    pub(crate) fn cut(&self, len: u64) {
        let mut filled = self.filled.write().unwrap_or_else(PoisonError::into_inner);
        filled.retain(|_, end| *end <= len);
    }
}
