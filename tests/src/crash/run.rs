//! Runs a script on the real store and records what reaches the medium.

use super::life::HOME;
use super::oracle::{Oracle, label};
use super::script::{ObjectNo, Op, Script};
use crate::lint::known::{self, Kind};
use crate::lint::{Setting, lint};
use pagestone::error::{Error, Result};
use pagestone::media::rules::{Rule, Rules};
use pagestone::persist::Recorder;
use pagestone::region::Identity;
use pagestone::store::{Options, Store};
use pagestone::units::Durability;
use pagestone_explorer::gate::Gate;
use pagestone_explorer::medium::Medium;
use pagestone_explorer::{Event, Trace};
use pagestone_kit::random::mix;
use pagestone_workload::{Hands, pattern};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The object whose bytes lie in the free frames of a used store. No script has this object.
const FORMER: ObjectNo = 0x7fff;
const FORMER_BYTES: u64 = 8 << 12;

/// The store of a run.
#[derive(Clone, Copy, Debug)]
pub struct Rig {
    /// The class that its region is assumed to have.
    pub class: Durability,
    /// Frames of its log.
    pub log_frames: u32,
    /// Rules switched off.
    pub rules: Rules,
}

impl Rig {
    /// A store with the smallest log and all rules kept.
    #[must_use]
    pub fn new(class: Durability) -> Self {
        Self { class, log_frames: super::life::LOG_FRAMES, rules: Rules::default() }
    }

    /// The same with a rule switched off.
    #[must_use]
    pub fn breaking(self, rule: Rule) -> Self {
        Self { rules: self.rules.breaking(rule), ..self }
    }

    /// The options with which its region is opened at `identity`.
    pub fn options(&self, identity: Identity) -> Options {
        Store::options().assume(self.class).identity(identity).rules(self.rules).max_size(4 << 20)
    }

    /// A store that was made, used, emptied and closed in order, with all rules kept.
    ///
    /// # Errors
    /// The store's.
    pub fn used(&self) -> Result<Vec<u8>> {
        let rig = Self { rules: Rules::default(), ..*self };
        let recorder = Recorder::new();
        let base = outcome(&rig.format()?);
        let store = rig.options(HOME).recorder(Arc::clone(&recorder)).open_image(base.clone())?;
        for n in 0..3 {
            let object = store.create(format!("former{n}"))?;
            object.write_at(0, &pattern::words(FORMER, n, 0..FORMER_BYTES))?;
        }
        store.sync()?;
        for n in 0..3 {
            store.unlink(format!("former{n}"))?;
        }
        drop(store);
        Ok(outcome(&Trace { base, events: recorder.take(), class: self.class }))
    }

    /// Records how an empty store is made of an empty file.
    ///
    /// # Errors
    /// The store's.
    pub fn format(&self) -> Result<Trace> {
        let recorder = Recorder::new();
        let options = self.options(HOME).create(true).log_frames(self.log_frames);
        drop(options.recorder(Arc::clone(&recorder)).open_image(Vec::new())?);
        Ok(Trace { base: Vec::new(), events: recorder.take(), class: self.class })
    }
}

/// The bytes that a trace leaves without a crash.
#[must_use]
pub fn outcome(trace: &Trace) -> Vec<u8> {
    let mut medium = Medium::new(&trace.base, trace.class, 8);
    medium.play(&trace.events);
    medium.current().0.to_vec()
}

/// Asserts that pinned pages show bytes of their objects until the end, even if they were cut off meanwhile.
fn show_their_own(hands: &Hands) -> Result<(), String> {
    for (object, pin) in &hands.pins {
        let page = pin.read().map_err(|e| e.to_string())?;
        let [low, high] = (object + 1).to_le_bytes();
        // Operations end anywhere in a word: any byte of it may still be zero.
        let own = |word: &[u8]| [0, low].contains(&word[6]) && [0, high].contains(&word[7]);
        if let Some(word) = page.chunks_exact(8).find(|word| !own(word)) {
            return Err(format!("a pinned page of object {object} shows foreign bytes: {word:x?}"));
        }
    }
    Ok(())
}

