//! Pages that move to other frames: what they show stays, beside readers, writers, pins, views, cuts and batches, and what
//! they leave is used again only when nothing leads to it.

use crate::turns::in_time;
use crate::views::{self, raw, scattered, word};
use crate::{PAGE, content, filled, goes_on, killed, memory, pin, shown, store};
use pagestone::page::frames_at;
use pagestone::store::{Object, Store};
use pagestone::units::{Durability, PageIndex, Pfn, PfnRange};
use pagestone::{Error, PageRef};
use pagestone_kit::memory::peek;
use pagestone_kit::random::Random;
use pagestone_kit::stop::Stop;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const P: usize = PAGE as usize;
const AT_ONCE: Duration = Duration::ZERO;
const SOON: Duration = Duration::from_millis(50);

fn pfns(object: &Object, pages: u64) -> Vec<Option<Pfn>> {
    let pfn = |page| object.pin(PageIndex(page)).unwrap().as_ref().map(PageRef::pfn);
    (0..pages).map(pfn).collect()
}

/// Moves all pages, of which none is pinned.
fn move_all(object: &Object) -> u64 {
    let moved = object.move_pages(0..u64::MAX, AT_ONCE).unwrap();
    assert_eq!(moved.stayed, 0);
    moved.pages
}

#[test]
fn pages_that_move_show_what_they_showed_and_are_elsewhere() {
    // One page, a leaf, several leaves, with holes; more than one record takes.
    for (pages, holes) in [(1, 0..0), (3, 1..2), (512, 7..9), (2000, 400..1300)] {
        let store = store();
        let object = filled(&store, "a", pages);
        object.punch_hole(holes.start * PAGE, (holes.end - holes.start) * PAGE).unwrap();
        let (before, bytes) = (pfns(&object, pages), content(&object));
        assert_eq!(move_all(&object), pages - (holes.end - holes.start));
        let after = pfns(&object, pages);
        for (page, (before, after)) in before.iter().zip(&after).enumerate() {
            assert_eq!(
                (before.is_none(), after.is_none()),
                (holes.contains(&(page as u64)), before.is_none())
            );
            assert!(before.is_none() || before != after, "page {page} of {pages}");
        }
        assert!(content(&object) == bytes);
        crate::check(&store);
    }
}

#[test]
fn what_has_moved_survives_a_copy_of_the_file_and_a_close() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let options = Store::options().create(true).clone();
    let store = options.open(&path).unwrap();
    let object = filled(&store, "a", 700);
    move_all(&object);
    object.write_at(600 * PAGE, b"behind the move").unwrap();
    object.sync().unwrap();
    // Not committed, but it changes nothing.
    move_all(&object);
    let bytes = content(&object);
    let (_folder, after) = killed(&path, &options);
    assert!(content(&after.open("a").unwrap()) == bytes);
    crate::check(&after);
    drop(object);
    store.close().unwrap();
    let store = options.open(&path).unwrap();
    assert!(content(&store.open("a").unwrap()) == bytes);
    crate::check(&store);
}

#[test]
fn what_pages_leave_is_used_again_and_nothing_leaks() {
    for class in [Durability::Fdatasync, Durability::CacheLine] {
        let store = memory(class);
        let object = filled(&store, "a", 100);
        let round = |rounds: usize| {
            (0..rounds).for_each(|_| assert_eq!(move_all(&object), 100));
            let counts = store.check().unwrap().counts;
            (counts.used, counts.frames)
        };
        assert_eq!(round(50), round(500), "{class}");
        assert_eq!(content(&object).len(), 100 * P);
        crate::check(&store);
    }
}

#[test]
fn a_pinned_page_stays_or_is_waited_for() {
    in_time(|| {
        let store = store();
        let object = filled(&store, "a", 10);
        let kept = pin(&object, 4);
        let before = pfns(&object, 10);
        let moved = object.move_pages(0..10, AT_ONCE).unwrap();
        assert_eq!((moved.pages, moved.stayed), (9, 1));
        assert_eq!((kept.pfn(), shown(&kept)), (before[4].unwrap(), vec![5; P]));
        assert_eq!(pfns(&object, 10).iter().zip(&before).filter(|(now, before)| now == before).count(), 1);
        kept.write().unwrap().fill(77);
        let moved = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(20));
                drop(kept);
            });
            object.move_pages(3..6, Duration::from_secs(1)).unwrap()
        });
        assert_eq!((moved.pages, moved.stayed), (3, 0));
        assert_ne!(pin(&object, 4).pfn(), before[4].unwrap());
        assert_eq!(shown(&pin(&object, 4)), vec![77; P]);
    });
}

