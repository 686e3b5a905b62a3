//! Packages that are workspaces of their own have their own lock files, and `make test` does not build them. So a new
//! dependency of the engine could break their `--locked` builds unseen.

use crate::tree::Tree;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Their lock files.
const LOCKS: &[&str] = &["benches/compare/Cargo.lock", "fuzz/Cargo.lock"];

/// Lock files whose dependencies of the engine are not those of its manifest.
pub fn problems(tree: &Tree) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie in the project");
    let manifest = &tree.source("engine/Cargo.toml").expect("the engine is a package").text;
    let differences = |path: &&str| {
        let lock = fs::read_to_string(root.join(path)).unwrap_or_default();
        (declared(manifest) != locked(&lock)).then(|| {
            let folder = path.trim_end_matches("/Cargo.lock");
            format!("{path}: not what engine/Cargo.toml says: run `cargo update -w --manifest-path {folder}/Cargo.toml`")
        })
    };
    LOCKS.iter().filter_map(differences).collect()
}

/// The names under `[dependencies]` in a manifest, including those for one target.
fn declared(manifest: &str) -> BTreeSet<&str> {
    let mut inside = false;
    let mut names = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside =
                line == "[dependencies]" || line.starts_with("[target.") && line.ends_with(".dependencies]");
        } else if inside && !line.starts_with('#') {
            names.extend(line.split(['.', ' ', '=']).next().filter(|name| !name.is_empty()));
        }
    }
    names
}

/// The dependencies of `pagestone` in a lock file. If there are two versions of one, the version follows the name.
fn locked(lock: &str) -> BTreeSet<&str> {
    let package = lock.split("[[package]]").find(|package| package.contains("\nname = \"pagestone\"\n"));
    let list =
        package.and_then(|package| package.split_once("dependencies = [")).map_or("", |(_, list)| list);
    let names = list.lines().filter_map(|line| line.trim().strip_prefix('"'));
    names.filter_map(|line| line.split([' ', '"']).next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_more_or_less_is_seen() {
        let manifest = "[dependencies]\n# Why.\nlibc.workspace = true\n\n[target.'cfg(x)'.dependencies]\nloom = \"0.7\"\n[dev-dependencies]\nproptest = \"1\"\n";
        let lock = "[[package]]\nname = \"libc\"\n\n[[package]]\nname = \"pagestone\"\nversion = \"0\"\ndependencies = [\n \"libc\",\n \"loom 0.7.2\",\n]\n";
        assert_eq!(declared(manifest), BTreeSet::from(["libc", "loom"]));
        assert_eq!(declared(manifest), locked(lock));
        assert_ne!(declared(manifest), locked(&lock.replace(" \"libc\",\n", "")));
        assert_ne!(declared(manifest), locked(""));
    }
}
