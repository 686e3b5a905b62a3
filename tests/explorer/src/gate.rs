//! Scripted interleavings: a thread stops just before an event of its own, others go on, and then it goes on too. The
//! engine knows nothing of this: the recorder asks the gate before each event.

use crate::Event;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

type Wanted = Box<dyn FnMut(&Event) -> bool + Send>;

/// Holds one thread at a chosen event.
#[derive(Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    wanted: Option<(ThreadId, Wanted)>,
    stopped: bool,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

impl Gate {
    /// A gate that is open.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The calling thread will stop before the next event that `wanted` accepts.
    pub fn stop_me_before(&self, wanted: impl FnMut(&Event) -> bool + Send + 'static) {
        self.lock().wanted = Some((thread::current().id(), Box::new(wanted)));
    }

    /// Waits until the thread has stopped; false if it did not in time.
    #[must_use]
    pub fn wait_stopped(&self, limit: Duration) -> bool {
        let state = self.lock();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, limit, |s| !s.stopped)
            .unwrap_or_else(PoisonError::into_inner);
        state.stopped
    }

    /// Lets the stopped thread go on, and stops no other.
    pub fn open(&self) {
        let mut state = self.lock();
        state.wanted = None;
        state.stopped = false;
        self.changed.notify_all();
    }

    /// The recorder calls this before each event, on the thread that is about to cause it.
    pub fn pass(&self, event: &Event) {
        let mut state = self.lock();
        let me = thread::current().id();
        let stop = state.wanted.as_mut().is_some_and(|(thread, wanted)| *thread == me && wanted(event));
        if !stop {
            return;
        }
        state.wanted = None;
        state.stopped = true;
        self.changed.notify_all();
        // A forgotten gate must not hang the tests: it opens by itself after a while.
        let limit = Duration::from_secs(20);
        drop(self.changed.wait_timeout_while(state, limit, |s| s.stopped));
    }
}
