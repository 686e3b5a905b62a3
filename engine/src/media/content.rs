//! Content of objects: which frame holds which page, and how long the object is.

use super::ledger::Ledger;
use super::log::Txn;
use super::log::record::{NODE_ENTRIES, Sequence};
use super::record::{self, Head, ObjectSlot};
use super::rules::Rule;
use super::seal::Node;
use super::structures::Structures;
use super::tree::{self, Found, Lost, Map};
use super::words::Words;
use super::{bitmap, orphans};
use crate::error::{Error, Result};
use crate::units::{FRAME_SIZE, FrameNo, PageIndex};
use std::ops::Range;

/// Entries of a record besides those for its pages: the object's head, neighbours on a list, a table frame.
pub(super) const ENTRIES_BESIDES: usize = 64;

/// When a record was appended.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Its number.
    pub sequence: Sequence,
    /// The head that the log's leader had noted by then. A mark before the leader's next note covers no later record.
    pub noted: Sequence,
}

impl Structures {
    /// The frame of page `index`; `None` for a hole, and for what a truncate in progress has cut off.
    pub fn map(&self, slot: ObjectSlot, index: PageIndex) -> Result<Option<FrameNo>> {
        self.read(|log, shape| {
            let (map, cut) = map_of(log, slot)?;
            if cut.is_some_and(|cut| index.0 >= cut) { Ok(None) } else { map.find(log, shape, index.0) }
        })
    }

    /// The frames of the `n` pages from `first` on.
    pub fn map_range(&self, slot: ObjectSlot, first: PageIndex, n: usize) -> Result<Vec<Option<FrameNo>>> {
        in_range(first, n as u64)?;
        let mut found = vec![None; n];
        // One moment for each node: otherwise writers could starve a long walk.
        let mut done = 0;
        while done < n {
            let page = first.0 + done as u64;
            let len = (n - done).min(512 - (page % 512) as usize);
            let part = self.read(|log, shape| {
                let (map, cut) = map_of(log, slot)?;
                let mut part = vec![None; len];
                let visible = cut.map_or(len, |cut| cut.saturating_sub(page).min(len as u64) as usize);
                map.find_run(log, shape, page, &mut part[..visible])?;
                Ok(part)
            })?;
            found[done..done + len].copy_from_slice(&part);
            done += len;
        }
        Ok(found)
    }

    /// The first `limit` mapped pages in `pages`, ascending. Pages that a truncate in progress has cut off are left out, and
    /// so are lost pages: what is between two mapped pages need not be a hole.
    pub fn mapped(
        &self,
        slot: ObjectSlot,
        pages: Range<PageIndex>,
        limit: usize,
    ) -> Result<Vec<(PageIndex, FrameNo)>> {
        self.mapped_and_lost(slot, pages, limit).map(|(mapped, _)| mapped)
    }

    /// As [`Self::mapped`], and the first lost pages among these, if they come before the last of the mapped ones or if
    /// these are fewer than `limit`.
    pub fn mapped_and_lost(
        &self,
        slot: ObjectSlot,
        pages: Range<PageIndex>,
        limit: usize,
    ) -> Result<(Found, Option<Lost>)> {
        self.read(|log, shape| {
            let (map, cut) = map_of(log, slot)?;
            let end = pages.end.0.min(cut.unwrap_or(tree::PAGES_MAX));
            map.collect(log, shape, pages.start.0..end, limit)
        })
    }

    /// The lost pages that have `page` among them.
    pub fn lost_around(&self, slot: ObjectSlot, page: PageIndex) -> Result<Option<Lost>> {
        self.mapped_and_lost(slot, page..PageIndex(page.0 + 1), 1).map(|(_, lost)| lost)
    }

    /// States that a lookup found a page in `frame`. The caller keeps the page from being cut off.
    pub fn met_page(&self, frame: FrameNo) -> Result {
        self.log.uses().page(frame)
    }

    /// Asks once more, after the frame of a page was pinned. From now on the frame has no other use.
    pub fn expect_page(&self, frame: FrameNo) -> Result {
        self.log.uses().expect_page(frame)
    }

    /// How many pages have a frame, including those that a truncate in progress has cut off.
    pub fn pages(&self, slot: ObjectSlot) -> Result<u64> {
        Ok(self.head(slot)?.map_seal().pages())
    }

