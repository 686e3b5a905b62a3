//! The maps of objects.

use super::Walk;
use crate::error::Result;
use crate::media::content::map_at;
use crate::media::tree::{Map, word_at};
use crate::media::words::Words;
use crate::units::FrameNo;

impl<W: Words> Walk<'_, W> {
    pub(super) fn maps(&mut self) -> Result {
        let maps: Vec<_> = self.objects.values().map(|(head, _)| map_at(head)).collect();
        maps.into_iter().try_for_each(|map| {
            let root = map.root(self.shape);
            let name = self.map_defect(&map, map.root, 0, map.height());
            match self.report.take(name, root)? {
                Some(Some(root)) => self.below(&map, root.frame, 0, root.height),
                _ => Ok(()),
            }
        })
    }

    /// A page (level 0), or a node whose words cover pages from `first` on. A frame is entered once: it ends.
    fn below(&mut self, map: &Map, frame: FrameNo, first: u64, level: u32) -> Result {
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
            let name = self.map_defect(map, word, page, level - 1);
            let opened = map.opened(self.shape, word, at, page, level - 1);
            if let Some(Some(child)) = self.report.take(name, opened)? {
                self.below(map, child, page, level - 1)?;
            }
        }
        if empty {
            self.report.find("map-empty-node", frame.offset(), format!("a node of object {}", map.id));
        }
        Ok(())
    }

    /// What is wrong with `word` if anything is.
    fn map_defect(&self, map: &Map, word: u64, page: u64, level: u32) -> &'static str {
        if map.sealed(word, page, level) { "map-frame" } else { "map-check" }
    }
}