/// A pin that comes while the move waits for an old one waits, too, and gets the page where it is then.
#[test]
fn a_pin_beside_a_move_gets_the_page_in_its_new_frame() {
    let store = store();
    let object = filled(&store, "a", 2);
    let (old, before) = (pin(&object, 1), pin(&object, 1).pfn());
    thread::scope(|scope| {
        let mover = scope.spawn(|| object.move_pages(1..2, Duration::from_secs(1)).unwrap());
        thread::sleep(Duration::from_millis(20));
        let later = scope.spawn(|| {
            let begun = Instant::now();
            (pin(&object, 1).pfn(), begun.elapsed())
        });
        let by_pfn = scope.spawn(|| store.frames(PfnRange::new(before, 1)).map(|pages| pages[0].pfn()));
        thread::sleep(Duration::from_millis(20));
        drop(old);
        assert_eq!(mover.join().unwrap().pages, 1);
        let (pfn, waited) = later.join().unwrap();
        assert_ne!(pfn, before);
        assert!(waited >= Duration::from_millis(10), "{waited:?}");
        // The frame holds no page any more.
        let by_pfn = by_pfn.join().unwrap();
        assert!(matches!(by_pfn, Err(Error::Invalid(_))), "{by_pfn:?}");
    });
}

#[test]
fn a_view_shows_pages_where_they_are_now_at_the_same_addresses() {
    let store = store();
    let object = scattered(&store, "a", 40);
    let view = object.view_mut(PAGE..40 * PAGE).unwrap();
    let (scattered, before) = (view.pieces(), view.taken());
    let pinned = view.pin(4 * P..5 * P).unwrap().expect("no hole");
    let moved = object.move_pages(0..40, AT_ONCE).unwrap();
    assert_eq!((moved.pages, moved.stayed), (39, 1));
    drop(pinned);
    assert!(view.pieces() < scattered, "{} pieces of {scattered}", view.pieces());
    assert_eq!(view.taken(), before, "nothing was cut off");
    // Other owners get the frames that were left.
    let other = store.create("other").unwrap();
    store.sync().unwrap();
    other.write_at(0, &[0xEE; 300 * P]).unwrap();
    for page in 1..40 {
        assert_eq!(raw(&view, (page as usize - 1) * P + 8), word(object.id(), page));
    }
    view.write(6 * P..7 * P).unwrap().fill(9);
    assert_eq!(shown(&pin(&object, 7)), vec![9; P]);
    let address = view.address().wrapping_add(9 * P);
    assert_eq!(frames_at(address, 1).unwrap()[0].pfn(), pin(&object, 10).pfn());
}

/// The pages of a hole under a guard, and of a page that was cut off under a pin, come to be shown where they are when that
/// ends.
#[test]
fn a_view_that_could_not_show_a_page_yet_shows_it_where_it_has_moved() {
    let store = store();
    let object = scattered(&store, "a", 4);
    object.punch_hole(PAGE, PAGE).unwrap();
    let view = object.view(0..4 * PAGE).unwrap();
    let (hole, cut) = (view.read(P..2 * P).unwrap(), view.read(3 * P..4 * P).unwrap());
    object.set_len(3 * PAGE).unwrap();
    object.write_at(PAGE, &[1; P]).unwrap();
    object.write_at(3 * PAGE, &[3; P]).unwrap();
    assert_eq!(move_all(&object), 4);
    store.create("other").unwrap().write_at(0, &[0xEE; 300 * P]).unwrap();
    object.write_at(PAGE, &[2; P]).unwrap();
    assert_eq!((hole[..] == [0; P], cut[..] == views::filled(object.id(), 3)[..]), (true, true));
    drop((hole, cut));
    assert_eq!(raw(&view, P), u64::from_le_bytes([2; 8]), "shown when the guard ends");
    assert_eq!(view.read(P..2 * P).unwrap()[..], [2; P]);
    assert_eq!(view.read(3 * P..4 * P).unwrap()[..], [3; P]);
    assert_eq!(raw(&view, 3 * P), u64::from_le_bytes([3; 8]));
}

