//! Slices of one run of pages share its pins and latches. A searcher keeps a slice for each field and term, often
//! many in one page, and a page has room for some hundreds of latches only.

use pagestone::page::ReadRange;
use std::collections::HashMap;
use std::ops::{Deref, Range};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The runs of one file that have slices, by their first page and the page after the last.
#[derive(Default)]
pub(crate) struct Runs {
    kept: Mutex<HashMap<Range<usize>, Weak<Run>>>,
}

/// The files of a directory that are open, by the numbers of their objects.
#[derive(Default)]
pub(crate) struct Files {
    open: Mutex<HashMap<u64, Weak<Runs>>>,
}

/// A run of pages, pinned and latched once for all its slices.
struct Run {
    latched: ReadRange,
    pages: Range<usize>,
    runs: Arc<Runs>,
}

/// Some bytes of a run.
pub(crate) struct Slice {
    run: Arc<Run>,
    bytes: Range<usize>,
}

impl Files {
    /// The runs that all handles of one file share.
    pub(crate) fn runs(&self, object: u64) -> Arc<Runs> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runs) = open.get(&object).and_then(Weak::upgrade) {
            return runs;
        }
        open.retain(|_, runs| runs.strong_count() != 0);
        let runs = Arc::<Runs>::default();
        open.insert(object, Arc::downgrade(&runs));
        runs
    }
}

impl Runs {
    /// A slice with the bytes at `bytes` of a run of pages. If no other slice has the run, `latch` pins and latches
    /// it.
    pub(crate) fn slice<E>(
        self: &Arc<Self>,
        pages: Range<usize>,
        bytes: Range<usize>,
        latch: impl FnOnce() -> Result<Option<ReadRange>, E>,
    ) -> Result<Option<Slice>, E> {
        // A handle that was opened when the file was shorter may have latched a smaller part of the last page.
        if let Some(run) = self.find(&pages).filter(|run| run.latched.len() >= bytes.end) {
            return Ok(Some(Slice { run, bytes }));
        }
        // Not under the lock. If two threads latch a run at the same time, each keeps its own.
        let Some(latched) = latch()? else { return Ok(None) };
        let run = Arc::new(Run { latched, pages: pages.clone(), runs: Arc::clone(self) });
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(pages, Arc::downgrade(&run));
        Ok(Some(Slice { run, bytes }))
    }

    fn find(&self, pages: &Range<usize>) -> Option<Arc<Run>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(pages).and_then(Weak::upgrade)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let mut kept = self.runs.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Another slice may have latched the run again.
        if kept.get(&self.pages).is_some_and(|run| run.strong_count() == 0) {
            kept.remove(&self.pages);
        }
    }
}

impl Deref for Slice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.run.latched[self.bytes.clone()]
    }
}
