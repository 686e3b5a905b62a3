//! Views: what they show beside cuts, growth and other owners of their frames, and what their guards exclude.

use crate::{PAGE, content, store};
use pagestone::page::frames_at;
use pagestone::store::{Object, Store, View};
use pagestone::units::PageIndex;
use pagestone::{Error, units::PfnRange};
use pagestone_kit::random::Random;
use pagestone_kit::skip::skipped;
use pagestone_kit::stop::Stop;
use pagestone_kit::{child, memory};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const P: usize = PAGE as usize;

/// Writes pages that say which object and page they are, one by one in turn with another object, so that no two of them
/// are adjacent.
pub fn scattered(store: &Store, name: &str, pages: u64) -> Object {
    let object = store.create(name).unwrap();
    let between = store.create(format!("between {name}")).unwrap();
    for page in 0..pages {
        object.append(&filled(object.id(), page)).unwrap();
        between.append(&[0xBB; P]).unwrap();
    }
    object
}

/// A page that says in each of its words whose it is.
pub fn filled(object: u64, page: u64) -> Vec<u8> {
    word(object, page).to_le_bytes().repeat(P / 8)
}

pub fn word(object: u64, page: u64) -> u64 {
    (object << 32) | (page + 1)
}

/// A load without a guard.
pub fn raw(view: &View, at: usize) -> u64 {
    assert!(at + 8 <= view.len());
    // SAFETY: inside the view, which lives. The bytes may change: the load is volatile and of a word.
    unsafe { view.address().wrapping_add(at).cast::<u64>().read_volatile() }
}

#[test]
fn a_view_shows_scattered_pages_in_order() {
    let store = store();
    let object = scattered(&store, "a", 40);
    let view = object.view(100..40 * PAGE - 3).unwrap();
    assert_eq!(view.len(), 40 * P - 103);
    assert!(view.pieces() >= 35, "{} pieces", view.pieces());
    assert_eq!(view.read(0..view.len()).unwrap()[..], content(&object)[100..40 * P - 3]);
    object.write_at(5 * PAGE + 7, b"through the object").unwrap();
    assert_eq!(&view.read(5 * P - 93..5 * P - 75).unwrap()[..], b"through the object");
}

#[test]
fn bytes_written_through_a_view_are_the_objects_and_survive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = Store::options().create(true).open(&path).unwrap();
    let object = scattered(&store, "a", 8);
    let view = object.view_mut(0..8 * PAGE).unwrap();
    let long = vec![0x5A; 3 * P];
    view.write(P + 10..4 * P + 10).unwrap().copy_from_slice(&long);
    assert_eq!(content(&object)[P + 10..4 * P + 10], long);
    assert_eq!(content(&object)[..P], filled(object.id(), 0));
    object.sync().unwrap();
    drop((view, object));
    store.close().unwrap();
    let store = Store::options().read_only(true).open(&path).unwrap();
    let object = store.open("a").unwrap();
    assert_eq!(&object.view(P as u64 + 10..4 * PAGE + 10).unwrap().read(0..3 * P).unwrap()[..], long);
}

#[test]
fn what_is_cut_off_shows_zeros_and_never_its_frames_next_owner() {
    let store = store();
    let object = scattered(&store, "a", 20);
    let view = object.view(0..20 * PAGE).unwrap();
    let before = view.taken();
    object.set_len(3 * PAGE).unwrap();
    assert_eq!(view.taken() - before, 17);
    object.punch_hole(PAGE, PAGE).unwrap();
    // The frames go to another owner.
    let other = store.create("other").unwrap();
    other.write_at(0, &vec![0xEE; 200 * P]).unwrap();
    for page in 0..20 {
        let expected = if page == 0 || page == 2 { word(object.id(), page as u64) } else { 0 };
        assert_eq!(raw(&view, page * P + 8), expected, "page {page}");
    }
    assert_eq!(view.read(P..2 * P).unwrap()[..], [0; P]);
    assert_eq!(view.read(10 * P..20 * P).unwrap()[..], [0; 10 * P]);
}

