//! One page by object, by pfn and by address is one descriptor.

use crate::{PAGE, filled, pin, shown, store};
use pagestone::Error;
use pagestone::page::PageOwner;
use pagestone::store::{PinRange, frames_at};
use pagestone::units::{PageIndex, Pfn, PfnRange};

#[test]
fn a_page_by_object_pfn_and_address_has_one_descriptor() {
    let store = store();
    let object = filled(&store, "a", 3);
    let by_object = pin(&object, 1);
    let by_pfn = store.frames(PfnRange::new(by_object.pfn(), 1)).unwrap().pop().unwrap();
    let by_address = frames_at(by_object.address().wrapping_add(17), 1).unwrap().pop().unwrap();
    for page in [&by_pfn, &by_address] {
        assert_eq!(page.pfn(), by_object.pfn());
        assert_eq!(page.address(), by_object.address());
        assert_eq!(page.info().pins, 3);
        assert_eq!(page.info().owner, Some(PageOwner { object: object.id() as u32, index: PageIndex(1) }));
    }
    by_pfn.write_range(5..8).unwrap().copy_from_slice(b"abc");
    assert_eq!(&shown(&by_object)[4..9], b"\x02abc\x02");
    drop(by_object);
    assert_eq!(by_address.info().pins, 2);
    drop(by_pfn);
    assert_eq!(by_address.info().pins, 1);
    drop(by_address);
    assert_eq!(store.stats().pinned_pages, 0);
}

#[test]
fn a_frame_never_touched_is_found_by_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let (first, count) = {
        let store = pagestone::store::Store::options().create(true).open(&path).unwrap();
        let object = filled(&store, "a", 8);
        let number = pin(&object, 2).pfn().get() - store.info().pfns.start.get();
        drop(object);
        store.close().unwrap();
        (number, 1)
    };
    let store = pagestone::store::Store::options().open(&path).unwrap();
    let range = PfnRange::new(Pfn::new(store.info().pfns.start.get() + first), count);
    let by_pfn = store.frames(range).unwrap();
    assert_eq!(shown(&by_pfn[0]), [3; PAGE as usize]);
    let object = store.open("a").unwrap();
    assert_eq!(pin(&object, 2).info().pins, 2);
}

#[test]
fn ranges_of_addresses_and_pfns_agree_element_by_element() {
    let store = store();
    let object = store.create("a").unwrap();
    object.allocate(0, 16 * PAGE).unwrap();
    object.set_len(16 * PAGE).unwrap();
    let range =
        object.pin_range(0, 16 * PAGE as usize).unwrap().pinned().expect("a fresh region is contiguous");
    let by_address = frames_at(range.address().wrapping_add(100), 3 * PAGE as usize).unwrap();
    let by_pfn = store.frames(PfnRange::new(by_address[0].pfn(), 4)).unwrap();
    assert_eq!(by_address.len(), 4);
    for (a, b) in by_address.iter().zip(&by_pfn) {
        assert_eq!((a.pfn(), a.address()), (b.pfn(), b.address()));
        assert_eq!(a.info().pins, 3);
    }
}

#[test]
fn metadata_free_frames_and_foreign_memory_are_refused() {
    let store = store();
    let object = filled(&store, "a", 1);
    let base = store.info().pfns.start;
    let page = pin(&object, 0);
    for metadata in [0, 4, 9] {
        let refused = store.frames(PfnRange::new(base.checked_add(metadata).unwrap(), 1));
        assert!(matches!(refused, Err(Error::Invalid(_))), "frame {metadata}");
    }
    let free = store.frames(PfnRange::new(page.pfn(), 2));
    assert!(matches!(free, Err(Error::Invalid(_))));
    assert_eq!(page.info().pins, 1, "nothing is left of a range that was refused");
    let after = store.info().pfns.start.get() + store.info().pfns.frames;
    assert!(matches!(store.frames(PfnRange::new(Pfn::new(after), 1)), Err(Error::OutOfRange { .. })));
    let local = [0u8; 16];
    assert!(matches!(frames_at(local.as_ptr(), 16), Err(Error::ForeignAddress { .. })));
}

#[test]
fn a_range_of_pins_is_contiguous_or_nothing() {
    let store = store();
    let object = store.create("a").unwrap();
    let other = store.create("b").unwrap();
    // The objects are written in turns, so the frames of one do not follow each other.
    for page in 0..4 {
        object.write_at(page * PAGE, &[1; 4096]).unwrap();
        other.write_at(page * PAGE, &[2; 4096]).unwrap();
    }
    let adjacent = pin(&object, 1).address() == pin(&object, 0).address().wrapping_add(PAGE as usize);
    assert_eq!(matches!(object.pin_range(100, PAGE as usize).unwrap(), PinRange::Pinned(_)), adjacent);
    let range = object.pin_range(PAGE + 512, 512).unwrap().pinned().expect("one frame is contiguous");
    assert_eq!(range.address(), pin(&object, 1).address().wrapping_add(512));
    assert_eq!((range.len(), range.frames()), (512, 1));
    assert!(matches!(object.pin_range(4 * PAGE - 1, 2).unwrap(), PinRange::PastEnd));
    let follows = |page| pin(&object, page).address() == pin(&object, page - 1).address().wrapping_add(4096);
    let in_one_piece = (1..4).all(follows);
    let whole = object.pin_range(0, 4 * PAGE as usize).unwrap();
    assert!(matches!(whole, PinRange::Scattered) != in_one_piece, "{whole:?}");
    drop(whole);
    object.set_len(6 * PAGE).unwrap();
    // A hole is reported wherever the frames before it lie.
    assert!(matches!(object.pin_range(0, 5 * PAGE as usize).unwrap(), PinRange::Hole));
    assert!(matches!(object.pin_range(5 * PAGE, 1).unwrap(), PinRange::Hole));
    assert_eq!(store.stats().pinned_pages, 1);
    drop(range);
    assert_eq!(store.stats().pinned_pages, 0);
}

#[test]
fn a_pin_given_away_by_address_is_taken_back_once() {
    let store = store();
    let object = filled(&store, "a", 2);
    let address = pin(&object, 0).into_raw();
    assert_eq!(store.stats().pinned_pages, 1);
    // SAFETY: the pin left above, taken back once.
    let page = unsafe { store.pages().adopt(address) }.unwrap();
    assert_eq!(page.info().pins, 1);
    drop(page);
    assert_eq!(store.stats().pinned_pages, 0);
    // SAFETY: the call is made to see it refused.
    assert!(matches!(unsafe { store.pages().adopt(address) }, Err(Error::Invalid(_))));
    let bytes = object.pin_range(10, 2 * PAGE as usize - 20).unwrap().pinned().unwrap().into_raw();
    assert_eq!(store.stats().pinned_pages, 2);
    // SAFETY: the pins left above, taken back once.
    drop(unsafe { store.pages().adopt_range(bytes) }.unwrap());
    assert_eq!(store.stats().pinned_pages, 0);
}

#[test]
fn an_optimistic_copy_is_whole_or_refused() {
    let store = store();
    let object = filled(&store, "a", 1);
    let page = pin(&object, 0);
    let mut copy = [0; PAGE as usize];
    assert!(page.read_optimistic(&mut copy).unwrap());
    assert_eq!(copy, [1; PAGE as usize]);
    let writer = page.write().unwrap();
    assert!(!page.read_optimistic(&mut copy).unwrap());
    assert!(page.try_read().unwrap().is_none());
    assert!(page.try_write().unwrap().is_none());
    drop(writer);
    assert!(page.read_optimistic(&mut copy).unwrap());
}
