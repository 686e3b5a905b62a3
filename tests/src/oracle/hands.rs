//! One thread of a case: its real handles and pins beside the model of its objects.

use super::code::Code;
use super::objects::{Objects, Uid};
use super::outcome::{Got, Kind, Verdict, ensure};
use super::prelude::bytes;
use super::scene::Scene;
use super::step::{NAMES, Step, name, slot};
use super::tally::Event;
use pagestone::page::PageRef;
use pagestone::store::Object;
use pagestone_workload::content::{Frame, Page, Tokens};
use pagestone_workload::{Choice, Op, PAGE};
use std::sync::Arc;

/// Most handles and pins of a thread.
const HANDLES_MAX: usize = 6;
const PINS_MAX: usize = 10;

/// A real handle.
pub struct Handle {
    /// Its variable in the code.
    pub var: String,
    /// The handle itself.
    pub object: Object,
    /// Its object.
    pub uid: Uid,
}

/// A latch that is held over other steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Latch {
    /// Others may read.
    Shared,
    /// Others may neither read nor write.
    Exclusive,
}

/// A real pin.
pub struct Pin {
    /// Its variable in the code.
    pub var: String,
    /// The pin itself.
    pub page: PageRef,
    /// The object of the page.
    pub uid: Uid,
    /// Its index.
    pub index: u64,
    /// Its frame.
    pub token: u64,
    /// The bytes that it shows since the page was cut off.
    pub gone: Option<Arc<Page>>,
    /// A latch held through it.
    pub latch: Option<Latch>,
}

/// A thread of a case.
pub struct Hands {
    /// Its number.
    pub thread: usize,
    /// The calls it made.
    pub code: Code,
    /// The model of its objects.
    pub model: Objects,
    /// Its handles.
    pub handles: Vec<Handle>,
    /// Its pins.
    pub pins: Vec<Pin>,
    /// Frames that were cut off while pinned: counted as pinned until a change frees them.
    pub lingering: usize,
    /// A planned failure has struck: nothing more is done in this life.
    pub broken: bool,
    pub(super) tokens: Tokens,
}

impl Hands {
    /// A thread that has done nothing yet.
    #[must_use]
    pub fn new(thread: usize, code: Code) -> Self {
        let (model, tokens) = (Objects::default(), Tokens::default());
        let (handles, pins) = (Vec::new(), Vec::new());
        Self { thread, code, model, handles, pins, lingering: 0, broken: false, tokens }
    }

    /// Does a step and compares what it changed.
    ///
    /// # Errors
    /// What was not as it should be.
    pub fn step(&mut self, scene: &Scene<'_>, step: &Step) -> Verdict {
        if self.broken {
            return Ok(());
        }
        self.model.op += 1;
        let touched = self.act(scene, step);
        self.model.passed(scene.recorded);
        self.broken |= scene.armed && scene.store.poisoned().is_some();
        if self.broken {
            self.unlatch_all();
            touched.map(drop)?;
            return self.sticky(scene);
        }
        let looked = touched.and_then(|touched| self.look(scene, touched));
        // Another thread may have met the failure in between.
        self.broken |= scene.armed && !scene.alone && scene.store.poisoned().is_some();
        if self.broken { Ok(()) } else { looked }
    }

    /// Does a step. Returns the object that it was about.
    fn act(&mut self, scene: &Scene<'_>, step: &Step) -> Verdict<Option<Uid>> {
        match *step {
            Step::Do(Op::Create(_, name)) => self.create(scene, slot(name)),
            Step::Do(Op::Exists(name)) => self.exists(scene, slot(name)),
            Step::Do(Op::Rename(from, to)) => self.rename(scene, slot(from), slot(to)),
            Step::Do(Op::Unlink(name, _)) => self.unlink(scene, slot(name)),
            Step::Do(Op::SyncAll) => self.sync_all(scene),
            Step::Open { name } => self.open(scene, name),
            Step::OpenOrCreate { name } => self.open_or_create(scene, name),
            Step::DropHandle { object } => Ok(self.drop_handle(usize::from(object))),
            Step::DropPin { pin } => Ok(self.drop_pin(usize::from(pin))),
            Step::Store { pin, at, len } => self.store(scene, usize::from(pin), at, len),
            Step::Latch { pin, exclusive } => self.latch(usize::from(pin), exclusive),
            Step::Unlatch { pin } => self.unlatch_chosen(usize::from(pin)),
            Step::PinAgain { pin, way } => self.pin_again(scene, usize::from(pin), way),
            Step::Raw { pin } => self.raw(scene, usize::from(pin)),
            Step::Reclaim { chunks } => {
                self.code.line(|| format!("FrameTable::global().reclaim({chunks});"));
                pagestone::frame::FrameTable::global().reclaim(chunks);
                Ok(None)
            }
            _ => self.act_on_object(scene, step),
        }
    }

