//! Models: every interleaving of a few threads over the real code, within a bound on preemptions.
//!
//! `tests/loom/run.sh` runs them. It also breaks each rule once (`mutants`) and demands that a model fails. The table
//! `pairs` says which transitions race in which model, and why some are in none.
#![cfg(pagestone_loom)]

mod dirt;
mod frames;
mod grace;
mod hits;
mod holds;
mod latches;
mod lifecycle;
mod marks;
mod moves;
mod pairs;
mod turns;

use pagestone::frame::{FrameTable, PinOutcome, UnpinOutcome};
use pagestone::units::Pfn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

/// Preemptions beyond a model's own in the deep run (`PAGESTONE_LOOM=deep`).
const DEEPER: usize = 2;

/// Runs `model` under loom with at most `preemptions` in a history, or `LOOM_MAX_PREEMPTIONS` where that is set, for at
/// most `LOOM_MAX_DURATION` seconds. Prints the number of histories.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let deep = std::env::var("PAGESTONE_LOOM").is_ok_and(|how| how == "deep");
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions + if deep { DEEPER } else { 0 }));
    let (limit, bound) = (builder.max_duration, builder.preemption_bound.unwrap_or_default());
    let (begun, histories) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let count = histories.clone();
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let cut = if limit.is_some_and(|limit| begun.elapsed() >= limit) { "cut off" } else { "all" };
    let name = thread::current().name().unwrap_or_default().to_owned();
    println!("loom: {cut} {} histories, {bound} preemptions: {name}", histories.load(Ordering::Relaxed));
}

/// A table of `chunks` chunks of two frames, with room for all of them.
fn table(chunks: u64) -> Arc<FrameTable> {
    Arc::new(FrameTable::with_capacity(chunks * 2, 8).expect("heap"))
}

const PFN: Pfn = Pfn::new(0);

/// Pins `pfn`, which must be admitted. Returns whether it was the first touch.
fn must_pin(table: &FrameTable, pfn: Pfn) -> bool {
    let outcome = table.pin(pfn);
    assert!(outcome.is_pinned(), "{outcome:?}");
    outcome == PinOutcome::Populated
}

/// Drops a pin that is not the last one of a held or orphaned frame.
fn put(table: &FrameTable, pfn: Pfn) {
    assert_eq!(table.unpin(pfn), UnpinOutcome::Kept);
}

/// The pins of `pfn`; none if it is unpopulated.
fn pins(table: &FrameTable, pfn: Pfn) -> u32 {
    table.peek(pfn).map_or(0, |state| state.pins())
}
