//! The schedules that need objects: frames that change roles, growth, truncation, syncs of several threads, pins. Each
//! runs the real store twice: as it is, where no crash may break it; and with one rule switched off, where the explorer
//! must find a crash that does.

use pagestone::media::rules::Rule;
use pagestone::persist::Event;
use pagestone::store::Store;
use pagestone::units::Durability::{self, CacheLine, Fdatasync};
use pagestone_explorer::{Crash, Judge, Plan, Report, State, Trace, explore};
use pagestone_tests::crash::life::{HOME, SEARCH, rebooted, scaled};
use pagestone_tests::crash::oracle::label;
use pagestone_tests::crash::recover::StoreJudge;
use pagestone_tests::crash::run::{Live, Rig};
use pagestone_tests::crash::script::Op;
use pagestone_workload::pattern::words;
use std::thread;
use std::time::Duration;

const SOON: Duration = Duration::from_millis(150);
const LATER: Duration = Duration::from_secs(10);
pub const PAGE: u64 = 4096;
/// The mark before the first operation.
pub const START: u64 = 0;

const BOTH: &[(Durability, usize)] = &[(CacheLine, 64), (CacheLine, 8), (Fdatasync, 512), (Fdatasync, 8)];
const LINES: &[(Durability, usize)] = &[(CacheLine, 64), (CacheLine, 8)];

/// A schedule: its rule, and what it does with two threads.
pub struct Schedule {
    pub rule: Rule,
    pub media: &'static [(Durability, usize)],
    /// Crashes begin at this mark. What comes before is preparation.
    pub since: u64,
    /// The operations. An error: something went wrong without a crash.
    pub act: fn(&Live) -> Result<(), String>,
}

impl Schedule {
    fn explore(&self, class: Durability, cell: usize, broken: bool) -> Report {
        let rig = if broken { Rig::new(class).breaking(self.rule) } else { Rig::new(class) };
        let live = Live::start(&rig, 2).expect("the store opens");
        live.gated();
        let seen = (self.act)(&live);
        let mut run = live.finish();
        let mut judge = StoreJudge::new(rig, &mut run.oracle, if broken { 0 } else { 32 }, 1);
        let since = |e: &Event| matches!(e, Event::Mark { label, .. } if *label == self.since);
        let from = run.trace.events.iter().position(since).expect("the schedule gets there");
        let limit = if broken { SEARCH } else { scaled(200) };
        let between = if broken { 1 } else { 2 };
        let plan = Plan { limit, from, between, ..Plan::wide(cell, 1) };
        let mut report = explore(&run.trace, &plan, &mut judge);
        report.deeper = judge.deeper;
        report.violation = seen.err().or(report.violation);
        report
    }

    pub fn holds_only_with_its_rule(&self) {
        for &(class, cell) in self.media {
            let report = self.explore(class, cell, false);
            println!("{:?} kept,   {class:10} {cell:3}: {report}", self.rule);
            if let Some(story) = report.violation {
                panic!("{class}, cells of {cell}: {story}");
            }
        }
        for &(class, cell) in self.media {
            let report = self.explore(class, cell, true);
            println!("{:?} broken, {class:10} {cell:3}: {report}", self.rule);
            let story = report
                .violation
                .unwrap_or_else(|| panic!("{class}, {cell}: no crash shows {:?} broken", self.rule));
            println!("    {}", story.lines().next().unwrap_or_default());
        }
    }
}

pub fn name(thread: usize, letter: &str) -> String {
    format!("t{thread}.{letter}")
}

/// An object of `pages` pages, synced.
pub fn object(live: &Live, thread: usize, letter: &str, pages: u64) -> u16 {
    let object = live.fresh();
    live.run(thread, Op::Create(object, name(thread, letter))).unwrap();
    if pages > 0 {
        live.run(thread, Op::Write(object, 0, pages * PAGE)).unwrap();
    }
    live.run(thread, Op::SyncAll).unwrap();
    object
}

