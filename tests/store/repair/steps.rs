//! Each step of a repair: what it makes whole, and what it reports.

use super::{FRAME, Pages, image, image_by, missing, objects, options, page, read, repaired, write};
use crate::damaged::{self, leaf, record, recovered};
use pagestone::media::layout::RootWord;
use pagestone::store::Repaired;
use pagestone::units::PageIndex;
use pagestone::{Error, Store};
use pagestone_fuzzing::format::{mend_sector, root, set_word, word};
use std::fs;

pub(super) fn frame(image: &mut [u8], frame: usize) -> &mut [u8] {
    &mut image[frame * FRAME..(frame + 1) * FRAME]
}

pub(super) fn said(done: &Repaired, what: &str) -> usize {
    done.repairs.iter().filter(|repair| repair.what == what).count()
}

/// Damages a region and repairs it. Nothing of the objects may be missing.
fn nothing_is_lost(what: &str, whole: &[u8], damage: impl FnOnce(&mut [u8])) -> (Repaired, Vec<u8>) {
    let mut damaged = whole.to_vec();
    damage(&mut damaged);
    let (done, image) = repaired(damaged, what);
    assert_eq!(missing(image.clone(), &objects(), what), (vec![], 0), "{what}: {:#?}", done.repairs);
    (done, image)
}

#[test]
fn a_region_without_a_superblock_gets_it_from_its_root() {
    let whole = image();
    for fill in [0, 0x5a] {
        let (done, image) = nothing_is_lost("superblock", &whole, |image| frame(image, 0).fill(fill));
        assert_eq!(said(&done, "superblock-copy"), 1);
        assert_eq!(image[104..128], whole[104..128]);
        let (done, image) = nothing_is_lost("both", &whole, |image| image[..2 * FRAME].fill(fill));
        assert_eq!(said(&done, "superblock"), 1, "{:#?}", done.repairs);
        for place in [16..40, 48..64, 72..128] {
            for copy in [0, FRAME] {
                let bytes = copy + place.start..copy + place.end;
                assert_eq!(image[bytes], whole[place.clone()], "{place:?} of copy {copy}");
            }
        }
    }
}

#[test]
fn a_file_that_is_no_region_is_not_made_one() {
    for bytes in [vec![0; 64 * FRAME], vec![0x5a; 64 * FRAME], b"SQLite format 3\0".repeat(1 << 14)] {
        assert!(matches!(
            options().repair_image(bytes),
            Err(Error::NotARegion { .. } | Error::Corrupt { .. })
        ));
    }
}

#[test]
fn a_region_without_a_log_header_has_an_empty_log() {
    let (done, _) = nothing_is_lost("log header", &image(), |image| image[2 * FRAME..4 * FRAME].fill(0x5a));
    assert_eq!(said(&done, "log-header"), 1);
}

#[test]
fn lines_that_neither_root_has_are_rebuilt_and_no_number_is_given_twice() {
    let whole = image();
    let before = root(&whole, RootWord::NextObject);
    for (what, lines) in [("0", 0..1), ("1", 1..2), ("2", 2..3), ("9", 9..10), ("all", 0..64)] {
        let (done, image) = nothing_is_lost(what, &whole, |image| {
            for root in [6, 7] {
                frame(image, root)[lines.start * 64..lines.end * 64].fill(0x77);
            }
        });
        assert_eq!(said(&done, "root-line"), lines.len(), "{what}");
        let after = root(&image, RootWord::NextObject);
        assert!(after >= before, "{what}: {after} after {before}");
        if lines.contains(&0) {
            assert!(after >= before + (1 << 32) - 1, "{what}: {after} after {before}");
        }
    }
}

#[test]
fn bitmaps_and_their_table_come_out_as_they_were() {
    let whole = image();
    for (what, frames) in [("table", 9..10), ("bitmap", 10..11), ("bitmap ahead", 11..12)] {
        let damages: [fn(&mut [u8]); 3] = [|f| f.fill(0), |f| f.fill(0xff), |f| f[40] ^= 1];
        for damage in damages {
            let (done, image) = nothing_is_lost(what, &whole, |image| damage(frame(image, frames.start)));
            assert_eq!(said(&done, "directory"), 0, "{what}: names are none of its business");
            if what != "table" {
                assert!(image[8 * FRAME..12 * FRAME] == whole[8 * FRAME..12 * FRAME], "{what}");
            }
        }
    }
}

