//! The store as a space manager: it knows what frames are used for.

use super::{Change, Engine};
use crate::error::{Error, Result};
use crate::lookup::Hint;
use crate::media::ObjectSlot;
use crate::space::{PageId, SpaceManager};
use crate::units::{FrameNo, PageIndex};

/// Pages per batch.
const BATCH: usize = 512;

/// Called while roles cannot change, except [`learn_owners`](SpaceManager::learn_owners). So nothing here may take an
/// object's locks, which come earlier in the lock order, nor become an object's last holder, whose drop changes roles.
impl SpaceManager for Engine {
    fn map(&self, page: PageId) -> Result<Option<FrameNo>> {
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

    fn owners(&self, frames: &[FrameNo]) -> Result<Option<Vec<Option<PageId>>>> {
        let Some(hints) = self.reverse.get(frames) else { return Ok(None) };
        let confirmed = hints.into_iter().zip(frames).map(|(hint, frame)| match hint {
            Some(hint) => self.confirm(hint, *frame),
            None => Ok(None),
        });
        confirmed.collect::<Result<_>>().map(Some)
    }

    /// Walks the maps of all objects, once: from then on, links are noted.
    fn learn_owners(&self) -> Result {
        let _one_walks = self.walking.lock();
        let frames = self.pages.pfns().frames;
        let begun = self.reverse.begin(frames).map_err(|error| Error::NoAddresses {
            why: format!("finding the pages of {frames} frames needs addresses ({error}): raise the limit (`ulimit -v`)"),
        })?;
        if begun {
            let walked = self.walk_all();
            self.reverse.end(walked.is_ok());
            walked?;
        }
        let again = self.reverse.again();
        again.iter().try_for_each(|slot| self.walk(*slot))?;
        self.reverse.walked_again(again.len());
        Ok(())
    }
}

impl Engine {
    /// The page of a hint, if the frame still holds it.
    fn confirm(&self, (slot, index): Hint, frame: FrameNo) -> Result<Option<PageId>> {
        // The object may be gone, and its slot another's.
        let Some((id, _)) = self.ledger.resident(slot)? else { return Ok(None) };
        if self.ledger.map(slot, index)? != Some(frame) {
            return Ok(None);
        }
        self.ledger.met_page(frame)?;
        Ok(Some(PageId::new(id, index)))
    }

    /// Walks the named objects, and then the nameless ones: an object that loses its name meanwhile is among these or those.
    fn walk_all(&self) -> Result {
        let named = self.ledger.list()?;
        named.iter().try_for_each(|record| self.walk(record.slot))?;
        self.ledger.orphans()?.into_iter().try_for_each(|slot| self.walk(slot))
    }

    /// Takes in the frames of one object. No lock is held between two batches: if the object goes meanwhile and another gets
    /// its slot, the walk goes on in that one, which does no harm.
    fn walk(&self, slot: ObjectSlot) -> Result {
        let mut from = PageIndex(0);
        loop {
            let batch = {
                // Roles are kept, so the slot is not freed and its frame holds records.
                let _steady = self.pages.steady();
                match self.ledger.resident(slot)? {
                    Some(_) => self.ledger.mapped(slot, from..PageIndex(PageId::PAGES_MAX), BATCH)?,
                    None => return Ok(()),
                }
            };
            let Some(&(last, _)) = batch.last() else { return Ok(()) };
            self.reverse.fill(slot, &batch);
            from = PageIndex(last.0 + 1);
        }
    }

    /// Links pages by `link`, and notes their frames. First, because an error may leave some of them linked; and again if a
    /// walk has begun meanwhile. The caller keeps the pages from being cut off and has the frames for itself.
    pub(super) fn linking<'p, R, I>(
        &self,
        pages: impl Fn() -> I,
        link: impl FnOnce() -> Result<R>,
    ) -> Result<R>
    where
        I: Iterator<Item = (ObjectSlot, &'p [(PageIndex, FrameNo)])>,
    {
        let note = || pages().fold(true, |noted, (slot, pages)| self.reverse.note(slot, pages) && noted);
        let noted = note();
        let linked = link();
        if !noted {
            note();
        }
        linked
    }

    /// Gives an object another name, under the lock of the names: as [`Ledger::rename`](crate::media::Ledger::rename).
    ///
    /// # Durability
    /// As there.
    pub(crate) fn rename(&self, change: &Change<'_>, from: &[u8], to: &[u8]) -> Result<Option<ObjectSlot>> {
        let before = self.reverse.walks();
        let renamed = change.rename(from, to)?;
        if self.reverse.walked_since(before) {
            // A walk may have looked under each of the names when the object had the other.
            self.reverse.walk_again(renamed.object);
        }
        Ok(renamed.replaced)
    }
}
