//! Operations and when they ran.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use todc_utils::specifications::Specification;
use todc_utils::{Action, History, WGLChecker};

/// A clock that orders the calls and returns of all threads.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<AtomicU64>);

/// An operation that returned.
#[derive(Clone, Debug)]
pub struct Done<T> {
    begin: u64,
    end: u64,
    /// The operation with its answer.
    pub what: T,
}

impl Clock {
    /// Runs `act`, and notes when that was.
    pub fn time<T>(&self, act: impl FnOnce() -> T) -> Done<T> {
        // Sequentially consistent: what returned before another was called has a smaller number.
        let begin = self.0.fetch_add(1, Ordering::SeqCst);
        let what = act();
        Done { begin, end: self.0.fetch_add(1, Ordering::SeqCst), what }
    }
}

impl<T> Done<T> {
    /// The same call, seen as `what`.
    pub fn seen_as<U>(&self, what: U) -> Done<U> {
        Done { begin: self.begin, end: self.end, what }
    }
}

/// Looks for an order of the operations in which each has its answer, and none comes before an operation that had
/// returned when it was called.
///
/// # Errors
/// If there is no such order: the operations, in the order of calls.
pub fn judge<S: Specification>(mut done: Vec<Done<S::Operation>>) -> Result<(), String>
where
    S::Operation: Clone + Debug,
{
    if done.is_empty() {
        return Ok(());
    }
    done.sort_by_key(|done| done.begin);
    let mut actions = Vec::new();
    // Each operation as a process of its own, since one call may be several operations.
    for (process, done) in done.iter().enumerate() {
        actions.push((done.begin, (process, Action::Call(done.what.clone()))));
        actions.push((done.end, (process, Action::Response(done.what.clone()))));
    }
    actions.sort_by_key(|action| action.0);
    if WGLChecker::<S>::is_linearizable(History::from_actions(actions.into_iter().map(|a| a.1).collect())) {
        return Ok(());
    }
    let lines = done.iter().map(|done| format!("{:>6} to {:>6}  {:?}", done.begin, done.end, done.what));
    Err(format!("no order explains these operations:\n{}", lines.collect::<Vec<_>>().join("\n")))
}
