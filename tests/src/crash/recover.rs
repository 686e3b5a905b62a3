//! Recovers crash images with the real store and lets the oracle compare.

use super::explore::{Crash, Judge, Plan, State, Trace, explore};
use super::life::{failed_lease, rebooted, snapshot};
use super::oracle::{Oracle, View};
use super::pick::{Dice, Effort};
use super::place;
use super::run::Rig;
use pagestone::persist::Recorder;
use pagestone::region::Identity;
use pagestone::store::Store;
use std::ops::Range;
use std::sync::Arc;

/// Name of the object that a recovered store must be able to make, write, sync and unlink.
const PROBE: &str = "probe";

/// What a power loss may leave of sectors that were being written; their other copies stand, and the next change
/// repairs them.
const TORN: [&str; 3] = ["superblock-copy", "log-header-copy", "lease"];

/// Judges crash images of one run.
pub struct StoreJudge<'a> {
    /// How the store is opened.
    pub rig: Rig,
    /// What must hold.
    pub oracle: &'a mut Oracle,
    /// Where the life that crashed was lived.
    pub identity: Identity,
    /// One image in so many is recovered with a recorder, worked with, and crashed again; 0: none.
    pub deeper_every: u64,
    /// Distinct states of those second crashes.
    pub deeper: u64,
    /// Marks and crash of the former life, when this one is a recovery.
    pub former: Option<(usize, Crash)>,
    /// Decides which images those are.
    pub dice: Dice,
}

impl<'a> StoreJudge<'a> {
    /// A judge of a run's first life.
    pub fn new(rig: Rig, oracle: &'a mut Oracle, deeper_every: u64, seed: u64) -> Self {
        let identity = super::life::HOME;
        Self { rig, oracle, identity, deeper_every, deeper: 0, former: None, dice: Dice::new(seed) }
    }

    fn look(&mut self, store: &Store, marks: usize, crash: Crash) -> Result<(), String> {
        check(store)?;
        self.oracle.check(marks, crash, &mut Recovered(store))
    }

    /// Recovers with a recorder, works, and crashes that life everywhere.
    fn again(&mut self, image: &[u8], identity: Identity, marks: usize, crash: Crash) -> Result<(), String> {
        let recorder = Recorder::new();
        let options = self.rig.options(identity).recorder(Arc::clone(&recorder));
        let store = options.open_image(image.to_vec()).map_err(|e| format!("opening fails: {e}"))?;
        probe(&store).map_err(|e| format!("the recovered store cannot be used: {e}"))?;
        self.look(&store, marks, crash)
            .map_err(|why| format!("after the recovered store was used: {why}"))?;
        let trace = Trace { base: image.to_vec(), events: recorder.take(), class: self.rig.class };
        let effort = Effort { exhaustive: 8, adversarial: 6, random: 4 };
        let cell = if self.dice.once_in(2) { 8 } else { 64 };
        let plan = Plan { effort, between: 32, limit: 80, ..Plan::wide(cell, self.dice.next_u64()) };
        let mut judge = StoreJudge {
            former: Some((marks, crash)),
            identity,
            deeper_every: 0,
            dice: self.dice.clone(),
            ..StoreJudge::new(self.rig, self.oracle, 0, 0)
        };
        let report = explore(&trace, &plan, &mut judge);
        self.deeper += report.distinct;
        report.violation.map_or(Ok(()), |story| Err(format!("IN THE NEXT LIFE: {story}\n  AND BEFORE THAT:")))
    }
}

/// Walks the whole medium.
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

fn probe(store: &Store) -> pagestone::Result {
    let object = store.create(PROBE)?;
    object.write_at(4000, &[0x5a; 300])?;
    object.sync()?;
    store.unlink(PROBE)?;
    drop(object);
    store.sync()
}

impl Judge for StoreJudge<'_> {
    fn judge(&mut self, state: &State<'_>) -> Result<(), String> {
        let identity = match state.crash {
            Crash::Death | Crash::Dropped => self.identity,
            // The copy of a device, opened on the same boot, holds what a power loss would have left.
            Crash::Power if self.dice.once_in(8) => snapshot(self.identity),
            Crash::Power => rebooted(self.identity),
        };
        let (marks, crash) = match self.former {
            None => (state.marks, state.crash),
            Some((marks, Crash::Death)) => (marks, state.crash),
            Some((marks, crash)) => (marks, crash),
        };
        let options = self.rig.options(identity);
        let store = options.open_image(state.image.to_vec()).map_err(|e| format!("opening fails: {e}"))?;
        self.look(&store, marks, crash)?;
        drop(store);
        if self.deeper_every != 0 && self.dice.once_in(self.deeper_every) {
            self.again(state.image, identity, marks, crash)?;
        }
        Ok(())
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
struct Recovered<'s>(&'s Store);

impl View for Recovered<'_> {
    fn list(&mut self) -> Result<Vec<(String, u64, u64)>, String> {
        let entries = self.0.list().map_err(|e| format!("list fails: {e}"))?;
        let named = entries.into_iter().map(|e| (String::from_utf8_lossy(&e.name).into_owned(), e.len, e.id));
        Ok(named.filter(|(name, ..)| name != PROBE).collect())
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
