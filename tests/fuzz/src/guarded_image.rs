//! A valid region is damaged and then used beside guards: whatever a bitmap, a map or a table says, bytes under a shared
//! latch do not change.

use crate::edit::{Base, Edit, edited};
use crate::lives;
use crate::{Many, decode};
use arbitrary::Arbitrary;
use pagestone::Result;
use pagestone::page::ReadRange;
use pagestone::store::{Object, Store};
use pagestone::units::{Pfn, PfnRange};

#[derive(Arbitrary, Debug)]
struct Input {
    base: Base,
    edits: Many<Edit>,
    acts: Many<Act>,
}

/// One operation. Operations that change an object skip objects with a guarded page: they would wait for the guard.
#[derive(Arbitrary, Clone, Debug)]
enum Act {
    Guard { object: u8, page: u8 },
    Let { guard: u8 },
    New { name: u8, len: u16 },
    Write { object: u8, page: u8, len: u16 },
    Append { object: u8, len: u16 },
    Punch { object: u8, page: u8, pages: u8 },
    Cut { object: u8, page: u8 },
    Batch { object: u8, page: u8, len: u16 },
    Unlink { object: u8 },
    Frames { first: u8, n: u8 },
    Pin { object: u8, page: u8 },
    Sync,
}

/// Most bytes that one act stores.
const LEN_MAX: usize = 50_000;
static BYTES: [u8; LEN_MAX] = [0xA7; LEN_MAX];

/// A guarded page, and its bytes when the guard was taken.
struct Guarded {
    object: u64,
    range: ReadRange,
    before: Vec<u8>,
}

struct Session {
    store: Store,
    guards: Vec<Guarded>,
}

impl Session {
    fn open(&self, n: u8) -> Result<Option<Object>> {
        let names = self.store.list()?;
        let Some(at) = usize::from(n).checked_rem(names.len()) else { return Ok(None) };
        self.store.open(&names[at].name).map(Some)
    }

    /// An object that may be changed. Damage can give two objects one number; to the engine they are one object.
    fn unguarded(&self, n: u8) -> Result<Option<Object>> {
        let alike = |object: &Object, guarded: &Guarded| (object.id() ^ guarded.object) << 36 == 0;
        Ok(self.open(n)?.filter(|object| !self.guards.iter().any(|guarded| alike(object, guarded))))
    }

    fn act(&mut self, act: &Act) -> Result {
        match *act {
            Act::Guard { object, page } => {
                let Some(object) = self.open(object)? else { return Ok(()) };
                let range = object.pin_range(u64::from(page) * 4096, 4096)?;
                if let Some(range) =
                    range.pinned().map(pagestone::page::PinnedRange::try_read).transpose()?.flatten()
                {
                    self.guards.push(Guarded { object: object.id(), before: range.to_vec(), range });
                }
            }
            Act::Let { guard } => {
                if let Some(at) = usize::from(guard).checked_rem(self.guards.len()) {
                    self.guards.swap_remove(at);
                }
            }
            Act::New { name, len } => {
                let object = self.store.create(format!("new {}", name % 8))?;
                object.append(&BYTES[..usize::from(len).min(LEN_MAX)])?;
            }
            Act::Write { object, page, len } => {
                let Some(object) = self.unguarded(object)? else { return Ok(()) };
                object.write_at(u64::from(page) * 4096 + 9, &BYTES[..usize::from(len).min(LEN_MAX)])?;
            }
            Act::Append { object, len } => {
                let Some(object) = self.unguarded(object)? else { return Ok(()) };
                object.append(&BYTES[..usize::from(len).min(LEN_MAX)])?;
            }
            Act::Punch { object, page, pages } => {
                let Some(object) = self.unguarded(object)? else { return Ok(()) };
                object.punch_hole(u64::from(page) * 4096, u64::from(pages) * 4096)?;
            }
            Act::Cut { object, page } => {
                let Some(object) = self.unguarded(object)? else { return Ok(()) };
                object.set_len(object.len().min(u64::from(page) * 4096 + 77))?;
            }
            Act::Batch { object, page, len } => {
                let Some(object) = self.unguarded(object)? else { return Ok(()) };
                let mut batch = self.store.batch();
                batch.write_at(&object, u64::from(page) * 4096, &BYTES[..usize::from(len).min(LEN_MAX)])?;
                batch.write_at(&object, object.len(), &BYTES[..100])?;
                batch.commit()?;
            }
            Act::Unlink { object } => {
                let names = self.store.list()?;
                if let Some(at) = usize::from(object).checked_rem(names.len()) {
                    self.store.unlink(&names[at].name)?;
                }
            }
            Act::Frames { first, n } => {
                let start = self.store.info().pfns.start.get() + u64::from(first);
                drop(self.store.frames(PfnRange::new(Pfn::new(start), (n % 8).into()))?);
            }
            Act::Pin { object, page } => {
                let Some(object) = self.open(object)? else { return Ok(()) };
                if let Some(page) = object.pin(pagestone::units::PageIndex(page.into()))? {
                    assert_eq!(page.read()?.len(), 4096);
                }
            }
            Act::Sync => self.store.sync()?,
        }
        Ok(())
    }
}

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let Some(input) = decode::<Input>(bytes) else { return };
    let image = edited(input.base, &input.edits.0);
    let Ok(store) = lives::options().open_image(image) else { return };
    let mut session = Session { store, guards: Vec::new() };
    for act in &input.acts.0 {
        let done = session.act(act);
        for guarded in &session.guards {
            assert!(guarded.range[..] == guarded.before, "{act:?} changed bytes under a guard: {done:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_act_does_something_on_a_region_that_is_whole() {
        let store = lives::options().open_image(Base::Closed.image()).expect("a region");
        let mut session = Session { store, guards: Vec::new() };
        let objects = session.store.list().expect("names").len() as u8;
        let guarded = (0..objects).find(|&object| {
            session.act(&Act::Guard { object, page: 0 }).expect("no damage");
            !session.guards.is_empty()
        });
        let guarded = guarded.expect("an object with a page");
        assert!(session.unguarded(guarded).expect("no damage").is_none());
        session.act(&Act::New { name: 0, len: 9000 }).expect("room");
        let new = (0..=objects)
            .find(|&n| session.open(n).is_ok_and(|object| object.is_some_and(|object| object.len() == 9000)));
        let object = new.expect("it is listed");
        for act in [
            Act::Write { object, page: 1, len: 5000 },
            Act::Append { object, len: 5000 },
            Act::Batch { object, page: 1, len: 5000 },
            Act::Pin { object, page: 1 },
            Act::Punch { object, page: 0, pages: 1 },
            Act::Cut { object, page: 1 },
            Act::Sync,
            Act::Unlink { object },
        ] {
            session.act(&act).expect("no damage");
        }
        assert_eq!(session.store.list().expect("names").len(), usize::from(objects));
        session.act(&Act::Let { guard: 0 }).expect("no damage");
        assert!(session.guards.is_empty());
    }
}
