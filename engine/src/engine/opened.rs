//! The open objects, found by slot or by page without holding them open.

use super::object::OpenObject;
use crate::media::ObjectSlot;
use crate::space::PageId;
use crate::sync::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// The open objects, by slot, with their numbers.
///
/// The lock is a leaf: it is taken under the roles of frames and under any lock of the engine, and nothing is locked
/// or dropped under it. Opening is decided under the lock of the names.
#[derive(Default)]
pub(crate) struct OpenObjects {
    by_slot: Mutex<HashMap<ObjectSlot, (u64, Weak<OpenObject>)>>,
}

impl OpenObjects {
    /// Whether the object with this number is open. ([`Self::get`] could make the caller its last holder.)
    pub(super) fn has(&self, slot: ObjectSlot, id: u64) -> bool {
        self.by_slot.lock().get(&slot).is_some_and(|open| open.0 == id && open.1.strong_count() != 0)
    }

    /// The open object in a slot.
    pub(crate) fn get(&self, slot: ObjectSlot) -> Option<Arc<OpenObject>> {
        self.by_slot.lock().get(&slot).and_then(|open| open.1.upgrade())
    }

    /// Adds an object that was opened.
    pub(super) fn insert(&self, object: &Arc<OpenObject>) {
        self.by_slot.lock().insert(object.slot, (object.id, Arc::downgrade(object)));
    }

    /// Removes an object whose last handle is gone.
    pub(super) fn forget(&self, slot: ObjectSlot) {
        let mut by_slot = self.by_slot.lock();
        // Another thread may have opened it again meanwhile.
        if by_slot.get(&slot).is_some_and(|open| open.1.strong_count() == 0) {
            by_slot.remove(&slot);
        }
    }

    /// How many objects are open.
    pub(crate) fn count(&self) -> usize {
        self.by_slot.lock().values().filter(|open| open.1.strong_count() != 0).count()
    }

    /// The open object to which this page may belong.
    pub(super) fn owner_of(&self, page: PageId) -> Option<ObjectSlot> {
        let owns = |id| PageId::new(id, page.index()) == page;
        self.by_slot.lock().iter().find(|(_, open)| owns(open.0)).map(|(slot, _)| *slot)
    }
}
