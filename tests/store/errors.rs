//! Refusals change nothing.

use crate::{PAGE, content, filled, pin, store};
use pagestone::Error;
use pagestone::store::{Options, Store};

#[test]
fn a_pin_too_many_is_an_error_and_the_count_stays_right() {
    let store = store();
    let object = filled(&store, "a", 1);
    let pins: Vec<_> = (0..0x7fff).map(|_| pin(&object, 0)).collect();
    let refused = object.pin(pagestone::units::PageIndex(0));
    assert!(matches!(refused, Err(Error::TooManyPins { .. })), "{refused:?}");
    assert!(matches!(pins[0].try_clone(), Err(Error::TooManyPins { .. })));
    assert_eq!(pins[0].info().pins, 0x7fff);
    drop(pins);
    assert_eq!(store.stats().pinned_pages, 0);
}

#[test]
fn a_full_region_keeps_what_it_has() {
    let store = Store::options().max_size(5 << 20).open_memory(1 << 20).unwrap();
    let object = filled(&store, "a", 5);
    let before = content(&object);
    let refused = object.write_at(5 * PAGE - 10, &vec![9; 8 << 20]);
    assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
    assert_eq!(object.len(), 5 * PAGE);
    assert_eq!(content(&object)[..5 * PAGE as usize - 10], before[..5 * PAGE as usize - 10]);
    object.set_len(100 * PAGE).unwrap();
    assert!(content(&object)[5 * PAGE as usize..].iter().all(|&byte| byte == 0), "nothing of it shows later");
    object.append(b"there is room again").unwrap();
}

#[test]
fn a_file_of_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "not a region".repeat(1000)).unwrap();
    for create in [false, true] {
        let refused = Store::options().create(create).open(&path);
        assert!(matches!(refused, Err(Error::NotARegion { .. })), "{refused:?}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), "not a region".repeat(1000).as_bytes());
    assert!(Store::options().open(folder.path().join("none")).is_err());
}

#[test]
fn a_used_region_with_both_superblocks_gone_is_not_formatted_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = Store::options().create(true).open(&path).unwrap();
    filled(&store, "a", 5);
    store.close().unwrap();
    let whole = std::fs::read(&path).unwrap();
    assert!(whole.len() <= 1280 << 10, "the file has not grown: its length alone says nothing");
    // The superblocks, then also the lease, the log's headers, one of these with the lease, and all together.
    let frames: [&[usize]; 5] = [&[0, 1], &[0, 1, 4], &[0, 1, 2, 3], &[0, 1, 2, 4], &[0, 1, 2, 3, 4]];
    for blank in frames {
        let mut bytes = whole.clone();
        blank.iter().for_each(|frame| bytes[frame * 4096..][..4096].fill(0));
        std::fs::write(&path, &bytes).unwrap();
        for create in [false, true] {
            match Store::options().create(create).open(&path) {
                Err(Error::Corrupt { what: "superblock", why, .. }) if blank.len() < 5 => {
                    assert!(why.contains("restore from a copy"), "{why}");
                }
                Err(Error::NotARegion { .. }) if blank.len() == 5 => (),
                other => panic!("frames {blank:?}, create {create}: {other:?}"),
            }
            assert!(std::fs::read(&path).unwrap() == bytes, "frames {blank:?}, create {create}");
        }
    }
}

#[test]
fn data_behind_a_blank_head_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let data = b"somebody's data".repeat(100);
    for zeros in [4096, 8192, 20_000, 32 << 10, 300 << 10, 1 << 20] {
        let mut bytes = vec![0; zeros];
        bytes.extend(&data);
        std::fs::write(&path, &bytes).unwrap();
        for create in [false, true] {
            let refused = Store::options().create(create).open(&path);
            assert!(
                matches!(refused, Err(Error::NotARegion { .. } | Error::Corrupt { .. })),
                "{zeros}: {refused:?}"
            );
        }
        assert!(std::fs::read(&path).unwrap() == bytes, "{zeros}");
    }
}

#[test]
fn data_in_frames_that_a_format_writes_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let frame = PAGE as usize;
    // The second superblock, the log's headers, the root, the first bitmap.
    for number in [1, 2, 3, 6, 10] {
        for at in [0, 8, 512, 1024, frame - 100] {
            for end in [(number + 1) * frame, 120 * frame] {
                let mut bytes = vec![0; end];
                bytes[number * frame + at..][..100].fill(7);
                std::fs::write(&path, &bytes).unwrap();
                let refused = Store::options().create(true).open(&path);
                assert!(matches!(refused, Err(Error::NotARegion { .. })), "{number}, {at}: {refused:?}");
                assert!(std::fs::read(&path).unwrap() == bytes, "{number}, {at}");
            }
        }
    }
}

#[test]
fn zeros_that_an_unfinished_format_leaves_become_a_store() {
    let folder = tempfile::tempdir().unwrap();
    for len in [0, 16 << 10, 100_000, 512 << 10, 1_200 << 10] {
        let path = folder.path().join(format!("s{len}"));
        std::fs::write(&path, vec![0; len]).unwrap();
        let store = Store::options().create(true).open(&path).unwrap();
        crate::check(&store);
    }
}

#[test]
fn an_unfinished_format_becomes_a_store_of_another_limit() {
    const SMALL: u64 = 4 << 20;
    let folder = tempfile::tempdir().unwrap();
    let made = |name: &str, options: &Options| {
        let path = folder.path().join(name);
        options.clone().create(true).open(&path).unwrap().close().unwrap();
        // A format stores the superblock last, and the log's headers and the lease change later.
        let mut left = std::fs::read(&path).unwrap();
        left[..6 * 4096].fill(0);
        std::fs::write(&path, left).unwrap();
        path
    };
    for (name, first, then) in [
        ("large", Store::options(), Store::options().max_size(SMALL)),
        ("small", Store::options().max_size(SMALL), Store::options()),
    ] {
        let path = made(name, &first);
        // Of the copy of the superblock that is written first, a part was stored. Its last word names the log's size.
        let whole = folder.path().join(format!("whole {name}"));
        first.clone().create(true).open(&whole).unwrap().close().unwrap();
        let mut torn = std::fs::read(&path).unwrap();
        torn[4096..4192].copy_from_slice(&std::fs::read(&whole).unwrap()[4096..4192]);
        std::fs::write(&path, &torn).unwrap();
        let store = then.clone().create(true).open(&path).unwrap();
        crate::check(&store);
        // Then a format of the other limit was cut short as well.
        let both = made(&format!("both, {name} first"), &then);
        let mut left = std::fs::read(&both).unwrap();
        left[4096..4192].copy_from_slice(&torn[4096..4192]);
        std::fs::write(&both, left).unwrap();
        let store = then.create(true).open(&both).unwrap();
        crate::check(&store);
    }
}

#[test]
fn a_second_opening_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = Store::options().create(true).open(&path).unwrap();
    assert!(matches!(Store::options().open(&path), Err(Error::InUse { .. })));
    store.close().unwrap();
    Store::options().open(&path).unwrap().close().unwrap();
}

#[test]
fn ranges_outside_a_page_are_refused() {
    let store = store();
    let object = filled(&store, "a", 1);
    let page = pin(&object, 0);
    #[allow(clippy::reversed_empty_ranges, reason = "it is what a caller may pass")]
    for range in [0..4097, 9..3, 5000..5001] {
        assert!(matches!(page.write_range(range), Err(Error::OutOfRange { .. })));
    }
    assert!(page.write_range(7..7).unwrap().is_empty());
    assert!(!page.info().exclusive);
}
