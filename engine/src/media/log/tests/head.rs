//! The head of the region: superblock, log header and cursor, each damaged or out of date.

use super::*;
use crate::media::Ledger;
use crate::media::layout::{LOG_FRAME, LOG_HEADER_OFFSETS, ROOT_FRAMES, SECTOR_SIZE, SUPERBLOCK_OFFSETS};
use crate::media::root::Roots;

#[test]
fn opening_and_closing_writes_nothing_unless_something_changed() {
    let log = fresh();
    let before = image(&log);
    log.close().unwrap();
    assert!(before == image(&log));
    set(&log, 0, 1);
    log.close().unwrap();
    let (after, recovery) = reopen(image(&log), 2).unwrap();
    assert_eq!(recovery.ending, Ending::Clean);
    assert_eq!(after.read(word(0)).unwrap(), 1);
    assert!(image(&after) == image(&log));
}

#[test]
fn a_torn_copy_of_the_superblock_or_the_log_header_is_survived_and_two_are_refused() {
    let log = fresh();
    set(&log, 0, 1);
    log.close().unwrap();
    let good = image(&log);
    for copies in [SUPERBLOCK_OFFSETS, LOG_HEADER_OFFSETS] {
        for hit in [vec![0], vec![1], vec![0, 1]] {
            let mut bytes = good.clone();
            for &copy in &hit {
                // If the other copy is left, the whole frame goes: nothing else that is needed lies in it.
                let frame = &mut bytes[copies[copy] as usize..][..FRAME_SIZE];
                if hit.len() == 1 { frame.fill(0x40) } else { frame[20] ^= 0x40 }
            }
            match reopen(bytes, 2) {
                Ok((after, _)) => {
                    assert_eq!(hit.len(), 1);
                    assert_eq!(after.read(word(0)).unwrap(), 1);
                }
                Err(error) => {
                    assert_eq!(hit.len(), 2);
                    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
                }
            }
        }
    }
}

/// A word after a batch of lines, a later store in place, a close, and the loss of the newer copy of the header.
fn closed_and_worn(rules: Rules) -> u64 {
    let region = region(None, 1, None);
    format(&region, LOG_FRAMES).unwrap();
    let log = open(region, rules).unwrap().0;
    let ((), sequence) = log.append(|txn| txn.lines(word(0), vec![2; LINE_SIZE].into())).unwrap();
    log.pass(sequence).unwrap();
    log.region().memory().store(word(0), 3).unwrap();
    log.close().unwrap();
    let mut bytes = image(&log);
    let counter =
        |bytes: &[u8], at: u64| u64::from_le_bytes(bytes[at as usize + 8..][..8].try_into().unwrap());
    let newer = LOG_HEADER_OFFSETS.into_iter().max_by_key(|&at| counter(&bytes, at)).unwrap();
    bytes[newer as usize..][..FRAME_SIZE].fill(0);
    let (after, _) = reopen(bytes, 2).unwrap();
    after.read(word(0)).unwrap()
}

/// An older copy of the header would lead to passed records, whose lines would undo what was stored and synced since.
#[test]
fn a_region_that_was_closed_loses_nothing_with_one_header() {
    assert_eq!(closed_and_worn(Rules::default()), 3);
    assert_eq!(closed_and_worn(Rules::default().breaking(Rule::OneHeader)), 0x0202_0202_0202_0202);
}

/// A word after a process death behind two committed batches, of which the second is not stored home, with this word as
/// the cursor.
fn dead_with_cursor(cursor: impl Fn(u64) -> u64, rules: Rules) -> (u64, Recovery) {
    let log = fresh();
    let lines = |value: u8| {
        let append = |txn: &mut Txn<'_>| txn.lines(word(0), vec![value; LINE_SIZE].into());
        log.append(append).unwrap().1
    };
    log.commit(lines(2)).unwrap();
    let worn = cursor(log.region().memory().load(CURSOR_OFFSET).unwrap());
    lines(3);
    let mut bytes = image(&log);
    bytes[CURSOR_OFFSET as usize..][..8].copy_from_slice(&worn.to_le_bytes());
    let (after, recovery) = open(region(Some(bytes), 1, None), rules).unwrap();
    (after.read(word(0)).unwrap() & 0xff, recovery)
}

