//! A value that is read without a lock and replaced as a whole, for readers that hold nothing by which the old value
//! could be kept.
//!
//! A replaced value is dropped after a *grace period*: once each thread that was reading when it was replaced has come to
//! the end of that. No reader waits, and none writes to a word that other readers write.
//!
//! # Orderings
//! A reader announces itself, with a full fence, before it loads the value; its end takes the announcement back with a
//! Release. A thread that replaces the value does so before it looks for announcements. So a reader that is not seen
//! loads the new value. The announcements and the looks are those of `crossbeam_epoch`. Here are only the two accesses to
//! the pointer: Release publishes the new value, and Acquire sees what it was made of.

use super::{imp, mutant};
use crossbeam_epoch::{Atomic, Collector, Guard, LocalHandle, Owned};
use std::cell::RefCell;
use std::sync::atomic::Ordering;

/// How often a replacement tries to end the grace period at once. It ends after two steps if no thread reads.
const STEPS: usize = 3;

imp::thread_local! {
    /// The calling thread, as the collector that it used last knows it.
    #[allow(clippy::missing_const_for_thread_local, reason = "the models' macro takes no const block")]
    static KNOWN: RefCell<Option<LocalHandle>> = RefCell::new(None);
}

/// A value that is read without a lock and replaced as a whole.
///
/// A process has few of these: a thread that reads two of them by turns is announced to each anew. In a forked child none
/// may be used that its parent has used: a thread of the parent may be reading in it for ever.
#[derive(Debug)]
pub struct Grace<T: Send + Sync + 'static> {
    collector: Collector,
    value: Atomic<T>,
}

impl<T: Send + Sync + 'static> Grace<T> {
    /// A place that has this value.
    pub fn new(value: T) -> Self {
        Self { collector: Collector::new(), value: Atomic::new(value) }
    }

    /// Shows the value, which stays as it is until `look` has returned. It should be quick: meanwhile no replaced value
    /// is dropped.
    #[inline]
    pub fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        let guard = self.announce();
        // ORDERING: Acquire: pairs with the Release of `replace`.
        let value = self.value.load(Ordering::Acquire, &guard);
        // SAFETY: never null, and not dropped before the guard is (`replace`).
        look(unsafe { value.deref() })
    }

    /// Puts another value in its place. The old one is dropped after a grace period, by a thread that uses this place
    /// then; by this call if no thread is reading.
    pub fn replace(&self, value: T) {
        let guard = self.announce();
        // ORDERING: AcqRel: publishes the new value; what the old one was made of is seen by its drop.
        let old = self.value.swap(Owned::new(value), Ordering::AcqRel, &guard);
        if mutant("replaced_without_grace") {
            // SAFETY: none, which the model is to notice. The memory is not given back, so that a reader can look at it.
            unsafe { std::ptr::drop_in_place(old.as_raw().cast_mut()) };
            return;
        }
        // SAFETY: no new reader finds it, and those that have found it are announced.
        unsafe { guard.defer_destroy(old) };
        guard.flush();
        drop(guard);
        for _ in 0..STEPS {
            self.announce().flush();
        }
    }

    /// Announces the calling thread as a reader.
    #[inline]
    fn announce(&self) -> Guard {
        KNOWN
            .try_with(|known| {
                let mut known = known.borrow_mut();
                match &*known {
                    Some(handle) if *handle.collector() == self.collector => handle.pin(),
                    _ => known.insert(self.collector.register()).pin(),
                }
            })
            // The thread is ending.
            .unwrap_or_else(|_| self.collector.register().pin())
    }
}

impl<T: Send + Sync + 'static> Drop for Grace<T> {
    fn drop(&mut self) {
        let value = std::mem::take(&mut self.value);
        // SAFETY: never null, and no thread can be reading through a place that is dropped.
        drop(unsafe { value.into_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    /// How many of these there are.
    struct Counted(Arc<()>);

    fn counted() -> (Grace<Counted>, Arc<()>) {
        let count = Arc::new(());
        (Grace::new(Counted(Arc::clone(&count))), count)
    }

    #[test]
    fn a_replaced_value_is_dropped_at_once_if_no_thread_reads() {
        let (place, count) = counted();
        for _ in 0..100 {
            place.replace(Counted(Arc::clone(&count)));
            assert_eq!(Arc::strong_count(&count), 2);
        }
        drop(place);
        assert_eq!(Arc::strong_count(&count), 1);
    }

    #[test]
    fn a_value_stays_for_the_thread_that_reads_it_and_goes_when_that_ends() {
        let (place, count) = counted();
        place.read(|old| {
            place.replace(Counted(Arc::clone(&count)));
            thread::scope(|scope| {
                scope.spawn(|| (0..8).for_each(|_| place.replace(Counted(Arc::clone(&count)))));
            });
            assert!(Arc::strong_count(&old.0) > 2, "the one that is read, and the newest");
        });
        (0..4).for_each(|_| place.replace(Counted(Arc::clone(&count))));
        assert_eq!(Arc::strong_count(&count), 2);
    }

    #[test]
    fn readers_beside_replacements_see_whole_values() {
        let place = Grace::new(vec![0_u64; 16]);
        let done = AtomicBool::new(false);
        let rounds = if cfg!(miri) { 20 } else { 20_000 };
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut seen = 0;
                    while !done.load(Ordering::Relaxed) {
                        let first = place.read(|words| {
                            assert!(words.iter().all(|word| *word == words[0]));
                            words[0]
                        });
                        assert!(first >= seen, "{first} after {seen}");
                        seen = first;
                    }
                });
            }
            (1..=rounds).for_each(|round| place.replace(vec![round; 16]));
            done.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn a_thread_that_uses_two_places_by_turns_is_known_to_both() {
        let (one, other) = (Grace::new(1), Grace::new(2));
        for _ in 0..10 {
            one.read(|a| other.read(|b| assert_eq!((*a, *b), (1, 2))));
            other.read(|b| one.read(|a| assert_eq!((*a, *b), (1, 2))));
        }
    }
}
