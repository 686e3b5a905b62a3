//! Sleeping on a word in memory until it changes.

use super::atomic::AtomicU32;
use std::time::Duration;

/// Sleeps while `word` holds `expected`, until woken or for at most `limit`.
///
/// It may return early for no reason: look again. False only when the time ran out.
#[must_use]
pub fn wait(word: &AtomicU32, expected: u32, limit: Option<Duration>) -> bool {
    imp::wait(word, expected, limit)
}

/// Wakes all who sleep on `word`. Change the word first.
pub fn wake_all(word: &AtomicU32) {
    imp::wake_all(word);
}

#[cfg(not(any(pagestone_loom, pagestone_shuttle)))]
mod imp {
    use super::{AtomicU32, Duration};
    use std::ptr;

    pub(super) fn wait(word: &AtomicU32, expected: u32, limit: Option<Duration>) -> bool {
        let limit = limit.map(|d| libc::timespec {
            tv_sec: libc::time_t::try_from(d.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: d.subsec_nanos().into(),
        });
        let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: FUTEX_WAIT reads the live word behind the reference and the timespec behind `limit`, if any.
        let status = unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
                expected,
                limit,
            )
        };
        status == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ETIMEDOUT)
    }

    pub(super) fn wake_all(word: &AtomicU32) {
        // SAFETY: FUTEX_WAKE uses the word's address as a name and does not touch the word.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
                i32::MAX,
            );
        }
    }
}

/// The kernel's promise and no more: the comparison and the falling asleep are one step against a wake-up. All words
/// share one queue, which adds wake-ups for no reason; a lost one is a deadlock that the model reports.
#[cfg(any(pagestone_loom, pagestone_shuttle))]
mod imp {
    use super::super::imp::{
        lazy_static,
        sync::{Condvar, Mutex, atomic::Ordering},
    };
    use super::{AtomicU32, Duration};

    lazy_static! {
        static ref QUEUE: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
    }

    pub(super) fn wait(word: &AtomicU32, expected: u32, limit: Option<Duration>) -> bool {
        if cfg!(pagestone_loom) && limit.is_some() {
            // The limit was over at once. To be woken within it is the case without one.
            super::super::thread::yield_now();
            return false;
        }
        let Ok(guard) = QUEUE.0.lock() else { return true };
        // ORDERING: SeqCst as the kernel's own look at the word, which has a full barrier on both sides.
        if word.load(Ordering::SeqCst) == expected {
            drop(QUEUE.1.wait(guard));
        }
        true
    }

    pub(super) fn wake_all(_word: &AtomicU32) {
        let guard = QUEUE.0.lock();
        QUEUE.1.notify_all();
        drop(guard);
    }
}
