//! The whole store compared with a plain model: the short run. `make oracle` is the long one. A failure is printed as a
//! test, to be added to `found.rs`.

mod found;
mod noticed;

use pagestone_tests::oracle::run::{Outcome, Search, explore};
use pagestone_tests::oracle::step;

/// The seed of the cases: the same each time.
const SEED: u64 = 4;

fn passes(outcome: Outcome) {
    if let Some(code) = outcome.failure {
        panic!("after {} cases and {} steps:\n\n{code}", outcome.cases, outcome.steps);
    }
}

#[test]
fn a_store_behaves_like_its_model() {
    passes(explore(step::alone, Search::of(1000, SEED)));
}

#[test]
fn a_store_whose_files_may_not_grow_behaves_like_its_model() {
    passes(explore(step::squeezed, Search::of(200, SEED)));
}

#[test]
fn a_store_of_several_threads_behaves_like_its_model() {
    passes(explore(step::together, Search::of(200, SEED)));
}
