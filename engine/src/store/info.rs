//! Facts, counters and checks of a store.

use super::{Object, Store};
use crate::error::Result;
use crate::frame::FrameTable;
use crate::media::check::{DEFECTS, Report};
use crate::media::ending::Recovery;
use crate::stats::Stats;
use crate::sync::atomic::Ordering;
use crate::units::{Durability, FRAME_SIZE, MediumKind, PageIndex, PfnRange};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Number of pages that [`Object::runs`] reads at once.
const MAPPED_BATCH: usize = 4096;

/// A named object in the result of [`Store::list`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Entry {
    /// Its name.
    pub name: Vec<u8>,
    /// Its number, which is never used again in the region.
    pub id: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Its kind; 1 is plain content.
    pub kind: u8,
}

/// Facts about a store.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Info {
    /// The file; `None` for memory.
    pub path: Option<Arc<Path>>,
    /// The identity of the file; memory has a substitute.
    pub file: FileId,
    /// The kind of its medium.
    pub kind: MediumKind,
    /// The durability that a sync gives.
    pub durability: Durability,
    /// Whether that was assumed, and is not a property of the medium.
    pub assumed: bool,
    /// The durability of the medium itself, as far as it is known.
    pub medium: Durability,
    /// Whether the processor's caches survive a power loss (eADR). Then a fence is enough, and cache lines are not
    /// flushed.
    pub caches_survive: bool,
    /// Whether the store is open read-only.
    pub read_only: bool,
    /// Current number of frames of the region.
    pub frames: u64,
    /// All pfns that the region may use when it grows.
    pub pfns: PfnRange,
    /// Frames of the redo log.
    pub log_frames: u32,
    /// The region's identity, made when it was formatted.
    pub uuid: [u8; 16],
    /// How many openings have changed the region.
    pub generation: u64,
}

/// Identifies a file independently of its names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileId {
    /// Its device, as in `stat`.
    pub device: u64,
    /// Its inode number.
    pub inode: u64,
}

/// A kind of defect that [`Store::check`] can find.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Defect {
    /// The name that a [`Finding`](super::Finding) of it has.
    pub name: &'static str,
    /// Its meaning.
    pub meaning: &'static str,
}

/// All kinds of defects.
pub fn defects() -> impl Iterator<Item = Defect> {
    DEFECTS.iter().map(|&(name, meaning)| Defect { name, meaning })
}

impl Store {
    /// Facts about the store.
    #[must_use]
    pub fn info(&self) -> Info {
        let (region, log) = (self.engine.pages.region(), &self.engine.log);
        Info {
            path: region.shared_path(),
            file: FileId { device: region.identity().device, inode: region.identity().inode },
            kind: region.kind(),
            durability: region.class(),
            assumed: region.assumed().is_some(),
            medium: region.medium_class(),
            caches_survive: region.memory().persist().caches_survive(),
            read_only: region.read_only(),
            frames: region.len_bytes() / FRAME_SIZE as u64,
            pfns: self.engine.pages.pfns(),
            log_frames: log.frames(),
            uuid: log.uuid(),
            generation: log.generation(),
        }
    }

    /// How the last owner ended, and what this opening did about it. It decides which of the two columns of
    /// [`durability`](crate::durability) applies to data that was not synced. The value does not change while the
    /// store is open.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        self.engine.log.recovery()
    }

    /// Checks that the store's file is still as long as it was, by one system call. No other program may cut the file
    /// while it is open. If one did, an access to a page that is gone ends the process (`SIGBUS`), so a server calls
    /// this before each piece of work.
    ///
    /// # Errors
    /// `Truncated` once, and `Poisoned` from then on.
    pub fn check_length(&self) -> Result {
        self.engine.ensure_whole()
    }

    /// Counters. A pin that hits counts nothing here; the number of pins of a page is in its
    /// [`info`](crate::page::PageRef::info). In a forked child the counters of the store's work are zero.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let table = FrameTable::global().stats();
        let door = self.engine.pages.region().memory().persist().stats();
        let without_lock = Stats {
            table_frames: table.capacity,
            table_chunks: table.populated_chunks,
            table_bytes: table.bytes,
            table_first_touches: table.first_touches,
            table_reclaims: table.reclaimed_chunks,
            lines_flushed: door.lines_flushed,
            lines_streamed: door.lines_streamed,
            fences: door.fences,
            file_syncs: door.file_syncs,
            write_throughs: door.write_throughs,
            // ORDERING: Relaxed: a counter.
            batches: self.engine.batches.load(Ordering::Relaxed),
            ..Stats::default()
        };
        if self.engine.pages.region().forked() {
            return without_lock;
        }
        let log = self.engine.log.stats();
        Stats {
            open_objects: self.engine.open.count() as u64,
            pinned_pages: self.engine.pages.count_pinned() as u64,
            syncs: self.engine.syncs.begun(),
            log_records: log.records,
            log_bytes: log.record_bytes,
            log_commits: log.marks,
            log_tail_moves: log.tail_moves,
            log_recovered: log.recovered,
            set_aside: self.engine.set_aside(),
            ..without_lock
        }
    }

    /// Poisons the region, so that nothing changes it before it is opened again. It is for a language boundary that
    /// has caught a panic, after which the state in memory may be incomplete. The bytes on the medium stay as a crash
    /// at this moment would leave them.
    pub fn poison(&self, why: &str) {
        self.engine.pages.region().poison(why);
    }

    /// Walks all structures on the medium, in the state at the beginning of the call, and names each defect. Changes
    /// go on meanwhile, and frames that they free are used again after the check. If a change finds no other room,
    /// the first walk ends, and changes wait for a second one.
    ///
    /// # Errors
    /// Errors of reading. Defects are not errors.
    pub fn check(&self) -> Result<Report> {
        self.engine.ensure_whole()?;
        let mut report = self.engine.ledger.check()?;
        self.engine.name_set_aside(&mut report);
        Ok(report)
    }

    /// Why the region accepts no more changes, after a commit has failed.
    #[must_use]
    pub fn poisoned(&self) -> Option<String> {
        self.engine.pages.region().poisoned()
    }
}

impl Object {
    /// The number of pages with a frame. It is read from the object's record, so it costs the same for every object. Pages that
    /// were cut off and could not be freed yet are counted.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn mapped(&self) -> Result<u64> {
        self.shared.engine.ensure_whole()?;
        self.shared.engine.ledger.pages(self.shared.slot)
    }

    /// The number of runs of adjacent frames. It reads the whole map.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn runs(&self) -> Result<u64> {
        self.shared.engine.ensure_whole()?;
        let (mut runs, mut from, mut next) = (0, 0, None);
        loop {
            let range = PageIndex(from)..PageIndex(u64::MAX);
            let batch = self.shared.engine.ledger.mapped(self.shared.slot, range, MAPPED_BATCH)?;
            for (index, frame) in &batch {
                runs += u64::from(next != Some((index.0, u64::from(frame.0))));
                next = Some((index.0 + 1, u64::from(frame.0) + 1));
                from = index.0 + 1;
            }
            if batch.len() < MAPPED_BATCH {
                return Ok(runs);
            }
        }
    }

    /// When the object was created. Other times are not kept, because each write would have to store one.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn created(&self) -> Result<SystemTime> {
        self.shared.engine.ensure_whole()?;
        let birth = self.shared.engine.ledger.record(self.shared.slot)?.birth;
        Ok(UNIX_EPOCH + Duration::from_nanos(birth))
    }
}
