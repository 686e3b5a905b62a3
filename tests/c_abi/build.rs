//! Installs the C library once, by the recipe that users run, and compiles C against it.

use pagestone_kit::skip::skipped;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::{env, fs};
use tempfile::TempDir;

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Text of a file of the repository.
pub fn source(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// All files of a folder of the repository with this extension, in order.
pub fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no *.{extension} in {folder}");
    found
}

/// All files and links below a folder, wherever it is, in order.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Runs a command and returns its standard output. If it fails, the test ends with all that it printed.
pub fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{out}{err}");
    out.into_owned()
}

/// Where cargo built these tests.
fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()
}

/// Where `make install` put the library.
pub struct Prefix(TempDir);

impl Prefix {
    /// The one installation that all tests of this process share.
    pub fn installed() -> &'static Self {
        static PREFIX: OnceLock<Prefix> = OnceLock::new();
        PREFIX.get_or_init(|| Self::install(|_| ()))
    }

    /// An installation of a library that is not optimized.
    pub fn unoptimized() -> Self {
        Self::install(|make| {
            make.env("CARGO_TARGET_DIR", target().join("unoptimized"))
                .env("CARGO_PROFILE_DEV_OPT_LEVEL", "0");
        })
    }

    fn install(configure: impl Fn(&mut Command)) -> Self {
        let directory = TempDir::new().unwrap();
        let mut make = make("install");
        configure(make.arg(format!("prefix={}", directory.path().display())));
        run(&mut make);
        Self(directory)
    }

    /// A path below the prefix.
    pub fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// Compiles a C program against the static library, all warnings being errors.
    pub fn compile(&self, program: &Path, flags: &[&str], into: &Path) -> PathBuf {
        let executable = into.join(program.file_stem().unwrap());
        let mut cc = compiler("CC", "cc");
        cc.args(["-std=c11", "-g", "-Wall", "-Wextra", "-Werror", "-pedantic"]).args(flags);
        cc.arg("-I").arg(self.path("include")).arg(program).arg(self.path("lib/libpagestone.a"));
        run(cc.args(["-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-o"]).arg(&executable));
        executable
    }
}

/// The recipe that users run, for the library as the tests have it.
pub fn make(verb: &str) -> Command {
    let mut make = Command::new("make");
    make.args([
        "-f",
        "bindings-c/pagestone.mk",
        verb,
        "PGS_PROFILE=dev",
        concat!("SQLITE_INCLUDE=", env!("SQLITE_INCLUDE")),
    ])
    .current_dir(root());
    // What cargo built for the tests is not built again.
    make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").env("CARGO_TARGET_DIR", target());
    make.env("CARGO", env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    make
}

/// The compiler that the environment names, or the usual one.
pub fn compiler(variable: &str, usual: &str) -> Command {
    Command::new(env::var_os(variable).unwrap_or_else(|| usual.into()))
}

/// As [`compiler`], for C++. The library itself needs only C: without a C++ compiler, `what` is skipped aloud.
pub fn cxx_compiler(what: &str) -> Option<Command> {
    let mut cxx = compiler("CXX", "c++");
    if cxx.arg("--version").output().is_err() {
        skipped(what, "there is no C++ compiler (apt install g++)");
        return None;
    }
    Some(compiler("CXX", "c++"))
}
