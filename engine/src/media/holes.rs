//! Free frames without blocks of their own: a set of runs.
//!
//! They are not handed out as they are: the allocator gives them blocks first, when it has no better frames.

use std::collections::BTreeMap;
use std::ops::Range;

/// How many runs are looked at for one that is long enough.
const LOOKED_AT: usize = 64;

/// Runs of frames. No two of them touch.
#[derive(Debug, Default)]
pub(super) struct Holes {
    /// The end of each run, by its start.
    runs: BTreeMap<u32, u32>,
}

impl Holes {
    /// Adds a run. None of its frames may be in the set.
    pub(super) fn insert(&mut self, run: Range<u32>) {
        debug_assert!(self.within(run.clone()).next().is_none(), "{run:?} is there already");
        if run.is_empty() {
            return;
        }
        let (mut start, mut end) = (run.start, run.end);
        if let Some((&before, _)) =
            self.runs.range(..start).next_back().filter(|(_, before_end)| **before_end == start)
        {
            start = before;
        }
        if let Some(behind_end) = self.runs.remove(&end) {
            end = behind_end;
        }
        self.runs.insert(start, end);
    }

    /// The parts of the runs that lie in `range`, ascending.
    pub(super) fn within(&self, range: Range<u32>) -> impl Iterator<Item = Range<u32>> + use<'_> {
        let before = self.runs.range(..range.start).next_back();
        let inside = self.runs.range(range.start..range.end.max(range.start));
        before
            .into_iter()
            .chain(inside)
            .map(move |(&start, &end)| start.max(range.start)..end.min(range.end))
            .filter(|part| part.start < part.end)
    }

    /// Takes out what lies in `range`.
    pub(super) fn remove(&mut self, range: Range<u32>) {
        let parts: Vec<_> = self.within(range).collect();
        for part in parts {
            let Some((&start, &end)) = self.runs.range(..=part.start).next_back() else { continue };
            self.runs.remove(&start);
            if start < part.start {
                self.runs.insert(start, part.start);
            }
            if part.end < end {
                self.runs.insert(part.end, end);
            }
        }
    }

    /// Takes out a run of frames below `limit`: `wanted` frames of a run that is long enough, if one of the first is;
    /// otherwise as many as the first run has. If the hole goes on behind the taken run, that ends at a multiple of
    /// `together`.
    pub(super) fn take(&mut self, wanted: u32, together: u32, limit: u32) -> Option<Range<u32>> {
        let runs =
            || self.runs.iter().map(|(&start, &end)| start..end.min(limit)).filter(|run| run.start < run.end);
        let fitting = runs().take(LOOKED_AT).find(|run| run.len() as u32 >= wanted);
        let run = fitting.or_else(|| runs().next())?;
        let end = run.start.saturating_add(wanted.max(1)).next_multiple_of(together);
        let run = run.start..end.min(run.end);
        self.remove(run.clone());
        Some(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn of(runs: &[Range<u32>]) -> Holes {
        let mut holes = Holes::default();
        runs.iter().for_each(|run| holes.insert(run.clone()));
        holes
    }

    #[test]
    fn the_first_run_that_is_long_enough_is_taken() {
        let mut holes = of(&[3..5, 10..20, 512..2000]);
        assert_eq!(holes.take(4, 1, 5000), Some(10..14));
        assert_eq!(holes.take(600, 512, 5000), Some(512..1536));
        assert_eq!(holes.take(600, 512, 5000), Some(3..5), "no run is long enough: the first");
        assert_eq!(holes.take(600, 1, 16), Some(14..16));
        assert_eq!(holes.take(1, 1, 16), None);
        assert!(holes.within(0..5000).eq([16..20, 1536..2000]));
    }

    proptest! {
        /// The holes behave like a set of frames.
        #[test]
        fn holes_are_a_set(steps in prop::collection::vec((any::<bool>(), 0u32..200, 1u32..20), 1..60)) {
            let (mut holes, mut set) = (Holes::default(), BTreeSet::new());
            for (add, start, len) in steps {
                let run = start..start + len;
                if add {
                    if run.clone().all(|frame| !set.contains(&frame)) {
                        holes.insert(run.clone());
                        set.extend(run);
                    }
                } else {
                    holes.remove(run.clone());
                    set.retain(|frame| !run.contains(frame));
                }
                prop_assert!(holes.within(0..300).flatten().eq(set.iter().copied()));
                let apart = holes.runs.iter().zip(holes.runs.iter().skip(1)).all(|(a, b)| a.1 < b.0);
                prop_assert!(apart, "{:?}", holes.runs);
            }
        }
    }
}
