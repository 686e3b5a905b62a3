//! Uses a store that may be damaged. Calls always return, with errors at worst. In a store that `check` found clean, no
//! error blames the medium, and the store stays clean.

use crate::lives::{self, blames_the_medium};
use arbitrary::Arbitrary;
use pagestone::page::PageRef;
use pagestone::store::{CloseError, Object, Store};
use pagestone::units::{PageIndex, Pfn, PfnRange};
use pagestone::{Error, Result};

/// One operation.
#[derive(Arbitrary, Clone, Debug)]
pub enum Act {
    Open { object: u8 },
    Create { name: u8 },
    Read { object: u8, at: At, len: u16 },
    Write { object: u8, at: At, len: u16 },
    Append { object: u8, len: u16 },
    SetLen { object: u8, at: At },
    Allocate { object: u8, at: At, len: u16 },
    Punch { object: u8, at: At, len: At },
    Pin { object: u8, at: At, write: bool },
    PinFrames { first: u8, n: u8 },
    DropPins,
    Sync { object: u8 },
    SyncRange { object: u8, at: At, len: u16 },
    SyncStore,
    Rename { from: u8, to: u8 },
    Unlink { object: u8 },
    CloseObject { object: u8 },
    Mapped { object: u8 },
    Kill,
    Reopen,
    Batch { object: u8, at: At, other: u8, then: At, len: u16 },
}

/// A byte offset: near the front, near the end of the object, or anywhere.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum At {
    Near(u16),
    Page(u8),
    End(i16),
    Far(u64),
}

impl At {
    fn of(self, len: u64) -> u64 {
        match self {
            Self::Near(at) => at.into(),
            Self::Page(page) => u64::from(page) * 4096,
            Self::End(by) => len.saturating_add_signed(by.into()),
            Self::Far(at) => at,
        }
    }
}

/// The most bytes that one operation writes or reads.
const LEN_MAX: usize = 9000;
/// The content of a buffer before a read.
static UNREAD: [u8; LEN_MAX] = [0xEE; LEN_MAX];

/// A store in use.
pub struct Session {
    store: Option<Store>,
    objects: Vec<Object>,
    pins: Vec<PageRef>,
    /// `check` found nothing: from now on, an error that blames the medium is a finding of the fuzzer.
    trusted: bool,
}

impl Session {
    /// Begins to use `store`. `trusted`: `check` found it clean.
    #[must_use]
    pub fn new(store: Store, trusted: bool) -> Self {
        Self { store: Some(store), objects: Vec::new(), pins: Vec::new(), trusted }
    }

    /// Does all the operations, reads everything, and closes the store.
    pub fn run(mut self, acts: &[Act]) {
        for act in acts {
            let done = self.act(act);
            self.judge(done, act);
        }
        let read = self.read_all();
        self.judge(read, &"reading everything");
        let again = self.reopen();
        self.judge(again, &"the last close");
        self.check();
    }

    fn judge(&self, done: Result, what: &dyn std::fmt::Debug) {
        match done {
            Err(error) if self.trusted && blames_the_medium(&error) => {
                panic!("{what:?} on a region that check found clean: {error}")
            }
            _ => (),
        }
    }

    fn check(&self) {
        let Some(store) = &self.store else { return };
        match store.check() {
            Ok(report) if self.trusted => assert!(report.is_clean(), "{:?}", report.findings),
            Err(error) if self.trusted => panic!("check itself failed: {error}"),
            _ => (),
        }
    }

    fn store(&self) -> Result<&Store> {
        self.store.as_ref().ok_or(Error::Closed)
    }

    /// An open object, or another object of the store, picked by this number.
    fn object(&mut self, n: u8) -> Result<Object> {
        if let Some(object) = pick(&self.objects, n) {
            return Ok(object.clone());
        }
        self.open(n)
    }

    fn open(&mut self, n: u8) -> Result<Object> {
        let object = self.store()?.open(self.name(n)?)?;
        self.objects.push(object.clone());
        self.objects.truncate(8);
        Ok(object)
    }

    fn name(&self, n: u8) -> Result<Vec<u8>> {
        let names = self.store()?.list()?;
        Ok(pick(&names, n).map_or_else(|| new_name(n), |entry| entry.name.clone()))
    }

