//! The object map: a page table on the medium.
//!
//! A word of level 0 maps one page; a word of level k names a node of 512 words of level k - 1. The record's root
//! word is of level `height`, so that an object of one page has no node at all, and the map grows by a node above.
//! Every word is sealed for (object, first page, level). A node without a mapped page does not exist: the record
//! that clears a node's last word frees it, and then need not write the words inside.

use super::layout;
use super::log::Txn;
use super::seal::{Salt, Seal};
use super::words::{Shape, WORDS, Words};
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
const HEIGHT_SHIFT: u32 = 39;
/// Pages that are asked for at once by most.
const FEW: usize = 8;
const WHAT: &str = "object map";

const _: () = assert!(1 << BITS == WORDS && layout::GROUP_FRAMES % 64 == 0);

/// An object's map: whose it is and its root word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Map {
    /// The region's salt.
    pub(crate) salt: Salt,
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
        let value = self.seal(0, height).open(self.root).ok_or_else(|| broken(self.at))?;
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
        let value = u64::from(root.frame.0) | u64::from(root.height) << HEIGHT_SHIFT;
        self.root = self.seal(0, root.height).close(value);
    }

    const fn seal(&self, page: u64, level: u32) -> Seal {
        self.salt.map(self.id, page >> (BITS * level), level)
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
        self.opened(shape, words.word(at)?, at, page, level)
    }

    /// As [`open`](Self::open), of a word that was read there.
    pub(crate) fn opened(
        &self,
        shape: Shape,
        word: u64,
        at: u64,
        page: u64,
        level: u32,
    ) -> Result<Option<FrameNo>> {
        match self.seal(page, level).open(word) {
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
            let part = &mut found[(page - first) as usize..(stop - first) as usize];
            match self.leaf(words, shape, page)? {
                None => part.fill(None),
                Some(Leaf::Page(frame)) => {
                    part.fill(None);
                    part[0] = (page == 0).then_some(frame);
                }
                Some(Leaf::Node(node)) => {
                    // Most ask for a page or two: a whole leaf's room would have to be cleared for them.
                    if part.len() <= FEW {
                        self.find_in_leaf::<FEW>(words, shape, node, page, part)?;
                    } else {
                        self.find_in_leaf::<{ WORDS as usize }>(words, shape, node, page, part)?;
                    }
                }
            }
            page = stop;
        }
        Ok(())
    }

    /// The frames of pages from `page` on, no more than `N`, of one leaf: one look for all.
    fn find_in_leaf<const N: usize>(
        &self,
        words: &impl Words,
        shape: Shape,
        node: FrameNo,
        page: u64,
        found: &mut [Option<FrameNo>],
    ) -> Result {
        let mut leaf = [0; N];
        let (at, leaf) = (word_at(node, page, 0), &mut leaf[..found.len()]);
        words.run(at, leaf)?;
        for (n, (&word, found)) in (0..).zip(leaf.iter().zip(found)) {
            *found = self.opened(shape, word, at + n * 8, page + n, 0)?;
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
        let mut node = words.node(root.frame)?;
        for level in (1..root.height).rev() {
            match self.open(words, shape, word_at(node, page, level), page, level)? {
                Some(child) => node = words.node(child)?,
                None => return Ok(None),
            }
        }
        Ok(Some(Leaf::Node(node)))
    }

    /// The nodes that must be made so that `pages` (ascending) can be mapped: level, and first page without its low bits.
    pub(crate) fn missing_nodes(
        &self,
        words: &impl Words,
        shape: Shape,
        pages: &[u64],
    ) -> Result<BTreeSet<(u32, u64)>> {
        let Some(&last) = pages.last() else { return Ok(BTreeSet::new()) };
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
        Ok(needed)
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
            return Err(Error::internal(format!("page {page} is mapped already")));
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
    ) -> Result<Found> {
        Ok(self.cut(words, shape, pages, limit)?.0)
    }

    /// The first `limit` mapped pages in `pages`, ascending, and what to write so that they are holes. Each node is
    /// looked at once.
    pub(crate) fn cut(
        &self,
        words: &impl Words,
        shape: Shape,
        pages: Range<u64>,
        limit: usize,
    ) -> Result<(Found, Cleared)> {
        let cleared = Cleared { root: self.root, words: Vec::new(), nodes: Vec::new() };
        let mut cut = Cut { map: self, words, shape, pages, limit, found: Vec::new(), cleared };
        if let Some(root) = self.root(shape)? {
            if cut.below(root.frame, 0, root.height)? {
                cut.cleared.root = 0;
            }
        }
        Ok((cut.found, cut.cleared))
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
        let used = words.frame(frame)?.iter().filter(|&&word| word != 0).count();
        if used > gone.len() {
            cleared.words.extend(gone);
            return Ok(false);
        }
        cleared.nodes.push(frame);
        Ok(true)
    }
}

/// A walk that cuts pages out of a map.
struct Cut<'m, W> {
    map: &'m Map,
    words: &'m W,
    shape: Shape,
    pages: Range<u64>,
    limit: usize,
    found: Found,
    cleared: Cleared,
}

impl<W: Words> Cut<'_, W> {
    /// `frame` is page `first` (level 0), or a node whose words cover pages from there on. Whether nothing stays below;
    /// then its words are left as they are, for it goes too.
    fn below(&mut self, frame: FrameNo, first: u64, level: u32) -> Result<bool> {
        if level == 0 {
            let cut = self.pages.contains(&first) && self.found.len() < self.limit;
            if cut {
                self.found.push((PageIndex(first), frame));
            }
            return Ok(cut);
        }
        self.words.node(frame)?;
        let below = level - 1;
        let mut gone = Vec::new();
        let mut stays = false;
        for (i, word) in (0..).zip(self.words.frame(frame)?) {
            let (page, at) = (first + (i << (BITS * below)), frame.offset() + i * 8);
            if word == 0 {
                continue;
            }
            let outside = page >= self.pages.end || page + (1 << (BITS * below)) <= self.pages.start;
            if outside || self.found.len() >= self.limit {
                stays = true;
                if page >= self.pages.end || self.found.len() >= self.limit {
                    break;
                }
                continue;
            }
            let child = self.map.opened(self.shape, word, at, page, below)?.ok_or_else(|| broken(at))?;
            if self.below(child, page, below)? {
                gone.push(at);
            } else {
                stays = true;
            }
        }
        if stays {
            self.cleared.words.extend(gone);
            return Ok(false);
        }
        if gone.is_empty() {
            // It may be anything: nothing in it says whose it is.
            return Err(Error::corrupt(WHAT, frame.offset(), "a node without a page"));
        }
        self.cleared.nodes.push(frame);
        Ok(true)
    }
}

/// Pages of an object, ascending, and the frames they lie in.
pub(crate) type Found = Vec<(PageIndex, FrameNo)>;

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
