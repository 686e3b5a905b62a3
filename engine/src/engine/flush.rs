//! Sync: makes everything written before durable.

use super::{Engine, OpenObject};
use crate::error::Result;
use crate::media::rules::Rule;
use crate::page::Dirt;
use crate::units::Durability;
use std::ops::Range;

impl Engine {
    pub(crate) fn sync_object(&self, object: &OpenObject) -> Result {
        self.sync_few_or(object, 0..object.page_count(), 0..u64::MAX)
    }

    pub(crate) fn sync_pages(&self, object: &OpenObject, pages: Range<u64>) -> Result {
        self.sync_few_or(object, pages.clone(), pages)
    }

    /// Pages fewer than the dirt that would be looked at are asked one by one. What cannot be said of them at once, the
    /// dirt of `all` pages says.
    fn sync_few_or(&self, object: &OpenObject, few: Range<u64>, all: Range<u64>) -> Result {
        self.ensure_usable()?;
        let exceeds = self.pages.dirt_exceeds(object.id, few.end.saturating_sub(few.start));
        let frames = exceeds.then(|| object.frames_at_once(few)).flatten();
        self.sync(|| match frames {
            Some(frames) => self.pages.take_dirt_of(frames.into_iter()),
            None => self.pages.take_dirt_in(object.id, all),
        })
    }

    pub(crate) fn sync_everything(&self) -> Result {
        self.sync(|| self.pages.take_all_dirt())?;
        self.pages.region().memory().touch();
        Ok(())
    }

    /// LOG rule 6: take the dirty bits, flush in place, then commit the records; then wait for the syncs that took
    /// bits earlier.
    fn sync(&self, take: impl FnOnce() -> Dirt) -> Result {
        let synced = self.make_taken_durable(take);
        if synced.is_ok() {
            self.return_surplus(true);
        }
        synced
    }

    fn make_taken_durable(&self, take: impl FnOnce() -> Dirt) -> Result {
        self.ensure_usable()?;
        if !self.pages.tracks_dirt() {
            // Nothing can be made durable; but the commit makes a copy of the file complete, as after any sync.
            let head = self.log.head();
            if !self.log.is_committed(head) {
                self.ensure_whole()?;
            }
            return self.log.commit(head);
        }
        let (ticket, mut dirt) = self.syncs.take(take);
        if self.rules.broken(Rule::DirtForgotten) {
            dirt = Dirt::default();
        }
        let latest = self.syncs.begun();
        let result = self.make_durable(&dirt);
        if let Err(error) = &result {
            // The bits are taken and no other sync will flush their lines: nothing may be called durable after that.
            self.log.fail(error);
        }
        drop(ticket);
        result?;
        if !self.rules.broken(Rule::SyncEarlier) {
            self.syncs.wait_before(latest);
        }
        self.ensure_usable()
    }

    fn make_durable(&self, dirt: &Dirt) -> Result {
        let reach = self.log.reach();
        let head = reach.head;
        if !dirt.is_empty() || !self.log.is_committed(head) {
            self.ensure_whole()?;
        }
        if let Some(last) = self.log.images().last(dirt.frames()) {
            if !self.rules.broken(Rule::SyncKeepsImages) {
                // A power loss would replay these records over what is about to be flushed.
                self.log.pass(last)?;
            }
        }
        let memory = self.pages.region().memory();
        if self.pages.region().class() == Durability::CacheLine {
            if !dirt.is_empty() {
                dirt.flush(&self.pages)?;
                memory.fence();
            }
            if !self.rules.broken(Rule::DisownStores) {
                memory.sync_inherited()?;
            }
        } else if !dirt.is_empty() || (memory.inherits() && !self.rules.broken(Rule::DisownStores)) {
            self.syncs.share_file_sync(|| memory.sync_file())?;
            // A shared sync may have failed: then it poisoned the region.
            self.ensure_usable()?;
            self.log.note_file_sync(reach);
        }
        self.log.commit(head)
    }
}
