//! Unsafe code: where it may be, and what must be beside it.

use crate::tree::{Source, Tree};

/// The modules of the engine that may have it.
const MODULES: &[&str] = &["sync", "persist", "frame", "region", "page", "view", "io"];
/// Other files that may have it, by the beginnings of their paths. Tests and benchmarks may: they use what users cannot
/// reach. In tantivy's directory one file may: bytes for tantivy need a marker that only an `unsafe impl` gives.
const OUTSIDE: &[&str] = &[
    "ffi/",
    "bindings-c/",
    "tests/",
    "benches/",
    "engine/tests/",
    "engine/benches/",
    "engine/examples/",
    "engine/tantivy/src/bytes.rs",
];
/// Lines above an unsafe block in which its reason may stand.
const REASON_WITHIN: usize = 10;

/// Unsafe code that should not be there, or that does not say why it holds.
pub fn problems(tree: &Tree) -> Vec<String> {
    tree.sources.iter().filter(|s| s.path.ends_with(".rs")).flat_map(of_file).collect()
}

fn of_file(source: &Source) -> Vec<String> {
    let mut problems = Vec::new();
    let path = &source.path;
    let may = match source.engine_module() {
        Some("lib") => false,
        Some(module) => MODULES.contains(&module),
        None => OUTSIDE.iter().any(|o| path.starts_with(o)),
    };
    for (number, line) in source.numbered() {
        let code = line.code.trim();
        if !has_word(code, "unsafe") {
            continue;
        }
        if !may {
            problems.push(format!("{path}:{number}: unsafe code does not belong here"));
        }
        if declares_function(code) {
            // The header describes what a C caller must promise; `ffi/src/lib.rs` says that this is the contract of all
            // such functions.
            let described_in_header = path.starts_with("ffi/src/") && code.contains("extern \"\" fn");
            if !described_in_header && !doc_above(source, number).contains("# Safety") {
                problems.push(format!("{path}:{number}: an unsafe function without `# Safety`"));
            }
        } else if needs_reason(code) && !source.has_comment_near(number, REASON_WITHIN, 1, "SAFETY:") {
            problems.push(format!("{path}:{number}: unsafe without `SAFETY:`"));
        }
    }
    if !may
        && forbids_by_itself(source)
        && !source.lines.iter().any(|l| l.code.contains("forbid(unsafe_code)"))
    {
        problems.push(format!("{path}: say #![forbid(unsafe_code)]"));
    }
    problems
}

/// Whether the root of a module forbids unsafe code by itself.
fn forbids_by_itself(source: &Source) -> bool {
    match source.engine_module() {
        Some("lib") => false,
        Some(_) => source.path.ends_with("/mod.rs") && source.path.matches('/').count() == 3,
        None => source.path == "engine/cli/src/main.rs",
    }
}

/// A declaration whose contract its callers keep. Pointer types and trait impls (which inherit the contract) are not.
fn declares_function(code: &str) -> bool {
    let Some(at) = code.find("unsafe ") else { return false };
    let rest = code[at..].trim_start_matches("unsafe ").trim_start_matches("extern \"\" ");
    rest.strip_prefix("fn ").is_some_and(|r| r.starts_with(|c: char| c.is_alphabetic() || c == '_'))
}

fn needs_reason(code: &str) -> bool {
    code.contains("unsafe {") || code.contains("unsafe impl")
}

fn doc_above(source: &Source, number: usize) -> String {
    let above = source.lines[..number - 1].iter().rev();
    let part_of_head = |l: &&crate::lexer::Line| {
        let code = l.code.trim();
        !l.comment.is_empty() || code.starts_with('#') || code.ends_with(")]") || code.ends_with('(')
    };
    above.take_while(part_of_head).map(|l| l.comment.as_str()).collect::<Vec<_>>().join("\n")
}

/// Whether `code` has `word` as a word of its own.
pub fn has_word(code: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .any(|(at, _)| !code[..at].ends_with(part) && !code[at + word.len()..].starts_with(part))
}

#[test]
fn misplaced_and_unexplained_unsafe_code_is_found() {
    let of = |path, text| problems(&Tree::of(path, text));
    let explained = "// SAFETY: it holds.\nlet x = unsafe { f() };";
    assert_eq!(of("engine/src/frame/x.rs", explained), [""; 0]);
    assert_eq!(of("engine/src/media/x.rs", explained).len(), 1);
    assert_eq!(of("engine/cli/src/x.rs", explained).len(), 1);
    assert_eq!(of("engine/src/frame/x.rs", "let x = unsafe { f() };").len(), 1);
    assert_eq!(of("engine/src/frame/x.rs", "/// Adds.\npub unsafe fn f() {}").len(), 1);
    assert_eq!(
        of("engine/src/frame/x.rs", "/// # Safety\n/// Mind.\n#[inline]\npub unsafe fn f() {}"),
        [""; 0]
    );
    assert_eq!(of("ffi/src/x.rs", "pub unsafe extern \"C\" fn f() {}"), [""; 0]);
    assert_eq!(of("ffi/src/x.rs", "pub unsafe fn f() {}").len(), 1);
    assert_eq!(of("engine/src/frame/x.rs", "unsafe impl Send for X {}").len(), 1);
    assert_eq!(of("engine/src/media/mod.rs", "//! Nothing.").len(), 1);
    assert_eq!(of("engine/src/media/x.rs", "// unsafe is a word\nlet a = \"unsafe {\";"), [""; 0]);
}