/// The second batch was acknowledged before the process died. If a worn cursor counted, the batch would be left out.
#[test]
fn a_worn_cursor_is_a_power_loss_and_leaves_out_no_batch_that_counts() {
    let (found, recovery) = dead_with_cursor(|word| word, Rules::default());
    assert_eq!((found, recovery.ending), (3, Ending::ProcessDeath));
    for bit in [0, 1, 2, 39, 40, 63] {
        let (found, recovery) = dead_with_cursor(|word| word ^ 1 << bit, Rules::default());
        assert_eq!(
            (found, recovery.ending, recovery.why),
            (2, Ending::PowerLoss, Why::Unreadable),
            "bit {bit}"
        );
    }
    let (found, recovery) = dead_with_cursor(|_| 0, Rules::default());
    assert_eq!((found, recovery.ending), (2, Ending::PowerLoss));
    let broken = Rules::default().breaking(Rule::CursorUnchecked);
    let (found, recovery) = dead_with_cursor(|word| word | 6, broken);
    assert_eq!((found, recovery.replayed), (2, 2), "it counts as replayed, and was left out");
}

#[test]
fn a_bad_superblock_copy_is_reported_and_repaired_by_the_first_change() {
    let log = fresh();
    let mut bytes = image(&log);
    bytes[SUPERBLOCK_OFFSETS[1] as usize + 60] ^= 1;
    let (after, _) = reopen(bytes, 2).unwrap();
    assert!(after.superblock().other_bad);
    set(&after, 0, 1);
    assert!(!reopen(image(&after), 3).unwrap().0.superblock().other_bad);
}

#[test]
fn a_blank_head_a_foreign_file_and_a_newer_version_are_told_apart() {
    let good = image(&fresh());
    let mut blank = good.clone();
    for offset in SUPERBLOCK_OFFSETS {
        blank[offset as usize..offset as usize + SECTOR_SIZE].fill(0);
    }
    assert!(matches!(reopen(blank, 1), Err(Error::NotARegion { .. })));
    let mut sqlite = good.clone();
    sqlite[4096..8192].fill(7);
    sqlite[..16].copy_from_slice(b"SQLite format 3\0");
    let error = reopen(sqlite, 1).err().unwrap().to_string();
    assert!(error.contains("import"), "{error}");
    let mut cut = good;
    cut.truncate(40 * 4096);
    assert!(matches!(reopen(cut, 1), Err(Error::Truncated { .. })));
}

/// Both copies of the superblock after `edit`, whole.
fn with_superblocks(edit: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut bytes = image(&fresh());
    edit_superblocks(&mut bytes, edit);
    bytes
}

fn edit_superblocks(bytes: &mut [u8], edit: impl Fn(&mut [u8])) {
    for offset in SUPERBLOCK_OFFSETS {
        let sector = &mut bytes[offset as usize..][..SECTOR_SIZE];
        edit(sector);
        let sum = crc32c::crc32c_append(crc32c::crc32c(&offset.to_le_bytes()), &sector[..SECTOR_SIZE - 4]);
        sector[SECTOR_SIZE - 4..].copy_from_slice(&sum.to_le_bytes());
    }
}

#[test]
fn a_region_of_a_draft_is_refused_by_name() {
    let first_draft = with_superblocks(|sector| {
        // Its fields: frames of the log, frames of a group.
        sector[32..40].fill(0);
        sector[72..80].copy_from_slice(&[4, 0, 0, 0, 0, 0x80, 0, 0]);
    });
    for bytes in [first_draft, with_superblocks(|sector| sector[39] ^= 0x70)] {
        let refused = reopen(bytes, 1).err().unwrap();
        assert!(matches!(refused, Error::NotARegion { .. }), "{refused}");
        assert!(refused.to_string().contains("export it with the build that made it"), "{refused}");
    }
}

#[test]
fn features_that_are_not_known_are_refused_where_they_must_be() {
    let opened = |at: usize, read_only: bool| {
        let bytes = with_superblocks(|sector| sector[at] |= 4);
        let options = RegionOptions { read_only, identity: Some(identity(2)), ..RegionOptions::default() };
        let region = Region::attach(Source::Image(bytes), &options).unwrap();
        match open(region, Rules::default()) {
            Ok((log, _)) => {
                let report = Ledger::new(Arc::new(log)).unwrap().check().unwrap();
                let judged = report.findings.iter().all(|finding| finding.name != "unknown-features");
                assert_eq!(judged, at == 16, "what it cannot judge it does not call clean");
                true
            }
            Err(Error::Features { bits: 4 }) => false,
            Err(error) => panic!("{error}"),
        }
    };
    let found = [16, 24, 32].map(|at| [false, true].map(|read_only| opened(at, read_only)));
    assert_eq!(found, [[true, true], [false, true], [false, false]]);
}

