//! Groups: bitmaps and their tallies, growth into the next group, and groups that are set aside.

use super::*;
use crate::media::allocator::KEPT_FOR_FREEING;
use crate::media::bitmap::Group;
use crate::media::groups::{Entry, find, look, table};
use crate::media::layout::{GROUP_FRAMES, TABLE_GROUPS, file_bytes};
use crate::media::rules::Rule;
use crate::media::words::Words;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn entry(ledger: &Ledger, group: u64) -> Entry {
    find(&**ledger.log(), ledger.shape(), group).unwrap()
}

/// Checks that each bitmap matches its tally, and that the group after the last has a bitmap.
fn assert_tallies(ledger: &Ledger) {
    let (log, shape) = (&**ledger.log(), ledger.shape());
    let mut frames = BTreeSet::new();
    for group in 0..=shape.groups() {
        let entry = look(log, shape, group).unwrap().unwrap_or_else(|| panic!("group {group} has no bitmap"));
        entry.compare(log, &log.frame(entry.bitmap).unwrap()).unwrap();
        assert!(frames.insert(entry.bitmap), "two groups have one bitmap");
        assert!(bitmap::allocated(log, shape, entry.bitmap).unwrap() || shape.fixed(entry.bitmap));
    }
}

fn of_group(group: u64) -> impl Fn(&FrameNo) -> bool {
    move |frame| u64::from(frame.0) / GROUP_FRAMES == group
}

/// Links each of these frames to a page of a new object.
fn link(ledger: &Ledger, name: &[u8], frames: &[FrameNo]) -> ObjectSlot {
    let slot = create(ledger, name);
    let pairs: Vec<_> = (0..).map(PageIndex).zip(frames.iter().copied()).collect();
    pairs.chunks(2_000).for_each(|part| _ = ledger.link(slot, part, None).unwrap());
    slot
}

#[test]
fn whatever_damage_a_bitmap_has_is_noticed_when_it_is_loaded() {
    let ledger = fresh();
    let slot = create(&ledger, b"a");
    fill(&ledger, slot, 0..300);
    ledger.log().checkpoint().unwrap();
    let (log, shape) = (&**ledger.log(), ledger.shape());
    let (memory, entry) = (log.region().memory(), entry(&ledger, 0));
    let loads = || Group::load(log, shape, 0).unwrap().bitmap().is_some();
    let change = |at: u64, to: &dyn Fn(u64) -> u64| {
        let old = memory.load(at).unwrap();
        memory.store(at, to(old)).unwrap();
        old
    };
    let noticed = |changes: &[(u64, u64)]| {
        changes.iter().for_each(|&(at, flip)| _ = change(at, &|old| old ^ flip));
        let noticed = !loads();
        changes.iter().for_each(|&(at, flip)| _ = change(at, &|old| old ^ flip));
        noticed
    };
    let bit = |n: u64| (entry.word(n / 64), 1 << (n % 64));
    assert!(loads());
    assert!((0..GROUP_FRAMES).all(|n| noticed(&[bit(n)])), "a flipped bit");
    let tally = groups::entry_at(layout::GROUP_TABLE_FRAME, 0) + 8;
    assert!((0..64).all(|n| noticed(&[(tally, 1 << n)])), "a flipped bit of the tally");
    let mut n = 1;
    for _ in 0..20_000 {
        n = seal::mix(n);
        let (one, other) = (n % GROUP_FRAMES, (n >> 32) % GROUP_FRAMES);
        assert!(one == other || noticed(&[bit(one), bit(other)]), "bits {one} and {other}");
    }
    assert!(loads(), "all of it was undone");
}

#[test]
fn a_stale_copy_of_a_bitmap_and_one_of_another_group_are_noticed() {
    let ledger = fresh_with(file_bytes(3 * GROUP_FRAMES), LOG_FRAMES_SMALL);
    ledger.release(&ledger.allocate(GROUP_FRAMES as usize + 1000, None).unwrap()).unwrap();
    let slot = create(&ledger, b"a");
    let mut copies = Vec::new();
    for round in 0..40 {
        fill(&ledger, slot, round * 7..round * 7 + 7);
        ledger.log().checkpoint().unwrap();
        copies.push(ledger.log().frame(entry(&ledger, 0).bitmap).unwrap());
    }
    copies.pop();
    copies.push(ledger.log().frame(entry(&ledger, 1).bitmap).unwrap());
    copies.push([0; 512]);
    let (log, shape) = (&**ledger.log(), ledger.shape());
    let at = entry(&ledger, 0).bitmap.offset();
    for copy in copies {
        let bytes: Vec<u8> = copy.iter().flat_map(|word| word.to_le_bytes()).collect();
        log.region().memory().write(at, &bytes).unwrap();
        assert!(Group::load(log, shape, 0).unwrap().bitmap().is_none());
    }
}