/// Frames that were allocated ahead move, too. A view does not show them before the object has grown.
#[test]
fn pages_beyond_the_end_move_and_are_not_shown() {
    let store = store();
    let object = filled(&store, "a", 4);
    let view = object.view_mut(0..4 * PAGE).unwrap();
    object.set_len(PAGE).unwrap();
    object.allocate(PAGE, 3 * PAGE).unwrap();
    assert_eq!(move_all(&object), 4);
    for _ in 0..3 {
        assert_eq!(view.read(P..2 * P).unwrap()[..], [0; P]);
    }
    assert_eq!(view.pieces(), 1, "page 0");
    object.set_len(4 * PAGE).unwrap();
    pin(&object, 2).write().unwrap().fill(9);
    assert_eq!(view.read(2 * P..3 * P).unwrap()[..], [9; P]);
}

/// A latch without a pin was forgotten, and may be given back late. Until then its frame has no other page.
#[test]
fn a_page_whose_latch_was_forgotten_stays() {
    let store = store();
    let object = filled(&store, "a", 3);
    let page = pin(&object, 1);
    std::mem::forget(page.write().unwrap());
    drop(page);
    let moved = object.move_pages(0..3, Duration::from_millis(5)).unwrap();
    assert_eq!((moved.pages, moved.stayed), (2, 1));
}

#[test]
fn a_full_region_moves_what_it_can_and_loses_nothing() {
    let store = Store::options().assume(Durability::Volatile).max_size(4 << 20).open_memory(1 << 20).unwrap();
    let object = store.create("a").unwrap();
    let full = (0..).find(|page| object.write_at(page * PAGE, &[*page as u8; P]).is_err()).expect("it ends");
    let bytes = content(&object);
    let moved = object.move_pages(0..full, AT_ONCE).unwrap();
    assert_eq!(moved.pages + moved.stayed, full);
    assert!(content(&object) == bytes);
    object.set_len((full - 10) * PAGE).unwrap();
    assert!(object.move_pages(0..full, AT_ONCE).unwrap().pages > 0);
    assert!(content(&object)[..] == bytes[..(full as usize - 10) * P]);
    crate::check(&store);
}

#[test]
fn a_store_that_is_open_for_reading_moves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = Store::options().create(true).open(&path).unwrap();
    filled(&store, "a", 3);
    store.close().unwrap();
    let store = Store::options().read_only(true).open(&path).unwrap();
    let refused = store.open("a").unwrap().move_pages(0..3, AT_ONCE);
    assert!(matches!(refused, Err(Error::ReadOnly)), "{refused:?}");
}

