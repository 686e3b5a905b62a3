//! Every operation is compared with a plain model, with pins, reopenings and deaths of the process in between, on every
//! class of medium, in a region that can become full.

use crate::{lives, show};
use arbitrary::Unstructured;
use pagestone::page::{PageRef, frames_at};
use pagestone::store::{CloseError, Object, Options, Store};
use pagestone::units::{Durability, PageIndex, PfnRange};
use pagestone::{Error, Result};
use pagestone_workload::content::Content;
use pagestone_workload::{Choices, Hands, Kind, Model, ObjectNo, Op, PAGE, Space, pattern};

/// Pages that an operation can begin at.
const PAGES: u64 = 40;
const SPACE: Space = Space { pages: PAGES, far: false };
/// Names in play.
const NAMES: u8 = 5;
/// The most handles that are open at once, and the most pins.
const HANDLES: usize = 8;
const PINS: usize = 16;
/// The most steps of an input.
const STEPS_MAX: u16 = 64;

/// The fuzzer's bytes, as a source of choices.
struct Bytes<'a>(Unstructured<'a>);

impl Choices for Bytes<'_> {
    fn below(&mut self, limit: u64) -> u64 {
        limit.checked_sub(1).map_or(0, |last| self.0.int_in_range(0..=last).unwrap_or(0))
    }
}

