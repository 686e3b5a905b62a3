//! Compiles the contract tests of the SQLite VFS, which are C. Shuttle's models have no SQLite.

use std::env;

fn main() {
    if env::var_os("CARGO_CFG_PAGESTONE_SHUTTLE").is_some() {
        return;
    }
    let folder = "../bindings-c/sqlite/tests";
    let sqlite = env::var("DEP_SQLITE3_INCLUDE").expect("libsqlite3-sys says where sqlite3.h is");
    println!("cargo:rerun-if-changed={folder}");
    println!("cargo:rustc-env=SQLITE_INCLUDE={sqlite}");
    cc::Build::new()
        .files(
            [
                "contract.c",
                "contract_batches.c",
                "contract_files.c",
                "contract_paths.c",
                "contract_strangers.c",
                "liar.c",
            ]
            .map(|f| format!("{folder}/{f}")),
        )
        .include(folder)
        .include(sqlite)
        .std("gnu11")
        .warnings(true)
        .extra_warnings(true)
        .compile("pagestone_vfs_contract");
}
