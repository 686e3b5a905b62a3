//! Every operation against a plain model, with pins, reopening and the death of the process in between, on every class
//! of medium, with a region that can become full.

use crate::lives;
use crate::{Many, decode};
use arbitrary::Arbitrary;
use pagestone::page::{PageRef, frames_at};
use pagestone::store::{CloseError, Object, Options, Store};
use pagestone::units::{Durability, PageIndex, PfnRange};
use pagestone::{Error, Result};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

const PAGE: usize = 4096;
/// Pages that an operation can begin at.
const PAGES: u8 = 40;
/// Handles that are open at once.
const HANDLES: usize = 8;

#[derive(Arbitrary, Debug)]
struct Input {
    class: Class,
    /// The region's largest size: so many frames more than a fresh one.
    room: u8,
    steps: Many<Step>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Class {
    Volatile,
    Fdatasync,
    CacheLine,
}

#[derive(Arbitrary, Clone, Debug)]
enum Step {
    Open { name: u8 },
    Create { name: u8 },
    Close { handle: u8 },
    Write { handle: u8, at: At, len: u16, value: u8 },
    Append { handle: u8, len: u16, value: u8 },
    Read { handle: u8, at: At, len: u16 },
    SetLen { handle: u8, at: At },
    Punch { handle: u8, at: At, len: u16 },
    Allocate { handle: u8, at: At, len: u16 },
    PinWrite { handle: u8, page: u8, at: u16, len: u8, value: u8 },
    HoldPin { handle: u8, page: u8 },
    Alias { pin: u8 },
    DropPin { pin: u8 },
    Sync { handle: u8 },
    SyncRange { handle: u8, at: At, len: u16 },
    SyncStore,
    Unlink { name: u8 },
    Rename { from: u8, to: u8 },
    Reopen,
    Kill,
    Batch { handle: u8, at: At, other: u8, then: At, len: u16, value: u8 },
    Grow { handle: u8, to: At, other: u8, then: At, len: u8, value: u8 },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct At {
    page: u8,
    byte: u16,
}

impl At {
    fn get(self) -> u64 {
        u64::from(self.page % PAGES) * PAGE as u64 + u64::from(self.byte) % PAGE as u64
    }
}

/// What an object holds.
type Bytes = Rc<RefCell<Vec<u8>>>;

struct Handle {
    object: Object,
    bytes: Bytes,
}

/// A pin, and what it must go on showing once it is detached.
struct Held {
    page: PageRef,
    bytes: Vec<u8>,
}

struct World {
    options: Options,
    store: Option<Store>,
    handles: Vec<Handle>,
    pins: Vec<Held>,
    model: BTreeMap<u8, Bytes>,
}

impl World {
    fn new(class: Class, room: u8) -> Option<Self> {
        let class = match class {
            Class::Volatile => Durability::Volatile,
            Class::Fdatasync => Durability::Fdatasync,
            Class::CacheLine => Durability::CacheLine,
        };
        let bytes = (60 + u64::from(room) * 4) * PAGE as u64;
        let options = lives::options().assume(class).log_frames(4).max_size(bytes);
        let store = options.clone().create(true).open_image(Vec::new()).ok()?;
        let (handles, pins, model) = Default::default();
        Some(Self { options, store: Some(store), handles, pins, model })
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("it is open between the steps")
    }

    /// An open object; the first name is opened if there is none.
    fn handle(&mut self, n: u8) -> Result<(Object, Bytes)> {
        if self.handles.is_empty() {
            self.open(n)?;
        }
        let handle = &self.handles[usize::from(n) % self.handles.len()];
        Ok((handle.object.clone(), Rc::clone(&handle.bytes)))
    }

    fn open(&mut self, name: u8) -> Result {
        let object = self.store().open_or_create(name_of(name))?;
        let bytes = Rc::clone(self.model.entry(name % 5).or_default());
        if self.handles.len() == HANDLES {
            self.handles.remove(0);
        }
        self.handles.push(Handle { object, bytes });
        Ok(())
    }

    /// An operation that finds no room has changed nothing; any other error is a broken promise.
    fn step(&mut self, step: &Step) {
        match self.try_step(step) {
            Ok(()) | Err(Error::NoSpace { .. }) => self.check_pins(),
            Err(error) => panic!("{step:?}: {error}"),
        }
    }