/// Does enough operations that the log wraps and its tail passes all that was appended before.
pub fn wrap(live: &Live, thread: usize) {
    let object = object(live, thread, "wrap", 0);
    for round in 1..=140 {
        live.run(thread, Op::SetLen(object, round * 8)).unwrap();
    }
    live.run(thread, Op::SyncAll).unwrap();
}

/// LOG rule 2: a map node is freed and becomes data. An older record that is still live must not store its words into the
/// data.
#[test]
fn rule_2_a_map_node_does_not_become_data_too_early() {
    fn act(live: &Live) -> Result<(), String> {
        let a = live.fresh();
        live.run(0, Op::Create(a, name(0, "a"))).unwrap();
        live.run(0, Op::Write(a, 600 * PAGE, 8)).unwrap();
        live.run(0, Op::SyncAll).unwrap();
        live.run(0, Op::SetLen(a, 0)).unwrap();
        live.run(0, Op::SyncAll).unwrap();
        let b = live.fresh();
        live.run(0, Op::Create(b, name(0, "b"))).unwrap();
        live.run(0, Op::Write(b, 0, 30 * PAGE)).unwrap();
        live.run(0, Op::Sync(b)).unwrap();
        Ok(())
    }
    Schedule { rule: Rule::RoleReuse, media: BOTH, since: START, act }.holds_only_with_its_rule();
}

/// LOG rule 2: freed data is not used again before the record that freed it is passed. Otherwise the former owner, if a
/// power loss brings it back, shows the new owner's bytes.
#[test]
fn rule_2_freed_data_is_not_reused_too_early() {
    fn act(live: &Live) -> Result<(), String> {
        let a = object(live, 0, "a", 4);
        live.run(0, Op::SetLen(a, 0)).unwrap();
        let b = live.fresh();
        live.run(0, Op::Create(b, name(0, "b"))).unwrap();
        live.run(0, Op::Write(b, 0, 30 * PAGE)).unwrap();
        Ok(())
    }
    Schedule { rule: Rule::RoleReuse, media: BOTH, since: START, act }.holds_only_with_its_rule();
}

/// LOG rule 2, for blocks: a run goes back to the disk only when the records that freed it are passed. Otherwise the former
/// owner, if a power loss brings it back, shows zeros.
#[test]
fn rule_2_freed_data_is_not_punched_too_early() {
    fn act(live: &Live) -> Result<(), String> {
        let a = object(live, 0, "a", 4);
        live.run(0, Op::SetLen(a, 0)).unwrap();
        live.run(0, Op::Compact).unwrap();
        let b = object(live, 0, "b", 30);
        live.run(0, Op::SetLen(b, 0)).unwrap();
        live.run(0, Op::Compact).unwrap();
        live.run(0, Op::Write(b, 0, 6 * PAGE)).unwrap();
        live.run(0, Op::Sync(b)).unwrap();
        Ok(())
    }
    Schedule { rule: Rule::PunchEarly, media: BOTH, since: START, act }.holds_only_with_its_rule();
}

/// LOG rule 13: the file's end is cut when the records that gave it up are passed: before, a recovery may still want it.
#[test]
fn rule_13_the_end_is_cut_when_its_records_are_passed() {
    fn act(live: &Live) -> Result<(), String> {
        object(live, 0, "a", 150);
        live.run(0, Op::Unlink(name(0, "a"), true)).unwrap();
        live.run(0, Op::Compact).unwrap();
        let b = object(live, 0, "b", 100);
        live.run(0, Op::SetLen(b, 3 * PAGE)).unwrap();
        live.run(0, Op::Compact).unwrap();
        live.run(0, Op::Write(b, 2 * PAGE, 20 * PAGE)).unwrap();
        live.run(0, Op::Sync(b)).unwrap();
        Ok(())
    }
    Schedule { rule: Rule::CutEarly, media: BOTH, since: label(0, 3, false), act }.holds_only_with_its_rule();
}

/// LOG rule 3: growth uncovers zeros, never what was cut off.
#[test]
fn rule_3_growth_uncovers_zeros() {
    fn act(live: &Live) -> Result<(), String> {
        let a = object(live, 0, "a", 1);
        live.run(0, Op::SetLen(a, 100)).unwrap();
        live.run(0, Op::SetLen(a, 3000)).unwrap();
        live.run(0, Op::SyncAll).unwrap();
        Ok(())
    }
    Schedule { rule: Rule::GrowthTail, media: BOTH, since: START, act }.holds_only_with_its_rule();
}

