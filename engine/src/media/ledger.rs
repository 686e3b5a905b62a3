//! The ledger: everything that changes the structures of a region, as one façade for the store.
//!
//! What a call changed is appended when it returns: it survives the death of the process, and a power loss once
//! `Log::commit` of the log's head has returned.

use super::allocator::KEPT_FOR_FREEING;
#[cfg(test)]
use super::layout::RootWord;
use super::loaded::Purpose;
use super::log::record::Sequence;
use super::log::{Log, Txn};
use super::structures::Structures;
use super::words::Shape;
use crate::error::{Error, Result};
use crate::units::FrameNo;
use std::ops::Deref;
use std::sync::Arc;

/// The structures of an open region, and all that changes them. They show what they have to anything that asks
/// ([`Structures`]); the caller decides what may have a ledger itself.
pub struct Ledger(Structures);

impl Deref for Ledger {
    type Target = Structures;
    fn deref(&self) -> &Structures {
        &self.0
    }
}

impl Ledger {
    /// The structures as `log` shows them; reads one word.
    pub fn new(log: Arc<Log>) -> Result<Self> {
        Structures::new(log).map(Self)
    }

    /// Takes `n` frames that nothing uses: behind `near` and in one run where that is possible. They are taken in
    /// memory only; `link` them or `release` them.
    pub fn allocate(&self, n: usize, near: Option<FrameNo>) -> Result<Vec<FrameNo>> {
        self.allocator.allocate(n, Purpose::Pages(near), KEPT_FOR_FREEING)
    }

    /// Grows the region at once where so many pages and their nodes need it, so that they can lie together.
    pub fn make_room(&self, pages: u64) -> Result {
        self.allocator.make_room(pages)
    }

    /// As [`Self::allocate`], up to the last frame of the region: for what frees more than it takes.
    pub(super) fn allocate_to_free(&self, n: usize) -> Result<Vec<FrameNo>> {
        self.allocator.allocate(n, Purpose::Structures, 0)
    }

    /// Takes `welcome` frames of those if there are any. One that turns out to be used is set aside and named by `check`; it
    /// says nothing of what is to be freed.
    pub(super) fn spares_to_free(&self, welcome: usize) -> Result<Vec<FrameNo>> {
        loop {
            let aside = self.allocator.count_aside();
            match self.allocate_to_free(welcome) {
                Err(error) if error.is_full() => return Ok(Vec::new()),
                Err(Error::Corrupt { .. }) if self.allocator.count_aside() > aside => {}
                taken => return taken,
            }
        }
    }

    /// Gives free space back to the file system, all but a few frames: how many bytes.
    ///
    /// # Durability
    /// Everything appended before is durable.
    pub fn compact(&self) -> Result<u64> {
        self.allocator.compact()
    }

    /// Cuts off what is free at the end beyond max(16 MiB, an eighth of the region), at the end of an opening that changed
    /// something.
    ///
    /// # Durability
    /// Everything appended before is durable if anything was cut off.
    pub fn cut_surplus(&self) -> Result {
        self.allocator.cut_surplus()
    }

    /// Gives back what is free beyond max(16 MiB, an eighth of the region). `pass`: what was freed since the log's tail
    /// moved last, too.
    ///
    /// # Durability
    /// None; with `pass`, everything appended before may have become durable.
    pub fn return_surplus(&self, pass: bool) -> Result {
        self.allocator.return_surplus(pass)
    }

    /// Takes `needed` frames, and `welcome` more if there are any.
    pub(super) fn spares(&self, needed: usize, welcome: usize) -> Result<Vec<FrameNo>> {
        let take = |n| self.allocator.allocate(n, Purpose::Structures, KEPT_FOR_FREEING);
        match take(needed + welcome) {
            Err(error) if error.is_full() && welcome > 0 => take(needed),
            taken => taken,
        }
    }

    /// Appends the record of `f`, as one change for readers.
    pub(super) fn change<R>(
        &self,
        f: impl FnOnce(&mut Txn<'_>, Shape) -> Result<R>,
    ) -> Result<(R, Sequence)> {
        self.log.append_as_one(|t| f(t, self.shape()), || self.seqlock.change())
    }

    /// `change` with frames to use; what was not used is given back.
    pub(super) fn change_with<R>(
        &self,
        mut spare: Vec<FrameNo>,
        f: impl FnOnce(&mut Txn<'_>, Shape, &mut Vec<FrameNo>) -> Result<R>,
    ) -> Result<(R, Sequence)> {
        let taken = spare.clone();
        let changed = self.change(|t, shape| f(t, shape, &mut spare));
        // What was appended stays appended, and its caller must hear of it; frames that cannot be given back are out
        // of use until the next opening.
        let _ = self.release(if changed.is_ok() { &spare } else { &taken });
        changed
    }

    /// As if all objects with a number below `next` had been made.
    #[cfg(test)]
    pub(crate) fn pass_numbers_up_to(&self, next: u64) -> Result {
        self.change(|t, _| t.set_root(RootWord::NextObject, next)).map(drop)
    }
}
