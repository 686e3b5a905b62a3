//! The object map: a page table on the medium.
//!
//! A word of level 0 maps one page. A word of level k names a node of 512 words of level k - 1. The root word in the
//! object's record is of level `height`, so that an object of one page has no node at all, and a map grows by a new node
//! above the old ones. Every word is sealed for the object, the first page and the level. There is no node without a
//! mapped page, except after a repair: the record that clears a node's last word frees the node, and need not write its
//! words.
//!
//! A repair may leave words that say *lost*, each for all pages below it. Such pages are neither mapped nor holes. Only a
//! hole over all of them takes such a word away: no node is made for the pages beside a part of them. Above a root word
//! that says so no node is made either. The pages beyond it are holes.

use super::layout;
use super::log::Txn;
use super::seal::{Node, Salt, Seal};
use super::words::{Shape, WORDS, Words, unsealed};
use crate::error::{Error, Result};
use crate::units::{FRAME_SIZE, FrameNo, PageIndex};
use std::collections::BTreeSet;
use std::ops::Range;

/// Pages an object can have.
pub const PAGES_MAX: u64 = 1 << (BITS * HEIGHT_MAX);
/// Levels of nodes at most.
pub(crate) const HEIGHT_MAX: u32 = 4;
/// Bits of a page's number that each level resolves.
const BITS: u32 = 9;
/// The place of the height in the root word, above the frame number.
const HEIGHT_SHIFT: u32 = 39;
/// Bit of a value that a repair sets: what the word named was lost. Reading it is an error, since it was no hole.
const LOST: u64 = 1 << 36;
/// A later release may set this where other objects have the frame or the node, too. It says so to a writer alone, so that a
/// release which does not know it can read such a map.
const SHARED: u64 = 1 << 32;
/// Up to as many pages most calls ask for at once.
const FEW: usize = 8;
const WHAT: &str = "object map";

const _: () = assert!(1 << BITS == WORDS && layout::GROUP_FRAMES % 64 == 0);

/// An object's map: its owner and its root word.
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

/// A root word, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) height: u32,
    pub(crate) frame: FrameNo,
}

impl Map {
    /// The root. `None` if nothing is mapped.
    pub(crate) fn root(&self, shape: Shape) -> Result<Option<Root>> {
        let height = self.height();
        let value = self.seal(0, height).open(self.root).ok_or_else(|| unsealed(WHAT, self.at, self.root))?;
        if value == 0 {
            return Ok(None);
        }
        let bare = value & ((1 << HEIGHT_SHIFT) - 1);
        if height > HEIGHT_MAX {
            return Err(Error::corrupt(WHAT, self.at, format!("impossible height {height}")));
        }
        if bare & LOST != 0 {
            return Err(Lost::at(self.at, 0, height).error());
        }
        Ok(Some(Root { height, frame: shape.frame(bare & !SHARED, WHAT, self.at)? }))
    }

    /// The root word of an empty map.
    pub(crate) const fn empty_root(salt: Salt, id: u64) -> u64 {
        salt.map(id, 0, 0).nothing()
    }

    /// Whether the root word is that of an empty map.
    pub(crate) fn is_empty(&self) -> bool {
        self.root == Self::empty_root(self.salt, self.id)
    }

    /// Whether `word` says that what it named was lost.
    pub(crate) fn is_lost(&self, word: u64, page: u64, level: u32) -> bool {
        level <= HEIGHT_MAX && self.seal(page, level).open(word).is_some_and(|value| value & LOST != 0)
    }

    /// What is lost if the root word says so.
    fn lost_below_root(&self) -> Option<Lost> {
        let height = self.height();
        self.is_lost(self.root, 0, height).then(|| Lost::at(self.at, 0, height))
    }

    /// The word that says so.
    pub(crate) fn lost(&self, page: u64, level: u32) -> u64 {
        self.seal(page, level).close(LOST)
    }

    /// The root word that says that all pages below it are lost.
    pub(crate) fn lost_root(&self) -> u64 {
        let height = self.height();
        self.seal(0, height).close(LOST | u64::from(height) << HEIGHT_SHIFT)
    }

    /// The word that says "nothing".
    pub(crate) fn nothing(&self, page: u64, level: u32) -> u64 {
        self.seal(page, level).nothing()
    }

    /// An empty node of `height` on the path of `page`.
    pub(crate) fn node(&self, page: u64, height: u32) -> Node {
        Node::map(self.id, page >> (BITS * height) << BITS, height - 1)
    }

    /// The height in the root word, which is not verified.
    pub(crate) const fn height(&self) -> u32 {
        (self.root >> HEIGHT_SHIFT) as u32 & 7
    }

