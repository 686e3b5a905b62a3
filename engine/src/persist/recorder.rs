//! The recorder: all operations of `persist`, in one order; and switches that break them, for tests.

use super::replica::Replica;
use crate::sync::Mutex;
use crate::sync::thread::{self, ThreadId};
use crate::units::LINE_SIZE;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

/// An event. Threads are numbered from 0 in the order of their first event; offsets are bytes in the region.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the fields mean the same in every variant, as said above")]
pub enum Event {
    /// Bytes were stored to memory. A non-temporal store also counts as flushed.
    Store { thread: u32, offset: u64, bytes: Box<[u8]>, non_temporal: bool },
    /// The write-back of the line at `line_offset` was started.
    Flush { thread: u32, line_offset: u64 },
    /// The thread's flushes and non-temporal stores are complete.
    Fence { thread: u32 },
    /// `fdatasync` begins: everything stored before is durable at its end. Without an end it failed, and everything
    /// is in doubt.
    SyncBegin { thread: u32 },
    /// `fdatasync` succeeded.
    SyncEnd { thread: u32 },
    /// `pwritev2(RWF_DSYNC)` of the range begins. Without an end it failed, and the range is in doubt.
    WriteThroughBegin { thread: u32, offset: u64, len: u64 },
    /// `pwritev2(RWF_DSYNC)` succeeded: the contents of the range at the beginning are durable.
    WriteThroughEnd { thread: u32, offset: u64, len: u64 },
    /// The region's length is `bytes`, durably.
    Grow { bytes: u64 },
    /// The region's length is `bytes` and was more before, durably.
    Cut { bytes: u64 },
    /// The blocks of the range were returned to the file system: it reads as zeros. A crash leaves zeros or the old
    /// bytes.
    Punch { thread: u32, offset: u64, len: u64 },
    /// A mark of a test: an acknowledgement, a boundary.
    Mark { thread: u32, label: u64 },
    /// The region's bytes differ from everything recorded: a store has bypassed `persist`.
    Bypass { thread: u32, offset: u64, len: u64 },
}

/// The operations on the region's file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileOperation {
    /// `fdatasync`.
    Sync,
    /// `pwritev2(RWF_DSYNC)`.
    WriteThrough,
    /// `fallocate` and related calls: blocks for a region that grows. Not recorded as an event.
    Allocate,
    /// `pwritev2(RWF_DSYNC)` at the end of a file that grew, for its length, or `fdatasync` of one that was cut. Not recorded as
    /// an event of its own.
    Length,
    /// `syncfs`, by an opening after a death. Not recorded as an event.
    FileSystem,
    /// `sync_file_range`: a write-back is started, which makes nothing durable. Not recorded as an event.
    WriteBack,
    /// A check of the file's length, or of its blocks. Not recorded as an event.
    Look,
    /// `fallocate` that returns blocks.
    Punch,
    /// `ftruncate`, of a file whose end is free. Not recorded as an event of its own.
    Cut,
}

/// The kinds of operations for which a fault can be planned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Flush,
    Fence,
    File(FileOperation),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    /// The operation is made but not recorded, as if the code had forgotten it.
    Forget,
    /// The operation is not made, and returns this error of the operating system.
    Fail(i32),
}

/// A planned fault. It strikes after `after` more operations of its kind.
#[derive(Debug)]
struct Plan {
    kind: Kind,
    fault: Fault,
    after: u64,
}

/// Records every store, flush, fence and file operation of its regions.
#[derive(Debug, Default)]
pub struct Recorder {
    log: Mutex<Log>,
    hook: OnceLock<Hook>,
}

/// Called with each event before it happens.
struct Hook(Box<dyn Fn(&Event) + Send + Sync>);

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

#[derive(Debug, Default)]
struct Log {
    events: Vec<Event>,
    threads: HashMap<ThreadId, u32>,
    plans: Vec<Plan>,
    replica: Replica,
    /// File operations so far.
    files: Vec<FileOperation>,
    breakdown: Option<Breakdown>,
}

/// File operations fail from a certain one on, whatever their kind.
#[derive(Clone, Copy, Debug)]
struct Breakdown {
    after: usize,
    error: i32,
    lasting: bool,
}

impl Log {
    fn thread(&mut self) -> u32 {
        let next = self.threads.len() as u32;
        *self.threads.entry(thread::current().id()).or_insert(next)
    }

