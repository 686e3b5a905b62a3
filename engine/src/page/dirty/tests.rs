use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A map with steps of three heights and more.
const FRAMES: usize = 300_000;

#[derive(Clone, Debug)]
enum Act {
    /// An object makes a frame dirty. Where it is not known as the owner then, it is so afterwards.
    Store {
        object: u32,
        frame: u32,
        known: bool,
    },
    /// The frame becomes clean and its bit stays: it was taken out of use, or asked for its dirt.
    Clean {
        frame: u32,
    },
    Sync {
        object: u32,
    },
    SyncAll,
}

/// Few frames, near and far; objects of one trail, of one class, and of others.
fn acts() -> impl Strategy<Value = Act> {
    let frame = || prop_oneof![0..8_u32, 60..70_u32, 4_090..4_100_u32, Just(FRAMES as u32 - 1)];
    let object = || prop_oneof![Just(1), Just(1 + TRAILS), Just(1 + CLASSES), Just(2), Just((1 << 28) - 1)];
    prop_oneof![
        6 => (object(), frame(), prop::bool::weighted(0.9))
            .prop_map(|(object, frame, known)| Act::Store { object, frame, known }),
        1 => frame().prop_map(|frame| Act::Clean { frame }),
        2 => object().prop_map(|object| Act::Sync { object }),
        1 => Just(Act::SyncAll),
    ]
}

/// Plain sets beside the map: dirty frames with their objects, and frames with a bit among those of unknown owners.
#[derive(Default)]
struct Model {
    dirty: BTreeMap<u32, u32>,
    noted: BTreeMap<u32, u32>,
    unknown: BTreeSet<u32>,
}

impl Model {
    /// What a sync of `object` is to take.
    fn wanted(&self, object: u32) -> BTreeSet<u32> {
        let wanted = |frame: &&u32| self.noted.get(frame) == Some(&object) || self.unknown.contains(frame);
        self.dirty.keys().filter(wanted).copied().collect()
    }

    /// The frames were taken: those that were dirty.
    fn clean(&mut self, taken: Vec<FrameNo>) -> BTreeSet<u32> {
        self.unknown.clear();
        taken.into_iter().map(|frame| frame.0).filter(|frame| self.dirty.remove(frame).is_some()).collect()
    }

    fn store(&mut self, map: &DirtMap, object: u32, frame: u32, known: bool) {
        if self.dirty.contains_key(&frame) {
            return;
        }
        self.dirty.insert(frame, object);
        if known {
            self.noted.insert(frame, object);
            map.note(object, FrameNo(frame));
        } else {
            self.noted.remove(&frame);
            self.unknown.insert(frame);
            map.note(DirtMap::UNKNOWN, FrameNo(frame));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 512 }, ..ProptestConfig::default() })]

    #[test]
    fn a_sync_takes_what_its_object_and_unknown_ones_made_dirty(acts in prop::collection::vec(acts(), 1..150)) {
        let (map, mut model) = (DirtMap::reserve(FRAMES).unwrap(), Model::default());
        for act in acts {
            match act {
                Act::Store { object, frame, known } => model.store(&map, object, frame, known),
                Act::Clean { frame } => {
                    model.dirty.remove(&frame);
                }
                Act::Sync { object } => {
                    let wanted = model.wanted(object);
                    let other = |frame: FrameNo| model.dirty.get(&frame.0).copied().filter(|owner| *owner != object);
                    let taken = map.take(object, other);
                    prop_assert_eq!(model.clean(taken), wanted);
                }
                Act::SyncAll => {
                    let all: BTreeSet<u32> = model.dirty.keys().copied().collect();
                    let taken = map.take_all();
                    prop_assert_eq!(model.clean(taken), all);
                    prop_assert!(!map.exceeds(1, 0) && map.take_all().is_empty());
                }
            }
        }
    }
}

#[test]
fn dirt_of_another_trail_of_the_class_is_not_looked_at() {
    let map = DirtMap::reserve(FRAMES).unwrap();
    (0..200_000).for_each(|frame| map.note(1 + CLASSES, FrameNo(frame)));
    map.note(1, FrameNo(100_000));
    let looked = std::cell::Cell::new(0);
    let taken = map.take(1, |frame| {
        looked.set(looked.get() + 1);
        (frame != FrameNo(100_000)).then_some(1 + CLASSES)
    });
    assert_eq!(taken, [FrameNo(100_000)]);
    assert!(looked.get() <= BITS, "{} frames were looked at", looked.get());
}

#[test]
fn what_is_stored_and_synced_again_and_again_leaves_no_more_than_a_bit() {
    let map = DirtMap::reserve(FRAMES).unwrap();
    for object in 1..10_000 {
        map.note(object, FrameNo(7));
    }
    assert!(map.exceeds(3, 0) && !map.exceeds(3, 1));
    assert_eq!(map.take_all().len(), CLASSES as usize);
    assert!(map.take_all().is_empty());
}

#[test]
fn the_last_frame_of_a_map_has_a_bit() {
    for frames in [1, 63, 64, 65, 512, 4_096, 4_097, 262_144, 262_145] {
        let map = DirtMap::reserve(frames).unwrap();
        let last = FrameNo(frames as u32 - 1);
        map.note(5, last);
        assert_eq!(map.take(6, |_| None), []);
        assert_eq!(map.take(5, |_| None), [last]);
        map.note(DirtMap::UNKNOWN, last);
        assert_eq!(map.take(6, |_| None), [last], "of {frames}");
    }
}
