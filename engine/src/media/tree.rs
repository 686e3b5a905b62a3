//! The object map: a page table on the medium.
//!
//! A word of level 0 maps one page; a word of level k names a node of 512 words of level k - 1. The record's root
//! word is of level `height`, so that an object of one page has no node at all, and the map grows by a node above.
//! Every word is sealed for (object, first page, level). A node without a mapped page does not exist: the record
//! that clears a node's last word frees it, and then need not write the words inside.

use super::layout;
use super::log::Txn;
use super::words::{Seal, Shape, WORDS, Words};
use crate::error::{Error, Result};
use crate::units::{FrameNo, PageIndex};
use std::collections::BTreeSet;
use std::ops::Range;

/// Pages an object can have.
pub const PAGES_MAX: u64 = 1 << (BITS * HEIGHT_MAX);
/// Levels of nodes at most.
pub(crate) const HEIGHT_MAX: u32 = 4;
/// Index bits a level resolves.
const BITS: u32 = 9;
/// Where the root word keeps the height, above the frame number.
const HEIGHT_SHIFT: u32 = 40;
const WHAT: &str = "object map";

const _: () = assert!(1 << BITS == WORDS && layout::GROUP_FRAMES % 64 == 0);

/// An object's map: whose it is and its root word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Map {
    /// The object.
    pub(crate) id: u64,
    /// The root word as stored.
    pub(crate) root: u64,
    /// Where it is stored, for error messages.
    pub(crate) at: u64,
}

/// A root taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) height: u32,
    pub(crate) frame: FrameNo,
}

impl Map {
    /// The root; `None` when nothing is mapped.
    pub(crate) fn root(&self, shape: Shape) -> Result<Option<Root>> {
        let height = self.height();
        let seal = Seal::Map { id: self.id, prefix: 0, level: height };
        let value = seal.open(self.root).ok_or_else(|| broken(self.at))?;
        if value == 0 {
            return Ok(None);
        }
        let bare = value & ((1 << HEIGHT_SHIFT) - 1);
        if height > HEIGHT_MAX {
            return Err(Error::corrupt(WHAT, self.at, format!("impossible height {height}")));
        }
        Ok(Some(Root { height, frame: shape.frame(bare, WHAT, self.at)? }))
    }

    /// The height that the root word claims, whatever it is worth.
    pub(crate) const fn height(&self) -> u32 {
        (self.root >> HEIGHT_SHIFT) as u32 & 7
    }

    /// Whether `word` was closed for this map and place.
    pub(crate) fn sealed(&self, word: u64, page: u64, level: u32) -> bool {
        self.seal(page, level).open(word).is_some()
    }

    fn set_root(&mut self, root: Root) {
        let seal = Seal::Map { id: self.id, prefix: 0, level: root.height };
        self.root = seal.close(u64::from(root.frame.0) | u64::from(root.height) << HEIGHT_SHIFT);
    }

    const fn seal(&self, page: u64, level: u32) -> Seal {
        Seal::Map { id: self.id, prefix: page >> (BITS * level), level }
    }

    /// The frame that the word at `at` names for `page` at `level`.
    pub(crate) fn open(
        &self,
        words: &impl Words,
        shape: Shape,
        at: u64,
        page: u64,
        level: u32,
    ) -> Result<Option<FrameNo>> {
        match self.seal(page, level).open(words.word(at)?) {
            None => Err(broken(at)),
            Some(0) => Ok(None),
            Some(value) => shape.frame(value, WHAT, at).map(Some),
        }
    }

    fn close(&self, page: u64, level: u32, frame: FrameNo) -> u64 {
        self.seal(page, level).close(u64::from(frame.0))
    }

    /// The frame of `page`.
    pub(crate) fn find(&self, words: &impl Words, shape: Shape, page: u64) -> Result<Option<FrameNo>> {
        match self.leaf(words, shape, page)? {
            None => Ok(None),
            Some(Leaf::Page(frame)) => Ok(Some(frame)),
            Some(Leaf::Node(node)) => self.open(words, shape, word_at(node, page, 0), page, 0),
        }
    }

