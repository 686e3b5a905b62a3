//! The rules that the structures keep, and what happens with each switched off: a test that passes either way proves
//! nothing.

use super::*;
use crate::media::layout::{DIRECTORY_FRAME, GROUP_FRAMES, RootWord, file_bytes, initial_frames};
use crate::media::rules::Rule;
use crate::persist::{Event, Recorder};

fn with(rules: Rules, max_bytes: u64) -> Ledger {
    let region = region(Vec::new(), 1, max_bytes);
    format(&region, LOG_FRAMES_SMALL).unwrap();
    ledger_of(region, rules).unwrap()
}

/// Checks that `holds` is true with all rules kept, and false with `rule` broken.
fn needs(rule: Rule, max_bytes: u64, holds: impl Fn(Ledger) -> bool) {
    assert!(holds(with(Rules::default(), max_bytes)), "{rule:?} kept");
    assert!(!holds(with(Rules::default().breaking(rule), max_bytes)), "{rule:?} broken");
}

#[test]
fn a_node_that_becomes_data_is_not_overwritten_by_a_replay() {
    needs(Rule::RoleReuse, file_bytes(initial_frames(LOG_FRAMES_SMALL).into()), |ledger| {
        let slot = create(&ledger, b"a");
        fill(&ledger, slot, 0..2);
        let node = FrameNo(ledger.log().read(slot.offset() + 24).unwrap() as u32);
        ledger.unlink(b"a").unwrap();
        finish(|| ledger.drop_step(slot, &mut all_free));
        // A commit leaves the tail where it is: all this will be replayed.
        ledger.log().commit(ledger.log().head()).unwrap();
        let all = ledger.allocate_to_free(ledger.free_frames().unwrap() as usize).unwrap();
        assert!(all.contains(&node));
        ledger.log().region().memory().write(node.offset(), &[0x5a; 4096]).unwrap();
        ledger.link(create(&ledger, b"b"), &[(PageIndex(0), node)], None).unwrap();
        ledger.log().commit(ledger.log().head()).unwrap();
        let max = ledger.log().region().window_bytes();
        let after = ledger_of(region(image(ledger.log()), 2, max), Rules::default()).unwrap();
        let mut bytes = [0; 4096];
        after.log().region().memory().read(node.offset(), &mut bytes).unwrap();
        bytes == [0x5a; 4096]
    });
}

#[test]
fn pages_that_were_linked_after_a_truncate_outlive_its_recovery() {
    needs(Rule::GrowWhileTruncating, 1 << 20, |ledger| {
        let slot = create(&ledger, b"a");
        fill(&ledger, slot, 0..4);
        ledger.set_size(slot, 4 * 4096, true).unwrap();
        ledger.begin_truncate(slot, 4096).unwrap();
        let frame = ledger.allocate(1, None).unwrap();
        let pairs = [(PageIndex(9), frame[0])];
        if ledger.link(slot, &pairs, Some(10 * 4096)).is_err() {
            finish(|| ledger.truncate_step(slot, &mut all_free));
            ledger.link(slot, &pairs, Some(10 * 4096)).unwrap();
        }
        let ledger = reopened(ledger);
        for slot in ledger.orphans().unwrap() {
            finish(|| ledger.truncate_step(slot, &mut all_free));
        }
        ledger.map(slot, PageIndex(9)).unwrap() == Some(frame[0])
    });
}

#[test]
fn a_group_begins_with_one_record_and_no_bit_changes_without_its_tally() {
    let records = |ledger: &Ledger, run: &dyn Fn()| {
        let before = ledger.log().head().0;
        run();
        ledger.log().head().0 - before
    };
    for rule in [Rule::BitmapLater, Rule::TallyApart] {
        needs(rule, file_bytes(2 * GROUP_FRAMES), |ledger| {
            // One record: there is no state between the group and the bitmap ahead, or between bit and tally.
            records(&ledger, &|| {
                let frames = ledger.allocate(GROUP_FRAMES as usize, None).unwrap();
                ledger.release(&frames).unwrap();
            }) == 1
        });
    }
}

#[test]
fn a_pinned_frame_is_given_to_no_other_object() {
    needs(Rule::ReuseBeforeUnpin, file_bytes(initial_frames(LOG_FRAMES_SMALL).into()), |ledger| {
        let slot = create(&ledger, b"a");
        let pinned = fill(&ledger, slot, 0..1)[0].1;
        ledger.unlink(b"a").unwrap();
        finish(|| ledger.drop_step(slot, &mut each(|_, _| Fate::Busy)));
        ledger.log().checkpoint().unwrap();
        let all = ledger.allocate_to_free(ledger.free_frames().unwrap() as usize).unwrap();
        !all.contains(&pinned)
    });
}

#[test]
fn no_record_of_a_step_leaves_a_frame_with_two_owners_or_none() {
    needs(Rule::StepSplits, 1 << 20, |ledger| {
        let slot = create(&ledger, b"a");
        fill(&ledger, slot, 0..4);
        ledger.unlink(b"a").unwrap();
        let before = ledger.log().stats().records;
        finish(|| ledger.drop_step(slot, &mut all_free));
        // One record: there is no state between bit and word.
        ledger.log().stats().records == before + 1
    });
}

