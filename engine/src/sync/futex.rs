//! Sleeping on a word in memory until it changes.

use super::atomic::AtomicU32;
use std::time::Duration;

/// The kind of a sleeper, so that some can be woken without others. One bit for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sleepers {
    /// Threads that give way to others.
    Polite = 1,
    /// All others.
    Rest = 2,
    /// For waking: both.
    All = 3,
}

/// Sleeps while `word` is `expected`, until woken as one of these `sleepers`, for at most `limit`.
///
/// It may return early without a reason, so the caller looks again. False only if the time has passed.
#[must_use]
pub fn wait(word: &AtomicU32, expected: u32, sleepers: Sleepers, limit: Option<Duration>) -> bool {
    imp::wait(word, expected, sleepers, limit)
}

/// Wakes all of these `sleepers` that sleep on `word`. The caller changes the word first.
pub fn wake(word: &AtomicU32, sleepers: Sleepers) {
    imp::wake(word, sleepers);
}

#[cfg(not(any(pagestone_loom, pagestone_shuttle)))]
mod imp {
    use super::{AtomicU32, Duration, Sleepers};
    use std::ptr;

    /// A time of the kernel's clock, this far from now.
    fn moment(from_now: Duration) -> libc::timespec {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: it writes the timespec behind the pointer.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
        let nanoseconds = now.tv_nsec.unsigned_abs() + u64::from(from_now.subsec_nanos());
        let seconds = from_now.as_secs().saturating_add(nanoseconds / 1_000_000_000);
        let seconds = libc::time_t::try_from(seconds).unwrap_or(libc::time_t::MAX);
        libc::timespec {
            tv_sec: now.tv_sec.saturating_add(seconds),
            tv_nsec: (nanoseconds % 1_000_000_000) as _,
        }
    }

    pub(super) fn wait(word: &AtomicU32, expected: u32, sleepers: Sleepers, limit: Option<Duration>) -> bool {
        let limit = limit.map(moment);
        let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: FUTEX_WAIT_BITSET reads the live word behind the reference and the timespec behind `limit`, if any.
        let status = unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG,
                expected,
                limit,
                ptr::null::<u32>(),
                sleepers as u32,
            )
        };
        status == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ETIMEDOUT)
    }

    pub(super) fn wake(word: &AtomicU32, sleepers: Sleepers) {
        // SAFETY: FUTEX_WAKE_BITSET uses the word's address as a name and does not access the word.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAKE_BITSET | libc::FUTEX_PRIVATE_FLAG,
                i32::MAX,
                ptr::null::<libc::timespec>(),
                ptr::null::<u32>(),
                sleepers as u32,
            );
        }
    }
}

/// Models exactly what the kernel promises: the comparison and falling asleep are one step with respect to a wake-up.
/// All words share one queue for each kind of sleepers, which adds spurious wake-ups. A lost wake-up is a deadlock,
/// which the model reports, or the end of the limit.
#[cfg(any(pagestone_loom, pagestone_shuttle))]
mod imp {
    use super::super::imp::{
        lazy_static,
        sync::{Condvar, Mutex, atomic::Ordering},
    };
    use super::{AtomicU32, Duration, Sleepers};

    /// One value for each kind of sleepers.
    type Kinds<T> = [T; 2];

    lazy_static! {
        static ref QUEUE: (Mutex<Kinds<u64>>, Kinds<Condvar>) =
            (Mutex::new([0; 2]), [Condvar::new(), Condvar::new()]);
    }

    /// The indexes of the kinds.
    fn kinds(sleepers: Sleepers) -> impl Iterator<Item = usize> {
        [Sleepers::Polite, Sleepers::Rest]
            .into_iter()
            .enumerate()
            .filter(move |(_, kind)| sleepers as u32 & *kind as u32 != 0)
            .map(|(place, _)| place)
    }

    #[cfg(pagestone_loom)]
    fn limited(_: &AtomicU32, _: u32, _: usize, _: Duration) -> bool {
        // The limit passes at once. To be woken within it is the same as without a limit.
        super::super::thread::yield_now();
        false
    }

    #[cfg(pagestone_shuttle)]
    fn limited(word: &AtomicU32, expected: u32, kind: usize, limit: Duration) -> bool {
        use super::super::time::Instant;
        let end = Instant::now().checked_add(limit);
        let woken = || QUEUE.0.lock().map_or(u64::MAX, |woken| woken[kind]);
        let before = woken();
        // ORDERING: SeqCst, as below. A change after this look wakes after it too.
        if word.load(Ordering::SeqCst) != expected {
            return true;
        }
        while woken() == before {
            if end.is_some_and(|end| Instant::now() >= end) {
                return false;
            }
            super::super::thread::yield_now();
        }
        true
    }

    pub(super) fn wait(word: &AtomicU32, expected: u32, sleepers: Sleepers, limit: Option<Duration>) -> bool {
        let kind = kinds(sleepers).next().unwrap_or_default();
        if let Some(limit) = limit {
            return limited(word, expected, kind, limit);
        }
        let Ok(guard) = QUEUE.0.lock() else { return true };
        // ORDERING: SeqCst as the kernel's own look at the word, which has a full barrier on both sides.
        if word.load(Ordering::SeqCst) == expected {
            drop(QUEUE.1[kind].wait(guard));
        }
        true
    }

    pub(super) fn wake(_word: &AtomicU32, sleepers: Sleepers) {
        let Ok(mut woken) = QUEUE.0.lock() else { return };
        for kind in kinds(sleepers) {
            woken[kind] += 1;
            QUEUE.1[kind].notify_all();
        }
    }
}
