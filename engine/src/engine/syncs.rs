//! Syncs in progress, and when a page that looks clean is durable.

use crate::error::Result;
use crate::sync::{Condvar, Mutex, mutant};
use std::collections::BTreeSet;

/// Syncs in progress.
///
/// A sync takes dirty bits and then flushes. In between, the frames look clean, so a sync that begins then must not
/// return earlier: each sync waits for all that may have taken bits before it.
#[derive(Default)]
pub struct Syncs {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    next: u64,
    /// Syncs that may have taken bits and are not done.
    running: BTreeSet<u64>,
    /// The number of file syncs begun, and the last one that is done. One runs at a time.
    file_begun: u64,
    file_done: u64,
}

/// A sync in progress. Once it is dropped, no other sync waits for it.
pub struct Ticket<'s> {
    syncs: &'s Syncs,
    number: u64,
}

impl Syncs {
    /// Begins a sync, and then takes its bits.
    pub fn take<T>(&self, take: impl FnOnce() -> T) -> (Ticket<'_>, T) {
        if mutant("take_before_begin") {
            let taken = take();
            return (self.begin(), taken);
        }
        let ticket = self.begin();
        let taken = take();
        (ticket, taken)
    }

    fn begin(&self) -> Ticket<'_> {
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        state.running.insert(number);
        Ticket { syncs: self, number }
    }

    /// Looks at dirty bits, and then for running syncs: a sync that took a bit before the look is seen running until
    /// its lines are durable. The second result says whether everything that looked clean is durable.
    pub fn look<T>(&self, look: impl FnOnce() -> T) -> (T, bool) {
        if mutant("syncs_before_bits") {
            let none = self.state.lock().running.is_empty();
            return (look(), none);
        }
        let seen = look();
        (seen, self.state.lock().running.is_empty())
    }

    /// The number of syncs begun so far: those that may have taken bits by now have smaller numbers.
    pub(crate) fn begun(&self) -> u64 {
        self.state.lock().next
    }

    /// Waits until all syncs with smaller numbers are done. The caller's own must be done already.
    pub(super) fn wait_before(&self, number: u64) {
        let mut state = self.state.lock();
        while state.running.first().is_some_and(|&first| first < number) {
            state = self.changed.wait(state);
        }
    }

    /// Runs `sync`, or uses the result of one that began after this call. A sync that fails has poisoned the region
    /// before any caller learns of its end.
    pub(super) fn share_file_sync(&self, sync: impl Fn() -> Result) -> Result {
        let mut state = self.state.lock();
        let wanted = state.file_begun + 1;
        loop {
            if state.file_done >= wanted {
                return Ok(());
            }
            if state.file_begun == state.file_done {
                break;
            }
            state = self.changed.wait(state);
        }
        state.file_begun += 1;
        drop(state);
        let result = sync();
        let mut state = self.state.lock();
        state.file_done = state.file_begun;
        self.changed.notify_all();
        result
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.syncs.state.lock().running.remove(&self.number);
        self.syncs.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Barrier};

    #[test]
    fn a_sync_waits_for_those_that_took_bits_before() {
        let syncs = Arc::new(Syncs::default());
        let earlier = syncs.begin();
        let waiting = {
            let syncs = Arc::clone(&syncs);
            std::thread::spawn(move || {
                let own = syncs.begin();
                let latest = syncs.begun();
                drop(own);
                syncs.wait_before(latest);
            })
        };
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(!waiting.is_finished());
        drop(earlier);
        waiting.join().unwrap();
    }

    #[test]
    fn a_file_sync_counts_only_if_it_began_later() {
        let syncs = Arc::new(Syncs::default());
        let (ran, begun) = (Arc::new(AtomicU64::new(0)), Arc::new(Barrier::new(2)));
        let first = {
            let (syncs, ran, begun) = (Arc::clone(&syncs), Arc::clone(&ran), Arc::clone(&begun));
            std::thread::spawn(move || {
                syncs.share_file_sync(|| {
                    begun.wait();
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    ran.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                })
            })
        };
        begun.wait();
        syncs
            .share_file_sync(|| {
                assert_eq!(ran.fetch_add(1, Ordering::SeqCst), 1, "the first has ended");
                Ok(())
            })
            .unwrap();
        first.join().unwrap().unwrap();
        assert_eq!(ran.load(Ordering::SeqCst), 2);
    }
}
