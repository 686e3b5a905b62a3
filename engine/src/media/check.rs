//! `check`: walks everything on the medium, read-only, and names each defect.
//!
//! It trusts nothing: every frame and every record is entered once, and every number is compared with its bounds. So it
//! ends on any bytes. Each kind of defect has its own name, listed in `DEFECTS`; tests plant each.

mod claims;
mod head;
mod maps;
mod names;
mod rest;
mod root;
mod table;

use super::groups;
use super::log::Log;
use super::owned::Owned;
use super::record;
use super::words::{Shape, Words};
use crate::error::{Error, Result};
use std::collections::{BTreeMap, HashSet};

/// Every defect that `check` knows, and what it means.
pub const DEFECTS: &[(&str, &str)] = &[
    ("superblock-copy", "one of the superblock's two copies is not whole; the next change repairs it"),
    ("superblock-field", "the superblock has a field that no feature of it explains"),
    (
        "unknown-features",
        "the region uses features that this release does not know: it cannot be judged by this one",
    ),
    ("lease", "the lease is not whole; the next opening assumes a power loss"),
    (
        "log-header-copy",
        "one of the log header's two copies is not whole, or is older than a region at rest has it; the next move of the tail \
         repairs it",
    ),
    ("head-rest", "a frame at the head of the region holds something that no feature of it explains"),
    ("cursor", "the applied cursor is not one of this life of the region; the next change writes it"),
    ("frames-word", "the region claims more frames than its file holds, or fewer than a fresh one has"),
    (
        "root-copy",
        "a line of one root is not whole, or the roots say different things; the next change repairs it",
    ),
    ("root-line", "a line of the root is whole in neither of the two"),
    (
        "root-word",
        "an unused word of the root is not zero, a counter there is beyond what can be reached, or it contradicts the superblock",
    ),
    (
        "group-table",
        "the table of groups does not say where a bitmap lies, or names a frame that cannot hold one",
    ),
    (
        "group-tally",
        "a group's bitmap does not match its seal and its count of free frames: nothing of the group is taken or freed",
    ),
    ("group-ahead", "the group behind the last has no bitmap: the region cannot grow into it"),
    ("bitmap-fixed", "the bitmap says that a fixed frame is free"),
    ("bitmap-beyond-end", "the bitmap says that a frame beyond the region's end is allocated"),
    ("frame-owned-twice", "a frame belongs to two owners"),
    ("frame-used-but-free", "a frame has an owner, and the bitmap says that it is free"),
    ("frame-leaked", "a frame has no owner, and the bitmap says that it is allocated"),
    ("directory-word", "a word of a directory node is neither record nor node"),
    ("directory-depth", "the directory has more levels than a hash has bits"),
    ("directory-empty-node", "a directory node holds nothing"),
    (
        "directory-chain",
        "a chain of the directory comes back to a record, leads to a free one, or is longer than one may be",
    ),
    ("record-checksum", "the head of an object record does not match its checksum"),
    ("record-name", "the name of an object record does not match checksum, length or hash"),
    ("record-bucket", "an object record is in the bucket of another hash"),
    ("record-field", "an object record says something that no feature of the region explains"),
    ("record-lost", "an object record is neither named, nor an orphan, nor free"),
    ("name-twice", "two objects have the same name"),
    ("name-unlinked", "an object that is marked unlinked has a name"),
    ("object-number", "an object's number was never given out, or given out twice"),
    ("object-size", "an object is larger than one can be"),
    ("object-count", "the number of names is not what the root says"),
    ("orphan-list", "the list of orphans does not hold together"),
    ("orphan-without-work", "an object on the list of orphans is neither unlinked nor being truncated"),
    ("truncate-mark", "an object being truncated, or unlinked, is not on the list of orphans"),
    ("free-slot-list", "the list of free record slots does not hold together"),
    ("map-check", "a word of an object's map was not written for this object and place"),
    ("map-frame", "a word of an object's map names a frame that does not exist or is a fixed one"),
    ("map-empty-node", "a node of an object's map holds nothing"),
    (
        "map-seal",
        "an object's map does not have the pages, or the frames, that its record says: a part of it is as it was some time \
         ago, or damaged",
    ),
    ("busy-table", "the busy table does not hold together"),
    (
        "set-aside",
        "what is to be freed cannot be, since the medium is damaged there: it takes room until it is repaired",
    ),
];

/// The most findings that are listed. Further ones are counted.
const LISTED: usize = 1000;

