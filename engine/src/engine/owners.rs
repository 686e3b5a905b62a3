//! The store as a space manager: it knows what frames are used for.

use super::Engine;
use crate::error::Result;
use crate::media::ObjectRecord;
use crate::space::{Owner, SpaceManager};
use crate::units::{FrameNo, PageIndex};
use std::collections::HashMap;

/// Pages per batch.
const BATCH: usize = 512;

/// Called while roles cannot change. So nothing here may take an object's locks, which come earlier in the lock
/// order, nor become an object's last holder, whose drop changes roles.
impl SpaceManager for Engine {
    fn map(&self, page: Owner) -> Result<Option<FrameNo>> {
        match self.open.owner_of(page) {
            Some(slot) => self.ledger.map(slot, page.index()),
            None => Ok(None),
        }
    }

    fn prepare(&self) -> Result {
        self.ledger.prepare()
    }

    /// The bytes of a batch are in the log until its records are passed (LOG rule 6).
    fn would_replay(&self, frame: FrameNo) -> bool {
        self.log.images().last(std::iter::once(frame)).is_some()
    }

    /// Walks the maps of all objects: the medium does not record the page of a frame.
    fn owners(&self, frames: &[FrameNo]) -> Result<Vec<Option<Owner>>> {
        let mut found: HashMap<FrameNo, Option<Owner>> = frames.iter().map(|&frame| (frame, None)).collect();
        for record in self.all_records()? {
            self.find_owned(&record, &mut found)?;
        }
        Ok(frames.iter().map(|frame| found.get(frame).copied().flatten()).collect())
    }
}

impl Engine {
    /// Named objects, and nameless ones that are open or about to be dropped.
    fn all_records(&self) -> Result<Vec<ObjectRecord>> {
        let mut records = self.ledger.list()?;
        for slot in self.ledger.orphans()? {
            let record = self.ledger.record(slot)?;
            if record.unlinked {
                records.push(record);
            }
        }
        Ok(records)
    }

    /// Notes which of the frames hold pages of one object.
    fn find_owned(&self, record: &ObjectRecord, found: &mut HashMap<FrameNo, Option<Owner>>) -> Result {
        let end = PageIndex(record.truncating.unwrap_or(Owner::PAGES_MAX));
        let mut from = PageIndex(0);
        while from < end {
            let batch = self.ledger.mapped(record.slot, from..end, BATCH)?;
            let Some(&(last, _)) = batch.last() else { break };
            for (index, frame) in batch {
                if let Some(owner) = found.get_mut(&frame) {
                    self.ledger.met_page(frame)?;
                    *owner = Some(Owner::new(record.id, index));
                }
            }
            from = PageIndex(last.0 + 1);
        }
        Ok(())
    }
}