    /// Whether a truncate of the object is not finished.
    pub fn truncating(&self, slot: ObjectSlot) -> Result<bool> {
        Ok(self.read(|log, _| map_of(log, slot))?.1.is_some())
    }
}

impl Ledger {
    /// Maps pages to frames from `allocate`, which hold the bytes of the pages, and sets the size. If a page is mapped
    /// already, or is cut off by an unfinished truncate, this is refused before anything changes. Many pages need several
    /// records; the size comes with the last. An error in between leaves the pages of the earlier records linked.
    ///
    /// # Durability
    /// Appended. The bytes of the frames become durable before the mark that covers the record.
    pub fn link(
        &self,
        slot: ObjectSlot,
        pages: &[(PageIndex, FrameNo)],
        size: Option<u64>,
    ) -> Result<Moment> {
        let _object = self.object(slot);
        let mut pages: Vec<_> = pages.iter().map(|&(index, frame)| (index.0, frame)).collect();
        pages.sort_unstable();
        self.verify_links(slot, &pages, size)?;
        let mut left = &pages[..];
        let splits = self.log.rules().broken(Rule::SealSplits);
        loop {
            let map = map_at(&self.head(slot)?);
            let (n, nodes) = self.part(map, left)?;
            let (now, later) = left.split_at(n);
            left = later;
            // Before the record, since a lookup that finds a page in the map must find that its frame holds a page.
            now.iter().try_for_each(|&(_, frame)| self.log.uses().link(frame))?;
            let size = size.filter(|_| left.is_empty());
            let (noted, sequence) = self.change_with(self.spares(nodes, 0)?, |t, shape, spare| {
                let mut head = Head::live(t, slot)?;
                let mut map = map_at(&head);
                let mut node = |t: &mut Txn<'_>, node| new_node(t, shape, spare, node);
                for &(page, frame) in now {
                    map.insert(t, shape, page, frame, &mut node)?;
                }
                bitmap::set(t, shape, now.iter().map(|&(_, frame)| frame))?;
                head.set_root(map.root);
                if !splits {
                    head.note_linked(now.iter().copied());
                }
                if let Some(size) = size {
                    head.set_size(size);
                }
                t.publishes();
                head.write(t).map(|()| t.noted())
            })?;
            if splits {
                self.change(|t, _| {
                    let mut head = Head::live(t, slot)?;
                    head.note_linked(now.iter().copied());
                    head.write(t)
                })?;
            }
            if left.is_empty() {
                return Ok(Moment { sequence, noted });
            }
        }
    }

    /// How many of `pages` fit into one record, and how many nodes they need. The object's lock keeps its map as it is.
    fn part(&self, map: Map, pages: &[(u64, FrameNo)]) -> Result<(usize, usize)> {
        let room = self.log.entries_max() - ENTRIES_BESIDES;
        let numbers: Vec<_> = pages.iter().take(room / 2).map(|&(page, _)| page).collect();
        let mut n = numbers.len();
        loop {
            let nodes = map.missing_nodes(&*self.log, self.shape(), &numbers[..n])?.len();
            // A page: its word and a word of the bitmap. A node: itself, the word that names it, its bit. And the tallies.
            let tallies = bitmap::tallies_max(self.shape(), n + nodes);
            if n <= 1 || 2 * n + (NODE_ENTRIES + 2) * nodes + tallies <= room {
                return Ok((n, nodes));
            }
            n /= 2;
        }
    }

    /// Verifies that pages can be linked. The object's lock keeps its map as it is.
    pub(super) fn verify_links(
        &self,
        slot: ObjectSlot,
        pages: &[(u64, FrameNo)],
        size: Option<u64>,
    ) -> Result {
        if let Some(&(last, _)) = pages.last() {
            in_range(PageIndex(last), 1)?;
        }
        if let Some(twice) = pages.windows(2).find(|two| two[0].0 == two[1].0) {
            return Err(Error::internal(format!("page {} is to be linked twice", twice[0].0)));
        }
        let head = self.head(slot)?;
        self.verify_size(&head, size.unwrap_or(0))?;
        if let (Some(cut), Some(&(last, _))) = (head.cut(), pages.last()) {
            if last >= cut && !self.log.rules().broken(Rule::GrowWhileTruncating) {
                return Err(unfinished());
            }
        }
        let (map, shape) = (map_at(&head), self.shape());
        for &(page, _) in pages {
            if map.find(&*self.log, shape, page)?.is_some() {
                return Err(Error::internal(format!("page {page} is mapped already")));
            }
        }
        Ok(())
    }

