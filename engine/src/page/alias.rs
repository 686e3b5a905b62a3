//! Aliases: other addresses at which the pages of an object are shown, without a pin. A cut takes them away before it frees
//! the frames.
//!
//! The steps of a cut, for each frame: the map leads elsewhere; the frame admits no new pin; the aliases show it no more; it
//! is freed. A frame that is pinned is shown until its last pin ends, because a pin may be used by an address of an alias.
//! The same holds where a page moves to another frame, but only frames without pins are left by their pages.

use super::pages::Pages;
use super::pin::PageRef;
use crate::error::{Error, Result};
use crate::region::{list_view, unlist_view};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::units::{FRAME_SIZE, FrameNo, PageIndex};
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// Something that shows pages of one object. Its methods lock only what is below the roles of frames.
pub(crate) trait Alias: Send + Sync {
    /// These pages were cut off. Those that are `idle` are shown no more, and the others until [`Self::release`]. Returns
    /// the idle frames that are still shown, because the kernel refused.
    fn cut_off(&self, pages: &[(PageIndex, FrameNo)], idle: &[bool]) -> Vec<FrameNo>;

    /// Shows frames no more whose pages were cut off before. Returns those that are still shown.
    fn release(&self, frames: &[FrameNo]) -> Vec<FrameNo>;

    /// These pages have got frames, whose bytes are in place.
    fn show(&self, pages: &[(PageIndex, FrameNo)]);

    /// These pages are in these frames now, with the same bytes; what they were in had no pin, and is shown no more. Returns
    /// the former frames that are still shown, because the kernel refused.
    fn moved(&self, pages: &[(PageIndex, FrameNo)]) -> Vec<FrameNo>;

    /// The frames that are shown at `count` pages from byte `offset` on. The caller keeps roles from changing.
    fn frames(&self, offset: u64, count: u64) -> Result<Vec<FrameNo>>;
}

/// The aliases of the pages of one region, by object.
#[derive(Default)]
pub(super) struct Aliases {
    /// A leaf: nothing is locked or dropped under it.
    by_object: Mutex<HashMap<u64, Vec<Weak<dyn Alias>>>>,
    count: AtomicUsize,
    /// Frames without pins that pages have lost, and which the kernel refused to take from an alias.
    stuck: Mutex<Vec<FrameNo>>,
    has_stuck: AtomicBool,
}

/// The place of an alias in the lists of its region and of the process. Dropping it removes the alias from them.
pub(crate) struct Listed {
    pages: Arc<Pages>,
    object: u64,
    start: usize,
    /// What the address map has.
    tenant: Arc<Shown>,
}

/// What the address map finds by an address of an alias.
pub(super) struct Shown {
    pages: Weak<Pages>,
    alias: Weak<dyn Alias>,
    start: usize,
    /// The alias is not told of changes any more.
    ended: AtomicBool,
}

impl Aliases {
    /// The aliases of an object.
    fn of(&self, object: u64) -> Vec<Arc<dyn Alias>> {
        // ORDERING: Relaxed: an alias is listed under the lock under which its object's map is read and changed.
        if self.count.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let by_object = self.by_object.lock();
        by_object.get(&object).into_iter().flatten().filter_map(Weak::upgrade).collect()
    }

    fn all(&self) -> Vec<Arc<dyn Alias>> {
        self.by_object.lock().values().flatten().filter_map(Weak::upgrade).collect()
    }

    /// Takes frames out of use which the aliases of their object show; `idle` says which have no pin. Those that cannot be
    /// taken from an alias are not idle any more.
    pub(super) fn cut_off(&self, object: u64, pages: &[(PageIndex, FrameNo)], idle: &mut [bool]) {
        if self.has_stuck() {
            // A step that is done again tries these again, too.
            self.stuck.lock().retain(|frame| !pages.iter().any(|page| page.1 == *frame));
        }
        for alias in self.of(object) {
            let still_shown = alias.cut_off(pages, idle);
            for (n, &(_, frame)) in pages.iter().enumerate() {
                if idle[n] && still_shown.contains(&frame) {
                    idle[n] = false;
                    self.stick(frame);
                }
            }
        }
    }

    /// Shows pages of an object in the frames to which they moved. Returns the former frames that are still shown.
    pub(super) fn moved(&self, object: u64, pages: &[(PageIndex, FrameNo)]) -> Vec<FrameNo> {
        let still_shown: Vec<_> = self.of(object).iter().flat_map(|alias| alias.moved(pages)).collect();
        still_shown.iter().for_each(|&frame| self.stick(frame));
        still_shown
    }

