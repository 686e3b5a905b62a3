//! The only module that makes bytes durable: flush, fence, non-temporal copies, file syncs.
//!
//! No other module flushes or fences. How stores become durable depends on the region's class:
//!
//! | class | stores become durable by |
//! |---|---|
//! | `CacheLine` | flushing their lines (unless the platform flushes its caches on power loss), then a fence by the thread that flushed; for stores of a dead process, [`Persist::sync_caches`] |
//! | `Fdatasync` | [`Persist::sync_file`], or [`Persist::write_through`] for one range only |
//! | `Volatile` | nothing |
//!
//! Calls that a class does not need do nothing. So a protocol is written once, with all of them. A [`Recorder`] is
//! told every call, so that the crash explorer knows which bytes a power cut may lose.

mod file;
mod lines;
mod recorder;
mod replica;
mod stream;

pub(crate) use file::{sync_directory, sync_file_system, write_and_sync};
pub use lines::FlushInstruction;
pub use recorder::{Event, FileOperation, Recorder};

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::units::{Durability, LINE_SIZE};
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// The durability operations of one region.
#[derive(Debug)]
pub struct Persist {
    class: Durability,
    instruction: FlushInstruction,
    caches_survive: bool,
    recorder: Option<Arc<Recorder>>,
    lines_flushed: AtomicU64,
    lines_streamed: AtomicU64,
    fences: AtomicU64,
    file_syncs: AtomicU64,
    write_throughs: AtomicU64,
}

/// Counters of the operations so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PersistStats {
    /// Cache lines written back by a flush instruction.
    pub lines_flushed: u64,
    /// Cache lines written by non-temporal stores.
    pub lines_streamed: u64,
    /// Store fences.
    pub fences: u64,
    /// Whole-file syncs (`fdatasync`).
    pub file_syncs: u64,
    /// Ranges written through to the medium (`pwritev2` with `RWF_DSYNC`).
    pub write_throughs: u64,
}

impl Persist {
    /// The operations for a region of `class`. `recorder` is told every call. If the processor's caches survive a
    /// power loss (eADR), fences order the stores and nothing is flushed.
    #[must_use]
    pub fn new(class: Durability, caches_survive: bool, recorder: Option<Arc<Recorder>>) -> Self {
        Self {
            class,
            instruction: FlushInstruction::detect(),
            caches_survive,
            recorder,
            lines_flushed: AtomicU64::new(0),
            lines_streamed: AtomicU64::new(0),
            fences: AtomicU64::new(0),
            file_syncs: AtomicU64::new(0),
            write_throughs: AtomicU64::new(0),
        }
    }

    /// The class of the region.
    #[must_use]
    pub fn class(&self) -> Durability {
        self.class
    }

    /// The instruction with which this processor writes a line back.
    #[must_use]
    pub fn instruction(&self) -> FlushInstruction {
        self.instruction
    }

    /// Whether nothing needs to be flushed, because the processor's caches survive a power loss.
    #[must_use]
    pub fn caches_survive(&self) -> bool {
        self.caches_survive
    }

    /// The recorder, if there is one.
    #[must_use]
    pub fn recorder(&self) -> Option<&Arc<Recorder>> {
        self.recorder.as_ref()
    }

    /// Counters so far.
    #[must_use]
    pub fn stats(&self) -> PersistStats {
        // ORDERING: Relaxed everywhere: the counters are independent of each other and order nothing.
        PersistStats {
            lines_flushed: self.lines_flushed.load(Ordering::Relaxed),
            lines_streamed: self.lines_streamed.load(Ordering::Relaxed),
            fences: self.fences.load(Ordering::Relaxed),
            file_syncs: self.file_syncs.load(Ordering::Relaxed),
            write_throughs: self.write_throughs.load(Ordering::Relaxed),
        }
    }

    /// Runs `store`, which stores `bytes` at `offset`, such that the recorded order is the order in memory.
    fn recorded(&self, offset: u64, bytes: &[u8], non_temporal: bool, store: impl FnOnce()) {
        match &self.recorder {
            Some(recorder) => recorder.store(offset, bytes, non_temporal, store),
            None => store(),
        }
    }

    /// Stores one word atomically, with release order.
    ///
    /// # Safety
    /// `base + offset` is a mapped, writable, 8-byte aligned word that is only accessed atomically meanwhile.
    ///
    /// # Durability
    /// None before [`Self::flush`] and [`Self::fence`], or [`Self::sync_file`].
    #[inline]
    pub unsafe fn store(&self, base: *mut u8, offset: u64, value: u64) {
        // SAFETY: the caller's promise.
        let word = unsafe { word_at(base, offset) };
        // ORDERING: Release: a thread that loads this word with Acquire sees what was stored before it.
        self.recorded(offset, &value.to_le_bytes(), false, || {
            word.store(value.to_le(), std::sync::atomic::Ordering::Release)
        });
    }