    /// Whether `word` was closed for this map and place.
    pub(crate) fn sealed(&self, word: u64, page: u64, level: u32) -> bool {
        self.seal(page, level).open(word).is_some()
    }

    pub(crate) fn set_root(&mut self, root: Root) {
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

    /// As [`open`](Self::open), for a word that was read already.
    pub(crate) fn opened(
        &self,
        shape: Shape,
        word: u64,
        at: u64,
        page: u64,
        level: u32,
    ) -> Result<Option<FrameNo>> {
        match self.named(shape, word, at, page, level)? {
            Named::Nothing => Ok(None),
            Named::Frame(frame) => Ok(Some(frame)),
            Named::Lost => Err(Lost::at(at, page, level).error()),
        }
    }

    /// What the word at `at` names.
    fn named(&self, shape: Shape, word: u64, at: u64, page: u64, level: u32) -> Result<Named> {
        match self.seal(page, level).open(word) {
            None => Err(unsealed(WHAT, at, word)),
            Some(0) => Ok(Named::Nothing),
            Some(value) if value & LOST != 0 => Ok(Named::Lost),
            Some(value) => shape.frame(value & !SHARED, WHAT, at).map(Named::Frame),
        }
    }

    /// Whether `word` has the flag that no feature of this release sets.
    pub(crate) const fn is_shared(word: u64) -> bool {
        word & SHARED != 0
    }

    pub(crate) fn close(&self, page: u64, level: u32, frame: FrameNo) -> u64 {
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

    /// Finds the frames of the pages `first .. first + found.len()`.
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
                    // Most calls ask for a page or two, and room for a whole leaf would have to be cleared for them.
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

    /// Finds the frames of up to `N` pages from `page` on, all of one leaf, in one look.
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

    /// The leaf that holds the word of `page`.
    fn leaf(&self, words: &impl Words, shape: Shape, page: u64) -> Result<Option<Leaf>> {
        let root = match self.root(shape) {
            // No page beyond those was ever mapped.
            Err(_) if self.lost_below_root().is_some_and(|lost| page >= lost.pages.end) => return Ok(None),
            root => root?,
        };
        let Some(root) = root else { return Ok(None) };
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

    /// The nodes that must be made before `pages` (ascending) can be mapped: the level of each, and its first page
    /// without the low bits.
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

    /// The levels at which there is a node on the path of `page`.
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

    /// Maps `page` to `frame`, and makes nodes from `spare`. The page must be a hole.
    pub(crate) fn insert(
        &mut self,
        t: &mut Txn<'_>,
        shape: Shape,
        page: u64,
        frame: FrameNo,
        spare: &mut impl FnMut(&mut Txn<'_>, Node) -> Result<FrameNo>,
    ) -> Result {
        let mut root = match self.root(shape)? {
            Some(root) => root,
            None => {
                let height = height_for(page);
                let frame = if height == 0 { frame } else { spare(t, self.node(page, height))? };
                let root = Root { height, frame };
                self.set_root(root);
                if height == 0 {
                    return Ok(());
                }
                root
            }
        };
        while page >> (BITS * root.height) != 0 {
            let above = spare(t, self.node(0, root.height + 1))?;
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
                    let child = spare(t, self.node(page, level))?;
                    t.write(at, self.close(page, level, child))?;
                    child
                }
            };
        }
        let at = word_at(node, page, 0);
        if root.height == 0 || self.open(t, shape, at, page, 0)?.is_some() {
            return Err(Error::internal(format!("page {page} is mapped already")));
        }
        t.write(at, self.close(page, 0, frame))
    }

    /// Makes mapped pages, ascending, lie in other frames.
    pub(crate) fn replace(&mut self, t: &mut Txn<'_>, shape: Shape, moves: &[Move]) -> Result {
        for run in moves.chunk_by(|a, b| a.page.0 / WORDS == b.page.0 / WORDS) {
            match self.leaf(t, shape, run[0].page.0)? {
                Some(Leaf::Node(node)) => {
                    run.iter().try_for_each(|page| self.replace_in_leaf(t, shape, node, page))?;
                }
                Some(Leaf::Page(frame)) if run.len() == 1 && run[0].page.0 == 0 && run[0].from == frame => {
                    self.set_root(Root { height: 0, frame: run[0].to });
                }
                _ => return Err(not_there(&run[0])),
            }
        }
        Ok(())
    }

    fn replace_in_leaf(&self, t: &mut Txn<'_>, shape: Shape, node: FrameNo, page: &Move) -> Result {
        let (number, at) = (page.page.0, word_at(node, page.page.0, 0));
        if self.open(t, shape, at, number, 0)? != Some(page.from) {
            return Err(not_there(page));
        }
        t.write(at, self.close(number, 0, page.to))
    }

    /// The first `limit` mapped pages in `pages`, ascending, and the first lost ones that are met before that.
    pub(crate) fn collect(
        &self,
        words: &impl Words,
        shape: Shape,
        pages: Range<u64>,
        limit: usize,
    ) -> Result<(Found, Option<Lost>)> {
        let mut found = Cut { clears_lost: false, ..self.no_cut(words, shape, pages, limit, 0) };
        found.walk()?;
        Ok((found.found, found.lost))
    }

    fn no_cut<'m, W>(
        &'m self,
        words: &'m W,
        shape: Shape,
        pages: Range<u64>,
        limit: usize,
        inside: u64,
    ) -> Cut<'m, W> {
        let cleared = Cleared { root: self.root, words: Vec::new(), nodes: Vec::new(), lost: 0 };
        let (found, lost) = (Vec::new(), None);
        Cut { map: self, words, shape, pages, inside, limit, clears_lost: true, found, lost, cleared }
    }

