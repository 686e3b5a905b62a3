//! Failure-atomic batches: bytes of any number of objects, all or nothing. How they are committed: `commit`.

use super::Store;
use super::object::Object;
use crate::engine::{Engine, Stage, Target, check_end, commit};
use crate::error::{Error, Result};
use crate::page::must_hold_none;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Writes to objects of one store that happen together or not at all, whatever the moment of a crash.
///
/// Bytes are staged in memory until [`commit`](Self::commit); dropping a batch forgets them. Readers see each page as it
/// was or as it will be, never a mix; between pages they may see some new and some old, unless the caller keeps them out.
/// Only lines that differ from what the objects hold are logged.
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
    /// By the objects' numbers.
    targets: BTreeMap<u64, Target>,
    /// Bytes of all of them; where writes overlap, those that count.
    staged: u64,
}

impl Store {
    /// An empty batch.
    pub fn batch(&self) -> Batch {
        Batch { engine: Arc::clone(&self.engine), targets: BTreeMap::new(), staged: 0 }
    }
}

impl Batch {
    /// Bytes that a batch may have staged: a quarter of a GiB.
    pub const BYTES_MAX: u64 = 256 << 20;

    /// Stages `bytes` at `offset` of an object of this store; what was staged there before is replaced. Past its end the
    /// object will grow.
    ///
    /// # Durability
    /// None before [`commit`](Self::commit).
    ///
    /// # Errors
    /// `OutOfRange` beyond [`Object::LEN_MAX`] and [`BYTES_MAX`](Self::BYTES_MAX); `Invalid` for an object of another
    /// store; `Io` (`ENOMEM`) without memory for the bytes. The batch is as before.
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

    /// Extends an object to at least `len` bytes; what no write covers reads as zeros.
    ///
    /// # Durability
    /// None before [`commit`](Self::commit).
    ///
    /// # Errors
    /// `Invalid` when the object is longer already: a batch does not cut. `OutOfRange`, and `Invalid` for an object of
    /// another store.
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

    /// Bytes staged; where writes overlap, those that count.
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

    /// Writes everything that is staged, together.
    ///
    /// The caller holds no guard on any page of the store: a commit waits for latches of its pages, and others may wait
    /// for the caller's.
    ///
    /// # Durability
    /// On return all of it survives a power loss (a `Volatile` region survives none). If the process or the power dies
    /// before, all of it is there afterwards, or nothing.
    ///
    /// # Errors
    /// `NoSpace`, also where a large batch would have to be written to too many places of a fragmented region that
    /// cannot grow; `Io` (`ENOMEM`) without memory for its pages; `OutOfRange` when it lets more objects grow than the region's log has room for (255 with a log of the
    /// usual size; those that only change are not counted): nothing has changed. `WaitsForItself` when this thread
    /// holds a guard on a page of the store; `Busy` when a [`ReadRange`](crate::page::ReadRange) of a page it changes
    /// is kept: nothing has changed. A failed flush poisons the region: whether the batch happened is known only when
    /// the region is opened again.
    pub fn commit(self) -> Result {
        let Self { engine, targets, .. } = self;
        let engine = &engine;
        engine.begin_change()?;
        must_hold_none(&engine.pages)?;
        let asks = |target: &Target| target.stage.end() > 0 || target.len > 0;
        let mut targets: Vec<_> = targets.into_values().filter(asks).collect();
        if targets.is_empty() {
            return Ok(());
        }
        engine.ensure_whole()?;
        // An equal line that a dead process stored is durable only after that.
        engine.pages.region().memory().sync_inherited()?;
        engine.with_room(|| commit(engine, &mut targets))
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
