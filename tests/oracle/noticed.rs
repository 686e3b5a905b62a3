//! The model notices faults: a store with one rule broken fails, and the failure is printed as calls.

use pagestone::media::rules::Rule;
use pagestone::units::Durability::{self, CacheLine, Fdatasync};
use pagestone_tests::oracle::run::{Outcome, Search, explore};
use pagestone_tests::oracle::step::{Medium, Setup, alone_on};
use std::time::Duration;

fn without(rule: Rule, class: Durability, shrinking: Duration) -> Outcome {
    let setup = Setup { medium: Medium::Image, class, recorded: true, frames_max: None, broken: Some(rule) };
    explore(|random| alone_on(setup, random), Search { cases: 600, seed: 1, shrinking })
}

#[test]
fn a_broken_rule_is_noticed() {
    let rules = [
        // Bytes that were cut off show when the object grows.
        (Rule::GrowthTail, Fdatasync),
        // A node's frame becomes data before its record is passed, and is zeroed by the replay.
        (Rule::RoleReuse, CacheLine),
        // After a failed sync, what is in the page cache counts as durable.
        (Rule::IgnoreFailure, Fdatasync),
        // A copy of the device is taken for the device.
        (Rule::IgnoreIdentity, Fdatasync),
    ];
    for (rule, class) in rules {
        let outcome = without(rule, class, Duration::ZERO);
        assert!(outcome.failure.is_some(), "{rule:?}: {} steps found nothing", outcome.steps);
    }
}

#[test]
fn a_failure_shrinks_to_a_few_calls_that_can_be_pasted() {
    let outcome = without(Rule::GrowthTail, Fdatasync, Duration::from_secs(30));
    let code = outcome.failure.expect("bytes that were cut off show");
    let test = code.split("#[test]").nth(1).expect("a test of calls");
    assert!(test.lines().count() < 20, "{code}");
    for part in ["fn found_by_the_oracle()", "ground.open().unwrap();", ".set_len(", "assert_eq!(byte(&o"] {
        assert!(test.contains(part), "{part} is not in\n{code}");
    }
    assert!(code.contains("replay(&case).unwrap();"), "{code}");
}