    fn act(&mut self, act: &Act) -> Result {
        match *act {
            Act::Open { object } => drop(self.open(object)?),
            Act::Create { name } => {
                let object = self.store()?.create(new_name(name))?;
                self.objects.push(object);
            }
            Act::Read { object, at, len } => return read(&self.object(object)?, at, len.into()),
            Act::Write { object, at, len } => {
                let object = self.object(object)?;
                object.write_at(at.of(object.len()), &UNREAD[..usize::from(len).min(LEN_MAX)])?;
            }
            Act::Append { object, len } => {
                self.object(object)?.append(&UNREAD[..usize::from(len).min(LEN_MAX)])?;
            }
            Act::SetLen { object, at } => {
                let object = self.object(object)?;
                object.set_len(at.of(object.len()))?;
            }
            Act::Allocate { object, at, len } => {
                let object = self.object(object)?;
                object.allocate(at.of(object.len()), len.into())?;
            }
            Act::Punch { object, at, len } => {
                let object = self.object(object)?;
                object.punch_hole(at.of(object.len()), len.of(object.len()))?;
            }
            Act::Pin { object, at, write } => return self.pin(object, at, write),
            Act::PinFrames { first, n } => {
                let start = self.store()?.info().pfns.start.get() + u64::from(first);
                let pins = self.store()?.frames(PfnRange::new(Pfn::new(start), (n % 8).into()))?;
                self.pins.extend(pins);
            }
            Act::DropPins => self.pins.clear(),
            Act::Sync { object } => self.object(object)?.sync()?,
            Act::SyncRange { object, at, len } => {
                let object = self.object(object)?;
                object.sync_range(at.of(object.len()), len.into())?;
            }
            Act::SyncStore => self.store()?.sync()?,
            Act::Rename { from, to } => {
                let to = if to < 128 { self.name(to)? } else { new_name(to) };
                self.store()?.rename(self.name(from)?, to)?;
            }
            Act::Unlink { object } => self.store()?.unlink(self.name(object)?)?,
            Act::CloseObject { object } => {
                if !self.objects.is_empty() {
                    self.objects.remove(usize::from(object) % self.objects.len());
                }
            }
            Act::Mapped { object } => drop(self.object(object)?.mapped()?),
            Act::Kill => return self.kill(),
            Act::Reopen => return self.reopen(),
            Act::Batch { object, at, other, then, len } => {
                let mut batch = self.store()?.batch();
                for (object, at) in [(object, at), (other, then)] {
                    let object = self.object(object)?;
                    batch.write_at(&object, at.of(object.len()), &UNREAD[..usize::from(len).min(LEN_MAX)])?;
                }
                batch.commit()?;
            }
        }
        Ok(())
    }

    fn pin(&mut self, object: u8, at: At, write: bool) -> Result {
        let object = self.object(object)?;
        let index = PageIndex(at.of(object.len()) / 4096);
        if write {
            let page = object.pin_mut(index)?;
            page.write_range(100..300)?.fill(0x77);
            self.pins.push(page);
        } else if let Some(page) = object.pin(index)? {
            assert_eq!(page.read()?.to_vec().len(), 4096);
            self.pins.push(page);
        }
        Ok(())
    }

    /// Lets the process die, and opens what that leaves.
    fn kill(&mut self) -> Result {
        let image = lives::killed(self.store()?);
        self.let_go();
        self.store = None;
        self.store = Some(lives::options().open_image(image)?);
        Ok(())
    }

    /// Closes in order, and opens again.
    fn reopen(&mut self) -> Result {
        self.let_go();
        let store = self.store.take().ok_or(Error::Closed)?;
        match lives::closed(store) {
            Ok(image) => self.store = Some(lives::options().open_image(image)?),
            Err(CloseError { store, error }) => {
                self.store = Some(store);
                return Err(error);
            }
        }
        Ok(())
    }

    fn let_go(&mut self) {
        self.pins.clear();
        self.objects.clear();
    }

    fn read_all(&mut self) -> Result {
        for entry in self.store()?.list()?.into_iter().take(64) {
            let object = self.store()?.open(&entry.name)?;
            read(&object, At::Near(0), LEN_MAX)?;
            read(&object, At::End(-3000), LEN_MAX)?;
            object.mapped()?;
        }
        Ok(())
    }
}

/// Reads, and asserts that nothing behind the read bytes is written to the buffer.
fn read(object: &Object, at: At, len: usize) -> Result {
    let mut bytes = UNREAD[..len.min(LEN_MAX)].to_vec();
    let at = at.of(object.len());
    let n = object.read_at(at, &mut bytes)?;
    assert_eq!(n as u64, (bytes.len() as u64).min(object.len().saturating_sub(at)), "a short read");
    // One comparison of two slices: a loop over bytes would take most of the fuzzer's time.
    assert!(bytes[n..] == UNREAD[n..bytes.len()], "bytes past the end were written");
    Ok(())
}

fn pick<T>(from: &[T], n: u8) -> Option<&T> {
    usize::from(n).checked_rem(from.len()).and_then(|n| from.get(n))
}

fn new_name(n: u8) -> Vec<u8> {
    match n {
        0 => Vec::new(),
        255 => vec![b'x'; 256],
        254 => vec![b'x'; 255],
        n => format!("new {}", n % 16).into_bytes(),
    }
}
