//! The end of the region, cut where nothing uses it.

use super::*;
use crate::media::allocator::KEPT_FOR_FREEING;
use crate::media::layout::{GROUP_FRAMES, TABLE_GROUPS, file_bytes, initial_frames};

/// Checks that the region is as long as a fresh one and a few kept frames.
fn assert_short(ledger: &Ledger) {
    let frames = ledger.frames();
    assert!(frames < u64::from(initial_frames(LOG_FRAMES_SMALL)) + 600, "{frames} frames");
    assert_eq!(ledger.log().region().len_bytes(), file_bytes(frames));
}

fn emptied(ledger: &Ledger, name: &[u8], slot: ObjectSlot) {
    ledger.unlink(name).unwrap();
    finish(|| ledger.drop_step(slot, &mut all_free));
}

#[test]
fn what_is_free_at_the_end_is_cut_off_and_the_region_grows_again() {
    let ledger = fresh_with(file_bytes(5 * GROUP_FRAMES), LOG_FRAMES_SMALL);
    for round in 0..3 {
        let slot = create(&ledger, b"a");
        for part in 0..9 {
            fill(&ledger, slot, part * 10_000..part * 10_000 + 10_000);
        }
        assert!(ledger.frames() > 90_000);
        emptied(&ledger, b"a", slot);
        let long = ledger.log().region().len_bytes();
        let given = ledger.compact().unwrap();
        assert!(given >= long - ledger.log().region().len_bytes(), "{given} bytes, round {round}");
        assert_short(&ledger);
        assert_sound(&ledger);
        assert_eq!(ledger.compact().unwrap(), 0, "nothing is left to be given back");
    }
    let ledger = reopened(ledger);
    assert_short(&ledger);
    let slot = create(&ledger, b"b");
    (0..9).for_each(|part| _ = fill(&ledger, slot, part * 10_000..part * 10_000 + 10_000));
    assert_eq!(assert_sound(&reopened(ledger)).pages, 90_000);
}

#[test]
fn what_a_check_beside_keeps_is_cut_off_too() {
    let ledger = fresh_with(file_bytes(2 * GROUP_FRAMES), LOG_FRAMES_SMALL);
    let slot = create(&ledger, b"a");
    fill(&ledger, slot, 0..20_000);
    let ((), snapshot) = ledger.log().snapshot(|| Ok(())).unwrap();
    emptied(&ledger, b"a", slot);
    assert!(ledger.compact().unwrap() > 0);
    assert_short(&ledger);
    drop(snapshot);
    assert_sound(&ledger);
}

#[test]
fn what_is_in_use_ends_the_cut_and_keeps_its_bytes() {
    let ledger = fresh_with(file_bytes(5 * GROUP_FRAMES), LOG_FRAMES_SMALL);
    let first = create(&ledger, b"first");
    fill(&ledger, first, 0..20_000);
    let kept = create(&ledger, b"kept");
    let pages = fill(&ledger, kept, 0..30_000);
    let behind = create(&ledger, b"behind");
    fill(&ledger, behind, 0..40_000);
    let memory = ledger.log().region().memory();
    pages.iter().for_each(|&(page, frame)| memory.store(frame.offset(), page.0 + 1).unwrap());
    emptied(&ledger, b"first", first);
    emptied(&ledger, b"behind", behind);
    // This frame is taken and not linked yet.
    let taken = ledger.allocate(1, pages.last().map(|&(_, frame)| frame)).unwrap()[0];
    ledger.compact().unwrap();
    let last = pages.iter().map(|&(_, frame)| frame).max().unwrap().max(taken);
    assert!((u64::from(last.0)..u64::from(last.0) + 600).contains(&ledger.frames()), "{}", ledger.frames());
    assert!(pages.iter().all(|&(page, frame)| memory.load(frame.offset()).unwrap() == page.0 + 1));
    ledger.release(&[taken]).unwrap();
    assert_eq!(assert_sound(&reopened(ledger)).pages, 30_000);
}

