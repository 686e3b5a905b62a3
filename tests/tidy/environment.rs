//! The environment of a program is set by its caller. A library may run in a set-user-ID program. So it reads the
//! environment in one place, which gives no answer in such a program.

use crate::tree::Tree;
use crate::unsafety::has_word;

/// Folders of the libraries and the program. Code there that depends on the environment decides for other programs.
const WATCHED: &[&str] = &[
    "engine/src/",
    "engine/cli/src/",
    "engine/redb/src/",
    "engine/tantivy/src/",
    "ffi/src/",
    "bindings-c/sqlite/",
];
/// The one place; and the models, which are no part of the library.
const ASKS: &[&str] = &["bindings-c/sqlite/wishes.c", "engine/src/sync/mod.rs"];
const NOT_WATCHED: &[&str] =
    &["bindings-c/sqlite/rust/build.rs", "bindings-c/sqlite/tests/", "bindings-c/sqlite/examples/"];
const WORDS: &[&str] =
    &["getenv", "secure_getenv", "env::var", "env::var_os", "env::vars", "env::vars_os", "env::temp_dir"];

/// Reads of the environment in other places, and unguarded ones in C.
pub fn problems(tree: &Tree) -> Vec<String> {
    let starts = |path: &str, list: &[&str]| list.iter().any(|start| path.starts_with(start));
    let mut problems = Vec::new();
    for source in &tree.sources {
        if !starts(&source.path, WATCHED) || starts(&source.path, NOT_WATCHED) {
            continue;
        }
        let asks = starts(&source.path, ASKS);
        let tests = source.text.find("#[cfg(test)]").unwrap_or(source.text.len());
        for (number, line) in source.text[..tests].lines().enumerate() {
            let word = WORDS.iter().find(|word| has_word(line, word) && !(asks && **word != "getenv"));
            if let Some(word) = word {
                problems.push(format!("{}:{}: `{word}`: ask by pgsv_environment()", source.path, number + 1));
            }
        }
    }
    problems
}

#[test]
fn a_question_past_the_one_place_is_found() {
    let of = |path: &str, text: &str| problems(&Tree::of(path, text)).len();
    assert_eq!(of("bindings-c/sqlite/control.c", "getenv(\"TMPDIR\")"), 1);
    assert_eq!(of("bindings-c/sqlite/control.c", "secure_getenv(\"TMPDIR\")"), 1);
    assert_eq!(of("bindings-c/sqlite/wishes.c", "secure_getenv(name)"), 0);
    assert_eq!(of("bindings-c/sqlite/wishes.c", "getenv(name)"), 1);
    assert_eq!(of("engine/src/region/x.rs", "std::env::var(\"PGS\")"), 1);
    assert_eq!(of("ffi/src/x.rs", "env::temp_dir()"), 1);
    assert_eq!(of("tests/src/x.rs", "env::var(\"PGS\")"), 0);
}
