//! Dirty frames, by the object through which they became dirty.
//!
//! A frame is noted when its descriptor changes from clean to dirty, by the writer that still holds its exclusive
//! latch. So a second writer that finds it dirty can rely on the note. A note may be outdated (another sync took the
//! dirty lines, or the frame went to another object), so a sync checks the descriptor.

use crate::sync::Mutex;
use crate::units::FrameNo;
use std::collections::HashMap;

const SHARDS: usize = 16;
/// Below this many notes of an object, they are not searched for outdated ones.
const PRUNE_MIN: usize = 256;

/// The notes of one region.
#[derive(Default)]
pub(super) struct Dirty {
    /// By the low bits of the object's number. Object 0 has the frames with an unknown owner, which every sync takes.
    shards: [Mutex<HashMap<u32, Vec<FrameNo>>>; SHARDS],
}

impl Dirty {
    /// The key of frames with an unknown owner.
    pub(super) const UNKNOWN: u32 = 0;

    /// Notes that `frame` became dirty through `object`. Before the list grows, outdated notes are removed;
    /// `is_dirty` decides.
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

    /// Takes the notes of `object`, except those that `stay`. Those are never removed, not even for a moment, because
    /// another sync would miss them.
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