/// LOG rule 3: a thread that has stored past the cache fences before it appends the record that publishes the bytes.
/// Another thread's commit cannot reach what this processor still buffers.
#[test]
fn rule_3_non_temporal_stores_are_fenced_before_the_append() {
    fn act(live: &Live) -> Result<(), String> {
        object(live, 0, "former", 8);
        live.run(0, Op::Unlink(name(0, "former"), true)).unwrap();
        wrap(live, 0);
        thread::scope(|scope| {
            scope.spawn(|| {
                let b = live.fresh();
                live.run(1, Op::Create(b, name(1, "b"))).unwrap();
                live.run(1, Op::Write(b, 0, 20 * PAGE)).unwrap();
            });
        });
        live.run(0, Op::SyncAll).unwrap();
        Ok(())
    }
    Schedule { rule: Rule::NtFence, media: LINES, since: label(1, 0, false), act }.holds_only_with_its_rule();
}

/// LOG rule 6: a sync returns only when the syncs that took dirty bits before it have completed.
#[test]
fn rule_6_a_sync_waits_for_bits_that_another_took() {
    fn act(live: &Live) -> Result<(), String> {
        let a = object(live, 0, "a", 1);
        live.run(0, Op::Write(a, 64, 128)).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                live.gate.stop_me_before(|e| matches!(e, Event::Flush { .. } | Event::SyncEnd { .. }));
                live.run(0, Op::Sync(a)).unwrap();
            });
            assert!(live.gate.wait_stopped(LATER), "the first sync has something to flush");
            scope.spawn(|| live.run(1, Op::Sync(a)).unwrap());
            thread::sleep(SOON);
            live.gate.open();
        });
        Ok(())
    }
    Schedule { rule: Rule::SyncEarlier, media: BOTH, since: START, act }.holds_only_with_its_rule();
}

/// LOG rule 12: a step clears the word in the leaf and the bit in the bitmap together.
#[test]
fn rule_12_a_step_clears_word_and_bit_together() {
    fn act(live: &Live) -> Result<(), String> {
        let a = object(live, 0, "a", 3);
        live.run(0, Op::SetLen(a, 0)).unwrap();
        live.run(0, Op::SyncAll).unwrap();
        Ok(())
    }
    Schedule { rule: Rule::StepSplits, media: BOTH, since: START, act }.holds_only_with_its_rule();
}

/// LOG rule 12: a record that changes a bitmap also changes the bitmap's entry in the table of groups.
#[test]
fn rule_12_a_bit_and_its_tally_change_together() {
    fn act(live: &Live) -> Result<(), String> {
        let a = object(live, 0, "a", 3);
        live.run(0, Op::SetLen(a, PAGE)).unwrap();
        live.run(0, Op::SyncAll).unwrap();
        Ok(())
    }
    Schedule { rule: Rule::TallyApart, media: BOTH, since: START, act }.holds_only_with_its_rule();
}

/// A detached frame is not used again before its last pin has gone: a thread that has a pin still sees the bytes it pinned.
#[test]
fn a_detached_frame_is_not_reused_before_its_last_unpin() {
    fn act(live: &Live) -> Result<(), String> {
        let a = object(live, 0, "a", 2);
        let pin =
            live.store.open(name(0, "a")).unwrap().pin(pagestone::units::PageIndex(1)).unwrap().unwrap();
        live.run(0, Op::SetLen(a, 0)).unwrap();
        wrap(live, 0);
        // Small objects: they get the lowest free frames.
        for letter in ["b", "c", "d", "e"] {
            object(live, 0, letter, 1);
        }
        let mut seen = [0; 64];
        seen.copy_from_slice(&pin.read().unwrap()[..64]);
        drop(pin);
        live.run(0, Op::SetLen(a, 8)).unwrap();
        live.run(0, Op::SyncAll).unwrap();
        if seen[..] == words(a, 1, PAGE..PAGE + 64) {
            Ok(())
        } else {
            Err("the pinned page shows another object's bytes".into())
        }
    }
    Schedule { rule: Rule::ReuseBeforeUnpin, media: BOTH, since: label(0, 147, false), act }
        .holds_only_with_its_rule();
}

