//! Who holds a claim. The kernel does not say whose an open-file-description lock is; `/proc` lists the locks of
//! each open file of those processes that we may look into.

use super::map;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

/// The holder of a lock on `file`, in words; a guess at worst.
pub(super) fn of(file: &File) -> String {
    let Ok(found) = file.metadata() else { return "another process".into() };
    if map::holds(found.dev(), found.ino()) {
        return "this process".into();
    }
    let (major, minor) = (libc::major(found.dev()), libc::minor(found.dev()));
    let tag = format!("{major:02x}:{minor:02x}:{} ", found.ino());
    processes().find_map(|pid| lock_of(pid, &tag)).unwrap_or_else(|| "another process".into())
}

/// The processes that `/proc` shows us.
fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The process in words, if one of its open files has a lock on the file `tag` ("major:minor:inode ").
fn lock_of(pid: u32, tag: &str) -> Option<String> {
    let files = fs::read_dir(format!("/proc/{pid}/fdinfo")).ok()?;
    let locks = files.flatten().filter_map(|file| fs::read_to_string(file.path()).ok());
    let line = locks
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .find(|line| line.starts_with("lock:") && line.contains("OFDLCK") && line.contains(tag))?;
    let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let reading = if line.contains(" READ ") { ", reading" } else { "" };
    Some(format!("process {pid} ({}{reading})", command.trim_end()))
}
