//! Names: shortest and longest ones, many of them, and what rename replaces.

use super::*;
use crate::media::directory;
use crate::media::layout::LOG_FRAMES_MIN;
use crate::media::rules::Rule;

#[test]
fn names_of_1_and_255_bytes_and_of_any_byte_but_nul_work_and_others_are_refused() {
    let ledger = fresh();
    let every_byte: Vec<u8> = (1..=255).collect();
    let good =
        [b"a".to_vec(), vec![b'x'; 255], every_byte, vec![0xff; 8], vec![0x80; 7], b"a/../b \n".to_vec()];
    for name in &good {
        create(&ledger, name);
    }
    for bad in [vec![], vec![b'x'; 256], b"a\0".to_vec()] {
        let len = bad.len();
        let refused = |result| matches!(result, Err(Error::BadName { len: found }) if found == len);
        assert!(refused(ledger.create_object(&bad, ObjectKind::PLAIN).map(drop)));
        assert!(refused(ledger.lookup(&bad).map(drop)));
        assert!(refused(ledger.unlink(&bad).map(drop)));
        assert!(refused(ledger.rename(b"a", &bad).map(drop)));
    }
    let ledger = reopened(ledger);
    let mut listed: Vec<_> = ledger.list().unwrap().into_iter().map(|record| record.name).collect();
    let mut expected = good.to_vec();
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
    assert_sound(&ledger);
}

/// Frames of free slots that stay when objects go in the order in which they were made: those of the 64 kept slots, and
/// the frame that may not go yet.
const SLOT_FRAMES_KEPT: u64 = 9;

#[test]
fn ten_thousand_objects_are_found_listed_and_dropped() {
    let ledger = fresh();
    let name = |i: u32| format!("object number {i}").into_bytes();
    let slots: Vec<_> = (0..10_000).map(|i| create(&ledger, &name(i))).collect();
    let ledger = reopened(ledger);
    assert_eq!(ledger.objects().unwrap(), 10_000);
    for (i, slot) in slots.iter().enumerate() {
        assert_eq!(ledger.lookup(&name(i as u32)).unwrap(), Some(*slot));
    }
    assert_eq!(ledger.lookup(&name(10_000)).unwrap(), None);
    let mut listed: Vec<_> = ledger.list().unwrap().into_iter().map(|record| record.slot).collect();
    listed.sort();
    let mut expected = slots;
    expected.sort();
    assert_eq!(listed, expected);
    let full = assert_sound(&ledger);
    for i in 0..10_000 {
        let slot = ledger.unlink(&name(i)).unwrap();
        finish(|| ledger.drop_step(slot, &mut all_free));
    }
    let empty = assert_sound(&ledger);
    // Some frames with slots are kept; the other ones and every node below the directory's root went.
    let fixed = u64::from(layout::DIRECTORY_FRAME.0 + 1 + LOG_FRAMES_SMALL);
    assert_eq!((empty.objects, empty.used), (0, fixed + SLOT_FRAMES_KEPT));
    assert!(full.used > empty.used + 100 + 10_000 / 8 - SLOT_FRAMES_KEPT, "the directory had nodes");
}

#[test]
fn a_list_holds_the_lock_of_name_changes_for_a_portion_at_a_time() {
    let ledger = fresh();
    (0..3_000_u32).for_each(|i| _ = create(&ledger, i.to_string().as_bytes()));
    let (mut portions, mut listed, mut place) = (0, 0, Some(directory::Place::default()));
    while let Some(from) = place {
        let (records, next) = ledger.list_portion(from).unwrap();
        assert!(records.len() <= 300, "{} names at a time", records.len());
        (portions, listed, place) = (portions + 1, listed + records.len(), next);
    }
    assert_eq!(listed, 3_000);
    assert!(portions <= 60, "{portions} portions");
}

#[test]
fn names_with_equal_hashes_share_a_bucket_of_any_length() {
    // The directory has no spare frames, so chains cannot be spread and grow.
    let ledger =
        fresh_with(layout::file_bytes(layout::initial_frames(LOG_FRAMES_SMALL).into()), LOG_FRAMES_SMALL);
    let numbers = (0u32..).map(|i| i.to_string().into_bytes());
    let names: Vec<_> = numbers.filter(|name| ledger.log().name_hash(name) % 512 == 7).take(32).collect();
    for name in &names[..30] {
        create(&ledger, name);
    }
    let hog = ledger.allocate_to_free(ledger.free_frames().unwrap() as usize).unwrap();
    for name in &names[30..] {
        create(&ledger, name);
    }
    for (i, name) in names.iter().enumerate() {
        assert!(ledger.lookup(name).unwrap().is_some(), "{i}");
    }
    ledger.release(&hog).unwrap();
    assert_sound(&ledger);
    for name in names.iter().rev() {
        let slot = ledger.unlink(name).unwrap();
        finish(|| ledger.drop_step(slot, &mut all_free));
        assert_sound(&ledger);
    }
}

