//! What a round does: how SQLite journals, on which medium, and when the kill comes.

use pagestone_kit::random::Random;
use std::fmt;
use std::time::Duration;

/// Journal modes in turn.
const JOURNALS: [&str; 3] = ["DELETE", "WAL", "TRUNCATE"];
/// `synchronous` in turn.
const SYNCS: [&str; 3] = ["OFF", "NORMAL", "FULL"];
/// The kill of an ordinary round comes within this time after the process started.
const LIFE_MS: u64 = 350;
/// The second kill of a round comes this early, to hit recovery.
const EARLY_US: u64 = 30_000;

/// What the region lies on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Medium {
    /// A file of a disk file system, made durable by `fdatasync`.
    File,
    /// A file of tmpfs that is to count as persistent memory.
    CacheLine,
}

/// One round.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `PRAGMA journal_mode`.
    pub journal: &'static str,
    /// `PRAGMA synchronous`.
    pub sync: &'static str,
    /// What the region lies on.
    pub medium: Medium,
    /// Whether SQLite reads by pins (`mmap_size`).
    pub pins: bool,
    /// The seed of the worker's choices.
    pub seed: u64,
    /// When to kill, after each start.
    pub kills: Vec<Duration>,
}

impl Plan {
    /// The plan of round `number`: all combinations come in turn, the rest is drawn.
    pub fn draw(seed: u64, number: u32, memory: bool) -> Self {
        let mut random = Random::of(seed, u64::from(number));
        let n = number as usize;
        let medium = if n.is_multiple_of(2) || !memory { Medium::File } else { Medium::CacheLine };
        let mut kills = vec![Duration::from_micros(random.below(LIFE_MS * 1000))];
        if random.below(3) == 0 {
            kills.push(Duration::from_micros(random.below(EARLY_US)));
        }
        Self {
            journal: JOURNALS[n / 2 % 3],
            sync: SYNCS[n / 6 % 3],
            medium,
            pins: random.below(2) == 0,
            seed: random.below(u64::MAX),
            kills,
        }
    }

    /// The name of the region's file. Rounds of one combination use the same region.
    pub fn name(&self) -> String {
        format!("{}-{}-{:?}.pgs", self.journal, self.sync, self.medium).to_lowercase()
    }

    /// The query parameters with which SQLite opens it.
    pub fn parameters(&self) -> String {
        let assume = if self.medium == Medium::CacheLine { "&assume=cacheline" } else { "" };
        format!("vfs={}{assume}", pagestone_sqlite::VFS)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} synchronous={} {:?} pins={} kills={:?}",
            self.journal, self.sync, self.medium, self.pins, self.kills
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn eighteen_rounds_see_every_combination() {
        let names: BTreeSet<_> = (0..18).map(|n| Plan::draw(1, n, true).name()).collect();
        assert_eq!(names.len(), JOURNALS.len() * SYNCS.len() * 2);
    }

    #[test]
    fn a_seed_draws_the_same_plan_again() {
        let draw = || (0..50).map(|n| Plan::draw(7, n, true).to_string()).collect::<Vec<_>>();
        assert_eq!(draw(), draw());
    }
}
