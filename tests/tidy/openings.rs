//! Files are opened through one module, the door, which keeps them above descriptors 0, 1 and 2.

use crate::tree::{Source, Tree};

/// The door.
const DOOR: &str = "engine/src/region/opening.rs";
/// Words that open a file.
const OPENS: &[&str] = &[
    "File::open(",
    "File::create(",
    "fs::read(",
    "read_to_string(",
    "read_dir(",
    "fs::write(",
    "fs::copy(",
    "memfd_create(",
    "libc::open(",
    "libc::openat(",
    "libc::socket(",
    "libc::pipe(",
    "OpenOptions::open(",
];
/// The door may be named this many lines above.
const ABOVE: usize = 3;

pub fn problems(tree: &Tree) -> Vec<String> {
    let library = |s: &&Source| s.path.starts_with("engine/src/") || s.path.starts_with("ffi/src/");
    let tests = |s: &&Source| s.path.contains("/tests");
    tree.sources.iter().filter(library).filter(|s| s.path != DOOR && !tests(s)).flat_map(of_file).collect()
}

fn of_file(source: &Source) -> Vec<String> {
    // Elsewhere `.open(` is a method of other things.
    let in_region = source.path.starts_with("engine/src/region/");
    let opens = |code: &str| {
        OPENS.iter().any(|word| code.contains(word))
            || (in_region && (code.contains(".open(") || code.contains("how.open")))
    };
    let through_the_door = |number: usize| {
        let first = number.saturating_sub(1 + ABOVE);
        source.lines[first..number]
            .iter()
            .any(|line| line.code.contains("opening::") || line.code.contains("let make ="))
    };
    source
        .numbered_before_tests()
        .filter(|(number, line)| opens(&line.code) && !(in_region && through_the_door(*number)))
        .map(|(number, _)| format!("{}:{number}: a file is opened past {DOOR}", source.path))
        .collect()
}

#[test]
fn a_file_that_is_opened_past_the_door_is_found() {
    let of = |path, text| problems(&Tree::of(path, text)).len();
    assert_eq!(of("engine/src/region/x.rs", "fn f() { File::open(path) }"), 1);
    assert_eq!(of("engine/src/region/x.rs", "fn f() { opening::file(|| File::open(path)) }"), 0);
    assert_eq!(of("engine/src/media/x.rs", "fn f() { opening::file(|| File::open(path)) }"), 1);
    assert_eq!(of("ffi/src/x.rs", "fn f() { std::fs::read_dir(path) }"), 1);
    assert_eq!(of("ffi/src/x.rs", "fn f() { engine.open(path) }"), 0);
    assert_eq!(of("engine/src/media/x.rs", "#[cfg(test)]\nmod tests { fn f() { File::open(path) } }"), 0);
}
