//! Plays the script on a real store and on the model.

use crate::script::Step;
use crate::world::{Ending, History, after, outline};
use pagestone::Error;
use pagestone::store::{CloseError, Options, Store};
use pagestone::units::Durability;
use pagestone_workload::{Hands, Model, Op, PAGE, pattern};
use std::path::{Path, PathBuf};

/// A store that takes its file for one of `class`, with a log that soon wraps.
pub fn options(class: Durability) -> Options {
    Store::options().create(true).assume(class).log_frames(8)
}

/// Plays a script.
pub struct Player {
    pub options: Options,
    pub path: PathBuf,
    pub history: History,
    store: Option<Store>,
    hands: Hands,
}

impl Player {
    pub fn new(options: Options, path: &Path) -> Self {
        Self::after(History::new(), options, path)
    }

    /// A player that goes on after a history.
    pub fn after(history: History, options: Options, path: &Path) -> Self {
        let mut hands = Hands::new(pattern::bytes, false);
        history.now().names.iter().for_each(|(name, object)| hands.knows(name, *object));
        Self { options, path: path.to_owned(), history, store: None, hands }
    }

    /// Plays a step, the script's `number`-th; an error leaves its outcome in doubt.
    pub fn play(&mut self, number: usize, step: &Step) -> Result<(), Error> {
        let after = after(step, self.history.now(), number);
        self.history.doubt(after.clone());
        self.perform(number, step)?;
        told(&mut self.history, step, after);
        Ok(())
    }

    /// The store, opened if it is not open.
    pub fn store(&mut self) -> Result<Store, Error> {
        if self.store.is_none() {
            self.store = Some(self.options.open(&self.path)?);
        }
        self.store.clone().ok_or(Error::Closed)
    }

    pub fn is_open(&self) -> bool {
        self.store.is_some()
    }

    fn perform(&mut self, number: usize, step: &Step) -> Result<(), Error> {
        let store = self.store()?;
        match step {
            Step::Do(op) => self.hands.act(&store, op, number as u16),
            Step::Check => match store.check()? {
                report if report.is_clean() => Ok(()),
                report => panic!("check found {:?}", report.findings),
            },
            Step::Reopen => {
                drop(store);
                self.close()
            }
        }
    }

    /// Closes the store in order. If that fails, the player keeps the store.
    fn close(&mut self) -> Result<(), Error> {
        match self.store.take().map(Store::close) {
            Some(Err(CloseError { store, error })) => {
                self.store = Some(store);
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Drops all handles without closing the store, in an order that is possible in a program.
    pub fn leave(&mut self) {
        self.hands.let_go();
        self.store = None;
    }

    /// Whether the store has failed for good. If it has, asserts that every kind of call is refused.
    pub fn poisoned(&mut self) -> bool {
        let Some(store) = self.store.clone() else { return false };
        let Some(why) = store.poisoned() else { return false };
        let refused = |what: &str, result: Result<(), Error>| match result {
            Err(Error::Poisoned { why: told }) if told == why => {}
            other => panic!("{what} of a poisoned store: {other:?}"),
        };
        refused("create", store.create("never").map(drop));
        refused("sync", store.sync());
        refused("unlink", store.unlink("a"));
        refused("open", store.open("a").map(drop));
        refused("check", store.check().map(drop));
        for (_, object) in self.hands.open() {
            refused("write", object.write_at(0, b"never"));
            refused("append", object.append(b"never").map(drop));
            refused("set_len", object.set_len(1 << 20));
            refused("sync of an object", object.sync());
        }
        true
    }

    /// After `NoSpace`: asserts that nothing has changed except, at most, bytes of pages that were there. The script may
    /// go on.
    pub fn refused(&mut self) -> Result<(), String> {
        let store = self.store().map_err(|error| error.to_string())?;
        let found = self.history.judge(&store, Ending::Death)?;
        if outline(&found) != outline(self.history.now()) {
            return Err(format!("it was refused and has changed names or lengths: {found:?}"));
        }
        self.history.acknowledge(found);
        match store.poisoned() {
            None => Ok(()),
            Some(why) => Err(format!("a full disk is not final: {why}")),
        }
    }

    /// Opens the store without faults, compares it with the history, and makes changes to it.
    pub fn judge(&self, options: &Options, ending: Ending) -> Result<Model, String> {
        let told = |doing: &str| {
            let doing = doing.to_owned();
            move |error: Error| format!("{doing}: {error}")
        };
        let store = options.open(&self.path).map_err(told("opening it again"))?;
        let found = self.history.judge(&store, ending)?;
        let last = store.create("afterwards").map_err(told("creating"))?;
        last.append(&[7; 3 * PAGE as usize]).map_err(told("appending"))?;
        drop(last);
        store.unlink("afterwards").map_err(told("unlinking"))?;
        let report = store.check().map_err(told("checking"))?;
        if !report.is_clean() {
            return Err(format!("after more changes, check found {:?}", report.findings));
        }
        store.close().map_err(Error::from).map_err(told("closing"))?;
        Ok(found)
    }
}

/// Adds a step that has returned to a history.
pub fn told(history: &mut History, step: &Step, after: Model) {
    history.acknowledge(after);
    match step {
        Step::Do(Op::Sync(object)) => history.synced_one(*object),
        Step::Do(Op::SyncAll) | Step::Reopen => history.synced(),
        _ => {}
    }
}
