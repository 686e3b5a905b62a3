//! Failure-atomic batches: changes of any number of objects, all or nothing. The commit is in `engine/commit.rs`.

use super::Store;
use super::object::Object;
use crate::engine::{Engine, Stage, Target, check_end, commit};
use crate::error::{Error, Result};
use crate::page::must_hold_none;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Writes to objects of one store that are made together or not at all, whenever a crash may come.
///
/// Bytes are staged in memory until [`commit`](Self::commit); dropping a batch discards them. Readers see each page
/// before or after the batch, never a mix. Of several pages they may see some old and some new, unless the caller
/// keeps readers out. Only cache lines that differ from the objects are logged.
///
/// ```
/// use pagestone::Store;
///
/// # fn main() -> pagestone::Result {
/// let store = Store::options().open_memory(1 << 20)?;
/// let (from, to) = (store.create("from")?, store.create("to")?);
/// let mut transfer = store.batch();
/// transfer.write_at(&from, 0, b"balance 90")?;
/// transfer.write_at(&to, 0, b"balance 10")?;
/// transfer.commit()?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a batch that is dropped writes nothing"]
pub struct Batch {
    engine: Arc<Engine>,
    /// By the numbers of the objects.
    targets: BTreeMap<u64, Target>,
    /// Staged bytes of all objects; overlapping writes count once.
    staged: u64,
}

impl Store {
    /// An empty batch.
    pub fn batch(&self) -> Batch {
        Batch { engine: Arc::clone(&self.engine), targets: BTreeMap::new(), staged: 0 }
    }
}

impl Batch {
    /// Maximum number of staged bytes: a quarter of a GiB.
    pub const BYTES_MAX: u64 = 256 << 20;

    /// Stages `bytes` at `offset` of an object of this store, and replaces what was staged there. A write past the
    /// end will grow the object.
    ///
    /// # Durability
    /// None before [`commit`](Self::commit).
    ///
    /// # Errors
    /// `OutOfRange` beyond [`Object::LEN_MAX`] and [`BYTES_MAX`](Self::BYTES_MAX); `Invalid` for an object of another
    /// store; `Io` (`ENOMEM`) if there is no memory for the bytes. The batch is unchanged.
    pub fn write_at(&mut self, object: &Object, offset: u64, bytes: &[u8]) -> Result {
        check_end(offset, bytes.len() as u64)?;
        let (staged, len) = (self.staged, bytes.len() as u64);
        let target = self.target(object)?;
        let value = staged + len - target.stage.staged(offset, offset + len);
        if value > Self::BYTES_MAX {
            return Err(Error::OutOfRange { what: "bytes of a batch", value, limit: Self::BYTES_MAX });
        }
        if !bytes.is_empty() {
            target.stage.put(offset, bytes)?;
        }
        self.staged = value;
        Ok(())
    }

    /// Stages a growth of an object to at least `len` bytes. Bytes that no write covers read as zeros.
    ///
    /// # Durability
    /// None before [`commit`](Self::commit).
    ///
    /// # Errors
    /// `Invalid` if the object is already longer, because a batch does not cut, or for an object of another store;
    /// `OutOfRange`.
    pub fn set_len(&mut self, object: &Object, len: u64) -> Result {
        check_end(len, 0)?;
        let target = self.target(object)?;
        if len < target.shared.len().max(target.stage.end()).max(target.len) {
            let why = "a batch cannot cut an object: cut it by set_len of the object, after the batch";
            return Err(Error::Invalid(why.to_owned()));
        }
        target.len = len;
        Ok(())
    }

    /// The number of staged bytes; overlapping writes count once.
    #[must_use]
    pub fn staged_bytes(&self) -> u64 {
        self.staged
    }

    fn target(&mut self, object: &Object) -> Result<&mut Target> {
        if !Arc::ptr_eq(&object.shared.engine, &self.engine) {
            return Err(Error::Invalid("a batch is for objects of one store".to_owned()));
        }
        let fresh = || Target { shared: Arc::clone(&object.shared), stage: Stage::default(), len: 0 };
        Ok(self.targets.entry(object.id()).or_insert_with(fresh))
    }

    /// Writes everything that is staged, atomically.
    ///
    /// The calling thread must hold no guard on any page of the store: a commit waits for the latches of its pages,
    /// and other threads may wait for the caller's.
    ///
    /// # Durability
    /// On return all of it survives a power loss (in a `Volatile` region nothing does). If the process dies or the
    /// power fails before, all of it is there afterwards, or nothing.
    ///
    /// # Errors
    /// `NoSpace`, also if a large batch would need too many separate runs of a fragmented region that cannot grow;
    /// `Io` (`ENOMEM`) if there is no memory for its pages; `OutOfRange` if more objects grow than a record of the
    /// log holds (255 with the default log; objects that only change do not count); `WaitsForItself` if this thread
    /// holds a guard on a page of the store; `Busy` if a [`ReadRange`](crate::page::ReadRange) of a page that it
    /// changes is kept. In all these cases nothing has changed. A failed flush poisons the region; then only the next
    /// opening shows whether the batch happened.
    pub fn commit(self) -> Result {
        let Self { engine, targets, .. } = self;
        let engine = &engine;
        let asks = |target: &Target| target.stage.end() > 0 || target.len > 0;
        let mut targets: Vec<_> = targets.into_values().filter(asks).collect();
        engine.with_room(|| {
            let change = engine.change()?;
            must_hold_none(&engine.pages)?;
            if targets.is_empty() {
                return Ok(());
            }
            // Before this, an equal line that a dead process stored may not be durable.
            engine.pages.region().memory().sync_inherited()?;
            commit(engine, &change, &mut targets)
        })
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (objects, bytes) = (self.targets.len(), self.staged_bytes());
        f.debug_struct("Batch")
            .field("objects", &objects)
            .field("staged_bytes", &bytes)
            .finish_non_exhaustive()
    }
}
