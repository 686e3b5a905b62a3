//! A thread's objects after the end of a life: what must be there, and what a power loss may have left.

use super::compare::shown_pages;
use super::hands::Hands;
use super::objects::{Object, State, Uid};
use super::outcome::{Verdict, ensure};
use super::step::{NAMES, name};
use super::tally::Event;
use pagestone::store::{Entry, Store};
use pagestone::units::PageIndex;
use pagestone_workload::PAGE;
use pagestone_workload::content::{Content, Frame, Tail};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Hands {
    /// The process has ended, and with it handles, pins and objects without a name.
    pub fn life_ended(&mut self) {
        self.pins.clear();
        self.handles.clear();
        self.lingering = 0;
        self.broken = false;
        for object in self.model.all.values_mut() {
            object.handles = 0;
            object.content.tail = Tail::Unknown;
            object.dead |= !object.named;
        }
    }

    /// Goes on with the store that a power loss has left, if that is lawful: names and lengths must be those after some
    /// operation not older than the last acknowledged sync; bytes must be those of that sync, or stored since.
    ///
    /// # Errors
    /// What is not lawful.
    pub fn adopt(&mut self, store: &Store, entries: &[Entry]) -> Verdict {
        let found: BTreeMap<u8, &Entry> = (0..NAMES)
            .filter_map(|n| Some((n, entries.iter().find(|entry| entry.name == name(self.thread, n))?)))
            .collect();
        let fits = |state: &State| {
            state.names.len() == found.len()
                && state.names.iter().all(|(n, (uid, len))| {
                    let id = self.model.all[uid].id;
                    found.get(n).is_some_and(|e| e.len == *len && id.is_none_or(|id| id == e.id))
                })
        };
        let Some(state) = self.model.past.iter().find(|state| fits(state)).cloned() else {
            let past: Vec<_> = self.model.past.iter().map(|state| &state.names).collect();
            let found: Vec<_> = found.iter().map(|(n, e)| (n, e.id, e.len)).collect();
            return Err(format!(
                "names and lengths after the power loss are those of no moment since the last sync\n  \
                 found (name, number, length) {found:?}\n  lawful (name: object, length) {past:?}"
            ));
        };
        if self.model.past.last().is_some_and(|now| now.op != state.op) {
            Event::OpsLostWithPower.happened();
        }
        let mut all = BTreeMap::new();
        for (n, (uid, _)) in &state.names {
            all.insert(*uid, self.adopted(store, *n, *uid, state.op)?);
        }
        self.model.all = all;
        self.model.names = state.names.iter().map(|(&n, (uid, _))| (n, *uid)).collect();
        self.model.past = vec![State { op: self.model.op, names: state.names }];
        Ok(())
    }

    /// An object, with the bytes that were found.
    fn adopted(&mut self, store: &Store, n: u8, uid: Uid, shown: u64) -> Verdict<Object> {
        let spelled = self.spell(n);
        let object = store.open(self.name(n)).map_err(|e| format!("opening {spelled} fails: {e}"))?;
        let known = &self.model.all[&uid];
        let near = |&page: &u64| [page.saturating_sub(1), page, page + 1];
        let pages = PageIndex::pages_for(object.len());
        let looked_at: BTreeSet<u64> =
            known.content.ever.iter().flat_map(near).chain(0..pages.min(32)).collect();
        let found = shown_pages(&object, looked_at.into_iter().filter(|&page| page < pages))?;
        let mut content = Content::new();
        (content.len, content.tail, content.ahead_known) = (object.len(), Tail::Unknown, false);
        content.ever.clone_from(&known.content.ever);
        for (page, (mapped, bytes)) in found {
            let inside = (object.len() - page * PAGE).min(PAGE) as usize;
            let stranger = known.history.stranger(page, &bytes[..inside], shown);
            ensure(stranger.is_none(), || {
                let at = stranger.unwrap_or(0);
                format!(
                    "byte {:#x} of {spelled} (object {uid}, names and lengths after operation {shown}) shows \
                     {:#04x}, which it never held since the last sync",
                    page * PAGE + at as u64,
                    bytes[at]
                )
            })?;
            if mapped {
                let mut frame: Frame = self.tokens.fresh();
                Arc::make_mut(&mut frame.bytes).copy_from_slice(&bytes);
                content.frames.insert(page, frame);
            }
        }
        let mut adopted = Object { id: Some(object.id()), content, named: true, ..Object::default() };
        adopted.history.settle(&adopted.content);
        Ok(adopted)
    }
}
