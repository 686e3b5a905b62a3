//! Frames: each is taken once and not reused too early, the region grows in steps, and all frames can be used.

use super::*;
use crate::media::allocator::KEPT_FOR_FREEING;
use crate::media::layout::{GROUP_FRAMES, file_bytes, initial_frames};
use crate::units::FRAME_SIZE;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

fn used(ledger: &Ledger) -> u64 {
    assert_sound(ledger).used
}

#[test]
fn a_fresh_region_is_at_most_512_kib_and_sound() {
    let ledger = fresh();
    assert!(ledger.log().region().len_bytes() <= 512 << 10);
    let counts = assert_sound(&ledger);
    assert_eq!((counts.objects, counts.pages), (0, 0));
    assert_eq!(counts.free, ledger.free_frames().unwrap());
}

#[test]
fn frames_come_in_one_run_behind_the_one_named() {
    let ledger = fresh();
    let first = ledger.allocate(8, None).unwrap();
    assert!(first.windows(2).all(|w| w[0].0 + 1 == w[1].0));
    let gap = ledger.allocate(3, Some(first[7])).unwrap();
    assert_eq!(gap[0].0, first[7].0 + 1);
    let next = ledger.allocate(4, Some(gap[2])).unwrap();
    assert_eq!(next[0].0, gap[2].0 + 1);
    ledger.release(&gap).unwrap();
    assert_eq!(ledger.allocate(4, Some(first[7])).unwrap()[0].0, next[3].0 + 1, "three are no run of four");
    assert_eq!(ledger.allocate(3, None).unwrap()[0], FrameNo(13), "three are free before the log");
    assert_eq!(ledger.allocate(3, None).unwrap(), gap);
}

#[test]
fn frames_are_found_as_fast_among_fragments_as_in_a_fresh_region() {
    const GROUPS: u64 = 40;
    let ledger = fresh_with(file_bytes(GROUPS * GROUP_FRAMES), LOG_FRAMES_SMALL);
    let append = |near| {
        let before = ledger.allocator.looks();
        let frames = ledger.allocate(4, near).unwrap();
        (frames, ledger.allocator.looks() - before)
    };
    let (first, fresh) = append(None);
    // What lies right behind is not searched for.
    assert_eq!(append(first.last().copied()).1, 0);
    let most = ledger.allocate((GROUPS * GROUP_FRAMES - 2 * GROUPS - 100) as usize, None).unwrap();
    while ledger.allocate_to_free(1).is_ok() {}
    let every_other: Vec<_> = most.iter().copied().step_by(2).collect();
    ledger.release(&every_other).unwrap();
    for near in [None, first.last().copied(), most.get(GROUP_FRAMES as usize * 9).copied()] {
        let (frames, looks) = append(near);
        assert!(frames.iter().all(|frame| every_other.contains(frame)), "no four of them lie side by side");
        // Blocks without structures are searched first, then all.
        assert!(looks <= 20 * fresh, "{looks} looks, and {fresh} in a fresh region");
    }
    // The only run of four among them all is found, too.
    let run = &most[GROUP_FRAMES as usize * 17..][..4];
    ledger.release(run).unwrap();
    let (frames, looks) = append(None);
    assert_eq!(frames[..3], run[..3]);
    assert!(looks <= 20 * fresh, "{looks} looks");
}

#[test]
fn what_is_looked_at_to_map_and_to_free_grows_with_the_pages_and_not_with_their_leaves() {
    // Pages side by side, and each in a leaf of its own.
    for (distance, a_page) in [(1, 0.2), (512, 4.0)] {
        let ledger = fresh_with(file_bytes(4 * GROUP_FRAMES), 1024);
        let slot = create(&ledger, b"a");
        let pages = 2_000;
        fill(&ledger, slot, (0..pages).map(|n| n * distance));
        let looks = |ledger: &Ledger, run: &mut dyn FnMut()| {
            let before = ledger.log().looks();
            run();
            (ledger.log().looks() - before) as f64 / pages as f64
        };
        let found = looks(&ledger, &mut || {
            let all = ledger.mapped(slot, PageIndex(0)..PageIndex(u64::MAX), usize::MAX).unwrap();
            assert_eq!(all.len() as u64, pages);
        });
        ledger.unlink(b"a").unwrap();
        let freed = looks(&ledger, &mut || finish(|| ledger.drop_step(slot, &mut all_free)));
        assert!(
            found <= a_page / 2.0 && freed <= a_page,
            "{found} and {freed} looks a page, {distance} apart"
        );
        assert_sound(&ledger);
    }
}

