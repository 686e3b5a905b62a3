//! What a repair has said to be lost: no call takes it for zeros, and holes, cuts and removals end it.

use super::{FRAME, image, image_by, image_of, options, page, read, repaired, write};
use crate::damaged::{node, record};
use pagestone::store::{Object, Store};
use pagestone::units::{PageIndex, PfnRange};
use pagestone::{Error, Result};
use pagestone_fuzzing::format::{mend_record, set_word};
use std::ops::Range;

const BYTES: u64 = FRAME as u64;

/// A store that was repaired after the node of so many levels that leads to a page had become zeros.
fn lost_at(mut image: Vec<u8>, name: &str, page: u64, level: u64) -> Store {
    let at = node(&image, name, page, level);
    image[at..at + FRAME].fill(0);
    options().open_image(repaired(image, name).1).unwrap()
}

/// How many pages are lost in a store in which nothing contradicts anything.
fn count(store: &Store) -> u64 {
    let report = store.check().unwrap();
    assert!(report.is_clean(), "{:#?}", report.findings);
    report.counts.lost
}

fn is_lost<T: std::fmt::Debug>(result: Result<T>, pages: &Range<u64>) {
    let error = result.expect_err("they are lost");
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    let said = format!("pages {} to {} were lost", pages.start, pages.end - 1);
    assert!(error.to_string().contains(&said), "{error}");
}

fn shows(object: &Object, n: u64, expected: &[u8]) {
    let mut found = vec![1; FRAME];
    read(object, n, &mut found).unwrap();
    assert!(found == expected, "page {n}");
}

#[test]
fn one_hole_over_all_that_a_word_says_is_lost_ends_it_and_a_smaller_one_is_refused() {
    for (name, lost, level) in [
        ("two leaves", 512..1024, 1),
        ("two leaves", 0..1 << 18, 2),
        ("deep", 1 << 19..3 << 18, 2),
        ("deep", 0..1 << 27, 3),
    ] {
        let store = lost_at(image(), name, lost.start, level);
        let object = store.open(name).unwrap();
        let (pages, len) = (object.len() / BYTES, object.len());
        let last = pages - 1;
        for part in [lost.start..lost.start + 1, last..pages, lost.start..last, lost.start + 1..lost.end] {
            let (at, bytes) = (part.start * BYTES, (part.end - part.start) * BYTES);
            is_lost(object.punch_hole(at, bytes), &lost);
        }
        assert_eq!(count(&store), lost.end - lost.start, "{name}");
        is_lost(object.read_at(last * BYTES, &mut [0]), &lost);
        object.punch_hole(lost.start * BYTES, len - lost.start * BYTES).unwrap();
        assert_eq!((count(&store), object.len()), (0, len), "{name}");
        shows(&object, last, &[0; FRAME]);
        write(&store, name, &[last, lost.start]);
        shows(&object, last, &page(name, last));
        assert_eq!(object.append(&page(name, pages)).unwrap(), len);
        shows(&object, pages, &page(name, pages));
        assert_eq!(count(&store), 0, "{name}");
    }
}

#[test]
fn a_hole_that_begins_or_ends_in_a_lost_page_is_refused_before_anything_changes() {
    for (first, lost) in [(0, 0..512), (600, 512..1024)] {
        let whole = image_of(|store| write(store, "o", &[0, 511, 512, 600, 1023, 1024, 1030]));
        let store = lost_at(whole, "o", first, 1);
        let object = store.open("o").unwrap();
        let (start, end) = (lost.start * BYTES, lost.end * BYTES);
        let others: Vec<u64> =
            [0, 511, 512, 1023, 1024, 1030].into_iter().filter(|n| !lost.contains(n)).collect();
        let ends = [
            (start.saturating_sub(100), start + 100),
            (start.saturating_sub(100), end - 100),
            (start + 1, end),
            (start + 1, end + 1),
            (start + BYTES + 7, end + 7),
            (end - 1, end + 1),
            (end - 100, end + 2 * BYTES + 9),
            (start + 5, start + 6),
            (start + 5, start + 3 * BYTES + 6),
            (start + 5, u64::MAX),
            // Only the last of its bytes is lost. What lies before stays, too.
            (9.min(start), start + 100),
        ];
        for (from, to) in ends {
            is_lost(object.punch_hole(from, to.min(object.len()) - from), &lost);
            others.iter().for_each(|&n| shows(&object, n, &page("o", n)));
        }
        object.punch_hole(start + 9, 0).unwrap();
        assert_eq!(count(&store), 512);
        // Bytes of the pages beside become zeros, too.
        let from = start.saturating_sub(50);
        object.punch_hole(from, end + 50 - from).unwrap();
        assert_eq!(count(&store), 0);
        let mut begin = page("o", lost.end);
        begin[..50].fill(0);
        shows(&object, lost.end, &begin);
        shows(&object, lost.start, &[0; FRAME]);
    }
}

