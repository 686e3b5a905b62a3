//! What owns each frame, compared with the bitmap.

use super::Walk;
use crate::error::Result;
use crate::media::bitmap::GROUP_WORDS;
use crate::media::busy::{self, Entry};
use crate::media::groups;
use crate::media::layout::{GROUP_FRAMES, GROUPS_MAX, TABLE_GROUPS, WORD_SIZE};
use crate::media::words::{WORDS, Words};
use crate::units::FrameNo;
use std::collections::BTreeSet;

impl<W: Words> Walk<'_, W> {
    /// Notes that `frame` belongs to something. Returns false if it belongs to something else already.
    pub(super) fn claim(&mut self, frame: FrameNo, what: &str) -> bool {
        let first = self.owned.claim(frame);
        if !first {
            let detail = format!("frame {} has an owner already and is also {what}", frame.0);
            self.report.find("frame-owned-twice", frame.offset(), detail);
        }
        first
    }

    pub(super) fn busy_table(&mut self) -> Result {
        let words = self.words;
        let mut tables = std::collections::HashSet::new();
        let walked = busy::walk(words, self.shape, |at, entry| {
            match entry {
                Entry::Vacant => {}
                Entry::Busy(frame) => {
                    self.report.counts.busy += 1;
                    self.claim(frame, "a busy frame");
                }
                Entry::Table(frame) => {
                    self.claim(frame, "a frame of the busy table");
                    if !tables.insert(frame) {
                        return Err(crate::Error::corrupt("busy table", at, "its chain has a cycle"));
                    }
                }
            }
            Ok(())
        });
        self.report.take("busy-table", walked).map(drop)
    }

    /// Checks the table of groups, and claims its frames: for the region's groups and for the one behind them.
    pub(super) fn groups(&mut self) -> Result {
        let (mut tables, groups) = (BTreeSet::new(), self.shape.groups());
        let root = groups::root(self.words, self.shape);
        let Some(root) = self.report.take("group-table", root)? else { return Ok(()) };
        self.claim(root, "the root of the table of groups");
        for group in 0..(groups + 1).min(GROUPS_MAX) {
            let at = root.offset() + group / TABLE_GROUPS * WORD_SIZE;
            let table = groups::table(self.words, self.shape, group);
            if let Some(table) = self.report.take("group-table", table)?.flatten() {
                if tables.insert(table) {
                    self.claim(table, "a part of the table of groups");
                }
                let entry = groups::look(self.words, self.shape, group);
                if let Some(Some(entry)) = self.report.take("group-table", entry)? {
                    self.claim(entry.bitmap, "a bitmap");
                    self.entries.push(entry);
                    continue;
                }
            }
            let name = if group < groups { "group-table" } else { "group-ahead" };
            self.report.find(name, at, format!("group {group} has no bitmap"));
        }
        Ok(())
    }

    /// Compares the claimed frames with the allocated ones.
    pub(super) fn bitmap(&mut self) -> Result {
        let mut runs = Runs::default();
        for entry in std::mem::take(&mut self.entries) {
            let bits = self.words.frame(entry.bitmap)?;
            self.report.take("group-tally", entry.compare(self.words, &bits))?;
            self.bits_of(&mut runs, &entry, &bits);
        }
        runs.end(&mut self.report, (self.shape.groups() * GROUP_FRAMES).min(self.shape.frames));
        Ok(())
    }

    fn bits_of(&mut self, runs: &mut Runs, entry: &groups::Entry, bits: &[u64; WORDS as usize]) {
        runs.end(&mut self.report, entry.group * GROUP_FRAMES);
        for (place, &bits) in bits.iter().enumerate() {
            let word = entry.group * GROUP_WORDS + place as u64;
            let at = entry.word(place as u64);
            let (fixed, beyond) = self.shape.outside(word);
            if bits & fixed != fixed {
                self.report.find("bitmap-fixed", at, format!("bits {:#x}", fixed & !bits));
            }
            if bits & beyond != 0 {
                self.report.find("bitmap-beyond-end", at, format!("bits {:#x}", bits & beyond));
            }
            let used = u64::from((bits & !beyond).count_ones());
            self.report.counts.used += used;
            self.report.counts.free += u64::from((!beyond).count_ones()) - used;
            let claimed = self.owned.word(word);
            let mixed = (bits ^ claimed) & !fixed & !beyond;
            if mixed == 0 {
                runs.end(&mut self.report, word * 64);
                continue;
            }
            for i in 0..64 {
                let defect = match (mixed >> i & 1, bits >> i & 1) {
                    (0, _) => None,
                    (_, 1) => Some("frame-leaked"),
                    _ => Some("frame-used-but-free"),
                };
                runs.step(&mut self.report, word * 64 + i, defect);
            }
        }
    }
}

/// Runs of frames with the same defect. Each run is one finding.
#[derive(Default)]
struct Runs {
    open: Option<(&'static str, u64)>,
}

impl Runs {
    fn step(&mut self, report: &mut super::Report, frame: u64, defect: Option<&'static str>) {
        if self.open.map(|(name, _)| name) != defect {
            self.end(report, frame);
            self.open = defect.map(|name| (name, frame));
        }
    }

    fn end(&mut self, report: &mut super::Report, end: u64) {
        if let Some((name, first)) = self.open.take() {
            report.find(name, FrameNo(first as u32).offset(), format!("frames {first} to {}", end - 1));
        }
    }
}
