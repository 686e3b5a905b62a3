//! What owns each frame, compared with the bitmap.

use super::Walk;
use crate::error::Result;
use crate::media::bitmap::GROUP_WORDS;
use crate::media::busy::{self, Entry};
use crate::media::layout::{GROUP_FRAMES, WORD_SIZE};
use crate::media::words::{Shape, Words};
use crate::units::FrameNo;

/// One bit per frame of the region: it has an owner.
pub(super) struct Claims {
    bits: Vec<u64>,
}

impl Claims {
    pub(super) fn new(shape: Shape) -> Self {
        Self { bits: vec![0; (shape.groups() * GROUP_WORDS) as usize] }
    }

    /// False if the frame has an owner already.
    fn claim(&mut self, frame: FrameNo) -> bool {
        let (word, bit) = (frame.0 as usize / 64, 1 << (frame.0 % 64));
        let free = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        free
    }
}

impl<W: Words> Walk<'_, W> {
    /// Notes that `frame` belongs to something; false if it belongs to something else already.
    pub(super) fn claim(&mut self, frame: FrameNo, what: &str) -> bool {
        let first = self.claims.claim(frame);
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

    /// Holds what was claimed against what is allocated.
    pub(super) fn bitmap(&mut self) -> Result {
        let mut runs = Runs::default();
        for word in 0..self.shape.groups() * GROUP_WORDS {
            let (group, place) = (word / GROUP_WORDS, word % GROUP_WORDS);
            let at = self.shape.bitmap(group).offset() + place * WORD_SIZE;
            let bits = self.word(at)?;
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
            let claimed = self.claims.bits[word as usize];
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
        runs.end(&mut self.report, (self.shape.groups() * GROUP_FRAMES).min(self.shape.frames));
        Ok(())
    }
}

/// Runs of frames with the same defect: one finding each.
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
