//! Which process holds a claim. The kernel does not name the owner of an open-file-description lock: `/proc/locks`
//! shows that there is one, and `/proc/PID/fdinfo` lists the locks of each open file, for processes that this one may
//! inspect.
//!
//! A machine may have any number of open files, so the search is bounded.

use super::{map, opening};
use std::fs::{DirEntry, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The most files that a search looks at.
const FILES_MAX: usize = 8192;
/// Files per process in the first pass, so that a process with very many files does not hide the others.
const FIRST_FILES: usize = 256;

/// What one look tells about a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Glance {
    /// This process holds it.
    Ours,
    /// A process that only reads holds it.
    Read,
    /// An owner holds it, as far as can be told.
    Owned,
    /// It is gone, or `/proc` does not show it.
    Gone,
}

/// The holder of a lock: at worst a guess.
#[derive(Debug)]
pub(super) struct Holding {
    /// Its process, if it was found.
    pub pid: Option<u32>,
    /// In words.
    pub words: String,
}

impl Holding {
    /// Whether it is a process that was killed or has ended, and is about to release the lock.
    pub(super) fn dies(&self) -> bool {
        self.pid.is_some_and(|pid| Path::new(&format!("/proc/{pid}")).exists() && dies(pid))
    }

    /// Whether the process no longer exists.
    pub(super) fn is_gone(&self) -> bool {
        self.pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    }
}

/// Looks once at what holds a lock on `file`.
pub(super) fn glance(file: &File) -> Glance {
    let Ok(found) = file.metadata() else { return Glance::Owned };
    if map::holds(found.dev(), found.ino()) {
        return Glance::Ours;
    }
    let Ok(locks) = opening::text("/proc/locks") else { return Glance::Owned };
    match locks.lines().find(|line| is_lock(line, found.ino())) {
        None => Glance::Gone,
        Some(line) if line.contains(" READ ") => Glance::Read,
        Some(_) => Glance::Owned,
    }
}

/// Searches for the holder of a lock on `file`. This takes a while.
pub(super) fn find(file: &File) -> Holding {
    let found = match glance(file) {
        Glance::Ours => Some(Holding { pid: None, words: "this process".into() }),
        Glance::Gone => None,
        Glance::Read | Glance::Owned => {
            file.metadata().ok().and_then(|found| search(found.dev(), found.ino()))
        }
    };
    found.unwrap_or_else(|| Holding { pid: None, words: "another process".into() })
}

/// Whether a line of `/proc/locks`, or of an `fdinfo`, shows an open-file-description lock on an inode with this
/// number. The device is no help: some file systems report one for their locks and another to `stat`.
fn is_lock(line: &str, inode: u64) -> bool {
    let mut words = line.split_ascii_whitespace().skip_while(|word| *word != "OFDLCK").skip(4);
    let place = words.next().and_then(|place| place.rsplit_once(':'));
    place.is_some_and(|(_, number)| number.parse() == Ok(inode))
}

/// Looks through the open files of all processes, up to the limit.
fn search(device: u64, inode: u64) -> Option<Holding> {
    let mut left = FILES_MAX;
    let mut lock = |folder: &Path, files: &mut dyn Iterator<Item = DirEntry>| {
        let mut counted = files.take_while(|_| {
            let goes_on = left > 0;
            left = left.saturating_sub(1);
            goes_on
        });
        counted.find_map(|file| lock_of(folder, &file, (device, inode)))
    };
    let mut more = Vec::new();
    for pid in processes() {
        for folder in folders(pid) {
            let mut files = list(&folder.join("fdinfo"));
            if let Some(line) = lock(&folder, &mut files.by_ref().take(FIRST_FILES)) {
                return Some(described(pid, &line));
            }
            more.extend(files.next().map(|_| (pid, folder)));
        }
    }
    more.into_iter().find_map(|(pid, folder)| {
        let mut rest = list(&folder.join("fdinfo")).skip(FIRST_FILES);
        lock(&folder, &mut rest).map(|line| described(pid, &line))
    })
}

