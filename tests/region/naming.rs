//! The name of a region's file is durable before the file says that it is a region; or the name is not there.

use crate::attach;
use crate::child;
use crate::refusal::refuse;
use pagestone::store::Store;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

/// A user and group without rights.
const NOBODY: u32 = 65534;

fn on_disk() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[test]
fn in_a_folder_that_cannot_be_read_a_region_is_made_with_its_name_durable_or_not_at_all() {
    child::start("unreadable-folder", on_disk().path());
}

#[test]
fn an_empty_file_that_becomes_a_region_has_a_durable_name() {
    child::start("unsynced-name", on_disk().path());
}

/// Runs in a process of its own, which gives its rights up.
pub fn in_an_unreadable_folder(folder: &Path) {
    std::env::set_current_dir(folder).unwrap();
    fs::set_permissions(".", fs::Permissions::from_mode(0o300)).unwrap();
    // SAFETY: a question.
    if unsafe { libc::geteuid() } == 0 {
        chown(".", Some(NOBODY), Some(NOBODY)).unwrap();
        // SAFETY: this process has no use for its rights.
        assert_eq!(unsafe { libc::setgroups(0, std::ptr::null()) }, 0);
        // SAFETY: as above.
        assert_eq!(unsafe { libc::setresgid(NOBODY, NOBODY, NOBODY) }, 0);
        // SAFETY: as above.
        assert_eq!(unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) }, 0);
    }
    assert!(fs::read_dir(".").is_err(), "the folder can be read");
    drop(Store::options().create(true).open("made").unwrap());
    drop(Store::options().open("made").unwrap());
    refuse(libc::SYS_syncfs, None, libc::EIO);
    for _ in 0..2 {
        let refused = Store::options().create(true).open("refused").unwrap_err().to_string();
        assert!(refused.contains("making the name"), "{refused}");
        assert!(fs::metadata("refused").is_err(), "a file was left");
    }
    fs::File::create("empty").unwrap();
    let refused = Store::options().create(true).open("empty").unwrap_err().to_string();
    assert!(refused.contains("making the name"), "{refused}");
    assert_eq!(fs::metadata("empty").unwrap().len(), 0, "this opening must neither remove nor fill it");
}

/// Runs in a process of its own, in which no folder can be synced.
pub fn that_cannot_be_synced(folder: &Path) {
    let path = folder.join("region");
    drop(attach(&folder.join("before")).unwrap());
    refuse(libc::SYS_fsync, None, libc::EIO);
    fs::File::create(&path).unwrap();
    let refused = Store::options().create(true).open(&path).unwrap_err().to_string();
    assert!(refused.contains("making the name"), "{refused}");
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    let new = folder.join("new");
    assert!(Store::options().create(true).open(&new).is_err());
    assert!(!new.exists(), "a file was left");
    assert!(Store::options().create(true).create_new(true).open(&new).is_err());
    assert!(!new.exists(), "a file was left");
}

#[test]
fn where_no_folder_can_be_synced_the_file_system_is() {
    child::start("folders-without-sync", on_disk().path());
}

/// Runs in a process of its own, to which `fsync` of a folder is an argument that makes no sense, as on CIFS.
pub fn where_no_folder_can_be_synced(folder: &Path) {
    refuse(libc::SYS_fsync, None, libc::EINVAL);
    let path = folder.join("region");
    drop(Store::options().create(true).open(&path).unwrap());
    drop(Store::options().open(&path).unwrap());
    refuse(libc::SYS_syncfs, None, libc::EIO);
    let path = folder.join("not durable");
    let refused = Store::options().create(true).open(&path).unwrap_err().to_string();
    assert!(refused.contains("making the name") && !path.exists(), "{refused}");
}

#[test]
fn a_file_that_cannot_be_locked_is_not_left_and_one_that_another_has_locked_stays() {
    child::start("unlockable", on_disk().path());
}

/// Runs in a process of its own, in which no file may be locked from some moment on.
pub fn that_cannot_be_locked(folder: &Path) {
    let path = folder.join("region");
    let owned = folder.join("owned");
    let _owner = attach(&owned).unwrap();
    refuse(libc::SYS_fcntl, Some(libc::F_OFD_SETLK as u32), libc::ENOLCK);
    for options in [Store::options().create(true), Store::options().create(true).create_new(true)] {
        let refused = options.open(&path).unwrap_err().to_string();
        assert!(refused.contains("locking"), "{refused}");
        assert!(!path.exists(), "a file was left");
        assert!(options.open(&owned).is_err());
        assert!(owned.exists(), "this opening must not remove it");
    }
}

#[test]
fn a_new_region_replaces_no_file_and_an_opening_that_fails_leaves_none() {
    let folder = on_disk();
    let path = folder.path().join("region");
    let new = Store::options().create(true).create_new(true);
    let unfit = new.clone().log_frames(1);
    assert!(unfit.open(&path).is_err());
    assert!(!path.exists(), "a file was left");
    drop(new.open(&path).unwrap());
    let error = new.open(&path).unwrap_err();
    assert!(
        matches!(&error, pagestone::Error::Io { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists)
    );
    drop(Store::options().open(&path).unwrap());
}
