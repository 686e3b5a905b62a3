//! Each history of real threads can be explained by what the operations promise (`pagestone_tests::linear`). A history
//! that cannot is found. `make linear` runs many more histories, and schedules of shuttle.

use pagestone_tests::linear::pages::{self, Step};
use pagestone_tests::linear::{KINDS, Kind, Shape};

/// Histories of each kind.
const ROUNDS: u64 = 40;
const SHAPE: Shape = Shape { threads: 3, operations: 40 };

fn kind(name: &str) {
    let run: Kind = KINDS.iter().find(|kind| kind.0 == name).expect("a kind").1;
    for seed in 1..=ROUNDS {
        if let Err(why) = run(SHAPE, seed) {
            panic!("seed {seed}: {why}");
        }
    }
}

#[test]
fn each_page_is_one_register() {
    kind("pages");
    kind("moving");
}

#[test]
fn the_length_is_one_register() {
    kind("length");
}

#[test]
fn what_a_cut_took_is_never_read_again() {
    kind("cells");
}

#[test]
fn the_names_are_one_register() {
    kind("names");
}

/// Now and then a page is read as it was some time ago, as a lookaside without a second look would do.
#[test]
fn a_stale_read_is_found() {
    let stale = |past: &mut Vec<Vec<(u64, Step)>>, steps: Vec<(u64, Step)>| {
        let is_read = steps.iter().all(|step| matches!(step.1, Step::Load(..)));
        let alike = |old: &&Vec<(u64, Step)>| {
            old.len() == steps.len()
                && old.iter().zip(&steps).all(|(old, new)| match (&old.1, &new.1) {
                    (Step::Load(a, _), Step::Load(b, _)) => old.0 == new.0 && a == b,
                    _ => false,
                })
        };
        let answer = past.iter().find(alike).cloned().unwrap_or_else(|| steps.clone());
        if is_read {
            past.push(steps);
        }
        answer
    };
    let found = (1..=5).filter(|seed| pages::run_with(SHAPE, *seed, stale).is_err()).count();
    assert_eq!(found, 5, "histories of five");
}

/// A write is done in two parts. A read in between fits no order of whole writes.
#[test]
fn a_write_that_is_not_whole_is_found() {
    let half = |_: &mut Vec<Vec<(u64, Step)>>, steps: Vec<(u64, Step)>| {
        let halve = |(page, step): (u64, Step)| match step {
            Step::Load(parts, mut words) if parts.len() > 1 && words[0] != words[1] => {
                words[1] = words[0];
                (page, Step::Load(parts, words))
            }
            other => (page, other),
        };
        steps.into_iter().map(halve).collect()
    };
    let found = (1..=5).filter(|seed| pages::run_with(SHAPE, *seed, half).is_err()).count();
    assert_eq!(found, 5, "histories of five");
}
