//! Small disks: folders in memory, and file systems that only the test's own thread sees.

use crate::skip::skipped;
use std::ffi::CString;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr;
use tempfile::TempDir;

/// A folder in memory; none where that is not possible.
#[must_use]
pub fn memory() -> Option<TempDir> {
    tempfile::tempdir_in("/dev/shm").ok()
}

/// A folder in memory where that is possible, since a sync costs nothing there; otherwise a folder on the disk.
///
/// # Panics
/// When there is no room for a folder.
#[must_use]
pub fn quick() -> TempDir {
    memory().unwrap_or_else(|| tempfile::tempdir().expect("there is room for a folder"))
}

/// Gives the calling thread a name space of mounts of its own, so that nothing stays mounted however the thread ends.
///
/// # Errors
/// Says why that is not possible.
pub fn private_mounts() -> Result<(), &'static str> {
    // SAFETY: plain calls; the strings are constants that end in NUL.
    let rc = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    if rc != 0 {
        return Err("needs the right to mount (root)");
    }
    // SAFETY: as above.
    let rc = unsafe {
        libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), libc::MS_REC | libc::MS_PRIVATE, ptr::null())
    };
    if rc == 0 { Ok(()) } else { Err("the mounts of this machine cannot be made private") }
}

/// A disk for a test, mounted for the calling thread alone; `None`, said aloud, where it cannot be made.
pub fn mounted(what: &str, make: impl FnOnce() -> io::Result<Mounted>) -> Option<Mounted> {
    let disk =
        private_mounts().map_err(str::to_owned).and_then(|()| make().map_err(|error| error.to_string()));
    disk.map_err(|why| skipped(what, &why)).ok()
}

/// A mounted file system; unmounted when dropped.
#[derive(Debug)]
pub struct Mounted {
    at: PathBuf,
}

fn c_path(path: &Path) -> CString {
    CString::new(path.to_string_lossy().as_bytes()).expect("a path has no NUL")
}

impl Mounted {
    /// A file system in memory with room for `bytes`.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn tmpfs(at: &Path, bytes: u64) -> io::Result<Self> {
        Self::tmpfs_with(at, &format!("size={bytes}"))
    }

    /// A file system in memory with options.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn tmpfs_with(at: &Path, options: &str) -> io::Result<Self> {
        std::fs::create_dir_all(at)?;
        let mounted = Self { at: at.to_owned() };
        mounted.tmpfs_call(options, 0)?;
        Ok(mounted)
    }

    /// Gives a `tmpfs` another size.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn resize(&self, bytes: u64) -> io::Result<()> {
        self.tmpfs_call(&format!("size={bytes}"), libc::MS_REMOUNT)
    }

    fn tmpfs_call(&self, options: &str, flags: libc::c_ulong) -> io::Result<()> {
        let (at, options) = (c_path(&self.at), CString::new(options)?);
        let kind = c"tmpfs".as_ptr();
        // SAFETY: strings that end in NUL and outlive the call.
        let rc = unsafe { libc::mount(kind, at.as_ptr(), kind, flags, options.as_ptr().cast()) };
        if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// The file system on a file.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn loop_on(image: &Path, at: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(at)?;
        run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(at), 0)?;
        Ok(Self { at: at.to_owned() })
    }

    /// An overlay of folders: what is written goes to `upper`.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn overlay(at: &Path, upper: &Path, options: &str) -> io::Result<Self> {
        let (lower, work) = (at.with_extension("lower"), upper.with_extension("work"));
        for folder in [at, &lower, upper, &work] {
            std::fs::create_dir_all(folder)?;
        }
        let [lower, upper, work] = [&*lower, upper, &*work].map(|path| path.to_string_lossy().into_owned());
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}{options}");
        run(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(at), 0)?;
        Ok(Self { at: at.to_owned() })
    }

    /// Shows a folder at another place too.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn bind(from: &Path, at: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(at)?;
        run(Command::new("mount").arg("--bind").arg(from).arg(at), 0)?;
        Ok(Self { at: at.to_owned() })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.at
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let at = c_path(&self.at);
        // SAFETY: a string that ends in NUL.
        if unsafe { libc::umount2(at.as_ptr(), 0) } != 0 {
            // SAFETY: as above. A file is still open there.
            unsafe { libc::umount2(at.as_ptr(), libc::MNT_DETACH) };
        }
    }
}

/// Bytes of the blocks that a file has on its disk.
///
/// # Panics
/// When there is no such file.
#[must_use]
pub fn bytes_on_disk(path: &Path) -> u64 {
    path.metadata().expect("the file is there").blocks() * 512
}

/// Makes an `ext4` of `bytes` bytes on a file.
///
/// # Errors
/// The program is missing, or failed.
pub fn make_ext4(image: &Path, bytes: u64, options: &[&str]) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(false).open(image)?.set_len(bytes)?;
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-b", "4096"]).args(options).arg(image), 0)
}

/// Makes an `xfs` of `bytes` bytes on a file, whose files can share extents.
///
/// # Errors
/// The program is missing, or failed.
pub fn make_xfs(image: &Path, bytes: u64) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(false).open(image)?.set_len(bytes)?;
    run(Command::new("mkfs.xfs").args(["-q", "-f", "-m", "reflink=1"]).arg(image), 0)
}

/// Makes a `btrfs` of `bytes` bytes on a file.
///
/// # Errors
/// The program is missing, or failed.
pub fn make_btrfs(image: &Path, bytes: u64) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(false).open(image)?.set_len(bytes)?;
    run(Command::new("mkfs.btrfs").args(["-q", "-f"]).arg(image), 0)
}

/// Repairs an `ext4` that has seen errors, as an administrator would.
///
/// # Errors
/// The program is missing, or failed.
pub fn mend_ext4(image: &Path) -> io::Result<()> {
    run(Command::new("e2fsck").args(["-fy"]).arg(image), 1)
}

/// Runs a program whose exit code is at most `code`.
fn run(command: &mut Command, code: i32) -> io::Result<()> {
    let ended = command.output()?;
    if ended.status.code().is_some_and(|ended| ended <= code) {
        return Ok(());
    }
    Err(io::Error::other(format!("{command:?}: {}", String::from_utf8_lossy(&ended.stderr))))
}