#[test]
fn a_page_that_is_cut_off_while_it_is_pinned_stays_shown_until_its_last_pin() {
    let store = store();
    let object = scattered(&store, "a", 4);
    let view = object.view(0..4 * PAGE).unwrap();
    let slice = view.read(2 * P..3 * P).unwrap();
    object.set_len(0).unwrap();
    let other = store.create("other").unwrap();
    other.write_at(0, &vec![0xEE; 100 * P]).unwrap();
    assert_eq!(slice[..], filled(object.id(), 2));
    assert_eq!(raw(&view, P), 0, "a page without a pin is gone");
    // The page gets another frame, and is not shown before the former one may go.
    object.write_at(2 * PAGE, &[7; P]).unwrap();
    assert_eq!(slice[..], filled(object.id(), 2));
    assert!(matches!(view.read(2 * P..3 * P), Err(Error::Busy { .. })));
    drop(slice);
    // An access takes the frame back, though nothing changes any more.
    assert_eq!(view.read(2 * P..3 * P).unwrap()[..], [7; P]);
    assert_eq!(raw(&view, 2 * P), u64::from_le_bytes([7; 8]));
    drop((view, object, other));
    assert_eq!(store.stats().pinned_pages, 0);
    crate::check(&store);
}

#[test]
fn a_hole_that_gets_a_page_is_shown_at_once_but_under_a_guard() {
    let store = store();
    let object = store.create("a").unwrap();
    object.set_len(10 * PAGE).unwrap();
    let view = object.view_mut(0..10 * PAGE).unwrap();
    assert_eq!((view.pieces(), raw(&view, 5 * P)), (0, 0));
    object.write_at(5 * PAGE, &[5; P]).unwrap();
    assert_eq!(raw(&view, 5 * P), u64::from_le_bytes([5; 8]));
    let guard = view.read(6 * P..8 * P).unwrap();
    object.write_at(6 * PAGE, &[6; 2 * P]).unwrap();
    assert_eq!(guard[..], [0; 2 * P], "bytes under a slice do not change");
    assert!(matches!(view.write(6 * P..7 * P), Err(Error::Busy { .. })));
    drop(guard);
    assert_eq!(view.read(6 * P..8 * P).unwrap()[..], [6; 2 * P]);
    // A batch and a growth are seen, too.
    let mut batch = store.batch();
    batch.write_at(&object, 0, &[9; 100]).unwrap();
    batch.commit().unwrap();
    assert_eq!(raw(&view, 0), u64::from_le_bytes([9; 8]));
    object.set_len(PAGE).unwrap();
    object.allocate(0, 10 * PAGE).unwrap();
    assert_eq!(view.read(0..10 * P).unwrap()[P..], [0; 9 * P]);
    object.set_len(10 * PAGE).unwrap();
    object.pin(PageIndex(4)).unwrap().unwrap().write().unwrap().fill(4);
    assert_eq!(raw(&view, 4 * P), u64::from_le_bytes([4; 8]), "pages that growth has uncovered are shown");
}

#[test]
fn a_write_through_a_view_fills_holes_and_stays_inside_the_object() {
    let store = store();
    let object = store.create("a").unwrap();
    object.set_len(10 * PAGE).unwrap();
    let view = object.view_mut(0..10 * PAGE).unwrap();
    view.write(3 * P - 2..3 * P + 2).unwrap().copy_from_slice(b"four");
    assert_eq!(&content(&object)[3 * P - 2..3 * P + 2], b"four");
    object.set_len(3 * PAGE).unwrap();
    let refused = view.write(3 * P - 2..3 * P + 2).err();
    assert!(matches!(refused, Some(Error::OutOfRange { .. })), "{refused:?}");
    assert_eq!(object.len(), 3 * PAGE, "a write through a view does not grow the object");
    assert!(view.write(0..0).unwrap().is_empty());
    assert!(view.read(0..0).unwrap().is_empty());
}

#[test]
fn guards_of_a_view_exclude_as_guards_of_its_pages_do() {
    let store = store();
    let object = scattered(&store, "a", 4);
    let view = object.view_mut(0..4 * PAGE).unwrap();
    let page = object.pin(PageIndex(1)).unwrap().unwrap();
    let read = view.read(0..2 * P).unwrap();
    assert!(page.try_write().unwrap().is_none());
    assert!(page.try_read().unwrap().is_some());
    drop(read);
    let write = view.write(P..P + 1).unwrap();
    assert!(page.try_read().unwrap().is_none());
    assert!(matches!(view.read(0..2 * P), Err(Error::WaitsForItself { .. })));
    drop(write);
    assert!(page.try_write().unwrap().is_some());
}