    fn try_step(&mut self, step: &Step) -> Result {
        match *step {
            Step::Open { name } => self.open(name)?,
            Step::Create { name } => match self.store().create(name_of(name)) {
                Ok(_) => assert!(self.model.insert(name % 5, Bytes::default()).is_none(), "created twice"),
                Err(Error::Exists { .. }) => assert!(self.model.contains_key(&(name % 5))),
                Err(error) => return Err(error),
            },
            Step::Close { handle } => {
                if !self.handles.is_empty() {
                    self.handles.remove(usize::from(handle) % self.handles.len());
                }
            }
            Step::Write { handle, at, len, value } => {
                let (object, bytes) = self.handle(handle)?;
                object.write_at(at.get(), &vec![value; len_of(len)])?;
                write(&mut bytes.borrow_mut(), at.get(), len_of(len), value);
            }
            Step::Append { handle, len, value } => {
                let (object, bytes) = self.handle(handle)?;
                let end = bytes.borrow().len() as u64;
                assert_eq!(object.append(&vec![value; len_of(len)])?, end);
                write(&mut bytes.borrow_mut(), end, len_of(len), value);
            }
            Step::Read { handle, at, len } => {
                let (object, bytes) = self.handle(handle)?;
                read(&object, &bytes.borrow(), at.get(), len_of(len));
            }
            Step::SetLen { handle, at } => {
                let (object, bytes) = self.handle(handle)?;
                object.set_len(at.get())?;
                bytes.borrow_mut().resize(at.get() as usize, 0);
            }
            Step::Punch { handle, at, len } => {
                let (object, bytes) = self.handle(handle)?;
                object.punch_hole(at.get(), len.into())?;
                let mut bytes = bytes.borrow_mut();
                let end = bytes.len().min(at.get() as usize + usize::from(len));
                let start = end.min(at.get() as usize);
                bytes[start..end].fill(0);
            }
            Step::Allocate { handle, at, len } => self.handle(handle)?.0.allocate(at.get(), len.into())?,
            Step::PinWrite { handle, page, at, len, value } => {
                return self.pin_write(handle, page % PAGES, at, len, value);
            }
            Step::HoldPin { handle, page } => {
                let (object, _) = self.handle(handle)?;
                if let Some(page) = object.pin(PageIndex((page % PAGES).into()))? {
                    self.hold(page);
                }
            }
            Step::Alias { pin } => return self.alias(pin),
            Step::DropPin { pin } => {
                if !self.pins.is_empty() {
                    self.pins.swap_remove(usize::from(pin) % self.pins.len());
                }
            }
            Step::Sync { handle } => self.handle(handle)?.0.sync()?,
            Step::SyncRange { handle, at, len } => self.handle(handle)?.0.sync_range(at.get(), len.into())?,
            Step::SyncStore => self.store().sync()?,
            Step::Unlink { name } => match self.store().unlink(name_of(name)) {
                Ok(()) => assert!(self.model.remove(&(name % 5)).is_some(), "nothing had this name"),
                Err(Error::NotFound { .. }) => assert!(!self.model.contains_key(&(name % 5))),
                Err(error) => return Err(error),
            },
            Step::Rename { from, to } => match self.store().rename(name_of(from), name_of(to)) {
                Ok(()) => {
                    let bytes = self.model.remove(&(from % 5)).expect("nothing had this name");
                    self.model.insert(to % 5, bytes);
                }
                Err(Error::NotFound { .. }) => assert!(!self.model.contains_key(&(from % 5))),
                Err(error) => return Err(error),
            },
            Step::Reopen => self.reopen(),
            Step::Kill => self.kill(),
            Step::Batch { handle, at, other, then, len, value } => {
                let (first, second) = (self.handle(handle)?, self.handle(other)?);
                let mut batch = self.store().batch();
                for ((object, _), at) in [(&first, at), (&second, then)] {
                    batch.write_at(object, at.get(), &vec![value; len_of(len)])?;
                }
                batch.commit()?;
                for ((_, bytes), at) in [(first, at), (second, then)] {
                    write(&mut bytes.borrow_mut(), at.get(), len_of(len), value);
                }
            }
            Step::Grow { handle, to, other, then, len, value } => {
                let (first, second) = (self.handle(handle)?, self.handle(other)?);
                let mut batch = self.store().batch();
                match batch.set_len(&first.0, to.get()) {
                    Ok(()) => (),
                    Err(Error::Invalid(_)) if first.0.len() > to.get() => return Ok(()),
                    Err(error) => return Err(error),
                }
                batch.write_at(&second.0, then.get(), &vec![value; len.into()])?;
                batch.commit()?;
                let len_now = first.1.borrow().len().max(to.get() as usize);
                first.1.borrow_mut().resize(len_now, 0);
                write(&mut second.1.borrow_mut(), then.get(), len.into(), value);
            }
        }
        Ok(())
    }

    fn pin_write(&mut self, handle: u8, page: u8, at: u16, len: u8, value: u8) -> Result {
        let (object, bytes) = self.handle(handle)?;
        let pin = object.pin_mut(PageIndex(page.into()))?;
        let start = usize::from(page) * PAGE;
        let mut bytes = bytes.borrow_mut();
        if bytes.len() <= start {
            bytes.resize(start + PAGE, 0);
        }
        assert_eq!(object.len(), bytes.len() as u64, "the length after a pin for writing");
        let end = (usize::from(at) % PAGE + usize::from(len)).min(PAGE).min(bytes.len() - start);
        let at = (usize::from(at) % PAGE).min(end);
        pin.write_range(at..end)?.fill(value);
        bytes[start + at..start + end].fill(value);
        Ok(())
    }