#[test]
fn release_leaves_linked_frames_alone() {
    let ledger = fresh();
    let slot = create(&ledger, b"a");
    let linked: Vec<_> = fill(&ledger, slot, 0..4).into_iter().map(|(_, frame)| frame).collect();
    ledger.release(&linked).unwrap();
    let again = ledger.allocate(20, None).unwrap();
    assert!(linked.iter().all(|frame| !again.contains(frame)));
}

#[test]
fn a_full_region_says_so_changes_nothing_and_works_again_after_a_drop() {
    for log_frames in [4, LOG_FRAMES_SMALL] {
        let ledger = fresh_with(file_bytes(200), log_frames);
        let slot = create(&ledger, b"a");
        create(&ledger, b"b");
        let mut page = 0;
        while let Ok(frames) = ledger.allocate(1, None) {
            match ledger.link(slot, &[(PageIndex(page), frames[0])], None) {
                Ok(_) => page += 1,
                Err(error) => {
                    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
                    ledger.release(&frames).unwrap();
                    break;
                }
            }
        }
        assert_eq!((ledger.frames(), ledger.free_frames().unwrap()), (200, KEPT_FOR_FREEING));
        assert!(matches!(ledger.allocate(1, None), Err(Error::NoSpace { .. })));
        assert_eq!(assert_sound(&ledger).pages, page);
        // Punched pages are first noted in the busy table, which has a frame.
        finish(|| ledger.punch_step(slot, PageIndex(0)..PageIndex(1), &mut all_free));
        assert_eq!(assert_sound(&ledger).pages, page - 1);
        // Names can still change, and truncate needs no frame if nothing is pinned.
        ledger.rename(b"b", b"c").unwrap();
        ledger.unlink(b"a").unwrap();
        finish(|| ledger.drop_step(slot, &mut all_free));
        assert_eq!(ledger.allocate(page as usize, None).unwrap().len() as u64, page);
    }
}

#[test]
fn a_freed_frame_is_not_handed_out_before_its_record_is_passed() {
    let ledger = fresh_with(file_bytes(initial_frames(LOG_FRAMES_SMALL).into()), LOG_FRAMES_SMALL);
    let slot = create(&ledger, b"a");
    let n = ledger.free_frames().unwrap() - 1 - KEPT_FOR_FREEING;
    let old: BTreeSet<_> = fill(&ledger, slot, 0..n).into_iter().map(|(_, frame)| frame).collect();
    ledger.log().checkpoint().unwrap();
    ledger.begin_truncate(slot, 0).unwrap();
    finish(|| ledger.truncate_step(slot, &mut all_free));
    let freed = ledger.log().head();
    assert!(ledger.log().passed() < freed);
    // Only freed frames are left: the allocator moves the tail itself, and only then takes them.
    let again = ledger.allocate(10, None).unwrap();
    assert!(again.iter().any(|frame| old.contains(frame)));
    assert!(ledger.log().passed() >= freed);
}

#[test]
fn growth_crosses_groups_and_is_found_again() {
    let ledger = fresh_with(3 * GROUP_FRAMES * 4096, LOG_FRAMES_SMALL);
    let slot = create(&ledger, b"a");
    let wanted = GROUP_FRAMES * 2;
    let mut page = 0;
    while page < wanted {
        fill(&ledger, slot, page..page + 4096);
        page += 4096;
    }
    assert!(ledger.frames() > wanted);
    let ledger = reopened(ledger);
    assert_eq!(assert_sound(&ledger).pages, wanted);
    assert_eq!(ledger.log().region().len_bytes() / 4096, ledger.frames() + 1);
    let before = ledger.map_range(slot, PageIndex(0), wanted as usize).unwrap();
    let distinct: BTreeSet<_> = before.iter().flatten().collect();
    assert_eq!(distinct.len() as u64, wanted);
    ledger.unlink(b"a").unwrap();
    finish(|| ledger.drop_step(slot, &mut all_free));
    assert_eq!(assert_sound(&ledger).pages, 0);
}

#[test]
fn empty_nodes_go_with_the_step_that_empties_them() {
    let ledger = fresh();
    let slot = create(&ledger, b"a");
    let before = used(&ledger);
    let sparse: Vec<u64> = (0..300).map(|i| i * 100_000).collect();
    fill(&ledger, slot, sparse.iter().copied());
    assert!(used(&ledger) > before + 600);
    finish(|| ledger.punch_step(slot, PageIndex(1)..PageIndex(PAGES_MAX), &mut all_free));
    ledger.log().checkpoint().unwrap();
    let kept = used(&ledger) - before;
    assert!(kept <= 5 + 1, "page 0, its path, a frame of the busy table: {kept}");
    finish(|| ledger.punch_step(slot, PageIndex(0)..PageIndex(1), &mut all_free));
    assert_eq!(used(&ledger), before + 1);
}