/// Threads read, write under latches, cut, append and commit, while every page moves again and again. Each word of a page
/// says whose page it is and how often it was written, and each counted write is there at the end.
#[test]
fn no_store_is_lost_and_no_stranger_seen_while_every_page_moves() {
    const PAGES: u64 = 48;
    for class in [Durability::Volatile, Durability::CacheLine] {
        let store = memory(class);
        let object = store.create("counted").unwrap();
        object.write_at(0, &vec![0; PAGES as usize * P]).unwrap();
        let (stop, written) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; PAGES as usize]);
        let view = object.view(0..PAGES * PAGE).unwrap();
        let moves = AtomicU64::new(0);
        thread::scope(|scope| {
            for seed in 0..2 {
                let (object, stop, written) = (&object, &stop, &written);
                scope.spawn(move || {
                    let mut random = Random::new(seed);
                    while !stop.load(Ordering::Relaxed) {
                        let page = random.below(PAGES);
                        count_up(&pin(object, page));
                        written[page as usize].fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            scope.spawn(|| {
                let mut random = Random::new(7);
                let mut bytes = vec![0; P];
                while !stop.load(Ordering::Relaxed) {
                    let page = random.below(PAGES);
                    object.read_at(page * PAGE, &mut bytes).unwrap();
                    whole(&bytes);
                    whole(&view.read(page as usize * P..(page as usize + 1) * P).unwrap());
                    let seen = raw(&view, page as usize * P + 8);
                    assert!(
                        seen <= written[page as usize].load(Ordering::Relaxed) + 2,
                        "{seen:#x} is a stranger's"
                    );
                }
            });
            scope.spawn(|| {
                let other = store.create("taker").unwrap();
                while !stop.load(Ordering::Relaxed) {
                    other.append(&vec![0xEE; 60 * P]).unwrap();
                    other.set_len(0).unwrap();
                }
            });
            let _stop = Stop(&stop);
            let begun = Instant::now();
            while goes_on(begun, moves.load(Ordering::Relaxed) > 1000) {
                let moved = object.move_pages(0..PAGES, Duration::from_millis(2)).unwrap();
                moves.fetch_add(moved.pages, Ordering::Relaxed);
            }
        });
        assert!(moves.into_inner() > 1000);
        for (page, written) in (0..).zip(written) {
            let bytes = shown(&pin(&object, page));
            assert_eq!(whole(&bytes), written.into_inner(), "page {page}");
        }
        drop((view, object));
        assert_eq!(store.stats().pinned_pages, 0);
        crate::check(&store);
    }
}

/// Adds one to each word of a page.
fn count_up(page: &PageRef) {
    for word in page.write().unwrap().chunks_mut(8) {
        let count = u64::from_le_bytes(word.try_into().unwrap()) + 1;
        word.copy_from_slice(&count.to_le_bytes());
    }
}

/// The number in each word of a page, which must be the same.
fn whole(bytes: &[u8]) -> u64 {
    let words = bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
    let first = words.clone().next().unwrap();
    words.for_each(|word| assert_eq!(word, first, "a page of two pieces"));
    first
}

/// Moves beside everything else that changes the map of an object.
#[test]
fn pages_move_beside_cuts_batches_and_other_moves() {
    const PAGES: u64 = 64;
    let store = memory(Durability::CacheLine);
    let object = store.create("a").unwrap();
    let (stop, moves) = (AtomicBool::new(false), AtomicU64::new(0));
    let page = |n: u64| vec![n as u8 + 1; P];
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let moved = object.move_pages(0..PAGES, Duration::from_millis(1)).unwrap();
                    moves.fetch_add(moved.pages, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            let mut random = Random::new(3);
            while !stop.load(Ordering::Relaxed) {
                let n = random.below(PAGES);
                let mut bytes = vec![0; P];
                let read = object.read_at(n * PAGE, &mut bytes).unwrap();
                assert!(read == 0 || bytes == [0; P] || bytes == page(n), "page {n}: {}", bytes[0]);
            }
        });
        let _stop = Stop(&stop);
        let mut random = Random::new(1);
        let begun = Instant::now();
        while goes_on(begun, moves.load(Ordering::Relaxed) > 100) {
            let n = random.below(PAGES);
            match random.below(6) {
                0 => object.set_len(n * PAGE).unwrap(),
                1 => object.punch_hole(n * PAGE, 4 * PAGE).unwrap(),
                2 => object.set_len_wait(n * PAGE, SOON).unwrap(),
                3 => {
                    let mut batch = store.batch();
                    batch.write_at(&object, n * PAGE, &[page(n), page(n + 1)].concat()).unwrap();
                    batch.commit().unwrap();
                }
                4 => object.sync().unwrap(),
                _ => object.write_at(n * PAGE, &[page(n), page(n + 1)].concat()).unwrap(),
            }
        }
    });
    assert!(moves.into_inner() > 100);
    drop(object);
    crate::check(&store);
}

/// All mappings that the process may have are in use: pages move, and what a view cannot show in its new place faults or
/// stays as it was, until there is room. No other page's bytes appear.
#[test]
fn a_move_succeeds_where_the_kernel_refuses_to_change_mappings() {
    views::alone("moves::a_move_succeeds_where_the_kernel_refuses_to_change_mappings", move_without_mappings);
}

fn move_without_mappings(locked: bool) {
    let store = store();
    let object = scattered(&store, "a", 30);
    let view = object.view(0..30 * PAGE).unwrap();
    let id = object.id();
    let Some(crowd) = views::without_mappings(&view, locked) else { return };
    assert_eq!(move_all(&object), 30);
    let other = store.create("other").unwrap();
    // Often enough that the log passes what was left, and its frames are used again.
    for _ in 0..300 {
        other.set_len(0).unwrap();
        other.write_at(0, &[0xEE; 50 * P]).unwrap();
    }
    for page in 0..30 {
        let shown = peek(view.address().wrapping_add(page * P));
        let own = Some(word(id, page as u64));
        assert!(shown == own || (!locked && shown.is_none()), "page {page}, locked: {locked}: {shown:?}");
    }
    object.write_at(5 * PAGE, &[5; P]).unwrap();
    assert!(view.read(5 * P..6 * P).is_err(), "no slice over what is not the page");
    drop(crowd);
    assert_eq!(view.read(5 * P..6 * P).unwrap()[..], [5; P]);
    // Each later change of the object tries again.
    object.write_at(30 * PAGE, &[6; P]).unwrap();
    for page in (0..30).filter(|page| *page != 5) {
        assert_eq!(raw(&view, page * P), word(id, page as u64), "page {page}, locked: {locked}");
    }
    drop((view, object, other));
    assert_eq!(store.stats().pinned_pages, 0);
    crate::check(&store);
}
