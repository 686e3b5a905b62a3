//! Names of objects: create, look up, rename, unlink, list. Each change is one record.

use super::layout::{COUNTER_MAX, RootWord};
use super::ledger::Ledger;
use super::log::{Log, Txn};
use super::record::{self, Head, ObjectKind, ObjectRecord, ObjectSlot};
use super::rules::Rule;
use super::structures::Structures;
use super::words::Shape;
use super::{bitmap, directory, orphans, slots};
use crate::error::{Error, Result};
use crate::units::FrameNo;
use std::time::{SystemTime, UNIX_EPOCH};

/// Records that a list reads while it holds the lock of name changes.
const LISTED_AT_ONCE: usize = 256;

/// The result of a rename.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Renamed {
    /// The object that has the new name.
    pub object: ObjectSlot,
    /// The object that had this name before.
    pub replaced: Option<ObjectSlot>,
}

impl Ledger {
    /// Makes an empty object.
    ///
    /// # Durability
    /// One record, appended.
    ///
    /// # Errors
    /// `Exists`, `BadName`, `NoSpace`, `NameCollision`.
    pub fn create_object(&self, name: &[u8], kind: ObjectKind) -> Result<ObjectSlot> {
        record::verify_name(name)?;
        let _names = self.names();
        let (needed, welcome) = self.read(|log, shape| {
            if directory::find(log, shape, name)?.is_some() {
                return Err(Error::Exists { name: String::from_utf8_lossy(name).into_owned() });
            }
            let welcome = directory::wants(log, shape, log.name_hash(name))?;
            Ok((usize::from(slots::readable_free(log, shape)?.is_none()), welcome))
        })?;
        let birth = now();
        let (slot, _) = self.change_with(self.spares(needed, welcome)?, |t, shape, spare| {
            let mut head = new_record(t, shape, spare)?;
            head.become_object(new_number(t)?, kind);
            head.first_name(t, name, birth)?;
            directory::insert(t, shape, &mut head, name, spare)?;
            head.write(t)?;
            count(t, 1)?;
            Ok(head.slot)
        })?;
        self.given_back.remove(slot.frame());
        Ok(slot)
    }

    /// Gives an object another name. An object that had that name loses it and becomes an orphan, which is to be dropped
    /// after its last close.
    ///
    /// # Durability
    /// One record, appended: after a crash the new name means the old object or the new one, never nothing.
    pub fn rename(&self, from: &[u8], to: &[u8]) -> Result<Renamed> {
        record::verify_name(from)?;
        record::verify_name(to)?;
        let _names = self.names();
        let (slot, welcome, nodes) = self.read(|log, shape| {
            let head = named(log, shape, from)?;
            let to = log.name_hash(to);
            let mut nodes = directory::nodes_towards(log, shape, head.hash())?;
            nodes.extend(directory::nodes_towards(log, shape, to)?);
            Ok((head.slot, directory::wants(log, shape, to)?, nodes))
        })?;
        if from == to {
            return Ok(Renamed { object: slot, replaced: None });
        }
        self.allocator.load(nodes.into_iter())?;
        let splits = self.log.rules().broken(Rule::RenameSplits);
        if splits {
            self.take_name(slot)?;
        }
        let ((replaced, freed), sequence) =
            self.change_with(self.spares(0, welcome)?, |t, shape, spare| {
                let replaced = directory::find(t, shape, to)?;
                let mut freed = Vec::new();
                if let Some(head) = &replaced {
                    freed = abandon(t, shape, head.clone())?;
                }
                let mut head = Head::live(t, slot)?;
                if !splits {
                    freed.extend(directory::remove(t, shape, &mut head)?);
                }
                head.set_name(t, to)?;
                directory::insert(t, shape, &mut head, to, spare)?;
                head.write(t)?;
                Ok((replaced.map(|head| head.slot), freed))
            })?;
        self.allocator.quarantine(sequence, freed);
        Ok(Renamed { object: slot, replaced })
    }

    /// Takes an object's name away. The object becomes an orphan, which is to be dropped after its last close.
    ///
    /// # Durability
    /// One record, appended.
    pub fn unlink(&self, name: &[u8]) -> Result<ObjectSlot> {
        record::verify_name(name)?;
        let _names = self.names();
        let (slot, nodes) = self.read(|log, shape| {
            let head = named(log, shape, name)?;
            Ok((head.slot, directory::nodes_towards(log, shape, head.hash())?))
        })?;
        self.allocator.load(nodes.into_iter())?;
        let splits = self.log.rules().broken(Rule::UnlinkSplits);
        if splits {
            self.take_name(slot)?;
        }
        let (freed, sequence) = self.change(|t, shape| {
            let head = Head::live(t, slot)?;
            if splits { orphan(t, shape, head).map(|()| Vec::new()) } else { abandon(t, shape, head) }
        })?;
        self.allocator.quarantine(sequence, freed);
        Ok(slot)
    }