    /// Stores bytes through the cache.
    ///
    /// # Safety
    /// The range is mapped, writable, and not accessed by anything else meanwhile.
    ///
    /// # Durability
    /// As [`Self::store`].
    pub unsafe fn write(&self, base: *mut u8, offset: u64, bytes: &[u8]) {
        let to = at(base, offset);
        self.recorded(offset, bytes, false, || {
            // SAFETY: the caller's promise; `bytes` cannot overlap a range that nothing else accesses.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) }
        });
    }

    /// Stores bytes past the cache: whole lines by non-temporal stores, a partial first or last line by a store and a
    /// flush. From a few lines on, this is cheaper than storing and flushing.
    ///
    /// The fence contract: on `CacheLine` the caller must call [`Self::fence`] before it stores anything that tells
    /// other threads of these bytes, because non-temporal stores are not ordered before later ordinary ones. On other
    /// classes the bytes are ordered when this returns.
    ///
    /// # Safety
    /// As [`Self::write`].
    ///
    /// # Durability
    /// On `CacheLine`, durable after the next [`Self::fence`]; otherwise as [`Self::write`].
    pub unsafe fn write_nt(&self, base: *mut u8, offset: u64, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(stream::head_len(at(base, offset), bytes.len()));
        let (lines, tail) = rest.split_at(rest.len() / LINE_SIZE * LINE_SIZE);
        let middle = offset + head.len() as u64;
        // SAFETY: a part of the caller's range.
        unsafe { self.write_partial(base, offset, head) };
        if !lines.is_empty() {
            self.recorded(middle, lines, true, || {
                // SAFETY: a part of the caller's range, whole aligned lines of it.
                unsafe { stream::copy(at(base, middle), lines) }
            });
            self.streamed(lines.len());
        }
        // SAFETY: a part of the caller's range.
        unsafe { self.write_partial(base, middle + lines.len() as u64, tail) };
    }

    /// Stores a part of a line and starts its write-back.
    ///
    /// # Safety
    /// As [`Self::write`].
    unsafe fn write_partial(&self, base: *mut u8, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        // SAFETY: the caller's promise.
        unsafe { self.write(base, offset, bytes) };
        // SAFETY: the caller's promise.
        unsafe { self.flush(base, offset, bytes.len()) };
    }

    /// Zeroes whole lines past the cache. The fence contract is that of [`Self::write_nt`].
    ///
    /// # Safety
    /// As [`Self::write`]; the range begins and ends at line boundaries.
    ///
    /// # Durability
    /// As [`Self::write_nt`].
    pub unsafe fn zero_nt(&self, base: *mut u8, offset: u64, len: usize) {
        let to = at(base, offset);
        // SAFETY: the caller's promise.
        let zero = || unsafe { stream::zero(to, len) };
        match &self.recorder {
            Some(recorder) => recorder.store(offset, &vec![0; len], true, zero),
            None => zero(),
        }
        self.streamed(len);
    }

    /// Counts streamed bytes, and orders them if the caller's fence would do nothing.
    fn streamed(&self, len: usize) {
        add(&self.lines_streamed, (len / LINE_SIZE) as u64);
        if self.class != Durability::CacheLine {
            lines::fence();
        }
    }

    /// Tells the recorder of bytes that were stored without this module (through a user's guard).
    ///
    /// # Safety
    /// The range is mapped, and nothing writes to it meanwhile.
    pub unsafe fn wrote(&self, base: *const u8, offset: u64, len: usize) {
        if let Some(recorder) = &self.recorder {
            let from = at(base.cast_mut(), offset);
            // SAFETY: the caller's promise.
            let bytes = unsafe { std::slice::from_raw_parts(from, len) };
            recorder.store(offset, bytes, false, || ());
        }
    }

    /// Tells the recorder the initial contents of the region. From then on it can find stores that it was not told
    /// of.
    ///
    /// # Safety
    /// The range is mapped, and nothing writes to it meanwhile.
    pub unsafe fn begins(&self, base: *const u8, len: u64) {
        if let Some(recorder) = &self.recorder {
            // SAFETY: the caller's promise.
            let bytes = unsafe { std::slice::from_raw_parts(base, len as usize) };
            recorder.begins(bytes.to_vec());
        }
    }