/// A store that is being recorded.
pub struct Live {
    /// The store.
    pub store: Store,
    /// What records it.
    pub recorder: Arc<Recorder>,
    /// Where its threads can be stopped.
    pub gate: Arc<Gate>,
    base: Vec<u8>,
    class: Durability,
    script: Mutex<Script>,
    hands: Vec<Mutex<Hands>>,
    ids: Mutex<HashMap<ObjectNo, u64>>,
    durable: bool,
}

/// A recorded run, ready to be explored.
pub struct Run {
    /// What happened.
    pub trace: Trace,
    /// What must hold.
    pub oracle: Oracle,
    /// The first operation that failed, if one did.
    pub failed: Option<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    /// A store for `threads` threads that was used before: it is empty, but its free frames hold old bytes, and where
    /// there are two copies, both were written.
    ///
    /// # Errors
    /// The store's.
    pub fn start(rig: &Rig, threads: usize) -> Result<Self> {
        Self::open(rig, HOME, rig.used()?, Script::empty(threads), HashMap::new(), true)
    }

    /// The next life of a store: `script` says what it begins with, `durable` whether a power loss would leave that.
    ///
    /// # Errors
    /// The store's.
    pub fn resume(
        rig: &Rig,
        identity: Identity,
        image: Vec<u8>,
        script: Script,
        ids: HashMap<ObjectNo, u64>,
        durable: bool,
    ) -> Result<Self> {
        Self::open(rig, identity, image, script, ids, durable)
    }

    fn open(
        rig: &Rig,
        identity: Identity,
        base: Vec<u8>,
        script: Script,
        ids: HashMap<ObjectNo, u64>,
        durable: bool,
    ) -> Result<Self> {
        let (recorder, gate) = (Recorder::new(), Gate::new());
        let store = rig.options(identity).recorder(Arc::clone(&recorder)).open_image(base.clone())?;
        let mut hands = Vec::new();
        for part in &script.parts {
            let mut hand = Hands::new(pattern::words, true);
            part.names
                .iter()
                .flatten()
                .try_for_each(|(name, &(object, _))| hand.find(&store, name, object))?;
            hands.push(Mutex::new(hand));
        }
        Ok(Self {
            store,
            recorder,
            gate,
            base,
            class: rig.class,
            script: Mutex::new(script),
            hands,
            ids: Mutex::new(ids),
            durable,
        })
    }

    /// From now on the gate can stop threads.
    pub fn gated(&self) {
        let gate = Arc::clone(&self.gate);
        self.recorder.on_event(move |event| gate.pass(event));
    }

    /// From now on threads pause now and then, so that runs of one seed interleave in many ways.
    pub fn shaken(&self, seed: u64) {
        let count = AtomicU64::new(seed);
        self.recorder.on_event(move |event| {
            let roll = mix(count.fetch_add(1, Ordering::Relaxed));
            // A pause is worth most when a sync has taken dirty bits and not yet made the lines durable: others may rely
            // on it.
            let settling = matches!(event, Event::Fence { .. } | Event::SyncEnd { .. });
            match roll % 64 {
                0 => thread::sleep(Duration::from_micros(50)),
                1..=16 if settling => thread::sleep(Duration::from_micros(400)),
                1..=8 => thread::yield_now(),
                _ => {}
            }
        });
    }

    /// The next object's number.
    pub fn fresh(&self) -> ObjectNo {
        lock(&self.script).fresh()
    }

    /// Adds an operation to the script and runs it.
    ///
    /// # Errors
    /// The store's.
    pub fn run(&self, thread: usize, op: Op) -> Result {
        let number = {
            let mut script = lock(&self.script);
            script.push(thread, op.clone());
            script.parts[thread].ops.len() - 1
        };
        self.perform(thread, number, &op)
    }

    /// Runs a whole script, each part on a thread of its own, from the state that it begins with.
    ///
    /// # Errors
    /// The first operation that failed, and how.
    pub fn play(&self, script: Script) -> Result<(), String> {
        let parts = script.parts.clone();
        self.load(script);
        let play = |t: usize| {
            parts[t].ops.iter().enumerate().try_for_each(|(number, op)| {
                self.perform(t, number, op).map_err(|e| format!("t{t} op {number} {op:?} failed: {e}"))
            })?;
            let mut hands = lock(&self.hands[t]);
            show_their_own(&hands)?;
            hands.pins.clear();
            Ok(())
        };
        let play = &play;
        if parts.len() == 1 {
            return play(0);
        }
        thread::scope(|scope| {
            let threads: Vec<_> = (0..parts.len()).map(|t| scope.spawn(move || play(t))).collect();
            threads.into_iter().try_for_each(|t| t.join().unwrap_or_else(|_| Err("a thread panicked".into())))
        })
    }

