//! What a repair meets that no engine writes, and what comes after a repair: nothing is believed that is impossible, nothing
//! becomes zeros.

use super::steps::{frame, said};
use super::{FRAME, image, objects, options, page, read, repaired};
use crate::damaged::{leaf, record};
use pagestone::Error;
use pagestone::media::layout::RootWord;
use pagestone_fuzzing::format::{
    HEIGHT, Seal, mend_record, mend_sector, root, salt, set_root, set_word, word,
};
use std::fs;

/// Holds that these pages of an object cannot be read.
fn are_lost(image: &[u8], name: &str, pages: &[u64], what: &str) {
    let store = options().open_image(image.to_vec()).unwrap();
    let object = store.open(name).unwrap();
    for n in pages {
        let found = object.read_at(n * FRAME as u64, &mut [0; FRAME]);
        assert!(matches!(found, Err(Error::Corrupt { .. })), "{what}: page {n}: {found:?}");
    }
}

#[test]
fn a_lost_page_whose_word_is_damaged_once_more_is_no_hole() {
    let mut damaged = image();
    let id = leaf(&damaged, "two leaves").0;
    // All pages of the second leaf: their words become lost, one by one.
    let second = second_leaf(&damaged);
    for n in 600..620 {
        let at = second + (n - 512) * 8;
        let old = word(&damaged, at);
        set_word(&mut damaged, at, old ^ 1 << 50);
    }
    let (done, once) = repaired(damaged, "words");
    assert_eq!(said(&done, "object-damaged"), 1, "{id}: {:#?}", done.repairs);
    let pages: Vec<u64> = (600..620).collect();
    are_lost(&once, "two leaves", &pages, "once");
    let mut flipped = once.clone();
    let old = word(&flipped, second + (605 - 512) * 8);
    set_word(&mut flipped, second + (605 - 512) * 8, old ^ 1 << 50);
    let (_, twice) = repaired(flipped, "a bit of a lost word");
    are_lost(&twice, "two leaves", &pages, "a bit of a lost word");
    let mut zeroed = once;
    frame(&mut zeroed, second / FRAME).fill(0);
    let (_, twice) = repaired(zeroed, "a node of lost words");
    are_lost(&twice, "two leaves", &pages, "a node of lost words");
    let store = options().open_image(twice).unwrap();
    let mut bytes = vec![0; FRAME];
    read(&store.open("two leaves").unwrap(), 5, &mut bytes).unwrap();
    assert_eq!(bytes, page("two leaves", 5));
}

/// The node that leads to the second 512 pages of "two leaves".
fn second_leaf(image: &[u8]) -> usize {
    let map = Seal::value(word(image, record(image, "two leaves") + 24));
    let node = (map & ((1 << HEIGHT) - 1)) as usize * FRAME;
    Seal::value(word(image, node + 8)) as usize * FRAME
}

#[test]
fn a_map_of_an_impossible_height_is_lost_and_stays_so() {
    let mut damaged = image();
    let at = record(&damaged, "two leaves");
    let (id, old) = (word(&damaged, at), Seal::value(word(&damaged, at + 24)));
    let high = old & ((1 << HEIGHT) - 1) | 6 << HEIGHT;
    let sealed = Seal::Map { id, prefix: 0, level: 6 }.close(salt(&damaged), high);
    set_word(&mut damaged, at + 24, sealed);
    mend_record(&mut damaged, at);
    let (_, once) = repaired(damaged, "height");
    are_lost(&once, "two leaves", &[0, 600], "once");
    // Something else brings on another repair.
    let mut again = once;
    frame(&mut again, 10).fill(0);
    let (_, twice) = repaired(again, "height, twice");
    are_lost(&twice, "two leaves", &[0, 600], "twice");
}

