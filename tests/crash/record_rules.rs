//! The schedules of object records: the seal of a map, and frames of slots that are given back. They work like those of
//! `store_rules`.

use crate::store_rules::{PAGE, START, Schedule, name, object};
use pagestone::media::rules::Rule;
use pagestone::units::Durability::{self, CacheLine, Fdatasync};
use pagestone_tests::crash::oracle::label;
use pagestone_tests::crash::run::Live;
use pagestone_tests::crash::script::Op;

const BOTH: &[(Durability, usize)] = &[(CacheLine, 64), (Fdatasync, 512)];
const LINES: &[(Durability, usize)] = &[(CacheLine, 64)];
/// Objects whose records fill eleven frames. They are unlinked in the order in which they were made. A frame of slots
/// goes back with its last object, if 64 free slots are left elsewhere: the tenth frame is the first for which that is
/// so.
const OBJECTS: usize = 88;
const UNLINKED: usize = 80;

/// A map, and the seal of it in the object's record, change in one log record.
#[test]
fn a_map_and_its_seal_change_together() {
    fn act(live: &Live) -> Result<(), String> {
        let a = object(live, 0, "a", 3);
        live.run(0, Op::Write(a, 600 * PAGE, 2 * PAGE)).unwrap();
        live.run(0, Op::SetLen(a, 2 * PAGE)).unwrap();
        live.run(0, Op::SyncAll).unwrap();
        Ok(())
    }
    Schedule { rule: Rule::SealSplits, media: BOTH, since: START, act }.holds_only_with_its_rule();
}

/// One log record takes a frame of free slots from their list and clears the frame's bit.
#[test]
fn a_frame_of_slots_goes_with_its_bit() {
    fn act(live: &Live) -> Result<(), String> {
        let make = |n: usize| {
            let object = live.fresh();
            live.run(0, Op::Create(object, name(0, &n.to_string()))).unwrap();
        };
        (0..OBJECTS).for_each(make);
        live.run(0, Op::SyncAll).unwrap();
        for n in 0..UNLINKED {
            live.run(0, Op::Unlink(name(0, &n.to_string()), true)).unwrap();
        }
        live.run(0, Op::SyncAll).unwrap();
        // The frame becomes something else.
        let a = live.fresh();
        live.run(0, Op::Create(a, name(0, "a"))).unwrap();
        live.run(0, Op::Write(a, 0, 4 * PAGE)).unwrap();
        Ok(())
    }
    let since = label(0, OBJECTS + UNLINKED, false);
    Schedule { rule: Rule::SlotsSplit, media: LINES, since, act }.holds_only_with_its_rule();
}