/// Zeroes a leaf of an object's map and the root of the directory. Returns what the object then shows for a page, and
/// what a second `create` with its name returns.
fn with_zeroed_nodes(rules: Rules) -> (Result<Option<FrameNo>>, Result<ObjectSlot>) {
    let ledger = with(rules, 1 << 24);
    let slot = create(&ledger, b"a");
    fill(&ledger, slot, 0..600);
    ledger.log().checkpoint().unwrap();
    let root = FrameNo(ledger.log().read(slot.offset() + 24).unwrap() as u32);
    let leaf = FrameNo(ledger.log().read(root.offset()).unwrap() as u32);
    let memory = ledger.log().region().memory();
    memory.write(leaf.offset(), &[0; 4096]).unwrap();
    let page = ledger.map(slot, PageIndex(7));
    memory.write(DIRECTORY_FRAME.offset(), &[0; 4096]).unwrap();
    (page, ledger.create_object(b"a", ObjectKind::PLAIN))
}

/// Zeros are what a hole in the file shows, or a lost write.
#[test]
fn a_node_that_comes_back_as_zeros_is_damage_and_not_empty() {
    let (page, made) = with_zeroed_nodes(Rules::default());
    let Err(Error::Corrupt { what: "object map", at, why }) = page else { panic!("{page:?}") };
    assert!(
        at % 4096 == 7 * 8
            && why == format!("word 0x7 of frame {:#x} is zero, as nothing writes it", at / 4096)
    );
    assert!(matches!(made, Err(Error::Corrupt { what: "directory", .. })), "{made:?}");
    let (page, made) = with_zeroed_nodes(Rules::default().breaking(Rule::EmptyZero));
    assert!(matches!(page, Ok(None)), "a page that was lost is a hole: {page:?}");
    assert!(made.is_ok(), "a name has a second object: {made:?}");
}

/// The number of a second object, after the first root's word for the next number was set back.
fn number_after_rot(rules: Rules) -> Result<u64> {
    let ledger = with(rules, 1 << 24);
    create(&ledger, b"a");
    ledger.log().checkpoint().unwrap();
    let at = ledger.log().roots().at(RootWord::NextObject);
    ledger.log().region().memory().store(at, 1)?;
    let second = ledger.create_object(b"b", ObjectKind::PLAIN)?;
    assert!(ledger.check()?.is_clean());
    Ok(ledger.record(second)?.id)
}

#[test]
fn a_number_that_rots_in_mid_life_is_not_given_out_again() {
    assert_eq!(number_after_rot(Rules::default()).unwrap(), 2);
    let one = number_after_rot(Rules::default().breaking(Rule::OneRoot));
    assert!(matches!(one, Err(Error::Corrupt { what: "root", .. })), "{one:?}");
}

#[test]
fn no_record_leaves_a_map_and_its_seal_apart() {
    needs(Rule::SealSplits, 1 << 20, |ledger| {
        let slot = create(&ledger, b"a");
        let frames = ledger.allocate(2, None).unwrap();
        let before = ledger.log().stats().records;
        ledger.link(slot, &[(PageIndex(0), frames[0]), (PageIndex(9), frames[1])], None).unwrap();
        ledger.log().stats().records == before + 1
    });
}

#[test]
fn no_record_leaves_a_frame_of_slots_neither_listed_nor_free() {
    needs(Rule::SlotsSplit, 1 << 20, |ledger| {
        let slots: Vec<_> = (0..100_u8).map(|i| create(&ledger, &[i + 1])).collect();
        let mut most = 0;
        for (i, slot) in (0..100_u8).zip(slots) {
            ledger.unlink(&[i + 1]).unwrap();
            let before = ledger.log().stats().records;
            finish(|| ledger.drop_step(slot, &mut all_free));
            most = most.max(ledger.log().stats().records - before);
        }
        most == 1
    });
}

/// The header that an opening has read may be only in the page cache. A power loss shows the one before, whose records need
/// what their payloads' frames held.
#[test]
fn no_free_frame_is_used_before_what_a_dead_process_left_is_durable() {
    let dead = fresh();
    let slot = create(&dead, b"a");
    fill(&dead, slot, 0..8_000);
    dead.unlink(b"a").unwrap();
    finish(|| dead.drop_step(slot, &mut all_free));
    dead.log().checkpoint().unwrap();
    let takes = |ledger: &Ledger| drop(ledger.allocate(1, None).unwrap());
    let gives_back = |ledger: &Ledger| {
        ledger.free_frames().unwrap();
        ledger.return_surplus(false).unwrap();
    };
    let uses: [(fn(&Ledger), bool); 2] = [(takes, false), (gives_back, true)];
    for (used, punches) in uses {
        let recorder = Recorder::new();
        let options = RegionOptions {
            assume: Some(Durability::Fdatasync),
            identity: Some(Identity::plain([1; 16], 1, 2, 3)),
            recorder: Some(Arc::clone(&recorder)),
            ..RegionOptions::default()
        };
        let region = Region::attach(Source::Image(image(dead.log())), &options).unwrap();
        let ledger = ledger_of(region, Rules::default()).unwrap();
        let _ = recorder.take();
        used(&ledger);
        let events = recorder.take();
        let sync = events.iter().position(|event| matches!(event, Event::SyncEnd { .. })).expect("a sync");
        let uses = |event: &Event| matches!(event, Event::Store { .. } | Event::Punch { .. });
        assert!(!events[..sync].iter().any(uses), "{events:?}");
        assert_eq!(events[sync..].iter().any(uses), punches);
    }
}
