//! Staged bytes: ranges that do not overlap. The last write wins.

use crate::error::{Error, Result};
use std::collections::{BTreeMap, TryReserveError};
use std::io;

/// No range crosses a multiple of this, which is a multiple of the page size: so a range that grows is not copied
/// whole again and again.
const RANGE_MAX: u64 = 1 << 20;

/// Bytes by offset.
#[derive(Default, Debug)]
pub(crate) struct Stage {
    ranges: BTreeMap<u64, Vec<u8>>,
}

/// Where bytes go. There is memory for them.
enum Place {
    /// Into the range that begins here.
    Inside(u64),
    /// After the end of the range that begins here.
    Behind(u64),
    /// Into a new range.
    Fresh(Vec<u8>),
}

impl Stage {
    /// Stages `bytes` at `offset`, over what was staged there before.
    ///
    /// # Errors
    /// `Io`: there is no memory for them. What was staged stays.
    pub(crate) fn put(&mut self, offset: u64, bytes: &[u8]) -> Result {
        let within = (RANGE_MAX - offset % RANGE_MAX) as usize;
        let (first, behind) = bytes.split_at(bytes.len().min(within));
        if first.is_empty() {
            return Ok(());
        }
        let place = self.place(offset, first.len())?;
        // Memory for all of it is reserved first. Most writes need only the first part.
        let mut places = room(behind.len().div_ceil(RANGE_MAX as usize))?;
        let parts =
            || (offset + within as u64..).step_by(RANGE_MAX as usize).zip(behind.chunks(RANGE_MAX as usize));
        for (at, part) in parts() {
            places.push(self.place(at, part.len())?);
        }
        self.put_part(place, offset, first);
        parts().zip(places).for_each(|((at, part), place)| self.put_part(place, at, part));
        Ok(())
    }

    /// Reserves memory for `len` bytes at `offset`. What is staged stays, perhaps in other ranges.
    fn place(&mut self, offset: u64, len: usize) -> Result<Place> {
        let end = offset + len as u64;
        if let Some((&start, before)) = self.ranges.range(..=offset).next_back() {
            if end <= start + before.len() as u64 {
                return Ok(Place::Inside(start));
            }
        }
        self.split(offset)?;
        self.split(end)?;
        match self.ranges.range_mut(..offset).next_back() {
            // Consecutive writes become one range.
            Some((&start, before)) if start + before.len() as u64 == offset && offset % RANGE_MAX != 0 => {
                if before.capacity() - before.len() < len {
                    // Twice as much as there is, but no more than a range can hold.
                    let most = ((RANGE_MAX - start % RANGE_MAX) as usize).min(2 * before.len());
                    before
                        .try_reserve_exact(most.saturating_sub(before.len()).max(len))
                        .map_err(no_memory)?;
                }
                Ok(Place::Behind(start))
            }
            _ => room(len).map(Place::Fresh),
        }
    }

    /// Stores bytes at the place that was reserved for them.
    fn put_part(&mut self, place: Place, offset: u64, bytes: &[u8]) {
        let (start, fresh) = match place {
            Place::Inside(start) => {
                let at = (offset - start) as usize;
                return self.ranges.entry(start).or_default()[at..at + bytes.len()].copy_from_slice(bytes);
            }
            Place::Behind(start) => (start, Vec::new()),
            Place::Fresh(fresh) => (offset, fresh),
        };
        let end = offset + bytes.len() as u64;
        while let Some((&covered, _)) = self.ranges.range(offset..end).next() {
            self.ranges.remove(&covered);
        }
        self.ranges.entry(start).or_insert(fresh).extend_from_slice(bytes);
    }

    /// Splits a range that spans `at`.
    fn split(&mut self, at: u64) -> Result {
        if let Some((&start, before)) = self.ranges.range_mut(..at).next_back() {
            let kept = (at - start) as usize;
            if before.len() > kept {
                let mut behind = room(before.len() - kept)?;
                behind.extend_from_slice(&before[kept..]);
                before.truncate(kept);
                self.ranges.insert(at, behind);
            }
        }
        Ok(())
    }

    /// How many of the bytes from `offset` to `end` are staged.
    pub(crate) fn staged(&self, offset: u64, end: u64) -> u64 {
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

    /// The end of the last range.
    pub(crate) fn end(&self) -> u64 {
        self.ranges.last_key_value().map_or(0, |(&offset, bytes)| offset + bytes.len() as u64)
    }
}

/// An empty list with memory for `len` items, of which a batch may have many.
pub(super) fn room<T>(len: usize) -> Result<Vec<T>> {
    let mut list = Vec::new();
    list.try_reserve_exact(len).map_err(no_memory)?;
    Ok(list)
}

/// Collects the items.
pub(super) fn listed<T>(items: impl Iterator<Item = T>) -> Result<Vec<T>> {
    let mut list = room(items.size_hint().1.unwrap_or_default())?;
    list.extend(items);
    Ok(list)
}

fn no_memory(_: TryReserveError) -> Error {
    Error::io("memory for a batch: make it smaller", io::Error::from_raw_os_error(libc::ENOMEM))
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
                stage.put(offset, &vec![n as u8; len]).unwrap();
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

    #[test]
    fn one_write_of_any_length_needs_no_more_stack_than_a_short_one() {
        let bytes = vec![7; 256 << 20];
        let small = std::thread::Builder::new().stack_size(32 << 10);
        let staged = small.spawn(move || {
            let mut stage = Stage::default();
            stage.put(5, &bytes).unwrap();
            stage.ranges.values().map(Vec::len).sum::<usize>()
        });
        assert_eq!(staged.unwrap().join().unwrap(), 256 << 20);
    }
}
