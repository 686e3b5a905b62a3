//! Files, folders and commands, as a new reader sees them first.

use crate::tree::Tree;

/// The most lines of a file. The generated header for C may be longer.
const LINES_MAX: usize = 700;
const GENERATED: &[&str] = &["bindings-c/include/pagestone.h"];
/// What may lie in the root folder.
const TOP_LEVEL: &[&str] = &[
    ".cargo",
    ".ci",
    ".git",
    ".gitattributes",
    ".github",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "benches",
    "bindings-c",
    "clippy.toml",
    "deny.toml",
    "engine",
    "ffi",
    "fuzz",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "target",
    "tests",
    "work",
];
/// The files that define verbs, and verbs that are parts of others.
const MAKEFILES: &[&str] = &["Makefile", "bindings-c/pagestone.mk"];
const INTERNAL: &[&str] =
    &["install-c", "install-vfs", "uninstall-c", "uninstall-cli", "uninstall-vfs", "pagestone-ffi"];
/// Documents whose commands must exist.
const DOCUMENTS: &[&str] =
    &["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", ".ci/run"];

/// Files that are too long, unfinished, or depend on one machine.
pub fn files(tree: &Tree) -> Vec<String> {
    // The words are put together here, so that this file does not find itself.
    let unfinished = ["TO", "FIX", "XX"].map(|w| {
        if w == "TO" {
            format!("{w}DO")
        } else if w == "FIX" {
            format!("{w}ME")
        } else {
            format!("{w}X")
        }
    });
    let machine = ["home", "root", "Users", "work"].map(|d| format!("/{d}/"));
    let mut problems = Vec::new();
    for source in tree.sources.iter().filter(|s| !s.path.starts_with("LICENSE")) {
        let lines = source.text.lines().count();
        if is_code(&source.path) && lines > LINES_MAX && !GENERATED.contains(&source.path.as_str()) {
            problems.push(format!("{}: {lines} lines, at most {LINES_MAX}", source.path));
        }
        for (i, line) in source.text.lines().enumerate() {
            let number = i + 1;
            if let Some(word) = unfinished.iter().find(|w| crate::unsafety::has_word(line, w)) {
                problems.push(format!("{}:{number}: {word}", source.path));
            }
            if let Some(path) = machine.iter().find(|m| is_path(line, m)) {
                problems.push(format!("{}:{number}: a path of one machine ({path})", source.path));
            }
        }
    }
    problems
}

fn is_code(path: &str) -> bool {
    [".rs", ".c", ".h", ".sh", ".py"].iter().any(|e| path.ends_with(e))
}

/// Whether an absolute path starts here, rather than a folder in the middle of a relative one.
fn is_path(line: &str, start: &str) -> bool {
    line.match_indices(start).any(|(at, _)| {
        !line[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | ')' | '}' | '/'))
    })
}

/// Unexpected files in the root folder.
pub fn top_level(tree: &Tree) -> Vec<String> {
    tree.top_level
        .iter()
        .filter(|name| !TOP_LEVEL.contains(&name.as_str()))
        .map(|name| format!("{name}: not expected in the root folder"))
        .collect()
}

/// Commands in documents that do not exist, and verbs that are not explained.
pub fn commands(tree: &Tree) -> Vec<String> {
    let makefiles: Vec<_> = MAKEFILES.iter().filter_map(|m| tree.source(m)).collect();
    let mut problems = Vec::new();
    let (mut verbs, mut explained) = (Vec::new(), Vec::new());
    for line in makefiles.iter().flat_map(|m| m.text.lines()) {
        let Some((name, rest)) = line.split_once(':').filter(|(n, r)| is_verb(n) && !r.starts_with('='))
        else {
            continue;
        };
        verbs.push(name);
        if rest.contains("## ") {
            explained.push(name);
        }
    }
    if verbs.is_empty() {
        problems.push("there is no Makefile".into());
    }
    let silent = verbs.iter().filter(|v| !explained.contains(v) && !INTERNAL.contains(v));
    problems.extend(silent.map(|verb| format!("Makefile: `{verb}` has no `## ` explanation")));
    for document in DOCUMENTS.iter().filter_map(|d| tree.source(d)) {
        for (i, line) in document.text.lines().enumerate() {
            for verb in commands_of(line) {
                if !verbs.contains(&verb) {
                    problems.push(format!("{}:{}: there is no `make {verb}`", document.path, i + 1));
                }
            }
        }
    }
    problems
}

/// The places that have the word for parts of tests that were not run: one place counts them.
const SKIPS: &[&str] =
    &["tests/kit/src/skip.rs", "tests/tidy/front_door.rs", "tests/faults/bench.rs", "tests/dax/src/plan.rs"];

