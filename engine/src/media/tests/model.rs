//! The ledger against a plain model: names, maps and frames in `BTreeMap`s.

use super::*;
use crate::media::log::record::Sequence;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
enum Op {
    Create(u8),
    Rename(u8, u8),
    Unlink(u8),
    Link {
        name: u8,
        first: u64,
        n: u64,
        stride: u64,
    },
    Truncate {
        name: u8,
        pages: u64,
        steps: u8,
    },
    Punch {
        name: u8,
        first: u64,
        n: u64,
    },
    /// A step for the oldest orphan.
    Orphan {
        steps: u8,
    },
    FreeBusy(u8),
    Commit,
    Checkpoint,
    Reopen,
}

fn ops() -> impl Strategy<Value = Op> {
    let page = || prop_oneof![0..20u64, 500..530u64, 262_100..262_200u64, (1u64 << 30)..(1 << 30) + 5];
    prop_oneof![
        4 => any::<u8>().prop_map(Op::Create),
        3 => any::<(u8, u8)>().prop_map(|(a, b)| Op::Rename(a, b)),
        2 => any::<u8>().prop_map(Op::Unlink),
        6 => (any::<u8>(), page(), 1..400u64, prop_oneof![3 => Just(1u64), 1 => Just(600u64)])
            .prop_map(|(name, first, n, stride)| Op::Link { name, first, n: n / stride.min(8), stride }),
        3 => (any::<u8>(), page(), 0..3u8).prop_map(|(name, pages, steps)| Op::Truncate { name, pages, steps }),
        2 => (any::<u8>(), page(), 1..600u64).prop_map(|(name, first, n)| Op::Punch { name, first, n }),
        3 => (0..4u8).prop_map(|steps| Op::Orphan { steps }),
        1 => any::<u8>().prop_map(Op::FreeBusy),
        1 => Just(Op::Commit),
        1 => Just(Op::Checkpoint),
        1 => Just(Op::Reopen),
    ]
}

#[derive(Debug)]
struct Object {
    slot: ObjectSlot,
    pages: BTreeMap<u64, FrameNo>,
    size: u64,
    cut: Option<u64>,
}

struct Model {
    ledger: Option<Ledger>,
    named: BTreeMap<Vec<u8>, Object>,
    unlinked: Vec<Object>,
    busy: BTreeSet<FrameNo>,
    /// Freed frames, and for each the earliest record that can have freed it.
    freed: BTreeMap<FrameNo, Sequence>,
}

/// Few names, so that steps use the same ones. Some share a bucket.
fn name(n: u8) -> Vec<u8> {
    match n % 24 {
        0 => vec![b'n'; 255],
        n => format!("{}", n).into_bytes(),
    }
}

/// Every third frame is pinned when it is cut off.
fn fate(frame: FrameNo) -> Fate {
    if frame.0 % 3 == 0 { Fate::Busy } else { Fate::Free }
}