    /// The first mapped pages in `pages`, ascending, and the writes that make holes of them. Each node is read once.
    ///
    /// A word of lost pages is cleared if `pages` has all of them that are inside the object, which has `inside` pages; it
    /// stays otherwise. Pages and such words are `limit` together.
    pub(crate) fn cut(
        &self,
        words: &impl Words,
        shape: Shape,
        pages: Range<u64>,
        inside: u64,
        limit: usize,
    ) -> Result<(Found, Cleared)> {
        let mut cut = self.no_cut(words, shape, pages, limit, inside);
        cut.walk()?;
        Ok((cut.found, cut.cleared))
    }

    /// The writes that make holes of `pages` (as collected: mapped, ascending).
    pub(crate) fn clear(
        &self,
        words: &impl Words,
        shape: Shape,
        pages: &[(PageIndex, FrameNo)],
    ) -> Result<Cleared> {
        let mut cleared = Cleared { root: self.root, words: Vec::new(), nodes: Vec::new(), lost: 0 };
        if let Some(root) = self.root(shape)?.filter(|_| !pages.is_empty()) {
            if self.clear_below(words, shape, (root.frame, root.height), pages, &mut cleared)? {
                cleared.root = Self::empty_root(self.salt, self.id);
            }
        }
        Ok(cleared)
    }

    /// The words of `frame` that do not say "nothing", damaged ones included, and the first page of each. They are of
    /// `level`, and the first word of the frame covers pages from `first` on.
    pub(crate) fn used_words<W: Words>(
        &self,
        words: &W,
        frame: FrameNo,
        first: u64,
        level: u32,
    ) -> Result<impl Iterator<Item = (u64, u64)> + use<W>> {
        let map = *self;
        let pages = (first..).step_by(1 << (BITS * level));
        let used = pages.zip(words.frame(frame)?);
        Ok(used.filter(move |&(page, word)| word != map.seal(page, level).nothing()))
    }

    /// Returns whether nothing stays below `frame`. Then its words are left as they are, since the node goes too.
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
            let child = self.open(words, shape, at, page, below)?.ok_or_else(|| unsealed(WHAT, at, 0))?;
            if self.clear_below(words, shape, (child, below), run, cleared)? {
                gone.push((at, self.seal(page, below).nothing()));
            }
        }
        let first = pages[0].0.0 >> (BITS * level) << (BITS * level);
        if self.used_words(words, frame, first, below)?.count() > gone.len() {
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
    /// How many pages the object has, holes included.
    inside: u64,
    limit: usize,
    /// Whether words of lost pages are cleared, or only noticed.
    clears_lost: bool,
    found: Found,
    /// The first lost pages.
    lost: Option<Lost>,
    cleared: Cleared,
}

impl<W> Cut<'_, W> {
    /// Whether as many pages and words are taken as may be.
    fn is_full(&self) -> bool {
        self.found.len() + self.cleared.lost >= self.limit
    }

    /// Meets a word of lost pages. Returns whether it goes.
    fn meet_lost(&mut self, lost: Lost) -> bool {
        let Range { start, end } = lost.pages;
        let goes = self.clears_lost && self.pages.start <= start && end.min(self.inside) <= self.pages.end;
        self.cleared.lost += usize::from(goes);
        self.lost.get_or_insert(lost);
        goes
    }
}