    /// Takes a name away in a record of its own (a broken rule).
    fn take_name(&self, slot: ObjectSlot) -> Result {
        self.change(|t, shape| {
            let mut head = Head::live(t, slot)?;
            directory::remove(t, shape, &mut head)?;
            head.write(t)
        })?;
        Ok(())
    }
}

impl Structures {
    /// The object with this name.
    pub fn lookup(&self, name: &[u8]) -> Result<Option<ObjectSlot>> {
        record::verify_name(name)?;
        Ok(self.read(|log, shape| directory::find(log, shape, name))?.map(|head| head.slot))
    }

    /// The objects that have a name, in no order. Names may change meanwhile: a name that is there all the time is listed
    /// once, and one that comes or goes is listed once or not at all.
    pub fn list(&self) -> Result<Vec<ObjectRecord>> {
        let (mut found, mut place) = (Vec::new(), Some(directory::Place::default()));
        while let Some(from) = place {
            let (records, next) = self.list_portion(from)?;
            found.extend(records);
            place = next;
        }
        Ok(found)
    }

    /// A part of that list; no name changes meanwhile.
    pub(super) fn list_portion(
        &self,
        from: directory::Place,
    ) -> Result<(Vec<ObjectRecord>, Option<directory::Place>)> {
        let _names = self.names_in_turn();
        let log = &*self.log;
        let one_moment = |look: &dyn Fn() -> Result<Vec<Head>>| self.read(|_, _| look());
        let (heads, next) = directory::portion(log, self.shape(), from, LISTED_AT_ONCE, one_moment)?;
        let records = heads.iter().map(|head| self.read(|log, _| head.show(log))).collect::<Result<_>>()?;
        Ok((records, next))
    }

    /// How many objects have a name.
    pub fn objects(&self) -> Result<u64> {
        self.log.root(RootWord::Objects)
    }

    /// The object's record, verified.
    pub fn record(&self, slot: ObjectSlot) -> Result<ObjectRecord> {
        self.read(|log, _| Head::live(log, slot)?.show(log))
    }
}

fn named(log: &Log, shape: Shape, name: &[u8]) -> Result<Head> {
    directory::find(log, shape, name)?
        .ok_or_else(|| Error::NotFound { name: String::from_utf8_lossy(name).into_owned() })
}

/// The head of a free slot. If there is none, a new record frame is begun.
fn new_record(t: &mut Txn<'_>, shape: Shape, spare: &mut Vec<FrameNo>) -> Result<Head> {
    let none = || Error::NoSpace { why: "no frame for object records".into() };
    if let Some(head) = slots::take_free(t, shape)? {
        return Ok(head);
    }
    let frame = spare.pop().ok_or_else(none)?;
    bitmap::set(t, shape, [frame].into_iter())?;
    slots::add_frame(t, shape, frame)?;
    slots::take_free(t, shape)?.ok_or_else(none)
}

/// Nanoseconds since 1970, or 0 if the clock is set to an earlier time.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().try_into().unwrap_or(u64::MAX)
}

/// A number that no object has had before.
fn new_number(t: &mut Txn<'_>) -> Result<u64> {
    let number = t.root(RootWord::NextObject)?.max(1);
    if number >= COUNTER_MAX {
        let at = t.log().roots().at(RootWord::NextObject);
        return Err(Error::corrupt("root", at, "impossible number of the next object"));
    }
    t.set_root(RootWord::NextObject, number + 1)?;
    Ok(number)
}

/// Counts the objects that have a name.
fn count(t: &mut Txn<'_>, by: i64) -> Result {
    let objects = t.root(RootWord::Objects)?;
    t.set_root(RootWord::Objects, objects.saturating_add_signed(by))
}

/// Takes an object out of the directory and onto the list of orphans. Returns directory nodes that became free.
fn abandon(t: &mut Txn<'_>, shape: Shape, mut head: Head) -> Result<Vec<FrameNo>> {
    let freed = directory::remove(t, shape, &mut head)?;
    orphan(t, shape, head)?;
    Ok(freed)
}

/// Puts an object that lost its name onto the list of orphans.
fn orphan(t: &mut Txn<'_>, shape: Shape, mut head: Head) -> Result {
    if !orphans::belongs(&head) {
        orphans::push(t, shape, &mut head)?;
    }
    head.set_unlinked();
    head.write(t)?;
    count(t, -1)
}
