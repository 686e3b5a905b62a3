//! Users' projects, built against an installed library in the ways there are.

use crate::build::{Prefix, compiler, cxx_compiler, files_below, make, root, run};
use pagestone_kit::skip::skipped;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const GREETING: &str = "Hello from a persistent page.\n";

/// A copy of a consumer project, outside the repository, with the documented program as its source.
fn project(name: &str) -> TempDir {
    let copy = TempDir::new().unwrap();
    for file in files_below(&root().join("tests/c_abi/consumers").join(name)) {
        fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
    }
    fs::copy(root().join("bindings-c/examples/quickstart.c"), copy.path().join("quickstart.c")).unwrap();
    copy
}

/// A place where consumers look for an installation.
struct Found {
    lib: PathBuf,
    prefix: PathBuf,
    /// Before each path of the `.pc` file, as for a staged installation.
    sysroot: Option<PathBuf>,
}

impl Found {
    fn installed() -> Self {
        let prefix = Prefix::installed().path("");
        Self { lib: prefix.join("lib"), prefix, sysroot: None }
    }

    /// Builds `project` by its Makefile; false without pkg-config.
    fn make(&self, project: &TempDir) -> bool {
        if Command::new("pkg-config").arg("--version").output().is_err() {
            skipped("consumers by pkg-config", "pkg-config is not installed (apt install pkg-config)");
            return false;
        }
        let mut make = Command::new("make");
        make.arg("-C").arg(project.path()).env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
        make.env("PKG_CONFIG_PATH", self.lib.join("pkgconfig"));
        if let Some(sysroot) = &self.sysroot {
            make.env("PKG_CONFIG_SYSROOT_DIR", sysroot);
        }
        run(&mut make);
        true
    }

    /// Builds `project` by CMake; false without it.
    fn cmake(&self, project: &TempDir) -> bool {
        if Command::new("cmake").arg("--version").output().is_err() {
            skipped("consumers by CMake", "cmake is not installed (apt install cmake)");
            return false;
        }
        let mut configure = Command::new("cmake");
        configure.arg("-S").arg(project.path()).arg("-B").arg(project.path());
        configure.arg(format!("-DCMAKE_PREFIX_PATH={}", self.prefix.display()));
        run(configure.arg("-DCMAKE_BUILD_TYPE=Debug"));
        run(Command::new("cmake").arg("--build").arg(project.path()));
        true
    }

    /// Runs a program of `project` twice: the second time the region is there already.
    fn greets(&self, project: &TempDir, program: &str, shared: bool) {
        let program = project.path().join(program);
        let dynamic = run(Command::new("readelf").arg("-d").arg(&program));
        assert_eq!(dynamic.contains("[libpagestone.so.0]"), shared, "{dynamic}");
        for _ in 0..2 {
            let mut command = Command::new(&program);
            command.arg(project.path().join("q.pgs"));
            if shared {
                command.env("LD_LIBRARY_PATH", &self.lib);
            }
            assert_eq!(run(&mut command), GREETING);
        }
    }
}

#[test]
fn by_pkg_config_with_the_shared_library() {
    let (found, project) = (Found::installed(), project("pkg-config"));
    if found.make(&project) {
        found.greets(&project, "quickstart", true);
    }
}

#[test]
fn by_pkg_config_with_the_static_library() {
    let (found, project) = (Found::installed(), project("static"));
    if found.make(&project) {
        found.greets(&project, "inside", false);
        found.greets(&project, "alone", false);
    }
}

#[test]
fn by_cmake_with_either_library() {
    let (found, project) = (Found::installed(), project("cmake"));
    if found.cmake(&project) {
        found.greets(&project, "with-pagestone", true);
        found.greets(&project, "with-static", false);
    }
}

#[test]
fn by_dlopen_and_never_unloaded() {
    let project = project("plugin");
    let host = project.path().join("host");
    let mut cc = compiler("CC", "cc");
    cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"]);
    cc.arg(Prefix::installed().path("include")).arg(project.path().join("host.c"));
    run(cc.arg("-ldl").arg("-o").arg(&host));
    let library = Prefix::installed().path("lib/libpagestone.so.0");
    run(Command::new(&host).arg(library).arg(project.path().join("q.pgs")));
}

