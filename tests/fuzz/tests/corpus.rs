//! Every kept input runs on stable Rust too. So a fault that the fuzzer has found stays mended, and a target that does
//! not build or run is noticed without a nightly compiler.

use pagestone_fuzzing::TARGETS;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The most bytes of all kept inputs.
const BYTES_MAX: u64 = 1 << 20;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

fn inputs(target: &str) -> Vec<PathBuf> {
    let folder = corpus().join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Runs a target's inputs, and names the one that fails.
fn run(target: &str) {
    let (_, run) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    let inputs = inputs(target);
    assert!(inputs.len() >= 10, "{target} has only {} inputs", inputs.len());
    for path in inputs {
        let bytes = fs::read(&path).unwrap();
        let outcome = std::panic::catch_unwind(|| run(&bytes));
        assert!(outcome.is_ok(), "{target} fails on {path:?}");
    }
}

#[test]
fn any_image() {
    run("any_image");
}

#[test]
fn checked_image() {
    run("checked_image");
}

#[test]
fn guarded_image() {
    run("guarded_image");
}

#[test]
fn patched_image() {
    run("patched_image");
}

#[test]
fn replayed_log() {
    run("replayed_log");
}

#[test]
fn c_calls() {
    run("c_calls");
}

#[test]
fn operations() {
    run("operations");
}

#[test]
fn the_corpus_is_small_and_every_target_has_its_part() {
    let mut bytes = 0;
    for (target, _) in TARGETS {
        bytes += inputs(target).iter().map(|path| fs::metadata(path).unwrap().len()).sum::<u64>();
    }
    assert!(bytes < BYTES_MAX, "{bytes} bytes");
    let folders =
        fs::read_dir(corpus()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let targets = TARGETS.map(|(name, _)| name.to_owned());
    assert_eq!(folders.collect::<BTreeSet<_>>(), BTreeSet::from(targets));
}

/// The targets here are those that libFuzzer has.
#[test]
fn every_target_is_built_for_the_fuzzer() {
    let manifest = fs::read_to_string(corpus().join("../Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        let text = fs::read_to_string(corpus().join(format!("../fuzz_targets/{name}.rs"))).unwrap();
        assert!(text.contains(&format!("pagestone_fuzzing::{name}(bytes)")), "{name}");
    }
}
