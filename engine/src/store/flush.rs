//! Sync: everything written before becomes durable.

use super::core::Core;
use crate::error::Result;
use crate::media::rules::Rule;
use crate::page::Dirt;
use crate::sync::{Condvar, Mutex};
use crate::units::Durability;
use std::collections::BTreeSet;
use std::ops::Range;

/// Syncs in progress.
///
/// A sync takes dirty bits and then flushes. In between the frames look clean, so a sync that begins then must not
/// return before: each waits for all that may have taken bits before it did.
#[derive(Default)]
pub(super) struct Syncs {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    next: u64,
    /// Syncs that may have taken bits and are not done.
    running: BTreeSet<u64>,
    /// File syncs begun, and up to which one they are done; one runs at a time.
    file_begun: u64,
    file_done: u64,
}

/// A sync in progress; from the drop on nobody waits for it.
struct Ticket<'s> {
    syncs: &'s Syncs,
    number: u64,
}

impl Syncs {
    /// Begins a sync. Its bits are taken afterwards.
    fn begin(&self) -> Ticket<'_> {
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        state.running.insert(number);
        Ticket { syncs: self, number }
    }

    /// Syncs begun so far.
    pub(super) fn count(&self) -> u64 {
        self.latest()
    }

    /// All syncs that may have taken bits by now have smaller numbers.
    fn latest(&self) -> u64 {
        self.state.lock().next
    }

    /// Whether some sync may have taken bits and is not done.
    pub(super) fn running(&self) -> bool {
        !self.state.lock().running.is_empty()
    }

    /// Waits until all syncs with smaller numbers are done. The caller's own must be.
    fn wait_before(&self, number: u64) {
        let mut state = self.state.lock();
        while state.running.first().is_some_and(|&first| first < number) {
            state = self.changed.wait(state);
        }
    }

    /// Runs `sync`, or finds that one which began after this call has done its work. One that fails has poisoned the
    /// region before anybody is told of its end.
    fn share_file_sync(&self, sync: impl Fn() -> Result) -> Result {
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

impl Core {
    pub(super) fn sync_object(&self, id: u64) -> Result {
        self.sync(|| self.pages.take_dirt(id))
    }

    pub(super) fn sync_pages(&self, id: u64, pages: Range<u64>) -> Result {
        self.sync(|| self.pages.take_dirt_in(id, pages))
    }

    pub(super) fn sync_everything(&self) -> Result {
        self.sync(|| self.pages.take_all_dirt())
    }

    /// LOG rule 6: bits taken, then flushed in place, then the records; then those who took bits before.
    fn sync(&self, take: impl FnOnce() -> Dirt) -> Result {
        self.ensure_usable()?;
        if !self.pages.tracks_dirt() {
            // Nothing can be made durable; but the mark makes a copy of the file whole, as it is after any sync.
            let head = self.log.head();
            if !self.log.is_committed(head) {
                self.ensure_whole()?;
            }
            return self.log.commit(head);
        }
        let ticket = self.syncs.begin();
        let mut dirt = take();
        if self.rules.broken(Rule::DirtForgotten) {
            dirt = Dirt::default();
        }
        let latest = self.syncs.latest();
        let result = self.make_durable(&dirt);
        if let Err(error) = &result {
            // Its lines are nobody's duty any more: nothing may be called durable after that.
            self.log.fail(error);
        }
        drop(ticket);
        result?;
        if !self.rules.broken(Rule::SyncEarlier) {
            self.syncs.wait_before(latest);
        }
        self.ensure_usable()
    }

    fn make_durable(&self, dirt: &Dirt) -> Result {
        let reach = self.log.reach();
        let head = reach.head;
        if !dirt.is_empty() || !self.log.is_committed(head) {
            self.ensure_whole()?;
        }
        if let Some(last) = self.log.images().last(dirt.frames())
            && !self.rules.broken(Rule::SyncKeepsImages)
        {
            // A power loss would replay these records over what is about to be flushed.
            self.log.pass(last)?;
        }
        let memory = self.pages.region().memory();
        if self.pages.region().class() == Durability::CacheLine {
            if !dirt.is_empty() {
                dirt.flush(&self.pages)?;
                memory.fence();
            }
            if !self.rules.broken(Rule::DisownStores) {
                memory.sync_inherited()?;
            }
        } else if !dirt.is_empty() || (memory.inherits() && !self.rules.broken(Rule::DisownStores)) {
            self.syncs.share_file_sync(|| memory.sync_file())?;
            // A sync that was shared may have failed: then it poisoned the region.
            self.ensure_usable()?;
            self.log.note_file_sync(reach);
        }
        self.log.commit(head)
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
                let latest = syncs.latest();
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
