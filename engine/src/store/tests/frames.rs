//! Which page a frame holds, asked by its number: the answer is that of a walk over all maps.

use super::super::{Object, Store};
use crate::frame::FrameTable;
use crate::persist::{Event, Recorder};
use crate::units::{FRAME_SIZE, FrameNo, PageIndex, PfnRange};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const PAGE: u64 = FRAME_SIZE as u64;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Clone, Debug)]
enum Act {
    Write {
        name: usize,
        page: u64,
        pages: u64,
    },
    Batch {
        name: usize,
        page: u64,
    },
    Cut {
        name: usize,
        pages: u64,
    },
    Punch {
        name: usize,
        page: u64,
        pages: u64,
    },
    Unlink {
        name: usize,
    },
    Rename {
        from: usize,
        to: usize,
    },
    /// The handle goes; the object stays where it has a name.
    Close {
        name: usize,
    },
    Ask,
}

fn acts() -> impl Strategy<Value = Act> {
    // Leaves of the map that are far from each other, and pages beside each other.
    let page = || prop_oneof![0..6_u64, 510..516_u64, Just(1 << 30)];
    let name = || 0..NAMES.len();
    prop_oneof![
        5 => (name(), page(), 1..5_u64).prop_map(|(name, page, pages)| Act::Write { name, page, pages }),
        2 => (name(), page()).prop_map(|(name, page)| Act::Batch { name, page }),
        2 => (name(), page()).prop_map(|(name, pages)| Act::Cut { name, pages }),
        2 => (name(), page(), 1..5_u64).prop_map(|(name, page, pages)| Act::Punch { name, page, pages }),
        1 => name().prop_map(|name| Act::Unlink { name }),
        1 => (name(), name()).prop_map(|(from, to)| Act::Rename { from, to }),
        2 => name().prop_map(|name| Act::Close { name }),
        2 => Just(Act::Ask),
    ]
}

fn act(store: &Store, open: &mut BTreeMap<usize, Object>, act: &Act) {
    let mut object =
        |name: usize| open.entry(name).or_insert_with(|| store.open_or_create(NAMES[name]).unwrap()).clone();
    match *act {
        Act::Write { name, page, pages } => {
            object(name).write_at(page * PAGE, &vec![1; (pages * PAGE) as usize]).unwrap();
        }
        Act::Batch { name, page } => {
            let (object, mut batch) = (object(name), store.batch());
            batch.write_at(&object, page * PAGE, b"batch").unwrap();
            batch.commit().unwrap();
        }
        Act::Cut { name, pages } => object(name).set_len(pages * PAGE).unwrap(),
        Act::Punch { name, page, pages } => object(name).punch_hole(page * PAGE, pages * PAGE).unwrap(),
        // The handle of one that has lost its name is kept until it is closed or used again.
        Act::Unlink { name } => {
            let _ = store.unlink(NAMES[name]);
        }
        Act::Rename { from, to } => {
            if store.rename(NAMES[from], NAMES[to]).is_ok() && from != to {
                open.remove(&from);
                open.remove(&to);
            }
        }
        Act::Close { name } => drop(open.remove(&name)),
        Act::Ask => assert_eq!(asked(store), walked(store)),
    }
}

/// For each frame of the region the page that it holds, as a walk over all maps finds it: what of the object's number
/// an owner word keeps, and the page.
fn walked(store: &Store) -> BTreeMap<u64, (u32, PageIndex)> {
    let ledger = &store.engine.ledger;
    let slots = ledger.list().unwrap().into_iter().map(|record| record.slot).chain(ledger.orphans().unwrap());
    let mut found = BTreeMap::new();
    for slot in slots {
        let record = ledger.record(slot).unwrap();
        for (index, frame) in ledger.mapped(slot, PageIndex(0)..PageIndex(1 << 36), 1 << 20).unwrap() {
            found.insert(u64::from(frame.0), (record.id as u32, index));
        }
    }
    found
}

