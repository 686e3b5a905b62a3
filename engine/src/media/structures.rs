//! The structures of an open region, for reading: no call here changes them.
//!
//! Locks, in the order in which they are taken: the directory's (for changes of names), an object's (for changes of its
//! map), the busy table's, the allocator's, the append lock of the log, the seqlock. Readers take none: a walk that met a
//! change is made again, since it may have followed a node that was freed and holds other data by now.

use super::allocator::Allocator;
use super::busy::BusyTable;
use super::check::Report;
use super::log::Log;
use super::record::{Head, ObjectSlot};
use super::slots::GivenBack;
use super::words::Shape;
use crate::error::{Error, Result};
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Mutex, MutexGuard, Seqlock, thread};
use crate::units::FrameNo;
use std::sync::Arc;

/// The number of locks of objects. Objects share them by their slots.
pub(super) const OBJECT_LOCKS: u64 = 64;
/// How often a listing of names gives way to threads that wait to change names, each time before it takes the lock.
const PATIENCE: u32 = 64;

/// The structures of an open region. Only their [`Ledger`](super::Ledger) changes them.
pub struct Structures {
    pub(super) log: Arc<Log>,
    pub(super) allocator: Allocator,
    pub(super) busy: Mutex<BusyTable>,
    pub(super) seqlock: Arc<Seqlock>,
    /// Held by a running check.
    checking: Mutex<()>,
    directory: Mutex<()>,
    /// The number of threads that wait for the lock to change names.
    changers: AtomicU32,
    objects: Vec<Mutex<()>>,
    pub(super) given_back: GivenBack,
}

impl Structures {
    /// The structures as `log` shows them. Reads one word.
    pub(super) fn new(log: Arc<Log>) -> Result<Self> {
        let seqlock = Arc::<Seqlock>::default();
        Ok(Self {
            allocator: Allocator::new(log.clone(), seqlock.clone())?,
            log,
            busy: Mutex::default(),
            seqlock,
            checking: Mutex::default(),
            directory: Mutex::default(),
            changers: AtomicU32::new(0),
            objects: (0..OBJECT_LOCKS).map(|_| Mutex::default()).collect(),
            given_back: GivenBack::default(),
        })
    }

    /// The log that changes the structures.
    #[must_use]
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Gives back frames from `allocate`. Frames that were linked meanwhile stay allocated.
    pub fn release(&self, frames: &[FrameNo]) -> Result {
        self.allocator.release(frames)
    }

    /// Gives back frames from `allocate` that were not linked and are pinned, when their last pins have gone.
    pub fn release_when_unpinned(&self, frames: impl IntoIterator<Item = FrameNo>) {
        self.allocator.release_when_unpinned(frames);
    }

    /// What is out of use in this opening: frames that the bitmap calls free and that were found in use, and groups whose
    /// bitmap does not match its seal. Each comes with its byte offset and the reason.
    pub fn frames_aside(&self) -> Vec<(u64, String)> {
        self.allocator.set_aside()
    }

    /// Bitmaps of groups that had not begun, which were damaged and were made anew in this opening: where, and why.
    pub fn made_anew(&self) -> Vec<(u64, String)> {
        self.allocator.made_anew.lock().clone()
    }

    /// The number of frames that are free, or will be when the log's tail moves. Loads the whole bitmap.
    pub fn free_frames(&self) -> Result<u64> {
        self.allocator.free_frames()
    }

    /// The most frames that a caller can have that wants `wanted`. The count stops when that many are found.
    pub fn most_frames(&self, wanted: u64) -> Result<u64> {
        self.allocator.most_frames(wanted)
    }

    /// The first step of the first change of an opening: all frames in use that have no blocks of their own get some.
    ///
    /// # Errors
    /// `NoSpace`: nothing was changed, and the next change tries again.
    pub fn prepare(&self) -> Result {
        self.allocator.prepare()
    }

    /// Whether [`return_surplus`](super::Ledger::return_surplus) may have something to do. Costs one load.
    #[must_use]
    pub fn has_surplus(&self) -> bool {
        self.allocator.has_surplus()
    }

    /// Frames of the region.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.shape().frames
    }

    /// Walks everything as it was at one moment, and names each defect. Changes go on meanwhile, and the old words of
    /// what they change are kept. If a change needs frames that wait for the check, the check gives up; then changes wait
    /// for a second walk.
    pub fn check(&self) -> Result<Report> {
        let _one_at_a_time = self.checking.lock();
        let begin = || super::check::begin(&self.log);
        let (head, snapshot) = self.log.snapshot(begin)?;
        match super::check::walk(&snapshot, head) {
            Err(Error::TimedOut { .. }) => {}
            walked => return walked,
        }
        drop(snapshot);
        // Within the look, because a thread that appends waits for the seqlock and a leader for that thread.
        let (_changes_wait, head) = self.log.look_at_rest(|| (self.seqlock.pause(), begin()));
        super::check::walk(&*self.log, head?)
    }

    /// The result of `look` in the log's view at one moment.
    pub(super) fn read<R>(&self, look: impl Fn(&Log, Shape) -> Result<R>) -> Result<R> {
        self.seqlock.read(|| look(&self.log, self.shape()))
    }

    pub(super) fn shape(&self) -> Shape {
        self.allocator.shape()
    }

    /// Excludes other changes of names.
    pub(super) fn names(&self) -> MutexGuard<'_, ()> {
        // ORDERING: Relaxed, here and below: a hint for a listing, which can wait.
        self.changers.fetch_add(1, Ordering::Relaxed);
        let names = self.directory.lock();
        self.changers.fetch_sub(1, Ordering::Relaxed);
        names
    }

    /// As [`Self::names`], for a caller that takes the lock again and again: for a while, waiting threads go first.
    pub(super) fn names_in_turn(&self) -> MutexGuard<'_, ()> {
        for _ in 0..PATIENCE {
            if self.changers.load(Ordering::Relaxed) == 0 {
                break;
            }
            thread::yield_now();
        }
        self.directory.lock()
    }

    /// Excludes other changes of the object's map.
    pub(super) fn object(&self, slot: ObjectSlot) -> MutexGuard<'_, ()> {
        self.objects[(slot.0 % OBJECT_LOCKS) as usize].lock()
    }

    /// The head of the object, verified.
    pub(super) fn head(&self, slot: ObjectSlot) -> Result<Head> {
        self.read(|log, _| Head::live(log, slot))
    }
}