/// How many pages the object of [`lost_root`] has. All but the first few are holes.
const SPARSE: u64 = 1000;

/// A store that was repaired after the root word of an object's map had become unreadable, or the node that it names.
fn lost_root(word: bool) -> Store {
    let mut damaged = image_of(|store| {
        write(store, "sparse", &[0, 1, 2]);
        store.open("sparse").unwrap().set_len(SPARSE * BYTES + 7).unwrap();
    });
    if word {
        let at = record(&damaged, "sparse");
        set_word(&mut damaged, at + 24, 0);
        mend_record(&mut damaged, at);
    } else {
        let at = node(&damaged, "sparse", 0, 1);
        damaged[at..at + FRAME].fill(0);
    }
    options().open_image(repaired(damaged, "root").1).unwrap()
}

#[test]
fn an_object_whose_root_is_lost_grows_and_what_it_did_not_lead_to_are_holes() {
    let store = lost_root(false);
    let object = store.open("sparse").unwrap();
    assert_eq!(count(&store), 512);
    for round in 0..2 {
        shows(&object, 600, &[0; FRAME]);
        assert_eq!(object.mapped_ranges(512 * BYTES..u64::MAX).count(), 0);
        object.set_len((2000 + round) * BYTES + 9).unwrap();
        shows(&object, 1500, &[0; FRAME]);
        is_lost(object.read_at(511 * BYTES, &mut [0]), &(0..512));
        // No node is made beside what is lost.
        let len = object.len();
        is_lost(object.append(b"more"), &(0..512));
        is_lost(object.write_at(700 * BYTES, b"more"), &(0..512));
        let mut batch = store.batch();
        batch.write_at(&object, 3000 * BYTES, b"more").unwrap();
        is_lost(batch.commit(), &(0..512));
        assert_eq!((object.len(), count(&store)), (len, 512));
    }
    object.punch_hole(0, 512 * BYTES).unwrap();
    assert_eq!(object.append(b"more").unwrap(), 2001 * BYTES + 9);
    let mut found = [0; 4];
    object.read_at(2001 * BYTES + 9, &mut found).unwrap();
    assert_eq!((&found, count(&store)), (b"more", 0));
}

#[test]
fn a_root_word_that_says_nothing_of_its_height_loses_all_pages_of_the_object() {
    let store = lost_root(true);
    let object = store.open("sparse").unwrap();
    let lost = 0..1 << 18;
    assert_eq!(count(&store), 1 << 18);
    for n in [0, 2, 600, SPARSE] {
        is_lost(object.read_at(n * BYTES, &mut [0]), &lost);
        is_lost(object.mapped_ranges(n * BYTES..u64::MAX).next().expect("it does not end"), &lost);
    }
    object.set_len(2000 * BYTES + 1).unwrap();
    object.punch_hole(0, u64::from(u32::MAX)).unwrap();
    assert_eq!(object.append(b"more").unwrap(), 2000 * BYTES + 1);
    assert_eq!(count(&store), 0);
}

