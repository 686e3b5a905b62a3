//! A case: what several threads do to one store at once, on many schedules, and the crash states of each.

use super::{Choice, Sweep, alone, sweep};
use crate::crash::life::HOME;
use crate::crash::oracle::label;
use crate::crash::recover::StoreJudge;
use crate::crash::run::{Live, Rig, Run};
use crate::crash::script::{Op, Script};
use crate::lint::known::{self, Kind};
use crate::lint::{Setting, lint};
use pagestone::media::rules::Rule;
use pagestone::units::Durability;
use pagestone_explorer::pick::Effort;
use pagestone_explorer::{Event, Plan, Report, explore};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Schedules of one sweep. After each sweep the runs are explored and dropped.
const BATCH: usize = 25;
/// Crash states of one schedule: all if there are few, otherwise about this many.
const STATES: u64 = 64;
/// The same where a broken rule must be noticed.
const STATES_BROKEN: u64 = 400;
/// One crash image in this many is checked whole: a check takes ten times as long as all else.
const CHECK_EVERY: u64 = 16;

/// What several threads do.
#[derive(Clone)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// What was done before, with the threads that did it.
    pub before: Vec<(usize, Op)>,
    /// What each thread does.
    pub threads: Vec<Vec<Op>>,
}

/// What was seen of a case.
#[derive(Default)]
pub struct Seen {
    /// Schedules run.
    pub schedules: u64,
    /// Crash states of them, recovered and judged.
    pub states: u64,
    /// The first violation, as a story.
    pub violation: Option<String>,
    /// Time it took.
    pub elapsed: Duration,
}

impl Case {
    /// The script, and for each thread the operation with which the threads begin to run at once.
    fn script(&self) -> (Script, Vec<usize>) {
        let mut script = Script::empty(self.threads.len());
        for (thread, op) in &self.before {
            script.push(*thread, op.clone());
        }
        let starts = script.parts.iter().map(|part| part.ops.len()).collect();
        for (thread, ops) in self.threads.iter().enumerate() {
            ops.iter().for_each(|op| script.push(thread, op.clone()));
        }
        (script, starts)
    }

    /// Runs the case on this many schedules, with `broken` switched off, and explores the crash states of each, until
    /// there is a violation.
    #[must_use]
    pub fn explore(&self, class: Durability, broken: Option<Rule>, seed: u64, schedules: usize) -> Seen {
        let start = Instant::now();
        let rig = broken.map_or(Rig::new(class), |rule| Rig::new(class).breaking(rule));
        let image = alone(move || rig.used().expect("a store can be made"));
        let batches = self.threads.iter().flatten().any(|op| matches!(op, Op::Batch(_)));
        let kind = Kind { class, threads: self.threads.len(), recovery: false, batches };
        let mut seen = Seen::default();
        for batch in 0..schedules.div_ceil(BATCH) as u64 {
            let choice = if batch % 2 == 0 { Choice::Random } else { Choice::Priorities };
            let some = Sweep { seed: seed + batch, schedules: BATCH.min(schedules), choice };
            let (runs, stopped) = self.record(rig, image.clone(), some);
            for (n, (run, from)) in runs.into_iter().enumerate() {
                let report = judge(rig, run, from, kind, broken.is_none());
                seen.schedules += 1;
                seen.states += report.distinct;
                if let Some(story) = report.violation {
                    seen.violation = Some(format!("{some:?}, schedule {n}: {story}"));
                    break;
                }
            }
            if seen.violation.is_none() {
                seen.violation = stopped.map(|why| format!("{some:?} stopped: {why}"));
            }
            if seen.violation.is_some() {
                break;
            }
        }
        Seen { elapsed: start.elapsed(), ..seen }
    }

    /// Records the case on the schedules of a sweep. With each run comes the event from which on the threads ran at once.
    fn record(&self, rig: Rig, image: Vec<u8>, some: Sweep) -> (Vec<(Run, usize)>, Option<String>) {
        let (script, starts) = self.script();
        sweep(some, move || {
            let empty = Script::empty(script.parts.len());
            let live = Live::resume(&rig, HOME, image.clone(), empty, HashMap::new(), true);
            let live = live.expect("the store opens");
            live.load(script.clone());
            let perform = |thread: usize, numbers: std::ops::Range<usize>| {
                for number in numbers {
                    let op = &script.parts[thread].ops[number];
                    let done = live.perform(thread, number, op);
                    done.unwrap_or_else(|error| panic!("t{thread} op {number} {op:?} failed: {error}"));
                }
            };
            starts.iter().enumerate().for_each(|(thread, &start)| perform(thread, 0..start));
            shuttle::thread::scope(|scope| {
                for (thread, &start) in starts.iter().enumerate() {
                    let (perform, end) = (&perform, script.parts[thread].ops.len());
                    scope.spawn(move || perform(thread, start..end));
                }
            });
            let run = live.finish();
            let firsts: Vec<_> = (0..starts.len()).map(|t| label(t, starts[t], false)).collect();
            let first = |event: &Event| matches!(event, Event::Mark { label, .. } if firsts.contains(label));
            let from = run.trace.events.iter().position(first).unwrap_or(0);
            (run, from)
        })
    }
}

/// Judges one run by its lint and by its crash states from an event on.
fn judge(rig: Rig, mut run: Run, from: usize, kind: Kind, kept: bool) -> Report {
    let setting = Setting { log_frames: rig.log_frames, oracle: Some(&run.oracle), ..Setting::default() };
    let found = if kept { known::unexplained(lint(&run.trace, setting), kind) } else { Vec::new() };
    if let Some(first) = found.first() {
        return Report { violation: Some(first.to_string()), ..Report::default() };
    }
    alone(move || {
        let judge = StoreJudge::new(rig, &mut run.oracle, 0, from as u64);
        let mut judge = StoreJudge { check_every: CHECK_EVERY, ..judge };
        let effort = Effort { exhaustive: 8, adversarial: 6, random: 4 };
        let limit = if kept { STATES } else { STATES_BROKEN };
        let cell = if rig.class == Durability::CacheLine { 64 } else { 512 };
        let wide = Plan::wide(cell, from as u64);
        explore(&run.trace, &Plan { effort, between: 0, limit, from, ..wide }, &mut judge)
    })
}
