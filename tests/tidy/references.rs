//! References must lead somewhere: those to rules of the log, those from the rules to switches, tests and modules, and
//! those to documents.

use crate::tree::{Source, Tree};
use std::collections::BTreeSet;

const PAGE: &str = "engine/docs/log.md";
const SWITCHES: &str = "engine/src/media/rules.rs";

/// References to rules of the log that are not on its page, or not in the usual form; names on the page of things that
/// are not there; and switches that the page does not name.
pub fn rules(tree: &Tree) -> Vec<String> {
    let Some(page) = tree.source(PAGE) else { return vec![format!("there is no {PAGE}")] };
    let headings = page.text.lines().filter_map(|line| line.strip_prefix("# LOG rule "));
    let known: BTreeSet<u32> = headings.flat_map(numbers).collect();
    let mut problems: Vec<_> = tree.sources.iter().flat_map(|source| strays(source, &known)).collect();
    problems.extend(switches(tree, page));
    problems.extend(names(tree, page));
    problems
}

/// The numbers that a text begins with: "3", "3 and 7", "3, 7 and 10".
fn numbers(text: &str) -> Vec<u32> {
    let (mut found, mut rest) = (Vec::new(), text);
    loop {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let Ok(number) = rest[..end].parse() else { return found };
        found.push(number);
        let more = [", ", " and "].iter().find_map(|between| rest[end..].strip_prefix(between));
        let Some(more) = more else { return found };
        rest = more;
    }
}

fn strays(source: &Source, known: &BTreeSet<u32>) -> Vec<String> {
    let mut problems = Vec::new();
    for (i, line) in source.text.lines().enumerate() {
        let words = ["rule ", "rules ", "Rule ", "Rules "];
        for (at, word) in words.iter().flat_map(|word| line.match_indices(word)) {
            let (before, named) = (&line[..at], numbers(&line[at + word.len()..]));
            if named.is_empty() || before.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let place = format!("{}:{}", source.path, i + 1);
            if !before.ends_with("LOG ") || word.starts_with('R') {
                problems.push(format!("{place}: a rule of the log is called `LOG rule {}`", named[0]));
            }
            let absent = named.iter().filter(|number| !known.contains(number));
            problems.extend(absent.map(|number| format!("{place}: {PAGE} has no rule {number}")));
        }
    }
    problems
}

/// Switches without a schedule on the page, and switches on the page that do not exist.
fn switches(tree: &Tree, page: &Source) -> Vec<String> {
    let Some(source) = tree.source(SWITCHES) else { return vec![format!("there is no {SWITCHES}")] };
    let code = source.lines.iter().map(|line| line.code.trim());
    let variants = code.skip_while(|line| *line != "pub enum Rule {").skip(1).take_while(|line| *line != "}");
    let there: BTreeSet<_> = variants.filter_map(|line| line.strip_suffix(',')).collect();
    let text = page.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let named: BTreeSet<_> =
        text.split("switch `").skip(1).filter_map(|rest| rest.split('`').next()).collect();
    let silent = there.difference(&named).map(|name| format!("{PAGE}: no schedule for the switch {name}"));
    let absent = named.difference(&there).map(|name| format!("{PAGE}: there is no switch {name}"));
    silent.chain(absent).collect()
}

/// Tests, functions and files on the page that are not there.
fn names(tree: &Tree, page: &Source) -> Vec<String> {
    let mut problems = Vec::new();
    for paragraph in page.text.split("\n\n") {
        let kept = paragraph.starts_with("Kept in ");
        for name in paragraph.split('`').skip(1).step_by(2) {
            let (path, last) = name.rsplit_once("::").unwrap_or(("", name));
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            let is_function = (kept || !path.is_empty()) && !last.is_empty() && last.chars().all(plain);
            let declared = |source: &Source| {
                source.text.contains(&format!("fn {last}(")) || source.text.contains(&format!("fn {last}<"))
            };
            let absent = if name.ends_with(".rs") {
                !tree.sources.iter().any(|source| source.path.ends_with(&format!("/{name}")))
            } else {
                is_function && !tree.sources.iter().any(declared)
            };
            if absent {
                problems.push(format!("{PAGE}: there is no {name}"));
            }
        }
    }
    problems
}

/// Documents that are named and are not there: a reader has only the repository.
pub fn documents(tree: &Tree) -> Vec<String> {
    let mut problems = Vec::new();
    for source in &tree.sources {
        for (i, line) in source.text.lines().enumerate() {
            let words = line.split(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/')));
            let names = words.map(|word| word.trim_end_matches('.'));
            let is_document = |name: &&str| {
                name.strip_suffix(".md").is_some_and(|stem| stem.ends_with(char::is_alphanumeric))
            };
            for name in names.filter(is_document) {
                let path = name.trim_start_matches(['.', '/']);
                let there = |other: &Source| {
                    other
                        .path
                        .strip_suffix(path)
                        .is_some_and(|folder| folder.is_empty() || folder.ends_with('/'))
                };
                if !tree.sources.iter().any(there) {
                    problems.push(format!("{}:{}: there is no {name}", source.path, i + 1));
                }
            }
        }
    }
    problems
}

#[test]
fn a_rule_that_leads_nowhere_is_found() {
    let with = |page: &str, line: &str| {
        let mut tree = Tree::of(PAGE, page);
        let switches = "pub enum Rule {\n    /// Why.\n    OneMark,\n}\n";
        tree.sources.push(Source::new(SWITCHES, switches));
        tree.sources.push(Source::new("tests/crash/log_rules.rs", &format!("fn room() {{}} {line}")));
        rules(&tree).len()
    };
    let page = "# LOG rule 1: room\n\n- It fails. (`crash log_rules::room`,\n  switch `OneMark`)\n\nKept in `media/rules.rs` (`room`).\n";
    assert_eq!(with(page, ""), 0);
    let reference = |number: u32| format!("// {} {number}.", ["LOG", "rule"].join(" "));
    assert_eq!((with(page, &reference(1)), with(page, &reference(2))), (0, 1));
    assert_eq!(with(page, &format!("// {} 1 and 2", ["LOG", "rules"].join(" "))), 1);
    assert_eq!(with(page, &reference(1).replace("LOG ", "")), 1, "another form");
    assert_eq!(with(&page.replace("OneMark", "TwoMarks"), ""), 2, "one is silent, one is not there");
    for wrong in [
        page.replace("::room", "::space"),
        page.replace("rules.rs", "x.rs"),
        page.replace("(`room`)", "(`x`)"),
    ] {
        assert_eq!(with(&wrong, ""), 1, "{wrong}");
    }
}

#[test]
fn a_document_that_is_not_there_is_found() {
    let of = |text: &str| documents(&Tree::of("engine/docs/log.md", text)).len();
    assert_eq!(of("see log.md, docs/log.md and ../docs/log.md, or any docs/*.md."), 0);
    let elsewhere = ["PAPER", "md"].join(".");
    assert_eq!((of(&format!("see {elsewhere}.")), of(&format!("`docs/{elsewhere}`"))), (1, 1));
    assert_eq!(of(&["x", "log.md"].join("")), 1, "the end of another name");
}