    fn stick(&self, frame: FrameNo) {
        self.stuck.lock().push(frame);
        // ORDERING: Release: pairs with `has_stuck`.
        self.has_stuck.store(true, Ordering::Release);
    }

    /// Whether frames wait for the kernel.
    pub(super) fn has_stuck(&self) -> bool {
        // ORDERING: Acquire: pairs with the Release above.
        self.has_stuck.load(Ordering::Acquire)
    }

    /// The frames of these whose last pin is gone, and of those that were stuck, that no alias shows any more. The others
    /// are tried again next time.
    pub(super) fn release(&self, mut frames: Vec<FrameNo>) -> Vec<FrameNo> {
        let mut stuck = self.stuck.lock();
        // ORDERING: Relaxed: changed only under the lock, but for what `has_stuck` says in passing.
        self.has_stuck.store(false, Ordering::Relaxed);
        frames.append(&mut stuck);
        drop(stuck);
        if frames.is_empty() || self.count.load(Ordering::Relaxed) == 0 {
            return frames;
        }
        for alias in self.all() {
            let still_shown = alias.release(&frames);
            still_shown.iter().for_each(|&frame| self.stick(frame));
            frames.retain(|frame| !still_shown.contains(frame));
        }
        frames
    }
}

impl Pages {
    /// Lists an alias of an object, and makes its addresses lead to its pages. The caller keeps the object's map from
    /// changing from before the alias learns which frames it shows.
    pub(crate) fn list_alias(
        self: &Arc<Self>,
        object: u64,
        alias: &Arc<dyn Alias>,
        start: *mut u8,
        pages: u64,
    ) -> Listed {
        let (alias, start) = (Arc::downgrade(alias), start.addr());
        self.aliases.by_object.lock().entry(object).or_default().push(Weak::clone(&alias));
        // ORDERING: Relaxed: see `Aliases::of`.
        self.aliases.count.fetch_add(1, Ordering::Relaxed);
        let ended = AtomicBool::new(false);
        let tenant = Arc::new(Shown { pages: Arc::downgrade(self), alias, start, ended });
        let known: Weak<Shown> = Arc::downgrade(&tenant);
        list_view(start, pages * FRAME_SIZE as u64, known);
        Listed { pages: Arc::clone(self), object, start, tenant }
    }

    /// Whether any object has aliases.
    #[inline]
    pub(crate) fn has_aliases(&self) -> bool {
        // ORDERING: Relaxed: see `Aliases::of`.
        self.aliases.count.load(Ordering::Relaxed) != 0
    }

    /// Shows pages of an object that have got frames, in its aliases. The caller keeps the object's map from changing, and
    /// the bytes are in place.
    pub(crate) fn show(&self, object: u64, pages: &[(PageIndex, FrameNo)]) {
        self.aliases.of(object).iter().for_each(|alias| alias.show(pages));
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        // In a forked child a thread that does not exist there may hold the lists.
        if self.pages.region().forked() {
            return;
        }
        // ORDERING: Relaxed: a cut that does not tell the alias any more finds it removed below, and a look-up that comes
        // after that cut takes the lock of the roles after it.
        self.tenant.ended.store(true, Ordering::Relaxed);
        unlist_view(self.start);
        let mut by_object = self.pages.aliases.by_object.lock();
        if let Some(listed) = by_object.get_mut(&self.object) {
            let is_it = |one: &Weak<dyn Alias>| Weak::ptr_eq(one, &self.tenant.alias);
            listed.retain(|one| !is_it(one));
            if listed.is_empty() {
                by_object.remove(&self.object);
            }
        }
        drop(by_object);
        // ORDERING: Relaxed: see `Aliases::of`.
        self.pages.aliases.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shown {
    /// Pins the frames that have one of the `len` bytes at `address`.
    pub(super) fn pins(&self, address: usize, len: usize) -> Result<Vec<PageRef>> {
        let foreign = || Error::ForeignAddress { address: address as u64 };
        let pages = self.pages.upgrade().ok_or_else(foreign)?;
        let alias = self.alias.upgrade().ok_or_else(foreign)?;
        let offset = (address - self.start) as u64;
        let in_page = offset % FRAME_SIZE as u64;
        let count = in_page.checked_add(len as u64).ok_or_else(foreign)?.div_ceil(FRAME_SIZE as u64);
        pages.pin_shown(|| {
            // ORDERING: Relaxed: see `Listed::drop`.
            if self.ended.load(Ordering::Relaxed) {
                Err(foreign())
            } else {
                alias.frames(offset - in_page, count)
            }
        })
    }
}