    fn act_on_object(&mut self, scene: &Scene<'_>, step: &Step) -> Verdict<Option<Uid>> {
        let object = match *step {
            Step::CloneHandle { object }
            | Step::SetLenWait { object, .. }
            | Step::PinMut { object, .. }
            | Step::PinRange { object, .. }
            | Step::Fill { object } => object,
            Step::Do(Op::Write(object, ..) | Op::Append(object, _) | Op::Read(object, ..)) => object,
            Step::Do(Op::SetLen(object, _) | Op::Punch(object, ..) | Op::Allocate(object, ..)) => object,
            Step::Do(Op::Pin(object, _) | Op::Move(object, ..)) => object,
            Step::Do(Op::Sync(object) | Op::SyncRange(object, ..)) => object,
            // If no handle is open, its first object is opened.
            Step::Do(Op::Batch(ref parts)) => parts.first().map_or(0, |part| part.0),
            _ => return Ok(None),
        };
        if self.handles.is_empty() {
            self.open_or_create(scene, object % NAMES)?;
            self.model.passed(scene.recorded);
            self.model.op += 1;
        }
        if self.handles.is_empty() || self.broken {
            return Ok(None);
        }
        let h = usize::from(object) % self.handles.len();
        let uid = self.handles[h].uid;
        self.unlatch_object(uid);
        match *step {
            Step::Do(ref op) => self.operate(scene, h, op),
            Step::SetLenWait { len, .. } => self.set_len(scene, h, len, true),
            Step::PinMut { page, .. } => self.pin_mut(scene, h, page),
            Step::PinRange { at, len, .. } => self.pin_range(scene, h, at, len),
            Step::Fill { .. } => self.fill(scene, h),
            _ => {
                let (object, from) = (self.handles[h].object.clone(), self.handles[h].var.clone());
                let var = self.code.variable('o');
                self.code.line(|| format!("let {var} = {from}.clone();"));
                self.keep(var, object, uid);
                Ok(())
            }
        }?;
        Ok(Some(uid))
    }

    fn operate(&mut self, scene: &Scene<'_>, h: usize, op: &Choice) -> Verdict {
        match *op {
            Op::Batch(ref parts) => self.batch(scene, parts),
            Op::Write(_, at, len) => self.write(scene, h, at, len as usize),
            Op::Append(_, len) => self.append(scene, h, len as usize),
            Op::Read(_, at, len) => self.read(scene, h, at, len as usize),
            Op::SetLen(_, len) => self.set_len(scene, h, len, false),
            Op::Punch(_, at, len) => self.punch(scene, h, at, len),
            Op::Allocate(_, at, len) => self.allocate(scene, h, at, len),
            Op::Move(_, page, pages) => self.move_pages(scene, h, page, pages),
            Op::Pin(_, page) => self.pin(scene, h, page),
            Op::SyncRange(_, at, len) => self.sync_range(scene, h, at, len),
            _ => self.sync(scene, h),
        }
    }

    /// The seed of this operation's bytes.
    pub(super) fn seed(&self) -> u8 {
        self.model.op as u8
    }

    /// Keeps a handle. If there is no room, the oldest is dropped.
    pub(super) fn keep(&mut self, var: String, object: Object, uid: Uid) {
        let known = self.model.get(uid);
        known.handles += 1;
        known.id.get_or_insert(object.id());
        self.handles.push(Handle { var, object, uid });
        if self.handles.len() > HANDLES_MAX {
            self.drop_handle(0);
        }
    }

    /// Keeps a pin. If there is no room, the oldest is dropped.
    pub(super) fn keep_pin(&mut self, var: String, page: PageRef, uid: Uid, index: u64, token: u64) {
        self.pins.push(Pin { var, page, uid, index, token, gone: None, latch: None });
        if self.pins.len() > PINS_MAX {
            self.drop_pin(0);
        }
    }

    /// Drops a handle. An object without a name goes with its last handle.
    pub fn drop_handle(&mut self, n: usize) -> Option<Uid> {
        if self.handles.is_empty() {
            return None;
        }
        let handle = self.handles.remove(n % self.handles.len());
        self.unlatch_object(handle.uid);
        self.code.line(|| format!("drop({});", handle.var));
        drop(handle.object);
        let object = self.model.get(handle.uid);
        object.handles -= 1;
        if object.handles == 0 {
            self.model.closed(handle.uid);
            self.bury_if_gone(handle.uid);
        }
        Some(handle.uid)
    }