/// A region of two groups with objects in both, reopened with a rotten bit in the second bitmap. Few frames of the first
/// are free.
fn with_a_rotten_group(rules: Rules) -> (Ledger, [ObjectSlot; 2], FrameNo) {
    let ledger = fresh_with(file_bytes(4 * GROUP_FRAMES), LOG_FRAMES_SMALL);
    let all = ledger.allocate(GROUP_FRAMES as usize + 4_000, None).unwrap();
    let [low, high] = [0, 1].map(|group| all.iter().copied().filter(of_group(group)).collect::<Vec<_>>());
    let (used, free) = low.split_at(low.len() - 3_000);
    ledger.release(free).unwrap();
    ledger.release(&high[1_000..]).unwrap();
    let slots = [link(&ledger, b"low", used), link(&ledger, b"high", &high[..1_000])];
    ledger.log().checkpoint().unwrap();
    assert_tallies(&ledger);
    let (log, rotten) = (&**ledger.log(), high[5]);
    let (at, bit) = bitmap::bit_of(log, ledger.shape(), rotten).unwrap();
    let memory = log.region().memory();
    memory.store(at, memory.load(at).unwrap() & !bit).unwrap();
    let max = log.region().window_bytes();
    (ledger_of(region(image(log), 1, max), rules).unwrap(), slots, rotten)
}

#[test]
fn a_group_that_differs_from_its_seal_gives_and_takes_nothing_and_no_other_call_fails() {
    let (ledger, [low, high], _) = with_a_rotten_group(Rules::default());
    assert!(ledger.check().unwrap().findings.iter().any(|finding| finding.name == "group-tally"));
    // More than the first group has free: the region grows into a third one.
    let frames = ledger.allocate(8_000, None).unwrap();
    assert!(!frames.iter().any(of_group(1)) && frames.iter().any(of_group(2)));
    assert_eq!(ledger.frames_aside().len(), 1, "{:?}", ledger.frames_aside());
    // Its pages are read, and go with their object; their frames stay taken.
    assert!(ledger.map_range(high, PageIndex(0), 1_000).unwrap().iter().all(Option::is_some));
    ledger.unlink(b"high").unwrap();
    finish(|| ledger.drop_step(high, &mut all_free));
    // Other groups work as before.
    ledger.release(&frames).unwrap();
    ledger.unlink(b"low").unwrap();
    finish(|| ledger.drop_step(low, &mut all_free));
    let slot = create(&ledger, b"new");
    fill(&ledger, slot, 0..9_000);
    assert_eq!(ledger.orphans().unwrap(), []);
    assert!(ledger.allocator.free_frames().unwrap() > KEPT_FOR_FREEING);
    assert!(ledger.frames_aside()[0].1.contains("1000 frames of it have no owner any more"));
    // Two runs of frames without owner: the rotten bit of one between them says that it is free.
    let report = ledger.check().unwrap();
    let found: Vec<_> = report.findings.iter().map(|finding| finding.name).collect();
    assert_eq!(found, ["group-tally", "frame-leaked", "frame-leaked"], "{report:#?}");
}

#[test]
fn what_is_cut_off_in_a_group_that_is_left_alone_changes_no_bit_of_it() {
    let (ledger, [_, high], _) = with_a_rotten_group(Rules::default());
    let group = |ledger: &Ledger| {
        let entry = entry(ledger, 1);
        let at = groups::entry_at(layout::GROUP_TABLE_FRAME, 1);
        (ledger.log().frame(entry.bitmap).unwrap(), ledger.log().read(at + 8).unwrap())
    };
    let before = group(&ledger);
    ledger.set_size(high, 1_000 * 4096, true).unwrap();
    finish(|| ledger.punch_step(high, PageIndex(0)..PageIndex(300), &mut all_free));
    ledger.begin_truncate(high, 500 * 4096).unwrap();
    let mut half = each(|page, _| if page.0 % 2 == 0 { Fate::Busy } else { Fate::Free });
    finish(|| ledger.truncate_step(high, &mut half));
    ledger.free_busy(&ledger.busy_frames().unwrap()).unwrap();
    assert!(group(&ledger) == before);
    let ledger = reopened(ledger);
    assert!(group(&ledger) == before);
    assert!(ledger.orphans().unwrap().is_empty() && ledger.busy_frames().unwrap().is_empty());
    let left = ledger.map_range(high, PageIndex(0), 1_000).unwrap();
    assert!(left.iter().enumerate().all(|(page, frame)| frame.is_some() == (300..500).contains(&page)));
    let report = ledger.check().unwrap();
    assert!(report.findings.iter().all(|f| ["group-tally", "frame-leaked"].contains(&f.name)), "{report:#?}");
}

