//! Facts about a region from the engine's own calls, and their comparison with what the page's tables give.

use super::tables::Page;
use super::view::View;
use super::walk::{Found, Object};
use super::{Result, checks, same};
use pagestone::media::layout;
use pagestone::media::log::cursor;
use pagestone::media::log::record::Sequence;
use pagestone::media::superblock::VERSION;
use pagestone::region::Identity;
use std::collections::{BTreeMap, BTreeSet};

/// Facts about an open region.
#[derive(Clone, Debug)]
pub struct Facts {
    pub closed: bool,
    pub frames: u64,
    /// Frames at the last opening that changed something.
    pub hint_frames: u64,
    pub log_frames: u64,
    pub uuid: [u8; 16],
    pub generation: u64,
    /// Operations that an opening finds in the log.
    pub operations: u64,
    pub named: BTreeMap<Vec<u8>, Object>,
    pub orphans: Vec<Object>,
    pub busy: BTreeSet<u64>,
    pub used: u64,
    /// Pages that are lost, of objects that are damaged.
    pub lost: u64,
    pub damaged: u64,
    pub identity: Identity,
    /// The process that had the region: number, start, namespace.
    pub process: [u64; 3],
}

impl Facts {
    /// The fields of the lease.
    pub fn lease(&self) -> [(&'static str, u64); 10] {
        let i = &self.identity;
        let [pid, start, space] = self.process;
        [
            ("pid", pid),
            ("start time", start),
            ("pid namespace", space),
            ("device", i.device),
            ("inode", i.inode),
            ("mount", i.mount),
            ("inode generation", i.generation),
            ("birth", i.birth),
            ("mounting", i.mounting),
            ("volume", i.volume),
        ]
    }

    /// Compares them with what the tables give.
    pub fn compare(&self, view: &View<'_>) -> Result {
        let [a, b] = ["superblock A", "superblock B"].map(|copy| self.superblock(view, copy));
        let (a, b) = (a?, b?);
        same("the sequences of the superblocks", a[0].abs_diff(b[0]), 1)?;
        let newer = if a[0] > b[0] { a } else { b };
        same("generation and frames", [newer[1], newer[2]], [self.generation, self.hint_frames])?;
        self.root(view)?;
        let found = Found::of(view)?;
        same("objects with a name", &found.named, &self.named)?;
        same("objects without a name", &found.orphans, &self.orphans)?;
        same("busy frames", &found.busy, &self.busy)?;
        same("frames in use", found.used(), self.used)?;
        let damaged = found.named.values().filter(|object| object.damaged).count() as u64;
        same("lost pages and damaged objects", (found.lost, damaged), (self.lost, self.damaged))?;
        if self.damaged == 0 {
            same("the root of the directory", view.root("directory")?, view.page.frame("directory")?)?;
        }
        same("there are free slots", found.free_slots > 0, true)?;
        same("objects", view.root("objects")?, self.named.len() as u64)?;
        let numbers = self.named.values().chain(&self.orphans).map(|object| object.number);
        let (most, next) = (numbers.max().unwrap_or(0), view.root("next object")?);
        // A repair may leave some numbers out.
        let follows = if self.damaged == 0 { next == most + 1 } else { next > most };
        same("the next object follows the others", follows, true)
    }

    /// Sequence, generation and hint of the frames of a copy.
    fn superblock(&self, view: &View<'_>, copy: &str) -> Result<[u64; 3]> {
        const WHAT: &str = "Superblock";
        let (page, base) = (view.page, view.sector(WHAT, copy, "superblock magic")?);
        let field = |name| view.field(WHAT, base, name);
        for (name, expected) in [
            ("version", page.value("version")?),
            ("frame size", page.value("frame size")?),
            ("compat", 0),
            ("ro compat", 0),
            ("incompat", 0),
            ("group frames", page.value("group frames")?),
            ("root A", page.frame("root A")?),
            ("root B", page.frame("root B")?),
            ("log first", page.frame("log")?),
            ("log frames", self.log_frames),
            ("salt", view.salt),
            ("hint groups", page.frame("group root")?),
            ("hint directory", page.frame("directory")?),
        ] {
            same(&format!("{name} of {copy}"), field(name)?, expected)?;
        }
        same("the uuid", view.field_bytes(WHAT, base, "uuid")?, &self.uuid[..])?;
        same("the sequence", field("sequence")? < page.value("counters")?, true)?;
        Ok([field("sequence")?, field("generation")?, field("hint frames")?])
    }

    fn root(&self, view: &View<'_>) -> Result {
        const WHAT: &str = "Root words";
        let page = view.page;
        let [line, frame] = [page.value("line size")?, view.frame];
        let [a, b] = view.roots.map(|root| view.bytes(root, frame));
        same("the two roots", a?, b?)?;
        for number in 0..frame / line {
            let at = view.roots[0] + number * line;
            let row = page.row("Root line", "words")?;
            let words = view.bytes(at + row.offset, row.size)?;
            let count = view.field_bytes("Root line", at, "count")?;
            let bytes = [&(number * line).to_le_bytes(), words, count].concat();
            let expected = checks::sum(&[view.salt], &bytes);
            same(&format!("the sum of line {number}"), view.field("Root line", at, "sum")?, expected)?;
            for reserved in ["zero lines", "zero areas"] {
                let row = page.row(WHAT, reserved)?;
                if (row.offset..row.offset + row.size).contains(&(number * line)) {
                    same(reserved, words.iter().all(|byte| *byte == 0), true)?;
                }
            }
            // The row for count and sum of a line has the place of these fields.
            if let Ok(sum) = page.row(WHAT, &format!("line {number}")) {
                let place = number * line + page.row("Root line", "sum")?.offset;
                same("where a line's sum is", (sum.offset, sum.size), (place, view.word))?;
            }
        }
        let areas = layout::AREA_LINES.start * line;
        same("where areas begin", page.row(WHAT, "zero areas")?.offset, areas)?;
        for reserved in page.rows[WHAT].iter().filter(|row| row.name.starts_with("zero") && row.size <= 16) {
            let bytes = view.field_bytes(WHAT, view.roots[0], &reserved.name)?;
            same(&reserved.name, bytes.iter().all(|byte| *byte == 0), true)?;
        }
        for repeated in ["salt", "name key", "uuid", "compat", "ro compat", "incompat"] {
            let of_superblock = view.field_bytes("Superblock", view.superblock, repeated)?;
            same(repeated, view.field_bytes(WHAT, view.roots[0], repeated)?, of_superblock)?;
        }
        same("the frames of the region", view.root("frames")?, self.frames)
    }
}

/// Compares the numbers of the page with those that the engine is built with.
pub fn constants(page: &Page) -> Result {
    let text = |name: &str| page.value(name).map(u64::to_le_bytes);
    same("the magic of a superblock", text("superblock magic")?, *b"PAGESTN\x01")?;
    same("the magic of a log header", text("log header magic")?, *b"PGSLOGHD")?;
    same("the magic of a lease", text("lease magic")?, *b"PGSLEASE")?;
    for number in 1..32 {
        let word = cursor::word(3, 5, Sequence(number));
        same("the number of a cursor", page.bits("Cursor", word, "number")?, number)?;
    }
    let log = layout::LOG_FRAMES_MIN;
    let free = layout::initial_frames(log) - layout::first_free_frame(log).0;
    for (name, expected) in [
        ("frame size", pagestone::units::FRAME_SIZE as u64),
        ("word size", layout::WORD_SIZE),
        ("line size", pagestone::units::LINE_SIZE as u64),
        ("sector size", layout::SECTOR_SIZE as u64),
        ("group frames", layout::GROUP_FRAMES),
        ("table groups", layout::TABLE_GROUPS),
        ("groups", layout::GROUPS_MAX),
        ("log frames min", layout::LOG_FRAMES_MIN.into()),
        ("log frames max", layout::LOG_FRAMES_MAX.into()),
        ("free frames", free.into()),
        ("counters", layout::COUNTER_MAX),
        ("version", VERSION.into()),
    ] {
        same(name, page.value(name)?, expected)?;
    }
    Ok(())
}