/// Test programs that skip something and do not count it.
pub fn skips(tree: &Tree) -> Vec<String> {
    let rust = tree.sources.iter().filter(|s| s.path.ends_with(".rs") && !SKIPS.contains(&s.path.as_str()));
    rust.filter(|source| source.text.contains("SKIPPED:"))
        .map(|source| format!("{}: use pagestone_kit::skip::skipped, which is counted", source.path))
        .collect()
}

/// Programs that the README quotes, by the language of the quotation. They are compiled and run by other tests.
const QUOTED: &[(&str, &str)] = &[
    ("```rust", "engine/examples/quickstart.rs"),
    ("```c", "bindings-c/examples/quickstart.c"),
    ("```python", "bindings-c/sqlite/examples/app.py"),
    ("```js", "bindings-c/sqlite/examples/app.js"),
];

/// Lines that the README quotes and that are not in the programs, or in another order.
pub fn quotations(tree: &Tree) -> Vec<String> {
    let Some(readme) = tree.source("README.md") else { return vec!["there is no README.md".into()] };
    let mut problems = Vec::new();
    for (fence, path) in QUOTED {
        let Some(program) = tree.source(path) else {
            problems.push(format!("README.md quotes {path}, which does not exist"));
            continue;
        };
        let mut program = program.text.lines().map(str::trim);
        let quoted = readme.text.lines().skip_while(|l| l != fence).skip(1).take_while(|l| *l != "```");
        for line in quoted.map(str::trim).filter(|l| !l.is_empty()) {
            if !program.any(|l| l == line) {
                problems.push(format!("README.md: not so in {path}: {line}"));
                break;
            }
        }
    }
    problems
}

fn is_verb(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '-' || c.is_ascii_digit())
}

/// `make verb` in code: behind a backquote, a prompt, or at the start of a line.
fn commands_of(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("make ").filter_map(move |(at, found)| {
        let before = line[..at].trim_end_matches("$ ");
        if !(before.trim().is_empty()
            || before.ends_with('`')
            || before.ends_with("=true ")
            || before.ends_with('"'))
        {
            return None;
        }
        let rest = &line[at + found.len()..];
        let end = rest
            .find(|c: char| !(c.is_ascii_lowercase() || c == '-' || c.is_ascii_digit()))
            .unwrap_or(rest.len());
        Some(&rest[..end]).filter(|v| is_verb(v))
    })
}

#[test]
fn long_unfinished_and_local_files_are_found() {
    let of = |text: &str| files(&Tree::of("engine/src/x.rs", text));
    assert_eq!(of("fn f() {}"), [""; 0]);
    assert_eq!(of(&"\n".repeat(LINES_MAX + 1)).len(), 1);
    assert_eq!(of(&format!("// {}{}: later", "TO", "DO")).len(), 1);
    assert_eq!(of(&format!("open(\"/{}/me/x\")", "home")).len(), 1);
    assert_eq!(of("include!(\"../target/work/x\")"), [""; 0]);
}

#[test]
fn an_unexpected_file_in_the_root_folder_is_found() {
    let tree = Tree { sources: vec![], top_level: vec!["engine".into(), "notes.txt".into()] };
    assert_eq!(top_level(&tree).len(), 1);
}

#[test]
fn a_command_that_does_not_exist_is_found() {
    let mut tree = Tree::of("Makefile", "X := 1\ntest: ## all\n\tcargo test\nloom:\n\tcargo loom\n");
    tree.sources
        .push(crate::tree::Source::new("README.md", "Run `make test`, `make fly`; they make it fast.\n"));
    let found = commands(&tree);
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn a_quotation_that_drifted_is_found() {
    let mut tree = Tree::of("README.md", "```rust\nlet a = 1;\nlet b = 2;\n```\n```c\nint a;\n```\n");
    tree.sources.push(crate::tree::Source::new(QUOTED[0].1, "let a = 1;\n  let c = 3;\n  let b = 2;\n"));
    tree.sources.push(crate::tree::Source::new(QUOTED[1].1, "long a;\n"));
    tree.sources.extend(QUOTED[2..].iter().map(|(_, path)| crate::tree::Source::new(path, "")));
    assert_eq!(quotations(&tree).len(), 1);
}

#[test]
fn a_skip_that_is_not_counted_is_found() {
    let of = |path: &str| skips(&Tree::of(path, "fn f() { eprintln!(\"SKIPPED: no disk\"); }")).len();
    assert_eq!((of("tests/store/x.rs"), of("tests/kit/src/skip.rs")), (1, 0));
}
