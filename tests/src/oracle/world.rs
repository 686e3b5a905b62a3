//! Runs a case: one store through all its lives, and the threads that use it.

use super::code::Code;
use super::ground::Ground;
use super::hands::Hands;
use super::outcome::{Kind, Verdict, ensure, kind};
use super::scene::Scene;
use super::step::{Case, Medium, Round, Setup, Step, name};
use super::tally::Event;
use pagestone::store::{CloseError, Store};
use pagestone::units::{Durability, PageIndex};
use pagestone_kit::limit::Limit;
use pagestone_workload::PAGE;

/// Findings about sectors that a crash may leave torn: their other copies are whole.
const TORN: [&str; 3] = ["superblock-copy", "log-header-copy", "lease"];
/// Frames for tables and nodes that a region may keep after all its objects are gone.
const KEPT_FRAMES: u64 = 16;

/// A running case.
pub struct World {
    setup: Setup,
    ground: Ground,
    store: Option<Store>,
    hands: Vec<Hands>,
    code: Code,
    /// Whether a file operation is planned to fail in this life.
    armed: bool,
    limit: Option<Limit>,
    /// Steps so far.
    pub steps: u64,
}

/// How a life ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// In order: everything is durable.
    Closed,
    /// By the death of the process: everything stored is there.
    Died,
    /// In a way that leaves for certain only what was synced.
    Lost,
}

