//! Installs the C library once, by the recipe that users run, and compiles C against it.

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

/// Runs a command and gives its standard output; anything but success ends the test with all it said.
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
        // The tests' own target directory: what cargo built for them is not built again.
        PREFIX.get_or_init(|| Self::install(target(), |_| ()))
    }

    /// One of a library that is not optimized.
    pub fn unoptimized() -> Self {
        Self::install(&target().join("unoptimized"), |make| {
            make.env("CARGO_PROFILE_DEV_OPT_LEVEL", "0");
        })
    }

    fn install(target: &Path, configure: impl Fn(&mut Command)) -> Self {
        let directory = TempDir::new().unwrap();
        let mut make = Command::new("make");
        make.args(["-f", "bindings-c/pagestone.mk", "install", "PGS_PROFILE=dev"]).current_dir(root());
        make.arg(format!("prefix={}", directory.path().display()));
        make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").env("CARGO_TARGET_DIR", target);
        configure(make.env("CARGO", env::var_os("CARGO").unwrap_or_else(|| "cargo".into())));
        run(&mut make);
        Self(directory)
    }

    /// A path below the prefix.
    pub fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// What `pkg-config` says about the library installed here; `None` where there is no pkg-config.
    pub fn pkg_config(&self, arguments: &[&str]) -> Option<Vec<String>> {
        let mut command = Command::new("pkg-config");
        command.args(arguments).arg("pagestone").env("PKG_CONFIG_PATH", self.path("lib/pkgconfig"));
        if Command::new("pkg-config").arg("--version").output().is_err() {
            eprintln!("skipped: pkg-config is not installed");
            return None;
        }
        Some(run(&mut command).split_whitespace().map(str::to_owned).collect())
    }

    /// Compiles a C program against the static library, all warnings being errors.
    pub fn compile(&self, program: &Path, flags: &[&str], into: &Path) -> PathBuf {
        let executable = into.join(program.file_stem().unwrap());
        let mut cc = compiler("CC", "cc");
        cc.args(["-std=c11", "-g", "-Wall", "-Wextra", "-Werror", "-pedantic"]).args(flags);
        cc.arg("-I").arg(self.path("include")).arg(program).arg(self.path("lib/libpagestone.a"));
        run(cc.args(["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-o"]).arg(&executable));
        executable
    }
}

/// The compiler that the environment names, or the usual one.
pub fn compiler(variable: &str, usual: &str) -> Command {
    Command::new(env::var_os(variable).unwrap_or_else(|| usual.into()))
}