/// The same, asked frame by frame. No descriptor says it: those that are idle are forgotten before.
fn asked(store: &Store) -> BTreeMap<u64, (u32, PageIndex)> {
    FrameTable::global().reclaim(usize::MAX);
    let pages = &store.engine.pages;
    let ask = |frame: u64| {
        let pfn = pages.pfn(FrameNo(frame as u32));
        let pins = store.frames(PfnRange::new(pfn, 1)).ok()?;
        let owner = pins[0].info().owner.expect("it was validated");
        Some((frame, (owner.object, owner.index)))
    };
    (0..store.engine.ledger.frames()).filter_map(ask).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_a_frame_holds_is_what_a_walk_finds(acts in prop::collection::vec(acts(), 1..60)) {
        let store = Store::options().open_memory(1 << 20).unwrap();
        let mut open = BTreeMap::new();
        acts.iter().for_each(|step| act(&store, &mut open, step));
        prop_assert_eq!(asked(&store), walked(&store));
    }
}

/// The first question walks beside threads that write, cut, punch, unlink and rename; whatever it was asked meanwhile,
/// afterwards no frame is missing and none is of another page.
#[test]
fn no_page_is_missed_by_a_walk_beside_changes() {
    const ROUNDS: u64 = 20;
    for round in 0..ROUNDS {
        let store = Store::options().open_memory(1 << 20).unwrap();
        // Many names, so that a walk takes as long as some changes.
        for n in 0..300 {
            store.create(format!("{n}")).unwrap().write_at(n * PAGE, b"some").unwrap();
        }
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let (store, done) = (&store, &done);
            let changers: Vec<_> = (0..2)
                .map(|changer| {
                    scope.spawn(move || {
                        let mut n = round;
                        while !done.load(Ordering::Relaxed) {
                            n += 1;
                            let name = |n: u64| format!("{}", n % 150 * 2 + changer);
                            let object = store.open_or_create(name(n)).unwrap();
                            object.write_at(n % 7 * PAGE, &[1; 3 * FRAME_SIZE]).unwrap();
                            object.set_len(n % 5 * PAGE).unwrap();
                            object.punch_hole(n % 3 * PAGE, PAGE).unwrap();
                            drop(object);
                            store.rename(name(n), name(n * 31 + 7)).unwrap();
                            if n % 8 == 0 {
                                let _ = store.unlink(name(n * 31 + 7));
                            }
                        }
                    })
                })
                .collect();
            let first = store.engine.pages.pfn(FrameNo(0));
            for frame in 0..store.engine.ledger.frames() {
                let pfn = crate::units::Pfn::new(first.get() + frame);
                if let Ok(pins) = store.frames(PfnRange::new(pfn, 1)) {
                    let info = pins[0].info();
                    assert!(info.owner.is_some() || info.detached, "{info:?}");
                }
            }
            done.store(true, Ordering::Relaxed);
            changers.into_iter().for_each(|changer| changer.join().unwrap());
        });
        assert_eq!(asked(&store), walked(&store), "round {round}");
    }
}

/// The record rots right behind the rename's own record: a look-up under the new name fails, and none is needed.
#[test]
fn an_object_that_is_renamed_beside_a_walk_is_walked_again_though_its_new_name_leads_nowhere() {
    let recorder = Recorder::new();
    let store = Store::options().create(true).recorder(Arc::clone(&recorder)).open_image(Vec::new()).unwrap();
    let object = store.create("a").unwrap();
    object.write_at(0, &[1; 3 * FRAME_SIZE]).unwrap();
    store.engine.log.checkpoint().unwrap();
    let number = object.shared.slot.offset();
    drop(object);
    let change = store.engine.change().unwrap();
    let (region, rotten) = (Arc::clone(store.engine.pages.region()), AtomicBool::new(false));
    recorder.on_event(move |event| {
        if matches!(event, Event::Store { .. }) && !rotten.swap(true, Ordering::Relaxed) {
            region.memory().store(number, 77).unwrap();
        }
    });
    let (engine, memory) = (&store.engine, store.engine.pages.region().memory());
    let before = memory.load(number).unwrap();
    // A walk that looks nowhere.
    assert!(engine.reverse.begin(engine.pages.pfns().frames).unwrap());
    engine.rename(&change, b"a", b"b").unwrap();
    assert!(engine.ledger.lookup(b"b").is_err());
    memory.store(number, before).unwrap();
    engine.reverse.end(true);
    let (asked, walked) = (asked(&store), walked(&store));
    assert_eq!((walked.len(), asked), (3, walked));
}