#[test]
fn a_superblock_is_not_rebuilt_from_what_this_release_does_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let refused = |what: &str, damaged: Vec<u8>, is_it: fn(&Error) -> bool| {
        for read_only in [false, true] {
            fs::write(&path, &damaged).unwrap();
            let error = options().read_only(read_only).repair(&path).unwrap_err();
            assert!(is_it(&error), "{what}, {read_only}: {error}");
            assert!(fs::read(&path).unwrap() == damaged, "{what}, {read_only}: something was written");
        }
    };
    let no_superblock = |image: &mut [u8]| image[..2 * FRAME].fill(0);
    for which in [RootWord::Incompat, RootWord::RoCompat] {
        let mut strange = image();
        let old = root(&strange, which);
        set_root(&mut strange, which, old | 1 << 9);
        no_superblock(&mut strange);
        refused("features", strange, |error| matches!(error, Error::Features { .. }));
    }
    for frames in [0, 3, 16385, u32::MAX] {
        let mut strange = image();
        for at in [2 * FRAME, 3 * FRAME] {
            let first = word(&strange, at + 48) & u64::from(u32::MAX);
            set_word(&mut strange, at + 48, first | u64::from(frames) << 32);
            mend_sector(&mut strange, at);
        }
        no_superblock(&mut strange);
        refused("log", strange, |error| matches!(error, Error::Corrupt { .. }));
    }
    let mut strange = image();
    no_superblock(&mut strange);
    strange.truncate(40 * FRAME);
    refused("short", strange, |error| matches!(error, Error::Truncated { .. }));
}

#[test]
fn a_superblock_comes_from_the_roots_of_this_region_alone() {
    // Each root has one of the two lines that tell of it.
    let mut apart = image();
    frame(&mut apart, 6)[128..192].fill(0x77);
    frame(&mut apart, 7)[64..128].fill(0x77);
    apart[..2 * FRAME].fill(0);
    let (done, _) = repaired(apart, "apart");
    assert_eq!(said(&done, "superblock"), 1);
    // A page of an object is a copy of another region's root.
    let mut foreign = image();
    let copy = image()[6 * FRAME..7 * FRAME].to_vec();
    let last = foreign.len() - 2 * FRAME;
    foreign[last..last + FRAME].copy_from_slice(&copy);
    foreign[..2 * FRAME].fill(0);
    (6..8).for_each(|n| frame(&mut foreign, n)[64..128].fill(0x77));
    let refused = options().repair_image(foreign);
    assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
}

#[test]
fn numbers_that_no_object_can_have_are_replaced() {
    for number in [u64::MAX, u64::MAX - 5, 1 << 62, (1 << 62) - 1] {
        for loses_line in [false, true] {
            let what = format!("{number:#x} {loses_line}");
            let mut damaged = image();
            let at = record(&damaged, "one");
            set_word(&mut damaged, at, number);
            mend_record(&mut damaged, at);
            if loses_line {
                (6..8).for_each(|n| frame(&mut damaged, n)[..64].fill(0x77));
            }
            let (done, image) = repaired(damaged, &what);
            assert_eq!(said(&done, "object-number"), 1, "{what}: {:#?}", done.repairs);
            let store = options().open_image(image.clone()).unwrap();
            let mut bytes = vec![0; FRAME];
            read(&store.open("one").unwrap(), 0, &mut bytes).unwrap();
            assert_eq!(bytes, page("one", 0));
            assert!(root(&image, RootWord::NextObject) < 1 << 40, "{what}");
        }
    }
}

#[test]
fn numbers_are_left_out_once() {
    let mut damaged = image();
    let before = root(&damaged, RootWord::NextObject);
    let at = record(&damaged, "two leaves");
    damaged[at..at + 64].fill(0x11);
    set_root(&mut damaged, RootWord::NextObject, 1 << 62);
    let (done, image) = repaired(damaged, "number");
    assert_eq!(said(&done, "lost+found"), 1, "{:#?}", done.repairs);
    let after = root(&image, RootWord::NextObject);
    assert!(after < before + (1 << 32) + 10, "{after}");
}

#[test]
fn no_frame_of_an_object_that_was_lost_is_taken_where_the_bitmap_is_lost_too() {
    let mut damaged = image();
    let at = record(&damaged, "two leaves");
    damaged[at..at + 64].fill(0x11);
    frame(&mut damaged, 10).fill(0x77);
    let (_, image) = repaired(damaged.clone(), "both");
    let mut met = 0;
    for (n, bytes) in damaged.chunks(FRAME).enumerate() {
        if bytes.starts_with(b"a page: two leaves") {
            met += 1;
            assert!(image[n * FRAME..][..FRAME] == *bytes, "frame {n} was taken");
        }
    }
    assert_eq!(met, objects()["two leaves"].len());
}
