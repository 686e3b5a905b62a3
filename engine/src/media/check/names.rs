//! The directory, the records, and the lists of records.

use super::Walk;
use crate::error::Result;
use crate::media::directory::{self, CHAIN_MAX, LEVELS, Slot};
use crate::media::layout::{RootWord, WORD_SIZE};
use crate::media::orphans;
use crate::media::record::{self, Head, ObjectSlot, SLOTS};
use crate::media::slots;
use crate::media::words::Words;
use crate::units::FrameNo;
use std::collections::{BTreeSet, HashSet};

impl<W: Words> Walk<'_, W> {
    pub(super) fn directory(&mut self) -> Result {
        let root = directory::root(self.words, self.shape);
        if let Some(root) = self.report.take("directory-word", root)? {
            if self.shape.ordinary(root) {
                self.claim(root, "the directory's root");
            }
            self.directory_node(root, 0, 0, &mut HashSet::new())?;
        }
        let (found, expected) = (self.report.counts.objects, self.words.root(RootWord::Objects)?);
        if expected != found {
            self.report.find(
                "object-count",
                self.words.roots().at(RootWord::Objects),
                format!("{found} names, and the root says {expected}"),
            );
        }
        Ok(())
    }

    /// Walks a node of `level`, whose words hold hashes with the low bits `hash`.
    fn directory_node(
        &mut self,
        node: FrameNo,
        level: u32,
        hash: u64,
        names: &mut HashSet<Vec<u8>>,
    ) -> Result {
        let mut empty = level > 0;
        for i in directory::used_words(self.words, node)? {
            let (at, hash) = (node.offset() + i * WORD_SIZE, hash | i << (9 * level));
            empty = false;
            let slot = Slot::read(self.words, self.shape, at);
            match self.report.take("directory-word", slot)? {
                None | Some(Slot::Empty) => {}
                Some(Slot::Chain(first)) => self.chain(first, level, hash, names)?,
                Some(Slot::Node(_)) if level + 1 >= LEVELS => {
                    self.report.find("directory-depth", at, format!("a node below level {level}"));
                }
                Some(Slot::Node(node)) => {
                    if self.claim(node, "a directory node") {
                        self.directory_node(node, level + 1, hash, names)?;
                    }
                }
            }
        }
        if empty {
            self.report.find("directory-empty-node", node.offset(), "no word is used");
        }
        Ok(())
    }

    fn chain(&mut self, first: ObjectSlot, level: u32, hash: u64, names: &mut HashSet<Vec<u8>>) -> Result {
        let (mut next, mut beside) = (Some(first), 0);
        while let Some(slot) = next {
            let at = slot.offset();
            beside += 1;
            if beside == CHAIN_MAX + 1 {
                self.report.find("directory-chain", at, format!("it has more than {CHAIN_MAX} records"));
            }
            if !self.slots.insert(slot.0) {
                self.report.find("directory-chain", at, "the record has been met before");
                return Ok(());
            }
            let head = Head::read(self.words, slot);
            let Some(head) = self.report.take("record-checksum", head)? else { return Ok(()) };
            if head.kind().is_none() {
                self.report.find("directory-chain", at, "the record is a free one");
                return Ok(());
            }
            if (head.hash() ^ hash) << (64 - 9 * (level + 1)) != 0 {
                self.report.find("record-bucket", at, format!("hash {:#x}", head.hash()));
            }
            if head.unlinked() {
                self.report.find("name-unlinked", at, "the directory names it");
            }
            let name = head.name(self.words);
            if let Some(name) = self.report.take("record-name", name)? {
                if !names.insert(name.clone()) {
                    let detail = format!("{:?}", String::from_utf8_lossy(&name));
                    self.report.find("name-twice", at, detail);
                }
            }
            self.report.counts.objects += 1;
            let chain = head.chain(self.shape);
            next = self.report.take("directory-chain", chain)?.flatten();
            self.object(head, true)?;
        }
        Ok(())
    }

    /// Checks a live record that is met for the first time.
    fn object(&mut self, head: Head, named: bool) -> Result {
        let at = head.slot.offset();
        let next = self.words.root(RootWord::NextObject)?;
        if head.id() == 0 || head.id() >= next || !self.numbers.insert(head.id()) {
            self.report.find("object-number", at, format!("{}, the next new one is {next}", head.id()));
        }
        self.unknown_field(&head)?;
        if head.size() > record::SIZE_MAX {
            self.report.find("object-size", at, format!("{} bytes", head.size()));
        }
        self.report.counts.damaged += u64::from(head.damaged());
        self.objects.insert(head.slot.0, (head, named));
        Ok(())
    }

    pub(super) fn orphans(&mut self) -> Result {
        const LIST: &str = "orphan-list";
        let mut listed = BTreeSet::new();
        let (mut previous, mut next) = (None, orphans::first(self.words, self.shape));
        while let Some(Some(slot)) = self.report.take(LIST, next)? {
            let at = slot.offset();
            if !listed.insert(slot.0) {
                self.report.find(LIST, at, "it has a cycle");
                break;
            }
            let head = Head::read(self.words, slot);
            let Some(head) = self.report.take("record-checksum", head)? else { break };
            if head.kind().is_none() {
                self.report.find(LIST, at, "a free record is on it");
                break;
            }
            let back = head.previous(self.shape);
            if self.report.take(LIST, back)?.is_some_and(|back| back != previous) {
                self.report.find(LIST, at, "the record does not name the one before it");
            }
            if !orphans::belongs(&head) {
                self.report.find("orphan-without-work", at, format!("object {}", head.id()));
            }
            self.report.counts.orphans += 1;
            (previous, next) = (Some(slot), head.next(self.shape));
            if self.slots.insert(slot.0) {
                self.object(head, false)?;
            }
        }
        for (slot, (head, named)) in &self.objects {
            if orphans::belongs(head) && !listed.contains(slot) {
                self.report.find("truncate-mark", head.slot.offset(), format!("object {}", head.id()));
            }
            if !named && !head.unlinked() {
                self.report.find("record-lost", head.slot.offset(), "the directory does not name it");
            }
        }
        Ok(())
    }

    fn unknown_field(&mut self, head: &Head) -> Result {
        if let Some((at, what)) = head.unknown_field(self.words)? {
            self.report.find("record-field", at, what);
        }
        Ok(())
    }

    pub(super) fn free_slots(&mut self) -> Result {
        const LIST: &str = "free-slot-list";
        let (mut previous, mut next) = (None, slots::first_free(self.words, self.shape));
        while let Some(Some(slot)) = self.report.take(LIST, next)? {
            if !self.slots.insert(slot.0) {
                self.report.find(LIST, slot.offset(), "the record has been met before");
                break;
            }
            let head = Head::read(self.words, slot);
            let Some(head) = self.report.take("record-checksum", head)? else { break };
            if head.kind().is_some() {
                self.report.find(LIST, slot.offset(), "a record in use is on it");
                break;
            }
            let back = head.previous(self.shape);
            if self.report.take(LIST, back)?.is_some_and(|back| back != previous) {
                self.report.find(LIST, slot.offset(), "the record does not name the one before it");
            }
            self.unknown_field(&head)?;
            (previous, next) = (Some(slot), head.next(self.shape));
        }
        Ok(())
    }

    /// Claims the frames of records. Every slot in them must have been met.
    pub(super) fn lost_slots(&mut self) -> Result {
        let frames: BTreeSet<_> = self.slots.iter().map(|slot| slot / SLOTS).collect();
        for frame in frames {
            self.claim(FrameNo(frame as u32), "a frame of object records");
            for slot in frame * SLOTS..(frame + 1) * SLOTS {
                if !self.slots.contains(&slot) {
                    self.report.find("record-lost", ObjectSlot(slot).offset(), format!("slot {slot}"));
                }
            }
        }
        Ok(())
    }
}