    /// The fault that strikes this operation of `kind`.
    fn strike(&mut self, kind: Kind) -> Option<Fault> {
        let mut struck = None;
        self.plans.retain_mut(|plan| {
            if plan.kind != kind {
                return true;
            }
            if plan.after == 0 {
                struck = Some(plan.fault);
                return false;
            }
            plan.after -= 1;
            true
        });
        struck
    }

    /// As [`Self::strike`], for a file operation, which is counted.
    fn strike_file(&mut self, operation: FileOperation) -> Option<Fault> {
        let number = self.files.len();
        self.files.push(operation);
        let breaks = |b: &Breakdown| if b.lasting { number >= b.after } else { number == b.after };
        let broken = self.breakdown.filter(breaks).map(|b| Fault::Fail(b.error));
        self.strike(Kind::File(operation)).or(broken)
    }
}

impl Recorder {
    /// A new recorder.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Calls `hook` with each event (except marks) before it happens, on the thread that is about to cause it. The
    /// hook may block: in this way a test stops a thread at a step and lets others run. Only the first hook is kept.
    pub fn on_event(&self, hook: impl Fn(&Event) + Send + Sync + 'static) {
        let _ = self.hook.set(Hook(Box::new(hook)));
    }

    /// Calls the hook, with no lock held.
    fn announce(&self, event: impl FnOnce(u32) -> Event) {
        if let Some(hook) = self.hook.get() {
            let thread = self.log.lock().thread();
            (hook.0)(&event(thread));
        }
    }

    /// Records a mark between the events before and after.
    pub fn mark(&self, label: u64) {
        let mut log = self.log.lock();
        let thread = log.thread();
        log.events.push(Event::Mark { thread, label });
    }

