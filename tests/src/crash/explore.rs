//! Walks a recorded run and shows a judge every crash image worth seeing.

use super::event::Event;
use super::medium::{Medium, hash_word, mix, set_word, word_at};
use super::pick::{Dice, Effort, Open, picks};
use super::story;
use pagestone::units::Durability;
use std::collections::HashSet;
use std::fmt;
use std::time::{Duration, Instant};

/// A recorded run: what the medium held before, and what happened to it.
pub struct Trace {
    /// The medium before the first event; all of it durable.
    pub base: Vec<u8>,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// The class of the region.
    pub class: Durability,
}

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Crash {
    /// The machine lost power: only what the medium guarantees, and anything else it may have kept.
    Power,
    /// The process died: every store is in the page cache.
    Death,
}

/// One crash image.
pub struct State<'a> {
    /// The medium's bytes.
    pub image: &'a [u8],
    /// How the run ended.
    pub crash: Crash,
    /// How many `Mark` events lie before the crash.
    pub marks: usize,
    /// How many events took effect before the crash.
    pub point: usize,
}

/// What to explore, and how far.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Bytes of a cell: 64 or 8 on cache lines, 512 or 8 under `fdatasync`.
    pub cell: usize,
    /// Picks per crash point.
    pub effort: Effort,
    /// One event in so many is a crash point although nothing becomes durable there (0: none).
    pub between: u64,
    /// Whether to look at power losses.
    pub power: bool,
    /// Whether to look at process deaths.
    pub death: bool,
    /// Stop after so many distinct states.
    pub limit: u64,
    /// Seed of everything left to chance.
    pub seed: u64,
    /// Events before this one are history: no crash there.
    pub from: usize,
}

impl Plan {
    /// Everything a small case has to offer.
    #[must_use]
    pub fn thorough(cell: usize, seed: u64) -> Self {
        let effort = Effort { exhaustive: 4096, adversarial: 256, random: 256 };
        Self { cell, effort, between: 4, power: true, death: true, limit: u64::MAX, seed, from: 0 }
    }
    /// Few states of each of many crash points, for long runs.
    #[must_use]
    pub fn wide(cell: usize, seed: u64) -> Self {
        let effort = Effort { exhaustive: 12, adversarial: 8, random: 6 };
        Self { cell, effort, between: 16, power: true, death: true, limit: u64::MAX, seed, from: 0 }
    }
}

/// What an exploration saw.
#[derive(Clone, Default, Debug)]
pub struct Report {
    /// Crash points.
    pub points: u64,
    /// Images built.
    pub images: u64,
    /// Distinct pairs of image and acknowledgements, each judged.
    pub distinct: u64,
    /// The first violation, as a story.
    pub violation: Option<String>,
    /// Time it took.
    pub elapsed: Duration,
}

impl Report {
    /// Adds another exploration's counts; keeps the first violation.
    pub fn absorb(&mut self, other: Self) {
        self.points += other.points;
        self.images += other.images;
        self.distinct += other.distinct;
        self.elapsed += other.elapsed;
        self.violation = self.violation.take().or(other.violation);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.distinct as f64 / self.elapsed.as_secs_f64().max(1e-9);
        let Self { points, images, distinct, elapsed, .. } = self;
        write!(f, "{points:6} points {images:8} images {distinct:8} distinct {rate:7.0}/s {elapsed:8.2?}")
    }
}

/// Decides whether a crash image is lawful.
pub trait Judge {
    /// Recovers the image and compares; the error is the reason why it is not lawful.
    ///
    /// # Errors
    /// What was lost, leaked or contradictory.
    fn judge(&mut self, state: &State<'_>) -> Result<(), String>;
    /// What a mark stands for, in a story.
    fn label(&self, label: u64) -> String {
        format!("mark {label}")
    }
    /// What lies at a byte offset, in a story.
    fn place(&self, offset: u64) -> String {
        format!("frame {}", offset / 4096)
    }
}

/// Explores `trace` by `plan` until the judge objects or nothing is left.
pub fn explore(trace: &Trace, plan: &Plan, judge: &mut dyn Judge) -> Report {
    let medium = Medium::new(&trace.base, trace.class, plan.cell);
    let mut walk =
        Walk { trace, plan, judge, medium, marks: 0, seen: HashSet::new(), report: Report::default() };
    let start = Instant::now();
    walk.run();
    Report { elapsed: start.elapsed(), ..walk.report }
}

struct Walk<'a> {
    trace: &'a Trace,
    plan: &'a Plan,
    judge: &'a mut dyn Judge,
    medium: Medium,
    marks: usize,
    seen: HashSet<u64>,
    report: Report,
}