impl Model {
    fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().unwrap()
    }

    /// Notes the frames of pages that are cut off. They are busy, or free once the record after the given one is passed.
    fn cut_off(&mut self, frames: impl IntoIterator<Item = (FrameNo, Sequence)>) {
        for (frame, asked) in frames {
            match fate(frame) {
                Fate::Busy => assert!(self.busy.insert(frame)),
                Fate::Free => drop(self.freed.insert(frame, asked.next())),
            }
        }
    }

    fn allocate(&mut self, n: usize) -> Vec<FrameNo> {
        let frames = self.ledger().allocate(n, None).unwrap();
        let passed = self.ledger().log().passed();
        let owned: BTreeSet<_> =
            self.named.values().chain(&self.unlinked).flat_map(|o| o.pages.values().copied()).collect();
        for frame in &frames {
            assert!(!owned.contains(frame) && !self.busy.contains(frame), "{frame:?} is in use");
            if let Some(freed) = self.freed.remove(frame) {
                assert!(freed <= passed, "{frame:?} was freed by a live record");
            }
        }
        frames
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Create(n) => {
                let made = self.ledger().create_object(&name(n), ObjectKind::PLAIN);
                match made {
                    Ok(slot) => {
                        let object = Object { slot, pages: BTreeMap::new(), size: 0, cut: None };
                        assert!(self.named.insert(name(n), object).is_none());
                    }
                    Err(error) => {
                        assert!(matches!(error, Error::Exists { .. }), "{error}");
                        assert!(self.named.contains_key(&name(n)));
                    }
                }
            }
            Op::Rename(from, to) => {
                let renamed = self.ledger().rename(&name(from), &name(to));
                let Some(object) = self.named.remove(&name(from)) else {
                    return assert!(matches!(renamed, Err(Error::NotFound { .. })));
                };
                let replaced = self.named.insert(name(to), object);
                assert_eq!(renamed.unwrap().replaced, replaced.as_ref().map(|object| object.slot));
                self.unlinked.extend(replaced);
            }
            Op::Unlink(n) => match self.named.remove(&name(n)) {
                None => assert!(matches!(self.ledger().unlink(&name(n)), Err(Error::NotFound { .. }))),
                Some(object) => {
                    assert_eq!(self.ledger().unlink(&name(n)).unwrap(), object.slot);
                    self.unlinked.push(object);
                }
            },
            Op::Link { name: n, first, n: count, stride } => self.link(&name(n), first, count, stride),
            Op::Truncate { name: n, pages, steps } => self.truncate(&name(n), pages, steps),
            Op::Punch { name: n, first, n: count } => self.punch(&name(n), first..first + count),
            Op::Orphan { steps } => self.drop_oldest(steps),
            Op::FreeBusy(n) => {
                let some: Vec<_> =
                    self.busy.iter().copied().filter(|frame| frame.0 % 4 <= n as u32 % 4).collect();
                let before = self.ledger().log().head();
                self.ledger().free_busy(&some).unwrap();
                for frame in some {
                    self.busy.remove(&frame);
                    self.freed.insert(frame, before.next());
                }
            }
            Op::Commit => self.ledger().log().commit(self.ledger().log().head()).unwrap(),
            Op::Checkpoint => self.ledger().log().checkpoint().unwrap(),
            Op::Reopen => {
                let ledger = self.ledger.take().unwrap();
                self.ledger = Some(reopened(ledger));
                // Recovery has moved the tail behind everything.
                self.freed.clear();
                self.verify();
            }
        }
    }

    fn link(&mut self, name: &[u8], first: u64, n: u64, stride: u64) {
        let Some(object) = self.named.get(name) else { return };
        let (slot, cut) = (object.slot, object.cut.unwrap_or(u64::MAX));
        let pages: Vec<_> =
            (0..n).map(|i| first + i * stride).filter(|p| !object.pages.contains_key(p)).collect();
        let frames = self.allocate(pages.len());
        let pairs: Vec<_> = pages.iter().map(|&page| PageIndex(page)).zip(frames.iter().copied()).collect();
        let size = pages.last().map_or(0, |page| (page + 1) * 4096);
        let linked = self.ledger().link(slot, &pairs, Some(size));
        if pages.last().is_some_and(|&page| page >= cut) {
            assert!(matches!(linked, Err(Error::Busy { .. })), "{linked:?}");
            return self.ledger().release(&frames).unwrap();
        }
        linked.unwrap();
        if let Some(object) = self.named.get_mut(name) {
            object.pages.extend(pages.into_iter().zip(frames));
            object.size = size;
        }
    }

    fn truncate(&mut self, name: &[u8], pages: u64, steps: u8) {
        let Some(mut object) = self.named.remove(name) else { return };
        let size = (pages * 4096).min(object.size);
        self.ledger().begin_truncate(object.slot, size).unwrap();
        object.size = size;
        let first = PageIndex::pages_for(size);
        if !object.pages.is_empty() {
            object.cut = Some(object.cut.map_or(first, |cut| cut.min(first)));
        }
        for _ in 0..steps {
            self.step(&mut object, false);
        }
        self.named.insert(name.to_vec(), object);
    }

    /// One step of truncate or drop. Returns whether it was the last.
    fn step(&mut self, object: &mut Object, dropping: bool) -> bool {
        let mut cut = Vec::new();
        let ledger = self.ledger();
        let asked = ledger.log().head();
        let mut ask = |pages: &[(PageIndex, FrameNo)]| {
            cut.extend(pages.iter().map(|(page, frame)| (page.0, *frame)));
            pages.iter().map(|page| fate(page.1)).collect()
        };
        let done = if dropping {
            ledger.drop_step(object.slot, &mut ask).unwrap()
        } else {
            ledger.truncate_step(object.slot, &mut ask).unwrap()
        };
        let first = if dropping { 0 } else { object.cut.unwrap_or(u64::MAX) };
        for (page, frame) in &cut {
            assert!(*page >= first);
            assert_eq!(object.pages.remove(page), Some(*frame));
        }
        let left = object.pages.range(first..).next().is_some();
        // A full step does not know that it was the last; the next one finds nothing.
        assert!(if done { !left } else { left || !cut.is_empty() }, "page left or not");
        if done {
            object.cut = None;
        }
        self.cut_off(cut.into_iter().map(|(_, frame)| (frame, asked)));
        done
    }

    fn punch(&mut self, name: &[u8], pages: std::ops::Range<u64>) {
        let Some(mut object) = self.named.remove(name) else { return };
        let end = pages.end.min(object.cut.unwrap_or(u64::MAX));
        let (mut cut, mut asked) = (BTreeMap::new(), Vec::new());
        finish(|| {
            self.ledger().punch_step(
                object.slot,
                PageIndex(pages.start)..PageIndex(pages.end),
                &mut |pages| {
                    cut.extend(pages.iter().map(|(page, frame)| (page.0, *frame)));
                    let head = self.ledger().log().head();
                    asked.extend(pages.iter().map(|page| (page.1, head)));
                    pages.iter().map(|page| fate(page.1)).collect()
                },
            )
        });
        let expected: BTreeMap<_, _> = object
            .pages
            .range(pages.start..end.max(pages.start))
            .map(|(&page, &frame)| (page, frame))
            .collect();
        assert_eq!(cut, expected);
        object.pages.retain(|page, _| !cut.contains_key(page));
        self.cut_off(asked);
        self.named.insert(name.to_vec(), object);
    }

    fn drop_oldest(&mut self, steps: u8) {
        if self.unlinked.is_empty() {
            return;
        }
        let mut object = self.unlinked.remove(0);
        for _ in 0..steps {
            if self.step(&mut object, true) {
                return;
            }
        }
        self.unlinked.push(object);
    }

    fn verify(&self) {
        let ledger = self.ledger();
        let counts = assert_sound(ledger);
        let listed: BTreeMap<_, _> =
            ledger.list().unwrap().into_iter().map(|r| (r.name.clone(), r)).collect();
        assert_eq!(listed.keys().collect::<Vec<_>>(), self.named.keys().collect::<Vec<_>>());
        assert_eq!(ledger.objects().unwrap(), self.named.len() as u64);
        for (name, object) in &self.named {
            let record = &listed[name];
            assert_eq!((record.slot, record.size, record.truncating), (object.slot, object.size, object.cut));
            assert_eq!(record.pages, object.pages.len() as u64);
            assert_eq!(ledger.pages(object.slot).unwrap(), record.pages);
            assert_eq!(ledger.lookup(name).unwrap(), Some(object.slot));
        }
        for object in self.named.values().chain(&self.unlinked) {
            for (&page, &frame) in &object.pages {
                let visible = object.cut.is_none_or(|cut| page < cut);
                assert_eq!(ledger.map(object.slot, PageIndex(page)).unwrap(), visible.then_some(frame));
            }
        }
        let orphans: BTreeSet<_> = ledger.orphans().unwrap().into_iter().collect();
        let cut = self.named.values().filter(|object| object.cut.is_some());
        assert_eq!(orphans, cut.chain(&self.unlinked).map(|object| object.slot).collect());
        assert_eq!(ledger.busy_frames().unwrap().into_iter().collect::<BTreeSet<_>>(), self.busy);
        let pages =
            self.named.values().chain(&self.unlinked).map(|object| object.pages.len() as u64).sum::<u64>();
        assert_eq!((counts.pages, counts.busy), (pages, self.busy.len() as u64));
        assert_eq!(counts.used + counts.free, ledger.frames());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_ledger_agrees_with_the_model(
        ops in prop::collection::vec(ops(), 1..80),
        log_frames in prop_oneof![Just(4u32), Just(64)],
    ) {
        let mut model = Model {
            ledger: Some(fresh_with(256 << 20, log_frames)),
            named: BTreeMap::new(),
            unlinked: Vec::new(),
            busy: BTreeSet::new(),
            freed: BTreeMap::new(),
        };
        for op in ops {
            model.run(op);
        }
        model.verify();
        model.run(Op::Reopen);
    }
}
