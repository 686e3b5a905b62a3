//! Batches: new pages and sizes of several objects, and bytes of their pages, in one record.

use super::bitmap;
use super::content::{map_at, new_node};
use super::ledger::Ledger;
use super::loaded::Purpose;
use super::log::Txn;
use super::log::payload::{self, Writer};
use super::log::record::{ENTRY_BYTES, Extent, NODE_ENTRIES, Sequence};
use super::record::{Head, ObjectSlot};
use super::rules::Rule;
use super::structures::{OBJECT_LOCKS, Structures};
use super::words::Shape;
use crate::error::{Error, Result};
use crate::units::{FrameNo, PageIndex};
use std::collections::BTreeSet;

/// Entries for an object's head.
const HEAD_ENTRIES: usize = 16;
/// Pages that are looked up at one moment.
const PORTION: usize = 512;

/// What a batch changes in one object besides bytes.
#[derive(Debug)]
pub struct BatchPart {
    /// The object.
    pub slot: ObjectSlot,
    /// Pages that are holes now, ascending, and the frames from `allocate` that they get.
    pub links: Vec<(PageIndex, FrameNo)>,
    /// The new size.
    pub size: Option<u64>,
    /// Whether the size uncovers zeros that were stored just now and that no record has published yet.
    pub publishes: bool,
}

impl BatchPart {
    fn pages(&self) -> Vec<u64> {
        self.links.iter().map(|&(index, _)| index.0).collect()
    }

    fn changes_head(&self) -> bool {
        !self.links.is_empty() || self.size.is_some()
    }
}

/// Bytes of pages.
#[derive(Debug)]
pub enum Images {
    /// In the record: lines by offset.
    Inline(Vec<(u64, Box<[u8]>)>),
    /// In frames of their own, which are durable.
    Payload(Vec<Extent>),
}

impl Structures {
    /// The most objects that can grow in one batch.
    #[must_use]
    pub fn batch_growing_max(&self) -> u64 {
        self.log.record_room() / (HEAD_ENTRIES as u64 * ENTRY_BYTES)
    }

    /// The bytes of entries that are left for images in a record with these parts and `zeros` frames to zero; `None` if
    /// the parts alone do not fit into one.
    pub fn batch_room(&self, parts: &[BatchPart], zeros: usize) -> Result<Option<u64>> {
        let (mut entries, mut changed) = (zeros, 0);
        for part in parts.iter().filter(|part| part.changes_head()) {
            let (pages, map) = (part.pages(), map_at(&self.head(part.slot)?));
            let mut nodes = BTreeSet::new();
            // One moment for each portion: a long walk must not make writers wait.
            for portion in pages.chunks(PORTION) {
                nodes.extend(self.read(|log, shape| map.missing_nodes(log, shape, portion))?);
            }
            // A page: its word and a word of the bitmap. A node: itself, the word that names it, its bit.
            entries += HEAD_ENTRIES + 2 * pages.len() + (NODE_ENTRIES + 2) * nodes.len();
            changed += pages.len() + nodes.len();
        }
        entries += bitmap::tallies_max(self.shape(), changed);
        Ok(self.log.record_room().checked_sub(entries as u64 * ENTRY_BYTES))
    }
}

impl Ledger {
    /// Appends one record that links pages, sets sizes, zeroes the frames `zeros`, and then carries the images. `data`
    /// names the frames whose bytes it carries. The caller holds their exclusive latches, and the locks that keep the
    /// parts as they are.
    ///
    /// # Durability
    /// Appended. The record carries everything itself and publishes nothing, so that its commit is one write.
    pub fn append_batch(
        &self,
        parts: &[BatchPart],
        zeros: &[FrameNo],
        images: Images,
        data: &[FrameNo],
    ) -> Result<Sequence> {
        let mut locks: Vec<_> = parts.iter().map(|part| part.slot.0 % OBJECT_LOCKS).collect();
        locks.sort_unstable();
        locks.dedup();
        let _objects: Vec<_> = locks.into_iter().map(|lock| self.object(ObjectSlot(lock))).collect();
        let mut nodes = 0;
        for part in parts {
            let pages: Vec<_> = part.links.iter().map(|&(index, frame)| (index.0, frame)).collect();
            self.verify_links(part.slot, &pages, part.size)?;
            let map = map_at(&self.head(part.slot)?);
            nodes += map.missing_nodes(&*self.log, self.shape(), &part.pages())?.len();
        }
        let links = parts.iter().flat_map(|part| &part.links);
        links.into_iter().try_for_each(|&(_, frame)| self.log.uses().link(frame))?;
        let ((), sequence) = self.change_with(self.spares(nodes, 0)?, |t, shape, spare| {
            parts.iter().try_for_each(|part| append_part(t, shape, part, spare))?;
            zeros.iter().try_for_each(|&frame| t.zero(frame))?;
            data.iter().for_each(|&frame| t.images(frame));
            match images {
                Images::Inline(lines) => lines.into_iter().try_for_each(|(at, bytes)| t.lines(at, bytes)),
                Images::Payload(extents) => extents.into_iter().try_for_each(|extent| t.payload(extent)),
            }
        })?;
        Ok(sequence)
    }

    /// Frames for a payload of `bytes`, in at most `pieces` extents. If the free frames are too scattered, the region
    /// grows.
    pub fn payload_frames(&self, bytes: usize, pieces: u64) -> Result<Vec<FrameNo>> {
        let wanted = payload::frames_for(bytes);
        let frames = self.allocate(wanted, None)?;
        if payload::extents_of(&frames).count() as u64 <= pieces {
            return Ok(frames);
        }
        self.release(&frames)?;
        let scattered = self.allocator.free_with_blocks()?;
        let frames = self.allocator.allocate(wanted, Purpose::Pages(None), scattered)?;
        if payload::extents_of(&frames).count() as u64 <= pieces {
            return Ok(frames);
        }
        self.release(&frames)?;
        let why = format!(
            "a batch of {bytes} bytes would lie in more than {pieces} pieces: the region is fragmented"
        );
        Err(Error::NoSpace { why })
    }

    /// A writer into `frames`, which are from `allocate`.
    #[must_use]
    pub fn payload(&self, frames: &[FrameNo]) -> Writer<'_> {
        Writer::new(self.log.region().memory(), frames)
    }

    /// Keeps payload frames until the record `named`, which names them, is passed.
    pub fn retire_payload(&self, named: Sequence, frames: Vec<FrameNo>) {
        if self.log.rules().broken(Rule::PayloadReuse) {
            // They are given back at once. If that fails, they are out of use until the next opening.
            let _ = self.release(&frames);
            return;
        }
        self.allocator.quarantine(named, frames);
    }
}

fn append_part(t: &mut Txn<'_>, shape: Shape, part: &BatchPart, spare: &mut Vec<FrameNo>) -> Result {
    if part.publishes {
        t.publishes();
    }
    if !part.changes_head() {
        return Ok(());
    }
    let mut head = Head::live(t, part.slot)?;
    let mut map = map_at(&head);
    let mut node = |t: &mut Txn<'_>, node| new_node(t, shape, spare, node);
    for &(page, frame) in &part.links {
        map.insert(t, shape, page.0, frame, &mut node)?;
    }
    bitmap::set(t, shape, part.links.iter().map(|&(_, frame)| frame))?;
    head.set_root(map.root);
    head.note_linked(part.links.iter().map(|&(page, frame)| (page.0, frame)));
    if let Some(size) = part.size {
        head.set_size(size);
    }
    head.write(t)
}