/// The folders of a process in `/proc`. If its first thread has ended, the folders of its other threads list the open
/// files.
fn folders(pid: u32) -> Vec<PathBuf> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    if list(&process.join("fdinfo")).next().is_some() {
        return vec![process];
    }
    list(&process.join("task")).map(|thread| thread.path()).collect()
}

/// The entries of a folder of `/proc`, if it may be read.
fn list(folder: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    opening::opening(|| std::fs::read_dir(folder)).into_iter().flatten().flatten()
}

/// The processes that `/proc` shows us.
pub(super) fn processes() -> impl Iterator<Item = u32> {
    list(Path::new("/proc")).filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The line of a lock on the file, if this open file of the process in `folder` has one.
fn lock_of(folder: &Path, open: &DirEntry, file: (u64, u64)) -> Option<String> {
    let text = first_bytes(&open.path()).ok()?;
    let line = text.lines().find(|line| is_lock(line, file.1))?;
    let found = std::fs::metadata(folder.join("fd").join(open.file_name())).ok()?;
    ((found.dev(), found.ino()) == file).then(|| line.to_owned())
}

/// The first bytes of a file.
fn first_bytes(path: &Path) -> io::Result<String> {
    let mut bytes = [0; 1024];
    let mut file = opening::file(|| File::open(path))?;
    let n = file.read(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes[..n]).into_owned())
}

fn described(pid: u32, line: &str) -> Holding {
    let how = match (dies(pid), line.contains(" READ ")) {
        (true, _) => ", ending",
        (false, true) => ", reading",
        (false, false) => "",
    };
    let command = opening::text(format!("/proc/{pid}/comm")).unwrap_or_default();
    Holding { pid: Some(pid), words: format!("process {pid} ({}{how})", command.trim_end()) }
}

/// Whether the process has ended, is ending, or has been killed and not noticed yet. A process whose first thread has
/// ended lives on in its other threads.
pub(super) fn dies(pid: u32) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let goes_on = |folder: &Path| !ends(folder) && !was_killed(folder);
    if goes_on(&process) {
        return false;
    }
    !(ends(&process) && list(&process.join("task")).any(|thread| goes_on(&thread.path())))
}

/// Whether the process or thread with this folder of `/proc` has ended or is about to.
fn ends(folder: &Path) -> bool {
    /// `PF_EXITING` of the kernel.
    const EXITING: u64 = 4;
    let Ok(stat) = opening::text(folder.join("stat")) else { return true };
    let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace();
    let ended = fields.next().is_some_and(|state| matches!(state, "Z" | "X" | "x"));
    let exiting =
        fields.nth(5).and_then(|flags| flags.parse().ok()).is_some_and(|flags: u64| flags & EXITING != 0);
    ended || exiting
}

fn was_killed(folder: &Path) -> bool {
    let status = opening::text(folder.join("status")).unwrap_or_default();
    let pending = status
        .lines()
        .filter_map(|line| line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:")));
    pending
        .filter_map(|signals| u64::from_str_radix(signals.trim(), 16).ok())
        .any(|signals| signals & (1 << (libc::SIGKILL - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_known_by_its_kind_and_its_inode() {
        let of = |line| is_lock(line, 1234);
        assert!(of("3: OFDLCK ADVISORY  WRITE -1 08:01:1234 0 EOF"));
        assert!(of("lock:\t1: OFDLCK  ADVISORY  READ -1 00:2f:1234 0 EOF"));
        assert!(!of("3: OFDLCK ADVISORY  WRITE -1 08:01:12345 0 EOF"));
        assert!(!of("3: POSIX  ADVISORY  WRITE 77 08:01:1234 0 EOF"));
        assert!(!of("") && !of("OFDLCK"));
    }

    #[test]
    fn a_process_that_was_killed_dies_and_one_that_runs_does_not() {
        assert!(!dies(std::process::id()));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(!dies(child.id()));
        child.kill().unwrap();
        assert!(dies(child.id()), "killed, and its end was not waited for yet");
        child.wait().unwrap();
        assert!(dies(child.id()));
    }
}
