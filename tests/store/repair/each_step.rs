//! A repair that ends behind any of the steps that no crash divides: another one comes to the same end.

use super::steps::{frame, said};
use super::{FRAME, PAGE, Pages, image, image_of, missing_apart, objects, options, repaired, shown, write};
use crate::damaged::{leaf, record};
use pagestone::media::layout::RootWord;
use pagestone::store::Store;
use pagestone_fuzzing::format::{mend_tally, root, set_root, set_word, word};
use std::collections::BTreeSet;

/// Pages that a leaf of a map leads to.
const LEAF: u64 = 512;

/// The first bytes of all pages that objects of a region show, also of those beside lost ones.
fn kept(image: &[u8]) -> BTreeSet<Vec<u8>> {
    let store = options().open_image(image.to_vec()).unwrap();
    let mut kept = BTreeSet::new();
    for entry in store.list().unwrap() {
        let object = store.open(&entry.name).unwrap();
        let pages = object.len().div_ceil(FRAME as u64);
        for first in (0..pages).step_by(LEAF as usize) {
            let part = first..pages.min(first + LEAF);
            // Holes alone, or something that is mapped or lost.
            if object.mapped_ranges(part.start * FRAME as u64..part.end * FRAME as u64).next().is_none() {
                continue;
            }
            for n in part {
                let mut bytes = vec![0; 64];
                let read = object.read_at(n * FRAME as u64, &mut bytes);
                if read.is_ok() && bytes.starts_with(PAGE) {
                    kept.insert(bytes);
                }
            }
        }
    }
    kept
}

/// Holds what is left of a repair, and of another one behind it, against what a whole one leaves.
fn each_step(what: &str, objects: &Pages, damaged: &[u8]) -> usize {
    let (done, whole) = repaired(damaged.to_vec(), what);
    assert!(!done.repairs.is_empty(), "{what}");
    let by_one = missing_apart(whole.clone(), objects, what);
    let kept_by_one = kept(&whole);
    for steps in 0.. {
        let what = format!("{what}, {steps} steps");
        let (_, cut, is_all) = options().begin_repair_of_image(damaged.to_vec(), steps).unwrap();
        if let Ok(store) = options().open_image(cut.clone()) {
            let seem_gone = shown(&store, objects, true, &what).gone;
            assert!(
                seem_gone.iter().all(|name| by_one.gone.contains(name)),
                "{what}: {seem_gone:?} seem not to exist"
            );
        }
        let (done, image) = repaired(cut, &what);
        let by_two = missing_apart(image.clone(), objects, &what);
        assert_eq!(
            (&by_two.gone, by_two.lost + by_two.zeros),
            (&by_one.gone, by_one.lost + by_one.zeros),
            "{what}: {:#?}",
            done.repairs
        );
        assert!(by_two.zeros <= by_one.zeros, "{what}: {} zeros after {}", by_two.zeros, by_one.zeros);
        let kept_by_two = kept(&image);
        let missing: Vec<_> =
            kept_by_one.difference(&kept_by_two).map(|page| String::from_utf8_lossy(page)).collect();
        assert!(missing.is_empty(), "{what}: {} pages are not kept: {:?}", missing.len(), missing.first());
        if is_all {
            return steps;
        }
    }
    unreachable!("it has an end")
}

fn each_step_of(what: &str, damage: impl FnOnce(&mut [u8])) {
    let mut image = image();
    damage(&mut image);
    let steps = each_step(what, &objects(), &image);
    assert!(steps > 1, "{what}: {steps}");
}

#[test]
fn a_lost_record_loses_no_other_and_its_pages_are_kept() {
    each_step_of("record", |image| {
        let at = record(image, "two leaves");
        image[at..at + 64].fill(0x11);
    });
    each_step_of("frame of records", |image| {
        let at = record(image, "two leaves") / FRAME;
        frame(image, at).fill(0);
    });
}

#[test]
fn lost_nodes_are_lost_once_and_what_they_named_is_kept() {
    each_step_of("node", |image| {
        let at = leaf(image, "two leaves").1 / FRAME;
        frame(image, at).fill(0);
    });
    each_step_of("node and directory", |image| {
        let at = leaf(image, "deep").1 / FRAME;
        frame(image, at).fill(0x77);
        frame(image, 12).fill(0);
    });
}

#[test]
fn a_record_whose_name_cannot_be_read_is_found_again() {
    // Those of its frame are all without a name.
    each_step_of("names", |image| {
        let first = record(image, "two leaves") / FRAME * FRAME;
        (0..8).for_each(|n| image[first + n * 512 + 130] ^= 1);
    });
}

#[test]
fn bitmaps_say_what_is_lost_until_it_has_an_owner() {
    each_step_of("record and bits of the group", |image| {
        let at = record(image, "two leaves");
        image[at..at + 64].fill(0x11);
        // What other objects have is called free, and what is free allocated.
        let bits = 10 * FRAME;
        for name in ["deep", "one"] {
            let page = word(image, record(image, name) + 24) as u32 as usize;
            let at = bits + page / 64 * 8;
            set_word(image, at, word(image, at) & !(1 << (page % 64)));
        }
        mend_tally(image);
    });
    each_step_of("bitmap", |image| frame(image, 10).fill(0));
    each_step_of("table of groups", |image| frame(image, 9).fill(0));
    each_step_of("root of the groups", |image| frame(image, 8).fill(0xff));
}

#[test]
fn lists_and_the_directory_are_changed_at_once() {
    each_step_of("directory", |image| frame(image, 12).fill(0));
    each_step_of("lists", |image| {
        for which in [RootWord::FreeSlots, RootWord::Orphans, RootWord::BusyTable] {
            let value = root(image, which);
            set_root(image, which, value ^ 2);
        }
    });
    each_step_of("roots", |image| (6..8).for_each(|n| frame(image, n).fill(0)));
}

#[test]
fn a_frame_without_an_owner_is_kept_while_an_object_is_flagged() {
    let mut damaged = image();
    let at = leaf(&damaged, "two leaves").1 / FRAME;
    frame(&mut damaged, at).fill(0);
    let (_, mut image) = repaired(damaged, "node");
    let bitmap = 10 * FRAME;
    let free = (0..image.len() / FRAME - 1)
        .rfind(|n| word(&image, bitmap + n / 64 * 8) >> (n % 64) & 1 == 0)
        .unwrap();
    frame(&mut image, free)[..8].copy_from_slice(PAGE);
    let bits = word(&image, bitmap + free / 64 * 8);
    set_word(&mut image, bitmap + free / 64 * 8, bits | 1 << (free % 64));
    mend_tally(&mut image);
    let (done, image) = repaired(image, "leak");
    assert_eq!(said(&done, "lost+found"), 1, "{:#?}", done.repairs);
    let store: Store = options().open_image(image).unwrap();
    assert_eq!(store.open("lost+found-2").unwrap().len(), FRAME as u64);
}

#[test]
fn a_repair_of_many_records_comes_to_the_same_end() {
    let objects: Pages = (0..40).map(|n| (format!("crowd {n}"), vec![0, 1])).collect();
    let mut image = image_of(|store| objects.iter().for_each(|(name, pages)| write(store, name, pages)));
    let lost: Vec<usize> = (0..40).step_by(9).map(|n| record(&image, &format!("crowd {n}"))).collect();
    lost.into_iter().for_each(|at| image[at..at + 32].fill(0x11));
    frame(&mut image, 12).fill(0);
    each_step("crowd", &objects, &image);
}
