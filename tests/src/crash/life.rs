//! Lives of a region: each is recorded, crashed and recovered by the real code; then the next life begins, and is crashed
//! too.

use super::place;
use super::run::outcome;
use crate::lint::known::{self, Kind};
use crate::lint::{Setting, lint};
use pagestone::error::Result;
use pagestone::media::format;
use pagestone::media::layout::{LEASE_OFFSET, SECTOR_SIZE};
use pagestone::media::log::Log;
use pagestone::media::log::record::Sequence;
use pagestone::media::rules::{Rule, Rules};
use pagestone::persist::{FileOperation, Recorder};
use pagestone::region::{Identity, Region, RegionOptions, Source};
use pagestone::units::{Durability, FrameNo};
use pagestone_explorer::Event;
use pagestone_explorer::gate::Gate;
use pagestone_explorer::pick::Effort;
use pagestone_explorer::{Crash, Judge, Plan, Report, State, Trace, explore, explore_on};
use pagestone_kit::random::Random;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Something that a case says at some moment: an acknowledgement, or anything that its check needs. A fact that begins
/// with `~` is forgotten at a power loss.
pub type Fact = &'static str;

/// Frames of the log in these cases: the fewest possible, so that it wraps soon.
pub const LOG_FRAMES: u32 = 4;

/// The identity of the region's first life.
pub const HOME: Identity = Identity::plain([1; 16], 7, 8, 9);

/// The same file after the machine has started again.
#[must_use]
pub fn rebooted(from: Identity) -> Identity {
    Identity { boot: from.boot.map(|b| b.wrapping_add(1)), ..from }
}

/// The same boot, but a copy of the device: a snapshot, mounted elsewhere.
#[must_use]
pub fn snapshot(of: Identity) -> Identity {
    Identity { device: of.device + 100, mount: of.mount + 100, ..of }
}

/// A region's options in these tests.
#[must_use]
pub fn options(class: Durability, identity: Identity, recorder: Option<Arc<Recorder>>) -> RegionOptions {
    RegionOptions {
        assume: Some(class),
        identity: Some(identity),
        recorder,
        max_bytes: Some(4 << 20),
        ..RegionOptions::default()
    }
}

/// One life of a log, with which the threads of a case work.
pub struct Life {
    /// The real log.
    pub log: Log,
    /// What records it.
    pub recorder: Arc<Recorder>,
    /// Where its threads can be stopped.
    pub gate: Arc<Gate>,
    said: Mutex<Vec<Fact>>,
}

impl Life {
    fn open(image: Vec<u8>, class: Durability, identity: Identity, rules: Rules) -> Result<Self> {
        let (recorder, gate) = (Recorder::new(), Gate::new());
        let guard = Arc::clone(&gate);
        recorder.on_event(move |event| guard.pass(event));
        let region =
            Region::attach(Source::Image(image), &options(class, identity, Some(Arc::clone(&recorder))))?;
        let (log, _) = format::open(region, rules)?;
        Ok(Self { log, recorder, gate, said: Mutex::default() })
    }

    /// The region's class.
    #[must_use]
    pub fn class(&self) -> Durability {
        self.log.region().class()
    }

