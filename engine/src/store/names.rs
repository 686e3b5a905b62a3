//! Names: create, open, rename, unlink, list.

use super::object::Object;
use super::shared::Shared;
use super::{Entry, Store};
use crate::error::{Error, Result};
use crate::media::{ObjectKind, ObjectSlot};
use std::sync::Arc;

impl Store {
    /// Makes an empty object.
    ///
    /// # Durability
    /// On return it survives the death of the process; after a sync of the object, or of the store, a power loss.
    ///
    /// # Errors
    /// `Exists`, `BadName`, `NoSpace`.
    pub fn create(&self, name: impl AsRef<[u8]>) -> Result<Object> {
        self.core.with_room(|| {
            self.core.begin_walk_and_change()?;
            let _names = self.core.names.lock();
            self.create_named(name.as_ref())
        })
    }

    /// Opens an object.
    ///
    /// # Errors
    /// `NotFound`, `BadName`.
    pub fn open(&self, name: impl AsRef<[u8]>) -> Result<Object> {
        let name = name.as_ref();
        self.core.ensure_whole()?;
        let _names = self.core.names.lock();
        match self.core.ledger.lookup(name)? {
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
            if let Some(slot) = self.core.ledger.lookup(name)? {
                return Ok(Object { shared: self.core.share(slot)? });
            }
        }
        self.core.with_room(|| {
            self.core.begin_walk_and_change()?;
            let _names = self.core.names.lock();
            match self.core.ledger.lookup(name)? {
                Some(slot) => Ok(Object { shared: self.core.share(slot)? }),
                None => self.create_named(name),
            }
        })
    }

    /// The length of an object, if there is one of this name.
    pub fn exists(&self, name: impl AsRef<[u8]>) -> Result<Option<u64>> {
        self.core.ensure_whole()?;
        let _names = self.core.names.lock();
        match self.core.ledger.lookup(name.as_ref())? {
            Some(slot) => Ok(Some(self.core.ledger.record(slot)?.size)),
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
        let replaced = self.core.with_room(|| {
            self.core.begin_walk_and_change()?;
            let _names = self.core.names.lock();
            let replaced = self.core.ledger.rename(from.as_ref(), to.as_ref())?;
            Ok(replaced.map(|slot| self.abandon(slot)))
        })?;
        replaced.into_iter().for_each(|gone| self.let_go(gone));
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
        let gone = {
            let _names = self.core.names.lock();
            self.abandon(self.core.ledger.unlink(name.as_ref())?)
        };
        self.let_go(gone);
        Ok(())
    }

    /// The objects that have a name, in the order of their names. Others may change names meanwhile: one that is there
    /// from the beginning to the end is given once; one that comes or goes meanwhile is given once or not at all.
    pub fn list(&self) -> Result<Vec<Entry>> {
        self.core.ensure_whole()?;
        let entry = |record: crate::media::ObjectRecord| Entry {
            name: record.name,
            id: record.id,
            len: record.size,
            kind: record.kind.get(),
        };
        let mut entries: Vec<_> = self.core.ledger.list()?.into_iter().map(entry).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Makes an object while `names` is held. Nothing of a former life lies behind its end.
    fn create_named(&self, name: &[u8]) -> Result<Object> {
        let slot = self.core.ledger.create_object(name, ObjectKind::PLAIN)?;
        let shared = self.core.share(slot)?;
        shared.is_new();
        Ok(Object { shared })
    }

    /// An object has lost its name. `names` is held, so no thread opens it meanwhile, and none can later.
    fn abandon(&self, slot: ObjectSlot) -> Gone {
        match self.core.opened(slot) {
            Some(shared) => {
                shared.mark_unlinked();
                Gone::Open(shared)
            }
            None => Gone::Closed(slot, self.core.ledger.resident(slot)),
        }
    }

    /// A nameless object goes: now, or with its last handle. A thread that wants a name does not wait for that.
    fn let_go(&self, gone: Gone) {
        match gone {
            Gone::Open(shared) => drop(shared),
            Gone::Closed(slot, resident) => self.core.drop_nameless(slot, resident),
        }
        self.core.return_surplus(false);
    }
}

/// An object without a name.
enum Gone {
    /// It had handles: this may be the last holder now.
    Open(Arc<Shared>),
    /// It is not open.
    Closed(ObjectSlot, Result<Option<(u64, bool)>>),
}
