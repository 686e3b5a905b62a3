//! The ABI, compared with a snapshot: a program that was compiled before relies on it. A probe made from the header asks
//! the compiler for sizes and offsets. Symbols and soname are read from the shared library.

use crate::build::{Prefix, compiler, root, run, source};
use crate::header::{HEADER, Header, name_of, type_of};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::{env, fs};
use tempfile::TempDir;

const SNAPSHOT: &str = "tests/c_abi/snapshot/abi";

/// Facts by their subject: `field pgs_page_info.pfn` is `at 8, 8 bytes, uint64_t`.
type Abi = BTreeMap<String, String>;

/// One fact a line: `what: how`.
fn parse(text: &str) -> Abi {
    let fact = |line: &str| line.split_once(": ").map(|(what, how)| (what.to_owned(), how.to_owned()));
    text.lines().map(|line| fact(line).unwrap_or_else(|| panic!("no fact: {line}"))).collect()
}

fn print(abi: &Abi) -> String {
    abi.iter().map(|(what, how)| format!("{what}: {how}\n")).collect()
}

/// What the compiler makes of a header.
fn of_header(text: &str) -> Abi {
    let scratch = TempDir::new().unwrap();
    let (source, program) = (scratch.path().join("probe.c"), scratch.path().join("probe"));
    fs::write(scratch.path().join("pagestone.h"), text).unwrap();
    let header = Header::of(text);
    fs::write(&source, probe(&header)).unwrap();
    let mut cc = compiler("CC", "cc");
    run(cc
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .arg(scratch.path())
        .arg("-o")
        .arg(&program)
        .arg(&source));
    let mut abi = parse(&run(&mut Command::new(&program)));
    for function in &header.functions {
        let parameters: Vec<_> = function.parameters.iter().map(|p| type_of(p)).collect();
        let signature = format!("{} ({})", function.result, parameters.join(", "));
        abi.insert(format!("function {}", function.name), signature);
    }
    abi
}

/// A program that prints the facts of constants and structs.
fn probe(header: &Header) -> String {
    let mut body = String::new();
    // The version is no part of the ABI.
    for name in header.constants.iter().filter(|n| !n.starts_with("PGS_VERSION")) {
        writeln!(body, "    printf(\"constant {name}: %lld\\n\", (long long)({name}));").unwrap();
    }
    for s in header.structs.iter().filter(|s| !s.fields.is_empty()) {
        let name = &s.name;
        writeln!(
            body,
            "    printf(\"struct {name}: %zu bytes, aligned to %zu\\n\", sizeof({name}), _Alignof({name}));"
        )
        .unwrap();
        for field in &s.fields {
            let (of, kind) = (name_of(field), type_of(field));
            writeln!(
                body,
                "    printf(\"field {name}.{of}: at %zu, %zu bytes, {kind}\\n\", offsetof({name}, {of}), \
                 sizeof((({name} *)0)->{of}));"
            )
            .unwrap();
        }
    }
    format!("#include <pagestone.h>\n#include <stdio.h>\n\nint main(void) {{\n{body}    return 0;\n}}\n")
}

/// What the dynamic linker sees.
fn of_library(library: &Path) -> Abi {
    let mut abi = Abi::new();
    let mut nm = Command::new("nm");
    let symbols = run(nm.args(["-D", "--defined-only", "--with-symbol-versions"]).arg(library));
    for symbol in symbols.lines().filter(|line| !line.contains(" A ")) {
        let (name, version) = symbol.rsplit(' ').next().unwrap().split_once("@@").unwrap_or_else(|| {
            panic!("a symbol without a version: {symbol}; see ffi/pagestone.map");
        });
        abi.insert(format!("symbol {name}"), version.to_owned());
    }
    let dynamic = run(Command::new("readelf").arg("-d").arg(library));
    let soname = dynamic.split("Library soname: [").nth(1).and_then(|s| s.split(']').next());
    abi.insert("soname".to_owned(), soname.expect("a soname").to_owned());
    abi
}

/// What changed, each in words.
#[derive(Default)]
struct Changes {
    /// Changes after which programs that were compiled before no longer work.
    breaks: Vec<String>,
    /// Changes after which they still work, and newer programs can do more.
    additions: Vec<String>,
}

fn compare(old: &Abi, new: &Abi) -> Changes {
    let mut changes = Changes::default();
    for (what, was) in old {
        // A later release may use what this one has set aside: the size of the struct says whether it fits.
        let reserved = what.ends_with(".reserved");
        match new.get(what) {
            Some(is) if is == was => {}
            Some(is) if reserved || grew(what, was, is, new) => {
                changes.additions.push(format!("{what}: was {was}, is {is}"));
            }
            None if reserved => changes.additions.push(format!("{what}: used up")),
            Some(is) => changes.breaks.push(format!("{what}: was {was}, is {is}")),
            None => changes.breaks.push(format!("{what}: was {was}, is gone")),
        }
    }
    let added = new.iter().filter(|(what, _)| !old.contains_key(*what));
    changes.additions.extend(added.map(|(what, is)| format!("{what}: new, {is}")));
    changes
}

