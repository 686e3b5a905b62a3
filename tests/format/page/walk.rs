//! The content of an image, found by walking its structures.

use super::checks::{self, sum};
use super::tables::Page;
use super::view::View;
use super::{Result, same};
use pagestone_fuzzing::format::name_hash;
use std::collections::{BTreeMap, BTreeSet};

/// An object, by the page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object {
    pub number: u64,
    pub name: Vec<u8>,
    pub size: u64,
    pub kind: u64,
    pub birth: u64,
    pub unlinked: bool,
    /// Whether a repair found that a part of it is lost.
    pub damaged: bool,
    /// The first page that an unfinished truncate cuts off.
    pub cut: Option<u64>,
    /// The frames of its pages.
    pub pages: BTreeMap<u64, u64>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    pub named: BTreeMap<Vec<u8>, Object>,
    pub orphans: Vec<Object>,
    pub busy: BTreeSet<u64>,
    pub free_slots: u64,
    /// Pages that a repair found lost.
    pub lost: u64,
    /// The slots of objects, by their numbers.
    pub records: BTreeMap<u64, u64>,
    /// The nodes of maps: for each its object, first page and level.
    pub nodes: BTreeMap<u64, (u64, u64, u64)>,
    /// The use of each frame.
    owners: BTreeMap<u64, String>,
    /// The slots that were visited.
    slots: BTreeSet<u64>,
}

impl Found {
    /// Walks everything.
    pub fn of(view: &View<'_>) -> Result<Self> {
        let mut found = Self::default();
        let page = view.page;
        let log = page.frame("log")?;
        let end = log + view.field("Superblock", view.superblock, "log frames")?;
        let mut fixed = (0..=page.frame("directory")?).chain(log..end);
        fixed.try_for_each(|frame| found.own(frame, "a fixed frame"))?;
        found.directory(view, view.root("directory")?, 0, 0)?;
        found.list(view, "orphans", |found, object| {
            found.orphans.extend(object);
            Ok(())
        })?;
        found.list(view, "free slots", |found, object| {
            found.free_slots += 1;
            same("the object of a free slot", object, None)
        })?;
        let frames: BTreeSet<_> = found.slots.iter().map(|slot| slot / 8).collect();
        for frame in frames {
            found.own(frame, "a frame of records")?;
            (frame * 8..frame * 8 + 8)
                .try_for_each(|slot| same("a slot", found.slots.contains(&slot), true))?;
        }
        found.busy_table(view)?;
        found.groups(view)?;
        Ok(found)
    }

    /// The frames in use that are no pages and were none before.
    pub fn metadata(&self) -> Vec<u64> {
        let pages = ["a page", "a busy frame"];
        self.owners.iter().filter(|(_, is)| !pages.contains(&is.as_str())).map(|(frame, _)| *frame).collect()
    }

    /// The slots that are free, or whose object has lost its name.
    pub fn nameless(&self) -> BTreeSet<u64> {
        let named = self.named.values().map(|object| self.records[&object.number]);
        self.slots.difference(&named.collect()).copied().collect()
    }

    /// The frames with this use.
    pub fn frames(&self, what: &str) -> Vec<u64> {
        self.owners.iter().filter(|(_, is)| *is == what).map(|(frame, _)| *frame).collect()
    }

    fn own(&mut self, frame: u64, what: &str) -> Result {
        match self.owners.insert(frame, what.to_owned()) {
            None => Ok(()),
            Some(other) => Err(format!("frame {frame} is {other} and {what}")),
        }
    }

    fn directory(&mut self, view: &View<'_>, node: u64, level: u64, hash: u64) -> Result {
        if node != view.page.frame("directory")? {
            self.own(node, "a node of the directory")?;
        }
        let bits = view.page.value("hash bits")?;
        for (n, (at, word)) in (0..).zip(view.words(node)?) {
            let value = view.placed(at, word)?;
            if value == 0 {
                continue;
            }
            let (tag, target) = (
                view.page.bits("Directory word", word, "tag")?,
                view.page.bits("Directory word", word, "target")?,
            );
            let hash = hash | n << (bits * level);
            if tag == view.page.value("tag below")? {
                self.directory(view, target, level + 1, hash)?;
            } else {
                same("the tag of a chain", tag, view.page.value("tag record")?)?;
                self.chain(view, target, hash, bits * (level + 1))?;
            }
        }
        Ok(())
    }

    fn chain(&mut self, view: &View<'_>, first: u64, hash: u64, bits: u64) -> Result {
        let mut slot = first;
        while slot != 0 {
            let at = record_at(view, slot)?;
            let object = self.record(view, slot)?.ok_or("a free slot in a chain")?;
            let found = view.field("Object records", at, "hash")?;
            same("the bucket of a hash", super::tables::low(found, bits), hash)?;
            same("an unlinked object with a name", object.unlinked, false)?;
            self.named.insert(object.name.clone(), object);
            slot = view.field("Object records", at, "chain")?;
        }
        Ok(())
    }