/// One defect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Its kind: a name from `DEFECTS`.
    pub name: &'static str,
    /// Byte offset in the region.
    pub at: u64,
    /// What exactly is wrong.
    pub detail: String,
}

/// How much there is of each thing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Objects that have a name.
    pub objects: u64,
    /// Objects with work to finish: unlinked, or being truncated.
    pub orphans: u64,
    /// Pages of objects.
    pub pages: u64,
    /// Frames cut off from their objects while they were pinned.
    pub busy: u64,
    /// Frames of the region.
    pub frames: u64,
    /// Frames that are allocated, fixed ones included.
    pub used: u64,
    /// Frames that are free.
    pub free: u64,
    /// Pages that a repair found lost, and that are not holes either: to read them is an error.
    pub lost: u64,
    /// Objects of which a repair found that they are not all there.
    pub damaged: u64,
}

/// What `check` found.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Report {
    /// The defects, in the order in which they were found; at most a thousand.
    pub findings: Vec<Finding>,
    /// Findings about what a crash may leave: a copy or a sector that was being written. They do no harm, and the next
    /// change, close or move of the log's tail writes it anew. Their names are from `DEFECTS`, too.
    pub repairable: Vec<Finding>,
    /// The number of defects that were found and are not listed.
    pub unlisted: u64,
    /// How much there is of each thing, as far as it can be reached.
    pub counts: Counts,
}

impl Report {
    /// Whether there is no defect. A `repairable` finding is no defect.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

/// What the fixed frames contain.
pub(super) struct Head {
    report: Report,
    shape: Shape,
}

/// Checks the fixed frames, while no thread leads or appends.
pub(super) fn begin(log: &Log) -> Result<Head> {
    let mut report = Report::default();
    let shape = head::check(log, &mut report)?;
    Ok(Head { report, shape })
}

/// Walks everything else. The words are those of the moment at which the fixed frames were checked: see
/// `Structures::check`.
pub(super) fn walk(words: &impl Words, head: Head) -> Result<Report> {
    let Head { report, shape } = head;
    let mut walk = Walk {
        words,
        shape,
        owned: Owned::new(shape),
        report,
        objects: BTreeMap::new(),
        numbers: HashSet::new(),
        slots: HashSet::new(),
        entries: Vec::new(),
    };
    walk.roots();
    walk.directory()?;
    walk.orphans()?;
    walk.free_slots()?;
    walk.lost_slots()?;
    walk.maps()?;
    walk.busy_table()?;
    walk.groups()?;
    walk.rest_of_table()?;
    walk.bitmap()?;
    Ok(walk.report)
}

/// The state of a walk over the region.
struct Walk<'a, W> {
    words: &'a W,
    shape: Shape,
    owned: Owned,
    report: Report,
    /// Live records by slot: their heads, and whether they have a name.
    objects: BTreeMap<u64, (record::Head, bool)>,
    /// Numbers of objects.
    numbers: HashSet<u64>,
    /// Slots met: live and free ones.
    slots: HashSet<u64>,
    /// The entries of groups whose bitmaps were found, ascending.
    entries: Vec<groups::Entry>,
}

impl Report {
    /// Adds a finding about something that the open store could not free.
    pub(crate) fn set_aside(&mut self, at: u64, detail: &str) {
        self.find("set-aside", at, detail);
    }

    /// Adds a remark about a bitmap that was found damaged before its group began and was made anew.
    pub(crate) fn made_anew(&mut self, at: u64, detail: &str) {
        self.remark("group-ahead", at, detail);
    }

    fn find(&mut self, name: &'static str, at: u64, detail: impl Into<String>) {
        debug_assert!(DEFECTS.iter().any(|(known, _)| *known == name), "{name}");
        if self.findings.len() < LISTED {
            self.findings.push(Finding { name, at, detail: detail.into() });
        } else {
            self.unlisted += 1;
        }
    }

    fn remark(&mut self, name: &'static str, at: u64, detail: impl Into<String>) {
        debug_assert!(DEFECTS.iter().any(|(known, _)| *known == name), "{name}");
        self.repairable.push(Finding { name, at, detail: detail.into() });
    }

    /// The result of a look. A contradiction on the medium becomes the finding `name`.
    fn take<T>(&mut self, name: &'static str, looked: Result<T>) -> Result<Option<T>> {
        match looked {
            Ok(value) => Ok(Some(value)),
            Err(Error::Corrupt { what, at, why }) => {
                self.find(name, at, format!("{what}: {why}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