impl World {
    /// A fresh store.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(case: &Case, code: Code) -> Verdict<Self> {
        let (setup, threads) = (case.setup(), case.threads());
        let ground = Ground::new(setup);
        let hands = |thread| Hands::new(thread, if threads == 1 { code.clone() } else { code.beside() });
        let hands = (0..threads).map(hands).collect();
        let mut world = Self { setup, ground, store: None, hands, code, armed: false, limit: None, steps: 0 };
        world.open()?;
        world.hands.iter_mut().for_each(|hands| hands.model.passed(true));
        Ok(world)
    }

    /// Takes all steps of the case, and ends it in order.
    ///
    /// # Errors
    /// The first thing that was not as it should be.
    pub fn live(&mut self, case: &Case) -> Verdict {
        match case {
            Case::Alone(_, steps) => steps.iter().try_for_each(|step| self.step(step))?,
            Case::Together(_, rounds) => rounds.iter().try_for_each(|round| self.round(round))?,
        }
        self.step(&Step::Compare)?;
        self.step(&Step::Reopen)?;
        self.space_comes_back()
    }

    fn round(&mut self, round: &Round) -> Verdict {
        let (scene, hands) = self.scene();
        let work = |(hands, steps): (&mut Hands, &Vec<Step>)| {
            steps.iter().try_for_each(|step| {
                hands.step(&scene, step).map_err(|why| format!("thread {}: {why}", hands.thread))
            })
        };
        let pairs = hands.iter_mut().zip(&round.parts);
        let verdicts: Vec<Verdict> = std::thread::scope(|scope| {
            let threads: Vec<_> = pairs.map(|pair| scope.spawn(move || work(pair))).collect();
            threads
                .into_iter()
                .map(|t| t.join().unwrap_or_else(|_| Err("a thread panicked".into())))
                .collect()
        });
        self.steps += round.parts.iter().map(|part| part.len() as u64).sum::<u64>();
        for hands in &self.hands {
            let lines = hands.code.lines();
            self.code.line(|| format!("thread {}:\n//     {}", hands.thread, lines.join("\n//     ")));
        }
        verdicts.into_iter().collect::<Verdict>()?;
        self.step(&round.then)
    }

    /// The store as the threads see it.
    fn scene(&mut self) -> (Scene<'_>, &mut Vec<Hands>) {
        let store = self.store.as_ref().expect("a store is open between steps");
        let scene = Scene {
            store,
            class: self.setup.class,
            full: self.setup.frames_max.is_some() || self.limit.is_some(),
            armed: self.armed,
            alone: self.hands.len() == 1,
            recorded: self.ground.is_recorded(),
        };
        (scene, &mut self.hands)
    }

    /// One step.
    ///
    /// # Errors
    /// What was not as it should be.
    pub fn step(&mut self, step: &Step) -> Verdict {
        self.steps += 1;
        match *step {
            Step::Compare => self.compare(),
            Step::Fault { sync, nth } => {
                if self.ground.is_recorded() && !self.broken() {
                    self.armed = true;
                    self.code.line(|| format!("ground.fail_next({sync}, {nth});"));
                    self.ground.fail_next(sync, nth);
                }
                Ok(())
            }
            Step::Squeeze { more } => self.squeeze(more),
            Step::Relax => {
                self.relax();
                Ok(())
            }
            Step::CloseBusy
            | Step::Reopen
            | Step::Abandon { .. }
            | Step::ReadOnly { .. }
            | Step::Die
            | Step::LosePower { .. } => {
                if !self.ground.lasts() {
                    return self.compare();
                }
                self.relax();
                self.end_life(step)
            }
            _ => {
                let (scene, hands) = self.scene();
                hands[0].step(&scene, step)
            }
        }
    }

    fn broken(&self) -> bool {
        self.hands.iter().any(|hands| hands.broken)
    }

    fn end_life(&mut self, step: &Step) -> Verdict {
        match *step {
            Step::LosePower { seed } => self.lose_power(seed),
            _ if self.broken() => self.reopen_after_failure(u64::from(self.hands[0].model.op as u32)),
            Step::Die => self.die(),
            Step::CloseBusy => self.close_busy(),
            Step::Abandon { seed } if !self.armed => self.abandon(seed),
            Step::ReadOnly { died } if !self.armed => self.read_only(died),
            _ => self.reopen(),
        }
    }

    fn open(&mut self) -> Verdict {
        self.armed = false;
        self.store = Some(self.ground.open().map_err(|e| format!("opening fails: {e}"))?);
        self.code.line(|| "let store = ground.open().unwrap();".into());
        Ok(())
    }

    /// Begins the next life, after an ending.
    fn begin(&mut self, ending: Ending) -> Verdict {
        self.hands.iter_mut().for_each(Hands::life_ended);
        self.store = None;
        self.open()?;
        self.check()?;
        let (scene, hands) = self.scene();
        let entries = scene.store.list().map_err(|e| format!("list fails: {e}"))?;
        match ending {
            Ending::Lost => hands.iter_mut().try_for_each(|hands| hands.adopt(scene.store, &entries))?,
            Ending::Closed => hands.iter_mut().for_each(|hands| hands.model.settled()),
            Ending::Died => {}
        }
        self.compare()
    }

    fn die(&mut self) -> Verdict {
        self.code.line(|| "ground.die().unwrap();".into());
        Event::Died.happened();
        self.ground.die()?;
        self.begin(Ending::Died)
    }

    fn lose_power(&mut self, seed: u64) -> Verdict {
        self.code.line(|| format!("ground.lose_power({seed}).unwrap();"));
        Event::PowerLost.happened();
        self.ground.lose_power(seed)?;
        let kept = self.setup.class == Durability::Volatile || !self.ground.is_recorded();
        self.begin(if kept { Ending::Died } else { Ending::Lost })
    }

    fn reopen_after_failure(&mut self, seed: u64) -> Verdict {
        self.code.line(|| format!("ground.drop_cache({seed}).unwrap();"));
        Event::CacheDropped.happened();
        self.ground.drop_cache(seed)?;
        self.begin(Ending::Lost)
    }

    /// Drops all that the threads hold.
    fn let_go(&mut self, pins_too: bool) {
        for hands in &mut self.hands {
            hands.unlatch_all();
            while pins_too && !hands.pins.is_empty() {
                hands.drop_pin(0);
            }
            while !hands.handles.is_empty() {
                hands.drop_handle(0);
            }
        }
    }

    fn reopen(&mut self) -> Verdict {
        self.let_go(true);
        self.close()
    }

    /// Closes the store, which is not in use, and opens it again.
    fn close(&mut self) -> Verdict {
        self.code.line(|| "store.close().unwrap();".into());
        let Some(store) = self.store.take() else { return Ok(()) };
        match store.close() {
            Ok(()) => {
                Event::Closed.happened();
                self.begin(Ending::Closed)
            }
            Err(CloseError { store, error })
                if self.armed && matches!(kind(&error), Kind::Io | Kind::Poisoned) =>
            {
                self.store = Some(store);
                self.reopen_after_failure(7)
            }
            Err(error) => Err(format!("a store that is not in use does not close: {error}")),
        }
    }

    fn close_busy(&mut self) -> Verdict {
        if self.hands.iter().all(|hands| hands.handles.is_empty() && hands.pins.is_empty()) {
            return self.close();
        }
        let Some(store) = self.store.take() else { return Ok(()) };
        self.code.line(|| "let store = store.close().unwrap_err().store;".into());
        match store.close() {
            Ok(()) => Err("a store that is in use was closed".into()),
            Err(CloseError { store, error }) => {
                self.store = Some(store);
                let failed = self.armed && matches!(kind(&error), Kind::Io | Kind::Poisoned);
                if failed {
                    return self.reopen_after_failure(8);
                }
                Event::ClosedInUse.happened();
                ensure(kind(&error) == Kind::Busy, || format!("a close of a store in use: {error}"))?;
                self.compare()
            }
        }
    }

    /// Drops the store before its pins.
    fn abandon(&mut self, seed: u8) -> Verdict {
        if self.hands.iter().all(|hands| hands.pins.is_empty()) {
            return self.reopen();
        }
        Event::Abandoned.happened();
        self.let_go(false);
        self.code.line(|| "drop(store);".into());
        self.store = None;
        // The drop has synced everything. What is stored through pins afterwards is durable when the last pin goes, if
        // the medium is persistent memory, and otherwise after the next life's first sync.
        self.hands.iter_mut().for_each(|hands| hands.model.settled());
        if self.setup.medium == Medium::File {
            self.code.line(|| "ground.options().open(ground.path()).unwrap_err(); // InUse".into());
            let second = self.ground.options().open(self.ground.path());
            let claimed = second.as_ref().err().is_some_and(|e| kind(e) == Kind::InUse);
            ensure(claimed, || format!("a region with pins was not claimed: {second:?}"))?;
        }
        for hands in &mut self.hands {
            hands.store_late(seed)?;
            while !hands.pins.is_empty() {
                hands.drop_pin(0);
            }
        }
        match (self.setup.medium, self.setup.class) {
            (Medium::File, Durability::Fdatasync) => self.begin(Ending::Died),
            (Medium::File, _) => self.begin(Ending::Closed),
            _ => self.die(),
        }
    }

    fn read_only(&mut self, died: bool) -> Verdict {
        if died {
            self.ground.die()?;
            self.hands.iter_mut().for_each(Hands::life_ended);
            self.store = None;
        } else {
            self.let_go(true);
            let Some(store) = self.store.take() else { return Ok(()) };
            store.close().map_err(|e| format!("a store that is not in use does not close: {e}"))?;
            self.hands.iter_mut().for_each(|hands| hands.model.settled());
            self.ground.absorb();
        }
        let bytes = || match self.setup.medium {
            Medium::File => std::fs::read(self.ground.path()).map_err(|e| e.to_string()),
            _ => Ok(Vec::new()),
        };
        let before = bytes()?;
        self.code.line(|| format!("// it is opened for reading (died: {died}), and closed"));
        self.store = Some(self.ground.open_to_read().map_err(|e| format!("opening to read fails: {e}"))?);
        self.compare()?;
        Event::ReadOnly.happened();
        self.refuses_changes()?;
        let Some(store) = self.store.take() else { return Ok(()) };
        store.close().map_err(|e| format!("a store that was read does not close: {e}"))?;
        ensure(bytes_of(&self.ground, self.setup.medium)? == before, || "reading changed the file".into())?;
        self.begin(if died { Ending::Died } else { Ending::Closed })
    }

    fn refuses_changes(&mut self) -> Verdict {
        let (scene, hands) = self.scene();
        let (old, new) = (name(0, 0), name(0, 90));
        let mut answers = vec![
            scene.store.create(&new).err(),
            scene.store.unlink(&old).err(),
            scene.store.rename(&old, &new).err(),
            scene.store.open_or_create(&new).err(),
        ];
        if let Some(&n) = hands[0].model.names.keys().next() {
            let object = scene.store.open(name(0, n)).map_err(|e| e.to_string())?;
            answers.extend([
                object.write_at(0, b"x").err(),
                object.append(b"x").err(),
                object.set_len(1 << 30).err(),
                object.punch_hole(0, PAGE).err(),
                object.allocate(0, PAGE).err(),
                object.pin_mut(PageIndex(1 << 20)).err(),
            ]);
            if let Some(page) = object.pin(PageIndex(0)).map_err(|e| e.to_string())? {
                answers.push(page.write().err());
            }
        }
        for answer in answers {
            let refused = answer.as_ref().is_some_and(|e| kind(e) == Kind::ReadOnly);
            ensure(refused, || format!("a store that is only read answers {answer:?} to a change"))?;
        }
        Ok(())
    }

    /// Compares everything: names, objects, counters of the store.
    fn compare(&mut self) -> Verdict {
        if self.broken() {
            return Ok(());
        }
        let frames = self.setup.medium == Medium::File;
        let file = if frames { std::fs::metadata(self.ground.path()).map_or(0, |m| m.len()) } else { 0 };
        let (scene, hands) = self.scene();
        let entries = scene.store.list().map_err(|e| format!("list fails: {e}"))?;
        let names: usize = hands.iter().map(|hands| hands.model.names.len()).sum();
        ensure(entries.len() == names && entries.is_sorted_by(|a, b| a.name < b.name), || {
            format!("{names} objects have names, listed are {entries:?}")
        })?;
        hands.iter_mut().try_for_each(|hands| {
            hands.compare_names(&entries)?;
            hands.compare_all(&scene)
        })?;
        let (info, stats) = (scene.store.info(), scene.store.stats());
        ensure(!frames || info.frames * PAGE == file, || {
            format!("{} frames in a file of {file} bytes", info.frames)
        })?;
        let open: usize =
            hands.iter().map(|h| h.model.all.values().filter(|object| object.handles != 0).count()).sum();
        let pinned: u64 = hands.iter().map(|hands| hands.pinned()).sum();
        let most = pinned + hands.iter().map(|hands| hands.lingering as u64).sum::<u64>();
        ensure(stats.open_objects == open as u64 && (pinned..=most).contains(&stats.pinned_pages), || {
            format!("{open} objects are open and {pinned} pages pinned: {stats:?}")
        })
    }

    /// Checks that nothing on the medium contradicts anything else.
    fn check(&mut self) -> Verdict {
        self.code.line(|| "check(&store).unwrap();".into());
        let (scene, _) = self.scene();
        check(scene.store)
    }

    fn squeeze(&mut self, more: u64) -> Verdict {
        if self.setup.medium != Medium::File || self.broken() {
            return Ok(());
        }
        self.relax();
        let (scene, _) = self.scene();
        let bytes = scene.store.info().frames * PAGE + more;
        self.code.line(|| format!("let limit = Limit::set(RLIMIT_FSIZE, {bytes}).unwrap();"));
        Event::Squeezed.happened();
        self.limit = Some(Limit::set(libc::RLIMIT_FSIZE, bytes).map_err(|e| e.to_string())?);
        Ok(())
    }

    fn relax(&mut self) {
        if self.limit.take().is_some() {
            self.code.line(|| "drop(limit);".into());
        }
    }

    /// Asserts that a region that cannot grow has all its room again when its objects are gone.
    fn space_comes_back(&mut self) -> Verdict {
        let Some(_) = self.setup.frames_max.filter(|_| self.ground.lasts()) else { return Ok(()) };
        let (scene, hands) = self.scene();
        for hands in hands.iter() {
            for &n in hands.model.names.keys() {
                scene
                    .store
                    .unlink(name(hands.thread, n))
                    .map_err(|e| format!("unlinking at the end: {e}"))?;
            }
        }
        Event::Spaces.happened();
        let left = capacity(scene.store)?;
        let mut fresh = Ground::new(self.setup);
        let all = capacity(&fresh.open().map_err(|e| e.to_string())?)?;
        ensure(left + KEPT_FRAMES >= all, || {
            format!("after all objects are gone {left} pages can be written, {all} in a new region")
        })
    }
}

fn bytes_of(ground: &Ground, medium: Medium) -> Verdict<Vec<u8>> {
    match medium {
        Medium::File => std::fs::read(ground.path()).map_err(|e| e.to_string()),
        _ => Ok(Vec::new()),
    }
}

/// The number of pages that can be appended until there is no space.
fn capacity(store: &Store) -> Verdict<u64> {
    let object = store.create("filler").map_err(|e| format!("no object can be made: {e}"))?;
    let mut pages = 0;
    loop {
        match object.append(&[1; PAGE as usize]) {
            Ok(_) => pages += 1,
            Err(error) if kind(&error) == Kind::NoSpace => return Ok(pages),
            Err(error) => return Err(format!("filling the region: {error}")),
        }
    }
}

/// Checks the whole medium.
///
/// # Errors
/// The first defect that no crash may leave.
pub fn check(store: &Store) -> Verdict {
    let report = store.check().map_err(|e| format!("check fails: {e}"))?;
    let defect = report.findings.iter().find(|finding| !TORN.contains(&finding.name));
    ensure(defect.is_none(), || format!("check finds {defect:?} and {} more", report.findings.len() - 1))
}