    /// Lets the recorder compare the region with the recorded stores. Bytes that differ were stored without this
    /// module, except `untold` ones: stores through a user's guard are reported only when the guard ends.
    ///
    /// # Safety
    /// The range is mapped, and `base` is aligned as a word is.
    pub unsafe fn audit(&self, base: *mut u8, len: u64, untold: impl Fn(u64) -> bool) {
        if let Some(recorder) = self.recorder.as_ref().filter(|_| self.class != Durability::Volatile) {
            let words = base.cast::<std::sync::atomic::AtomicU64>();
            // SAFETY: the caller's promise; words of a region are accessed as atomics wherever they can race.
            let words = unsafe { std::slice::from_raw_parts(words, len as usize / 8) };
            recorder.audit(words, untold);
        }
    }

    /// Starts writing back the lines of a range, each line once.
    ///
    /// # Safety
    /// The range is mapped.
    ///
    /// # Durability
    /// On `CacheLine`, the contents of the lines are durable after the calling thread's next [`Self::fence`].
    pub unsafe fn flush(&self, base: *const u8, offset: u64, len: usize) {
        if self.class != Durability::CacheLine || self.caches_survive || len == 0 {
            return;
        }
        // Frames, and therefore regions, begin at line boundaries, so lines of the region are lines of memory.
        let first = offset / LINE_SIZE as u64;
        let count = (offset + len as u64).div_ceil(LINE_SIZE as u64) - first;
        let from = at(base.cast_mut(), first * LINE_SIZE as u64);
        // SAFETY: a line with a byte of the range is mapped, because mappings consist of whole pages.
        let write_back = || unsafe { self.instruction.flush(from, count) };
        match &self.recorder {
            Some(recorder) => recorder.flush(first, count, write_back),
            None => write_back(),
        }
        add(&self.lines_flushed, count);
    }

    /// Waits until everything that this thread flushed or stored past the cache is on the medium.
    ///
    /// # Durability
    /// On `CacheLine`, it completes this thread's flushes and non-temporal stores, but not those of other threads.
    pub fn fence(&self) {
        if self.class != Durability::CacheLine {
            return;
        }
        lines::fence();
        if let Some(recorder) = &self.recorder {
            recorder.fence();
        }
        add(&self.fences, 1);
    }

    /// Makes the whole file durable. After an error, everything since the last success is in doubt for good: the
    /// kernel reports the error once and may have dropped the bytes.
    ///
    /// # Durability
    /// On `Fdatasync`, everything stored before the call is durable when it returns `Ok`.
    pub fn sync_file(&self, file: Option<BorrowedFd<'_>>) -> io::Result<()> {
        if self.class != Durability::Fdatasync {
            return Ok(());
        }
        self.sync_caches(file)
    }

    /// As [`Self::sync_file`], but also on `CacheLine`: the kernel knows which pages of a file were stored to, by any
    /// process, and writes their lines back.
    ///
    /// # Durability
    /// Unless the class is `Volatile`, everything stored before the call is durable when it returns `Ok`, except
    /// bytes that another processor has stored past its cache and not fenced.
    pub fn sync_caches(&self, file: Option<BorrowedFd<'_>>) -> io::Result<()> {
        if self.class == Durability::Volatile {
            return Ok(());
        }
        add(&self.file_syncs, 1);
        let sync = || file.map_or(Ok(()), file::sync);
        match &self.recorder {
            Some(recorder) => recorder.sync(sync),
            None => sync(),
        }
    }

    /// Writes back everything that the file system of `file` has in memory, and syncs the file itself, whatever the
    /// class. Each of the two can report errors that the other does not, because it does not know them or another
    /// program was told first. The recorder is not told, so no caller may rely on this.
    ///
    /// # Durability
    /// Everything that any process stored before, in any file of the file system, is durable when this returns `Ok`.
    pub fn sync_file_system(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        self.attempt(FileOperation::FileSystem, || {
            let all = file::sync_file_system(file);
            let own = file::sync(file);
            all.and(own)
        })
    }

    /// Lets the kernel begin to write a range of the file, so that a later sync has less to do. An error counts as a
    /// failed flush, because bytes that could not be written may be gone.
    ///
    /// # Durability
    /// None.
    pub fn start_write_back(&self, file: Option<BorrowedFd<'_>>, offset: u64, len: u64) -> io::Result<()> {
        match file {
            Some(file) if self.class == Durability::Fdatasync => {
                self.attempt(FileOperation::WriteBack, || file::start_write_back(file, offset, len))
            }
            _ => Ok(()),
        }
    }

