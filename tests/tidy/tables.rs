//! Tables that name tests: a row that has gone stale proves nothing, and is found here before it is run.

use crate::tree::{Source, Tree};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::thread;

/// What `make breaks` and `make breaks-dax` read.
const BREAKS: &str = "tests/breaks/table";
const BREAKS_DAX: &str = "tests/breaks/dax";
/// Which test keeps which promise.
const PROMISES: &str = "tests/README.md";
/// What `make loom` reads.
const MODELS: &str = "tests/loom/mutants";

/// Rows whose text to be replaced, file or test is not there.
pub fn problems(tree: &Tree) -> Vec<String> {
    let names = Names::of(tree);
    let mut problems = Vec::new();
    for (source, number, row) in [BREAKS, BREAKS_DAX].into_iter().flat_map(|path| rows(tree, path)) {
        let columns: Vec<_> = row.split('\t').collect();
        let why = match columns[..] {
            [_, file, script, arguments] if source == BREAKS => {
                broken(tree, file, script).or_else(|| names.missing_of(tree, arguments))
            }
            [_, file, script, _, _] if source == BREAKS_DAX => broken(tree, file, script),
            _ => Some("not as many columns as the others".into()),
        };
        problems.extend(why.map(|why| format!("{source}:{number}: {why}")));
    }
    for (source, number, row) in rows(tree, MODELS) {
        let absent = row.split_whitespace().nth(1).filter(|name| !names.has(name));
        problems.extend(absent.map(|name| format!("{source}:{number}: there is no model {name}")));
    }
    for (source, number, row) in rows(tree, PROMISES) {
        let cell = row.rsplit(" | ").nth(1).unwrap_or_default();
        let absent = cell.split('`').skip(1).step_by(2).filter_map(test_in).filter(|name| !names.has(name));
        problems.extend(absent.map(|name| format!("{source}:{number}: there is no test {name}")));
    }
    problems
}

/// The lines of a table, but for its comments.
fn rows<'t>(tree: &'t Tree, path: &'static str) -> impl Iterator<Item = (&'static str, usize, &'t str)> {
    let lines = tree.source(path).map_or("", |source| &source.text).lines();
    let numbered = lines.enumerate().map(move |(i, row)| (path, i + 1, row));
    numbered.filter(move |(_, _, row)| match path {
        PROMISES => row.starts_with('|'),
        _ => !row.is_empty() && !row.starts_with('#'),
    })
}

/// Why a file would not be broken: each command of the script must change something.
fn broken(tree: &Tree, file: &str, script: &str) -> Option<String> {
    let Some(source) = tree.source(file) else { return Some(format!("there is no {file}")) };
    let idle = commands(script).into_iter().find(|command| edited(&source.text, command) == source.text)?;
    Some(format!("{file} has nothing that `{idle}` changes"))
}

/// The commands of a script that stand one behind the other, and not in braces.
fn commands(script: &str) -> Vec<String> {
    const BETWEEN: &str = "#; ";
    if script.contains("/{") || script.contains("/ {") {
        return vec![script.into()];
    }
    let last = script.split(BETWEEN).count() - 1;
    let parts = script.split(BETWEEN).enumerate();
    parts.map(|(i, part)| if i == last { part.into() } else { format!("{part}#") }).collect()
}

fn edited(text: &str, script: &str) -> String {
    let mut sed = Command::new("sed").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let sed = sed.as_mut().expect("sed is there, as for `make breaks`");
    let mut into = sed.stdin.take().expect("a pipe");
    let mut out = String::new();
    thread::scope(|scope| {
        // Beside the reading: neither pipe holds a whole file.
        scope.spawn(move || into.write_all(text.as_bytes()));
        sed.stdout.take().expect("a pipe").read_to_string(&mut out).expect("text");
    });
    assert!(sed.wait().expect("a child").success(), "sed refuses {script}");
    out
}

/// The test or module that a name in a document means, without the program before it: `store turns::a_cut`.
fn test_in(quoted: &str) -> Option<&str> {
    let name = quoted.split(' ').next_back()?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | ':');
    ((name.contains('_') || name.contains("::")) && name.chars().all(plain)).then_some(name)
}

/// What a row can name.
struct Names {
    /// Functions and names in lists, each behind the path of its file: `tests::store::turns::a_cut_that_waits`.
    paths: Vec<String>,
    /// Cases of programs that are their own harness.
    cases: Vec<String>,
    /// Programs that cargo calls tests.
    targets: Vec<String>,
}

impl Names {
    fn of(tree: &Tree) -> Self {
        let mut names = Self { paths: vec![], cases: vec![], targets: vec![] };
        let quoted = |line: &str, before: &str| {
            let (_, rest) = line.split_once(before)?;
            Some(rest.split_once('"')?.0.to_owned())
        };
        for source in &tree.sources {
            let lines = source.text.lines();
            if source.path.ends_with("Cargo.toml") {
                names.targets.extend(lines.filter_map(|line| quoted(line, "name = \"")));
            } else if source.path.ends_with(".rs") {
                names.paths.extend(paths(source));
                names.cases.extend(lines.filter_map(|line| quoted(line, "name: \"")));
            } else if source.path.ends_with(".c") {
                let declared = |line: &str| Some(line.split_once('(')?.0.rsplit(' ').next()?.to_owned());
                names.paths.extend(lines.filter(|line| !line.starts_with(' ')).filter_map(declared));
            }
        }
        names
    }