#[test]
fn of_two_that_name_one_frame_the_one_that_is_whole_keeps_it() {
    // The later object and the earlier one.
    for (thief, owner) in [("two leaves", "deep"), ("deep", "two leaves")] {
        let mut damaged = image();
        let (id, node) = leaf(&damaged, owner);
        let kept = word(&damaged, node) & u64::from(u32::MAX);
        damaged::map_to(&mut damaged, thief, 1, kept);
        let (done, image) = repaired(damaged, thief);
        assert_eq!(said(&done, "page-lost"), 1, "{id} {:#?}", done.repairs);
        let mut spared: Pages = objects();
        spared.remove(thief);
        assert_eq!(missing(image.clone(), &spared, owner), (vec![], 0));
        assert_eq!(missing(image, &objects(), thief), (vec![], 1));
    }
}

/// The region, and the same region at an earlier moment.
fn stale() -> (Vec<u8>, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = Store::options().create(true).open(&path).unwrap();
    objects().iter().for_each(|(name, pages)| write(&store, name, pages));
    store.close().unwrap();
    let old = fs::read(&path).unwrap();
    let store = Store::options().open(&path).unwrap();
    write(&store, "two leaves", &[30, 31, 32]);
    store.close().unwrap();
    (old, fs::read(path).unwrap())
}

#[test]
fn what_a_stale_node_does_not_name_is_found_again() {
    let (old, new) = stale();
    let at = leaf(&new, "two leaves").1;
    let mut damaged = new;
    damaged[at..at + FRAME].copy_from_slice(&old[at..at + FRAME]);
    let (done, image) = repaired(damaged, "stale");
    assert_eq!((said(&done, "object-damaged"), said(&done, "lost+found")), (1, 1), "{:#?}", done.repairs);
    assert_eq!(missing(image.clone(), &objects(), "stale"), (vec![], 0));
    let store = options().open_image(image).unwrap();
    let found = store.open("lost+found-1").unwrap();
    assert_eq!(found.len(), 3 * FRAME as u64);
    let mut pages: Vec<Vec<u8>> = (0..3)
        .map(|n| {
            let mut bytes = vec![0; FRAME];
            read(&found, n, &mut bytes).unwrap();
            bytes
        })
        .collect();
    pages.sort();
    assert_eq!(pages, [30, 31, 32].map(|n| page("two leaves", n)));
}

#[test]
fn a_name_that_cannot_be_read_becomes_another_one_and_its_object_stays() {
    let mut damaged = image();
    let at = record(&damaged, "two leaves");
    damaged[at + 128 + 2] ^= 1;
    let (done, image) = repaired(damaged, "name");
    assert_eq!((said(&done, "object-renamed"), said(&done, "record-lost")), (1, 0), "{:#?}", done.repairs);
    let store = options().open_image(image).unwrap();
    let mut bytes = vec![0; FRAME];
    read(&store.open("lost+found-1").unwrap(), 600, &mut bytes).unwrap();
    assert_eq!(bytes, page("two leaves", 600));
    assert!(matches!(store.open("two leaves"), Err(Error::NotFound { .. })));
}

#[test]
fn pages_of_an_object_whose_record_is_lost_are_found_again() {
    let mut damaged = image();
    let at = record(&damaged, "two leaves");
    damaged[at..at + 64].fill(0x11);
    let (done, image) = repaired(damaged, "record");
    assert_eq!((said(&done, "record-lost"), said(&done, "lost+found")), (1, 1), "{:#?}", done.repairs);
    let store = options().open_image(image).unwrap();
    let found = store.open("lost+found-1").unwrap();
    let mut pages = Vec::new();
    for n in 0..found.len() / FRAME as u64 {
        let mut bytes = vec![0; FRAME];
        read(&found, n, &mut bytes).unwrap();
        pages.push(bytes);
    }
    for n in &objects()["two leaves"] {
        assert!(pages.contains(&page("two leaves", *n)), "page {n}");
    }
}