    /// Says something at this moment.
    pub fn say(&self, fact: Fact) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.push(fact);
        self.recorder.mark(said.len() as u64 - 1);
    }

    /// Appends one record that sets words.
    pub fn set(&self, words: &[(u64, u64)]) -> Sequence {
        let change =
            self.log.append(|txn| words.iter().try_for_each(|&(n, value)| txn.write(word(n), value)));
        change.expect("the log takes the record").1
    }

    /// Appends one record that sets `count` words from `first` to `value`: a record of any size.
    pub fn fill(&self, first: u64, count: u64, value: u64) -> Sequence {
        let words: Vec<_> = (first..first + count).map(|n| (n, value)).collect();
        self.set(&words)
    }

    /// Stores the new owner's value to a frame's first word, and appends the record that links the frame by setting
    /// `words`.
    pub fn publish(&self, frame: u32, words: &[(u64, u64)]) -> Sequence {
        let memory = self.log.region().memory();
        let offset = scratch(frame).offset();
        memory.store(offset, NEW).expect("inside the region");
        memory.flush(offset, 8).expect("inside the region");
        memory.fence();
        let change = self.log.append(|txn| {
            words.iter().try_for_each(|&(n, value)| txn.write(word(n), value))?;
            txn.publishes();
            Ok(())
        });
        change.expect("the log takes the record").1
    }

    /// Appends one record that makes a frame all zero.
    pub fn zero(&self, frame: u32) -> Sequence {
        self.log.append(|txn| txn.zero(scratch(frame))).expect("the log takes the record").1
    }

    /// Commits.
    pub fn commit(&self, upto: Sequence) {
        self.log.commit(upto).expect("the commit succeeds");
    }

    /// A word, as recovered or as appended.
    #[must_use]
    pub fn word(&self, n: u64) -> u64 {
        self.log.read(word(n)).expect("inside the region")
    }

    /// The first word of a scratch frame's bytes.
    #[must_use]
    pub fn content(&self, frame: u32) -> u64 {
        self.log.region().memory().load(scratch(frame).offset()).expect("inside the region")
    }

    /// Makes the next file operation of this kind fail.
    pub fn fail(&self, operation: FileOperation) {
        self.recorder.fail_next(operation, 0);
    }
}

/// The first word of a frame before the frame is linked anew.
pub const OLD: u64 = 0x01d;
/// The word that its new owner stores there.
pub const NEW: u64 = 0x2e3;

/// Byte offset of a case's word `n`.
#[must_use]
pub fn word(n: u64) -> u64 {
    place::FIRST_FREE.offset() + n * 8
}

/// A frame whose bytes have an owner.
#[must_use]
pub fn scratch(frame: u32) -> FrameNo {
    FrameNo(place::FIRST_FREE.0 + 4 + frame)
}

/// What a check examines: a life just after its recovery.
pub struct Found<'a> {
    /// The recovered log.
    pub life: &'a Life,
    /// All facts that were said and are still known.
    pub facts: &'a BTreeSet<Fact>,
}

impl Found<'_> {
    /// Whether it was said.
    #[must_use]
    pub fn has(&self, fact: Fact) -> bool {
        self.facts.contains(fact)
    }
    /// Checks that an acknowledged word is there.
    ///
    /// # Errors
    /// When it is lost.
    pub fn needs(&self, fact: Fact, n: u64, lawful: &[u64]) -> Result<(), String> {
        let value = self.life.word(n);
        if self.has(fact) && !lawful.contains(&value) {
            return Err(format!("{fact:?} was acknowledged, word {n} is {value} and not one of {lawful:?}"));
        }
        Ok(())
    }
    /// Checks that a frame that a word links does not show its former owner's bytes.
    ///
    /// # Errors
    /// When it does.
    pub fn no_leak(&self, n: u64, frame: u32) -> Result<(), String> {
        let content = self.life.content(frame);
        if self.life.word(n) != 0 && content == OLD {
            return Err(format!("word {n} links frame {frame}, which shows its former owner's bytes"));
        }
        Ok(())
    }
}