    fn hold(&mut self, page: PageRef) {
        if self.pins.len() < 16 {
            let bytes = page.read().expect("a pinned page can be read").to_vec();
            self.pins.push(Held { page, bytes });
        }
    }

    /// A page reached by its number and by its address is the page, and all pins are one count.
    fn alias(&mut self, pin: u8) -> Result {
        if self.pins.is_empty() {
            return Ok(());
        }
        let held = &self.pins[usize::from(pin) % self.pins.len()].page;
        let before = held.info().pins;
        let by_pfn = self.store().frames(PfnRange::new(held.pfn(), 1));
        let by_address = frames_at(held.address(), 1);
        if held.is_detached() {
            assert!(matches!(by_pfn, Err(Error::Detached { .. })) && by_address.is_err());
            return Ok(());
        }
        let (by_pfn, by_address) = (by_pfn?, by_address?);
        assert_eq!((by_pfn.len(), by_address.len()), (1, 1));
        assert_eq!((by_pfn[0].address(), by_address[0].pfn()), (held.address(), held.pfn()));
        assert_eq!(held.info().pins, before + 2);
        drop(by_address);
        by_pfn.into_iter().for_each(|page| self.hold(page));
        Ok(())
    }

    /// A pin that is not detached shows its object; one that is shows what it showed last.
    fn check_pins(&mut self) {
        for held in &mut self.pins {
            let now = held.page.read().expect("a pinned page can be read").to_vec();
            if held.page.is_detached() {
                assert!(now == held.bytes, "a detached page changed under its pin");
                assert!(held.page.write().is_err(), "a detached page was latched for writing");
            }
            held.bytes = now;
        }
    }

    fn let_go(&mut self) {
        self.pins.clear();
        self.handles.clear();
    }

    fn reopen(&mut self) {
        self.let_go();
        let store = self.store.take().expect("open");
        match lives::closed(store) {
            Ok(image) => self.live(image, 0),
            // A full region that owes work cannot do it before something is deleted: it is left as it stands.
            Err(CloseError { store, error: Error::NoSpace { .. } }) => self.store = Some(store),
            Err(error) => panic!("closing: {error}"),
        }
    }

    /// The process dies, pins, handles and all; another one opens what it left.
    fn kill(&mut self) {
        let image = lives::killed(self.store());
        self.let_go();
        self.store = None;
        self.live(image, u64::MAX);
    }

    fn live(&mut self, image: Vec<u8>, recovered: u64) {
        let store = self.options.open_image(image).expect("what was left can be opened");
        assert!(store.stats().log_recovered <= recovered, "a region closed in order was recovered");
        self.store = Some(store);
        self.check();
    }

    fn check(&self) {
        let report = self.store().check().expect("a region that can be read");
        assert!(report.is_clean(), "{:?}", report.findings);
        let names: Vec<_> =
            self.store().list().expect("a clean region").into_iter().map(|e| e.name).collect();
        assert_eq!(names, self.model.keys().map(|name| name_of(*name)).collect::<Vec<_>>());
        for (name, bytes) in &self.model {
            let object = self.store().open(name_of(*name)).expect("it was listed");
            read(&object, &bytes.borrow(), 0, bytes.borrow().len() + 100);
        }
    }
}

fn name_of(name: u8) -> Vec<u8> {
    vec![b'a' + name % 5]
}

fn len_of(len: u16) -> usize {
    usize::from(len) % (5 * PAGE)
}

fn write(bytes: &mut Vec<u8>, at: u64, len: usize, value: u8) {
    if len > 0 {
        let end = at as usize + len;
        bytes.resize(bytes.len().max(end), 0);
        bytes[at as usize..end].fill(value);
    }
}

/// The object reads as its model, and nothing is written past what was read.
fn read(object: &Object, bytes: &[u8], at: u64, len: usize) {
    let mut found = vec![0xEE; len];
    let n = object.read_at(at, &mut found).expect("a whole region");
    let there = bytes.get(at as usize..).unwrap_or(&[]);
    assert_eq!(n, there.len().min(len), "bytes read");
    assert!(found[..n] == there[..n], "wrong bytes from {at}");
    assert!(found[n..] == vec![0xEE; len - n][..], "bytes past the end were written");
}

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let Some(input) = decode::<Input>(bytes) else { return };
    let Some(mut world) = World::new(input.class, input.room) else { return };
    input.steps.0.iter().for_each(|step| world.step(step));
    world.check();
    world.kill();
    world.reopen();
}
