//! Compiles the VFS as a static part of the program, against the SQLite that `libsqlite3-sys` bundles.

use std::env;
use std::path::{Path, PathBuf};

fn main() {
    let sources = Path::new("..");
    let header = Path::new("../../include");
    let sqlite = env::var_os("DEP_SQLITE3_INCLUDE")
        .map(PathBuf::from)
        .expect("libsqlite3-sys says where sqlite3.h is");
    let mut files: Vec<PathBuf> = sources
        .read_dir()
        .expect("the folder of the VFS")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "c"))
        .collect();
    files.sort();
    println!("cargo:rerun-if-changed={}", sources.display());
    println!("cargo:rerun-if-changed={}", header.display());
    let mut build = cc::Build::new();
    // As in Rust: what the VFS asserts ends a program only where debug assertions are on.
    if env::var_os("CARGO_CFG_DEBUG_ASSERTIONS").is_none() {
        build.define("NDEBUG", None);
    }
    build
        .files(&files)
        .include(sources)
        .include(header)
        .include(sqlite)
        .define("SQLITE_CORE", None)
        .flag("-std=c11")
        .define("_GNU_SOURCE", None)
        .warnings(true)
        .compile("pagestone_vfs");
}