#[test]
fn a_name_goes_though_the_nodes_that_lead_to_it_lie_in_a_group_that_is_left_alone() {
    let ledger = fresh_with(file_bytes(3 * GROUP_FRAMES), LOG_FRAMES_SMALL);
    let all = ledger.allocate(GROUP_FRAMES as usize + 4_000, None).unwrap();
    let numbers = (0u32..).map(|i| i.to_string().into_bytes());
    let in_one_bucket = numbers.filter(|name| ledger.log().name_hash(name) % 512 == 7);
    let names: Vec<_> = in_one_bucket.take(24).collect();
    ledger.release(&all.into_iter().filter(of_group(1)).collect::<Vec<_>>()).unwrap();
    while !of_group(1)(&ledger.allocate_to_free(1).unwrap()[0]) {}
    let slots: Vec<_> = names.iter().map(|name| create(&ledger, name)).collect();
    ledger.log().checkpoint().unwrap();
    let at = entry(&ledger, 1).word(500);
    ledger.log().region().memory().store(at, 1).unwrap();
    let ledger = reopened(ledger);
    for (name, slot) in names.iter().zip(slots) {
        assert_eq!(ledger.unlink(name).unwrap(), slot);
        finish(|| ledger.drop_step(slot, &mut all_free));
    }
    assert!(ledger.frames_aside()[0].1.contains("have no owner any more"), "{:?}", ledger.frames_aside());
    assert_eq!((ledger.objects().unwrap(), ledger.orphans().unwrap()), (0, vec![]));
}

/// A region of one whole group of which no frame is free, and which may grow.
fn with_a_full_group() -> Ledger {
    let small = fresh_with(file_bytes(GROUP_FRAMES), LOG_FRAMES_SMALL);
    while small.allocate_to_free(1).is_ok() {}
    assert_eq!(small.frames(), GROUP_FRAMES);
    small.log().checkpoint().unwrap();
    let ledger =
        ledger_of(region(image(small.log()), 1, file_bytes(4 * GROUP_FRAMES)), Rules::default()).unwrap();
    ledger.allocate_to_free(ledger.free_frames().unwrap() as usize).unwrap();
    ledger
}

#[test]
fn a_bitmap_that_is_damaged_before_its_group_begins_is_made_anew() {
    let at = groups::entry_at(layout::GROUP_TABLE_FRAME, 1);
    let bitmap = layout::BITMAP_FRAMES[1].offset();
    let damages: [&[(u64, u64)]; 5] =
        [&[(bitmap, !0)], &[(bitmap + 4088, 1 << 63)], &[(at + 8, 3)], &[(at, 0)], &[(at, 1 << 33)]];
    for damage in damages {
        let ledger = with_a_full_group();
        damage.iter().for_each(|&(at, word)| ledger.log().region().memory().store(at, word).unwrap());
        assert!(!ledger.check().unwrap().is_clean(), "{damage:x?}");
        let frames = ledger.allocate(100, None).unwrap();
        assert!(frames.iter().all(of_group(1)), "{damage:x?}");
        assert_eq!((ledger.made_anew().len(), ledger.frames_aside().len()), (1, 0), "{damage:x?}");
        assert_tallies(&ledger);
        assert_sound(&reopened(ledger));
    }
}

#[test]
fn a_rotten_bit_lets_no_frame_have_two_owners_and_would_without_the_comparison() {
    let handed_out = |rules: Rules| {
        let (ledger, _, rotten) = with_a_rotten_group(rules);
        let free = ledger.free_frames().unwrap();
        ledger.allocate_to_free(free as usize).unwrap().contains(&rotten)
    };
    assert!(!handed_out(Rules::default()));
    assert!(handed_out(Rules::default().breaking(Rule::TallyUnchecked)));
}