/// A schedule: which thread does what, and what must hold after every crash.
#[derive(Clone, Copy)]
pub struct Case {
    /// A life before the first, with all rules kept and an end in order.
    pub before: fn(&Life),
    /// The first life.
    pub run: fn(&Life),
    /// What a later life does before it is crashed too.
    pub after: fn(&Life),
    /// The number of crashes in a row.
    pub crashes: u32,
    /// What must hold whenever the region is opened.
    pub check: fn(&Found<'_>) -> Result<(), String>,
}

impl Case {
    /// A case of one life, with nothing after it.
    #[must_use]
    pub fn once(run: fn(&Life), check: fn(&Found<'_>) -> Result<(), String>) -> Self {
        Self { before: |_| (), run, after: |_| (), crashes: 1, check }
    }

    /// Explores the case with `broken` switched off.
    #[must_use]
    pub fn explore(&self, class: Durability, cell: usize, broken: Option<Rule>) -> Report {
        let rules = broken.map_or(Rules::default(), |rule| Rules::default().breaking(rule));
        let base = self.former_life(class);
        let life = Life::open(base.clone(), class, HOME, rules).expect("a fresh region opens");
        (self.run)(&life);
        let (deeper_every, limit_below) = match broken {
            Some(_) => (1, 200),
            None => (if scaled(1) > 1 { 1 } else { 8 }, 40),
        };
        let mut judge = Judgement {
            case: self,
            class,
            cell,
            rules,
            identity: HOME,
            left: self.crashes,
            deeper_every,
            limit_below,
            ..judge_of(&life)
        };
        let trace = Trace { base, events: life.recorder.take(), class };
        if broken.is_none() {
            let setting = Setting { log_frames: LOG_FRAMES, ..Setting::default() };
            let found = known::unexplained(
                lint(&trace, setting),
                Kind { class, threads: 2, recovery: false, batches: false },
            );
            if let Some(first) = found.first() {
                return Report { violation: Some(format!("{first}")), ..Report::default() };
            }
        }
        let limit = match (broken, self.crashes) {
            (Some(_), 1) => SEARCH,
            (Some(_), _) => scaled(1000),
            (None, 1) => scaled(200),
            (None, _) => scaled(50),
        };
        let mut report = explore(&trace, &Plan { limit, ..Plan::thorough(cell, 1) }, &mut judge);
        report.deeper = judge.deeper;
        report
    }
}

impl Case {
    /// What the region holds before the first life.
    fn former_life(&self, class: Durability) -> Vec<u8> {
        let base = formatted(class);
        let life = Life::open(base.clone(), class, HOME, Rules::default()).expect("a fresh region opens");
        (self.before)(&life);
        life.log.close().expect("the life ends in order");
        outcome(&Trace { base, events: life.recorder.take(), class })
    }
}

/// The most states that are searched for one that shows a broken rule. The search ends at the first. This is far more than
/// any rule needs: where the first lies depends on a region's random numbers.
pub const SEARCH: u64 = 40_000;

/// The number of states, or many more in a long run (`PAGESTONE_CRASH=long`).
#[must_use]
pub fn scaled(states: u64) -> u64 {
    let long = std::env::var_os("PAGESTONE_CRASH").is_some_and(|value| value == "long");
    if long { states * 20 } else { states }
}

/// A fresh region; its scratch frames hold their former owners' bytes.
fn formatted(class: Durability) -> Vec<u8> {
    let region = Region::attach(Source::Image(Vec::new()), &options(class, HOME, None))
        .expect("an empty image attaches");
    format::format(&region, LOG_FRAMES).expect("it is formatted");
    let memory = region.memory();
    for frame in 0..4 {
        memory.store(scratch(frame).offset(), OLD).expect("inside the region");
    }
    let mut bytes = vec![0; region.len_bytes() as usize];
    memory.read(0, &mut bytes).expect("inside the region");
    bytes
}

struct Judgement<'a> {
    case: &'a Case,
    class: Durability,
    cell: usize,
    rules: Rules,
    /// The identity of the life that is judged.
    identity: Identity,
    /// Crashes still allowed, the one being judged included.
    left: u32,
    /// The facts of former lives.
    known: BTreeSet<Fact>,
    said: Vec<Fact>,
    deeper: u64,
    /// From one state in this many a next life begins and is crashed.
    deeper_every: u64,
    /// States of each such life.
    limit_below: u64,
    dice: Random,
}

static NOTHING: Case = Case { before: |_| (), run: |_| (), after: |_| (), crashes: 0, check: |_| Ok(()) };

fn judge_of<'a>(life: &Life) -> Judgement<'a> {
    let said = life.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Judgement {
        case: &NOTHING,
        class: life.class(),
        cell: 8,
        rules: Rules::default(),
        identity: HOME,
        left: 1,
        known: BTreeSet::new(),
        said,
        deeper: 0,
        deeper_every: 1,
        limit_below: 60,
        dice: Random::new(3),
    }
}

impl Judgement<'_> {
    fn facts(&self, state: &State<'_>) -> BTreeSet<Fact> {
        let now = self.said[..state.marks].iter().copied();
        let keep = |fact: &Fact| state.crash != Crash::Power || !fact.starts_with('~');
        self.known.iter().copied().chain(now).filter(keep).collect()
    }

