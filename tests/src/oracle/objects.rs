//! The plain model of a thread's objects and names, and of their past as far as a power loss may bring it back.

use super::history::{Hides, History};
use pagestone_workload::PAGE;
use pagestone_workload::content::{Content, Tail};
use std::collections::BTreeMap;

/// A number of the model's own for an object; its name may change, and its real number is unknown at first.
pub type Uid = u32;

/// An object.
#[derive(Clone, Debug, Default)]
pub struct Object {
    /// Its real number, once the engine has told it.
    pub id: Option<u64>,
    /// Its bytes.
    pub content: Content,
    /// What a power loss may leave of it.
    pub history: History,
    /// Open handles.
    pub handles: usize,
    /// Whether it has a name.
    pub named: bool,
    /// It was dropped with its last handle; only a power loss can bring it back.
    pub dead: bool,
}

/// Names and lengths after some operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    /// The number of operations before.
    pub op: u64,
    /// Objects and lengths by the number of their name.
    pub names: BTreeMap<u8, (Uid, u64)>,
}

/// All objects of one thread.
#[derive(Debug, Default)]
pub struct Objects {
    /// Objects that live, and ones that a power loss may bring back.
    pub all: BTreeMap<Uid, Object>,
    /// Objects by the number of their name.
    pub names: BTreeMap<u8, Uid>,
    /// The states that a power loss may bring back, the oldest first, the present last.
    pub past: Vec<State>,
    /// Operations so far.
    pub op: u64,
    next: Uid,
}

impl Objects {
    /// The object with this number, which must exist.
    pub fn get(&mut self, uid: Uid) -> &mut Object {
        self.all.entry(uid).or_default()
    }

    /// A new object with a name that is free.
    pub fn create(&mut self, name: u8) -> Uid {
        let uid = self.next;
        self.next += 1;
        self.all.insert(uid, Object { named: true, ..Object::default() });
        self.names.insert(name, uid);
        uid
    }

    /// Takes a name away. Returns the object that had it.
    pub fn unname(&mut self, name: u8) -> Option<Uid> {
        let uid = self.names.remove(&name)?;
        self.get(uid).named = false;
        Some(uid)
    }

    /// One more operation is over.
    pub fn passed(&mut self, recorded: bool) {
        if !recorded {
            return;
        }
        let names = self.names.iter().map(|(&name, uid)| (name, (*uid, self.all[uid].content.len))).collect();
        let now = State { op: self.op, names };
        match self.past.last() {
            Some(last) if last.names == now.names => {}
            _ => self.past.push(now),
        }
    }

    /// Names, lengths and maps are durable as they are now.
    pub fn committed(&mut self) {
        if let Some(mut last) = self.past.pop() {
            last.op = self.op;
            self.past.clear();
            self.past.push(last);
        }
        self.all.retain(|_, object| !object.dead);
    }

    /// Everything is durable as it is now.
    pub fn settled(&mut self) {
        self.committed();
        for object in self.all.values_mut() {
            object.history.settle(&object.content);
        }
    }

    /// Grows an object.
    pub fn grow(&mut self, uid: Uid, len: u64) {
        let op = self.op;
        let object = self.get(uid);
        let old = object.content.len;
        if len <= old {
            return;
        }
        match object.content.grow(len) {
            None => object.history.zeroed(op, old..len, Hides::WhenShown),
            Some(shown) => {
                // These zeros are stored through a pin, like any bytes.
                object.history.zeroed(op, old..len, Hides::Nothing);
                object.history.stored(op, old, &shown);
                let behind = old.next_multiple_of(PAGE).min(len);
                object.history.zeroed(op, behind..len, Hides::WhenShown);
            }
        }
    }

    /// Whether the page still has the frame with this token.
    #[must_use]
    pub fn holds(&self, uid: Uid, page: u64, token: u64) -> bool {
        let object = self.all.get(&uid).filter(|object| !object.dead);
        object.and_then(|o| o.content.frames.get(&page)).is_some_and(|frame| frame.token == token)
    }

    /// The last handle of an object is closed: from now on, what lies behind its end is unknown.
    pub fn closed(&mut self, uid: Uid) {
        self.get(uid).content.tail = Tail::Unknown;
    }
}
