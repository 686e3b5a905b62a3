//! What may be found after a fault.

use crate::script::Step;
use pagestone::store::{Object, Store};
use pagestone_workload::content::Content;
use pagestone_workload::{Model, ObjectNo, pattern};
use std::collections::BTreeMap;

/// The state after a step, the script's `number`-th.
pub fn after(step: &Step, model: &Model, number: usize) -> Model {
    let mut model = model.clone();
    if let Step::Do(op) = step {
        model.apply(op, number as u16, pattern::bytes);
        model.forget_nameless();
    }
    model
}

/// Whether the step makes sense: an earlier step may have failed for want of space, so that something is missing.
pub fn applies(step: &Step, model: &Model) -> bool {
    match step {
        Step::Do(op) => model.sensible(op.clone()).is_some(),
        Step::Check | Step::Reopen => true,
    }
}

/// Names and lengths: the log makes each change of them whole, or not at all.
pub fn outline(model: &Model) -> BTreeMap<&str, u64> {
    model.names.iter().map(|(name, id)| (name.as_str(), model.objects[id].len)).collect()
}

/// What happened to the store so far.
#[derive(Clone, Default)]
pub struct History {
    /// The state after each operation that returned. The first one is durable.
    states: Vec<Model>,
    /// No state before this one may come back.
    floor: usize,
    /// The state that the last operation would have made; it failed, or did not return.
    doubt: Option<Model>,
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
        Self { states: vec![Model::default()], ..Self::default() }
    }

    pub fn now(&self) -> &Model {
        self.states.last().expect("there is always a state")
    }

    /// Whether any operation has returned: until then there is no store.
    pub fn opened(&self) -> bool {
        self.floor > 0 || self.states.len() > 1 || !self.now().names.is_empty()
    }

    /// An operation returned.
    pub fn acknowledge(&mut self, model: Model) {
        self.doubt = None;
        if model != *self.now() {
            self.states.push(model);
        }
    }

    /// An operation failed, or is not known to have returned.
    pub fn doubt(&mut self, model: Model) {
        self.doubt = Some(model);
    }

    /// Everything so far is durable.
    pub fn synced(&mut self) {
        self.states.drain(..self.states.len() - 1);
        self.floor = 0;
    }

    /// This object's bytes, and all names and lengths so far, are durable.
    pub fn synced_one(&mut self, object: ObjectNo) {
        self.floor = self.states.len() - 1;
        let Some(content) = self.now().objects.get(&object).cloned() else { return };
        for state in &mut self.states {
            state.objects.insert(object, content.clone());
        }
    }

    /// Compares the store with the history; returns what is there.
    pub fn judge(&self, store: &Store, ending: Ending) -> Result<Model, String> {
        let report = store.check().map_err(|error| format!("check: {error}"))?;
        if !report.is_clean() {
            return Err(format!("check found {:?}", report.findings));
        }
        let last = self.states.len() - 1;
        let since = if ending == Ending::Death { last } else { self.floor };
        let lawful: Vec<_> = self.states[since..].iter().chain(&self.doubt).collect();
        let found = read(store)?;
        let shown: BTreeMap<_, _> =
            found.iter().map(|(name, bytes)| (name.as_str(), bytes.len() as u64)).collect();
        let Some(state) = lawful.iter().rev().find(|state| outline(state) == shown) else {
            let lawful: Vec<_> = lawful.iter().map(|state| outline(state)).collect();
            return Err(format!("found {shown:?}, which is none of {lawful:?}"));
        };
        // Bytes are stored in place: each page may show the bytes of any state that is not durable.
        let stored = if ending == Ending::Death { &self.states[last..] } else { &self.states[..] };
        let stored: Vec<_> = stored.iter().chain(&self.doubt).collect();
        let mut model = Model::default();
        for (name, bytes) in found {
            let id = state.names[&name];
            let candidates: Vec<_> =
                stored.iter().filter_map(|state| state.objects.get(&id)).map(whole).collect();
            let lawful =
                |(at, byte): (usize, &u8)| candidates.iter().any(|bytes| bytes.get(at) == Some(byte));
            if let Some(at) = bytes.iter().enumerate().position(|found| !lawful(found)) {
                let wanted: Vec<_> = candidates.iter().map(|bytes| bytes.get(at)).collect();
                return Err(format!(
                    "byte {at:#x} of {name} is {:#x}, and not one of {wanted:x?}",
                    bytes[at]
                ));
            }
            model.found(&name, id, &bytes);
        }
        Ok(model)
    }
}

fn whole(content: &Content) -> Vec<u8> {
    content.read(0, content.len as usize)
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

/// Whether the bytes of an open object are these.
pub fn matches(object: &Object, bytes: &[u8]) -> bool {
    let mut found = vec![0; bytes.len() + 1];
    object.read_at(0, &mut found).is_ok_and(|n| found[..n] == *bytes)
}