    /// Makes the length of a file durable that `grew` by these bytes, which nothing uses yet: it writes the last of
    /// them, zeros, through to the medium, which waits for no other dirty byte of the file. The file system may do
    /// more, but the recorder is not told of that, and no caller may rely on it.
    ///
    /// # Durability
    /// Unless the class is `Volatile`, the file's length is durable when this returns `Ok`. Blocks may be missing
    /// after a power loss.
    pub fn sync_length(&self, file: Option<BorrowedFd<'_>>, grew: Range<u64>) -> io::Result<()> {
        match file {
            Some(file) if self.class != Durability::Volatile => {
                self.attempt(FileOperation::Length, || file::sync_end(file, grew))
            }
            _ => Ok(()),
        }
    }

    /// Cuts the file to `bytes`; its end may still be on the medium.
    pub fn cut(&self, file: Option<BorrowedFd<'_>>, bytes: u64) -> io::Result<()> {
        let Some(file) = file else { return Ok(()) };
        self.attempt(FileOperation::Cut, || file::cut(file, bytes))
    }

    /// Makes the length of a file that was cut to `bytes` durable.
    ///
    /// # Durability
    /// The length is durable on `Ok`, where the medium is.
    pub fn sync_cut(&self, file: Option<BorrowedFd<'_>>, bytes: u64) -> io::Result<()> {
        if let Some(file) = file.filter(|_| self.class != Durability::Volatile) {
            self.attempt(FileOperation::Length, || file::sync(file))?;
        }
        self.recorder.iter().for_each(|recorder| recorder.cut(bytes));
        Ok(())
    }

    /// Runs an operation on the file that neither stores nor flushes. The recorder may let it fail.
    pub(crate) fn attempt<T>(
        &self,
        operation: FileOperation,
        run: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        match &self.recorder {
            Some(recorder) => recorder.attempt(operation, run),
            None => run(),
        }
    }

    /// Returns the blocks of a range to the file system. The range reads as zeros at once. Memory keeps its blocks
    /// and is zeroed.
    ///
    /// # Safety
    /// The range is mapped, whole frames, a part of `file` at the same offset, and not used meanwhile.
    ///
    /// # Durability
    /// None: a power loss before a file sync leaves the old bytes, or zeros.
    pub unsafe fn punch(
        &self,
        file: Option<BorrowedFd<'_>>,
        base: *mut u8,
        offset: u64,
        len: usize,
    ) -> io::Result<()> {
        let punch = || match file {
            Some(file) => file::punch(file, offset, len),
            None => {
                for at in (offset..offset + len as u64).step_by(8) {
                    // SAFETY: the caller's promise. A late read of an optimistic reader races with no plain store.
                    let word = unsafe { word_at(base, at) };
                    // ORDERING: Relaxed: no other thread uses these bytes.
                    word.store(0, std::sync::atomic::Ordering::Relaxed);
                }
                Ok(())
            }
        };
        match &self.recorder {
            Some(recorder) => recorder.punch(offset, len as u64, punch),
            None => punch(),
        }
    }

    /// Writes one range of memory through to the medium, and nothing else.
    ///
    /// # Safety
    /// The range is mapped, a part of `file` at the same offset, and nothing writes to it meanwhile.
    ///
    /// # Durability
    /// On `Fdatasync`, the range is durable when this returns `Ok`, and no other byte becomes durable by it.
    pub unsafe fn write_through(
        &self,
        file: Option<BorrowedFd<'_>>,
        base: *const u8,
        offset: u64,
        len: usize,
    ) -> io::Result<()> {
        if self.class != Durability::Fdatasync || len == 0 {
            return Ok(());
        }
        add(&self.write_throughs, 1);
        let from = at(base.cast_mut(), offset);
        let write = || match file {
            // SAFETY: the caller's promise.
            Some(file) => unsafe { file::write_through(file, from, offset, len) },
            None => Ok(()),
        };
        match &self.recorder {
            Some(recorder) => recorder.write_through(offset, len as u64, write),
            None => write(),
        }
    }
}

fn add(counter: &AtomicU64, more: u64) {
    // ORDERING: Relaxed: the counters are independent of each other and order nothing.
    counter.fetch_add(more, Ordering::Relaxed);
}

/// The address `offset` bytes into the mapping at `base`.
fn at(base: *mut u8, offset: u64) -> *mut u8 {
    base.wrapping_add(offset as usize)
}

/// The word at `offset`. A mapped word is always an atomic of `std`, because loom's atomics cannot be placed in
/// mapped memory.
///
/// # Safety
/// As for [`Persist::store`].
pub(crate) unsafe fn word_at<'a>(base: *mut u8, offset: u64) -> &'a std::sync::atomic::AtomicU64 {
    // SAFETY: the caller's promise.
    unsafe { std::sync::atomic::AtomicU64::from_ptr(at(base, offset).cast()) }
}

#[cfg(test)]
mod tests;