#[test]
fn an_address_of_a_view_leads_to_the_pages_own_descriptor() {
    let store = store();
    let object = scattered(&store, "a", 6);
    object.punch_hole(4 * PAGE, PAGE).unwrap();
    let (one, two) = (object.view(PAGE..6 * PAGE).unwrap(), object.view(0..6 * PAGE).unwrap());
    let by_object: Vec<_> = (1..4).map(|page| object.pin(PageIndex(page)).unwrap().unwrap()).collect();
    for (view, at) in [(&one, 5), (&two, P + 5)] {
        let found = frames_at(view.address().wrapping_add(at), 2 * P).unwrap();
        let pfns = |pages: &[pagestone::PageRef]| pages.iter().map(|page| page.pfn()).collect::<Vec<_>>();
        assert_eq!(pfns(&found), pfns(&by_object));
        assert_eq!(found[0].address(), by_object[0].address());
        let by_pfn = store.frames(PfnRange::new(found[0].pfn(), 1)).unwrap();
        assert_eq!(by_pfn[0].info().pins, 3);
    }
    let hole = frames_at(two.address().wrapping_add(4 * P), 1);
    assert!(matches!(hole, Err(Error::Invalid(_))), "{hole:?}");
    let beyond = frames_at(two.address().wrapping_add(5 * P), P + 1);
    assert!(matches!(beyond, Err(Error::ForeignAddress { .. })), "{beyond:?}");
    object.set_len(0).unwrap();
    let cut = frames_at(two.address().wrapping_add(P), 1);
    assert!(matches!(cut, Err(Error::Detached { .. })), "{cut:?}");
}

#[test]
fn a_pin_of_a_view_keeps_what_its_addresses_show() {
    let store = store();
    let object = scattered(&store, "a", 4);
    let view = object.view_mut(0..4 * PAGE).unwrap();
    let pin = view.pin(P + 8..3 * P).unwrap().expect("no hole");
    assert_eq!(
        (pin.address(), pin.len(), pin.pages().len()),
        (view.address().wrapping_add(P + 8), 2 * P - 8, 2)
    );
    object.set_len(0).unwrap();
    store.create("other").unwrap().write_at(0, &vec![0xEE; 100 * P]).unwrap();
    assert_eq!((raw(&view, P + 8), raw(&view, 0)), (word(object.id(), 1), 0));
    drop(pin);
    store.create("another").unwrap();
    store.create("yet another").unwrap().write_at(0, &vec![0xEE; 100 * P]).unwrap();
    assert_eq!(raw(&view, P + 8), 0);
    object.set_len(4 * PAGE).unwrap();
    assert!(view.pin(0..P).unwrap().is_none(), "a hole has nothing to pin");
    let filled = view.pin_mut(0..P).unwrap();
    assert_eq!(filled.pages().len(), 1, "a hole gets a frame before it is pinned for stores");
}

#[test]
fn bad_views_are_refused_by_name_and_nothing_changes() {
    let store = store();
    let object = scattered(&store, "a", 3);
    let said = |answer: pagestone::Result<View>| answer.expect_err("it is refused").to_string();
    assert!(said(object.view(5..5)).contains("empty range"));
    #[allow(clippy::reversed_empty_ranges, reason = "what a caller may pass")]
    let backwards = object.view(6..5);
    assert!(said(backwards).contains("empty range"));
    assert!(said(object.view(0..3 * PAGE + 1)).contains("end of a view"));
    assert!(said(object.view(0..u64::MAX)).contains("out of range"));
    let view = object.view(0..3 * PAGE).unwrap();
    assert!(matches!(view.write(0..1), Err(Error::Invalid(_))));
    assert!(matches!(view.pin_mut(0..1), Err(Error::Invalid(_))));
    assert!(matches!(view.read(0..3 * P + 1), Err(Error::OutOfRange { .. })));
    assert!(matches!(view.read(usize::MAX - 1..usize::MAX), Err(Error::OutOfRange { .. })));
    assert!(matches!(store.clone().close(), Err(error) if matches!(error.error, Error::Busy { .. })));
    drop(view);
    let image = Store::options().create(true).open_image(Vec::new()).unwrap();
    let object = image.create("a").unwrap();
    object.append(&[1; 10]).unwrap();
    assert!(said(object.view(0..10)).contains("image"));
}