    /// Names the script whose operations the caller is going to [`perform`](Self::perform).
    pub fn load(&self, script: Script) {
        *lock(&self.script) = script;
    }

    /// Runs one operation of the script, on the calling thread.
    ///
    /// # Errors
    /// The store's.
    pub fn perform(&self, thread: usize, number: usize, op: &Op) -> Result {
        let past = lock(&self.script).past;
        self.recorder.mark(label(thread, number, false));
        self.act(&mut lock(&self.hands[thread]), past + number as u16, op)?;
        self.recorder.mark(label(thread, number, true));
        Ok(())
    }

    fn act(&self, hands: &mut Hands, number: u16, op: &Op) -> Result {
        match op {
            // Another thread's object, by its last name.
            Op::Sync(object) | Op::SyncRange(object, ..) | Op::Move(object, ..)
                if hands.open().all(|(own, _)| own != *object) =>
            {
                let name = lock(&self.script).name_of(*object);
                let theirs = self.store.open(name.unwrap_or_default())?;
                return match *op {
                    Op::SyncRange(_, at, len) => theirs.sync_range(at, len),
                    Op::Move(_, page, pages) => {
                        theirs.move_pages(page..page + pages, Duration::ZERO).map(drop)
                    }
                    _ => theirs.sync(),
                };
            }
            Op::Unpin => show_their_own(hands).map_err(Error::Invalid)?,
            _ => {}
        }
        hands.act(&self.store, op, number)?;
        if let Op::Create(object, _) = op {
            lock(&self.ids).insert(*object, hands.object(&self.store, *object)?.id());
        }
        Ok(())
    }

    /// Ends the recording with everything still open, as a crash finds it.
    #[must_use]
    pub fn finish(self) -> Run {
        let events = self.recorder.take();
        let trace = Trace { base: self.base, events, class: self.class };
        Run::of(trace, self.script, self.ids, self.durable)
    }

    /// Drops all handles and pins, closes the store in order, and ends the recording.
    ///
    /// # Errors
    /// The store's.
    pub fn close(self) -> Result<Run> {
        drop(self.hands);
        self.store.close()?;
        let trace = Trace { base: self.base, events: self.recorder.take(), class: self.class };
        Ok(Run::of(trace, self.script, self.ids, self.durable))
    }
}

impl Run {
    fn of(trace: Trace, script: Mutex<Script>, ids: Mutex<HashMap<ObjectNo, u64>>, durable: bool) -> Self {
        let marks: Vec<u64> = trace.events.iter().filter_map(mark_of).collect();
        let script = script.into_inner().unwrap_or_else(PoisonError::into_inner);
        let ids = ids.into_inner().unwrap_or_else(PoisonError::into_inner);
        Self { oracle: Oracle::new(script, &marks, ids, durable), trace, failed: None }
    }
}

fn mark_of(event: &Event) -> Option<u64> {
    match event {
        Event::Mark { label, .. } => Some(*label),
        _ => None,
    }
}

/// Records a script from the first operation to the last. A finding of the lint is a failure too.
///
/// # Errors
/// The store's, when it cannot even be made.
pub fn record(rig: &Rig, script: Script, seed: u64) -> Result<Run> {
    let batches = script.parts.iter().flat_map(|part| &part.ops).any(|op| matches!(op, Op::Batch(_)));
    let threads = script.parts.len();
    let run = play(Live::start(rig, threads)?, script, seed);
    let setting = Setting { log_frames: rig.log_frames, oracle: Some(&run.oracle), ..Setting::default() };
    let found = known::unexplained(
        lint(&run.trace, setting),
        Kind { class: rig.class, threads, recovery: false, batches },
    );
    let failed = run.failed.or_else(|| found.first().map(ToString::to_string));
    Ok(Run { failed, ..run })
}

/// Records a script on a store that is open.
#[must_use]
pub fn play(live: Live, script: Script, seed: u64) -> Run {
    if script.parts.len() > 1 {
        live.shaken(seed);
    }
    let failed = live.play(script).err();
    Run { failed, ..live.finish() }
}
