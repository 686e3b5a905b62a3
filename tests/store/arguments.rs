//! Arguments at their extremes are answers: never a panic, a hang, or work without end.

use crate::{PAGE, filled, memory, pin};
use pagestone::Error;
use pagestone::store::Store;
use pagestone::units::{Durability, PageIndex, Pfn, PfnRange};
use std::time::Duration;

#[test]
fn a_wait_without_end_ends_with_the_last_pin() {
    let store = memory(Durability::Volatile);
    let object = filled(&store, "a", 4);
    let pinned = pin(&object, 3);
    std::thread::scope(|scope| {
        let cut = scope.spawn(|| object.set_len_wait(PAGE, Duration::MAX));
        std::thread::sleep(Duration::from_millis(20));
        assert!(!cut.is_finished());
        drop(pinned);
        cut.join().unwrap().unwrap();
    });
    assert_eq!(object.len(), PAGE);
}

#[test]
fn a_store_in_memory_of_no_possible_size_is_refused_in_words() {
    for bytes in [u64::MAX, u64::MAX - 4095, (16 << 40) + 1] {
        let refused = Store::options().open_memory(bytes).map(drop);
        assert!(matches!(refused, Err(Error::OutOfRange { .. })), "{bytes}: {refused:?}");
    }
    for bytes in [0, 1, 4096, 8191] {
        let refused = Store::options().open_memory(bytes).map(drop).unwrap_err();
        let words = refused.to_string();
        assert!(matches!(refused, Error::Invalid(_)) && words.contains("at least 8192"), "{words}");
    }
    let refused =
        Store::options().max_size(16 << 10).open_memory(16 << 10).map(drop).unwrap_err().to_string();
    assert!(refused.contains("needs") && refused.contains("maximum of 16384"), "{refused}");
    drop(Store::options().open_memory(8192).unwrap());
    drop(Store::options().wait(Duration::MAX).open_memory(1 << 20).unwrap());
}

#[test]
fn frames_beyond_those_in_use_are_refused_at_once() {
    let store = memory(Durability::Volatile);
    let info = store.info();
    assert!(info.pfns.frames > 1 << 20, "there is a wide window");
    let first = info.pfns.start.get();
    let beyond = [
        info.pfns,
        PfnRange::new(info.pfns.start, info.frames + 1),
        PfnRange::new(Pfn::new(first + info.frames), 1),
        PfnRange::new(Pfn::new(first + info.pfns.frames - 1), u64::MAX),
        PfnRange::new(Pfn::new(u64::MAX), u64::MAX),
        PfnRange::new(Pfn::new(0), u64::MAX),
    ];
    let touched = store.stats().table_first_touches;
    for range in beyond {
        let refused = store.frames(range).map(drop);
        assert!(matches!(refused, Err(Error::OutOfRange { .. })), "{range:?}: {refused:?}");
    }
    assert!(
        store.stats().table_first_touches <= touched + 1000,
        "frames were pinned before they were refused"
    );
}

#[test]
fn offsets_and_lengths_at_their_extremes_are_answers() {
    let store = Store::options().max_size(4 << 20).open_memory(1 << 20).unwrap();
    let object = filled(&store, "a", 4);
    let most = u64::MAX;
    let mut bytes = [0; 8];
    assert_eq!(object.read_at(most, &mut bytes).unwrap(), 0);
    assert_eq!(object.read_at(object.len() - 1, &mut bytes).unwrap(), 1);
    assert!(object.pin(PageIndex(most)).is_err() || object.pin(PageIndex(most)).unwrap().is_none());
    assert!(object.pin_mut(PageIndex(most)).is_err());
    for offset in [most, most - 7, 1 << 63] {
        assert!(object.write_at(offset, &bytes).is_err());
        assert!(object.set_len(offset).is_err());
        assert!(object.set_len_wait(offset, Duration::ZERO).is_err());
        for len in [1, 8, most] {
            assert!(object.allocate(offset, len).is_err());
            let _ = object.punch_hole(offset, len);
            let _ = object.sync_range(offset, len);
            let _ = object.pin_range(offset, len as usize).map(drop);
        }
        let mut batch = store.batch();
        let staged = batch.write_at(&object, offset, &bytes).and_then(|()| batch.set_len(&object, offset));
        assert!(staged.and_then(|()| batch.commit()).is_err());
    }
    assert!(object.allocate(0, most).is_err());
    assert!(object.allocate(0, 1 << 40).is_err(), "there is no room");
    let _ = object.punch_hole(0, most);
    let _ = object.sync_range(0, most);
    let page = object.pin_mut(PageIndex(0)).unwrap();
    let ranges = [(usize::MAX, usize::MAX), (0, usize::MAX), (usize::MAX, 0), (4097, 4097), (5, 4)];
    for range in ranges.map(|(start, end)| start..end) {
        assert!(page.write_range(range.clone()).is_err(), "{range:?}");
    }
    drop(page);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("region");
    for frames in [0, 1, 1 << 20, u32::MAX - 63, u32::MAX] {
        let options = Store::options().log_frames(frames);
        assert!(options.open_memory(1 << 20).is_err(), "a log of {frames}");
        assert!(matches!(options.create(true).open(&path), Err(Error::Invalid(_))), "a log of {frames}");
        assert!(!path.exists(), "a file was left");
    }
    assert!(Store::options().max_size(u64::MAX).open_memory(1 << 20).is_err());
    // A maximum of 0: it cannot grow, but has what it needs.
    drop(Store::options().max_size(0).open_memory(1 << 20).unwrap());
    assert!(store.check().unwrap().is_clean());
}
