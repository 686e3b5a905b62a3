//! Every operation against a plain model, with reopening and the death of the process as steps.

use crate::{PAGE, content, pin};
use pagestone::region::Identity;
use pagestone::store::{Object, Options, Store};
use pagestone::units::{Durability, PageIndex};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Names in play.
const NAMES: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    Write { name: usize, at: u64, len: usize, value: u8 },
    Append { name: usize, len: usize, value: u8 },
    Read { name: usize, at: u64, len: usize },
    SetLen { name: usize, len: u64 },
    Punch { name: usize, at: u64, len: u64 },
    Allocate { name: usize, at: u64, len: u64 },
    PinWrite { name: usize, page: u64, at: usize, len: usize, value: u8 },
    HoldPin { name: usize, page: u64 },
    DropPins,
    Sync { name: usize },
    Unlink { name: usize },
    Rename { from: usize, to: usize },
    CloseHandles,
    Reopen,
    Kill,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || 0..NAMES;
    let at = || prop_oneof![0..PAGE * 3, 0..PAGE * 40, (0..40u64).prop_map(|page| page * PAGE)];
    let len = || prop_oneof![0..200usize, 0..5 * PAGE as usize, Just(PAGE as usize)];
    let value = 1..=255u8;
    let step = prop_oneof![
        8 => (name(), at(), len(), value.clone()).prop_map(|(name, at, len, value)| Step::Write { name, at, len, value }),
        4 => (name(), len(), value.clone()).prop_map(|(name, len, value)| Step::Append { name, len, value }),
        4 => (name(), at(), len()).prop_map(|(name, at, len)| Step::Read { name, at, len }),
        5 => (name(), at()).prop_map(|(name, len)| Step::SetLen { name, len }),
        3 => (name(), at(), at()).prop_map(|(name, at, len)| Step::Punch { name, at, len }),
        2 => (name(), at(), at()).prop_map(|(name, at, len)| Step::Allocate { name, at, len }),
        4 => (name(), 0..40u64, 0..4096usize, 0..300usize, value)
            .prop_map(|(name, page, at, len, value)| Step::PinWrite { name, page, at, len, value }),
        3 => (name(), 0..40u64).prop_map(|(name, page)| Step::HoldPin { name, page }),
        1 => Just(Step::DropPins),
        2 => name().prop_map(|name| Step::Sync { name }),
        1 => name().prop_map(|name| Step::Unlink { name }),
        1 => (name(), name()).prop_map(|(from, to)| Step::Rename { from, to }),
        1 => Just(Step::CloseHandles),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
    ];
    prop::collection::vec(step, 1..60)
}

/// A pin, and what it must go on showing once it is detached.
struct Held {
    page: pagestone::page::PageRef,
    bytes: Vec<u8>,
}

struct World {
    folder: tempfile::TempDir,
    lives: u32,
    options: Options,
    store: Option<Store>,
    handles: BTreeMap<usize, Object>,
    held: Vec<Held>,
    model: BTreeMap<usize, Vec<u8>>,
}