    /// The frames of the pages `first .. first + found.len()`.
    pub(crate) fn find_run(
        &self,
        words: &impl Words,
        shape: Shape,
        first: u64,
        found: &mut [Option<FrameNo>],
    ) -> Result {
        let end = first + found.len() as u64;
        let mut page = first;
        while page < end {
            let stop = end.min((page / WORDS + 1) * WORDS);
            let leaf = self.leaf(words, shape, page)?;
            for page in page..stop {
                found[(page - first) as usize] = match leaf {
                    None => None,
                    Some(Leaf::Page(frame)) => (page == 0).then_some(frame),
                    Some(Leaf::Node(node)) => self.open(words, shape, word_at(node, page, 0), page, 0)?,
                };
            }
            page = stop;
        }
        Ok(())
    }

    /// What holds the word of `page`.
    fn leaf(&self, words: &impl Words, shape: Shape, page: u64) -> Result<Option<Leaf>> {
        let Some(root) = self.root(shape)? else { return Ok(None) };
        if page >> (BITS * root.height) != 0 {
            return Ok(None);
        }
        if root.height == 0 {
            return Ok(Some(Leaf::Page(root.frame)));
        }
        let mut node = root.frame;
        for level in (1..root.height).rev() {
            match self.open(words, shape, word_at(node, page, level), page, level)? {
                Some(child) => node = child,
                None => return Ok(None),
            }
        }
        Ok(Some(Leaf::Node(node)))
    }

    /// How many nodes must be made so that `pages` (ascending) can be mapped.
    pub(crate) fn missing_nodes(&self, words: &impl Words, shape: Shape, pages: &[u64]) -> Result<usize> {
        let Some(&last) = pages.last() else { return Ok(0) };
        let old = self.root(shape)?;
        let height = old.map_or(0, |root| root.height).max(height_for(last));
        let mut needed = BTreeSet::new();
        // The old root moves below new nodes on the path of page 0.
        needed.extend(old.iter().flat_map(|root| root.height + 1..=height).map(|level| (level, 0)));
        let mut leaf = None;
        for &page in pages {
            if leaf.replace(page / WORDS) == Some(page / WORDS) {
                continue;
            }
            let levels = 1..=height;
            let made = self.depth_of(words, shape, old, page)?;
            needed.extend(levels.filter(|level| !made.contains(level)).map(|l| (l, page >> (BITS * l))));
        }
        Ok(needed.len())
    }

    /// The levels at which a node on the path of `page` exists.
    fn depth_of(
        &self,
        words: &impl Words,
        shape: Shape,
        root: Option<Root>,
        page: u64,
    ) -> Result<Range<u32>> {
        let Some(root) = root.filter(|root| root.height > 0 && page >> (BITS * root.height) == 0) else {
            return Ok(0..0);
        };
        let mut node = root.frame;
        for level in (1..root.height).rev() {
            match self.open(words, shape, word_at(node, page, level), page, level)? {
                Some(child) => node = child,
                None => return Ok(level + 1..root.height + 1),
            }
        }
        Ok(1..root.height + 1)
    }