/// LOG rule 12: an object does not grow while it is being truncated. The first life truncates and dies, the second writes
/// beyond the cut and dies. The third must not truncate what the second wrote.
#[test]
fn rule_12_growth_finishes_the_truncation_first() {
    for broken in [false, true] {
        for &(class, cell) in BOTH {
            let rig = Rig::new(class);
            let rig = if broken { rig.breaking(Rule::GrowWhileTruncating) } else { rig };
            let live = Live::start(&rig, 1).unwrap();
            let a = object(&live, 0, "a", 3);
            live.run(0, Op::SetLen(a, 0)).unwrap();
            live.run(0, Op::SyncAll).unwrap();
            let trace = live.finish().trace;
            let cut = label(0, 3, false);
            let from = trace
                .events
                .iter()
                .rposition(|e| matches!(e, Event::Mark { label, .. } if *label == cut))
                .unwrap();
            let limit = if broken { SEARCH } else { scaled(60) };
            let plan = Plan { from, limit, between: 1, ..Plan::wide(cell, 1) };
            let report = explore(&trace, &plan, &mut SecondLife { rig });
            println!("GrowWhileTruncating {broken:5}, {class:10} {cell:3}: {report}");
            assert_eq!(report.violation.is_some(), broken, "{class} {cell}: {:?}", report.violation);
        }
    }
}

/// Opens the truncated object, grows it and syncs. This life is crashed too.
struct SecondLife {
    rig: Rig,
}

impl Judge for SecondLife {
    fn judge(&mut self, state: &State<'_>) -> Result<(), String> {
        let recorder = pagestone::persist::Recorder::new();
        // The interesting crash is the one between the cut and its first step. Only the death of a process leaves it
        // behind.
        let identity = if state.crash == Crash::Death { HOME } else { rebooted(HOME) };
        let options = self.rig.options(identity).recorder(recorder.clone());
        let store = options.open_image(state.image.to_vec()).map_err(|e| format!("opening fails: {e}"))?;
        let a = store.open(name(0, "a")).map_err(|e| format!("the object is gone: {e}"))?;
        if !a.is_empty() {
            return Ok(());
        }
        a.write_at(2 * PAGE, &[7; 16]).map_err(|e| format!("growth fails: {e}"))?;
        a.sync().map_err(|e| format!("sync fails: {e}"))?;
        recorder.mark(0);
        let trace = Trace { base: state.image.to_vec(), events: recorder.take(), class: self.rig.class };
        let at = trace.events.len() - 1;
        let plan = Plan { from: at, limit: 20, ..Plan::wide(64, 1) };
        let report = explore(&trace, &plan, &mut ThirdLife { rig: self.rig });
        report.violation.map_or(Ok(()), Err)
    }
}

/// Lets recovery finish, then looks for what the second life has synced.
struct ThirdLife {
    rig: Rig,
}

impl ThirdLife {
    fn look(store: &Store) -> Result<(), String> {
        let mut bytes = [0; 16];
        let a = store.open(name(0, "a")).map_err(|e| format!("the object is gone: {e}"))?;
        a.read_at(2 * PAGE, &mut bytes).map_err(|e| format!("reading fails: {e}"))?;
        if bytes == [7; 16] {
            Ok(())
        } else {
            Err("page 2 was synced and is lost: truncated after it grew".into())
        }
    }
}

impl Judge for ThirdLife {
    fn judge(&mut self, state: &State<'_>) -> Result<(), String> {
        if state.marks == 0 {
            return Ok(());
        }
        let options = self.rig.options(rebooted(rebooted(HOME)));
        let store = options.open_image(state.image.to_vec()).map_err(|e| format!("opening fails: {e}"))?;
        // The first change finishes what former lives began.
        store.create("any").map_err(|e| format!("the first change fails: {e}"))?;
        Self::look(&store)
    }
}