    fn verify_size(&self, head: &Head, size: u64) -> Result {
        if size > record::SIZE_MAX {
            return Err(Error::OutOfRange { what: "object size", value: size, limit: record::SIZE_MAX });
        }
        match head.cut() {
            // LOG rule 12: after a crash, the truncate would go on and free what has grown since.
            Some(cut)
                if size > cut.saturating_mul(FRAME_SIZE as u64)
                    && !self.log.rules().broken(Rule::GrowWhileTruncating) =>
            {
                Err(unfinished())
            }
            _ => Ok(()),
        }
    }

    /// Sets only the size: pages beyond it stay mapped. `publishes`: the size makes bytes of mapped pages visible, namely
    /// zeros that were stored just now.
    ///
    /// # Durability
    /// One record, appended.
    pub fn set_size(&self, slot: ObjectSlot, size: u64, publishes: bool) -> Result<Moment> {
        let _object = self.object(slot);
        let (noted, sequence) = self.change(|t, _| {
            let mut head = Head::live(t, slot)?;
            self.verify_size(&head, size)?;
            head.set_size(size);
            if publishes {
                t.publishes();
            }
            head.write(t).map(|()| t.noted())
        })?;
        Ok(Moment { sequence, noted })
    }

    /// Cuts the object to `size` bytes, at most its present size: from now on `map` shows no page beyond, and
    /// `truncate_step` frees them. While `truncating` the object must not grow; finish the steps first.
    ///
    /// # Durability
    /// One small record, appended. After a crash the list of orphans names the object.
    pub fn begin_truncate(&self, slot: ObjectSlot, size: u64) -> Result<Moment> {
        let _object = self.object(slot);
        let (noted, sequence) = self.change(|t, shape| {
            let mut head = Head::live(t, slot)?;
            if size > head.size() {
                return Err(Error::OutOfRange {
                    what: "size to truncate to",
                    value: size,
                    limit: head.size(),
                });
            }
            let first = PageIndex::pages_for(size);
            if !map_at(&head).is_empty() {
                if !orphans::belongs(&head) {
                    orphans::push(t, shape, &mut head)?;
                }
                head.set_cut(Some(head.cut().map_or(first, |cut| cut.min(first))));
            }
            head.set_size(size);
            head.write(t).map(|()| t.noted())
        })?;
        Ok(Moment { sequence, noted })
    }
}

/// The map in a head.
pub(super) fn map_at(head: &Head) -> Map {
    Map { salt: head.salt, id: head.tree(), root: head.root(), at: head.slot.offset() + 24 }
}

/// The map and the cut mark, without a look at the checksum of the head. A page miss comes this way, and every word of a
/// map is sealed.
fn map_of(words: &impl Words, slot: ObjectSlot) -> Result<(Map, Option<u64>)> {
    let (tree, root, cut) = record::map_words(words, slot)?;
    Ok((Map { salt: words.salt(), id: tree, root, at: slot.offset() + 24 }, cut))
}

fn in_range(first: PageIndex, n: u64) -> Result {
    let limit = tree::PAGES_MAX;
    match first.0.checked_add(n) {
        Some(end) if end <= limit => Ok(()),
        _ => Err(Error::OutOfRange { what: "page", value: first.0, limit: limit - 1 }),
    }
}

fn unfinished() -> Error {
    Error::Busy { what: "object", why: "it is being truncated: finish the steps first".into() }
}

pub(super) fn new_node(
    t: &mut Txn<'_>,
    shape: super::words::Shape,
    spare: &mut Vec<FrameNo>,
    node: Node,
) -> Result<FrameNo> {
    let frame = spare.pop().ok_or_else(|| Error::NoSpace { why: "no frame for a node of the map".into() })?;
    bitmap::set(t, shape, [frame].into_iter())?;
    t.node(frame, node)?;
    Ok(frame)
}