#[test]
fn a_word_of_the_table_that_is_damaged_sets_its_groups_aside_and_no_other_call_fails() {
    for at in [layout::GROUP_ROOT_FRAME.offset(), groups::entry_at(layout::GROUP_TABLE_FRAME, 0)] {
        let ledger = fresh();
        let slot = create(&ledger, b"a");
        fill(&ledger, slot, 0..10);
        ledger.log().checkpoint().unwrap();
        let memory = ledger.log().region().memory();
        memory.store(at, memory.load(at).unwrap() ^ 1 << 20).unwrap();
        let ledger = reopened(ledger);
        assert!(matches!(ledger.allocate(1, None), Err(Error::NoSpace { .. } | Error::Corrupt { .. })));
        assert!(ledger.map(slot, PageIndex(3)).unwrap().is_some());
        ledger.rename(b"a", b"b").unwrap();
        ledger.set_size(slot, 5, false).unwrap();
        let report = ledger.check().unwrap();
        assert!(report.findings.iter().any(|finding| finding.name == "group-table"), "{report:#?}");
        assert!(ledger.frames_aside().len() == 1, "{:?}", ledger.frames_aside());
    }
}

#[test]
fn a_group_that_is_full_is_not_loaded() {
    let ledger = fresh_with(file_bytes(4 * GROUP_FRAMES), LOG_FRAMES_SMALL);
    let all = ledger.allocate(2 * GROUP_FRAMES as usize + 500, None).unwrap();
    let full: Vec<_> = all.iter().copied().filter(of_group(1)).collect();
    assert_eq!(full.len() as u64, GROUP_FRAMES, "no frame of a group is at a fixed place");
    let slot = link(&ledger, b"full", &full);
    ledger.release(&all.into_iter().filter(|frame| !of_group(1)(frame)).collect::<Vec<_>>()).unwrap();
    let ledger = reopened(ledger);
    let loaded = |ledger: &Ledger, group| ledger.allocator.groups.lock().loaded.contains_key(&group);
    let free = ledger.free_frames().unwrap();
    assert!(loaded(&ledger, 0) && !loaded(&ledger, 1) && loaded(&ledger, 2));
    let taken = ledger.allocate_to_free(free as usize).unwrap();
    assert!(!taken.iter().any(of_group(1)) && !loaded(&ledger, 1));
    ledger.release(&taken).unwrap();
    ledger.unlink(b"full").unwrap();
    finish(|| ledger.drop_step(slot, &mut all_free));
    ledger.log().checkpoint().unwrap();
    assert!(ledger.allocate(40_000, None).unwrap().iter().any(of_group(1)), "its frames are found again");
    assert_tallies(&ledger);
}

#[test]
fn a_run_goes_on_from_one_group_into_the_next() {
    let ledger = fresh_with(file_bytes(3 * GROUP_FRAMES), LOG_FRAMES_SMALL);
    let all: BTreeSet<_> =
        ledger.allocate(GROUP_FRAMES as usize + 1_000, None).unwrap().into_iter().collect();
    let last = FrameNo(GROUP_FRAMES as u32 - 1);
    let behind: Vec<_> = (last.0 + 1..last.0 + 9).map(FrameNo).collect();
    assert!(all.contains(&last) && behind.iter().all(|frame| all.contains(frame)));
    ledger.release(&behind).unwrap();
    assert_eq!(ledger.allocate(8, Some(last)).unwrap(), behind);
}

#[test]
fn every_group_has_a_bitmap_before_it_begins_and_every_table_a_frame() {
    const GROUPS: u64 = TABLE_GROUPS + 3;
    let ledger = fresh_with(file_bytes((GROUPS + 10) * GROUP_FRAMES), LOG_FRAMES_SMALL);
    let mut grown = 0;
    while ledger.shape().groups() < GROUPS {
        // Now and then to the last frame: then the bitmap needs a frame of the new group.
        let part = [9 * GROUP_FRAMES, GROUP_FRAMES / 3][grown % 2];
        ledger.allocate(part as usize, None).unwrap();
        grown += 1;
        if grown % 5 == 0 {
            while ledger.allocator.groups.lock().free > 0 {
                let free = ledger.allocator.groups.lock().free;
                ledger.allocate_to_free(free as usize).unwrap();
            }
        }
        let shape = ledger.shape();
        assert!(look(&**ledger.log(), shape, shape.groups()).unwrap().is_some(), "{}", shape.groups());
    }
    assert_tallies(&ledger);
    let tables: BTreeSet<_> =
        (0..=ledger.shape().groups()).map(|g| table(&**ledger.log(), ledger.shape(), g).unwrap()).collect();
    assert_eq!(tables.len(), 2);
    assert_sound(&ledger);
    assert_sound(&reopened_without_bytes(ledger));
}

