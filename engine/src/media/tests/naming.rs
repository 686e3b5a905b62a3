//! Names: their edges, many of them, and what rename replaces.

use super::*;
use crate::media::directory;
use crate::media::layout::LOG_FRAMES_MIN;
use crate::media::record::name_hash;

#[test]
fn names_of_1_and_255_bytes_and_of_any_byte_but_nul_work_and_others_are_refused() {
    let volume = fresh();
    let every_byte: Vec<u8> = (1..=255).collect();
    let good =
        [b"a".to_vec(), vec![b'x'; 255], every_byte, vec![0xff; 8], vec![0x80; 7], b"a/../b \n".to_vec()];
    for name in &good {
        create(&volume, name);
    }
    for bad in [vec![], vec![b'x'; 256], b"a\0".to_vec()] {
        let len = bad.len();
        let refused = |result| matches!(result, Err(Error::BadName { len: found }) if found == len);
        assert!(refused(volume.create_object(&bad, ObjectKind::PLAIN).map(drop)));
        assert!(refused(volume.lookup(&bad).map(drop)));
        assert!(refused(volume.unlink(&bad).map(drop)));
        assert!(refused(volume.rename(b"a", &bad).map(drop)));
    }
    let volume = reopened(volume);
    let mut listed: Vec<_> = volume.list().unwrap().into_iter().map(|record| record.name).collect();
    let mut expected = good.to_vec();
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
    assert_sound(&volume);
}

#[test]
fn ten_thousand_objects_are_found_listed_and_dropped() {
    let volume = fresh();
    let name = |i: u32| format!("object number {i}").into_bytes();
    let slots: Vec<_> = (0..10_000).map(|i| create(&volume, &name(i))).collect();
    let volume = reopened(volume);
    assert_eq!(volume.objects().unwrap(), 10_000);
    for (i, slot) in slots.iter().enumerate() {
        assert_eq!(volume.lookup(&name(i as u32)).unwrap(), Some(*slot));
    }
    assert_eq!(volume.lookup(&name(10_000)).unwrap(), None);
    let mut listed: Vec<_> = volume.list().unwrap().into_iter().map(|record| record.slot).collect();
    listed.sort();
    let mut expected = slots;
    expected.sort();
    assert_eq!(listed, expected);
    let full = assert_sound(&volume);
    for i in 0..10_000 {
        let slot = volume.unlink(&name(i)).unwrap();
        finish(|| volume.drop_step(slot, &mut all_free));
    }
    let empty = assert_sound(&volume);
    // Record frames stay record frames; every node below the directory's root went.
    let fixed = u64::from(layout::first_free_frame(LOG_FRAMES_DEFAULT).0);
    assert_eq!((empty.objects, empty.used), (0, fixed + 10_000 / 8));
    assert!(full.used > empty.used + 100, "the directory had nodes");
}

#[test]
fn a_list_holds_the_lock_of_name_changes_for_a_portion_at_a_time() {
    let volume = fresh();
    (0..3_000_u32).for_each(|i| _ = create(&volume, i.to_string().as_bytes()));
    let (mut portions, mut listed, mut place) = (0, 0, Some(directory::Place::default()));
    while let Some(from) = place {
        let (records, next) = volume.list_portion(from).unwrap();
        assert!(records.len() <= 300, "{} names at a time", records.len());
        (portions, listed, place) = (portions + 1, listed + records.len(), next);
    }
    assert_eq!(listed, 3_000);
    assert!(portions <= 60, "{portions} portions");
}

#[test]
fn names_with_equal_hashes_share_a_bucket_of_any_length() {
    // Forced by a directory without spare frames: chains grow where they cannot be spread.
    let volume = fresh_with(layout::file_bytes(layout::FRAMES_INITIAL.into()), LOG_FRAMES_DEFAULT);
    let numbers = (0u32..).map(|i| i.to_string().into_bytes());
    let names: Vec<_> = numbers.filter(|name| name_hash(name) % 512 == 7).take(32).collect();
    for name in &names[..30] {
        create(&volume, name);
    }
    let hog = volume.allocate_to_free(volume.free_frames().unwrap() as usize).unwrap();
    for name in &names[30..] {
        create(&volume, name);
    }
    for (i, name) in names.iter().enumerate() {
        assert!(volume.lookup(name).unwrap().is_some(), "{i}");
    }
    volume.release(&hog).unwrap();
    assert_sound(&volume);
    for name in names.iter().rev() {
        let slot = volume.unlink(name).unwrap();
        finish(|| volume.drop_step(slot, &mut all_free));
        assert_sound(&volume);
    }
}