#[test]
fn all_records_of_a_frame_that_is_lost_are_reported_as_lost() {
    // One of them may be behind another one in a chain of the directory: nothing else leads there.
    let mut damaged = image();
    let at = record(&damaged, "small 13") / FRAME;
    frame(&mut damaged, at).fill(0);
    let (done, _) = repaired(damaged, "frame of records");
    assert_eq!(said(&done, "record-lost"), 8, "{:#?}", done.repairs);
}

/// A region whose process died with an object that was unlinked and open, and one that was truncated with a page pinned.
fn killed() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = Store::options().create(true).open(&path).unwrap();
    objects().iter().for_each(|(name, pages)| write(&store, name, pages));
    write(&store, "gone", &[0, 1, 2]);
    write(&store, "cut", &[0, 1, 2]);
    let (gone, cut) = (store.open("gone").unwrap(), store.open("cut").unwrap());
    let pinned = cut.pin(PageIndex(2)).unwrap();
    store.unlink("gone").unwrap();
    cut.set_len(FRAME as u64).unwrap();
    store.sync().unwrap();
    let image = recovered(&path);
    drop((pinned, gone, cut));
    image
}

#[test]
fn lists_are_made_anew_and_nothing_is_busy_any_more() {
    let whole = killed();
    let frames = |image: Vec<u8>| {
        let store = options().open_image(image).unwrap();
        store.sync().unwrap();
        drop(store.create("one more change").unwrap());
        assert!(store.check().unwrap().is_clean());
        let counts = store.check().unwrap().counts;
        (counts.objects, counts.orphans, counts.pages, counts.busy)
    };
    let expected = frames(whole.clone());
    assert_eq!((expected.1, expected.3), (0, 0));
    for which in [RootWord::Orphans, RootWord::FreeSlots, RootWord::BusyTable] {
        let mut damaged = whole.clone();
        let value = root(&damaged, which);
        pagestone_fuzzing::format::set_root(&mut damaged, which, value ^ 2);
        let (done, image) = repaired(damaged, "lists");
        assert_eq!(said(&done, "busy-table"), 1, "{which:?}: {:#?}", done.repairs);
        assert_eq!(missing(image.clone(), &objects(), "lists"), (vec![], 0));
        assert_eq!(frames(image), expected, "{which:?}");
    }
}

#[test]
fn a_hole_or_a_removal_ends_what_was_lost_and_reading_never_shows_zeros() {
    let mut damaged = image();
    let node = leaf(&damaged, "two leaves").1;
    frame(&mut damaged, node / FRAME).fill(0);
    let (done, image) = repaired(damaged, "lost");
    assert_eq!(said(&done, "page-lost"), 1);
    let store = options().open_image(image).unwrap();
    let lost = |store: &Store| {
        let report = store.check().unwrap();
        assert!(report.is_clean(), "{:#?}", report.findings);
        (report.counts.lost, report.counts.damaged)
    };
    assert_eq!(lost(&store), (512, 1));
    let object = store.open("two leaves").unwrap();
    let mut bytes = vec![1; FRAME];
    assert!(matches!(object.read_at(5 * FRAME as u64, &mut bytes), Err(Error::Corrupt { .. })));
    assert!(
        object.mapped_ranges(0..u64::MAX).any(|range| range.is_err()),
        "a copy is not told that they are holes"
    );
    read(&object, 601, &mut bytes).unwrap();
    object.punch_hole(0, 512 * FRAME as u64).unwrap();
    assert_eq!(lost(&store), (0, 1));
    object.write_at(5 * FRAME as u64, &page("two leaves", 5)).unwrap();
    read(&object, 5, &mut bytes).unwrap();
    assert_eq!(bytes, page("two leaves", 5));
    drop(object);
    store.unlink("two leaves").unwrap();
    store.sync().unwrap();
    assert_eq!(lost(&store), (0, 0));
}

