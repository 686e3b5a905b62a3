//! A value that is replaced as a whole, beside a thread that reads it.

use super::explore;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use pagestone::sync::Grace;
use std::sync::Arc;

/// Says when it is dropped.
struct Value {
    dropped: Arc<AtomicBool>,
}

impl Drop for Value {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_value_is_not_dropped_under_a_thread_that_reads_it() {
    explore(2, || {
        let dropped = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let value = |n: usize| Value { dropped: Arc::clone(&dropped[n]) };
        let place = Arc::new(Grace::new(value(0)));
        let reader = thread::spawn({
            let place = Arc::clone(&place);
            move || {
                place.read(|value| {
                    assert!(!value.dropped.load(Ordering::Relaxed), "dropped while it is read");
                });
            }
        });
        place.replace(value(1));
        place.read(|value| assert!(Arc::ptr_eq(&value.dropped, &dropped[1]), "the old one is found no more"));
        reader.join().expect("no panic");
    });
}
