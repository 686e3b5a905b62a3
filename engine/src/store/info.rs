//! What a store says of itself.

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

/// Pages looked at in one go by [`Object::runs`].
const MAPPED_BATCH: usize = 4096;

/// A named object, as [`Store::list`] shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Entry {
    /// Its name.
    pub name: Vec<u8>,
    /// Its number; never used twice in a region.
    pub id: u64,
    /// Its length in bytes.
    pub len: u64,
    /// What it is for; 1 is plain content.
    pub kind: u8,
}

/// What a store is.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Info {
    /// The file; `None` for memory.
    pub path: Option<Arc<Path>>,
    /// Which file that is; of memory, what stands for one.
    pub file: FileId,
    /// What the store lies on.
    pub kind: MediumKind,
    /// How durable a sync is taken to be.
    pub durability: Durability,
    /// Whether that was assumed, and is not known of the medium.
    pub assumed: bool,
    /// How durable the medium is by itself, as far as can be told.
    pub medium: Durability,
    /// Whether the processor's caches survive a power loss (eADR): cache lines are fenced then, and not flushed.
    pub caches_survive: bool,
    /// Whether nothing reaches the medium.
    pub read_only: bool,
    /// Frames the region has now.
    pub frames: u64,
    /// All pfns the region may come to use.
    pub pfns: PfnRange,
    /// Frames of the redo log.
    pub log_frames: u32,
    /// The region's identity, made when it was formatted.
    pub uuid: [u8; 16],
    /// How often the region was opened and changed.
    pub generation: u64,
}

/// A file, whatever its names are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileId {
    /// The device it is on, as `stat` says.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

/// A kind of defect that [`Store::check`] knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Defect {
    /// What a [`Finding`](super::Finding) of it is called.
    pub name: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

/// All kinds of defects.
pub fn defects() -> impl Iterator<Item = Defect> {
    DEFECTS.iter().map(|&(name, meaning)| Defect { name, meaning })
}

impl Store {
    /// What the store is.
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

    /// How the last owner's life ended, and what this opening made of it: which of the two columns of
    /// [`durability`](crate::durability) counts for what was not synced. The same for as long as the store is open.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        self.engine.log.recovery()
    }

    /// Whether the store's file is still as long as it was. No other program may cut it while it is open; where one
    /// has, a touch of a page that is gone ends the process (`SIGBUS`): a server asks before each piece of work. It is
    /// one system call.
    ///
    /// # Errors
    /// `Truncated`, and `Poisoned` ever after.
    pub fn check_length(&self) -> Result {
        self.engine.ensure_whole()
    }

    /// Counters. The way of a pin that hits counts nothing; its pins are in each page's
    /// [`info`](crate::page::PageRef::info). In a forked child those of the store's work are zero.
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

    /// Lets nothing more change the region until it is opened again: for a border that has caught a panic, behind which the
    /// state in memory may be half made. What is stored is as a crash at this moment would leave it.
    pub fn poison(&self, why: &str) {
        self.engine.pages.region().poison(why);
    }

    /// Walks everything on the medium, as it was when this began, and names each defect. Changes go on meanwhile, and frames
    /// that they free are used again when it is done; a change that finds no other room ends that, and changes wait for a
    /// second walk.
    ///
    /// # Errors
    /// Of reading, not of what was found.
    pub fn check(&self) -> Result<Report> {
        self.engine.ensure_whole()?;
        let mut report = self.engine.ledger.check()?;
        self.engine.name_set_aside(&mut report);
        Ok(report)
    }

    /// Why the region takes no more changes, once a commit has failed.
    #[must_use]
    pub fn poisoned(&self) -> Option<String> {
        self.engine.pages.region().poisoned()
    }
}

impl Object {
    /// How many pages have a frame: a look at the object's record, however large it is. Pages that were cut off and are not
    /// free yet, since something was in the way, are among them.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn mapped(&self) -> Result<u64> {
        self.shared.engine.ensure_whole()?;
        self.shared.engine.ledger.pages(self.shared.slot)
    }

    /// In how many runs of frames that follow each other in memory its pages lie. It looks at all of them.
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

    /// When the object was made. No other times are kept: each write would cost one.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn created(&self) -> Result<SystemTime> {
        self.shared.engine.ensure_whole()?;
        let birth = self.shared.engine.ledger.record(self.shared.slot)?.birth;
        Ok(UNIX_EPOCH + Duration::from_nanos(birth))
    }
}