    fn open_as(&mut self, state: &State<'_>, identity: Identity, live_on: bool) -> Result<(), String> {
        let known = self.facts(state);
        let life = Life::open(state.image.to_vec(), self.class, identity, self.rules)
            .map_err(|e| format!("opening fails: {e}"))?;
        (self.case.check)(&Found { life: &life, facts: &known })?;
        if self.left == 1 || !live_on || !self.dice.once_in(self.deeper_every) {
            return Ok(());
        }
        (self.case.after)(&life);
        let trace = Trace { base: Vec::new(), events: life.recorder.take(), class: self.class };
        let effort = Effort { exhaustive: 24, adversarial: 8, random: 6 };
        let plan = Plan { effort, between: 0, limit: self.limit_below, ..Plan::thorough(self.cell, 2) };
        let mut judge = Judgement {
            case: self.case,
            cell: self.cell,
            rules: self.rules,
            identity,
            left: self.left - 1,
            deeper_every: self.deeper_every,
            limit_below: self.limit_below,
            known,
            ..judge_of(&life)
        };
        let report = explore_on(state.next_life(), &trace, &plan, &mut judge);
        self.deeper += report.distinct + judge.deeper;
        report.violation.map_or(Ok(()), |story| Err(format!("IN THE NEXT LIFE: {story}\n  AND BEFORE THAT:")))
    }
}

impl Judge for Judgement<'_> {
    fn judge(&mut self, state: &State<'_>) -> Result<(), String> {
        match state.crash {
            Crash::Death | Crash::Dropped => self.open_as(state, self.identity, true),
            Crash::Power => {
                self.open_as(state, rebooted(self.identity), true)?;
                self.open_as(state, snapshot(self.identity), false)
                    .map_err(|why| format!("opened as a snapshot on the same boot: {why}"))
            }
        }
    }
    fn read_before_drop(&self, cached: &[u8]) -> Option<Range<usize>> {
        failed_lease(cached)
    }
    fn label(&self, label: u64) -> String {
        self.said.get(label as usize).map_or_else(|| format!("mark {label}"), |fact| format!("{fact:?}"))
    }
    fn place(&self, offset: u64) -> String {
        place::name(offset, LOG_FRAMES)
    }
}

/// The lease, if it says that a flush has failed: an opening reads it and then drops the page cache.
#[must_use]
pub fn failed_lease(cached: &[u8]) -> Option<Range<usize>> {
    const FAILED: u8 = 3;
    let start = LEASE_OFFSET as usize;
    (cached[start + 8] == FAILED).then_some(start..start + SECTOR_SIZE)
}

/// Whether an event makes the log's own range durable, or begins to.
#[must_use]
pub fn touches_log(event: &Event) -> bool {
    let log = place::log_range(LOG_FRAMES);
    match event {
        Event::Flush { line_offset, .. } => log.contains(line_offset),
        Event::WriteThroughBegin { offset, .. } | Event::WriteThroughEnd { offset, .. } => {
            log.contains(offset)
        }
        _ => false,
    }
}
