//! Growth without room, and files that shrink.

use crate::child;
use crate::refusal::refuse_beyond;
use crate::{attach, attach_with};
use pagestone::Error;
use pagestone::region::{Region, RegionOptions, Source};
use pagestone_kit::disk::{Mounted, bytes_on_disk, make_ext4, mounted};
use pagestone_kit::limit::Limit;
use std::path::Path;
use std::time::Duration;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Fills the disk and asserts that nothing is lost. The file system has more than 1.5 MiB and less than 64 MiB.
fn fill(disk: &Mounted) {
    let path = disk.path().join("region");
    let region = attach(&path).unwrap();
    region.grow_to(MIB).unwrap();
    let pattern: Vec<u8> = (0..MIB).map(|i| (i % 251) as u8).collect();
    region.memory().write(0, &pattern).unwrap();
    let error = region.grow_to(64 * MIB).unwrap_err();
    assert!(matches!(&error, Error::NoSpace { .. }), "{error}");
    assert_eq!(region.len_bytes(), MIB);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), MIB, "the file was not put back");
    let mut found = vec![0; MIB as usize];
    region.memory().read(0, &mut found).unwrap();
    assert!(found == pattern);
    // The rest of the disk can still be had, and each byte of it can be stored to.
    region.grow_to(MIB + 512 * KIB).unwrap();
    region.memory().write(MIB, &pattern[..512 * 1024]).unwrap();
    assert!(matches!(region.memory().load(2 * MIB), Err(Error::Corrupt { .. })));
    region.close();
}

#[test]
fn a_full_memory_file_system_is_an_error_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    if let Some(disk) = mounted("a full tmpfs", || Mounted::tmpfs(folder.path(), 2 * MIB)) {
        fill(&disk);
    }
}

#[test]
fn a_full_disk_is_an_error_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (image, at) = (folder.path().join("image"), folder.path().join("disk"));
    // This file system keeps what it has allocated when an allocation fails half-way.
    let make = || make_ext4(&image, 8 * MIB, &["-O", "^has_journal"]);
    if let Some(disk) = mounted("a full ext4", || make().and_then(|()| Mounted::loop_on(&image, &at))) {
        fill(&disk);
    }
}

#[test]
fn the_process_s_own_file_size_limit_is_an_error_and_no_signal() {
    let directory = tempfile::tempdir().unwrap();
    child::start("limited", &directory.path().join("region"));
}

/// Runs in a process of its own: the limit is the process's, and a signal would end it.
pub fn beyond_the_file_size_limit(path: &Path) {
    let region = attach(path).unwrap();
    region.grow_to(MIB).unwrap();
    Limit::set(libc::RLIMIT_FSIZE, 2 * MIB).unwrap().for_good();
    assert!(matches!(region.grow_to(4 * MIB), Err(Error::NoSpace { .. })));
    assert_eq!(std::fs::metadata(path).unwrap().len(), MIB);
    region.grow_to(2 * MIB).unwrap();
    let memory = |bytes| Region::attach(Source::Memory { bytes }, &RegionOptions::default()).map(drop);
    let refused = memory(4 * MIB).unwrap_err();
    assert!(
        matches!(&refused, Error::Io { source, .. } if source.raw_os_error() == Some(libc::EFBIG)),
        "{refused}"
    );
    memory(2 * MIB).unwrap();
}

#[test]
fn a_growth_that_is_interrupted_wherever_it_is_long_ends() {
    let directory = tempfile::tempdir().unwrap();
    child::start("interrupted", &directory.path().join("region"));
}

/// Runs in a process of its own. It gets signals so often that no long allocation comes to its end. An interrupted
/// allocation is undone.
pub fn with_long_calls_interrupted(path: &Path) {
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(20));
        eprintln!("the growth does not end");
        std::process::abort();
    });
    refuse_beyond(libc::SYS_fallocate, 3 << 20, libc::EINTR);
    let region = attach(path).unwrap();
    region.grow_to(50 * MIB + 4 * KIB).unwrap();
    assert!(bytes_on_disk(path) >= 50 * MIB + 4 * KIB);
}

#[test]
fn a_region_grows_to_its_maximum_and_no_further() {
    let directory = tempfile::tempdir().unwrap();
    let options = RegionOptions { create: true, max_bytes: Some(3 * MIB + 4 * KIB), ..Default::default() };
    let region = attach_with(&directory.path().join("region"), options).unwrap();
    region.grow_to(3 * MIB + 4 * KIB).unwrap();
    region.memory().store(3 * MIB, 1).unwrap();
    assert!(matches!(region.grow_to(3 * MIB + 8 * KIB), Err(Error::NoSpace { .. })));
    assert_eq!(region.len_bytes(), 3 * MIB + 4 * KIB);
}

#[test]
fn grown_bytes_have_their_disk_blocks() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    let region = attach(&path).unwrap();
    region.grow_to(4 * MIB).unwrap();
    assert!(bytes_on_disk(&path) >= 4 * MIB);
    let before = region.address(pagestone::units::FrameNo(0));
    region.grow_to(64 * MIB).unwrap();
    assert_eq!(region.address(pagestone::units::FrameNo(0)), before, "growing moves nothing");
    region.memory().store(64 * MIB - 8, 9).unwrap();
}

#[test]
fn a_file_cut_behind_our_back_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    let region = attach(&path).unwrap();
    region.grow_to(MIB).unwrap();
    region.check_length().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(2 * MIB).unwrap();
    region.check_length().unwrap();
    file.set_len(MIB / 2).unwrap();
    match region.grow_to(2 * MIB) {
        Err(Error::Truncated { expected, found }) => assert_eq!((expected, found), (MIB, MIB / 2)),
        other => panic!("{other:?}"),
    }
    assert_eq!(file.metadata().unwrap().len(), MIB / 2, "what is lost does not come back as zeros");
    file.set_len(MIB).unwrap();
    assert!(matches!(region.check_length(), Err(Error::Poisoned { .. })));
    assert!(matches!(region.grow_to(2 * MIB), Err(Error::Poisoned { .. })));
}