#[test]
fn an_object_whose_last_pages_are_lost_grows_and_no_call_stores_into_them() {
    let lost = 512..1024;
    for batch in [false, true] {
        let store = lost_at(image(), "two leaves", 600, 1);
        let object = store.open("two leaves").unwrap();
        object.set_len(619 * BYTES + 7).unwrap();
        if batch {
            let mut batch = store.batch();
            batch.write_at(&object, 1500 * BYTES, &page("two leaves", 1500)).unwrap();
            batch.commit().unwrap();
        } else {
            object.set_len(1500 * BYTES).unwrap();
            write(&store, "two leaves", &[1500]);
        }
        shows(&object, 1500, &page("two leaves", 1500));
        shows(&object, 1400, &[0; FRAME]);
        let (free, len) = (store.check().unwrap().counts.free, object.len());
        let new = page("two leaves", 619);
        is_lost(object.write_at(619 * BYTES, &new), &lost);
        is_lost(object.pin_mut(PageIndex(619)), &lost);
        is_lost(object.allocate(600 * BYTES, BYTES), &lost);
        let mut batch = store.batch();
        batch.write_at(&object, 619 * BYTES, &new).unwrap();
        batch.write_at(&object, 0, &new).unwrap();
        is_lost(batch.commit(), &lost);
        assert_eq!((store.check().unwrap().counts.free, object.len()), (free, len));
        shows(&object, 0, &page("two leaves", 0));
        object.punch_hole(512 * BYTES, 512 * BYTES).unwrap();
        shows(&object, 619, &[0; FRAME]);
        object.write_at(619 * BYTES, &new).unwrap();
        shows(&object, 619, &new);
        assert_eq!(count(&store), 0);
    }
}

#[test]
fn what_is_lost_of_space_beyond_the_end_hinders_no_growth() {
    let ahead = image_of(|store| {
        write(store, "ahead", &[0, 1]);
        store.open("ahead").unwrap().allocate(600 * BYTES, 20 * BYTES).unwrap();
    });
    let store = lost_at(ahead, "ahead", 600, 1);
    assert_eq!(count(&store), 512);
    write(&store, "ahead", &[2, 610]);
    assert_eq!(count(&store), 0);
    let object = store.open("ahead").unwrap();
    shows(&object, 610, &page("ahead", 610));
    shows(&object, 605, &[0; FRAME]);
}

#[test]
fn with_a_small_log_any_number_of_lost_pages_can_be_punched_cut_and_removed() {
    let small = options().log_frames(4);
    let mut damaged = image_by(&small, |store| write(store, "full", &(0..512).collect::<Vec<_>>()));
    let leaf = node(&damaged, "full", 0, 1);
    damaged[leaf..leaf + 448 * 8].fill(0x5a);
    let (_, image) = repaired(damaged, "small log");
    let ends: [fn(&Store) -> Result; 4] = [
        |store| store.unlink("full"),
        |store| store.open("full")?.set_len(0),
        |store| store.open("full")?.punch_hole(0, 512 * BYTES),
        |store| store.open("full")?.punch_hole(7 * BYTES, 400 * BYTES),
    ];
    for (n, end) in ends.into_iter().enumerate() {
        let store = options().open_image(image.clone()).unwrap();
        assert_eq!(count(&store), 448);
        end(&store).unwrap();
        write(&store, "another", &[0, 1]);
        store.sync().unwrap();
        assert_eq!(count(&store), if n == 3 { 48 } else { 0 }, "{n}");
        assert_eq!(store.stats().set_aside, 0, "{n}");
    }
}

#[test]
fn an_object_with_lost_pages_is_walked_for_its_others_and_no_copy_takes_them_for_holes() {
    let store = lost_at(image(), "two leaves", 600, 1);
    let object = store.open("two leaves").unwrap();
    let first = object.pin(PageIndex(5)).unwrap().expect("it is mapped").pfn();
    let pins = store.frames(PfnRange::new(first, 3)).unwrap();
    assert_eq!(pins.len(), 3);
    assert!(object.runs().unwrap() > 0);
    let mut ranges = object.mapped_ranges(0..u64::MAX);
    is_lost(ranges.next().expect("it does not end like that"), &(512..1024));
    assert!(ranges.next().is_none());
    let before: Vec<_> = object.mapped_ranges(0..512 * BYTES).map(Result::unwrap).collect();
    assert_eq!((before.len(), before[0].clone()), (1, 0..20 * BYTES));
}
