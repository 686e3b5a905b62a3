//! Where runs of free frames are: a tree over the words of each group, and one over the groups.
//!
//! Each node holds the length of the longest run below it and of the runs at its two ends. So the first run that is long
//! enough is found in one walk down, however fragmented the group is. The work of a search grows with the logarithm of
//! the number of words.

use std::ops::Range;

/// Frames of one word.
const WORD: u32 = u64::BITS;

/// Free frames of a part of a group: at its beginning, at its end, and in its longest run.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Node {
    head: u16,
    tail: u16,
    longest: u16,
}

impl Node {
    /// The node of one word. A set bit is a taken frame.
    fn of_word(word: u64) -> Self {
        let mut longest = 0;
        let mut left = !word;
        while left != 0 {
            // A run of n ones becomes a run of n - 1 ones.
            left &= left << 1;
            longest += 1;
        }
        Self { head: word.trailing_zeros() as u16, tail: word.leading_zeros() as u16, longest }
    }

    /// The node of two parts of `half` frames each, side by side.
    fn join(left: Self, right: Self, half: u16) -> Self {
        Self {
            head: if left.head == half { half + right.head } else { left.head },
            tail: if right.tail == half { half + left.tail } else { right.tail },
            longest: left.longest.max(right.longest).max(left.tail + right.head),
        }
    }
}

/// The free runs of a group. Its words are kept by the caller.
#[derive(Debug)]
pub(crate) struct Runs {
    /// A heap: node n has the parts 2n and 2n + 1; the words are the last half.
    nodes: Box<[Node]>,
    words: usize,
    /// Nodes and words looked at so far by searches.
    #[cfg(test)]
    pub(crate) looks: std::cell::Cell<u64>,
}

impl Runs {
    /// The runs of these words. Their number must be a power of two.
    pub(crate) fn of(words: &[u64]) -> Self {
        debug_assert!(words.len().is_power_of_two());
        let mut runs = Self {
            nodes: vec![Node::default(); 2 * words.len()].into_boxed_slice(),
            words: words.len(),
            #[cfg(test)]
            looks: std::cell::Cell::new(0),
        };
        for (n, &word) in words.iter().enumerate() {
            runs.nodes[words.len() + n] = Node::of_word(word);
        }
        (1..words.len()).rev().for_each(|n| runs.join(n));
        runs
    }

    /// Frames in the longest run.
    pub(crate) fn longest(&self) -> u32 {
        self.nodes[1].longest.into()
    }

    /// Notes that word `n` is now `word`.
    pub(crate) fn set(&mut self, n: usize, word: u64) {
        let mut at = self.words + n;
        self.nodes[at] = Node::of_word(word);
        while at > 1 {
            at /= 2;
            let before = self.nodes[at];
            self.join(at);
            if self.nodes[at] == before {
                break;
            }
        }
    }

    /// The first run of `wanted` free frames from `from` on.
    pub(crate) fn first(&self, words: &[u64], from: u32, wanted: u32) -> Option<Range<u32>> {
        if wanted == 0 || wanted > self.longest() {
            return None;
        }
        let mut search = Search { runs: self, words, from, wanted, open: 0 };
        let start = search.below(1, 0, self.words as u32 * WORD)?;
        Some(start..start + wanted)
    }

    fn join(&mut self, n: usize) {
        // Node 1 is the whole group; each level down has half the frames.
        let half = (self.words as u32 * WORD) >> (n.ilog2() + 1);
        self.nodes[n] = Node::join(self.nodes[2 * n], self.nodes[2 * n + 1], half as u16);
    }
}

/// A search from left to right.
struct Search<'r> {
    runs: &'r Runs,
    words: &'r [u64],
    from: u32,
    wanted: u32,
    /// Free frames right before the next node.
    open: u32,
}

impl Search<'_> {
    /// Where the run begins, if it ends within the `len` frames of node `n`, which begin at `base`.
    fn below(&mut self, n: usize, base: u32, len: u32) -> Option<u32> {
        if base + len <= self.from {
            return None;
        }
        #[cfg(test)]
        self.runs.looks.set(self.runs.looks.get() + 1);
        if base >= self.from {
            let node = self.runs.nodes[n];
            if self.open + u32::from(node.head) >= self.wanted {
                return Some(base - self.open);
            }
            if u32::from(node.longest) < self.wanted {
                self.open = if u32::from(node.head) == len { self.open + len } else { node.tail.into() };
                return None;
            }
        }
        if len == WORD {
            return self.in_word(base);
        }
        let half = len / 2;
        self.below(2 * n, base, half).or_else(|| self.below(2 * n + 1, base + half, half))
    }

    fn in_word(&mut self, base: u32) -> Option<u32> {
        let word = self.words[(base / WORD) as usize];
        for bit in self.from.saturating_sub(base)..WORD {
            self.open = if word & 1 << bit == 0 { self.open + 1 } else { 0 };
            if self.open == self.wanted {
                return Some(base + bit + 1 - self.wanted);
            }
        }
        None
    }
}

/// The longest run of each group of a region, as far as it is known.
#[derive(Debug, Default)]
pub(crate) struct Longest {
    /// A heap, as in [`Runs`]: the greatest length of the groups below. Beyond the last group there is no run.
    nodes: Vec<u16>,
    groups: usize,
    /// Nodes looked at so far by searches.
    #[cfg(test)]
    pub(crate) looks: std::cell::Cell<u64>,
}

impl Longest {
    /// The group was not read yet: it may have a run of any length.
    const UNKNOWN: u16 = u16::MAX;