    /// The events since the last call, in order. Thread numbers continue.
    #[must_use]
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.log.lock().events)
    }

    /// Lets the `nth` next operation fail with `EIO`, without effect; 0 is the next one.
    pub fn fail_next(&self, operation: FileOperation, nth: u64) {
        self.fail_next_with(operation, nth, libc::EIO);
    }

    /// As [`fail_next`](Self::fail_next), with this error of the operating system.
    pub fn fail_next_with(&self, operation: FileOperation, nth: u64, error: i32) {
        self.plan(Kind::File(operation), Fault::Fail(error), nth);
    }

    /// Lets the file operation with this number (the first has 0) fail with this error of the operating system,
    /// without effect. If the fault is `lasting`, all later ones fail, too.
    pub fn break_down(&self, after: usize, error: i32, lasting: bool) {
        self.log.lock().breakdown = Some(Breakdown { after, error, lasting });
    }

    /// All file operations so far, including those that failed.
    #[must_use]
    pub fn file_operations(&self) -> Vec<FileOperation> {
        self.log.lock().files.clone()
    }

    /// Does not record the `nth` next fence (0: the next one), as if the code had forgotten it.
    pub fn drop_fence(&self, nth: u64) {
        self.plan(Kind::Fence, Fault::Forget, nth);
    }

    /// Does not record the flush of the `nth` next line (0: the next one), as if the code had forgotten it.
    pub fn drop_flush(&self, nth: u64) {
        self.plan(Kind::Flush, Fault::Forget, nth);
    }

    /// Does not record the `nth` next file operation (0: the next one), as if the code had forgotten it.
    pub fn drop_file(&self, operation: FileOperation, nth: u64) {
        self.plan(Kind::File(operation), Fault::Forget, nth);
    }

    fn plan(&self, kind: Kind, fault: Fault, after: u64) {
        self.log.lock().plans.push(Plan { kind, fault, after });
    }

    /// Records a store and runs it, as one step, so that the recorded order is the order in memory.
    pub(super) fn store(&self, offset: u64, bytes: &[u8], non_temporal: bool, run: impl FnOnce()) {
        self.announce(|thread| Event::Store { thread, offset, bytes: bytes.into(), non_temporal });
        let mut log = self.log.lock();
        let thread = log.thread();
        log.events.push(Event::Store { thread, offset, bytes: bytes.into(), non_temporal });
        log.replica.store(offset, bytes);
        run();
    }

    /// Records the flush of `count` lines from line number `first`, and runs it.
    pub(super) fn flush(&self, first: u64, count: u64, run: impl FnOnce()) {
        let event = |thread, line| Event::Flush { thread, line_offset: line * LINE_SIZE as u64 };
        for line in first..first + count {
            self.announce(|thread| event(thread, line));
        }
        let mut log = self.log.lock();
        let thread = log.thread();
        for line in first..first + count {
            if log.strike(Kind::Flush).is_none() {
                log.events.push(event(thread, line));
            }
        }
        run();
    }

    /// Records a fence of this thread.
    pub(super) fn fence(&self) {
        self.announce(|thread| Event::Fence { thread });
        let mut log = self.log.lock();
        let thread = log.thread();
        if log.strike(Kind::Fence).is_none() {
            log.events.push(Event::Fence { thread });
        }
    }

    /// Records a punch and runs it, as one step, so that the recorded order is the order in memory. A punch that
    /// fails may still have happened.
    pub(super) fn punch(
        &self,
        offset: u64,
        len: u64,
        run: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        self.announce(|thread| Event::Punch { thread, offset, len });
        let mut log = self.log.lock();
        let (thread, fault) = (log.thread(), log.strike_file(FileOperation::Punch));
        if let Some(Fault::Fail(error)) = fault {
            return Err(io::Error::from_raw_os_error(error));
        }
        if fault.is_none() {
            log.events.push(Event::Punch { thread, offset, len });
        }
        log.replica.store(offset, &vec![0; len as usize]);
        run()
    }

    /// Records an `fdatasync` around `run`.
    pub(super) fn sync(&self, run: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.around(
            FileOperation::Sync,
            |thread| Event::SyncBegin { thread },
            |thread| Event::SyncEnd { thread },
            run,
        )
    }

    /// Records a write-through of a range around `run`.
    pub(super) fn write_through(
        &self,
        offset: u64,
        len: u64,
        run: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        self.around(
            FileOperation::WriteThrough,
            |thread| Event::WriteThroughBegin { thread, offset, len },
            |thread| Event::WriteThroughEnd { thread, offset, len },
            run,
        )
    }

    /// Records `begin`, runs, and records `end` if it succeeded. Other threads go on meanwhile.
    fn around(
        &self,
        operation: FileOperation,
        begin: impl Fn(u32) -> Event,
        end: impl Fn(u32) -> Event,
        run: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        self.announce(&begin);
        let (thread, fault) = {
            let mut log = self.log.lock();
            let (thread, fault) = (log.thread(), log.strike_file(operation));
            if fault != Some(Fault::Forget) {
                log.events.push(begin(thread));
            }
            (thread, fault)
        };
        match fault {
            Some(Fault::Fail(error)) => Err(io::Error::from_raw_os_error(error)),
            Some(Fault::Forget) => run(),
            None => {
                run()?;
                self.announce(&end);
                self.log.lock().events.push(end(thread));
                Ok(())
            }
        }
    }

    /// Runs a file operation that is not recorded as an event, unless it is to fail.
    pub(crate) fn attempt<T>(
        &self,
        operation: FileOperation,
        run: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let fault = self.log.lock().strike_file(operation);
        match fault {
            Some(Fault::Fail(error)) => Err(io::Error::from_raw_os_error(error)),
            Some(Fault::Forget) | None => run(),
        }
    }

    /// Records that the region has `bytes` bytes, durably.
    pub(crate) fn grow(&self, bytes: u64) {
        let mut log = self.log.lock();
        log.replica.grow(bytes);
        log.events.push(Event::Grow { bytes });
    }

    /// Records that the region has no more than `bytes` bytes, durably.
    pub(super) fn cut(&self, bytes: u64) {
        self.announce(|_| Event::Cut { bytes });
        let mut log = self.log.lock();
        log.replica.cut(bytes);
        log.events.push(Event::Cut { bytes });
    }

    /// Notes the contents of the region before the first event.
    pub(super) fn begins(&self, bytes: Vec<u8>) {
        self.log.lock().replica = Replica::of(bytes);
    }

    /// Records where `real` differs from the recorded stores, except in `untold` words. No recorded store runs
    /// meanwhile.
    pub(super) fn audit(&self, real: &[AtomicU64], untold: impl Fn(u64) -> bool) {
        let mut log = self.log.lock();
        let thread = log.thread();
        let found = log.replica.differences(real, untold);
        let bypass = |Range { start, end }| Event::Bypass { thread, offset: start, len: end - start };
        log.events.extend(found.into_iter().map(bypass));
    }
}
