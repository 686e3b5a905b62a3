//! Recovers crash images with the real store, and compares the result with the oracle.

use super::life::{failed_lease, rebooted, snapshot};
use super::oracle::{Oracle, View};
use super::place;
use super::run::{Live, Rig, play};
use super::script::Shape;
use pagestone::region::Identity;
use pagestone::store::Store;
use pagestone_explorer::pick::Effort;
use pagestone_explorer::{Crash, Judge, Plan, State, Trace, explore_on};
use pagestone_kit::random::Random;
use std::ops::Range;

/// Findings about sectors that a power loss may leave torn. Their other copies are whole, and the next change repairs them.
const TORN: [&str; 3] = ["superblock-copy", "log-header-copy", "lease"];

/// What the next life does before it is crashed too: few operations, most of them synced.
const NEXT_LIFE: Shape = Shape { threads: 1, ops: 7, objects: 4, pages: 4, sync_every: 3, batch_every: 8 };

/// Judges crash images of one run.
pub struct StoreJudge<'a> {
    /// How the store is opened.
    pub rig: Rig,
    /// What must hold.
    pub oracle: &'a mut Oracle,
    /// The identity of the life that crashed.
    pub identity: Identity,
    /// One image in this many is recovered with a recorder, worked with, and crashed again; 0: none.
    pub deeper_every: u64,
    /// One image in this many is checked whole.
    pub check_every: u64,
    /// The distinct states of those second crashes.
    pub deeper: u64,
    /// For a life after the death of a process: the former life's oracle and its marks. They say what must hold after a
    /// power loss before this life has changed anything.
    pub former: Option<(&'a mut Oracle, usize)>,
    /// Chooses those images.
    pub dice: Random,
}

impl<'a> StoreJudge<'a> {
    /// A judge of a run's first life.
    pub fn new(rig: Rig, oracle: &'a mut Oracle, deeper_every: u64, seed: u64) -> Self {
        let identity = super::life::HOME;
        Self {
            rig,
            oracle,
            identity,
            deeper_every,
            check_every: 1,
            deeper: 0,
            former: None,
            dice: Random::new(seed),
        }
    }

    /// Recovers the image once more, works, and crashes that life everywhere, even in its recovery. The next life has an
    /// oracle of its own, which begins with what this one's oracle has found lawful.
    fn again(&mut self, state: &State<'_>, identity: Identity, prefix: &[usize]) -> Result<(), String> {
        let medium = state.next_life();
        let base = medium.current().0.to_vec();
        let found = open(&self.rig, identity, &base)?;
        let (script, ids) = self.oracle.next_life(prefix, &mut Recovered(&found))?;
        drop(found);
        let durable = state.crash != Crash::Death;
        let seed = self.dice.next_u64();
        let mut work = script.clone();
        work.extend(NEXT_LIFE, seed);
        let live = Live::resume(&self.rig, identity, base, script, ids, durable)
            .map_err(|e| format!("opening for the next life fails: {e}"))?;
        let mut run = play(live, work, seed);
        if let Some(why) = run.failed {
            return Err(format!("the recovered store cannot be used: {why}"));
        }
        let trace = Trace { base: Vec::new(), ..run.trace };
        let effort = Effort { exhaustive: 8, adversarial: 6, random: 4 };
        let plan = Plan { effort, between: 32, limit: 80, ..Plan::wide(medium.cell(), seed) };
        let mut judge = StoreJudge {
            rig: self.rig,
            oracle: &mut run.oracle,
            identity,
            deeper_every: self.deeper_every * 64,
            check_every: self.check_every,
            deeper: 0,
            former: (!durable).then_some((&mut *self.oracle, state.marks)),
            dice: self.dice.clone(),
        };
        let report = explore_on(medium, &trace, &plan, &mut judge);
        self.deeper += report.distinct + judge.deeper;
        report.violation.map_or(Ok(()), |story| Err(format!("IN THE NEXT LIFE: {story}\n  AND BEFORE THAT:")))
    }

    /// What the oracle says to a store that was recovered from a state by other hands.
    ///
    /// # Errors
    /// What is not lawful.
    pub fn compare_with(&mut self, store: &Store, state: &State<'_>) -> Result<(), String> {
        self.compare(store, state).map(drop)
    }

    /// Compares a recovered store with the oracle.
    fn compare(&mut self, store: &Store, state: &State<'_>) -> Result<Option<Vec<usize>>, String> {
        let mut view = Recovered(store);
        match &mut self.former {
            Some((former, marks)) if state.marks == 0 && state.crash != Crash::Death => {
                former.check(*marks, Crash::Power, &mut view).map(|_| None)
            }
            _ => self.oracle.check(state.marks, state.crash, &mut view),
        }
    }
}

fn open(rig: &Rig, identity: Identity, image: &[u8]) -> Result<Store, String> {
    rig.options(identity).open_image(image.to_vec()).map_err(|e| format!("opening fails: {e}"))
}

/// Checks the whole medium.
///
/// # Errors
/// The first defect that no crash may leave.
pub fn check(store: &Store) -> Result<(), String> {
    let report = store.check().map_err(|e| format!("check fails: {e}"))?;
    let mut defects = report.findings.iter().filter(|f| !TORN.contains(&f.name));
    match defects.next() {
        None => Ok(()),
        Some(first) => Err(format!("check finds {} defects, the first: {first:?}", report.findings.len())),
    }
}

impl Judge for StoreJudge<'_> {
    fn judge(&mut self, state: &State<'_>) -> Result<(), String> {
        let identity = match state.crash {
            Crash::Death | Crash::Dropped => self.identity,
            // The copy of a device, opened on the same boot, holds what a power loss would have left.
            Crash::Power if self.dice.once_in(8) => snapshot(self.identity),
            Crash::Power => rebooted(self.identity),
        };
        let store = open(&self.rig, identity, state.image)?;
        if self.check_every == 1 || self.dice.once_in(self.check_every) {
            check(&store)?;
        }
        let prefix = self.compare(&store, state)?;
        drop(store);
        match prefix {
            Some(prefix) if self.deeper_every != 0 && self.dice.once_in(self.deeper_every) => {
                self.again(state, identity, &prefix)
            }
            _ => Ok(()),
        }
    }
    fn read_before_drop(&self, cached: &[u8]) -> Option<Range<usize>> {
        failed_lease(cached)
    }
    fn label(&self, label: u64) -> String {
        self.oracle.tell(label)
    }
    fn place(&self, offset: u64) -> String {
        place::name(offset, self.rig.log_frames)
    }
}

/// A recovered store, as the oracle looks at it.
pub struct Recovered<'s>(pub &'s Store);

impl View for Recovered<'_> {
    fn list(&mut self) -> Result<Vec<(String, u64, u64)>, String> {
        let entries = self.0.list().map_err(|e| format!("list fails: {e}"))?;
        let named = entries.into_iter().map(|e| (String::from_utf8_lossy(&e.name).into_owned(), e.len, e.id));
        Ok(named.collect())
    }
    fn read(&mut self, name: &str, size: u64) -> Result<Vec<u8>, String> {
        let fails = |e| format!("reading {name:?} fails: {e}");
        let object = self.0.open(name).map_err(fails)?;
        let mut bytes = vec![0; size as usize];
        let n = object.read_at(0, &mut bytes).map_err(fails)?;
        bytes.truncate(n);
        Ok(bytes)
    }
}