    /// Makes room for `groups` groups; new ones are unknown.
    pub(crate) fn extend(&mut self, groups: u64) {
        let (old, groups) = (self.groups, groups as usize);
        if groups <= old {
            return;
        }
        let had = self.nodes.len() / 2;
        let size = groups.next_power_of_two().max(had);
        if size > had {
            let mut nodes = vec![0; 2 * size];
            nodes[size..size + old].copy_from_slice(&self.nodes[had..had + old]);
            self.nodes = nodes;
        }
        self.nodes[size + old..size + groups].fill(Self::UNKNOWN);
        self.groups = groups;
        (1..size).rev().for_each(|n| self.join(n));
    }

    /// There are only `groups` groups.
    pub(crate) fn shorten(&mut self, groups: u64) {
        (groups..self.groups as u64).for_each(|group| self.set(group, 0));
        self.groups = self.groups.min(groups as usize);
    }

    /// Notes that the longest run of `group` has `frames` frames.
    pub(crate) fn set(&mut self, group: u64, frames: u32) {
        let mut at = self.nodes.len() / 2 + group as usize;
        if group >= self.groups as u64 || u32::from(self.nodes[at]) == frames {
            return;
        }
        self.nodes[at] = frames as u16;
        while at > 1 {
            at /= 2;
            let before = self.nodes[at];
            self.join(at);
            if self.nodes[at] == before {
                break;
            }
        }
    }

    /// The first group from `from` on that has `wanted` frames in a row, or is unknown.
    pub(crate) fn first(&self, from: u64, wanted: u32) -> Option<u64> {
        self.below(1, 0, (self.nodes.len() / 2) as u64, from, wanted)
    }

    fn below(&self, n: usize, base: u64, len: u64, from: u64, wanted: u32) -> Option<u64> {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        if base + len <= from || self.nodes.get(n).is_none_or(|&longest| u32::from(longest) < wanted) {
            return None;
        }
        if len == 1 {
            return Some(base);
        }
        let half = len / 2;
        let left = self.below(2 * n, base, half, from, wanted);
        left.or_else(|| self.below(2 * n + 1, base + half, half, from, wanted))
    }

    /// The group with the longest run of all, and its length. `None` while a group is unknown.
    pub(crate) fn greatest(&self) -> Option<(u64, u32)> {
        let longest = *self.nodes.get(1).filter(|&&longest| longest != Self::UNKNOWN)?;
        Some((self.first(0, longest.into())?, longest.into()))
    }

    fn join(&mut self, n: usize) {
        self.nodes[n] = self.nodes[2 * n].max(self.nodes[2 * n + 1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As [`Runs::first`], frame by frame.
    fn first(words: &[u64], from: u32, wanted: u32) -> Option<Range<u32>> {
        let free = |frame: u32| words[(frame / WORD) as usize] & 1 << (frame % WORD) == 0;
        let end = words.len() as u32 * WORD;
        let runs = |start: &u32| start + wanted <= end && (*start..start + wanted).all(free);
        (from..end).find(runs).map(|start| start..start + wanted)
    }

    fn word() -> impl Strategy<Value = u64> {
        prop_oneof![
            Just(0),
            Just(!0),
            any::<u64>(),
            (0u32..64).prop_map(|n| !0 << n),
            (0u32..64).prop_map(|n| !0 >> n)
        ]
    }

    proptest! {
        #[test]
        fn the_first_run_that_is_long_enough_is_found_whatever_changed(
            words in prop::collection::vec(word(), 8),
            changes in prop::collection::vec((0usize..8, word()), 0..12),
            from in 0u32..512,
            wanted in 1u32..140,
        ) {
            let mut words = words;
            let mut runs = Runs::of(&words);
            for (n, word) in changes {
                words[n] = word;
                runs.set(n, word);
                prop_assert_eq!(runs.first(&words, from, wanted), first(&words, from, wanted));
                let longest = (1..=512).rev().find(|&n| first(&words, 0, n).is_some()).unwrap_or(0);
                prop_assert_eq!(runs.longest(), longest);
            }
            prop_assert_eq!(Runs::of(&words).nodes, runs.nodes);
        }

        #[test]
        fn the_first_group_that_may_have_a_run_is_found(
            steps in prop::collection::vec((1u64..40, 0u64..40, 0u32..32_769), 1..40),
            from in 0u64..40,
            wanted in 1u32..32_769,
        ) {
            let (mut longest, mut plain) = (Longest::default(), Vec::new());
            for (groups, group, frames) in steps {
                longest.extend(groups);
                plain.resize(plain.len().max(groups as usize), None);
                longest.set(group, frames);
                if let Some(known) = plain.get_mut(group as usize) {
                    *known = Some(frames);
                }
                let may = |group: &usize| plain[*group].is_none_or(|frames| frames >= wanted);
                let expected = (from as usize..plain.len()).find(may);
                prop_assert_eq!(longest.first(from, wanted), expected.map(|group| group as u64));
                let greatest = plain.iter().copied().collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().max());
                prop_assert_eq!(longest.greatest().map(|found| found.1), greatest);
            }
        }
    }

    #[test]
    fn a_search_looks_at_a_few_nodes_however_fragmented_the_group_is() {
        let mut words = vec![0xaaaa_aaaa_aaaa_aaaa; 512];
        let runs = Runs::of(&words);
        assert_eq!((runs.longest(), runs.first(&words, 0, 2)), (1, None));
        assert_eq!(runs.looks.get(), 0, "its longest run is known");
        // Every other frame is free; here some neighbours are too: frame 64 * 300 - 2 is taken, 64 * 300 - 1 is free.
        words[299] = 0x2aaa_aaaa_aaaa_aaaa;
        words[300] = 0;
        let runs = Runs::of(&words);
        let start = 300 * 64 - 2;
        assert_eq!(runs.first(&words, 0, 4), Some(start..start + 4));
        assert!(runs.looks.get() <= 20, "{}", runs.looks.get());
    }
}
