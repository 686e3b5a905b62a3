//! Names: their edges, many of them, and what rename replaces.

use super::*;
use crate::media::directory;
use crate::media::layout::LOG_FRAMES_MIN;
use crate::media::record::name_hash;

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
    // Record frames stay record frames; every node below the directory's root went.
    let fixed = u64::from(layout::first_free_frame(LOG_FRAMES_DEFAULT).0);
    assert_eq!((empty.objects, empty.used), (0, fixed + 10_000 / 8));
    assert!(full.used > empty.used + 100, "the directory had nodes");
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
    // Forced by a directory without spare frames: chains grow where they cannot be spread.
    let ledger =
        fresh_with(layout::file_bytes(layout::initial_frames(LOG_FRAMES_DEFAULT).into()), LOG_FRAMES_DEFAULT);
    let numbers = (0u32..).map(|i| i.to_string().into_bytes());
    let names: Vec<_> = numbers.filter(|name| name_hash(name) % 512 == 7).take(32).collect();
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
    assert_eq!(ledger.rename(b"a", b"a").unwrap(), None);
    assert_eq!(ledger.rename(b"a", b"c").unwrap(), None);
    assert!(matches!(ledger.rename(b"a", b"x"), Err(Error::NotFound { .. })));
    assert!(matches!(ledger.rename(b"a", b"a"), Err(Error::NotFound { .. })));
    assert_eq!(ledger.rename(b"c", b"b").unwrap(), Some(b));
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
    while ledger.allocate(1, None).is_ok() {}
    let place = |name: &Vec<u8>| name_hash(name) % 512;
    let first = b"n0".to_vec();
    let names = (0..).map(|i| format!("n{i}").into_bytes()).filter(|name| place(name) == place(&first));
    let mut made = Vec::new();
    for name in names {
        match ledger.create_object(&name, ObjectKind::PLAIN) {
            Ok(_) => made.push(name),
            Err(Error::NoSpace { why }) => {
                assert!(why.contains("place of this one in the directory"), "{why}");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(made.len(), directory::CHAIN_MAX);
    let mut listed: Vec<_> = ledger.list().unwrap().into_iter().map(|record| record.name).collect();
    listed.sort();
    let gone = made[7].clone();
    made.sort();
    assert_eq!(listed, made);
    let slot = ledger.unlink(&gone).unwrap();
    finish(|| ledger.drop_step(slot, &mut all_free));
    create(&ledger, &gone);
    assert_sound(&ledger);
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
