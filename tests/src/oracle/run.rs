//! Runs cases, shrinks the first that fails, and prints it as code.

use super::code::{Code, test_of};
use super::step::Case;
use super::world::World;
use pagestone_kit::random::Random;
use pagestone_workload::shrink::shrink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// The budget of chunks of descriptors: small, so that chunks are reclaimed all the time.
const BUDGET: usize = 6;
/// How often a case with threads is repeated while it is shrunk: the failure may need a certain interleaving.
const REPEATS: usize = 12;
/// A step that takes longer hangs.
const HANG: Duration = Duration::from_secs(120);

/// Cases hold it shared. Cases that change a limit of the process hold it alone.
static LIMITS: RwLock<()> = RwLock::new(());

/// What a run has seen.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Cases.
    pub cases: u64,
    /// Steps in them.
    pub steps: u64,
    /// The first failure, shrunk, as code.
    pub failure: Option<String>,
}

/// Runs a case as it stands.
///
/// # Errors
/// What was not as it should be.
pub fn replay(case: &Case) -> Result<(), String> {
    attempt(case, Code::default()).1
}

/// The number of steps done, and the result.
fn attempt(case: &Case, code: Code) -> (u64, Result<(), String>) {
    let (_shared, _alone);
    if case.squeezes() {
        _alone = LIMITS.write().unwrap_or_else(PoisonError::into_inner);
    } else {
        _shared = LIMITS.read().unwrap_or_else(PoisonError::into_inner);
    }
    pagestone::frame::FrameTable::global().set_budget(BUDGET);
    let mut steps = 0;
    let live = || {
        let mut world = World::new(case, code)?;
        let verdict = world.live(case);
        steps = world.steps;
        verdict
    };
    let verdict = catch_unwind(AssertUnwindSafe(live)).unwrap_or_else(|panic| Err(message(&*panic)));
    (steps, verdict)
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    format!("a panic: {}", text.unwrap_or("of another kind"))
}

/// The extent of a search.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// The number of cases, if none fails.
    pub cases: u32,
    /// The seed of the cases.
    pub seed: u64,
    /// The time for making a failure smaller.
    pub shrinking: Duration,
}

impl Search {
    /// A search of this many cases, with time to shrink the first that fails.
    #[must_use]
    pub fn of(cases: u32, seed: u64) -> Self {
        Self { cases, seed, shrinking: Duration::from_secs(90) }
    }
}

/// Runs cases that `draw` draws.
pub fn explore(draw: impl Fn(&mut Random) -> Case, search: Search) -> Outcome {
    let Search { cases, seed, shrinking } = search;
    let watch = Watch::default();
    let mut outcome = Outcome::default();
    std::thread::scope(|scope| {
        scope.spawn(|| watch.guard());
        for n in 0..cases {
            let case = draw(&mut Random::of(seed, n.into()));
            if let Some(why) = fails(&case, 1, &watch, &mut outcome) {
                let repeats = if case.threads() > 1 { REPEATS } else { 1 };
                let small = shrink(case.listed(), why, shrinking, |steps| {
                    let case = case.with(steps);
                    fails(&case, repeats, &watch, &mut outcome).map(|why| (case.listed(), why))
                });
                outcome.failure = Some(tell(&case.with(&small.list), &small.story));
                break;
            }
        }
        watch.end();
    });
    outcome
}

/// Why the case fails, if it fails in one of this many runs.
fn fails(case: &Case, runs: usize, watch: &Watch, outcome: &mut Outcome) -> Option<String> {
    watch.begin(case);
    (0..runs).find_map(|_| {
        let (done, verdict) = attempt(case, Code::default());
        outcome.cases += 1;
        outcome.steps += done;
        verdict.err()
    })
}

/// A failing case as code. It is run again to learn its calls. If it passes then, the first reason is printed.
#[must_use]
pub fn tell(case: &Case, why: &str) -> String {
    for _ in 0..REPEATS {
        let code = Code::wanted();
        let (_, verdict) = attempt(case, code.clone());
        if let Err(again) = verdict {
            return test_of(case, &code.lines(), &again);
        }
    }
    test_of(case, &["// (repeated, it passed: it needs a certain interleaving)".into()], why)
}

/// Ends the process when a case hangs, and says which.
#[derive(Default)]
struct Watch {
    case: Mutex<Option<(Instant, Case)>>,
    over: AtomicBool,
}

impl Watch {
    fn begin(&self, case: &Case) {
        let now = Some((Instant::now(), case.clone()));
        *self.case.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    fn guard(&self) {
        while !self.over.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(20));
            let case = self.case.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, case)) = case.as_ref().filter(|(begun, _)| begun.elapsed() > HANG) {
                eprintln!("{}", test_of(case, &[], "this case hangs"));
                std::process::abort();
            }
        }
    }
}