impl Walk<'_> {
    fn run(&mut self) {
        let mut dice = Dice::new(self.plan.seed);
        for (i, event) in self.trace.events.iter().enumerate() {
            if i >= self.plan.from {
                let chance = self.plan.between != 0 && dice.once_in(self.plan.between);
                if settles(event, self.trace.class) || chance {
                    self.point(i, &mut dice);
                }
            }
            self.medium.step(event);
            if matches!(event, Event::Mark { .. }) {
                self.marks += 1;
                if i >= self.plan.from {
                    self.point(i + 1, &mut dice);
                }
            }
            if self.over() {
                return;
            }
        }
        self.point(self.trace.events.len(), &mut dice);
    }

    fn over(&self) -> bool {
        self.report.violation.is_some() || self.report.distinct >= self.plan.limit
    }

    fn point(&mut self, point: usize, dice: &mut Dice) {
        self.report.points += 1;
        if self.plan.death {
            let (image, hash) = self.medium.current();
            let state = State { image, crash: Crash::Death, marks: self.marks, point };
            let verdict = look(&mut self.seen, &mut self.report, self.judge, &state, hash);
            if let Err(why) = verdict {
                self.report.violation = Some(story::death(self.trace, point, self.judge, &why));
            }
        }
        if self.plan.power && !self.over() {
            self.power(point, dice);
        }
    }

    fn power(&mut self, point: usize, dice: &mut Dice) {
        let cells: Vec<_> = self.medium.pending().collect();
        let open: Vec<Open> =
            cells.iter().map(|(offset, h)| Open { offset: *offset, stores: h.len() as u32 }).collect();
        let (durable, durable_hash) = self.medium.durable();
        let mut image = durable.to_vec();
        let mut undo: Vec<(u32, u64)> = Vec::new();
        let mut culprit = None;
        picks(&open, self.plan.effort, dice, |pick| {
            let mut hash = durable_hash;
            for ((_, history), &survive) in cells.iter().zip(pick) {
                for s in history.iter().take(survive as usize) {
                    let old = word_at(&image, s.word as usize);
                    undo.push((s.word, old));
                    hash ^= hash_word(s.word, old) ^ hash_word(s.word, s.value);
                    set_word(&mut image, s.word as usize, s.value);
                }
            }
            let state = State { image: &image, crash: Crash::Power, marks: self.marks, point };
            if let Err(why) = look(&mut self.seen, &mut self.report, self.judge, &state, hash) {
                culprit = Some((pick.to_vec(), why));
            }
            for (word, old) in undo.drain(..).rev() {
                set_word(&mut image, word as usize, old);
            }
            culprit.is_none() && self.report.distinct < self.plan.limit
        });
        if let Some((pick, why)) = culprit {
            let survivors = story::Survivors { open: &open, pick: &pick };
            self.report.violation = Some(story::power(self.trace, point, &survivors, self.judge, &why));
        }
    }
}

fn look(
    seen: &mut HashSet<u64>,
    report: &mut Report,
    judge: &mut dyn Judge,
    state: &State<'_>,
    hash: u64,
) -> Result<(), String> {
    report.images += 1;
    let key = hash ^ mix(state.marks as u64 * 2 + u64::from(state.crash == Crash::Death) + 1);
    if !seen.insert(mix(key ^ state.image.len() as u64)) {
        return Ok(());
    }
    report.distinct += 1;
    judge.judge(state)
}

/// Whether something becomes durable at this event: the states just before it are a superset of those since the
/// last such event.
fn settles(event: &Event, class: Durability) -> bool {
    match event {
        Event::Fence { .. } => class == Durability::CacheLine,
        Event::SyncEnd { .. } | Event::WriteThroughEnd { .. } => class != Durability::CacheLine,
        Event::Grow { .. } => true,
        _ => false,
    }
}
