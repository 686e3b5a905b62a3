//! What a power loss may leave of an object: the content of its last acknowledged sync, and everything stored since.
//!
//! Bytes stored in place may reach the medium at any time or never, in any order. But bytes that a name or size publishes
//! are durable before it is (LOG rule 3). If the name or size is there after a power loss, such a layer hides what is
//! older.

use pagestone_workload::PAGE;
use pagestone_workload::content::{Content, Page, pieces};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// What a layer hides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hides {
    /// Nothing: it may have reached the medium or not.
    Nothing,
    /// All layers below, if the metadata shows its operation.
    WhenShown,
    /// All layers below: a sync of the range was acknowledged.
    Always,
}

/// Bytes stored by one operation.
#[derive(Clone, Debug)]
struct Layer {
    op: u64,
    range: Range<u64>,
    /// `None`: zeros.
    bytes: Option<Arc<[u8]>>,
    hides: Hides,
}

/// All that the medium may hold of an object.
#[derive(Clone, Debug, Default)]
pub struct History {
    base: BTreeMap<u64, Arc<Page>>,
    layers: Vec<Layer>,
}

impl History {
    /// The object is durable as it is now.
    pub fn settle(&mut self, now: &Content) {
        self.layers.clear();
        self.base = now.frames.iter().map(|(&page, frame)| (page, Arc::clone(&frame.bytes))).collect();
    }

    /// Operation `op` stored `bytes` at `at`.
    pub fn stored(&mut self, op: u64, at: u64, bytes: &[u8]) {
        self.push(op, at..at + bytes.len() as u64, Some(bytes.into()), Hides::Nothing);
    }

    /// Operation `op` made a range zeros.
    pub fn zeroed(&mut self, op: u64, range: Range<u64>, hides: Hides) {
        self.push(op, range, None, hides);
    }

    /// Operation `op` synced a range that holds `bytes`.
    pub fn synced(&mut self, op: u64, at: u64, bytes: &[u8]) {
        self.push(op, at..at + bytes.len() as u64, Some(bytes.into()), Hides::Always);
    }

    fn push(&mut self, op: u64, range: Range<u64>, bytes: Option<Arc<[u8]>>, hides: Hides) {
        if range.start < range.end {
            self.layers.push(Layer { op, range, bytes, hides });
        }
    }

    /// The first byte of a page that `found` cannot show when the metadata is that after operation `shown`.
    #[must_use]
    pub fn stranger(&self, page: u64, found: &[u8], shown: u64) -> Option<usize> {
        let mut lawful = [false; PAGE as usize];
        let below = self.base.get(&page);
        for (at, ok) in lawful[..found.len()].iter_mut().enumerate() {
            *ok = found[at] == below.map_or(0, |bytes| bytes[at]);
        }
        let whole = page * PAGE..page * PAGE + found.len() as u64;
        for layer in &self.layers {
            let inside = layer.range.start.max(whole.start)..layer.range.end.min(whole.end);
            for (_, piece) in pieces(inside) {
                let hides = match layer.hides {
                    Hides::Nothing => false,
                    Hides::WhenShown => layer.op <= shown,
                    Hides::Always => true,
                };
                for at in piece {
                    let byte = match &layer.bytes {
                        Some(bytes) => bytes[(page * PAGE + at as u64 - layer.range.start) as usize],
                        None => 0,
                    };
                    lawful[at] = found[at] == byte || lawful[at] && !hides;
                }
            }
        }
        lawful[..found.len()].iter().position(|ok| !ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_since_the_last_sync_may_show_and_nothing_else() {
        let mut history = History::default();
        history.stored(1, 0, &[5; 4]);
        history.stored(2, 2, &[6; 4]);
        assert_eq!(history.stranger(0, &[0, 5, 6, 5, 0, 6], 9), None);
        assert_eq!(history.stranger(0, &[0, 6], 9), Some(1));
        history.zeroed(3, 0..3, Hides::WhenShown);
        assert_eq!(history.stranger(0, &[5], 2), None);
        assert_eq!(history.stranger(0, &[5], 3), Some(0));
        history.synced(4, 3, &[6]);
        assert_eq!(history.stranger(0, &[0, 0, 0, 5], 0), Some(3));
    }
}