    fn has(&self, name: &str) -> bool {
        self.targets.iter().any(|target| target == name) || self.paths.iter().any(|path| path.contains(name))
    }

    /// What arguments of `cargo test` ask for, and is not there.
    fn missing_of(&self, tree: &Tree, arguments: &str) -> Option<String> {
        let (cargo, filter) = arguments.split_once(" -- ").unwrap_or((arguments, ""));
        for (option, target) in cargo.split(' ').zip(cargo.split(' ').skip(1)) {
            if matches!(option, "-p" | "--test") && !self.is_target(tree, target) {
                return Some(format!("there is no package or test {target}"));
            }
        }
        let words: Vec<_> = filter.split(' ').filter(|word| !word.is_empty() && *word != "--exact").collect();
        let is_case = |case: &String| words.iter().all(|word| case.contains(word));
        if self.cases.iter().any(is_case) {
            return None;
        }
        let absent = words.iter().find(|word| !self.paths.iter().any(|path| path.contains(**word)))?;
        Some(format!("no test has the name {absent}"))
    }

    fn is_target(&self, tree: &Tree, name: &str) -> bool {
        let files = [format!("/tests/{name}.rs"), format!("/tests/{name}/main.rs")];
        let is_file = |source: &Source| files.iter().any(|file| source.path.ends_with(file));
        self.targets.iter().any(|target| target == name) || tree.sources.iter().any(is_file)
    }
}

fn paths(source: &Source) -> Vec<String> {
    let file = source.path.trim_end_matches(".rs").trim_end_matches("/mod").trim_end_matches("/main");
    let mut module = file.replace('/', "::");
    let mut found = vec![];
    for (_, line) in source.numbered() {
        let code = line.code.trim();
        if code.starts_with("mod tests {") {
            module.push_str("::tests");
        }
        let word = |text: &str| {
            let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
            text[..end].to_owned()
        };
        match code.split_once("fn ") {
            Some((_, rest)) => found.push(format!("{module}::{}", word(rest))),
            None if code.contains('_') && word(code) == code => found.push(format!("{module}::{code}")),
            None => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(path: &str, table: &str) -> Vec<String> {
        let mut tree = Tree::of("engine/src/frame/state.rs", "fn is_live() -> bool { LIVE | HOLD }\n");
        tree.sources
            .push(Source::new("tests/Cargo.toml", "name = \"store\"\nname = \"faults\"\nname = \"all\"\n"));
        tree.sources.push(Source::new("tests/store/turns.rs", "#[test]\nfn a_cut_waits() {}\n"));
        tree.sources.push(Source::new("tests/faults/door.rs", "Case { name: \"door: fails once (EIO)\" }\n"));
        tree.sources.push(Source::new(path, table));
        problems(&tree)
    }

    #[test]
    fn a_row_that_breaks_nothing_or_names_no_test_is_found() {
        let row = |script: &str, test: &str| {
            let row = format!("I3 a\tengine/src/frame/state.rs\t{script}\t-p all --test {test}\n");
            with(BREAKS, &row).len()
        };
        let good = "s#LIVE | ##; s#-> bool#-> u64#";
        assert_eq!(row(good, "store -- turns::a_cut"), 0);
        assert_eq!(row(good, "faults -- once (EIO)"), 0);
        assert_eq!(row("s#DEAD##", "store"), 1);
        assert_eq!(row("s#LIVE | ##; s#DEAD##", "store"), 1, "the second command changes nothing");
        assert_eq!(row("/fn/,/}/{s#LIVE##;s#DEAD##}", "store"), 0, "what braces hold is one");
        assert_eq!(row(good, "store -- turns::a_hole"), 1);
        assert_eq!(row(good, "stores"), 1);
        assert_eq!(row(good, "faults -- once (ENOSPC)"), 1);
        assert_eq!(with(BREAKS, "I3 a\tengine/src/frame/state.rs\n").len(), 1, "columns");
        assert_eq!(with(BREAKS, "I3 a\tengine/src/gone.rs\ts#a#b#\t-p all\n").len(), 1, "no such file");
    }

    #[test]
    fn a_promise_or_a_model_whose_test_is_gone_is_found() {
        let of = |cell: &str| with(PROMISES, &format!("| I3 | `not_a_test` | {cell} | breaks |\n")).len();
        assert_eq!((of("`store turns::a_cut_waits`, `turns::`"), of("`store turns::a_hole_waits`")), (0, 1));
        assert_eq!((with(MODELS, "put  a_cut_waits\n").len(), with(MODELS, "put  a_hole\n").len()), (0, 1));
    }
}