impl World {
    fn new(class: Durability) -> Self {
        let identity = Identity { boot: [9; 16], device: 1, inode: 2, mount: 3 };
        let options = Store::options().create(true).assume(class).log_frames(8).identity(identity);
        let folder = tempfile::tempdir().unwrap();
        let store = options.open(folder.path().join("0")).unwrap();
        let (handles, held, model) = Default::default();
        Self { folder, lives: 0, options, store: Some(store), handles, held, model }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join(self.lives.to_string())
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    /// The object of this name and its model, made if there is none.
    fn object(&mut self, name: usize) -> (Object, &mut Vec<u8>) {
        let store = self.store.as_ref().unwrap();
        let object =
            self.handles.entry(name).or_insert_with(|| store.open_or_create(format!("{name}")).unwrap());
        (object.clone(), self.model.entry(name).or_default())
    }

    /// A pin that is not detached shows its object; one that is shows what it showed last.
    fn check_pins(&mut self) {
        for held in &mut self.held {
            let now = held.page.read().unwrap().to_vec();
            if held.page.is_detached() {
                assert_eq!(now, held.bytes, "a detached page changed under its pin");
                assert!(held.page.write().is_err());
            }
            held.bytes = now;
        }
    }

    fn check(&mut self) {
        self.check_pins();
        crate::check(self.store());
        let names: Vec<_> = self.store().list().unwrap().into_iter().map(|entry| entry.name).collect();
        let expected: Vec<_> = self.model.keys().map(|name| name.to_string().into_bytes()).collect();
        assert_eq!(names, expected);
        for (name, bytes) in &self.model {
            let object = self.store().open(format!("{name}")).unwrap();
            assert!(content(&object) == *bytes, "object {name}");
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write { name, at, len, value } => {
                let (object, model) = self.object(name);
                object.write_at(at, &vec![value; len]).unwrap();
                write(model, at, &vec![value; len]);
            }
            Step::Append { name, len, value } => {
                let (object, model) = self.object(name);
                assert_eq!(object.append(&vec![value; len]).unwrap(), model.len() as u64);
                write(model, model.len() as u64, &vec![value; len]);
            }
            Step::Read { name, at, len } => {
                let (object, model) = self.object(name);
                let mut bytes = vec![0xEE; len];
                let read = object.read_at(at, &mut bytes).unwrap();
                let expected = model.get(at as usize..).unwrap_or(&[]);
                assert_eq!(bytes[..read], expected[..expected.len().min(len)]);
            }
            Step::SetLen { name, len } => {
                let (object, model) = self.object(name);
                object.set_len(len).unwrap();
                model.resize(len as usize, 0);
            }
            Step::Punch { name, at, len } => {
                let (object, model) = self.object(name);
                object.punch_hole(at, len).unwrap();
                let end = model.len().min((at + len) as usize);
                model[end.min(at as usize)..end].fill(0);
            }
            Step::Allocate { name, at, len } => self.object(name).0.allocate(at, len).unwrap(),
            Step::PinWrite { name, page, at, len, value } => self.pin_write(name, page, at, len, value),
            Step::HoldPin { name, page } => {
                let (object, _) = self.object(name);
                if let Some(page) = object.pin(PageIndex(page)).unwrap() {
                    let bytes = page.read().unwrap().to_vec();
                    self.held.push(Held { page, bytes });
                }
            }
            Step::DropPins => self.held.clear(),
            Step::Sync { name } => self.object(name).0.sync().unwrap(),
            Step::Unlink { name } => {
                let known = self.model.remove(&name).is_some();
                self.handles.remove(&name);
                assert_eq!(self.store().unlink(format!("{name}")).is_ok(), known);
            }
            Step::Rename { from, to } => self.rename(from, to),
            Step::CloseHandles => self.handles.clear(),
            Step::Reopen => {
                self.handles.clear();
                self.held.clear();
                self.store.take().unwrap().close().unwrap();
                self.store = Some(self.options.open(self.path()).unwrap());
                crate::check(self.store());
            }
            Step::Kill => self.kill(),
        }
        self.check_pins();
    }

    fn pin_write(&mut self, name: usize, page: u64, at: usize, len: usize, value: u8) {
        let (object, model) = self.object(name);
        let pinned = object.pin_mut(PageIndex(page)).unwrap();
        let start = (page * PAGE) as usize;
        if model.len().div_ceil(PAGE as usize) as u64 <= page {
            model.resize(start + PAGE as usize, 0);
        }
        let end = (at + len).min(PAGE as usize).min(model.len() - start);
        let at = at.min(end);
        pinned.write_range(at..end).unwrap().fill(value);
        model[start + at..start + end].fill(value);
        assert_eq!(pin(&object, page).pfn(), pinned.pfn());
    }

    fn rename(&mut self, from: usize, to: usize) {
        let renamed = self.store().rename(format!("{from}"), format!("{to}"));
        assert_eq!(renamed.is_ok(), self.model.contains_key(&from));
        if renamed.is_ok() && from != to {
            let model = self.model.remove(&from).unwrap();
            self.model.insert(to, model);
            let handle = self.handles.remove(&from);
            self.handles.remove(&to);
            self.handles.extend(handle.map(|handle| (to, handle)));
        }
    }

    /// The process dies, pins, handles and all; another opens what it left.
    fn kill(&mut self) {
        let old = self.path();
        self.lives += 1;
        std::fs::copy(old, self.path()).unwrap();
        self.handles.clear();
        self.held.clear();
        self.store = Some(self.options.open(self.path()).unwrap());
        crate::check(self.store());
    }
}

fn write(model: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let end = at as usize + bytes.len();
    if bytes.is_empty() {
        return;
    }
    model.resize(model.len().max(end), 0);
    model[at as usize..end].copy_from_slice(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 2000, ..ProptestConfig::default() })]
    #[test]
    fn a_store_behaves_like_named_vectors(
        class in prop_oneof![Just(Durability::Volatile), Just(Durability::CacheLine)],
        steps in steps(),
    ) {
        let mut world = World::new(class);
        for step in steps {
            world.step(step);
        }
        world.check();
        world.step(Step::Kill);
        world.check();
        world.step(Step::Reopen);
        world.check();
    }
}
