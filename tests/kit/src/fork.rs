//! Children made by `fork`.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Forks a child that runs `body` beside this process and then ends. After so many seconds a signal ends it (0: never).
/// If `body` fails, the child prints why on standard error. Returns the child's number.
///
/// # Panics
/// When there can be no child.
pub fn beside(seconds: u32, body: impl FnOnce() -> Result<(), String>) -> libc::pid_t {
    // SAFETY: the child runs only the caller's `body`, and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no child: {}", std::io::Error::last_os_error());
    if child != 0 {
        return child;
    }
    // SAFETY: the default action of the signal ends a child that hangs, whatever handler the parent has.
    unsafe { libc::signal(libc::SIGALRM, libc::SIG_DFL) };
    // SAFETY: as above.
    unsafe { libc::alarm(seconds) };
    let done = catch_unwind(AssertUnwindSafe(body));
    let why = done.unwrap_or_else(|_| Err("a panic".to_owned()));
    if let Err(why) = &why {
        let _ = writeln!(std::io::stderr(), "a child: {why}");
    }
    // SAFETY: ends the child without the parent's exit handlers.
    unsafe { libc::_exit(i32::from(why.is_err())) }
}

/// Runs `body` in a forked child. After so many seconds a signal ends it.
///
/// # Errors
/// If the child failed: the signal and the exit code.
pub fn in_child(seconds: u32, body: impl FnOnce() -> Result<(), String>) -> Result<(), (i32, i32)> {
    match wait(beside(seconds, body)) {
        0 => Ok(()),
        status => Err((libc::WTERMSIG(status), libc::WEXITSTATUS(status))),
    }
}

/// Waits for the end of a child.
///
/// # Panics
/// When it is no child of this process.
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