type Step = fn(&mut World, &mut Bytes<'_>) -> Result;

const STEPS: &[(u64, (&str, Step))] = &[
    (3, ("create", |world, from| world.operate(Kind::Create, from))),
    (6, ("write", |world, from| world.operate(Kind::Write, from))),
    (3, ("append", |world, from| world.operate(Kind::Append, from))),
    (3, ("set_len", |world, from| world.operate(Kind::SetLen, from))),
    (3, ("punch", |world, from| world.operate(Kind::Punch, from))),
    (2, ("allocate", |world, from| world.operate(Kind::Allocate, from))),
    (2, ("move", |world, from| world.operate(Kind::Move, from))),
    (2, ("sync", |world, from| world.operate(Kind::Sync, from))),
    (2, ("sync_range", |world, from| world.operate(Kind::SyncRange, from))),
    (2, ("sync of all", |world, from| world.operate(Kind::SyncAll, from))),
    (2, ("unlink", |world, from| world.operate(Kind::Unlink, from))),
    (2, ("rename", |world, from| world.operate(Kind::Rename, from))),
    (4, ("batch", |world, from| world.operate(Kind::Batch, from))),
    (1, ("compact", |world, from| world.operate(Kind::Compact, from))),
    (1, ("write without a name", |world, from| world.nameless(Kind::Write, from))),
    (1, ("set_len without a name", |world, from| world.nameless(Kind::SetLen, from))),
    (1, ("punch without a name", |world, from| world.nameless(Kind::Punch, from))),
    (2, ("read", World::read)),
    (2, ("names that are refused", World::refused)),
    (1, ("open", World::open)),
    (1, ("close of a handle", World::close)),
    (2, ("growth in a batch", World::grow)),
    (3, ("store through a pin", World::pin_write)),
    (3, ("pin", World::hold_pin)),
    (2, ("pins by number and address", World::alias)),
    (2, ("unpin", World::drop_pin)),
    (
        2,
        ("reopening", |world, _| {
            world.reopen();
            Ok(())
        }),
    ),
    (
        2,
        ("kill", |world, _| {
            world.kill();
            Ok(())
        }),
    ),
];

/// A pin, and the bytes that it must still show after its page is detached.
struct Held {
    page: PageRef,
    bytes: Vec<u8>,
}

struct World {
    options: Options,
    store: Option<Store>,
    hands: Hands,
    pins: Vec<Held>,
    model: Model,
    fresh: ObjectNo,
    number: u16,
}

impl World {
    fn new(class: u64, room: u64) -> Option<Self> {
        let class = [Durability::Volatile, Durability::Fdatasync, Durability::CacheLine][class as usize];
        let options = lives::options().assume(class).log_frames(4).max_size((60 + room * 4) * PAGE);
        let store = options.clone().create(true).open_image(Vec::new()).ok()?;
        let hands = Hands::new(pattern::bytes, true);
        let (pins, model) = Default::default();
        Some(Self { options, store: Some(store), hands, pins, model, fresh: 0, number: 0 })
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("it is open between the steps")
    }

    /// Does a step. An operation that finds no room must change nothing. Any other error is a broken promise.
    fn step(&mut self, from: &mut Bytes<'_>) {
        let (name, step) = from.weighted(STEPS);
        show(&name);
        self.number += 1;
        match step(self, from) {
            Ok(()) | Err(Error::NoSpace { .. }) => self.check_pins(),
            Err(error) => panic!("{name}: {error}"),
        }
    }

    fn operate(&mut self, kind: Kind, from: &mut Bytes<'_>) -> Result {
        let kind = if self.model.names.is_empty() { Kind::Create } else { kind };
        let choice = SPACE.draw(kind, from);
        self.model.meaning(&choice, PAGES, self.fresh, name_of).map_or(Ok(()), |op| self.act(&op))
    }

    /// As an operation, but on an open object that has lost its name.
    fn nameless(&mut self, kind: Kind, from: &mut Bytes<'_>) -> Result {
        let choice = SPACE.draw(kind, from);
        let nameless = |no: &ObjectNo| self.model.name_of(*no).is_none();
        let object = self.hands.open().map(|(no, _)| no).filter(nameless).min();
        choice.meant(|_| object, |n| Some(name_of(n))).map_or(Ok(()), |op| self.act(&op))
    }

    fn read(&mut self, from: &mut Bytes<'_>) -> Result {
        if let Some(no) = self.some_object(from) {
            let (at, len) = (from.below(PAGES * PAGE), from.below(5 * PAGE) as usize);
            read(&self.object(no)?, &self.model.objects[&no], at, len);
        }
        Ok(())
    }

    fn open(&mut self, from: &mut Bytes<'_>) -> Result {
        let name = name_of(from.choice());
        match (self.model.names.get(&name), &self.store) {
            (Some(no), Some(store)) if self.hands.open().count() < HANDLES => {
                self.hands.find(store, &name, *no)
            }
            _ => Ok(()),
        }
    }

    fn close(&mut self, from: &mut Bytes<'_>) -> Result {
        let mut open: Vec<_> = self.hands.open().map(|(no, _)| no).collect();
        open.sort_unstable();
        open.get(from.below(open.len() as u64) as usize).into_iter().for_each(|no| self.hands.close(*no));
        Ok(())
    }

    fn hold_pin(&mut self, from: &mut Bytes<'_>) -> Result {
        if let Some(no) = self.some_object(from)
            && let Some(page) = self.object(no)?.pin(PageIndex(from.below(PAGES)))?
        {
            self.hold(page);
        }
        Ok(())
    }

    fn drop_pin(&mut self, from: &mut Bytes<'_>) -> Result {
        if !self.pins.is_empty() {
            self.pins.swap_remove(from.below(self.pins.len() as u64) as usize);
        }
        Ok(())
    }

    fn act(&mut self, op: &Op) -> Result {
        if let Op::Create(..) = op {
            self.fresh += 1;
        }
        let done = self.hands.act(self.store.as_ref().expect("open"), op, self.number);
        match (&done, op) {
            (Ok(()), _) => self.model.apply(op, self.number, pattern::bytes),
            (Err(Error::NoSpace { .. }), Op::Write(object, at, len)) => {
                self.half_written(*object, *at, at + len)?
            }
            _ => (),
        }
        done
    }

    /// A write found no room: pages that were there before, inside the old length, may show its bytes.
    fn half_written(&mut self, no: ObjectNo, at: u64, end: u64) -> Result {
        let content = &self.model.objects[&no];
        let end = end.min(content.len).max(at);
        let old = content.read(at, (end - at) as usize);
        let new = pattern::bytes(no, self.number, at..end);
        let mut found = vec![0; old.len()];
        self.object(no)?.read_at(at, &mut found)?;
        assert!(
            (0..found.len()).all(|i| found[i] == old[i] || found[i] == new[i]),
            "a third byte after {at}"
        );
        self.model.store(no, at, &found);
        Ok(())
    }

    fn some_object(&self, from: &mut Bytes<'_>) -> Option<ObjectNo> {
        self.model.names.values().nth(from.below(self.model.names.len() as u64) as usize).copied()
    }

    fn object(&self, object: ObjectNo) -> Result<Object> {
        self.hands.object(self.store(), object)
    }

    fn refused(&mut self, from: &mut Bytes<'_>) -> Result {
        let (name, other) = (name_of(from.choice()), name_of(from.choice()));
        if self.model.names.contains_key(&name) {
            assert!(matches!(self.store().create(&name), Err(Error::Exists { .. })), "created twice");
            return Ok(());
        }
        let missing = |result: Result| assert!(matches!(result, Err(Error::NotFound { .. })), "{result:?}");
        missing(self.store().unlink(&name));
        missing(self.store().open(&name).map(drop));
        if name != other {
            missing(self.store().rename(&name, &other));
        }
        Ok(())
    }

    /// A batch that makes one object longer and writes to the same or to another one.
    fn grow(&mut self, from: &mut Bytes<'_>) -> Result {
        let (Some(first), Some(second)) = (self.some_object(from), self.some_object(from)) else {
            return Ok(());
        };
        let (to, at, len) = (from.below(PAGES * PAGE), from.below(PAGES * PAGE), from.below(256));
        let mut batch = self.store().batch();
        match batch.set_len(&self.object(first)?, to) {
            Ok(()) => (),
            Err(Error::Invalid(_)) if self.model.len_of(first) > Some(to) => return Ok(()),
            Err(error) => return Err(error),
        }
        batch.write_at(&self.object(second)?, at, &pattern::bytes(second, self.number, at..at + len))?;
        batch.commit()?;
        let to = to.max(self.model.len_of(first).unwrap_or(0));
        self.model.apply(&Op::SetLen(first, to), self.number, pattern::bytes);
        self.model.apply(&Op::Write(second, at, len), self.number, pattern::bytes);
        Ok(())
    }

    /// A pin for writing makes the object longer, up to the end of its page.
    fn pin_write(&mut self, from: &mut Bytes<'_>) -> Result {
        let Some(no) = self.some_object(from) else { return Ok(()) };
        let (page, at, len) = (from.below(PAGES), from.below(PAGE), from.below(256));
        let object = self.object(no)?;
        let pin = object.pin_mut(PageIndex(page))?;
        let start = page * PAGE;
        if self.model.len_of(no) <= Some(start) {
            self.model.apply(&Op::SetLen(no, start + PAGE), self.number, pattern::bytes);
        }
        let end = self.model.len_of(no).unwrap_or(0);
        assert_eq!(object.len(), end, "the length after a pin for writing");
        let to = (at + len).min(PAGE).min(end - start);
        let at = at.min(to);
        let bytes = pattern::bytes(no, self.number, start + at..start + to);
        pin.write_range(at as usize..to as usize)?.copy_from_slice(&bytes);
        self.model.apply(&Op::Touch(no, start + at, to - at), self.number, pattern::bytes);
        Ok(())
    }

    fn hold(&mut self, page: PageRef) {
        if self.pins.len() < PINS {
            let bytes = page.read().expect("a pinned page can be read").to_vec();
            self.pins.push(Held { page, bytes });
        }
    }

    /// A page is the same by its number and by its address, and all its pins are in one count.
    fn alias(&mut self, from: &mut Bytes<'_>) -> Result {
        if self.pins.is_empty() {
            return Ok(());
        }
        let held = &self.pins[from.below(self.pins.len() as u64) as usize].page;
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

    /// A pin shows the bytes of its object; after its page is detached, the last bytes that it showed.
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
        self.hands.let_go();
    }

    fn reopen(&mut self) {
        self.let_go();
        let store = self.store.take().expect("open");
        match lives::closed(store) {
            Ok(image) => self.live(image, 0),
            // In a full region, work that is owed may need room that only a deletion gives. The store stays as it is.
            Err(CloseError { store, error: Error::NoSpace { .. } }) => self.store = Some(store),
            Err(error) => panic!("closing: {error}"),
        }
    }

    /// The process dies, with its pins and handles. Another one opens what it left.
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
        self.model.forget_nameless();
        self.check();
    }

    fn check(&self) {
        let report = self.store().check().expect("a region that can be read");
        assert!(report.is_clean(), "{:?}", report.findings);
        let names: Vec<_> =
            self.store().list().expect("a clean region").into_iter().map(|e| e.name).collect();
        assert!(names.iter().eq(self.model.names.keys().map(String::as_bytes)), "{names:?}");
        for (name, no) in &self.model.names {
            let (object, content) =
                (self.store().open(name).expect("it was listed"), &self.model.objects[no]);
            read(&object, content, 0, content.len as usize + 100);
        }
    }
}

fn name_of(n: u8) -> String {
    char::from(b'a' + n % NAMES).into()
}

/// Asserts that a read shows the model's bytes, and writes nothing behind them.
fn read(object: &Object, content: &Content, at: u64, len: usize) {
    let mut found = vec![0xEE; len];
    let n = object.read_at(at, &mut found).expect("a whole region");
    assert!(found[..n] == content.read(at, len), "wrong bytes from {at}");
    assert!(found[n..] == vec![0xEE; len - n], "bytes past the end were written");
}

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let mut from = Bytes(Unstructured::new(bytes));
    let Some(mut world) = World::new(from.below(3), from.below(256)) else { return };
    while !from.0.is_empty() && world.number < STEPS_MAX {
        world.step(&mut from);
    }
    world.check();
    world.kill();
    world.reopen();
}
