//! Which frames are dirty, by the object that dirtied them.
//!
//! A frame is noted when its descriptor goes from clean to dirty, by the writer that still holds its exclusive latch: a
//! second writer that finds it dirty can rely on the note. A note outlives its reason (another sync took the dirt, the
//! frame went to another object): a sync that follows it asks the descriptor.

use crate::sync::Mutex;
use crate::units::FrameNo;
use std::collections::HashMap;

const SHARDS: usize = 16;
/// Notes of one object that are too few to look through.
const PRUNE_MIN: usize = 256;

/// Notes of one region.
#[derive(Default)]
pub(super) struct Dirty {
    /// By the low bits of the object's number. Object 0: frames whose owner is unknown; every sync takes these.
    shards: [Mutex<HashMap<u32, Vec<FrameNo>>>; SHARDS],
}

impl Dirty {
    /// The object of frames whose owner is unknown.
    pub(super) const UNKNOWN: u32 = 0;

    /// Notes that `frame` became dirty through `object`. Before the notes take more memory, those that have outlived
    /// their reason go: `is_dirty` says which have not.
    pub(super) fn note(&self, object: u32, frame: FrameNo, is_dirty: impl Fn(FrameNo) -> bool) {
        let mut shard = self.shard(object).lock();
        let notes = shard.entry(object).or_default();
        if notes.len() >= PRUNE_MIN && notes.len() == notes.capacity() {
            notes.sort_unstable();
            notes.dedup();
            notes.retain(|&frame| is_dirty(frame));
        }
        notes.push(frame);
    }

    /// Takes the notes of `object`.
    pub(super) fn take(&self, object: u32) -> Vec<FrameNo> {
        self.shard(object).lock().remove(&object).unwrap_or_default()
    }

    /// Takes the notes of `object`, except those that `stay`: they are never gone, or another sync would miss them.
    pub(super) fn take_but(&self, object: u32, stay: impl Fn(&FrameNo) -> bool) -> Vec<FrameNo> {
        let mut shard = self.shard(object).lock();
        let notes = shard.remove(&object).unwrap_or_default();
        let (kept, taken): (Vec<_>, Vec<_>) = notes.into_iter().partition(stay);
        if !kept.is_empty() {
            shard.insert(object, kept);
        }
        taken
    }

    /// Takes all notes.
    pub(super) fn take_all(&self) -> Vec<FrameNo> {
        self.shards
            .iter()
            .flat_map(|shard| std::mem::take(&mut *shard.lock()).into_values().flatten())
            .collect()
    }

    fn shard(&self, object: u32) -> &Mutex<HashMap<u32, Vec<FrameNo>>> {
        &self.shards[object as usize % SHARDS]
    }
}