impl<W: Words> Cut<'_, W> {
    fn walk(&mut self) -> Result {
        let goes = if let Some(lost) = self.map.lost_below_root() {
            let met = lost.pages.start < self.pages.end && self.pages.start < lost.pages.end;
            met && self.meet_lost(lost)
        } else if let Some(root) = self.map.root(self.shape)? {
            self.below(root.frame, 0, root.height)?
        } else {
            false
        };
        if goes {
            self.cleared.root = Map::empty_root(self.map.salt, self.map.id);
        }
        Ok(())
    }

    /// `frame` is page `first` (level 0), or a node whose words cover pages from there on. Returns whether nothing stays
    /// below. Then its words are left as they are, since it goes too.
    fn below(&mut self, frame: FrameNo, first: u64, level: u32) -> Result<bool> {
        if level == 0 {
            let cut = self.pages.contains(&first) && !self.is_full();
            if cut {
                self.found.push((PageIndex(first), frame));
            }
            return Ok(cut);
        }
        self.words.node(frame)?;
        let below = level - 1;
        let mut gone = Vec::new();
        let mut stays = false;
        for (page, word) in self.map.used_words(self.words, frame, first, below)? {
            let at = word_at(frame, page, below);
            let outside = page >= self.pages.end || page + (1 << (BITS * below)) <= self.pages.start;
            if outside || self.is_full() {
                stays = true;
                if page >= self.pages.end || self.is_full() {
                    break;
                }
                continue;
            }
            let goes = match self.map.named(self.shape, word, at, page, below)? {
                Named::Frame(child) => self.below(child, page, below)?,
                Named::Lost => self.meet_lost(Lost::at(at, page, below)),
                Named::Nothing => return Err(unsealed(WHAT, at, word)),
            };
            if goes {
                gone.push((at, self.map.nothing(page, below)));
            } else {
                stays = true;
            }
        }
        if stays {
            self.cleared.words.extend(gone);
            return Ok(false);
        }
        if gone.is_empty() {
            // It may be anything: nothing in it proves an owner.
            return Err(Error::corrupt(WHAT, frame.offset(), "a node without a page"));
        }
        self.cleared.nodes.push(frame);
        Ok(true)
    }
}

/// A page, the frame that it leaves, and the one that it gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Move {
    pub page: PageIndex,
    pub from: FrameNo,
    pub to: FrameNo,
}

/// Pages of an object, ascending, and the frames they lie in.
pub type Found = Vec<(PageIndex, FrameNo)>;

/// The writes that make holes.
#[derive(Debug)]
pub(crate) struct Cleared {
    /// The new root word.
    pub(crate) root: u64,
    /// Byte offsets of the words that then say "nothing", and the value of each.
    pub(crate) words: Vec<(u64, u64)>,
    /// Nodes that then are free.
    pub(crate) nodes: Vec<FrameNo>,
    /// How many words of lost pages go.
    pub(crate) lost: usize,
}

/// Pages that one word says are lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lost {
    /// Where the word is.
    at: u64,
    /// All pages below it. Some of them may lie beyond the object's end, or have been holes.
    pub pages: Range<u64>,
}

impl Lost {
    /// What a word of `level` at `at` says, whose pages begin at `page`.
    fn at(at: u64, page: u64, level: u32) -> Self {
        let first = page >> (BITS * level) << (BITS * level);
        Self { at, pages: first..first + (1 << (BITS * level)) }
    }

    /// The error of a call that meets them.
    #[must_use]
    pub fn error(&self) -> Error {
        let Range { start, end } = self.pages;
        let why = format!(
            "pages {start} to {} were lost, as a repair has noted: make one hole of all of them, from byte {:#x} to byte {:#x} \
             or to the end of the object, or remove the object",
            end - 1,
            start * FRAME_SIZE as u64,
            end * FRAME_SIZE as u64,
        );
        Error::corrupt(WHAT, self.at, why)
    }
}

/// What a word names.
enum Named {
    Nothing,
    Frame(FrameNo),
    Lost,
}

enum Leaf {
    Page(FrameNo),
    Node(FrameNo),
}

fn not_there(page: &Move) -> Error {
    Error::internal(format!("page {} is to leave frame {}, and is not there", page.page.0, page.from.0))
}

/// Byte offset of the word for `page` in a node whose words are of `level`.
pub(crate) const fn word_at(node: FrameNo, page: u64, level: u32) -> u64 {
    node.offset() + (page >> (BITS * level)) % WORDS * 8
}

/// The least height whose root covers `page`.
pub(crate) const fn height_for(page: u64) -> u32 {
    (u64::BITS - page.leading_zeros()).div_ceil(BITS)
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
