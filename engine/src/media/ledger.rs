//! The ledger: everything that changes the structures of a region, as one façade for the store.
//!
//! What a call changed is appended when the call returns: it survives the death of the process. It survives a power loss
//! once `Log::commit` of the log's head has returned.

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

/// The structures of an open region, and all calls that change them. Reading them needs only [`Structures`]; the caller
/// decides where the ledger itself is given out.
pub struct Ledger(Structures);

impl Deref for Ledger {
    type Target = Structures;
    fn deref(&self) -> &Structures {
        &self.0
    }
}

impl Ledger {
    /// The structures as `log` shows them. Reads one word.
    pub fn new(log: Arc<Log>) -> Result<Self> {
        Structures::new(log).map(Self)
    }

    /// Takes `n` unused frames: behind `near` and in one run if that is possible. They are taken in memory only. The
    /// caller must `link` or `release` them.
    pub fn allocate(&self, n: usize, near: Option<FrameNo>) -> Result<Vec<FrameNo>> {
        self.allocator.allocate(n, Purpose::Pages(near), KEPT_FOR_FREEING)
    }

    /// Grows the region at once, if needed, by so many pages and their nodes, so that they can lie together.
    pub fn make_room(&self, pages: u64) -> Result {
        self.allocator.make_room(pages)
    }

    /// As [`Self::allocate`], but up to the last frame of the region: for calls that free more than they take.
    pub(super) fn allocate_to_free(&self, n: usize) -> Result<Vec<FrameNo>> {
        self.allocator.allocate(n, Purpose::Structures, 0)
    }

    /// Takes `welcome` of these frames if there are any. A frame that turns out to be used is set aside, and `check`
    /// names it. That is no damage of what is to be freed.
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

    /// Gives all free space except for a few frames back to the file system. Returns the number of bytes.
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

    /// Gives back what is free beyond max(16 MiB, an eighth of the region). `pass`: including frames that were freed
    /// since the last move of the log's tail.
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

    /// Appends the record of `f`. To readers it is one change.
    pub(super) fn change<R>(
        &self,
        f: impl FnOnce(&mut Txn<'_>, Shape) -> Result<R>,
    ) -> Result<(R, Sequence)> {
        self.log.append_as_one(|t| f(t, self.shape()), || self.seqlock.change())
    }

    /// As `change`, with frames to use. Unused ones are given back.
    pub(super) fn change_with<R>(
        &self,
        mut spare: Vec<FrameNo>,
        f: impl FnOnce(&mut Txn<'_>, Shape, &mut Vec<FrameNo>) -> Result<R>,
    ) -> Result<(R, Sequence)> {
        let taken = spare.clone();
        let changed = self.change(|t, shape| f(t, shape, &mut spare));
        // What was appended stays appended, and the caller must get that result. Frames that cannot be given back are
        // out of use until the next opening.
        let _ = self.release(if changed.is_ok() { &spare } else { &taken });
        changed
    }

    /// Passes over all numbers of objects below `next`, as if these objects had been made.
    #[cfg(test)]
    pub(crate) fn pass_numbers_up_to(&self, next: u64) -> Result {
        self.change(|t, _| t.set_root(RootWord::NextObject, next)).map(drop)
    }
}