#[test]
fn a_frame_of_the_table_and_the_bitmap_for_it_come_with_the_record_that_begins_the_group_before() {
    let ledger = fresh_with(file_bytes((TABLE_GROUPS + 3) * GROUP_FRAMES), LOG_FRAMES_SMALL);
    let table = || table(&**ledger.log(), ledger.shape(), TABLE_GROUPS).unwrap();
    while ledger.shape().groups() < TABLE_GROUPS - 12 {
        ledger.allocate(9 * GROUP_FRAMES as usize, None).unwrap();
    }
    let (mut before, mut records) = (ledger.shape().groups(), 0);
    while table().is_none() {
        let head = ledger.log().head();
        before = ledger.shape().groups();
        ledger.allocate(GROUP_FRAMES as usize / 3, None).unwrap();
        records = ledger.log().head().0 - head.0;
    }
    assert_eq!((before, ledger.shape().groups(), records), (TABLE_GROUPS - 1, TABLE_GROUPS, 1));
    assert_tallies(&ledger);
}

/// The ledger as an opening of the same region finds it, without a copy of its bytes.
fn reopened_without_bytes(ledger: Ledger) -> Ledger {
    ledger.log().checkpoint().unwrap();
    Ledger::new(Arc::clone(ledger.log())).unwrap()
}

#[test]
fn structures_lie_together_in_blocks_that_structures_have_broken() {
    let ledger = fresh_with(file_bytes(GROUP_FRAMES), LOG_FRAMES_SMALL);
    // Blocks of pages, whole and in part.
    let pages = ledger.allocate(9_000, None).unwrap();
    ledger.release(&pages[7_000..]).unwrap();
    let nodes = ledger.spares(700, 0).unwrap();
    let blocks: BTreeSet<_> = nodes.iter().map(|frame| frame.0 / 512).collect();
    assert!(blocks.len() <= 3, "{blocks:?}");
    let lies_there = |frame: &FrameNo| blocks.contains(&(frame.0 / 512));
    // Pages leave the rest of the last block to further structures.
    assert!(!ledger.allocate(1_000, None).unwrap().iter().any(lies_there), "pages in {blocks:?}");
    let again = ledger.spares(8, 0).unwrap();
    assert!(again.iter().all(lies_there), "{again:?} {blocks:?}");
    // A node that is given back is the next to be taken.
    ledger.release(&nodes[3..4]).unwrap();
    assert_eq!(ledger.spares(1, 0).unwrap(), nodes[3..4]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever is linked and freed, in whatever records: each tally matches its bitmap, both through the log and at home.
    #[test]
    fn tallies_are_those_of_their_bitmaps(steps in prop::collection::vec((0u8..6, 0u64..6, 1u64..700), 1..25)) {
        let ledger = fresh_with(file_bytes(3_000), 4);
        for (kind, object, n) in steps {
            let name = [b'a' + object as u8];
            let Some(slot) = ledger.lookup(&name).unwrap() else {
                let _ = ledger.create_object(&name, ObjectKind::PLAIN);
                continue;
            };
            match kind {
                0 | 1 => {
                    let pages: Vec<_> = (n..n + 60).map(PageIndex).filter(|&page| ledger.map(slot, page).unwrap().is_none()).collect();
                    let Ok(frames) = ledger.allocate(pages.len(), None) else { continue };
                    let pairs: Vec<_> = pages.into_iter().zip(frames.iter().copied()).collect();
                    if ledger.link(slot, &pairs, None).is_err() {
                        ledger.release(&frames).unwrap();
                    }
                }
                2 => finish(|| ledger.punch_step(slot, PageIndex(n)..PageIndex(n + 30), &mut each(|page, _| if page.0 % 2 == 0 { Fate::Busy } else { Fate::Free }))),
                3 => ledger.free_busy(&ledger.busy_frames().unwrap()).unwrap(),
                4 => {
                    ledger.unlink(&name).unwrap();
                    finish(|| ledger.drop_step(slot, &mut all_free));
                }
                _ => ledger.log().checkpoint().unwrap(),
            }
            assert_tallies(&ledger);
        }
        ledger.log().checkpoint().unwrap();
        let ledger = reopened(ledger);
        assert_tallies(&ledger);
        assert_sound(&ledger);
    }
}
