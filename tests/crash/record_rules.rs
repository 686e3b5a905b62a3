//! The schedules of object records: the seal of a map, frames of slots that go back. As those of `store_rules`.

use crate::store_rules::{PAGE, START, Schedule, name, object};
use pagestone::media::rules::Rule;
use pagestone::units::Durability::{self, CacheLine, Fdatasync};
use pagestone_tests::crash::oracle::label;
use pagestone_tests::crash::run::Live;
use pagestone_tests::crash::script::Op;

const BOTH: &[(Durability, usize)] = &[(CacheLine, 64), (Fdatasync, 512)];
const LINES: &[(Durability, usize)] = &[(CacheLine, 64), (CacheLine, 8)];
/// More objects than there are slots kept free, and those of some frames more.
const MANY: usize = 88;

/// What a map comes to, and what the object's record says of it, change in one record.
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

/// A frame of free slots leaves their list, and its bit is cleared, in one record.
#[test]
fn a_frame_of_slots_goes_with_its_bit() {
    fn act(live: &Live) -> Result<(), String> {
        let make = |n: usize| {
            let object = live.fresh();
            live.run(0, Op::Create(object, name(0, &n.to_string()))).unwrap();
        };
        (0..MANY).for_each(make);
        live.run(0, Op::SyncAll).unwrap();
        for n in 0..MANY {
            live.run(0, Op::Unlink(name(0, &n.to_string()), true)).unwrap();
        }
        live.run(0, Op::SyncAll).unwrap();
        // The frames become something else.
        let a = live.fresh();
        live.run(0, Op::Create(a, name(0, "a"))).unwrap();
        live.run(0, Op::Write(a, 0, 40 * PAGE)).unwrap();
        live.run(0, Op::SyncAll).unwrap();
        Ok(())
    }
    // From a little before the first unlink on that gives a frame back.
    let since = label(0, MANY + 65, false);
    Schedule { rule: Rule::SlotsSplit, media: LINES, since, act }.holds_only_with_its_rule();
}
