//! Limits of this process: the length of files, descriptors, addresses.

use std::io;

/// A limit that was changed. A drop restores the limit as it was before.
#[derive(Debug)]
pub struct Limit {
    what: libc::__rlimit_resource_t,
    before: libc::rlimit,
}

impl Limit {
    /// Sets the limit `what` (`libc::RLIMIT_...`). Beyond the process's hard limit this needs the rights of root.
    ///
    /// # Errors
    /// The operating system's.
    pub fn set(what: libc::__rlimit_resource_t, value: u64) -> io::Result<Self> {
        let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: room for the answer.
        if unsafe { libc::getrlimit(what, &raw mut before) } != 0 {
            return Err(io::Error::last_os_error());
        }
        change(what, libc::rlimit { rlim_cur: value, rlim_max: before.rlim_max.max(value) })?;
        Ok(Self { what, before })
    }

    /// Keeps the limit for as long as the process lives.
    pub fn for_good(self) {
        std::mem::forget(self);
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        // This cannot fail: the limit before was allowed.
        let _ = change(self.what, self.before);
    }
}

fn change(what: libc::__rlimit_resource_t, limit: libc::rlimit) -> io::Result<()> {
    // SAFETY: a limit that is initialized.
    match unsafe { libc::setrlimit(what, &raw const limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[test]
fn a_limit_ends_when_it_is_dropped() {
    let of_now = || {
        let text = std::fs::read_to_string("/proc/self/limits").expect("procfs");
        text.lines().find(|line| line.starts_with("Max core file size")).expect("a known line").to_owned()
    };
    let before = of_now();
    let limit = Limit::set(libc::RLIMIT_CORE, 0).expect("less may be asked for");
    assert!(of_now().contains(" 0 "), "{}", of_now());
    drop(limit);
    assert_eq!(of_now(), before);
}