#[test]
fn rename_moves_the_name_and_returns_what_it_replaced() {
    let volume = fresh();
    let (a, b) = (create(&volume, b"a"), create(&volume, b"b"));
    let pages = fill(&volume, b, 0..10);
    assert_eq!(volume.rename(b"a", b"a").unwrap(), None);
    assert_eq!(volume.rename(b"a", b"c").unwrap(), None);
    assert!(matches!(volume.rename(b"a", b"x"), Err(Error::NotFound { .. })));
    assert!(matches!(volume.rename(b"a", b"a"), Err(Error::NotFound { .. })));
    assert_eq!(volume.rename(b"c", b"b").unwrap(), Some(b));
    assert_eq!(volume.lookup(b"b").unwrap(), Some(a));
    assert_eq!(volume.lookup(b"c").unwrap(), None);
    assert_eq!(volume.record(a).unwrap().name, b"b");
    // The replaced object is an orphan with its content until it is dropped, in this life or the next.
    assert_eq!(volume.map(b, PageIndex(3)).unwrap(), Some(pages[3].1));
    let volume = reopened(volume);
    assert_eq!(volume.orphans().unwrap(), [b]);
    assert_eq!(volume.map(b, PageIndex(3)).unwrap(), Some(pages[3].1));
    assert!(matches!(volume.drop_step(a, &mut all_free), Err(Error::Busy { .. })), "it has a name");
    finish(|| volume.drop_step(b, &mut all_free));
    assert_eq!(assert_sound(&volume).pages, 0);
}

#[test]
fn a_number_is_never_given_twice() {
    let volume = fresh();
    let first = volume.record(create(&volume, b"a")).unwrap();
    volume.unlink(b"a").unwrap();
    finish(|| volume.drop_step(first.slot, &mut all_free));
    let volume = reopened(volume);
    let second = volume.record(create(&volume, b"a")).unwrap();
    assert_eq!(second.slot, first.slot);
    assert!(second.id > first.id);
}

#[test]
fn the_directory_takes_no_more_names_of_one_place_than_it_reads_back() {
    let volume = fresh_with(2 << 20, LOG_FRAMES_MIN);
    // Slots for records, and no frame for a node that would spread the chain.
    let name = |i: u32| format!("early {i}").into_bytes();
    (0..120).for_each(|i| _ = create(&volume, &name(i)));
    for i in 0..120 {
        let slot = volume.unlink(&name(i)).unwrap();
        finish(|| volume.drop_step(slot, &mut all_free));
    }
    while volume.allocate(1, None).is_ok() {}
    let place = |name: &Vec<u8>| name_hash(name) % 512;
    let first = b"n0".to_vec();
    let names = (0..).map(|i| format!("n{i}").into_bytes()).filter(|name| place(name) == place(&first));
    let mut made = Vec::new();
    for name in names {
        match volume.create_object(&name, ObjectKind::PLAIN) {
            Ok(_) => made.push(name),
            Err(Error::NoSpace { why }) => {
                assert!(why.contains("place of this one in the directory"), "{why}");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(made.len(), directory::CHAIN_MAX);
    let mut listed: Vec<_> = volume.list().unwrap().into_iter().map(|record| record.name).collect();
    listed.sort();
    let gone = made[7].clone();
    made.sort();
    assert_eq!(listed, made);
    let slot = volume.unlink(&gone).unwrap();
    finish(|| volume.drop_step(slot, &mut all_free));
    create(&volume, &gone);
    assert_sound(&volume);
}

#[test]
fn names_change_during_a_list() {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    let volume = fresh();
    for i in 0..4_000 {
        create(&volume, format!("stays {i}").as_bytes());
    }
    let (changes, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let most = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                create(&volume, b"comes");
                let slot = volume.unlink(b"comes").unwrap();
                finish(|| volume.drop_step(slot, &mut all_free));
                changes.fetch_add(1, Ordering::Relaxed);
            }
        });
        let during = |_| {
            let before = changes.load(Ordering::Relaxed);
            volume.list().unwrap();
            changes.load(Ordering::Relaxed) - before
        };
        let most = (0..20).map(during).max();
        stop.store(true, Ordering::Relaxed);
        most
    });
    // One may have been under way when the list began, and another when it ended.
    assert!(most > Some(2), "{most:?} changes");
}
