//! The maps of objects.

use super::Walk;
use crate::error::Result;
use crate::media::content::map_at;
use crate::media::layout::WORD_SIZE;
use crate::media::map_seal::{MapSeal, Parts};
use crate::media::tree::{HEIGHT_MAX, Map, word_at};
use crate::media::words::{WORDS, Words};
use crate::units::FrameNo;

/// Bytes from the root word of a map to its seal, in a record.
const SEAL_BEHIND_ROOT: u64 = 7 * WORD_SIZE;

/// The seal of a map, computed from the pages that were met.
struct Met {
    parts: Parts,
    seal: MapSeal,
}

impl<W: Words> Walk<'_, W> {
    pub(super) fn maps(&mut self) -> Result {
        let maps: Vec<_> = self.objects.values().map(|(head, _)| (map_at(head), head.map_seal())).collect();
        maps.into_iter().try_for_each(|(map, said)| {
            let mut met = Met { parts: Parts::of(self.words.salt(), map.id), seal: MapSeal::default() };
            let lost = self.lost(&map, map.root, 0, map.height());
            let root = if lost { Ok(None) } else { map.root(self.shape) };
            let name = self.map_defect(&map, map.root, 0, map.height());
            self.shared(map.root, map.at);
            if let Some(Some(root)) = self.report.take(name, root)? {
                self.below(&map, root.frame, 0, root.height, &mut met)?;
            }
            if met.seal != said {
                let (pages, digest) = (met.seal.pages(), met.seal.digest());
                let detail = format!(
                    "it has {pages} pages, digest {digest:#x}; the record says {}, {:#x}",
                    said.pages(),
                    said.digest()
                );
                self.report.find("map-seal", map.at + SEAL_BEHIND_ROOT, detail);
            }
            Ok(())
        })
    }

    /// Walks a page (level 0), or a node whose words cover the pages from `first` on. It ends, because each frame is
    /// entered once.
    fn below(&mut self, map: &Map, frame: FrameNo, first: u64, level: u32, met: &mut Met) -> Result {
        if level == 0 {
            met.seal.link(met.parts, first, frame);
        }
        let what = if level == 0 { "a page" } else { "a node" };
        if !self.claim(frame, &format!("{what} of object {}", map.id)) {
            return Ok(());
        }
        if level == 0 {
            self.report.counts.pages += 1;
            return Ok(());
        }
        let mut empty = true;
        for (page, word) in map.used_words(self.words, frame, first, level - 1)? {
            let at = word_at(frame, page, level - 1);
            empty = false;
            if self.lost(map, word, page, level - 1) {
                continue;
            }
            let name = self.map_defect(map, word, page, level - 1);
            let opened = map.opened(self.shape, word, at, page, level - 1);
            self.shared(word, at);
            if let Some(Some(child)) = self.report.take(name, opened)? {
                self.below(map, child, page, level - 1, met)?;
            }
        }
        if empty {
            self.report.find("map-empty-node", frame.offset(), format!("a node of object {}", map.id));
        }
        Ok(())
    }

    /// Whether `word` says that what it named was lost: then that is counted.
    fn lost(&mut self, map: &Map, word: u64, page: u64, level: u32) -> bool {
        let lost = level <= HEIGHT_MAX && map.is_lost(word, page, level);
        if lost {
            self.report.counts.lost += WORDS.pow(level);
        }
        lost
    }

    /// No feature that this release knows shares frames.
    fn shared(&mut self, word: u64, at: u64) {
        if Map::is_shared(word) {
            self.report.find("map-frame", at, "it says that others have the frame, and no feature does");
        }
    }

    /// The name of the defect of `word`.
    fn map_defect(&self, map: &Map, word: u64, page: u64, level: u32) -> &'static str {
        if map.sealed(word, page, level) { "map-frame" } else { "map-check" }
    }
}