#[test]
fn views_of_a_process_have_a_quarter_of_its_mappings_and_no_more() {
    // In a process of its own: other tests have views, too.
    if child::role().is_none() {
        let this = "views::views_of_a_process_have_a_quarter_of_its_mappings_and_no_more";
        assert!(child::again_as(this, "a budget", Path::new("")).status().unwrap().success());
        return;
    }
    let most =
        std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse::<u64>().unwrap() / 4;
    if most > 100_000 {
        return skipped(
            "a budget of pieces",
            "the kernel allows a process very many mappings (vm.max_map_count)",
        );
    }
    let store = Store::options().open_memory(1 << 20).unwrap();
    let object = scattered(&store, "a", most + 10);
    let refused = object.view(0..(most + 5) * PAGE).err();
    assert!(matches!(refused, Some(Error::Scattered { .. })), "{refused:?}");
    // Most of them at a time, again and again: what is dropped is given back.
    for _ in 0..3 {
        let view = object.view(0..most * 3 / 4 * PAGE).unwrap();
        assert!(view.pieces() as u64 >= most / 2);
        assert!(matches!(object.view(0..most * 3 / 4 * PAGE), Err(Error::Scattered { .. })));
        assert_eq!(raw(&view, 77 * P), word(object.id(), 77));
    }
    // Nor do pages that are written under a view take more: what finds no room is shown to guards as an error.
    let sparse = store.create("sparse").unwrap();
    sparse.set_len(2 * (most + 50) * PAGE).unwrap();
    let view = sparse.view(0..sparse.len()).unwrap();
    (0..most + 50).for_each(|n| sparse.write_at(2 * n * PAGE, &[7; 8]).unwrap());
    assert!(view.pieces() as u64 <= most, "{} pieces of {most}", view.pieces());
    // A page that moves is shown in its new place, though there is no room for pieces.
    let moved = sparse.move_pages(0..20, Duration::ZERO).unwrap();
    assert_eq!((moved.pages, moved.stayed), (10, 0));
    for page in (0..20).step_by(2) {
        assert_eq!(raw(&view, page * P), u64::from_le_bytes([7; 8]), "page {page}");
        assert_eq!(view.read(page * P..page * P + 8).unwrap()[..], [7; 8]);
    }
    let last = 2 * (most + 49) as usize * P;
    assert!(matches!(view.read(last..last + 8), Err(Error::Scattered { .. })));
    assert_eq!(raw(&view, last), 0);
    sparse.punch_hole(0, 100 * PAGE).unwrap();
    assert_eq!(view.read(last..last + 8).unwrap()[..], [7; 8]);
    // No other test maps anything here, so the addresses of a view that was dropped are no other's.
    let address = view.address().wrapping_add(last);
    assert_eq!(frames_at(address, 1).unwrap().len(), 1);
    drop(view);
    assert!(matches!(frames_at(address, 1), Err(Error::ForeignAddress { .. })));
}

