//! An atomic ordering is explained beside its use.

use crate::tree::{Source, Tree};

/// Modules in which each ordering is explained.
const EACH: &[&str] = &["frame"];
/// Modules in which orderings other than Acquire and Release are explained.
const UNUSUAL: &[&str] = &["sync", "persist", "region", "page", "store"];
/// The explanation may be this many lines above the use.
const ABOVE: usize = 12;
const BELOW: usize = 2;

/// Orderings without an explanation.
pub fn problems(tree: &Tree) -> Vec<String> {
    tree.sources.iter().filter(|s| s.path.ends_with(".rs")).flat_map(of_file).collect()
}

fn of_file(source: &Source) -> Vec<String> {
    let Some(module) = source.engine_module() else { return vec![] };
    let is_test = ["loom", "tests"].iter().any(|word| source.path.contains(word));
    if is_test {
        return vec![];
    }
    let mut problems = Vec::new();
    for (number, line) in source.numbered_before_tests() {
        let uses = |name: &str| line.code.contains(&format!("Ordering::{name}"));
        let unusual = uses("Relaxed") || uses("SeqCst") || uses("AcqRel");
        let usual = uses("Acquire") || uses("Release");
        let explain =
            (EACH.contains(&module) && (usual || unusual)) || (UNUSUAL.contains(&module) && unusual);
        let path = &source.path;
        if explain && !source.has_comment_near(number, ABOVE, BELOW, "ORDERING:") {
            problems.push(format!("{path}:{number}: an atomic ordering without `ORDERING:`"));
        }
        if uses("SeqCst") && !source.has_comment_near(number, ABOVE, BELOW, "SeqCst") {
            problems.push(format!("{path}:{number}: SeqCst without a word on why AcqRel is not enough"));
        }
    }
    problems
}

#[test]
fn an_unexplained_ordering_is_found() {
    let of = |path, text| problems(&Tree::of(path, text));
    assert_eq!(of("engine/src/frame/x.rs", "a.load(Ordering::Acquire);").len(), 1);
    assert_eq!(
        of("engine/src/frame/x.rs", "// ORDERING: pairs with `publish`.\na.load(Ordering::Acquire);"),
        [""; 0]
    );
    assert_eq!(of("engine/src/region/x.rs", "a.load(Ordering::Acquire);"), [""; 0]);
    assert_eq!(of("engine/src/region/x.rs", "a.load(Ordering::Relaxed);").len(), 1);
    assert_eq!(of("engine/src/region/x.rs", "// ORDERING: to be safe.\na.load(Ordering::SeqCst);").len(), 1);
}