    /// If an object has neither name nor handles, it is dropped, and its pages are cut off.
    pub(super) fn bury_if_gone(&mut self, uid: Uid) {
        let object = self.model.get(uid);
        if object.named || object.handles != 0 || object.dead {
            return;
        }
        object.dead = true;
        let frames = std::mem::take(&mut object.content.frames).into_values().collect();
        self.cut_off(frames);
    }

    /// These frames hold no page any more. What pins of them show does not change from now on.
    pub(super) fn cut_off(&mut self, frames: Vec<Frame>) {
        for frame in frames {
            for pin in self.pins.iter_mut().filter(|pin| pin.token == frame.token) {
                pin.gone = Some(Arc::clone(&frame.bytes));
                Event::PinsCutOff.happened();
            }
        }
    }

    /// Drops a pin.
    pub fn drop_pin(&mut self, n: usize) -> Option<Uid> {
        if self.pins.is_empty() {
            return None;
        }
        let n = n % self.pins.len();
        self.unlatch(n);
        let pin = self.pins.remove(n);
        self.code.line(|| format!("drop({});", pin.var));
        drop(pin.page);
        if pin.gone.is_some() && self.pins.iter().all(|other| other.token != pin.token) {
            self.lingering += 1;
        }
        None
    }

    /// Whether the object is open, or has been dropped and may come back: not to be touched by its name.
    pub(super) fn named(&self, n: u8) -> Option<Uid> {
        self.model.names.get(&n).copied()
    }

    /// A name as Rust code.
    pub(super) fn spell(&self, n: u8) -> String {
        format!("name({}, {n})", self.thread)
    }

    /// The name itself.
    pub(super) fn name(&self, n: u8) -> Vec<u8> {
        name(self.thread, n)
    }

    /// The error that a call with this name must return, if the name is bad.
    pub(super) fn bad(n: u8) -> Option<Kind> {
        (n >= NAMES).then_some(Kind::BadName)
    }

    /// Notes whether a call has met the planned failure.
    pub(super) fn note<T>(&mut self, got: &Got<T>) {
        if matches!(got, Got::Broken) {
            self.broken = true;
        }
    }

    /// After a failure every change is refused until the store is opened again.
    fn sticky(&mut self, scene: &Scene<'_>) -> Verdict {
        ensure(scene.store.poisoned().is_some(), || {
            "a file operation failed, and the region is not poisoned".into()
        })?;
        self.unlatch_all();
        let refused = [
            scene.store.create(name(self.thread, 99)).err(),
            scene.store.sync().err(),
            scene.store.unlink(name(self.thread, 0)).err(),
            scene.store.check().err(),
        ];
        let of_object = self.handles.first().map(|handle| {
            [
                handle.object.write_at(0, b"late").err(),
                handle.object.set_len(PAGE).err(),
                handle.object.append(b"late").err(),
                handle.object.sync().err(),
            ]
        });
        for error in refused.into_iter().chain(of_object.into_iter().flatten()) {
            let poisoned = error.as_ref().is_some_and(|e| super::outcome::kind(e) == Kind::Poisoned);
            ensure(poisoned, || format!("a poisoned region answers {error:?}"))?;
        }
        Ok(())
    }
}

impl Hands {
    /// Stores through pins whose store has gone already. Bytes of pages that belong to an object still reach it.
    ///
    /// # Errors
    /// A pin that shows something else, or takes no bytes.
    pub fn store_late(&mut self, seed: u8) -> Verdict {
        for n in 0..self.pins.len() {
            let pin = &self.pins[n];
            let (uid, index) = (pin.uid, pin.index);
            let range = self.writable(uid, index, 100..100 + usize::from(seed));
            let stored = bytes(seed, range.len());
            let var = &pin.var;
            self.code.line(|| {
                format!(
                    "{var}.write_range({range:?}).map(|mut b| b.copy_from_slice(&bytes({seed}, {})))",
                    range.len()
                )
            });
            let result = pin.page.write_range(range.clone()).map(|mut guard| guard.copy_from_slice(&stored));
            match result {
                Ok(()) if pin.gone.is_none() => {
                    self.code.answered(|| ".unwrap();".into());
                    self.stored(uid, index * PAGE + range.start as u64, &stored);
                }
                Err(pagestone::Error::Detached { .. }) if pin.gone.is_some() => {
                    self.code.answered(|| ".unwrap_err();".into());
                }
                other => return Err(format!("a store through {var} after its store has gone: {other:?}")),
            }
        }
        self.compare_pins()
    }
}