/// Whether a struct that says its own size, in its first field, has become longer.
fn grew(what: &str, was: &str, is: &str, new: &Abi) -> bool {
    let Some(name) = what.strip_prefix("struct ") else { return false };
    let parts = |text: &str| {
        let (bytes, aligned) = text.split_once(" bytes, ").expect("size and alignment");
        (bytes.parse::<usize>().expect("bytes"), aligned.to_owned())
    };
    let sized = new.get(&format!("field {name}.size")).is_some_and(|f| f.starts_with("at 0, "));
    let (was, is) = (parts(was), parts(is));
    sized && is.0 > was.0 && is.1 == was.1
}

#[test]
fn the_abi_is_that_of_the_snapshot() {
    let mut new = of_header(&source(HEADER));
    new.extend(of_library(&Prefix::installed().path("lib/libpagestone.so")));
    let changes = compare(&parse(&source(SNAPSHOT)), &new);
    let (breaks, additions) = (changes.breaks.join("\n  "), changes.additions.join("\n  "));
    match env::var("PAGESTONE_BLESS").as_deref() {
        Ok("break") => return fs::write(root().join(SNAPSHOT), print(&new)).unwrap(),
        Ok(_) if breaks.is_empty() => return fs::write(root().join(SNAPSHOT), print(&new)).unwrap(),
        _ => {}
    }
    assert!(
        breaks.is_empty(),
        "programs compiled before would break:\n  {breaks}\nUndo it. A release that means it raises PGS_SONAME in \
         bindings-c/pagestone.mk and the node of ffi/pagestone.map, and then says `make abi BREAK=1`.\n"
    );
    assert!(
        additions.is_empty(),
        "the ABI has grown, and older programs go on:\n  {additions}\nIf that is meant, `make abi` takes it into \
         {SNAPSHOT}.\n"
    );
}

/// The breaks and additions that a change of the header's text makes.
fn change(from: &str, to: &str) -> Changes {
    let text = source(HEADER);
    assert!(text.contains(from), "the header has no {from:?}: choose another victim");
    compare(&of_header(&text), &of_header(&text.replacen(from, to, 1)))
}

#[test]
fn a_field_in_the_middle_is_a_break() {
    let changes = change("    uint64_t max_bytes;", "    uint64_t min_bytes;\n    uint64_t max_bytes;");
    assert!(changes.breaks.iter().any(|b| b.starts_with("field pgs_options.max_bytes: was at 24")));
    // Paying for it with reserved bytes does not help those behind it.
    let changes = change("    uint32_t pins;", "    uint64_t born;\n    uint32_t pins;");
    assert!(changes.breaks.iter().any(|b| b.starts_with("field pgs_page_info.pins: was at 32")));
}

#[test]
fn another_number_type_or_signature_is_a_break() {
    let changes = change("#define PGS_E_BUSY (-10018)", "#define PGS_E_BUSY (-10017)");
    assert_eq!(changes.breaks, ["constant PGS_E_BUSY: was -10018, is -10017"]);
    let changes = change("    uint64_t id;", "    int64_t id;");
    assert_eq!(changes.breaks.len(), 1, "{:?}", changes.breaks);
    let changes = change("const void *buf, size_t len)", "const void *buf, uint32_t len)");
    assert!(changes.breaks[0].starts_with("function pgs_object_write: was int ("), "{:?}", changes.breaks);
}

#[test]
fn what_is_gone_is_a_break() {
    let changes = change("int pgs_store_sync(struct pgs_store *store);", "");
    assert_eq!(changes.breaks, ["function pgs_store_sync: was int (struct pgs_store *), is gone"]);
    let old = of_library(&Prefix::installed().path("lib/libpagestone.so"));
    let mut new = old.clone();
    new.remove("symbol pgs_open").expect("an exported pgs_open");
    new.insert("symbol pgs_pin".into(), "PAGESTONE_0.2".into());
    let told = compare(&old, &new).breaks;
    assert_eq!(
        told,
        [
            "symbol pgs_open: was PAGESTONE_0.1, is gone",
            "symbol pgs_pin: was PAGESTONE_0.1, is PAGESTONE_0.2"
        ]
    );
}

#[test]
fn what_older_programs_never_see_is_no_break() {
    let text = source(HEADER)
        .replacen(
            "    uint64_t reserved[4];\n} pgs_page_info;",
            "    uint64_t born;\n    uint64_t reserved[3];\n} pgs_page_info;",
            1,
        )
        .replacen("    const char *detail;\n", "    const char *detail;\n    uint64_t severity;\n", 1)
        .replacen("uint32_t pgs_version(void);", "uint32_t pgs_version(void);\nint pgs_new(void);", 1)
        .replacen("#define PGS_PIN_WRITE 1", "#define PGS_PIN_WRITE 1\n#define PGS_PIN_NEW 2", 1);
    let changes = compare(&of_header(&source(HEADER)), &of_header(&text));
    assert_eq!(changes.breaks, [""; 0]);
    let of = |start: &str| changes.additions.iter().filter(|a| a.starts_with(start)).count();
    let found = [
        "field pgs_page_info.",
        "struct pgs_finding",
        "field pgs_finding.",
        "function pgs_new",
        "constant PGS_PIN_NEW",
    ];
    assert_eq!(found.map(of), [2, 1, 1, 1, 1], "{:?}", changes.additions);
}