#[test]
fn groups_go_with_their_bitmaps_and_tables_with_their_groups() {
    const GROUPS: u64 = TABLE_GROUPS + 3;
    let ledger = fresh_with(file_bytes((GROUPS + 10) * GROUP_FRAMES), LOG_FRAMES_SMALL);
    // Each time to the last frame: the next bitmap lies among the new ones.
    while ledger.frames() < GROUPS * GROUP_FRAMES {
        let free = ledger.allocator.groups.lock().free;
        ledger.allocate_to_free(free as usize + 7_000).unwrap();
    }
    ledger.log().checkpoint().unwrap();
    let ledger = Ledger::new(Arc::clone(ledger.log())).unwrap();
    // The uses of the first ledger's frames are those of its log.
    (0..ledger.frames()).for_each(|frame| {
        if ledger.log().uses().of(FrameNo(frame as u32)) == crate::media::uses::Use::Taken {
            ledger.log().uses().free(FrameNo(frame as u32));
        }
    });
    let slot = create(&ledger, b"a");
    let few = ledger.allocate(10, Some(FrameNo(100 * GROUP_FRAMES as u32))).unwrap();
    let pairs: Vec<_> = (0..).map(PageIndex).zip(few).collect();
    ledger.link(slot, &pairs, None).unwrap();
    // No whole compact: it would store zeros to all that is free.
    ledger.allocator.cut_end(KEPT_FOR_FREEING).unwrap();
    assert!((100 * GROUP_FRAMES..101 * GROUP_FRAMES).contains(&ledger.frames()), "{}", ledger.frames());
    assert_sound(&ledger);
    emptied(&ledger, b"a", slot);
    ledger.log().checkpoint().unwrap();
    ledger.allocator.cut_end(KEPT_FOR_FREEING).unwrap();
    assert_short(&ledger);
    assert_sound(&ledger);
    let ledger = Ledger::new(Arc::clone(ledger.log())).unwrap();
    ledger.allocate(3 * GROUP_FRAMES as usize, None).unwrap();
    assert_sound(&ledger);
}

/// A cut over many groups takes several records. The first frees bitmaps that lie inside the region by then, and a later
/// one ends the region before them.
#[test]
fn a_cut_in_several_steps_leaves_no_free_frame_behind_the_end() {
    const GROUPS: u64 = 40;
    let ledger = fresh_with(file_bytes((GROUPS + 2) * GROUP_FRAMES), LOG_FRAMES_SMALL);
    // The bitmaps of the groups to come lie behind these.
    let first = ledger.allocate(3_000, None).unwrap();
    while ledger.frames() < GROUPS * GROUP_FRAMES {
        ledger.allocator.grow(ledger.shape(), GROUP_FRAMES).unwrap();
    }
    let bitmap = groups::find(&**ledger.log(), ledger.shape(), 20).unwrap().bitmap;
    assert!((3_000..GROUP_FRAMES as u32).contains(&bitmap.0), "{bitmap:?}");
    ledger.release(&first).unwrap();
    ledger.allocator.cut_end(KEPT_FOR_FREEING).unwrap();
    assert_short(&ledger);
    let (groups, shape) = ledger.allocator.settled().unwrap();
    let free = groups.loaded[&0].parts(0..GROUP_FRAMES as u32).0;
    assert!(free.iter().all(|run| u64::from(run.end) <= shape.frames), "{free:?} of {}", shape.frames);
    drop(groups);
    ledger.allocate(3_000, None).unwrap();
    assert_sound(&ledger);
}

#[test]
fn a_group_that_is_left_alone_is_not_cut_off() {
    let ledger = fresh_with(file_bytes(3 * GROUP_FRAMES), LOG_FRAMES_SMALL);
    ledger.release(&ledger.allocate(GROUP_FRAMES as usize + 1_000, None).unwrap()).unwrap();
    ledger.log().checkpoint().unwrap();
    let (log, shape) = (&**ledger.log(), ledger.shape());
    let bitmap = groups::find(log, shape, 1).unwrap().bitmap;
    log.region().memory().store(bitmap.offset() + 8, 1).unwrap();
    let (before, ledger) = (ledger.frames(), reopened(ledger));
    ledger.compact().unwrap();
    assert_eq!(ledger.frames(), before);
}

#[test]
fn a_file_that_a_crash_left_longer_is_cut_too() {
    let ledger = fresh();
    ledger.log().region().grow_to(8 << 20).unwrap();
    ledger.compact().unwrap();
    assert_short(&ledger);
    assert_sound(&ledger);
}
