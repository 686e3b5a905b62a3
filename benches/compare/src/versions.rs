//! The measured release of each crate.

const LOCK: &str = include_str!("../Cargo.lock");

/// A crate's name and the version that this program was built with.
pub fn named(name: &str) -> String {
    let entry = format!("name = \"{name}\"\nversion = \"");
    let rest = LOCK.split_once(&entry).map_or("", |(_, rest)| rest);
    let version = rest.split('"').next().unwrap_or_default();
    format!("{name} {version}").trim_end().to_owned()
}

#[test]
fn a_version_is_found_and_an_unknown_package_has_none() {
    assert!(named("redb").starts_with("redb 4."));
    assert_eq!(named("no-such-crate"), "no-such-crate");
}
