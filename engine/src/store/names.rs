//! Names of objects: create, open, rename, unlink, list.

use super::object::Object;
use super::{Entry, Store};
use crate::engine::{Change, OpenObject};
use crate::error::{Error, Result};
use crate::media::{ObjectKind, ObjectSlot};
use crate::sync::{Mutex, MutexGuard};
use std::sync::Arc;

/// The lock of a store's names. Names, and the set of open objects, change together under it. Handles of the store
/// and of its objects share it.
#[derive(Default)]
pub(super) struct Names(Mutex<()>);

impl Names {
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.0.lock()
    }
}

impl Store {
    /// Creates an empty object.
    ///
    /// # Durability
    /// On return the object survives the death of the process. After a sync of the object or of the store, it
    /// survives a power loss.
    ///
    /// # Errors
    /// `Exists`, `BadName`, `NoSpace`.
    pub fn create(&self, name: impl AsRef<[u8]>) -> Result<Object> {
        self.engine.with_room(|| {
            let change = self.engine.change()?;
            let _names = self.names.lock();
            self.create_named(&change, name.as_ref())
        })
    }

    /// Opens an object.
    ///
    /// # Errors
    /// `NotFound`, `BadName`.
    pub fn open(&self, name: impl AsRef<[u8]>) -> Result<Object> {
        let name = name.as_ref();
        self.engine.ensure_whole()?;
        let _names = self.names.lock();
        match self.engine.ledger.lookup(name)? {
            Some(slot) => self.object(slot),
            None => Err(Error::NotFound { name: String::from_utf8_lossy(name).into_owned() }),
        }
    }

    /// Opens an object, and creates it if it does not exist.
    ///
    /// # Durability
    /// As [`create`](Self::create).
    pub fn open_or_create(&self, name: impl AsRef<[u8]>) -> Result<Object> {
        let name = name.as_ref();
        self.engine.ensure_whole()?;
        {
            let _names = self.names.lock();
            if let Some(slot) = self.engine.ledger.lookup(name)? {
                return self.object(slot);
            }
        }
        self.engine.with_room(|| {
            let change = self.engine.change()?;
            let _names = self.names.lock();
            match self.engine.ledger.lookup(name)? {
                Some(slot) => self.object(slot),
                None => self.create_named(&change, name),
            }
        })
    }

    /// The length of the object of this name, if there is one.
    pub fn exists(&self, name: impl AsRef<[u8]>) -> Result<Option<u64>> {
        self.engine.ensure_whole()?;
        let _names = self.names.lock();
        match self.engine.ledger.lookup(name.as_ref())? {
            Some(slot) => Ok(Some(self.engine.ledger.record(slot)?.size)),
            None => Ok(None),
        }
    }

    /// Renames an object. An existing object of the new name is replaced, as by [`unlink`](Self::unlink).
    ///
    /// # Durability
    /// As [`create`](Self::create). After a crash the new name means the old object or the new one, never none.
    ///
    /// # Errors
    /// `NotFound`, `BadName`.
    pub fn rename(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result {
        let replaced = self.engine.with_room(|| {
            let change = self.engine.change()?;
            let _names = self.names.lock();
            let replaced = self.engine.rename(&change, from.as_ref(), to.as_ref())?;
            Ok(replaced.map(|slot| self.abandon(slot)))
        })?;
        replaced.into_iter().for_each(|gone| self.let_go(gone));
        Ok(())
    }

    /// Removes the name of an object. Open handles and pins still work; the object ends with its last handle.
    ///
    /// # Durability
    /// As [`create`](Self::create).
    ///
    /// # Errors
    /// `NotFound`, `BadName`.
    pub fn unlink(&self, name: impl AsRef<[u8]>) -> Result {
        let gone = {
            let change = self.engine.change()?;
            let _names = self.names.lock();
            self.abandon(change.unlink(name.as_ref())?)
        };
        self.let_go(gone);
        Ok(())
    }

    /// The objects that have a name, in the order of their names. If names change meanwhile, an object that is there
    /// from the beginning to the end is listed once; one that comes or goes is listed once or not at all.
    pub fn list(&self) -> Result<Vec<Entry>> {
        self.list_prefix("")
    }

    /// As [`list`](Self::list), for names that begin with `prefix`. It reads all names, because the directory is a
    /// hash table.
    ///
    /// ```
    /// # use pagestone::Store;
    /// # fn main() -> pagestone::Result {
    /// # let store = Store::options().open_memory(1 << 20)?;
    /// for name in ["log/1", "log/2", "data"] {
    ///     store.create(name)?;
    /// }
    /// assert_eq!(store.list_prefix("log/")?.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn list_prefix(&self, prefix: impl AsRef<[u8]>) -> Result<Vec<Entry>> {
        self.engine.ensure_whole()?;
        let prefix = prefix.as_ref();
        let entry = |record: crate::media::ObjectRecord| Entry {
            name: record.name,
            id: record.id,
            len: record.size,
            kind: record.kind.get(),
        };
        let records = self.engine.ledger.list()?.into_iter();
        let mut entries: Vec<_> =
            records.filter(|record| record.name.starts_with(prefix)).map(entry).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Creates an object while `names` is held. A new object has nothing beyond its end.
    fn create_named(&self, change: &Change<'_>, name: &[u8]) -> Result<Object> {
        let slot = change.create_object(name, ObjectKind::PLAIN)?;
        let object = self.object(slot)?;
        object.shared.is_new();
        Ok(object)
    }

    /// A handle of the object in a slot, which is opened if necessary. `names` is held.
    fn object(&self, slot: ObjectSlot) -> Result<Object> {
        Ok(Object::new(self.engine.share(slot)?, Arc::clone(&self.names)))
    }

    /// Handles an object that has lost its name. `names` is held, so no thread opens it meanwhile, and none can
    /// later.
    fn abandon(&self, slot: ObjectSlot) -> Gone {
        match self.engine.open.get(slot) {
            Some(shared) => {
                shared.mark_unlinked();
                Gone::Open(shared)
            }
            None => Gone::Closed(slot, self.engine.ledger.resident(slot)),
        }
    }

    /// Removes a nameless object, now or with its last handle. Threads that need the lock of the names do not wait
    /// for it.
    fn let_go(&self, gone: Gone) {
        match gone {
            Gone::Open(shared) => drop(shared),
            Gone::Closed(slot, resident) => self.engine.drop_nameless(slot, resident),
        }
        self.engine.return_surplus(false);
    }
}

/// An object without a name.
enum Gone {
    /// It had handles; this may be the last one now.
    Open(Arc<OpenObject>),
    /// It is not open.
    Closed(ObjectSlot, Result<Option<(u64, bool)>>),
}
