//! Models: every interleaving of a few threads over the real code, within a bound on preemptions.
//!
//! Run by `tests/loom/run.sh`, which also breaks each rule once (`mutants`) and demands that a model notices.
#![cfg(pagestone_loom)]

mod frames;
mod hits;
mod latches;
mod lifecycle;
mod marks;

use pagestone::frame::{FrameTable, PinOutcome, UnpinOutcome};
use pagestone::units::Pfn;
use std::sync::Arc;

/// Runs `model` under loom with at most `preemptions` a history, or `LOOM_MAX_PREEMPTIONS` where that is set.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(model);
}

/// A table of `chunks` chunks of two frames, with room for all of them.
fn table(chunks: u64) -> Arc<FrameTable> {
    Arc::new(FrameTable::with_capacity(chunks * 2, 8).expect("heap"))
}

const PFN: Pfn = Pfn::new(0);

/// Pins `pfn`, which must be admitted; whether it was the first touch.
fn must_pin(table: &FrameTable, pfn: Pfn) -> bool {
    let outcome = table.pin(pfn);
    assert!(outcome.is_pinned(), "{outcome:?}");
    outcome == PinOutcome::Populated
}

/// Drops a pin that cannot be the last of anything.
fn put(table: &FrameTable, pfn: Pfn) {
    assert_eq!(table.unpin(pfn), UnpinOutcome::Kept);
}

/// The pins of `pfn`; none if it is unpopulated.
fn pins(table: &FrameTable, pfn: Pfn) -> u32 {
    table.peek(pfn).map_or(0, |state| state.pins())
}