    fn list(
        &mut self,
        view: &View<'_>,
        head: &str,
        see: impl Fn(&mut Self, Option<Object>) -> Result,
    ) -> Result {
        let (mut previous, mut slot) = (0, view.sealed_root(head)?);
        while slot != 0 {
            let at = record_at(view, slot)?;
            // An object that is being truncated has a name as well.
            let named = self.slots.contains(&slot);
            if named && head == "orphans" {
                let cut = view.field("Object records", at, "cut mark")?;
                same("a named object on the list", cut > 0, true)?;
            } else {
                let object = self.record(view, slot)?;
                see(self, object)?;
            }
            same("the slot before", view.field("Object records", at, "previous")?, previous)?;
            (previous, slot) = (slot, view.field("Object records", at, "next")?);
        }
        Ok(())
    }

    /// The record in a slot, or `None` if it is free.
    fn record(&mut self, view: &View<'_>, slot: u64) -> Result<Option<Object>> {
        if !self.slots.insert(slot) {
            return Err(format!("slot {slot} is met twice"));
        }
        let (page, at) = (view.page, record_at(view, slot)?);
        let field = |name| view.field("Object records", at, name);
        let head = view.bytes(at, page.row("Object records", "head sum")?.offset)?;
        same("the sum of a head", field("head sum")?, sum(&[view.salt, slot], head))?;
        if field("kind")? == page.value("kind free")? {
            let used = ["number", "size", "root word", "cut mark", "hash", "chain", "tree", "map seal"];
            used.iter().try_for_each(|name| same(name, field(name)?, 0))?;
            return Ok(None);
        }
        same("the kind of an object", field("kind")?, page.value("kind plain")?)?;
        view.reserved("Object records", at)?;
        let name_at = page.row("Object records", "name")?.offset;
        let name_end = page.row("Object records", "name sum")?.offset;
        let part = view.bytes(at + name_at, name_end.saturating_sub(name_at))?;
        same("the sum of a name", field("name sum")?, sum(&[view.salt, slot], part))?;
        let bytes = view.field_bytes("Object records", at, "name")?;
        let (name, rest) = bytes.split_at((field("name length")? as usize).min(bytes.len()));
        same("what is behind a name", rest.iter().all(|byte| *byte == 0), true)?;
        let key = view.field_bytes("Superblock", view.superblock, "name key")?;
        let key = key.try_into().map_err(|_| "the key has 16 bytes")?;
        same("the hash of a name", field("hash")?, name_hash(&key, name))?;
        let (flags, tree) = (field("flags")?, field("tree")?);
        let pages = self.map(view, tree, field("root word")?)?;
        let seal = field("map seal")?;
        same("the pages of a map", page.bits("Map seal", seal, "pages")?, pages.len() as u64)?;
        let digest =
            checks::digest(page, view.salt, tree, pages.iter().map(|(page, frame)| (*page, *frame)))?;
        same("the digest of a map", page.bits("Map seal", seal, "digest")?, digest)?;
        same("the tree of an object", tree, field("number")?)?;
        self.records.insert(tree, slot);
        Ok(Some(Object {
            number: field("number")?,
            name: name.to_vec(),
            size: field("size")?,
            kind: field("kind")?,
            birth: field("birth")?,
            unlinked: flags & page.value("flag unlinked")? != 0,
            damaged: flags & page.value("flag damaged")? != 0,
            cut: field("cut mark")?.checked_sub(1),
            pages,
        }))
    }

    fn map(&mut self, view: &View<'_>, tree: u64, root: u64) -> Result<BTreeMap<u64, u64>> {
        let page = view.page;
        let height = page.bits("Root word", root, "height")?;
        let seed = view.seals.map(tree, 0, height);
        let value = view.seals.open(root, seed).map_err(|why| format!("the root of a map: {why}"))?;
        let mut pages = BTreeMap::new();
        if value != 0 {
            zeros(page, "Root word", root)?;
            if page.bits("Root word", root, "lost")? == 1 {
                same("the frame of what is lost", page.bits("Root word", root, "frame")?, 0)?;
                self.lost += 1 << (page.value("hash bits")? * height);
                return Ok(pages);
            }
            self.below(view, tree, page.bits("Root word", root, "frame")?, 0, height, &mut pages)?;
        }
        Ok(pages)
    }

