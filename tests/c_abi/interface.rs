//! The documented interface: header, symbols and manual agree.

use crate::build::{Prefix, compiler, cxx_compiler, files, root, run, source};
use crate::header::{Function, HEADER, Header};
use pagestone_kit::skip::skipped;
use std::collections::BTreeSet;
use std::process::Command;
use std::{env, fs};

/// The sources of the header, in its order.
const SOURCES: [&str; 14] = [
    "version", "code", "message", "options", "store", "object", "batch", "pin", "latch", "view", "list",
    "recovery", "stats", "check",
];

#[test]
fn header_is_made_of_the_sources() {
    let config = cbindgen::Config::from_file(root().join("ffi/cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in SOURCES {
        builder = builder.with_src(root().join("ffi/src").join(file).with_extension("rs"));
    }
    let mut made = Vec::new();
    builder.generate().unwrap().write(&mut made);
    let made = in_parentheses(&String::from_utf8(made).unwrap());
    if env::var_os("PAGESTONE_BLESS").is_some() {
        fs::write(root().join(HEADER), &made).unwrap();
    }
    assert!(made == source(HEADER), "{HEADER} is not what ffi/src gives: `make header`");
}

/// Negative macros in parentheses, which cbindgen leaves out: `x -PGS_E_BUSY` is to be what it looks like.
fn in_parentheses(header: &str) -> String {
    let line = |line: &str| match line.rsplit_once(' ') {
        Some((define, number)) if define.starts_with("#define ") && number.starts_with('-') => {
            format!("{define} ({number})\n")
        }
        _ => format!("{line}\n"),
    };
    header.lines().map(line).collect()
}

#[test]
fn no_macro_of_the_header_binds_to_what_stands_beside_it() {
    let bare =
        |line: &&str| line.starts_with("#define PGS_") && line.rsplit(' ').next().unwrap().starts_with('-');
    let header = source(HEADER);
    assert_eq!(header.lines().find(bare), None);
    assert!(header.contains("#define PGS_E_BUSY (-10018)\n"));
    assert_eq!(
        in_parentheses("#define A -1\n/// - 2\n#define B 3\n"),
        "#define A (-1)\n/// - 2\n#define B 3\n"
    );
}

/// The header alone, as the first thing of a program.
fn compile_header(mut compiler: Command, language: &str, standard: &str) {
    compiler.args([standard, "-x", language, "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"]);
    // As a program includes it, so that `#pragma once`-like warnings about main files stay away.
    run(compiler.arg("-include").arg(root().join(HEADER)).arg("/dev/null"));
}

#[test]
fn header_is_clean_c_and_cpp() {
    compile_header(compiler("CC", "cc"), "c", "-std=c11");
    if let Some(cxx) = cxx_compiler("the header in C++") {
        compile_header(cxx, "c++", "-std=c++17");
    }
}

#[test]
fn header_is_clean_for_clang_too() {
    if Command::new("clang").arg("--version").output().is_err() {
        return skipped("the header in clang", "clang is not installed (apt install clang)");
    }
    compile_header(Command::new("clang"), "c", "-std=c11");
    compile_header(Command::new("clang"), "c++", "-std=c++17");
}

#[test]
fn versions_of_header_package_and_library_agree() {
    let (header, package) = (source(HEADER), env!("CARGO_PKG_VERSION"));
    let part = |name: &str| {
        let line = format!("#define PGS_VERSION_{name} ");
        header.lines().find_map(|l| l.strip_prefix(&line)).unwrap().to_owned()
    };
    assert_eq!(format!("{}.{}.{}", part("MAJOR"), part("MINOR"), part("PATCH")), package);
    assert!(source("bindings-c/pagestone.mk").contains(&format!("PGS_VERSION := {package}\n")));
    assert!(source("ffi/pagestone.map").contains(&format!(
        "PAGESTONE_{}.{} {{",
        part("MAJOR"),
        part("MINOR")
    )));
    assert!(Prefix::installed().path(&format!("lib/libpagestone.so.{package}")).exists());
}

#[test]
fn exactly_the_functions_of_the_header_are_exported_with_a_version() {
    let library = Prefix::installed().path("lib/libpagestone.so");
    let symbols =
        run(Command::new("nm").args(["-D", "--defined-only", "--with-symbol-versions"]).arg(&library));
    let exported: BTreeSet<String> = symbols
        .lines()
        .filter(|line| !line.contains(" A "))
        .map(|line| line.rsplit(' ').next().unwrap().to_owned())
        .collect();
    let declared: BTreeSet<String> = Header::of_project()
        .function_names()
        .into_iter()
        .map(|name| format!("{name}@@PAGESTONE_0.1"))
        .collect();
    assert_eq!(exported, declared);
}

/// A function's prototype as manual pages write it.
fn prototype(function: &Function) -> String {
    let parameters = function.parameters.iter().map(|p| p.as_str());
    let all: Vec<_> = [function.result.as_str()].into_iter().chain(parameters).collect();
    all.join("; ").replace("struct ", "")
}

/// The same, out of a page.
fn synopsis(page: &str, name: &str) -> String {
    let (before, after) = page.split_once(&format!(".Fo {name}\n")).unwrap_or_default();
    let result = before.lines().last().and_then(|l| l.strip_prefix(".Ft ")).unwrap_or_default();
    let parameters = after.lines().take_while(|l| *l != ".Fc").filter_map(|l| l.strip_prefix(".Fa "));
    let all: Vec<_> = [result].into_iter().chain(parameters).map(|p| p.trim_matches('"')).collect();
    if all[1..] == ["void"] { all[0].to_owned() } else { all.join("; ") }
}

#[test]
fn every_function_has_a_manual_page_with_errors_and_durability() {
    let manual = root().join("bindings-c/man");
    for function in Header::of_project().functions {
        let name = &function.name;
        let page = manual.join(format!("{name}.3"));
        let text = fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        let text = match text.strip_prefix(".so man3/") {
            Some(target) => fs::read_to_string(manual.join(target.trim())).unwrap(),
            None => text,
        };
        assert_eq!(synopsis(&text, name), prototype(&function), "{name}: synopsis and header disagree");
        for section in [
            ".Sh NAME",
            ".Sh SYNOPSIS",
            ".Sh DESCRIPTION",
            ".Sh RETURN VALUES",
            ".Sh ERRORS",
            ".Sh DURABILITY",
        ] {
            assert!(text.contains(section), "{} has no `{section}`", page.display());
        }
    }
    let declared = Header::of_project().function_names();
    for page in files("bindings-c/man", "3") {
        let name = page.file_stem().unwrap().to_str().unwrap();
        assert!(declared.contains(name), "{name}(3) describes what the header does not have");
    }
}

#[test]
fn every_status_code_is_in_the_manual() {
    let manual: String =
        files("bindings-c/man", "7").iter().map(|page| fs::read_to_string(page).unwrap()).collect();
    for code in source(HEADER).lines().filter_map(|line| line.strip_prefix("#define PGS_E_")) {
        let name = format!("PGS_E_{}", code.split(' ').next().unwrap());
        assert!(manual.contains(&name), "{name} is not in pagestone(7)");
    }
}
