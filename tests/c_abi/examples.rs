//! The C code in the documents is compiled and run.

use crate::build::{Prefix, files, run, source};
use std::fs;
use std::process::Command;
use tempfile::TempDir;

/// What each program of `bindings-c/examples` prints when it is given a path for a region.
const SAID: &[(&str, &str)] = &[
    (
        "aliasing",
        "same address: yes, pins: 3\nseen through the pin: row 2\n\
         after the truncate: row 2, detached: 1\na latch to write it: PGS_E_DETACHED\n",
    ),
    ("batch", "70 left, 30 arrived\n"),
    ("latching", "a new page\n"),
    ("quickstart", "Hello from a persistent page.\n"),
    ("viewing", "20000 lines\n"),
];

/// Documents that show C.
const DOCUMENTS: &[&str] =
    &["README.md", "bindings-c/sqlite/README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"];

#[test]
fn every_example_does_what_it_says_and_again_after_a_restart() {
    let examples = files("bindings-c/examples", "c");
    let names: Vec<_> = examples.iter().map(|e| e.file_stem().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, SAID.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for (example, (_, said)) in examples.iter().zip(SAID) {
        let scratch = TempDir::new().unwrap();
        let program = Prefix::installed().compile(example, &[], scratch.path());
        for _ in 0..2 {
            assert_eq!(run(Command::new(&program).arg(scratch.path().join("region.pgs"))), *said);
        }
    }
}

/// The code in a manual page, as a reader sees it.
fn in_manual(page: &str) -> Vec<String> {
    let blocks = page.split(".Bd -literal").skip(1);
    blocks.map(|b| b.split_once('\n').unwrap().1.split(".Ed").next().unwrap().replace("\\e", "\\")).collect()
}

/// C in a document of Markdown.
fn in_document(text: &str) -> Vec<String> {
    text.split("```c\n").skip(1).map(|b| b.split("```").next().unwrap().to_owned()).collect()
}

/// Whether the lines of `snippet` are in `program`, in this order and with no code in between. Indentation does not count.
fn quotes(program: &str, snippet: &str) -> bool {
    let is_code = |line: &&str| !(line.is_empty() || line.starts_with("/*") && line.ends_with("*/"));
    let lines =
        |text: &str| text.lines().map(str::trim).filter(is_code).map(str::to_owned).collect::<Vec<_>>();
    let (program, snippet) = (lines(program), lines(snippet));
    program.windows(snippet.len()).any(|w| w == snippet)
}

#[test]
fn what_documents_show_stands_in_an_example() {
    let programs: Vec<String> =
        files("bindings-c/examples", "c").iter().map(|p| fs::read_to_string(p).unwrap()).collect();
    let mut shown: Vec<(String, String)> = Vec::new();
    for page in files("bindings-c/man", "3").into_iter().chain(files("bindings-c/man", "7")) {
        let text = fs::read_to_string(&page).unwrap();
        shown.extend(in_manual(&text).into_iter().map(|s| (page.display().to_string(), s)));
    }
    for document in DOCUMENTS {
        shown.extend(in_document(&source(document)).into_iter().map(|s| (document.to_string(), s)));
    }
    assert!(shown.len() >= 3, "README, pgs_open(3) and pgs_latch(3) show something");
    for (place, snippet) in shown {
        assert!(
            programs.iter().any(|p| quotes(p, &snippet)),
            "{place}: no program of bindings-c/examples has these lines:\n{snippet}"
        );
    }
}

#[test]
fn a_snippet_that_drifted_is_found() {
    assert!(quotes("{\n    a();\n    b();\n}", "a();\n  b();\n"));
    assert!(quotes("a();\n/* And then: */\nb();\n", "a();\n\nb();\n"));
    assert!(!quotes("{\n    a();\n    c();\n    b();\n}", "a();\nb();\n"));
    assert_eq!(in_manual(".Bd -literal -offset indent\nf(\"\\en\");\n.Ed\n"), ["f(\"\\n\");\n"]);
    assert_eq!(in_document("x\n```c\nf();\n```\n```sh\nls\n```\n"), ["f();\n"]);
}