    fn below(
        &mut self,
        view: &View<'_>,
        tree: u64,
        frame: u64,
        prefix: u64,
        level: u64,
        pages: &mut BTreeMap<u64, u64>,
    ) -> Result {
        let Some(below) = level.checked_sub(1) else {
            pages.insert(prefix, frame);
            return self.own(frame, "a page");
        };
        self.own(frame, "a node of a map")?;
        let page = view.page;
        self.nodes.insert(frame, (tree, prefix << (page.value("hash bits")? * level), level));
        let bits = page.value("hash bits")?;
        for (n, (at, word)) in (0..).zip(view.words(frame)?) {
            let prefix = prefix << bits | n;
            let seed = view.seals.map(tree, prefix, below);
            if view.seals.open(word, seed).map_err(|why| format!("at {at:#x}: {why}"))? != 0 {
                zeros(page, "Map word", word)?;
                if page.bits("Map word", word, "lost")? == 1 {
                    same("the frame of what is lost", page.bits("Map word", word, "frame")?, 0)?;
                    self.lost += 1 << (bits * below);
                    continue;
                }
                self.below(view, tree, page.bits("Map word", word, "frame")?, prefix, below, pages)?;
            }
        }
        Ok(())
    }

    fn busy_table(&mut self, view: &View<'_>) -> Result {
        let mut table = view.sealed_root("busy table")?;
        while table != 0 {
            self.own(table, "a frame of the busy table")?;
            let mut named = Vec::new();
            for (at, word) in view.words(table)? {
                view.placed(at, word)?;
                same("flags of a busy word", view.page.bits("Busy word", word, "zero flags")?, 0)?;
                named.push(view.page.bits("Busy word", word, "frame")?);
            }
            for frame in named[1..].iter().filter(|frame| **frame != 0) {
                self.own(*frame, "a busy frame")?;
                self.busy.insert(*frame);
            }
            table = named[0];
        }
        Ok(())
    }

    /// Checks that the bitmaps match the owners of frames, and the table of groups matches the bitmaps.
    fn groups(&mut self, view: &View<'_>) -> Result {
        let page = view.page;
        let (frames, size) = (view.root("frames")?, page.value("group frames")?);
        let groups = frames.div_ceil(size);
        same("the root of the table of groups", view.root("group root")?, page.frame("group root")?)?;
        let entry_bytes = page.rows["Group entry"].iter().map(|row| row.size).sum::<u64>();
        let mut bits = BTreeSet::new();
        for (n, (at, word)) in (0..).zip(view.words(view.root("group root")?)?) {
            let table = view.placed(at, word)?;
            same("a frame of the table", table != 0, n <= groups / page.value("table groups")?)?;
            if table == 0 {
                continue;
            }
            if n == 0 {
                same("the first frame of the table", table, page.frame("group table")?)?;
            }
            for place in 0..page.value("table groups")? {
                let group = n * page.value("table groups")? + place;
                let at = table * view.frame + place * entry_bytes;
                let word = view.field("Group entry", at, "bitmap")?;
                let bitmap = view.placed(at + page.row("Group entry", "bitmap")?.offset, word)?;
                same("a bitmap", bitmap != 0, group <= groups)?;
                if bitmap == 0 {
                    let tally = view.field("Group entry", at, "tally")?;
                    let none = view.placed(at + page.row("Group entry", "tally")?.offset, tally)?;
                    same("the tally of no bitmap", none, 0)?;
                } else {
                    let first = if group == 0 { page.frame("bitmap")? } else { page.frame("bitmap ahead")? };
                    same("the frame of a bitmap", bitmap, first)?;
                    bits.extend(self.bitmap(view, group, at, bitmap)?);
                }
            }
        }
        same("frames in use", bits, self.owners.keys().copied().collect())
    }

    /// The frames of a group that are in use.
    fn bitmap(&self, view: &View<'_>, group: u64, entry: u64, bitmap: u64) -> Result<Vec<u64>> {
        let words: Vec<_> = view.words(bitmap)?.into_iter().map(|(_, word)| word).collect();
        let tally = view.field("Group entry", entry, "tally")?;
        let said = (view.page.bits("Tally", tally, "free")?, view.page.bits("Tally", tally, "seal")?);
        same("a tally", said, checks::tally(view.page, view.salt, group, &words)?)?;
        let first = group * view.page.value("group frames")?;
        let used = |n: &u64| words[*n as usize / 64] >> (n % 64) & 1 == 1;
        let bits = words.len() as u64 * 64;
        same("bits of a bitmap", bits, view.page.value("group frames")?)?;
        Ok((0..bits).filter(used).map(|n| first + n).collect())
    }

    /// How many frames are in use.
    pub fn used(&self) -> u64 {
        self.owners.len() as u64
    }
}

/// Checks that the reserved parts of a word are zero.
fn zeros(page: &Page, table: &str, word: u64) -> Result {
    same(table, [page.bits(table, word, "zero flags")?, page.bits(table, word, "zero more")?], [0; 2])
}

/// Where the record in a slot lies.
fn record_at(view: &View<'_>, slot: u64) -> Result<u64> {
    let bytes = view.page.rows["Object records"].iter().map(|row| row.size).sum();
    slot.checked_mul(bytes).ok_or_else(|| format!("slot {slot}"))
}