#[test]
fn rename_moves_the_name_and_returns_what_it_replaced() {
    let ledger = fresh();
    let (a, b) = (create(&ledger, b"a"), create(&ledger, b"b"));
    let pages = fill(&ledger, b, 0..10);
    assert_eq!(ledger.rename(b"a", b"a").unwrap(), Renamed { object: a, replaced: None });
    assert_eq!(ledger.rename(b"a", b"c").unwrap(), Renamed { object: a, replaced: None });
    assert!(matches!(ledger.rename(b"a", b"x"), Err(Error::NotFound { .. })));
    assert!(matches!(ledger.rename(b"a", b"a"), Err(Error::NotFound { .. })));
    assert_eq!(ledger.rename(b"c", b"b").unwrap(), Renamed { object: a, replaced: Some(b) });
    assert_eq!(ledger.lookup(b"b").unwrap(), Some(a));
    assert_eq!(ledger.lookup(b"c").unwrap(), None);
    assert_eq!(ledger.record(a).unwrap().name, b"b");
    // The replaced object is an orphan with its content until it is dropped, in this life or the next.
    assert_eq!(ledger.map(b, PageIndex(3)).unwrap(), Some(pages[3].1));
    let ledger = reopened(ledger);
    assert_eq!(ledger.orphans().unwrap(), [b]);
    assert_eq!(ledger.map(b, PageIndex(3)).unwrap(), Some(pages[3].1));
    assert!(matches!(ledger.drop_step(a, &mut all_free), Err(Error::Busy { .. })), "it has a name");
    finish(|| ledger.drop_step(b, &mut all_free));
    assert_eq!(assert_sound(&ledger).pages, 0);
}

#[test]
fn a_number_is_never_given_twice() {
    let ledger = fresh();
    let first = ledger.record(create(&ledger, b"a")).unwrap();
    ledger.unlink(b"a").unwrap();
    finish(|| ledger.drop_step(first.slot, &mut all_free));
    let ledger = reopened(ledger);
    let second = ledger.record(create(&ledger, b"a")).unwrap();
    assert_eq!(second.slot, first.slot);
    assert!(second.id > first.id);
}

