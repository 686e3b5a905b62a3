//! Goes through a recorded run and shows a judge the crash images that matter.

use crate::Event;
use crate::medium::{Medium, Stored, failures, hash_word, set_word, word_at};
use crate::pick::{Effort, Open, picks};
use crate::shrink::least;
use crate::story;
use pagestone::units::Durability;
use pagestone_kit::random::{Random, mix};
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::ops::Range;
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
    /// The machine lost power: what the medium guarantees is there, and any of the rest may be.
    Power,
    /// The process died: every store is in the page cache.
    Death,
    /// The process died after a flush had failed: the next opening drops the page cache, so that it sees what a
    /// power loss leaves, on the same boot.
    Dropped,
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
    medium: &'a Medium,
}

impl State<'_> {
    /// The medium on which the next life begins. A power loss leaves the image. After the death of a process all that it
    /// stored is still there, durable or not.
    #[must_use]
    pub fn next_life(&self) -> Medium {
        match self.crash {
            Crash::Death => self.medium.outlive(),
            Crash::Power | Crash::Dropped => Medium::new(self.image, self.medium.class(), self.medium.cell()),
        }
    }
}

/// What to explore, and how far.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Bytes of a cell: 64 or 8 on cache lines, 512 or 8 under `fdatasync`.
    pub cell: usize,
    /// Picks per crash point.
    pub effort: Effort,
    /// One event in this many is a crash point although nothing becomes durable there (0: none).
    pub between: u64,
    /// Whether to look at power losses.
    pub power: bool,
    /// Whether to look at process deaths.
    pub death: bool,
    /// About the most distinct states, spread evenly over the run.
    pub limit: u64,
    /// Seed of everything left to chance.
    pub seed: u64,
    /// No crash comes before this event.
    pub from: usize,
}

impl Plan {
    /// Every state, for small cases.
    #[must_use]
    pub fn thorough(cell: usize, seed: u64) -> Self {
        let effort = Effort { exhaustive: 4096, adversarial: 96, random: 64 };
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
    /// States of crashes inside recovery and after it. (They are not compared with each other: each recovery draws a
    /// random epoch, so nearly all differ.)
    pub deeper: u64,
    /// The first violation, as a story.
    pub violation: Option<String>,
    /// The time that it took.
    pub elapsed: Duration,
}

impl Report {
    /// Adds another exploration's counts; keeps the first violation.
    pub fn absorb(&mut self, other: Self) {
        self.points += other.points;
        self.images += other.images;
        self.distinct += other.distinct;
        self.deeper += other.deeper;
        self.elapsed += other.elapsed;
        self.violation = self.violation.take().or(other.violation);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = (self.distinct + self.deeper) as f64 / self.elapsed.as_secs_f64().max(1e-9);
        let Self { points, images, distinct, deeper, elapsed, .. } = self;
        write!(f, "{points:6} points {images:8} images {distinct:8} distinct ")?;
        write!(f, "+ {deeper:7} of recovery {rate:6.0}/s {elapsed:8.2?}")
    }
}

/// Decides whether a crash image is lawful.
pub trait Judge {
    /// Recovers the image and compares; the error is the reason why it is not lawful.
    ///
    /// # Errors
    /// What was lost, leaked or contradictory.
    fn judge(&mut self, state: &State<'_>) -> Result<(), String>;
    /// The words for a mark in a story.
    fn label(&self, label: u64) -> String {
        format!("mark {label}")
    }
    /// For the death of a process after a failed file operation: the bytes that the next opening has read when it drops
    /// the page cache, or `None` if it does not drop it. `cached` is the page cache.
    fn read_before_drop(&self, _cached: &[u8]) -> Option<Range<usize>> {
        None
    }
    /// The words for a byte offset in a story.
    fn place(&self, offset: u64) -> String {
        format!("frame {}", offset / 4096)
    }
}

/// Explores `trace` by `plan` until the judge objects or nothing is left.
pub fn explore(trace: &Trace, plan: &Plan, judge: &mut dyn Judge) -> Report {
    explore_on(Medium::new(&trace.base, trace.class, plan.cell), trace, plan, judge)
}

/// As [`explore`], for a life that begins on `medium`: its bytes are the trace's base, but not all of them are durable.
pub fn explore_on(medium: Medium, trace: &Trace, plan: &Plan, judge: &mut dyn Judge) -> Report {
    if let Some(point) = trace.events.iter().position(|event| matches!(event, Event::Bypass { .. })) {
        return Report { violation: Some(story::bypass(trace, point, judge)), ..Report::default() };
    }
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
        let mut dice = Random::new(self.plan.seed);
        let failures = failures(&self.trace.events);
        for (i, event) in self.trace.events.iter().enumerate() {
            if i >= self.plan.from {
                let mut chance = || self.plan.between != 0 && dice.once_in(self.plan.between);
                if settles(event, self.trace.class) || (!self.sated(i) && chance()) {
                    self.point(i, &mut dice);
                }
            }
            if failures.contains(&i) {
                self.medium.fail(event);
            } else {
                self.medium.step(event);
            }
            if matches!(event, Event::Mark { .. }) {
                self.marks += 1;
                if i >= self.plan.from {
                    self.point(i + 1, &mut dice);
                }
            }
            if self.report.violation.is_some() {
                return;
            }
        }
        self.point(self.trace.events.len(), &mut dice);
    }

    /// Whether the run has had its share of states up to this event.
    fn sated(&self, point: usize) -> bool {
        let (done, all) = (point.saturating_sub(self.plan.from), self.trace.events.len() - self.plan.from);
        let share = u128::from(self.plan.limit) * (done as u128 + 1) / (all as u128 + 1);
        self.report.violation.is_some() || u128::from(self.report.distinct) >= share
    }

