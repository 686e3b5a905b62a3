//! The table of transition pairs, `pairs`, is complete: for each pair it names a model that exists, or says why there is
//! none.

use std::collections::{BTreeMap, BTreeSet};

const TABLE: &str = include_str!("pairs");
const MODELS: &[&str] = &[
    include_str!("dirt.rs"),
    include_str!("frames.rs"),
    include_str!("hits.rs"),
    include_str!("holds.rs"),
    include_str!("latches.rs"),
    include_str!("lifecycle.rs"),
    include_str!("marks.rs"),
    include_str!("moves.rs"),
    include_str!("turns.rs"),
];
const FRAME_TABLE: &[&str] = &[
    include_str!("../../engine/src/frame/dirty.rs"),
    include_str!("../../engine/src/frame/latch.rs"),
    include_str!("../../engine/src/frame/lifecycle.rs"),
    include_str!("../../engine/src/frame/pinned.rs"),
    include_str!("../../engine/src/frame/reclaim.rs"),
    include_str!("../../engine/src/frame/table.rs"),
    include_str!("../../engine/src/frame/waiting.rs"),
];

/// Transitions by name, each with its methods.
type Transitions = BTreeMap<&'static str, BTreeSet<&'static str>>;

/// The public methods of the frame table. A method that the table of pairs does not name is a transition of its own name.
fn transitions() -> Transitions {
    let mut named: Transitions = BTreeMap::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#') && !line.contains('|')) {
        let Some((name, methods)) = line.split_once('=') else { continue };
        named.insert(name.trim(), methods.split_whitespace().collect());
    }
    for method in FRAME_TABLE.iter().flat_map(|source| source.split("\n    pub fn ").skip(1)) {
        let method = &method[..method.find('(').expect("a method has parameters")];
        let is_first_touch = |name: &str| name == "first_touch";
        if !named.iter().any(|(name, methods)| !is_first_touch(name) && methods.contains(method)) {
            named.insert(method, BTreeSet::from([method]));
        }
    }
    named.remove("none");
    named
}

fn side(list: &str, all: &Transitions) -> Vec<&'static str> {
    let known = |name: &str| *all.get_key_value(name).unwrap_or_else(|| panic!("no transition is {name}")).0;
    if list.trim() == "*" {
        all.keys().copied().collect()
    } else {
        list.split(',').map(|n| known(n.trim())).collect()
    }
}

#[test]
fn every_pair_of_transitions_has_a_model_or_a_reason() {
    let all = transitions();
    let mut missing: BTreeSet<_> =
        all.keys().flat_map(|a| all.keys().map(move |b| (*a, *b))).filter(|(a, b)| a <= b).collect();
    let (pairs, mut modelled) = (missing.len(), BTreeSet::new());
    for line in TABLE.lines().filter(|line| !line.starts_with('#') && line.contains('|')) {
        let [a, b, says] = line.splitn(3, '|').collect::<Vec<_>>()[..] else {
            panic!("{line}: three columns")
        };
        let is_reason = says.trim().starts_with('-');
        for model in says.split(',').map(str::trim).filter(|_| !is_reason) {
            let head = format!("#[test]\nfn {model}() {{");
            assert!(MODELS.iter().any(|source| source.contains(&head)), "no model is {model}");
        }
        for (a, b) in side(a, &all).into_iter().flat_map(|a| side(b, &all).into_iter().map(move |b| (a, b))) {
            let pair = (a.min(b), a.max(b));
            missing.remove(&pair);
            if !is_reason {
                modelled.insert(pair);
            }
        }
    }
    assert_eq!(missing, BTreeSet::new(), "neither a model nor a reason");
    println!("loom: {pairs} pairs of transitions, {} modelled", modelled.len());
}

#[test]
fn every_model_is_in_the_table() {
    let tests = MODELS.iter().flat_map(|source| source.split("#[test]\nfn ").skip(1));
    let names = tests.map(|test| &test[..test.find('(').expect("a function")]);
    // This model shows what a cut leaves alone. It races with nothing that changes a frame.
    let alone = ["a_hit_of_what_a_cut_leaves_is_not_disturbed"];
    let lost: Vec<_> = names.filter(|name| !TABLE.contains(name) && !alone.contains(name)).collect();
    assert_eq!(lost, [""; 0]);
}
