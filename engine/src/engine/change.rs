//! The beginning of a change, and the value that it yields: without it no record can be appended.

use super::Engine;
use crate::error::{Error, Result};
use crate::media::{Ledger, Structures};
use std::ops::Deref;

/// The structures of a store, which anything may ask. Only a [`Change`] has the ledger, which changes them.
pub(crate) struct Shown {
    ledger: Ledger,
}

impl Shown {
    pub(super) fn new(ledger: Ledger) -> Self {
        Self { ledger }
    }
}

impl Deref for Shown {
    type Target = Structures;
    fn deref(&self) -> &Structures {
        &self.ledger
    }
}

/// The right to change what lies on the medium: names, lengths, maps, free space. It is the only value with which
/// records can be appended.
///
/// It excludes no other change: the locks of the objects and of the names do that. A call takes it before any lock,
/// because some pending work is done first, and it is good for all that the call changes.
pub(crate) struct Change<'e> {
    ledger: &'e Ledger,
}

impl Deref for Change<'_> {
    type Target = Ledger;
    fn deref(&self) -> &Ledger {
        self.ledger
    }
}

impl Engine {
    /// Begins a change. The store can be changed, the file is as long as it was, and some of the pending work is done.
    /// The caller holds no lock.
    pub(crate) fn change(&self) -> Result<Change<'_>> {
        self.ensure_whole()?;
        self.begin_store()?;
        Ok(self.granted())
    }

    /// The start of a call that stores into pages as they are, and of every change: checks that the store can be
    /// changed, and does some of the pending work.
    #[inline]
    pub(crate) fn begin_store(&self) -> Result {
        let region = self.pages.region();
        region.ensure_usable()?;
        if region.read_only() || !region.admits_stores() || self.is_due() || self.log.is_due() {
            return self.prepare_store();
        }
        Ok(())
    }

    #[cold]
    fn prepare_store(&self) -> Result {
        if self.pages.region().read_only() {
            return Err(Error::ReadOnly);
        }
        if !self.pages.region().admits_stores() {
            // It reads bitmaps: a file that was cut is told of, and not touched.
            self.ensure_whole()?;
            self.ledger.prepare()?;
        }
        if self.is_due() {
            self.settle_some()?;
        }
        self.log.keep_ahead()
    }

    /// As [`Self::change`], for the pending work itself: none of it is done first.
    pub(super) fn change_of_pending(&self) -> Result<Change<'_>> {
        self.ensure_whole()?;
        Ok(self.granted())
    }

    /// Called after something was freed, with no lock held: free space beyond the limit goes back to the disk.
    /// `pass`: also the space for which the log must be passed.
    #[inline]
    pub(crate) fn return_surplus(&self, pass: bool) {
        if self.ledger.has_surplus() && !self.pages.region().read_only() && self.ensure_usable().is_ok() {
            // Whatever is not given back stays free space; a log that failed has poisoned the region.
            let _ = self.granted().return_surplus(pass);
        }
    }

    fn granted(&self) -> Change<'_> {
        Change { ledger: &self.ledger.ledger }
    }
}