    /// Maps `page` to `frame`, making nodes from `spare`. The page must be a hole.
    pub(crate) fn insert(
        &mut self,
        t: &mut Txn<'_>,
        shape: Shape,
        page: u64,
        frame: FrameNo,
        spare: &mut impl FnMut(&mut Txn<'_>) -> Result<FrameNo>,
    ) -> Result {
        let mut root = match self.root(shape)? {
            Some(root) => root,
            None => {
                let height = height_for(page);
                let frame = if height == 0 { frame } else { spare(t)? };
                let root = Root { height, frame };
                self.set_root(root);
                if height == 0 {
                    return Ok(());
                }
                root
            }
        };
        while page >> (BITS * root.height) != 0 {
            let above = spare(t)?;
            t.write(above.offset(), self.close(0, root.height, root.frame))?;
            root = Root { height: root.height + 1, frame: above };
            self.set_root(root);
        }
        let mut node = root.frame;
        for level in (1..root.height).rev() {
            let at = word_at(node, page, level);
            node = match self.open(t, shape, at, page, level)? {
                Some(child) => child,
                None => {
                    let child = spare(t)?;
                    t.write(at, self.close(page, level, child))?;
                    child
                }
            };
        }
        let at = word_at(node, page, 0);
        if root.height == 0 || t.read(at)? != 0 {
            return Err(Error::Invalid(format!("page {page} is mapped already")));
        }
        t.write(at, self.close(page, 0, frame))
    }

    /// The first `limit` mapped pages in `pages`, ascending.
    pub(crate) fn collect(
        &self,
        words: &impl Words,
        shape: Shape,
        pages: Range<u64>,
        limit: usize,
    ) -> Result<Vec<(PageIndex, FrameNo)>> {
        let mut found = Vec::new();
        if let Some(root) = self.root(shape)? {
            self.collect_below(words, shape, (root.frame, 0, root.height), &pages, limit, &mut found)?;
        }
        Ok(found)
    }

    /// `node` names a page (level 0) or a node whose words cover pages from `first` on.
    fn collect_below(
        &self,
        words: &impl Words,
        shape: Shape,
        (frame, first, level): (FrameNo, u64, u32),
        pages: &Range<u64>,
        limit: usize,
        found: &mut Vec<(PageIndex, FrameNo)>,
    ) -> Result {
        if level == 0 {
            if pages.contains(&first) {
                found.push((PageIndex(first), frame));
            }
            return Ok(());
        }
        let (from, to) = (pages.start.max(first), pages.end.min(first + (1 << (BITS * level))));
        let below = BITS * (level - 1);
        let mut page = from;
        while page < to && found.len() < limit {
            let start = page >> below << below;
            if let Some(child) = self.open(words, shape, word_at(frame, page, level - 1), page, level - 1)? {
                self.collect_below(words, shape, (child, start, level - 1), pages, limit, found)?;
            }
            page = start + (1 << below);
        }
        Ok(())
    }

    /// What to write so that `pages` (as collected: mapped, ascending) are holes.
    pub(crate) fn clear(
        &self,
        words: &impl Words,
        shape: Shape,
        pages: &[(PageIndex, FrameNo)],
    ) -> Result<Cleared> {
        let mut cleared = Cleared { root: self.root, words: Vec::new(), nodes: Vec::new() };
        if let Some(root) = self.root(shape)?.filter(|_| !pages.is_empty()) {
            if self.clear_below(words, shape, (root.frame, root.height), pages, &mut cleared)? {
                cleared.root = 0;
            }
        }
        Ok(cleared)
    }

    /// Whether nothing stays below `frame`; then its words are left as they are, for it goes too.
    fn clear_below(
        &self,
        words: &impl Words,
        shape: Shape,
        (frame, level): (FrameNo, u32),
        pages: &[(PageIndex, FrameNo)],
        cleared: &mut Cleared,
    ) -> Result<bool> {
        if level == 0 {
            return Ok(true);
        }
        let below = level - 1;
        let mut gone = Vec::new();
        for run in pages.chunk_by(|a, b| a.0.0 >> (BITS * below) == b.0.0 >> (BITS * below)) {
            let page = run[0].0.0;
            let at = word_at(frame, page, below);
            let child = self.open(words, shape, at, page, below)?.ok_or_else(|| broken(at))?;
            if self.clear_below(words, shape, (child, below), run, cleared)? {
                gone.push(at);
            }
        }
        let mut going = gone.iter().peekable();
        for at in (0..WORDS).map(|i| frame.offset() + i * 8) {
            if going.next_if_eq(&&at).is_none() && words.word(at)? != 0 {
                cleared.words.extend(gone);
                return Ok(false);
            }
        }
        cleared.nodes.push(frame);
        Ok(true)
    }
}

/// The writes that make holes.
#[derive(Debug)]
pub(crate) struct Cleared {
    /// The new root word.
    pub(crate) root: u64,
    /// Bytes offsets of the words that become 0.
    pub(crate) words: Vec<u64>,
    /// Nodes that are free then.
    pub(crate) nodes: Vec<FrameNo>,
}

enum Leaf {
    Page(FrameNo),
    Node(FrameNo),
}

/// Byte offset of the word for `page` in a node whose words are of `level`.
const fn word_at(node: FrameNo, page: u64, level: u32) -> u64 {
    node.offset() + (page >> (BITS * level)) % WORDS * 8
}

/// The least height whose root covers `page`.
const fn height_for(page: u64) -> u32 {
    (u64::BITS - page.leading_zeros()).div_ceil(BITS)
}

fn broken(at: u64) -> Error {
    Error::corrupt(WHAT, at, "check bits do not match object, page and level")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn height_covers_the_page() {
        for (page, height) in
            [(0, 0), (1, 1), (511, 1), (512, 2), (1 << 18, 3), (1 << 27, 4), (PAGES_MAX - 1, 4)]
        {
            assert_eq!(height_for(page), height, "{page}");
        }
    }
}
