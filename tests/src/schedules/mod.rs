//! Schedules of several threads on the real engine, chosen by shuttle (built with `--cfg pagestone_shuttle`).
//!
//! Everything of the engine, opening an image included, must happen in a body that runs here: its locks and atomics
//! are shuttle's. What a body returns must hold none of them.

pub mod case;
pub mod turns;
pub mod workloads;

use shuttle::scheduler::{PctScheduler, RandomScheduler, RoundRobinScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

/// Which thread runs next.
#[derive(Clone, Copy, Debug)]
pub enum Choice {
    /// Any thread, at every step.
    Random,
    /// The thread with the highest priority, and few changes of priorities at unlikely moments.
    Priorities,
}

/// A number of schedules from one seed. The same sweep of the same body repeats them.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// The seed of the choices.
    pub seed: u64,
    /// How many schedules.
    pub schedules: usize,
    /// How they are chosen.
    pub choice: Choice,
}

/// Changes of priorities in a schedule.
const CHANGES: usize = 3;
/// Bytes of a stack: more than any thread of a test needs.
const STACK: usize = 512 << 10;

/// Runs `body` on each schedule of `sweep`. Returns what it returned each time; and the reason, if it panicked or all its
/// threads waited for each other, which ends the sweep.
pub fn sweep<T: Send + 'static>(
    sweep: Sweep,
    body: impl Fn() -> T + Send + Sync + 'static,
) -> (Vec<T>, Option<String>) {
    let Sweep { seed, schedules, choice } = sweep;
    match choice {
        Choice::Random => run(RandomScheduler::new_from_seed(seed, schedules), body),
        Choice::Priorities => run(PctScheduler::new_from_seed(seed, CHANGES, schedules), body),
    }
}

/// Runs `body` once, on one thread.
///
/// # Panics
/// As the body does.
pub fn alone<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let body = Mutex::new(Some(body));
    let once = move || {
        let body = body.lock().unwrap_or_else(PoisonError::into_inner).take();
        body.map(|body| body())
    };
    match run(RoundRobinScheduler::new(1), once) {
        (mut done, None) => done.pop().flatten().expect("the body has run"),
        (_, Some(why)) => panic!("{why}"),
    }
}

fn run<T: Send + 'static>(
    scheduler: impl Scheduler + 'static,
    body: impl Fn() -> T + Send + Sync + 'static,
) -> (Vec<T>, Option<String>) {
    let mut config = Config::new();
    config.stack_size = STACK;
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::None;
    config.silence_warnings = true;
    let done = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&done);
    let runner = Runner::new(scheduler, config);
    let ran = catch_unwind(AssertUnwindSafe(|| {
        runner.run(move || {
            let result = body();
            keep.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        })
    }));
    let done = std::mem::take(&mut *done.lock().unwrap_or_else(PoisonError::into_inner));
    (done, ran.err().map(|panic| message(&*panic)))
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".into())
}
