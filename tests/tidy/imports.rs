//! Imports run one way.

use crate::tree::{Source, Tree};

/// Each module, from the bottom up, and all that it may import. `page` and `media` are side by side: pins and latches
/// know no log, and structures on the medium know no pins.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("sync", &[]),
    ("stats", &["sync"]),
    ("process", &["sync"]),
    ("error", &["units"]),
    ("persist", &["units", "sync"]),
    ("frame", &["units", "sync", "error"]),
    ("region", &["units", "sync", "error", "persist", "frame"]),
    ("media", &["units", "sync", "error", "persist", "frame", "region"]),
    ("lookup", &["units", "sync", "media"]),
    ("space", &["units", "error"]),
    ("page", &["units", "sync", "error", "frame", "region", "space"]),
    ("view", &["units", "sync", "error", "region", "page"]),
    ("engine", &["units", "sync", "error", "frame", "region", "media", "lookup", "space", "page", "view"]),
    (
        "store",
        &["units", "sync", "stats", "error", "persist", "frame", "region", "media", "page", "view", "engine"],
    ),
];

/// Packages for users, which are built on the engine.
const PUBLISHED: &[&str] = &[
    "ffi/src/",
    "engine/cli/src/",
    "engine/redb/src/",
    "engine/tantivy/src/",
    "bindings-c/sqlite/rust/src/",
];
/// Modules of the engine that are public only for tests.
const HIDDEN: &[&str] = &["sync", "persist", "frame", "region", "media", "space", "lookup", "view", "engine"];

/// Imports that are not allowed.
pub fn problems(tree: &Tree) -> Vec<String> {
    tree.sources.iter().filter(|s| s.path.ends_with(".rs")).flat_map(of_file).collect()
}

fn of_file(source: &Source) -> Vec<String> {
    if PUBLISHED.iter().any(|folder| source.path.starts_with(folder)) {
        return over_the_public_api(source);
    }
    let Some(module) = source.engine_module().filter(|m| *m != "lib") else { return vec![] };
    let mut problems = Vec::new();
    if may_import(module).is_none() {
        problems.push(format!("{}: module `{module}` has no place in the import table", source.path));
    }
    for (number, name) in imported(source, "crate") {
        if !allowed(module, &name) {
            problems.push(format!("{}:{number}: `{module}` must not import `{name}`", source.path));
        }
    }
    problems
}

/// Packages for users may use only what every Rust user of the engine has.
fn over_the_public_api(source: &Source) -> Vec<String> {
    imported(source, "pagestone")
        .into_iter()
        .filter(|(_, name)| HIDDEN.contains(&name.as_str()))
        .map(|(number, name)| format!("{}:{number}: `{name}` is not for users of the engine", source.path))
        .collect()
}

/// Packages that ask for the feature `internals`, which only tests may: all that is built with such a package would have
/// it.
pub fn internals(tree: &Tree) -> Vec<String> {
    let asks = |source: &&Source| {
        let asked = source.text.lines().any(|l| l.starts_with("pagestone") && l.contains("internals"));
        let tests = source.path.starts_with("tests/");
        source.path.ends_with("Cargo.toml") && asked && !tests
    };
    let packages = tree.sources.iter().filter(asks);
    packages.map(|source| format!("{}: `internals` is for tests", source.path)).collect()
}

fn may_import(module: &str) -> Option<&'static [&'static str]> {
    MAY_IMPORT.iter().find(|(m, _)| *m == module).map(|(_, may)| *may)
}

fn allowed(module: &str, imported: &str) -> bool {
    // The root of the crate re-exports these two from `error`.
    let imported = if matches!(imported, "Error" | "Result") { "error" } else { imported };
    module == imported || may_import(module).is_some_and(|may| may.contains(&imported))
}

/// Names directly behind `root::`, in use declarations and in paths. Groups are split into their names.
fn imported(source: &Source, root: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let prefix = format!("{root}::");
    let lines: Vec<_> = source.numbered().collect();
    for (i, (number, line)) in lines.iter().enumerate() {
        for (at, _) in line.code.match_indices(&prefix) {
            let before = line.code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
                continue;
            }
            let rest: String = std::iter::once(&line.code[at + prefix.len()..])
                .chain(lines[i + 1..].iter().map(|(_, l)| l.code.as_str()))
                .take(40)
                .collect::<Vec<_>>()
                .join("\n");
            found.extend(first_names(&rest).into_iter().map(|name| (*number, name)));
        }
    }
    found
}

/// The first name, or the first name of each part of a group.
fn first_names(text: &str) -> Vec<String> {
    let name =
        |s: &str| s.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = text.strip_prefix('{') else { return vec![name(text)] };
    let (mut depth, mut names, mut part) = (1, Vec::new(), String::new());
    for c in group.chars() {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        if depth == 0 || (depth == 1 && c == ',') {
            names.push(name(&part));
            part.clear();
        } else {
            part.push(c);
        }
        if depth == 0 {
            break;
        }
    }
    names.retain(|n| !n.is_empty() && n != "self");
    names
}

#[test]
fn the_table_runs_one_way() {
    for (n, (module, may)) in MAY_IMPORT.iter().enumerate() {
        let below: Vec<_> = MAY_IMPORT[..n].iter().map(|(m, _)| *m).collect();
        assert!(may.iter().all(|m| below.contains(m)), "{module} may import what stands above it");
    }
}

#[test]
fn an_upward_import_is_found() {
    let of = |path, text| problems(&Tree::of(path, text));
    assert_eq!(of("engine/src/frame/x.rs", "use crate::units::Pfn;\nuse crate::sync::Mutex;"), [""; 0]);
    assert_eq!(of("engine/src/frame/x.rs", "use crate::store::Store;").len(), 1);
    assert_eq!(
        of("engine/src/frame/x.rs", "use crate::{\n    error::Result,\n    region::{Memory, Region},\n};")
            .len(),
        1
    );
    assert_eq!(of("engine/src/units.rs", "fn f() -> crate::Result { crate::media::g() }").len(), 2);
    assert_eq!(of("engine/src/stats.rs", "use crate::units::Pfn;").len(), 1);
    assert_eq!(of("engine/src/page/x.rs", "use crate::media::log::Log;").len(), 1);
    assert_eq!(of("engine/src/utils/mod.rs", "").len(), 1);
    assert_eq!(of("ffi/src/x.rs", "use pagestone::region::Region;").len(), 1);
    assert_eq!(of("engine/redb/src/x.rs", "use pagestone::{sync::Global, store::Store};").len(), 1);
    assert_eq!(of("engine/src/frame/x.rs", "// use crate::store::Store;"), [""; 0]);
}

#[test]
fn a_package_that_asks_for_internals_is_found() {
    let asks = "[dependencies]\npagestone = { workspace = true, features = [\"internals\"] }\n";
    let of = |path, text| internals(&Tree::of(path, text)).len();
    assert_eq!((of("engine/cli/Cargo.toml", asks), of("tests/Cargo.toml", asks)), (1, 0));
    assert_eq!(of("benches/Cargo.toml", "internals = [\"pagestone/internals\"]\n"), 0);
}