#[test]
fn an_object_with_lost_pages_can_be_cut_and_removed() {
    for cut in [None, Some(512), Some(0)] {
        let mut damaged = image();
        let node = leaf(&damaged, "two leaves").1;
        frame(&mut damaged, node / FRAME).fill(0);
        let (_, image) = repaired(damaged, "cut");
        let store = options().open_image(image).unwrap();
        let free = store.check().unwrap().counts.free;
        match cut {
            Some(pages) => store.open("two leaves").unwrap().set_len(pages * FRAME as u64).unwrap(),
            None => store.unlink("two leaves").unwrap(),
        }
        store.sync().unwrap();
        let report = store.check().unwrap();
        assert!(report.is_clean(), "{cut:?}: {:#?}", report.findings);
        assert!(report.counts.free > free, "{cut:?}");
        assert_eq!(report.counts.lost, if cut == Some(512) { 512 } else { 0 }, "{cut:?}");
    }
}

#[test]
fn a_full_region_grows_for_what_is_made_anew_and_one_that_cannot_is_left_as_it_is() {
    // So many names that their directory has more nodes than frames are left.
    let names: Pages = (0..2560).map(|n| (format!("name {n}"), vec![])).collect();
    let most = 12 << 20;
    let mut full = image_by(&options().max_size(most), |store| {
        names.iter().for_each(|(name, pages)| write(store, name, pages));
        let object = store.create("all").unwrap();
        for pages in [64, 8, 1] {
            while object.append(&vec![7; pages * FRAME]).is_ok() {}
        }
        assert!(store.check().unwrap().counts.free < 8);
    });
    frame(&mut full, 12).fill(0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    fs::write(&path, &full).unwrap();
    for read_only in [true, false] {
        let refused = options().max_size(most).read_only(read_only).repair(&path);
        assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
        assert!(fs::read(&path).unwrap() == full);
    }
    let (done, grown) = options().max_size(2 * most).repair_image(full).unwrap();
    assert_eq!((said(&done, "directory"), done.left), (1, vec![]));
    assert!(grown.len() > most as usize);
    assert_eq!(missing(grown, &names, "full"), (vec![], 0));
}

#[test]
fn features_that_are_not_known_are_refused_and_nothing_is_changed() {
    for (at, read_only) in [(24, false), (24, true), (32, false), (32, true)] {
        let mut strange = image();
        for copy in [0, FRAME] {
            let old = word(&strange, copy + at);
            set_word(&mut strange, copy + at, old | 1 << 9);
            mend_sector(&mut strange, copy);
        }
        frame(&mut strange, 10).fill(0);
        let refused = options().read_only(read_only).repair_image(strange);
        assert!(matches!(refused, Err(Error::Features { .. })), "{at} {read_only} {refused:?}");
    }
}

#[test]
fn what_is_whole_is_not_touched_and_a_look_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let whole = image();
    fs::write(&path, &whole).unwrap();
    let done = options().repair(&path).unwrap();
    assert_eq!((done.repairs, done.left), (vec![], vec![]));
    assert!(fs::read(&path).unwrap() == whole);
    let mut damaged = whole;
    for n in [0, 1, 2, 3, 6, 7, 10, 12] {
        frame(&mut damaged, n)[..512].fill(0);
    }
    fs::write(&path, &damaged).unwrap();
    // Without superblock and log header the length of the log is not known.
    assert!(matches!(options().repair(&path), Err(Error::Corrupt { .. })));
    let mut damaged = image();
    for n in [2, 3, 6, 7, 10, 12] {
        frame(&mut damaged, n)[..512].fill(0);
    }
    fs::write(&path, &damaged).unwrap();
    let planned = options().read_only(true).repair(&path).unwrap();
    assert!(fs::read(&path).unwrap() == damaged);
    let done = options().repair(&path).unwrap();
    assert_eq!((planned.repairs.len(), done.left), (done.repairs.len(), vec![]));
    assert_eq!(missing(fs::read(&path).unwrap(), &objects(), "file"), (vec![], 0));
}
