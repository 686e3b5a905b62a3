//! Children made by `fork`: what a thread of theirs inherits, and what the process lacks.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Forks a child that runs `body` beside this process and then ends, or ends by a signal after so many seconds (0: never).
/// Why `body` failed it says on standard error. Its number.
///
/// # Panics
/// There can be no child.
pub fn beside(seconds: u32, body: impl FnOnce() -> Result<(), String>) -> libc::pid_t {
    // SAFETY: the child runs what the caller wants to see in one, and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no child: {}", std::io::Error::last_os_error());
    if child != 0 {
        return child;
    }
    // SAFETY: ends a child that hangs, whatever the parent does at this signal.
    unsafe { libc::signal(libc::SIGALRM, libc::SIG_DFL) };
    // SAFETY: as above.
    unsafe { libc::alarm(seconds) };
    let done = catch_unwind(AssertUnwindSafe(body));
    let why = done.unwrap_or_else(|_| Err("a panic".to_owned()));
    if let Err(why) = &why {
        let _ = writeln!(std::io::stderr(), "a child: {why}");
    }
    // SAFETY: ends the child without what its parent runs at its end.
    unsafe { libc::_exit(i32::from(why.is_err())) }
}

/// Runs `body` in a forked child, which ends by a signal after so many seconds.
///
/// # Errors
/// How the child ended, unless well: the signal and the exit code.
pub fn in_child(seconds: u32, body: impl FnOnce() -> Result<(), String>) -> Result<(), (i32, i32)> {
    match wait(beside(seconds, body)) {
        0 => Ok(()),
        status => Err((libc::WTERMSIG(status), libc::WEXITSTATUS(status))),
    }
}

/// Waits for the end of a child.
///
/// # Panics
/// It is no child of this process.
pub fn wait(child: libc::pid_t) -> i32 {
    loop {
        let mut status = -1;
        // SAFETY: a child of ours, and room for its status.
        if unsafe { libc::waitpid(child, &raw mut status, 0) } == child {
            return status;
        }
        // A signal to the parent interrupts the wait.
        let error = std::io::Error::last_os_error();
        assert_eq!(error.kind(), std::io::ErrorKind::Interrupted, "the child is lost: {error}");
    }
}

#[test]
fn how_a_child_ended_is_told() {
    assert_eq!(in_child(10, || Ok(())), Ok(()));
    assert_eq!(in_child(10, || Err("as planned".to_owned())), Err((0, 1)));
    assert_eq!(in_child(10, || panic!("as planned")), Err((0, 1)));
    assert_eq!(in_child(1, || crate::child::wait_for_death()), Err((libc::SIGALRM, 0)));
}