#[test]
fn the_directory_takes_no_more_names_of_one_place_than_it_reads_back() {
    let ledger = fresh_with(2 << 20, LOG_FRAMES_MIN);
    // Slots for records, and no frame for a node that would spread the chain.
    let name = |i: u32| format!("early {i}").into_bytes();
    (0..120).for_each(|i| _ = create(&ledger, &name(i)));
    for i in 0..120 {
        let slot = ledger.unlink(&name(i)).unwrap();
        finish(|| ledger.drop_step(slot, &mut all_free));
    }
    let mut hog = Vec::new();
    while let Ok(frames) = ledger.allocate(1, None) {
        hog.extend(frames);
    }
    let place = |name: &Vec<u8>| ledger.log().name_hash(name) % 512;
    let first = b"n0".to_vec();
    let names = (0..).map(|i| format!("n{i}").into_bytes()).filter(|name| place(name) == place(&first));
    let mut made = Vec::new();
    for name in names {
        match ledger.create_object(&name, ObjectKind::PLAIN) {
            Ok(_) => made.push(name),
            Err(Error::NoSpace { why }) => {
                assert!(why.contains("no frame is left to spread them"), "{why}");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(made.len(), directory::longest(ledger.log()));
    assert!((8..=directory::CHAIN_MAX).contains(&made.len()));
    let mut listed: Vec<_> = ledger.list().unwrap().into_iter().map(|record| record.name).collect();
    listed.sort();
    let gone = made[7].clone();
    made.sort();
    assert_eq!(listed, made);
    let slot = ledger.unlink(&gone).unwrap();
    finish(|| ledger.drop_step(slot, &mut all_free));
    create(&ledger, &gone);
    assert_sound(&ledger);
    // As soon as there are frames again, one record spreads them all.
    ledger.release(&hog).unwrap();
    let longest_name =
        (0..).map(|i| format!("{i:0255}").into_bytes()).find(|name| place(name) == place(&first));
    create(&ledger, &longest_name.unwrap());
    assert_sound(&ledger);
}

/// A ledger in which names of the same length have the same hash, as if they were made with the key.
fn colliding(rules: Rules) -> Ledger {
    let region = region(Vec::new(), 1, 64 << 20);
    format(&region, LOG_FRAMES_SMALL).unwrap();
    ledger_of(region, rules.breaking(Rule::NamesUnkeyed)).unwrap()
}

#[test]
fn of_names_with_one_hash_as_many_are_taken_as_can_be_read_back() {
    let name = |i: usize| format!("{i:08}").into_bytes();
    let ledger = colliding(Rules::default());
    (0..directory::CHAIN_MAX).for_each(|i| _ = create(&ledger, &name(i)));
    let refused = |made| matches!(made, Err(Error::NameCollision { names: 64, .. }));
    assert!(refused(ledger.create_object(&name(64), ObjectKind::PLAIN).map(drop)));
    create(&ledger, b"x");
    assert!(refused(ledger.rename(b"x", &name(64)).map(drop)));
    assert_eq!(ledger.list().unwrap().len(), 65);
    assert_eq!(assert_sound(&ledger).objects, 65);
    // One of them goes, and another one may come; what replaces a name takes its place.
    ledger.rename(&name(7), b"longer than those").unwrap();
    create(&ledger, &name(64));
    assert!(refused(ledger.create_object(&name(65), ObjectKind::PLAIN).map(drop)));
    ledger.rename(b"x", &name(9)).unwrap();
    assert_eq!(ledger.list().unwrap().len(), 65);
    assert_sound(&ledger);

    let ledger = colliding(Rules::default().breaking(Rule::ChainUnbounded));
    (0..=directory::CHAIN_MAX).for_each(|i| _ = create(&ledger, &name(i)));
    assert!(matches!(ledger.list(), Err(Error::Corrupt { what: "directory", .. })));
    assert!(matches!(ledger.lookup(&name(0)), Err(Error::Corrupt { .. })));
    let report = ledger.check().unwrap();
    assert!(report.findings.iter().any(|finding| finding.name == "directory-chain"), "{report:#?}");
}

#[test]
fn names_that_come_and_go_leave_no_frames_of_records() {
    let ledger = fresh();
    let before = assert_sound(&ledger).used;
    let name = |i: u32| i.to_string().into_bytes();
    (0..100_000).for_each(|i| _ = create(&ledger, &name(i)));
    assert!(assert_sound(&ledger).used > before + 100_000 / 8);
    // Every third, then every other one, then the rest: the frames become free in no order.
    let mut slots: Vec<_> = (0..100_000).collect();
    slots.sort_by_key(|i| (if i % 3 == 0 { 0 } else { 1 + i % 2 }, *i));
    for i in slots {
        let slot = ledger.unlink(&name(i)).unwrap();
        finish(|| ledger.drop_step(slot, &mut all_free));
    }
    let after = assert_sound(&ledger).used;
    assert!(after <= before + 2 * SLOT_FRAMES_KEPT, "{after} frames are used, {before} were");
    // What was given back is used again, as records and as pages.
    let ledger = reopened(ledger);
    (0..1_000).for_each(|i| _ = create(&ledger, &name(i)));
    fill(&ledger, create(&ledger, b"pages"), 0..12_000);
    assert_sound(&ledger);
}

#[test]
fn a_slot_of_a_frame_that_was_given_back_belongs_to_no_object() {
    let ledger = fresh();
    let name = |i: u32| i.to_string().into_bytes();
    let slots: Vec<_> = (0..160).map(|i| create(&ledger, &name(i))).collect();
    for i in 0..160 {
        ledger.unlink(&name(i)).unwrap();
        finish(|| ledger.drop_step(slots[i as usize], &mut all_free));
    }
    ledger.log().checkpoint().unwrap();
    let free = ledger.free_frames().unwrap() as usize;
    let frames = ledger.allocate_to_free(free).unwrap();
    let (taken, kept): (Vec<_>, Vec<_>) =
        slots.iter().copied().partition(|slot: &ObjectSlot| frames.contains(&slot.frame()));
    assert!(taken.len() >= 80 && kept.len() >= 64, "{} and {}", taken.len(), kept.len());
    for frame in frames {
        ledger.log().region().memory().write(frame.offset(), &[0x5a; 4096]).unwrap();
    }
    for slot in slots {
        assert_eq!(ledger.resident(slot).unwrap(), None);
    }
}

#[test]
fn names_change_during_a_list() {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    let ledger = fresh();
    for i in 0..4_000 {
        create(&ledger, format!("stays {i}").as_bytes());
    }
    let (changes, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let most = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                create(&ledger, b"comes");
                let slot = ledger.unlink(b"comes").unwrap();
                finish(|| ledger.drop_step(slot, &mut all_free));
                changes.fetch_add(1, Ordering::Relaxed);
            }
        });
        let during = |_| {
            let before = changes.load(Ordering::Relaxed);
            ledger.list().unwrap();
            changes.load(Ordering::Relaxed) - before
        };
        let most = (0..20).map(during).max();
        stop.store(true, Ordering::Relaxed);
        most
    });
    // One may have been under way when the list began, and another when it ended.
    assert!(most > Some(2), "{most:?} changes");
}
