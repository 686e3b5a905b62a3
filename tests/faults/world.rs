//! What a store holds, as a plain model; and what may be found after a fault.

use pagestone::store::{Object, Store};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Objects that have a name: number and bytes. Numbers are the model's own, so that a renamed object stays itself.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct World {
    pub names: BTreeMap<String, u32>,
    pub bytes: BTreeMap<u32, Arc<Vec<u8>>>,
    pub next: u32,
}

impl World {
    pub fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    pub fn bytes(&self, name: &str) -> &[u8] {
        self.names.get(name).and_then(|id| self.bytes.get(id)).map_or(&[], |bytes| bytes)
    }

    pub fn edit(&mut self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        if let Some(bytes) = self.names.get(name).and_then(|id| self.bytes.get_mut(id)) {
            edit(Arc::make_mut(bytes));
        }
    }

    pub fn create(&mut self, name: &str) {
        self.next += 1;
        self.names.insert(name.to_owned(), self.next);
        self.bytes.insert(self.next, Arc::default());
    }

    pub fn same_outline(&self, other: &Self) -> bool {
        self.outline() == other.outline()
    }

    /// Names and lengths: what the log makes whole or absent.
    fn outline(&self) -> BTreeMap<&str, usize> {
        self.names.iter().map(|(name, id)| (name.as_str(), self.bytes[id].len())).collect()
    }
}

/// What happened to the store so far.
#[derive(Clone, Default)]
pub struct History {
    /// After each operation that returned; the first is what is durable at least.
    states: Vec<World>,
    /// No state before this one may come back.
    floor: usize,
    /// What the operation that failed, or had not returned, would have made.
    doubt: Option<World>,
}

/// What the store went through before it was opened again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The process ended; all that was stored is in the page cache.
    Death,
    /// A flush had failed, so that only what is known to be durable counts.
    FailedFlush,
}

impl History {
    pub fn new() -> Self {
        Self { states: vec![World::default()], ..Self::default() }
    }

    pub fn now(&self) -> &World {
        self.states.last().expect("there is always a state")
    }

    /// Whether any operation has returned: until then there is no store.
    pub fn opened(&self) -> bool {
        self.floor > 0 || self.states.len() > 1 || !self.now().names.is_empty()
    }

    /// An operation returned.
    pub fn acknowledge(&mut self, world: World) {
        self.doubt = None;
        if world != *self.now() {
            self.states.push(world);
        }
    }

    /// An operation failed, or was not heard of.
    pub fn doubt(&mut self, world: World) {
        self.doubt = Some(world);
    }

    /// Everything so far is durable.
    pub fn synced(&mut self) {
        self.states.drain(..self.states.len() - 1);
        self.floor = 0;
    }

    /// This object's bytes, and all names and lengths so far, are durable.
    pub fn synced_one(&mut self, name: &str) {
        self.floor = self.states.len() - 1;
        let now = self.now().clone();
        let Some(id) = now.names.get(name) else { return };
        for state in &mut self.states {
            state.bytes.insert(*id, Arc::clone(&now.bytes[id]));
        }
    }

    /// Holds the store against the history; returns what is there.
    pub fn judge(&self, store: &Store, ending: Ending) -> Result<World, String> {
        let report = store.check().map_err(|error| format!("check: {error}"))?;
        if !report.is_clean() {
            return Err(format!("check found {:?}", report.findings));
        }
        let last = self.states.len() - 1;
        let since = if ending == Ending::Death { last } else { self.floor };
        let lawful: Vec<_> = self.states[since..].iter().chain(&self.doubt).collect();
        let found = read(store)?;
        let outline: BTreeMap<_, _> =
            found.iter().map(|(name, bytes)| (name.as_str(), bytes.len())).collect();
        let Some(state) = lawful.iter().rev().find(|state| state.outline() == outline) else {
            let lawful: Vec<_> = lawful.iter().map(|state| state.outline()).collect();
            return Err(format!("found {outline:?}, which is none of {lawful:?}"));
        };
        // Bytes are stored in place: those of every state that is not durable may be there, page by page.
        let stored = if ending == Ending::Death { &self.states[last..] } else { &self.states[..] };
        let stored: Vec<_> = stored.iter().chain(&self.doubt).collect();
        let mut world = World { next: self.now().next, ..World::default() };
        for (name, bytes) in found {
            let id = state.names[&name];
            let candidates: Vec<_> = stored.iter().filter_map(|state| state.bytes.get(&id)).collect();
            let lawful =
                |(at, byte): (usize, &u8)| candidates.iter().any(|bytes| bytes.get(at) == Some(byte));
            if let Some(at) = bytes.iter().enumerate().position(|found| !lawful(found)) {
                let wanted: Vec<_> = candidates.iter().map(|bytes| bytes.get(at)).collect();
                return Err(format!(
                    "byte {at:#x} of {name} is {:#x}, and not one of {wanted:x?}",
                    bytes[at]
                ));
            }
            world.names.insert(name, id);
            world.bytes.insert(id, Arc::new(bytes));
        }
        Ok(world)
    }
}

/// Names and bytes.
fn read(store: &Store) -> Result<Vec<(String, Vec<u8>)>, String> {
    let entries = store.list().map_err(|error| format!("list: {error}"))?;
    let content = |name: &str| {
        let object = store.open(name)?;
        let mut bytes = vec![0; object.len() as usize];
        let n = object.read_at(0, &mut bytes)?;
        assert_eq!(n, bytes.len(), "a read stops short");
        Ok(bytes)
    };
    let one = |name: Vec<u8>| {
        let name = String::from_utf8_lossy(&name).into_owned();
        let bytes = content(&name).map_err(|error: pagestone::Error| format!("reading {name}: {error}"))?;
        Ok((name, bytes))
    };
    entries.into_iter().map(|entry| one(entry.name)).collect()
}

/// Whether the bytes of an open object are those of the model.
pub fn matches(object: &Object, bytes: &[u8]) -> bool {
    let mut found = vec![0; bytes.len() + 1];
    object.read_at(0, &mut found).is_ok_and(|n| found[..n] == *bytes)
}
