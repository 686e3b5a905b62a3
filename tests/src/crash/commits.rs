//! Power cuts during the commits of a database on a store: the database's own code opens each crash image again.

use super::life::{HOME, rebooted, scaled};
use super::recover::check;
use super::run::{Rig, outcome};
use pagestone::persist::Recorder;
use pagestone::region::Identity;
use pagestone::store::{Options, Store};
use pagestone::units::Durability;
use pagestone_explorer::{Crash, Event, Judge, Plan, Report, State, Trace, explore};
use std::sync::Arc;

/// The result of work or of its judge.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Work that commits on a store. First it makes what commits need. Then it puts a mark into the recorder: one when the
/// commits begin, and one for each commit that has returned.
pub type Work = fn(&Store, &Recorder) -> Outcome;
/// Returns the last commit that is there; commits are numbered from 1. That commit and all before it must be whole.
pub type Weigh = fn(&Store) -> Outcome<u64>;

struct Commits {
    rig: Rig,
    weigh: Weigh,
}

/// The rig's options, with room for a database.
fn options(rig: &Rig, identity: Identity) -> Options {
    rig.options(identity).max_size(32 << 20)
}

impl Judge for Commits {
    fn judge(&mut self, state: &State<'_>) -> Result<(), String> {
        let identity = if state.crash == Crash::Power { rebooted(HOME) } else { HOME };
        let store =
            options(&self.rig, identity).open_image(state.image.to_vec()).map_err(|e| e.to_string())?;
        let last = (self.weigh)(&store).map_err(|e| e.to_string())?;
        let returned = state.marks as u64 - 1;
        if last < returned || last > returned + 1 {
            return Err(format!("commit {last} is the last that is there, {returned} had returned"));
        }
        check(&store)
    }
    fn label(&self, label: u64) -> String {
        if label == 0 { "commits begin".into() } else { format!("commit {label} has returned") }
    }
}

/// Explores about `states` crash images of some work on an empty store.
///
/// # Panics
/// When the work fails.
#[must_use]
pub fn cut_power(class: Durability, states: u64, work: Work, weigh: Weigh) -> Report {
    let rig = Rig::new(class);
    let base = outcome(&rig.format().expect("an empty store"));
    let recorder = Recorder::new();
    let store =
        options(&rig, HOME).recorder(Arc::clone(&recorder)).open_image(base.clone()).expect("it opens");
    work(&store, &recorder).expect("the work is done");
    let trace = Trace { base, events: recorder.take(), class };
    drop(store);
    let cell = if class == Durability::CacheLine { 64 } else { 512 };
    let began =
        trace.events.iter().position(|event| matches!(event, Event::Mark { .. })).expect("it says so");
    let plan = Plan { limit: scaled(states), from: began + 1, ..Plan::thorough(cell, 11) };
    let report = explore(&trace, &plan, &mut Commits { rig, weigh });
    println!("{class}: {report}");
    report
}

/// Demands that no image contradicts the commits that had returned.
///
/// # Panics
/// With the story of the first image that does.
pub fn holds(class: Durability, states: u64, work: Work, weigh: Weigh) {
    let report = cut_power(class, states, work, weigh);
    if let Some(story) = report.violation {
        panic!("{class}: {story}");
    }
    assert!(report.distinct >= states / 2, "only {} states", report.distinct);
}