#[test]
fn busy_frames_outlive_truncate_drop_and_crash_and_are_freed_once() {
    let ledger = fresh();
    let slot = create(&ledger, b"a");
    let pages = fill(&ledger, slot, 0..1000);
    ledger.begin_truncate(slot, 0).unwrap();
    assert_eq!(ledger.map(slot, PageIndex(0)).unwrap(), None, "cut off at once");
    finish(|| {
        ledger.truncate_step(slot, &mut each(|page, _| if page.0 % 2 == 0 { Fate::Busy } else { Fate::Free }))
    });
    assert!(!ledger.truncating(slot).unwrap() && ledger.orphans().unwrap().is_empty());
    let busy: BTreeSet<_> =
        pages.iter().filter(|(page, _)| page.0 % 2 == 0).map(|&(_, frame)| frame).collect();
    assert_eq!(ledger.busy_frames().unwrap().into_iter().collect::<BTreeSet<_>>(), busy);
    ledger.unlink(b"a").unwrap();
    finish(|| ledger.drop_step(slot, &mut all_free));
    ledger.log().checkpoint().unwrap();
    assert!(ledger.allocate(2000, None).unwrap().iter().all(|frame| !busy.contains(frame)));
    let ledger = reopened(ledger);
    assert_eq!(assert_sound(&ledger).busy, 500);
    let frames: Vec<_> = busy.into_iter().collect();
    ledger.free_busy(&frames[..7]).unwrap();
    ledger.free_busy(&frames).unwrap();
    ledger.free_busy(&frames).unwrap();
    assert_eq!(assert_sound(&ledger).busy, 0);
    assert!(ledger.busy_frames().unwrap().is_empty());
}

#[test]
fn an_object_does_not_grow_while_it_is_truncated() {
    let ledger = fresh();
    let slot = create(&ledger, b"a");
    fill(&ledger, slot, 0..10);
    ledger.set_size(slot, 10 * 4096, true).unwrap();
    ledger.begin_truncate(slot, 4097).unwrap();
    assert_eq!(ledger.record(slot).unwrap().truncating, Some(2));
    assert!(matches!(ledger.set_size(slot, 2 * 4096 + 1, true), Err(Error::Busy { .. })));
    let frame = ledger.allocate(1, None).unwrap()[0];
    assert!(matches!(ledger.link(slot, &[(PageIndex(2), frame)], None), Err(Error::Busy { .. })));
    ledger.set_size(slot, 2 * 4096, true).unwrap();
    assert!(matches!(ledger.begin_truncate(slot, 3 * 4096), Err(Error::OutOfRange { .. })));
    let ledger = reopened(ledger);
    assert_eq!(ledger.orphans().unwrap(), [slot]);
    finish(|| ledger.truncate_step(slot, &mut all_free));
    let frame = ledger.allocate(1, None).unwrap()[0];
    ledger.link(slot, &[(PageIndex(2), frame)], Some(3 * 4096)).unwrap();
    assert_eq!(assert_sound(&ledger).pages, 3);
}

#[test]
fn a_mapped_page_is_not_linked_over() {
    let ledger = fresh();
    let slot = create(&ledger, b"a");
    fill(&ledger, slot, 5..6);
    let frames = ledger.allocate(3, None).unwrap();
    for pages in [[4, 5, 6], [1, 1, 2], [1, 2, 1 << 36]] {
        let pairs: Vec<_> = pages.into_iter().map(PageIndex).zip(frames.iter().copied()).collect();
        assert!(ledger.link(slot, &pairs, Some(1)).is_err());
    }
    ledger.release(&frames).unwrap();
    assert_eq!((assert_sound(&ledger).pages, ledger.record(slot).unwrap().size), (1, 0));
}

#[test]
fn scattered_free_frames_are_looked_at_once_and_not_with_every_change() {
    const GROUPS: u64 = 2;
    let ledger = fresh_with(file_bytes(GROUPS * GROUP_FRAMES), LOG_FRAMES_SMALL);
    let most = ledger.allocate((GROUPS * GROUP_FRAMES - 2 * GROUPS - 100) as usize, None).unwrap();
    let (scattered, rest): (Vec<_>, Vec<_>) = most.iter().copied().partition(|frame| frame.0 % 2 == 0);
    ledger.release(&scattered).unwrap();
    let looks = || {
        let before = ledger.allocator.looks();
        ledger.return_surplus(false).unwrap();
        ledger.allocator.looks() - before
    };
    let first = looks();
    assert!(first > scattered.len() as u64, "{first} looks");
    assert_eq!(looks(), 0);
    // Some more make no difference. Many more may lie side by side, and then they are used.
    ledger.release(&rest[..100]).unwrap();
    assert_eq!(looks(), 0);
    let free = ledger.allocator.free_with_blocks().unwrap();
    ledger.release(&rest[rest.len() - 3_000..]).unwrap();
    assert!(looks() > 0);
    assert!(ledger.allocator.free_with_blocks().unwrap() < free);
}

