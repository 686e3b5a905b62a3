//! Staged bytes: ranges that do not overlap, the last write wins.

use std::collections::BTreeMap;

/// No range crosses a multiple of this, which is one of pages: a range that grows is not copied whole again and again.
const RANGE_MAX: u64 = 1 << 20;

/// Bytes by offset.
#[derive(Default, Debug)]
pub(super) struct Stage {
    ranges: BTreeMap<u64, Vec<u8>>,
}

impl Stage {
    /// Puts `bytes` at `offset`, over what was staged there before.
    pub(super) fn put(&mut self, offset: u64, bytes: &[u8]) {
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let room = (RANGE_MAX - at % RANGE_MAX) as usize;
            let (part, behind) = rest.split_at(rest.len().min(room));
            self.put_part(at, part);
            (at, rest) = (at + part.len() as u64, behind);
        }
    }

    fn put_part(&mut self, offset: u64, bytes: &[u8]) {
        let end = offset + bytes.len() as u64;
        if let Some((&start, before)) = self.ranges.range_mut(..=offset).next_back() {
            let at = (offset - start) as usize;
            if at + bytes.len() <= before.len() {
                before[at..at + bytes.len()].copy_from_slice(bytes);
                return;
            }
        }
        self.split(offset);
        self.split(end);
        let covered: Vec<u64> = self.ranges.range(offset..end).map(|(&start, _)| start).collect();
        covered.iter().for_each(|start| drop(self.ranges.remove(start)));
        match self.ranges.range_mut(..offset).next_back() {
            // Writes in a row become one range.
            Some((&start, before)) if start + before.len() as u64 == offset && offset % RANGE_MAX != 0 => {
                // Twice as much as there is, but no more than there can be.
                let room = ((RANGE_MAX - start % RANGE_MAX) as usize).min(2 * before.len());
                if before.capacity() - before.len() < bytes.len() {
                    before.reserve_exact((room - before.len().min(room)).max(bytes.len()));
                }
                before.extend_from_slice(bytes);
            }
            _ => drop(self.ranges.insert(offset, bytes.to_vec())),
        }
    }

    /// Makes a range that spans `at` two.
    fn split(&mut self, at: u64) {
        if let Some((&start, before)) = self.ranges.range_mut(..at).next_back() {
            if start + before.len() as u64 > at {
                let behind = before.split_off((at - start) as usize);
                self.ranges.insert(at, behind);
            }
        }
    }

    /// How many of the bytes from `offset` to `end` are staged.
    pub(super) fn staged(&self, offset: u64, end: u64) -> u64 {
        let before = self.ranges.range(..=offset).next_back().map_or(offset, |(&start, _)| start);
        let inside = self.ranges.range(before..end).map(|(&start, bytes)| {
            let ends = start + bytes.len() as u64;
            ends.min(end).saturating_sub(start.max(offset))
        });
        inside.sum()
    }

    /// The ranges, ascending.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.ranges.iter().map(|(&offset, bytes)| (offset, &bytes[..]))
    }

    /// Where the last one ends.
    pub(super) fn end(&self) -> u64 {
        self.ranges.last_key_value().map_or(0, |(&offset, bytes)| offset + bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_last_write_of_each_byte_wins(writes in prop::collection::vec((0u64..200, 1usize..60), 1..40)) {
            let (mut stage, mut plain) = (Stage::default(), vec![None; 300]);
            for (n, (offset, len)) in writes.into_iter().enumerate() {
                let there = plain[offset as usize..offset as usize + len].iter().flatten().count();
                prop_assert_eq!(stage.staged(offset, offset + len as u64) as usize, there);
                stage.put(offset, &vec![n as u8; len]);
                plain[offset as usize..offset as usize + len].fill(Some(n as u8));
            }
            let mut shown = vec![None; 300];
            let mut last = 0;
            for (offset, bytes) in stage.ranges() {
                prop_assert!(offset >= last && !bytes.is_empty());
                last = offset + bytes.len() as u64;
                bytes.iter().zip(&mut shown[offset as usize..]).for_each(|(byte, at)| *at = Some(*byte));
            }
            prop_assert_eq!(stage.end(), last);
            prop_assert_eq!(stage.staged(0, last) as usize, plain.iter().flatten().count());
            prop_assert_eq!(shown, plain);
        }
    }
}
