//! Which frames a view shows: runs of pages in runs of frames.
#![forbid(unsafe_code)]

use crate::units::FrameNo;
use std::collections::BTreeMap;
use std::ops::Range;

/// The pieces of a view, by first page. Pages are counted from the first of the view. No two pieces could be one.
#[derive(Default, Debug)]
pub(super) struct Runs(BTreeMap<u64, Run>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    frame: u32,
    pages: u64,
}

impl Runs {
    /// The number of pieces.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The frame that a page shows.
    pub(super) fn get(&self, page: u64) -> Option<FrameNo> {
        let (&first, run) = self.0.range(..=page).next_back()?;
        (page < first + run.pages).then(|| FrameNo(run.frame + (page - first) as u32))
    }

    /// The first of these pages that shows a frame.
    pub(super) fn first_in(&self, pages: Range<u64>) -> Option<u64> {
        match self.get(pages.start) {
            Some(_) if !pages.is_empty() => Some(pages.start),
            _ => self.0.range(pages).next().map(|(&first, _)| first),
        }
    }

    /// These pages show the frames from `frame` on.
    pub(super) fn insert(&mut self, pages: Range<u64>, frame: FrameNo) {
        self.remove(pages.clone());
        let (mut first, mut run) = (pages.start, Run { frame: frame.0, pages: pages.end - pages.start });
        if let Some((&before, &there)) = self.0.range(..first).next_back() {
            if before + there.pages == first && u64::from(there.frame) + there.pages == u64::from(run.frame) {
                (first, run) = (before, Run { frame: there.frame, pages: there.pages + run.pages });
            }
        }
        if let Some(&behind) = self.0.get(&pages.end) {
            if u64::from(run.frame) + run.pages == u64::from(behind.frame) {
                self.0.remove(&pages.end);
                run.pages += behind.pages;
            }
        }
        self.0.insert(first, run);
    }

    /// These pages show no frame.
    pub(super) fn remove(&mut self, pages: Range<u64>) {
        self.split(pages.start);
        self.split(pages.end);
        while let Some((&first, _)) = self.0.range(pages.clone()).next() {
            self.0.remove(&first);
        }
    }

    /// Makes a piece begin at this page, if one has it.
    fn split(&mut self, page: u64) {
        if let Some((&first, run)) = self.0.range_mut(..page).next_back() {
            let kept = page - first;
            if run.pages > kept {
                let behind = Run { frame: run.frame + kept as u32, pages: run.pages - kept };
                run.pages = kept;
                self.0.insert(page, behind);
            }
        }
    }
}

/// Splits pages in ascending order into runs of pages in runs of frames.
pub(super) fn runs(pages: &[(u64, FrameNo)]) -> impl Iterator<Item = (Range<u64>, FrameNo)> {
    let adjoin = |one: &(u64, FrameNo), next: &(u64, FrameNo)| {
        one.0 + 1 == next.0 && u64::from(one.1.0) + 1 == u64::from(next.1.0)
    };
    pages.chunk_by(adjoin).map(|run| (run[0].0..run[0].0 + run.len() as u64, run[0].1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_are_those_of_the_pages_and_as_few_as_can_be(
            changes in prop::collection::vec((0u64..40, 1u64..12, prop::option::of(0u32..60)), 1..60),
        ) {
            let (mut pieces, mut plain) = (Runs::default(), [None; 64]);
            for (first, count, frame) in changes {
                match frame {
                    Some(frame) => pieces.insert(first..first + count, FrameNo(frame)),
                    None => pieces.remove(first..first + count),
                }
                for page in 0..count {
                    plain[(first + page) as usize] = frame.map(|frame| FrameNo(frame + page as u32));
                }
                for page in 0..64 {
                    prop_assert_eq!(pieces.get(page), plain[page as usize]);
                    let first = (page..64).find(|page| plain[*page as usize].is_some());
                    prop_assert_eq!(pieces.first_in(page..64), first);
                    prop_assert_eq!(pieces.first_in(page..page), None);
                }
                let shown: Vec<_> = (0..64).filter_map(|page| Some((page, plain[page as usize]?))).collect();
                prop_assert_eq!(pieces.len(), runs(&shown).count());
            }
        }
    }
}
