//! What a path may lead to. Each kind is recognized as what it is, or refused with a reason and left alone.
//!
//! DAX files and devdax are tested where they exist: `make test-dax`.

use crate::child;
use crate::refusal::refuse;
use crate::{attach, attach_with};
use pagestone::Error;
use pagestone::region::{Difference, Region, RegionOptions, Source};
use pagestone::units::{Durability, MediumKind};
use pagestone_kit::disk::memory;
use pagestone_kit::skip::skipped;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

fn refusal(path: &Path) -> String {
    match attach(path) {
        Err(Error::NotARegion { hint, .. }) => hint,
        other => panic!("{path:?}: {other:?}"),
    }
}

#[test]
fn each_medium_is_taken_for_what_it_is() {
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let region = attach(&disk.path().join("region")).unwrap();
    assert_eq!((region.kind(), region.medium_class()), (MediumKind::File, Durability::Fdatasync));
    assert!(!region.is_fixed() && !region.memory().persist().caches_survive());
    for memory in [Source::Memory { bytes: 4096 }, Source::Image(vec![0; 4096])] {
        let region = Region::attach(memory, &RegionOptions::default()).unwrap();
        assert_eq!((region.kind(), region.medium_class()), (MediumKind::Memory, Durability::Volatile));
    }
    if let Some(memory) = memory() {
        let region = attach(&memory.path().join("region")).unwrap();
        assert_eq!((region.kind(), region.medium_class()), (MediumKind::File, Durability::Volatile));
    } else {
        skipped("the class of shared memory", "there is no /dev/shm");
    }
}

#[test]
fn what_no_region_can_lie_on_is_refused_with_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let (pipe, socket) = (directory.path().join("pipe"), directory.path().join("socket"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let _listener = UnixListener::bind(&socket).unwrap();
    for (path, reason) in [
        (directory.path(), "it is a directory"),
        (Path::new("/dev/zero"), "not persistent memory (devdax)"),
        (Path::new("/dev/null"), "not persistent memory (devdax)"),
        (&pipe, "pipe or socket"),
        (&socket, "pipe or socket"),
    ] {
        let hint = refusal(path);
        assert!(hint.contains(reason), "{path:?}: {hint}");
    }
    for (path, reason) in [("", "empty"), ("/proc/no/such/directory", "No such file")] {
        let error = attach(Path::new(path)).unwrap_err().to_string();
        assert!(error.contains(reason), "{path:?}: {error}");
    }
    let missing = directory.path().join("missing");
    assert!(matches!(attach_with(&missing, RegionOptions::default()), Err(Error::Io { .. })));
    assert!(!missing.exists());
}

#[test]
fn a_device_is_refused_before_it_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    // The numbers of no driver: an opening would be another error.
    for (kind, reason) in [("c", "not persistent memory"), ("b", "it is a block device; make a file system")]
    {
        let node = directory.path().join(kind);
        let made = Command::new("mknod").arg(&node).args([kind, "241", "77"]).status();
        if !made.is_ok_and(|status| status.success()) {
            return skipped("a device node", "it needs the right to mknod; run this test as root");
        }
        let hint = refusal(&node);
        assert!(hint.contains(reason), "{hint}");
    }
}

#[test]
fn a_required_class_is_asked_of_the_medium_and_not_of_its_name() {
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = disk.path().join("region");
    let options =
        |create| RegionOptions { create, required: Some(Durability::CacheLine), ..Default::default() };
    let refused = |outcome: pagestone::Result<std::sync::Arc<Region>>| match outcome {
        Err(Error::TooWeak { required, available, .. }) => {
            assert_eq!((required, available), (Durability::CacheLine, Durability::Fdatasync));
        }
        other => panic!("{other:?}"),
    };
    // A file that is to be made: the medium is asked by a file without a name. Then a file that is there.
    refused(attach_with(&path, options(true)));
    assert_eq!(std::fs::read_dir(disk.path()).unwrap().count(), 0, "the question left something");
    attach(&path).unwrap().close();
    refused(attach_with(&path, options(false)));
}

#[test]
fn a_window_begins_at_a_block_whatever_the_medium() {
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = attach(&disk.path().join("region")).unwrap();
    let memory = Region::attach(Source::Memory { bytes: 4096 }, &RegionOptions::default()).unwrap();
    for region in [file, memory] {
        let start = region.address(pagestone::units::FrameNo(0)).addr();
        assert_eq!((start % (2 << 20), region.window_bytes() % (2 << 20)), (0, 0));
    }
}

#[test]
fn a_boot_that_cannot_be_told_at_all_equals_no_other() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    child::start("nameless-boot", directory.path());
}

/// Runs in a process of its own: in a folder without `/proc` and `/dev`, and with a kernel that has no random numbers.
pub fn without_random_numbers(folder: &Path) {
    // The standard library's maps have their random numbers by now.
    drop(std::collections::HashMap::<u8, u8>::new());
    if let Err(error) = std::os::unix::fs::chroot(folder) {
        return skipped(
            "a boot that cannot be told",
            &format!("{error}: it needs the right to change the root"),
        );
    }
    std::env::set_current_dir("/").unwrap();
    refuse(libc::SYS_getrandom, None, libc::ENOSYS);
    let identity = || {
        let region = attach(Path::new("/region")).unwrap();
        region.close();
        region.identity()
    };
    let (left, now) = (identity(), identity());
    assert_eq!(now.difference(&left), Some(Difference::Boot));
    assert!(!now.is_after_a_boot(&left), "it may be the same");
}
