//! File systems on top of others: no class is claimed that the lowest one does not have.

use crate::bench::{Bench, Case};
use pagestone::Error;
use pagestone::region::{Region, RegionOptions, Source};
use pagestone::units::Durability;
use pagestone_kit::disk::{Mounted, make_btrfs, make_ext4};
use std::io;
use std::path::Path;

pub const CASES: &[Case] =
    &[Case { name: "stacks: a file system is no better than what it lies on", run: stacks }];

/// The class of a new file in this folder.
fn class(folder: &Path) -> Durability {
    let path = folder.join("r.pgs");
    let options = |required| RegionOptions { create: true, required, ..RegionOptions::default() };
    let attach = |required| Region::attach(Source::File { path: path.clone() }, &options(required));
    let demanded = attach(Some(Durability::Fdatasync)).map(|region| region.close());
    let region = attach(None).expect("it attaches");
    let class = region.class();
    region.close();
    match demanded {
        Ok(_) => assert_eq!(class, Durability::Fdatasync),
        Err(Error::TooWeak { available, .. }) => assert_eq!(class, available),
        Err(other) => panic!("{other}"),
    }
    class
}

/// How often the kernel is asked to sync when a region in this folder is synced once.
fn syncs(folder: &Path) -> u64 {
    let options = RegionOptions { create: true, ..RegionOptions::default() };
    let region = Region::attach(Source::File { path: folder.join("s.pgs") }, &options).expect("it attaches");
    region.grow_to(4096).expect("room");
    region.memory().sync_file().expect("it syncs");
    let syncs = region.memory().persist().stats().file_syncs;
    region.close();
    syncs
}

fn stacks(bench: &Bench) {
    let what = "file systems over others";
    if !bench.may_mount(what) {
        return;
    }
    if let Err(error) = overlays(bench).and_then(|()| images(bench)).and_then(|()| elsewhere(bench)) {
        bench.skip(what, &error.to_string());
    }
}

fn overlays(bench: &Bench) -> io::Result<()> {
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let at = |name: &str| disk.path().join(name);
    let over = |name: &str, upper: &Path, options: &str| {
        Mounted::overlay(&at(name), upper, options).map(|mounted| class(mounted.path()))
    };
    assert_eq!(over("plain", &at("plain.upper"), "")?, Durability::Fdatasync);
    assert_eq!(over("volatile", &at("volatile.upper"), ",volatile")?, Durability::Volatile);
    let memory = Mounted::tmpfs(&at("memory"), 4 << 20)?;
    assert_eq!(syncs(memory.path()), 0, "what is known to be memory is not synced");
    assert_eq!(over("over memory", &memory.path().join("upper"), "")?, Durability::Volatile);
    // An upper folder that cannot be seen, as from inside a container.
    let hidden = Mounted::overlay(&at("hidden"), &memory.path().join("hidden"), "")?;
    drop(memory);
    assert_eq!(class(hidden.path()), Durability::Volatile, "over memory that is not to be seen");
    assert_eq!(syncs(hidden.path()), 1, "that it is memory is a guess");
    std::fs::create_dir(at("folder"))?;
    let folder = Mounted::bind(&at("folder"), &at("seen"))?;
    let hidden = Mounted::overlay(&at("hidden too"), &folder.path().join("upper"), "")?;
    drop(folder);
    assert_eq!(class(hidden.path()), Durability::Fdatasync, "over a disk that is not to be seen");
    bench.state();
    Ok(())
}

fn images(bench: &Bench) -> io::Result<()> {
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let memory = Mounted::tmpfs(&disk.path().join("memory"), 64 << 20)?;
    for (folder, expected) in [(disk.path(), Durability::Fdatasync), (memory.path(), Durability::Volatile)] {
        let image = folder.join("image");
        make_ext4(&image, 8 << 20, &[])?;
        let mounted = Mounted::loop_on(&image, &disk.path().join("mounted"))?;
        assert_eq!(class(mounted.path()), expected, "an image in {folder:?}");
        // And once more: over a file system on an image in memory.
        let above = Mounted::overlay(&disk.path().join("above"), &mounted.path().join("upper"), "")?;
        assert_eq!(class(above.path()), expected, "over an image in {folder:?}");
        drop(above);
        bench.state();
    }
    Ok(())
}

/// An overlay passes stores on to a file system that writes elsewhere when it is overwritten.
fn elsewhere(bench: &Bench) -> io::Result<()> {
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let image = disk.path().join("image");
    make_btrfs(&image, 200 << 20)?;
    let mounted = Mounted::loop_on(&image, &disk.path().join("mounted"))?;
    let over = Mounted::overlay(&disk.path().join("over"), &mounted.path().join("upper"), "")?;
    for folder in [mounted.path(), over.path()] {
        let options =
            |copy_on_write| RegionOptions { create: true, copy_on_write, ..RegionOptions::default() };
        let attach = |allowed| Region::attach(Source::File { path: folder.join("r.pgs") }, &options(allowed));
        let refused = attach(false).map(|region| region.close()).expect_err("a full disk would be a signal");
        assert!(refused.to_string().contains("copy_on_write"), "{folder:?}: {refused}");
        attach(true).expect("it is allowed").close();
        bench.state();
    }
    Ok(())
}