/// Readers without guards look at a view while its object is cut, punched, written and appended to by batches, and another
/// object takes every frame that becomes free. They see the page's own words or zeros.
#[test]
fn raw_readers_of_a_view_see_its_pages_or_zeros_in_a_storm_of_cuts() {
    const PAGES: u64 = 64;
    let store = store();
    let object = scattered(&store, "a", PAGES);
    let view = object.view(0..PAGES * PAGE).unwrap();
    let (stop, loads) = (AtomicBool::new(false), AtomicU64::new(0));
    let id = object.id();
    thread::scope(|scope| {
        for seed in 0..2 {
            let (view, stop, loads) = (&view, &stop, &loads);
            scope.spawn(move || {
                let (mut random, mut count) = (Random::new(seed), 0);
                while !stop.load(Ordering::Relaxed) {
                    let page = random.below(PAGES);
                    let seen = raw(view, page as usize * P + random.below(512) as usize * 8);
                    assert!(seen == 0 || seen == word(id, page), "page {page} shows {seen:#x}");
                    count += 1;
                }
                loads.fetch_add(count, Ordering::Relaxed);
            });
        }
        let guarded = scope.spawn(|| {
            let mut random = Random::new(9);
            while !stop.load(Ordering::Relaxed) {
                let (from, count) = (random.below(PAGES), random.below(5) + 1);
                let pages = from..(from + count).min(PAGES);
                match view.read(pages.start as usize * P..pages.end as usize * P) {
                    Ok(guard) => {
                        for _ in 0..2 {
                            for (page, bytes) in pages.clone().zip(guard.chunks(P)) {
                                assert!(bytes == filled(id, page) || bytes == [0; P], "page {page}");
                            }
                        }
                    }
                    Err(Error::Busy { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        // Views that are made beside batches and cuts show nothing else either.
        let maker = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let Ok(view) = object.view(0..object.len()) else { continue };
                for page in 0..view.len() / P {
                    let seen = raw(&view, page * P + 16);
                    assert!(
                        seen == 0 || seen == word(id, page as u64),
                        "page {page} of a new view: {seen:#x}"
                    );
                }
            }
        });
        let taker = scope.spawn(|| {
            let other = store.create("taker").unwrap();
            while !stop.load(Ordering::Relaxed) {
                other.append(&vec![0xEE; 60 * P]).unwrap();
                other.set_len(0).unwrap();
            }
        });
        let _stop = Stop(&stop);
        let mut random = Random::new(77);
        let end = Instant::now() + Duration::from_secs(3);
        let mut rounds = 0_u64;
        while Instant::now() < end || rounds < 100 {
            let page = random.below(PAGES);
            match random.below(4) {
                0 => object.set_len(page * PAGE).unwrap(),
                1 => object.punch_hole(page * PAGE, 4 * PAGE).unwrap(),
                2 => {
                    let mut batch = store.batch();
                    batch.write_at(&object, page * PAGE, &filled(id, page)).unwrap();
                    batch.commit().unwrap();
                }
                _ => {
                    object.write_at(page * PAGE, &[filled(id, page), filled(id, page + 1)].concat()).unwrap()
                }
            }
            rounds += 1;
        }
        stop.store(true, Ordering::Relaxed);
        assert!(guarded.join().is_ok() && maker.join().is_ok() && taker.join().is_ok());
    });
    assert!(loads.into_inner() > 1000);
    drop(view);
    drop(object);
    assert_eq!(store.stats().pinned_pages, 0);
    crate::check(&store);
}

/// All mappings that the process may have are in use: a cut succeeds, the frames that cannot be taken from the view stay out
/// of use, and are freed when there is room.
#[test]
fn a_cut_succeeds_where_the_kernel_refuses_to_change_mappings() {
    alone("views::a_cut_succeeds_where_the_kernel_refuses_to_change_mappings", cut_without_mappings);
}

/// Runs a test in a process of its own, because no other test could map anything: once where the kernel can still make pages
/// of a view fault, and once where it refuses that, too.
pub fn alone(name: &str, test: fn(locked: bool)) {
    if child::role().is_some() {
        [false, true].into_iter().for_each(test);
    } else {
        assert!(child::again_as(name, "without mappings", Path::new("")).status().unwrap().success());
    }
}

/// Takes all mappings that are left to the process. `locked`: the kernel also refuses to make pages of this view fault.
/// `None`: the machine cannot do that, and it was said that the test is skipped.
pub fn without_mappings(view: &View, locked: bool) -> Option<memory::Crowd> {
    if locked && !memory::lock(view.address(), view.len()) {
        skipped("a view in locked memory", "the process may not lock 120 KiB (RLIMIT_MEMLOCK)");
    } else if !locked && !memory::can_fault() {
        let why = "the kernel makes no pages of files fault (before Linux 6.15)";
        skipped("pages of a view that fault", why);
    } else {
        return Some(memory::Crowd::take());
    }
    None
}

fn cut_without_mappings(locked: bool) {
    let store = store();
    let object = scattered(&store, "a", 30);
    let view = object.view(0..30 * PAGE).unwrap();
    let id = object.id();
    let Some(crowd) = without_mappings(&view, locked) else { return };
    object.set_len(2 * PAGE).unwrap();
    let other = store.create("other").unwrap();
    // Often enough that the log passes what was freed, and its frames are used again.
    for _ in 0..300 {
        other.set_len(0).unwrap();
        other.write_at(0, &[0xEE; 50 * P]).unwrap();
    }
    let shown = |page: usize| memory::peek(view.address().wrapping_add(page * P));
    assert_eq!((shown(0), shown(1)), (Some(word(id, 0)), Some(word(id, 1))));
    for page in 2..30 {
        let expected = if locked { Some(word(id, page as u64)) } else { None };
        assert_eq!(shown(page), expected, "page {page}, locked: {locked}");
    }
    assert!(!locked || matches!(view.read(P..3 * P), Err(Error::Busy { .. })));
    assert!(
        locked || matches!(view.read(P..3 * P), Err(Error::Io { .. })),
        "no slice over addresses that fault"
    );
    drop(crowd);
    // Each later change tries again.
    other.write_at(50 * PAGE, &[0xEE; 50 * P]).unwrap();
    store.create("another").unwrap().write_at(0, &[0xEE; 50 * P]).unwrap();
    for page in 2..30 {
        assert_eq!(shown(page), if locked { Some(0) } else { None }, "page {page}, locked: {locked}");
    }
    assert_eq!(view.read(P..4 * P).unwrap()[P..], [0; 2 * P]);
    assert_eq!(shown(2), Some(0));
    object.write_at(2 * PAGE, &[2; P]).unwrap();
    assert_eq!(view.read(2 * P..3 * P).unwrap()[..], [2; P]);
    drop((view, object, other));
    assert_eq!(store.stats().pinned_pages, 0);
    crate::check(&store);
}
