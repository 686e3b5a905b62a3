//! Which combinations of surviving stores to try: all if there are few, else the nasty ones and a seeded sample.

use pagestone_kit::random::Random;

/// A cell with stores that may or may not survive.
#[derive(Clone, Copy, Debug)]
pub struct Open {
    /// Byte offset of the cell.
    pub offset: u64,
    /// Stores in its history.
    pub stores: u32,
    /// When the last of them happened.
    pub newest: u64,
}

/// How many picks to make at one crash point.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// A point with at most this many states is explored exhaustively.
    pub exhaustive: u64,
    /// At other points: the number of adversarial picks, spread over all of them.
    pub adversarial: usize,
    /// At other points: the number of random picks.
    pub random: usize,
}

/// Calls `each` with a number of surviving stores per cell, until it returns false or the picks are used up.
pub fn picks(open: &[Open], effort: Effort, dice: &mut Random, mut each: impl FnMut(&[u32]) -> bool) {
    let total = open.iter().try_fold(1u64, |t, c| t.checked_mul(u64::from(c.stores) + 1));
    if let Some(total) = total.filter(|&t| t <= effort.exhaustive) {
        exhaustive(open, total, each);
        return;
    }
    let all: Vec<u32> = open.iter().map(|c| c.stores).collect();
    if !each(&vec![0; open.len()]) || !each(&all) {
        return;
    }
    for nasty in spread(&adversarial(open), effort.adversarial, dice) {
        if !each(&nasty.choose(open)) {
            return;
        }
    }
    let mut pick = all;
    for _ in 0..effort.random {
        // A pick's bias towards old or new content changes from pick to pick: a fair coin per cell would never
        // show images in which nearly everything, or nearly nothing, survived.
        let (none, every) = (dice.below(8), dice.below(8));
        for (p, c) in pick.iter_mut().zip(open) {
            let roll = dice.below(none + every + 1);
            *p = match roll {
                r if r < none => 0,
                r if r < none + every => c.stores,
                _ => dice.below(u64::from(c.stores) + 1) as u32,
            };
        }
        if !each(&pick) {
            return;
        }
    }
}

fn exhaustive(open: &[Open], total: u64, mut each: impl FnMut(&[u32]) -> bool) {
    let mut pick = vec![0; open.len()];
    for n in 0..total {
        let mut rest = n;
        for (p, c) in pick.iter_mut().zip(open) {
            let ways = u64::from(c.stores) + 1;
            *p = (rest % ways) as u32;
            rest /= ways;
        }
        if !each(&pick) {
            return;
        }
    }
}

/// An adversarial pick: some cells survive and the others do not.
#[derive(Clone, Copy, Debug)]
struct Nasty {
    cells: Cells,
    /// True: these cells survive and no others. False: the reverse.
    survives: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cells {
    /// Neighbouring cells, by their places in the list.
    Run(usize, usize),
    /// Cells stored to since this moment: what was stored last reaches the medium first.
    Since(u64),
}

impl Nasty {
    fn choose(self, open: &[Open]) -> Vec<u32> {
        let chosen = |i: usize, c: &Open| match self.cells {
            Cells::Run(from, to) => (from..to).contains(&i),
            Cells::Since(moment) => c.newest >= moment,
        };
        open.iter()
            .enumerate()
            .map(|(i, c)| if chosen(i, c) == self.survives { c.stores } else { 0 })
            .collect()
    }
}

/// All adversarial picks, each with its reverse: the frame stored to last; what was stored since some moment; one frame;
/// everything up to a frame; one cell.
fn adversarial(open: &[Open]) -> Vec<Nasty> {
    let mut frames: Vec<(usize, usize)> = Vec::new();
    for (i, c) in open.iter().enumerate() {
        match frames.last_mut() {
            Some((from, to)) if open[*from].offset / 4096 == c.offset / 4096 => *to = i + 1,
            _ => frames.push((i, i + 1)),
        }
    }
    let newest = |&&(from, to): &&(usize, usize)| open[from..to].iter().map(|c| c.newest).max();
    let last = frames.iter().max_by_key(newest).map(|&(from, to)| Cells::Run(from, to));
    let mut moments: Vec<u64> = open.iter().map(|c| c.newest).collect();
    moments.sort_unstable();
    let count = moments.len();
    let places = [count / 2, count * 3 / 4, count.saturating_sub(1), 1];
    let since = places.into_iter().filter(|&n| n < count).map(|n| Cells::Since(moments[n]));
    let alone = frames.iter().map(|&(from, to)| Cells::Run(from, to));
    let upto = frames.iter().map(|&(_, to)| Cells::Run(0, to));
    let singles = (0..open.len()).map(|i| Cells::Run(i, i + 1));
    let mut all: Vec<Cells> = last.into_iter().chain(since).chain(alone).chain(upto).chain(singles).collect();
    all.dedup();
    all.iter().flat_map(|&cells| [true, false].map(|survives| Nasty { cells, survives })).collect()
}

/// At most `n` of them: the first half (what is newest comes first), then some by chance.
fn spread(all: &[Nasty], n: usize, dice: &mut Random) -> Vec<Nasty> {
    if all.len() <= n {
        return all.to_vec();
    }
    let mut out = all[..n / 2].to_vec();
    out.extend((n / 2..n).map(|_| *dice.one_of(all)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn open(stores: &[u32]) -> Vec<Open> {
        stores
            .iter()
            .enumerate()
            .map(|(i, &stores)| Open { offset: i as u64 * 64, stores, newest: i as u64 })
            .collect()
    }

    #[test]
    fn few_states_are_visited_once_each() {
        let mut seen = HashSet::new();
        let effort = Effort { exhaustive: 24, adversarial: 0, random: 0 };
        picks(&open(&[1, 2, 3]), effort, &mut Random::new(1), |p| seen.insert(p.to_vec()));
        assert_eq!(seen.len(), 24);
    }

    #[test]
    fn many_states_include_none_all_and_each_single_frame() {
        let cells: Vec<Open> =
            (0..4).map(|i| Open { offset: i * 4096, stores: 9, newest: 100 - i }).collect();
        let mut seen = HashSet::new();
        let effort = Effort { exhaustive: 10, adversarial: 100, random: 50 };
        picks(&cells, effort, &mut Random::new(1), |p| {
            assert!(p.iter().all(|&n| n <= 9));
            seen.insert(p.to_vec());
            true
        });
        assert!(seen.contains([0; 4].as_slice()) && seen.contains([9; 4].as_slice()));
        for i in 0..4 {
            let only: Vec<u32> = (0..4).map(|j| if i == j { 9 } else { 0 }).collect();
            let but: Vec<u32> = (0..4).map(|j| if i == j { 0 } else { 9 }).collect();
            assert!(seen.contains(&only) && seen.contains(&but), "frame {i}");
        }
        // What was stored last (frame 0) before what was stored first (frame 3), and the other way round.
        assert!(seen.contains([9, 9, 0, 0].as_slice()) && seen.contains([0, 0, 9, 9].as_slice()));
    }
}
