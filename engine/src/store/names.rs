//! Names: create, open, rename, unlink, list.

use super::object::Object;
use super::{Entry, Store};
use crate::error::{Error, Result};
use crate::media::{ObjectKind, ObjectSlot};

impl Store {
    /// Makes an empty object.
    ///
    /// # Durability
    /// On return it survives the death of the process; after a sync of the object, or of the store, a power loss.
    ///
    /// # Errors
    /// `Exists`, `BadName`, `NoSpace`.
    pub fn create(&self, name: impl AsRef<[u8]>) -> Result<Object> {
        self.core.begin_walk_and_change()?;
        let _names = self.core.names.lock();
        self.create_named(name.as_ref())
    }

    /// Opens an object.
    ///
    /// # Errors
    /// `NotFound`, `BadName`.
    pub fn open(&self, name: impl AsRef<[u8]>) -> Result<Object> {
        let name = name.as_ref();
        self.core.ensure_whole()?;
        let _names = self.core.names.lock();
        match self.core.volume.lookup(name)? {
            Some(slot) => Ok(Object { shared: self.core.share(slot)? }),
            None => Err(Error::NotFound { name: String::from_utf8_lossy(name).into_owned() }),
        }
    }

    /// Opens an object, made if there is none.
    ///
    /// # Durability
    /// As [`create`](Self::create).
    pub fn open_or_create(&self, name: impl AsRef<[u8]>) -> Result<Object> {
        let name = name.as_ref();
        self.core.ensure_whole()?;
        {
            let _names = self.core.names.lock();
            if let Some(slot) = self.core.volume.lookup(name)? {
                return Ok(Object { shared: self.core.share(slot)? });
            }
        }
        self.core.begin_walk_and_change()?;
        let _names = self.core.names.lock();
        match self.core.volume.lookup(name)? {
            Some(slot) => Ok(Object { shared: self.core.share(slot)? }),
            None => self.create_named(name),
        }
    }

    /// The length of an object, if there is one of this name.
    pub fn exists(&self, name: impl AsRef<[u8]>) -> Result<Option<u64>> {
        self.core.ensure_whole()?;
        let _names = self.core.names.lock();
        match self.core.volume.lookup(name.as_ref())? {
            Some(slot) => Ok(Some(self.core.volume.record(slot)?.size)),
            None => Ok(None),
        }
    }

    /// Gives an object another name. An object of that name is replaced, as by [`unlink`](Self::unlink).
    ///
    /// # Durability
    /// As [`create`](Self::create). After a crash the new name means the old object or the new one, never nothing.
    ///
    /// # Errors
    /// `NotFound`, `BadName`.
    pub fn rename(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result {
        self.core.begin_walk_and_change()?;
        let _names = self.core.names.lock();
        if let Some(replaced) = self.core.volume.rename(from.as_ref(), to.as_ref())? {
            self.abandon(replaced);
        }
        Ok(())
    }

    /// Takes an object's name away. Open handles and pins go on working; the object goes with the last handle.
    ///
    /// # Durability
    /// As [`create`](Self::create).
    ///
    /// # Errors
    /// `NotFound`, `BadName`.
    pub fn unlink(&self, name: impl AsRef<[u8]>) -> Result {
        self.core.begin_walk_and_change()?;
        let _names = self.core.names.lock();
        self.abandon(self.core.volume.unlink(name.as_ref())?);
        Ok(())
    }

    /// All objects that have a name, in the order of their names.
    pub fn list(&self) -> Result<Vec<Entry>> {
        self.core.ensure_whole()?;
        let entry = |record: crate::media::ObjectRecord| Entry {
            name: record.name,
            id: record.id,
            len: record.size,
            kind: record.kind.get(),
        };
        let mut entries: Vec<_> = self.core.volume.list()?.into_iter().map(entry).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Makes an object while `names` is held. Nothing of a former life lies behind its end.
    fn create_named(&self, name: &[u8]) -> Result<Object> {
        let slot = self.core.volume.create_object(name, ObjectKind::PLAIN)?;
        let shared = self.core.share(slot)?;
        shared.is_new();
        Ok(Object { shared })
    }

    /// A nameless object goes: now, or with its last handle. `names` is held, so nobody opens it meanwhile.
    fn abandon(&self, slot: ObjectSlot) {
        match self.core.opened(slot) {
            Some(shared) => shared.mark_unlinked(),
            None => self.core.drop_object(slot),
        }
    }
}