/// Files and links below `folder`, as paths inside it.
fn listing(folder: &Path) -> BTreeSet<String> {
    let inside = |path: &PathBuf| path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
    files_below(folder).iter().map(inside).collect()
}

/// Where a distribution puts libraries: Debian by architecture, others in `lib64`.
fn library_folder() -> String {
    let architecture = run(compiler("CC", "cc").arg("-print-multiarch"));
    match architecture.trim() {
        "" => "lib64".to_owned(),
        architecture => format!("lib/{architecture}"),
    }
}

#[test]
fn a_staged_installation_is_whole_is_found_where_it_lies_and_can_be_removed() {
    // Cargo's part of the work is done once for all tests.
    Prefix::installed();
    let stage = TempDir::new().unwrap();
    let lib = library_folder();
    let folders = [
        "prefix=/usr".to_owned(),
        format!("libdir=/usr/{lib}"),
        format!("DESTDIR={}", stage.path().display()),
    ];
    run(make("install").args(&folders));

    let version = env!("CARGO_PKG_VERSION");
    let mut expected: BTreeSet<String> =
        ["libpagestone.a", "libpagestone.so", "libpagestone.so.0", "libpagestone_vfs.a", "pagestone_vfs.so"]
            .iter()
            .chain(["pkgconfig/pagestone.pc", "cmake/pagestone/pagestone-config.cmake"].iter())
            .chain(["cmake/pagestone/pagestone-config-version.cmake"].iter())
            .map(|file| format!("usr/{lib}/{file}"))
            .collect();
    expected.insert(format!("usr/{lib}/libpagestone.so.{version}"));
    expected.insert("usr/include/pagestone.h".to_owned());
    expected.insert("usr/include/pagestone_vfs.h".to_owned());
    for page in files_below(&root().join("bindings-c/man")) {
        let section = page.extension().unwrap().to_str().unwrap();
        let name = page.file_name().unwrap().to_str().unwrap();
        expected.insert(format!("usr/share/man/man{section}/{name}"));
    }
    assert_eq!(listing(stage.path()), expected);
    let is_text =
        |f: &&PathBuf| f.metadata().is_ok_and(|m| m.len() < 100_000) && !f.ends_with("libpagestone_vfs.a");
    for file in files_below(stage.path()).iter().filter(is_text) {
        let text = fs::read_to_string(file).unwrap();
        let place = stage.path().to_str().unwrap();
        assert!(!text.contains(place), "{} knows where it was staged", file.display());
        assert!(!text.contains('@') || !file.to_str().unwrap().contains(&lib), "{}", file.display());
    }

    let prefix = stage.path().join("usr");
    let found = Found { lib: prefix.join(&lib), prefix, sysroot: Some(stage.path().to_owned()) };
    let (by_pkg_config, by_cmake) = (project("pkg-config"), project("cmake"));
    if found.make(&by_pkg_config) {
        found.greets(&by_pkg_config, "quickstart", true);
    }
    if found.cmake(&by_cmake) {
        found.greets(&by_cmake, "with-pagestone", true);
    }

    run(make("uninstall").args(&folders));
    assert_eq!(listing(stage.path()), BTreeSet::new());
}

#[test]
fn cxx_compiles_and_links_it() {
    let Some(mut cxx) = cxx_compiler("the library in C++") else { return };
    let scratch = TempDir::new().unwrap();
    let (source, program) = (scratch.path().join("p.cc"), scratch.path().join("p"));
    fs::write(
        &source,
        "#include <pagestone.h>\nint main() { return pgs_version() == PGS_VERSION ? 0 : 1; }\n",
    )
    .unwrap();
    cxx.args(["-std=c++17", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"]);
    cxx.arg(Prefix::installed().path("include")).arg(&source).arg("-L").arg(Prefix::installed().path("lib"));
    run(cxx.arg("-lpagestone").arg("-o").arg(&program));
    run(Command::new(&program).env("LD_LIBRARY_PATH", Prefix::installed().path("lib")));
}