#[test]
fn a_frame_that_is_pinned_in_vain_is_left_alone_and_used_when_the_pin_has_gone() {
    let ledger = fresh_with(file_bytes(initial_frames(LOG_FRAMES_SMALL).into()), LOG_FRAMES_SMALL);
    let pfn = |frame| ledger.log().region().pfn(frame);
    let table = crate::frame::FrameTable::global();
    let all = ledger.free_frames().unwrap();
    let first = ledger.allocate(1, None).unwrap()[0];
    ledger.release(&[first]).unwrap();
    let _ = table.pin(pfn(first));
    assert_eq!(table.peek(pfn(first)).map(|now| now.pins()), Some(1));
    let others = ledger.allocate_to_free(all as usize - 1).unwrap();
    assert!(!others.contains(&first), "another frame is taken");
    assert!(matches!(ledger.allocate_to_free(1), Err(Error::NoSpace { .. })));
    ledger.release(&others).unwrap();
    assert_eq!(ledger.free_frames().unwrap(), all, "it is counted");
    let _ = table.unpin(pfn(first));
    assert!(ledger.allocate_to_free(all as usize).unwrap().contains(&first));
}

#[test]
fn what_a_device_has_beyond_the_frames_is_room() {
    let mut device = image(fresh().log());
    device.resize(device.len() + 1000 * FRAME_SIZE, 0);
    let length = device.len() as u64;
    let ledger = ledger_of(region(device, 1, length), Rules::default()).unwrap();
    let most = ledger.most_frames(2000).unwrap();
    assert_eq!(most, 1000 + ledger.free_frames().unwrap());
    let frames = ledger.allocate(1000, None).unwrap();
    ledger.release(&frames).unwrap();
    assert_sound(&ledger);
}

#[test]
fn a_region_does_not_grow_much_for_a_look_at_one_moment() {
    let ledger = fresh_with(file_bytes(3 * GROUP_FRAMES), LOG_FRAMES_SMALL);
    let ((), snapshot) = ledger.log().snapshot(|| Ok(())).unwrap();
    for round in 0..40_u8 {
        let slot = create(&ledger, &[b'a' + round % 26]);
        fill(&ledger, slot, 0..1_000);
        ledger.unlink(&[b'a' + round % 26]).unwrap();
        finish(|| ledger.drop_step(slot, &mut all_free));
        ledger.log().checkpoint().unwrap();
    }
    assert!(ledger.frames() < 8_000, "{} frames", ledger.frames());
    drop(snapshot);
    assert_sound(&ledger);
}

#[test]
fn the_groups_are_free_for_other_calls_between_the_bitmaps_that_a_count_reads() {
    const GROUPS: u64 = 40;
    let ledger = fresh_with(file_bytes(GROUPS * GROUP_FRAMES), LOG_FRAMES_SMALL);
    let most = ledger.allocate((GROUPS * GROUP_FRAMES - 2 * GROUPS - 100) as usize, None).unwrap();
    let (begun, mut seen) = (Instant::now(), false);
    // On a busy machine, the two threads may take turns for long.
    while !seen && begun.elapsed() < Duration::from_secs(60) {
        // This ledger has read no bitmap yet.
        let cold = Ledger::new(Arc::clone(ledger.log())).unwrap();
        std::thread::scope(|scope| {
            let count = scope.spawn(|| cold.allocator.free_with_blocks().unwrap());
            while !count.is_finished() {
                let read = cold.allocator.groups.lock().loaded.len() as u64;
                seen |= read > 0 && read < cold.shape().groups();
            }
            assert!(count.join().unwrap() >= most.len() as u64);
        });
    }
    assert!(seen, "all were read under one hold of the lock");
}

#[test]
fn a_payload_of_more_than_a_group_takes_long_runs_and_not_what_lies_scattered() {
    let ledger = fresh_with(file_bytes(8 * GROUP_FRAMES), LOG_FRAMES_SMALL);
    let low = ledger.allocate(2_000, None).unwrap();
    while ledger.free_frames().unwrap() > KEPT_FOR_FREEING {
        ledger.allocate(1, None).unwrap();
    }
    // The payload needs some 210 extents of at most 256 frames, and may have 300: too few for the 1,000 scattered frames.
    let scattered: Vec<_> = low.into_iter().step_by(2).collect();
    ledger.release(&scattered).unwrap();
    let bytes = (GROUP_FRAMES as usize + 20_000) * FRAME_SIZE;
    let frames = ledger.payload_frames(bytes, 300).expect("the region can grow");
    assert!(!frames.iter().any(|frame| scattered.contains(frame)));
    ledger.release(&frames).unwrap();
    assert_sound(&ledger);
}
