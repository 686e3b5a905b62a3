//! The hands of a thread: they do operations on a real store, and hold its handles and pins.

use crate::op::{ObjectNo, Op};
use crate::pattern::Pattern;
use pagestone::error::Result;
use pagestone::page::PageRef;
use pagestone::store::{Object, Store};
use pagestone::units::PageIndex;
use std::collections::HashMap;
use std::time::Duration;

/// What one thread holds of a store.
pub struct Hands {
    /// The bytes that its operations write.
    pattern: Pattern,
    /// Whether handles stay open from one operation to the next, or only while a page of their object is pinned.
    keeps: bool,
    objects: HashMap<ObjectNo, Object>,
    names: HashMap<String, ObjectNo>,
    /// Objects without a name whose handles are still open.
    nameless: Vec<ObjectNo>,
    /// The pinned pages, with their objects.
    pub pins: Vec<(ObjectNo, PageRef)>,
}

impl Hands {
    /// Empty hands. `keeps`: handles stay open from one operation to the next.
    #[must_use]
    pub fn new(pattern: Pattern, keeps: bool) -> Self {
        let (objects, names, nameless, pins) = Default::default();
        Self { pattern, keeps, objects, names, nameless, pins }
    }

    /// Notes that there is an object of this name when the work begins.
    pub fn knows(&mut self, name: &str, object: ObjectNo) {
        self.names.insert(name.to_owned(), object);
    }

    /// As [`knows`](Self::knows), and opens the object.
    ///
    /// # Errors
    /// The store's.
    pub fn find(&mut self, store: &Store, name: &str, object: ObjectNo) -> Result {
        self.knows(name, object);
        self.objects.insert(object, store.open(name)?);
        Ok(())
    }

    /// The objects that are open.
    pub fn open(&self) -> impl Iterator<Item = (ObjectNo, &Object)> {
        self.objects.iter().map(|(no, object)| (*no, object))
    }

    /// A handle of an object: another one of the open object, or a new one by its name.
    ///
    /// # Errors
    /// The store's.
    pub fn object(&self, store: &Store, object: ObjectNo) -> Result<Object> {
        if let Some(open) = self.objects.get(&object) {
            return Ok(open.clone());
        }
        let name = self.names.iter().find(|(_, no)| **no == object).map(|(name, _)| name.as_str());
        store.open(name.unwrap_or_default())
    }

    /// Closes the handle of an object.
    pub fn close(&mut self, object: ObjectNo) {
        self.objects.remove(&object);
    }

    /// Drops all handles and pins.
    pub fn let_go(&mut self) {
        self.pins.clear();
        self.nameless.clear();
        self.objects.clear();
    }

    /// Does an operation, the workload's `number`-th.
    ///
    /// # Errors
    /// The store's.
    ///
    /// # Panics
    /// When an append lands elsewhere than at the end.
    pub fn act(&mut self, store: &Store, op: &Op, number: u16) -> Result {
        let bytes = |object: ObjectNo, at: u64, len: u64| (self.pattern)(object, number, at..at + len);
        match op {
            Op::Create(object, name) => {
                let made = store.create(name)?;
                self.names.insert(name.clone(), *object);
                if self.keeps {
                    self.objects.insert(*object, made);
                }
            }
            Op::Exists(name) => drop(store.exists(name)?),
            Op::List => drop(store.list()?),
            Op::Write(object, at, len) => {
                self.object(store, *object)?.write_at(*at, &bytes(*object, *at, *len))?;
            }
            Op::Append(object, len) => {
                let to = self.object(store, *object)?;
                let end = to.len();
                assert_eq!(to.append(&bytes(*object, end, *len))?, end, "an append lands at the end");
            }
            Op::Touch(object, at, len) => {
                let page = self.object(store, *object)?.pin_mut(PageIndex::of_byte(*at))?;
                let start = (at % 4096) as usize;
                page.write_range(start..start + *len as usize)?.copy_from_slice(&bytes(*object, *at, *len));
            }
            Op::Read(object, at, len) => {
                self.object(store, *object)?.read_at(*at, &mut vec![0; *len as usize])?;
            }
            Op::Len(object) => drop(self.object(store, *object)?),
            Op::SetLen(object, len) => self.object(store, *object)?.set_len(*len)?,
            Op::Punch(object, at, len) => self.object(store, *object)?.punch_hole(*at, *len)?,
            Op::Allocate(object, at, len) => self.object(store, *object)?.allocate(*at, *len)?,
            Op::Move(object, page, pages) => {
                let pages = *page..page.saturating_add(*pages);
                self.object(store, *object)?.move_pages(pages, Duration::ZERO)?;
            }
            Op::Rename(from, to) => {
                store.rename(from, to)?;
                if let Some(moved) = self.names.remove(from) {
                    self.nameless.extend(self.names.insert(to.clone(), moved));
                }
            }
            Op::Unlink(name, close) => {
                if let (true, Some(object)) = (close, self.names.get(name)) {
                    self.objects.remove(object);
                }
                store.unlink(name)?;
                self.nameless.extend(self.names.remove(name));
            }
            Op::Pin(object, page) => {
                let open = self.object(store, *object)?;
                self.pins.extend(open.pin(PageIndex(*page))?.map(|pin| (*object, pin)));
                self.objects.insert(*object, open);
            }
            Op::Unpin => {
                self.pins.clear();
                self.nameless.drain(..).for_each(|object| drop(self.objects.remove(&object)));
                if !self.keeps {
                    self.objects.clear();
                }
            }
            Op::Batch(parts) => {
                let mut batch = store.batch();
                for &(object, at, len) in parts {
                    batch.write_at(&self.object(store, object)?, at, &bytes(object, at, len))?;
                }
                batch.commit()?;
            }
            Op::Sync(object) => self.object(store, *object)?.sync()?,
            Op::SyncRange(object, at, len) => self.object(store, *object)?.sync_range(*at, *len)?,
            Op::SyncAll => store.sync()?,
            Op::Compact => drop(store.compact()?),
        }
        Ok(())
    }
}