#[test]
fn a_field_of_a_newer_release_is_carried_over() {
    let bytes = with_superblocks(|sector| {
        sector[16] = 1;
        sector[300..308].fill(0xab);
    });
    let (log, _) = reopen(bytes, 2).unwrap();
    for value in 1..4 {
        set(&log, 0, value);
        log.close().unwrap();
    }
    for offset in SUPERBLOCK_OFFSETS {
        assert_eq!(log.region().memory().load(offset + 304).unwrap() as u32, 0xabab_abab);
    }
    assert_eq!(log.superblock().newest.unknown_byte(), None, "its feature explains it");
}

#[test]
fn a_record_that_would_change_the_superblock_is_refused() {
    let log = fresh();
    set(&log, 0, 1);
    log.append(|txn| txn.write(SUPERBLOCK_OFFSETS[0] + 8, 99)).unwrap();
    assert!(matches!(reopen(image(&log), 1), Err(Error::Corrupt { what: "log", .. })));
}

/// The roots as an opening finds them when a region was closed and one root was destroyed, and after a change and another
/// opening.
fn with_one_root(root: usize, rules: Rules) -> Result<[Roots; 2]> {
    let log = fresh();
    log.append(|txn| txn.set_root(RootWord::Objects, 5)).unwrap();
    log.close().unwrap();
    let mut bytes = image(&log);
    bytes[ROOT_FRAMES[root].offset() as usize..][..FRAME_SIZE].fill(0);
    let log = open(region(Some(bytes), 2, None), rules)?.0;
    assert_eq!(log.root(RootWord::Objects)?, 5);
    set(&log, 0, 1);
    log.close()?;
    let after = reopen(image(&log), 2)?.0;
    assert_eq!(after.root(RootWord::Objects)?, 5);
    Ok([*log.roots(), *after.roots()])
}

#[test]
fn one_root_is_enough_and_the_first_change_writes_the_other() {
    for root in 0..2 {
        let [found, after] = with_one_root(root, Rules::default()).unwrap();
        assert_eq!((found.bad(), after.bad()), (u64::MAX, 0));
    }
    let alone = with_one_root(0, Rules::default().breaking(Rule::OneRoot));
    assert!(matches!(alone, Err(Error::Corrupt { what: "root", .. })));
}

#[test]
fn roots_may_lie_elsewhere_and_where_none_can_lie_they_are_refused() {
    let log = fresh();
    log.append(|txn| txn.set_root(RootWord::Objects, 5)).unwrap();
    log.close().unwrap();
    let bytes = image(&log);
    let moved = |to: [u32; 2]| {
        let mut bytes = bytes.clone();
        for (from, to) in ROOT_FRAMES.into_iter().zip(to) {
            let from = from.offset() as usize;
            if (to as usize + 1) * FRAME_SIZE < bytes.len() && to >= 8 {
                bytes.copy_within(from..from + FRAME_SIZE, to as usize * FRAME_SIZE);
            }
        }
        edit_superblocks(&mut bytes, |sector| {
            sector[76..80].copy_from_slice(&to[0].to_le_bytes());
            sector[80..84].copy_from_slice(&to[1].to_le_bytes());
        });
        let (log, _) = reopen(bytes, 2)?;
        set(&log, 0, 1);
        log.append(|txn| txn.set_root(RootWord::Objects, 6))?;
        log.close()?;
        reopen(image(&log), 2)?.0.root(RootWord::Objects)
    };
    let free = first_free_frame(LOG_FRAMES).0;
    assert_eq!(moved([free + 3, 7]).unwrap(), 6);
    assert_eq!(moved([6, free + 5]).unwrap(), 6);
    let frames = (bytes.len() / FRAME_SIZE) as u32;
    for refused in [[6, 6], [5, 7], [6, LOG_FRAME.0], [frames - 1, 7], [6, u32::MAX]] {
        assert!(matches!(moved(refused), Err(Error::Corrupt { what: "superblock", .. })), "{refused:?}");
    }
}

#[test]
fn a_change_of_a_kind_that_is_not_known_is_refused_by_name_and_changes_nothing() {
    let log = fresh();
    log.commit(set(&log, 0, 1)).unwrap();
    let mut bytes = image(&log);
    // The first record of this life, at the front of the ring.
    let at = LOG_FRAME.offset() as usize;
    let len = u32::from_le_bytes(bytes[at + 20..][..4].try_into().unwrap()) as usize;
    bytes[at + 47] = 9;
    let sum = crc32c::crc32c(&bytes[at..at + len - 8]);
    bytes[at + len - 8..][..4].copy_from_slice(&sum.to_le_bytes());
    for boot in [1, 2] {
        let opened = reopen(bytes.clone(), boot);
        let Err(Error::Corrupt { what: "log", why, .. }) = opened.map(drop) else { panic!("it opens") };
        assert!(why.contains("kind 9") && why.contains("release"), "{why}");
    }
}
