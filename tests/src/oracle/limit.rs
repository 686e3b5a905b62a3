//! The process's limit on the length of files.

use std::io;

/// While this lives, no file of the process grows beyond a length.
#[derive(Debug)]
pub struct FileLimit {
    before: libc::rlimit,
}

fn change(limit: &libc::rlimit) -> io::Result<()> {
    // SAFETY: a limit that is initialized.
    match unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

impl FileLimit {
    /// Sets the soft limit.
    ///
    /// # Errors
    /// The operating system's.
    pub fn set(bytes: u64) -> io::Result<Self> {
        let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: room for the answer.
        if unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut before) } != 0 {
            return Err(io::Error::last_os_error());
        }
        change(&libc::rlimit { rlim_cur: bytes, ..before })?;
        Ok(Self { before })
    }
}

impl Drop for FileLimit {
    fn drop(&mut self) {
        // What was allowed before is allowed again.
        let _ = change(&self.before);
    }
}
