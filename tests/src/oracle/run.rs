//! Draws cases, runs them, shrinks the first that fails, and tells it as code.

use super::code::{Code, test_of};
use super::step::Case;
use super::world::World;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Chunks of descriptors that the process keeps: few, so that they are reclaimed all the time.
const BUDGET: usize = 6;
/// How often a case with threads is repeated once one has failed: it may need a certain interleaving.
const REPEATS: usize = 12;
/// No step takes so long.
const HANG: Duration = Duration::from_secs(120);

/// Held shared by cases, and alone by those that change a limit of the process.
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

/// Steps done, and how it went.
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

/// How far to look.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Cases, unless one fails.
    pub cases: u32,
    /// Where they come from.
    pub seed: u64,
    /// How long to make a failure smaller.
    pub shrinking: Duration,
}

impl Search {
    /// So many cases, and time to shrink the first that fails.
    #[must_use]
    pub fn of(cases: u32, seed: u64) -> Self {
        Self { cases, seed, shrinking: Duration::from_secs(90) }
    }
}

/// Runs cases of `strategy`.
pub fn explore(strategy: &impl Strategy<Value = Case>, search: Search) -> Outcome {
    let Search { cases, seed, shrinking } = search;
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: if shrinking.is_zero() { 0 } else { 100_000 },
        max_shrink_time: shrinking.as_millis() as u32,
        ..Config::default()
    };
    let mut seeds = [0; 32];
    seeds[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seeds);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let watch = Watch::default();
    let (ran, steps, failing) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let result = std::thread::scope(|scope| {
        scope.spawn(|| watch.guard());
        let result = runner.run(strategy, |case| {
            watch.begin(&case);
            let repeats = if failing.load(Ordering::Relaxed) && case.threads() > 1 { REPEATS } else { 1 };
            for _ in 0..repeats {
                let (done, verdict) = attempt(&case, Code::default());
                ran.fetch_add(1, Ordering::Relaxed);
                steps.fetch_add(done, Ordering::Relaxed);
                if let Err(why) = verdict {
                    failing.store(true, Ordering::Relaxed);
                    return Err(TestCaseError::fail(why));
                }
            }
            Ok(())
        });
        watch.end();
        result
    });
    let failure = match result {
        Ok(()) => None,
        Err(TestError::Fail(why, case)) => Some(tell(&case, &why.to_string())),
        Err(TestError::Abort(why)) => Some(format!("no case could be drawn: {why}")),
    };
    Outcome { cases: ran.into_inner(), steps: steps.into_inner(), failure }
}

/// A failing case as code. It is run again to learn its calls; if it then passes, its first reason is told.
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