    /// Shows the crashes at this point: all that the plan asks for, or only the extremes when the run has had its share.
    fn point(&mut self, point: usize, dice: &mut Random) {
        self.report.points += 1;
        let dropped =
            self.medium.failed().then(|| self.judge.read_before_drop(self.medium.current().0)).flatten();
        if self.plan.death && dropped.is_none() {
            let (image, hash) = self.medium.current();
            let (marks, medium) = (self.marks, &self.medium);
            let state = State { image, crash: Crash::Death, marks, point, medium };
            let verdict = look(&mut self.seen, &mut self.report, self.judge, &state, hash);
            if let Err(why) = verdict {
                self.report.violation = Some(story::death(self.trace, point, self.judge, &why));
            }
        }
        if self.plan.power && self.report.violation.is_none() {
            self.power(point, Crash::Power, 0..0, dice);
        }
        if let (true, Some(read), None) = (self.plan.death, dropped, &self.report.violation) {
            self.power(point, Crash::Dropped, read, dice);
        }
    }

    fn power(&mut self, point: usize, crash: Crash, read: Range<usize>, dice: &mut Random) {
        let scene = Scene::of(&self.medium, read, crash, self.marks, point);
        let mut image = self.medium.durable().0.to_vec();
        let extremes = Effort { exhaustive: 0, adversarial: 0, random: 0 };
        let effort = if self.sated(point) { extremes } else { self.plan.effort };
        // One moment must not use up most of the states that the plan allows for all moments.
        let exhaustive = effort.exhaustive.min((self.plan.limit / 16).max(8));
        let effort = Effort { exhaustive, ..effort };
        let (seen, report, judge) = (&mut self.seen, &mut self.report, &mut *self.judge);
        let mut culprit = None;
        picks(&scene.open, effort, dice, |pick| {
            let verdict = scene.show(&mut image, pick, |state, hash| look(seen, report, judge, state, hash));
            culprit = verdict.err().map(|why| (pick.to_vec(), why));
            culprit.is_none()
        });
        if let Some((pick, why)) = culprit {
            let (pick, why) = least(&scene, &mut image, pick, why, judge);
            let survivors = story::Survivors { open: &scene.open, pick: &pick };
            report.violation = Some(story::power(self.trace, point, &survivors, judge, &why));
        }
    }
}

/// A moment at which the power may fail: what is durable for certain, and what is open.
pub(crate) struct Scene<'m> {
    medium: &'m Medium,
    histories: Vec<&'m VecDeque<Stored>>,
    pub(crate) open: Vec<Open>,
    /// Bytes that the next opening reads before it drops the page cache.
    read: Range<usize>,
    crash: Crash,
    marks: usize,
    point: usize,
}

impl<'m> Scene<'m> {
    fn of(medium: &'m Medium, read: Range<usize>, crash: Crash, marks: usize, point: usize) -> Self {
        let open = medium.pending().map(|(offset, history)| {
            let newest = history.back().map_or(0, |stored| stored.serial);
            Open { offset, stores: history.len() as u32, newest }
        });
        let histories = medium.pending().map(|(_, history)| history).collect();
        Self { medium, histories, open: open.collect(), read, crash, marks, point }
    }

    /// Shows the image in which the given number of stores of each cell survived. `image` holds what is durable, before
    /// the call and after it.
    pub(crate) fn show<R>(
        &self,
        image: &mut [u8],
        pick: &[u32],
        see: impl FnOnce(&State<'_>, u64) -> R,
    ) -> R {
        let mut hash = self.medium.durable().1;
        let mut undo: Vec<(u32, u64)> = Vec::new();
        for (history, &survive) in self.histories.iter().zip(pick) {
            for s in history.iter().take(survive as usize) {
                let old = word_at(image, s.word as usize);
                undo.push((s.word, old));
                hash ^= hash_word(s.word, old) ^ hash_word(s.word, s.value);
                set_word(image, s.word as usize, s.value);
            }
        }
        for word in self.read.start / 8..self.read.end / 8 {
            undo.push((word as u32, word_at(image, word)));
            set_word(image, word, word_at(self.medium.current().0, word));
        }
        let left = &image[..self.medium.length().min(image.len())];
        let (crash, marks, point) = (self.crash, self.marks, self.point);
        let seen = see(&State { image: left, crash, marks, point, medium: self.medium }, hash);
        for (word, old) in undo.into_iter().rev() {
            set_word(image, word as usize, old);
        }
        seen
    }
}

/// One image that a power loss may leave of a medium, by `seed`.
#[must_use]
pub fn by_chance(medium: &Medium, seed: u64) -> Vec<u8> {
    let scene = Scene::of(medium, 0..0, Crash::Power, 0, 0);
    let mut random = Random::new(seed);
    let effort = Effort { exhaustive: 0, adversarial: 8, random: 8 };
    let mut left = random.below(18);
    let mut chosen = Vec::new();
    picks(&scene.open, effort, &mut random, |pick| {
        chosen = pick.to_vec();
        left = left.saturating_sub(1);
        left != 0
    });
    scene.show(&mut medium.durable().0.to_vec(), &chosen, |state, _| state.image.to_vec())
}

fn look(
    seen: &mut HashSet<u64>,
    report: &mut Report,
    judge: &mut dyn Judge,
    state: &State<'_>,
    hash: u64,
) -> Result<(), String> {
    report.images += 1;
    let key = hash ^ mix(state.marks as u64 * 4 + state.crash as u64 + 1);
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
        Event::WriteThroughEnd { .. } => class != Durability::CacheLine,
        Event::SyncEnd { .. } | Event::Grow { .. } | Event::Cut { .. } => true,
        _ => false,
    }
}
