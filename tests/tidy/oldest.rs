//! Finds what the oldest promised Rust (`rust-version`) does not have, and a newer compiler does not report. Clippy does
//! this for the standard library, and `make msrv` builds with that version.

use crate::tree::{Source, Tree};

/// The sources of crates that users build.
const PUBLISHED: &[&str] = &["engine/src/", "ffi/src/"];

/// Chains of `let` in conditions: Rust 1.88.
pub fn problems(tree: &Tree) -> Vec<String> {
    let published = |s: &&Source| PUBLISHED.iter().any(|folder| s.path.starts_with(folder));
    tree.sources.iter().filter(published).flat_map(of_file).collect()
}

fn of_file(source: &Source) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, line) in source.numbered() {
        if condition(source, number, &line.code).is_some_and(|c| is_chain(&c)) {
            problems.push(format!("{}:{number}: a chain of `let`, which needs Rust 1.88", source.path));
        }
    }
    problems
}

/// What follows the first `if` or `while` of a line, if its condition has a `let`, up to the brace that ends it.
fn condition(source: &Source, number: usize, code: &str) -> Option<String> {
    let start = ["if ", "while "].iter().filter_map(|w| Some(word(code, w)? + w.len())).min()?;
    let mut text = code[start..].to_owned();
    for line in &source.lines[number..] {
        if text.trim_end().ends_with(['{', ';', '}']) {
            break;
        }
        text.push(' ');
        text.push_str(line.code.trim());
    }
    text.contains("let ").then_some(text)
}

fn word(code: &str, word: &str) -> Option<usize> {
    code.match_indices(word)
        .map(|(at, _)| at)
        .find(|at| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '\'' | '"')))
}

/// Whether `&&` joins a `let` with something, outside all parentheses and before the block.
fn is_chain(condition: &str) -> bool {
    let (mut depth, mut joined) = (0, false);
    let mut end = condition.len();
    for (at, c) in condition.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => {
                end = at;
                break;
            }
            '&' if depth == 0 && condition[at..].starts_with("&& ") => joined = true,
            _ => {}
        }
    }
    joined && condition[..end].split_whitespace().any(|w| w == "let")
}

#[test]
fn a_chain_of_let_is_found() {
    let of = |text: &str| problems(&Tree::of("engine/src/x.rs", text)).len();
    assert_eq!(of("if let Some(a) = b && a > 1 {\n}"), 1);
    assert_eq!(of("if a > 1\n    && let Some(a) = b\n{\n}"), 1);
    assert_eq!(of("} else if let Some(a) = b()?\n    && !c\n{\n}"), 1);
    assert_eq!(of("while let Some(a) = b && c {"), 1);
    assert_eq!(of("if let Some(a) = b.filter(|x| *x && c) {"), 0);
    assert_eq!(of("if a && b { let c = d; }"), 0);
    assert_eq!(of("if a && b {\n    let c = d;\n}"), 0);
    assert_eq!(of("x.filter(|a| a && b)\nlet c = if d { 1 } else { 2 };"), 0);
    assert_eq!(problems(&Tree::of("tests/x.rs", "if let Some(a) = b && c {")), [""; 0]);
}
