//! A damaged region: the damage is named, does not spread, and shows no bytes of other objects.

use crate::{PAGE, content, filled, pin};
use pagestone::Error;
use pagestone::media::format;
use pagestone::media::layout::{BITMAP_FRAMES, RootWord};
use pagestone::media::rules::Rules;
use pagestone::region::{self, RegionOptions, Source};
use pagestone::store::{Report, Store};
use pagestone_fuzzing::format::{
    HEIGHT, Seal, mend_tally, name_hash, name_key, offset, root, salt, set_root, set_word, word,
};
use std::path::PathBuf;

/// A region that was closed, and its bytes.
struct Region {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Region {
    /// A region with what `make` made in it.
    fn new(make: impl FnOnce(&Store)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let store = Store::options().create(true).open(&path).unwrap();
        make(&store);
        store.close().unwrap();
        Self { _folder: folder, path }
    }

    fn edit(&self, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut image = std::fs::read(&self.path).unwrap();
        edit(&mut image);
        std::fs::write(&self.path, image).unwrap();
    }

    fn open(&self) -> Store {
        Store::options().open(&self.path).unwrap()
    }
}

/// The offset of an object's record.
pub(crate) fn record(image: &[u8], name: &str) -> usize {
    // Only the record has both the hash of the name and the name with zeros behind it. In the log any byte may follow a
    // hash.
    let mut padded = name.as_bytes().to_vec();
    padded.resize(256, 0);
    let is_it = |record: &usize| {
        word(image, record + 40) == name_hash(&name_key(image), name.as_bytes())
            && image[record + 128..].starts_with(&padded)
    };
    (0..image.len()).step_by(512).find(is_it).expect("a record with this name")
}

/// The number of an object, and the node of its map that leads to its first 512 pages.
pub(crate) fn leaf(image: &[u8], name: &str) -> (u64, usize) {
    (word(image, record(image, name)), node(image, name, 0, 1))
}

/// The node of an object's map that leads to a page and has so many levels.
pub(crate) fn node(image: &[u8], name: &str, page: u64, level: u64) -> usize {
    let map = Seal::value(word(image, record(image, name) + 24));
    let (mut height, mut node) = (map >> HEIGHT, offset(map & ((1 << HEIGHT) - 1)));
    assert!(height >= level, "{name} has {height} levels of nodes");
    while height > level {
        height -= 1;
        node = offset(Seal::value(word(image, node + (page >> (9 * height)) as usize % 512 * 8)));
    }
    node
}

/// The frame of a page of an object.
pub(crate) fn frame(image: &[u8], name: &str, page: usize) -> u64 {
    Seal::value(word(image, leaf(image, name).1 + page * 8))
}

/// Makes a page's word of the map name another frame.
pub(crate) fn map_to(image: &mut [u8], name: &str, page: usize, frame: u64) {
    let (id, leaf) = leaf(image, name);
    let sealed = Seal::Map { id, prefix: page as u64, level: 0 }.close(salt(image), frame);
    set_word(image, leaf + page * 8, sealed);
}

/// Marks a used frame as free in the first bitmap, and in the group's tally too: otherwise the damage would be noticed.
fn call_free(image: &mut [u8], frame: u64) {
    let at = offset(BITMAP_FRAMES[0].0.into()) + (frame / 64 * 8) as usize;
    let bits = word(image, at);
    assert!(bits & 1 << (frame % 64) != 0);
    set_word(image, at, bits & !(1 << (frame % 64)));
}

fn flip(image: &mut [u8], at: usize) {
    let old = word(image, at);
    set_word(image, at, old ^ 1);
}

/// The region after the death of its owner and a recovery of its log, without any other change.
pub(crate) fn recovered(path: &std::path::Path) -> Vec<u8> {
    let copy = path.with_extension("recovered");
    std::fs::copy(path, &copy).unwrap();
    let region = region::Region::attach(Source::File { path: copy.clone() }, &RegionOptions::default());
    drop(format::open(region.unwrap(), Rules::default()).unwrap());
    std::fs::read(copy).unwrap()
}

/// Flips a word in both roots, and repairs their lines.
fn flip_root(image: &mut [u8], which: RootWord) {
    let old = root(image, which);
    set_root(image, which, old ^ 1);
}

fn names(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|finding| finding.name).collect()
}

/// Makes the log pass what was changed, so that no recovery stores it again.
fn pass(store: &Store) {
    let moves = store.stats().log_tail_moves;
    while store.stats().log_tail_moves < moves + 2 {
        drop(filled(store, "for a moment", 9));
        store.unlink("for a moment").unwrap();
        store.sync().unwrap();
    }
}

/// Makes every kind of change that does not need the damaged structure.
fn use_it(store: &Store, other: &str) {
    let object = store.open(other).unwrap();
    object.append(&[9; 3 * PAGE as usize + 5]).unwrap();
    object.write_at(0, b"in place").unwrap();
    object.set_len(object.len() - PAGE).unwrap();
    object.punch_hole(PAGE, PAGE).unwrap();
    let mut batch = store.batch();
    batch.write_at(&object, 7, b"batch").unwrap();
    batch.commit().unwrap();
    drop(filled(store, "for a moment", 5));
    store.rename("for a moment", "for another").unwrap();
    store.unlink("for another").unwrap();
    object.sync().unwrap();
    store.sync().unwrap();
}

fn is_corrupt<T: std::fmt::Debug>(result: Result<T, Error>) -> bool {
    let corrupt = matches!(result, Err(Error::Corrupt { .. }));
    if !corrupt {
        println!("{result:?}");
    }
    corrupt
}

#[test]
fn an_object_that_cannot_be_freed_is_set_aside_and_no_other_change_fails() {
    let region = Region::new(|store| {
        drop((filled(store, "rotten", 200), filled(store, "other", 4), filled(store, "open", 200)));
    });
    region.edit(|image| {
        for name in ["rotten", "open"] {
            let (_, leaf) = leaf(image, name);
            flip(image, leaf + 100 * 8);
        }
    });
    let store = region.open();
    store.unlink("rotten").unwrap();
    // This one is unlinked while it is open: the drop of its last handle frees it.
    let open = store.open("open").unwrap();
    store.unlink("open").unwrap();
    drop(open);
    use_it(&store, "other");
    assert_eq!(store.stats().set_aside, 2);
    let report = store.check().unwrap();
    let named = report.findings.iter().filter(|finding| finding.name == "set-aside");
    assert_eq!(named.count(), 2, "{:?}", report.findings);
    assert!(names(&report).contains(&"map-check"));
    store.close().unwrap();
    // On the medium they are still marked as to be freed.
    let store = region.open();
    use_it(&store, "other");
    assert_eq!(store.stats().set_aside, 2);
    assert_eq!(names(&store.check().unwrap()).iter().filter(|name| **name == "set-aside").count(), 2);
    store.close().unwrap();
}

#[test]
fn a_cut_that_cannot_be_finished_is_set_aside_at_the_next_opening() {
    let region = Region::new(|store| drop((filled(store, "rotten", 200), filled(store, "other", 4))));
    region.edit(|image| {
        let (_, leaf) = leaf(image, "rotten");
        flip(image, leaf + 100 * 8);
    });
    let store = region.open();
    let object = store.open("rotten").unwrap();
    assert!(is_corrupt(object.set_len(PAGE)), "its own change is told");
    drop(object);
    use_it(&store, "other");
    store.close().unwrap();
    let store = region.open();
    use_it(&store, "other");
    assert_eq!(store.stats().set_aside, 1);
    store.close().unwrap();
}

#[test]
fn lists_of_what_is_to_be_freed_that_cannot_be_read_stop_no_other_change() {
    let region = Region::new(|store| drop((filled(store, "a", 3), filled(store, "other", 4))));
    let path = region.path.clone();
    let store = region.open();
    let object = store.open("a").unwrap();
    let _pins = (pin(&object, 1), pin(&object, 2));
    object.set_len(PAGE).unwrap();
    pass(&store);
    // The process dies with two busy frames. A recovery keeps them, and leaves no record that would store the root's sums
    // again.
    let mut image = recovered(&path);
    let busy = offset(Seal::value(root(&image, RootWord::BusyTable)));
    let entry = (1..512).map(|n| busy + n * 8).find(|at| Seal::value(word(&image, *at)) != 0).unwrap();
    for what in ["an entry", "the head"] {
        match what {
            "an entry" => flip(&mut image, entry),
            _ => flip_root(&mut image, RootWord::BusyTable),
        }
        let copy = path.with_extension(what.replace(' ', "-"));
        std::fs::write(&copy, &image).unwrap();
        let store = Store::options().open(&copy).unwrap();
        use_it(&store, "other");
        let other = store.open("other").unwrap();
        let pinned = pin(&other, 0);
        other.set_len(0).unwrap();
        drop(pinned);
        store.create("b").unwrap();
        assert_eq!(store.stats().set_aside, 1, "{what}");
        assert!(names(&store.check().unwrap()).contains(&"set-aside"), "{what}");
        drop(other);
        store.close().unwrap();
    }
    let region = Region::new(|store| drop(filled(store, "other", 4)));
    region.edit(|image| set_root(image, RootWord::Orphans, 99));
    let store = region.open();
    let object = store.open("other").unwrap();
    object.append(&[1; 3 * PAGE as usize]).unwrap();
    store.create("b").unwrap();
    assert_eq!(store.stats().set_aside, 1);
    assert!(names(&store.check().unwrap()).contains(&"set-aside"));
    drop(object);
    store.close().unwrap();
}

#[test]
fn a_batch_with_two_pages_in_one_frame_is_an_error_and_waits_for_nothing() {
    let region = Region::new(|store| drop((filled(store, "a", 4), filled(store, "b", 4))));
    region.edit(|image| {
        let shared = frame(image, "a", 1);
        map_to(image, "a", 2, shared);
        let shared = frame(image, "a", 3);
        map_to(image, "b", 3, shared);
    });
    let store = region.open();
    let (a, b) = (store.open("a").unwrap(), store.open("b").unwrap());
    let mut batch = store.batch();
    batch.write_at(&a, PAGE, &[5; 2 * PAGE as usize]).unwrap();
    assert!(is_corrupt(batch.commit()));
    let mut batch = store.batch();
    batch.write_at(&a, 3 * PAGE, b"x").unwrap();
    batch.write_at(&b, 3 * PAGE, b"y").unwrap();
    assert!(is_corrupt(batch.commit()));
    // Pages that share no frame can be changed.
    let mut batch = store.batch();
    batch.write_at(&a, 0, b"a").unwrap();
    batch.write_at(&b, 0, b"b").unwrap();
    batch.commit().unwrap();
    assert_eq!((content(&a)[0], content(&b)[0]), (b'a', b'b'));
}

/// A page under a shared latch, and its bytes at first: nothing may change them.
struct Guarded {
    range: pagestone::page::ReadRange,
    before: Vec<u8>,
}

impl Guarded {
    fn new(store: &Store, name: &str, page: u64) -> Result<Self, Error> {
        let range = store.open(name)?.pin_range(page * PAGE, PAGE as usize)?.pinned().expect("a page");
        let range = range.try_read()?.expect("no writer");
        Ok(Self { before: range.to_vec(), range })
    }

    fn is_unchanged(&self) -> bool {
        self.range[..] == self.before
    }

    /// Uses the rest of the store, and makes and frees objects again and again. No call may change the guarded bytes.
    /// Returns how many calls met the damage.
    fn beside(&self, store: &Store, others: &[&str]) -> usize {
        let mut corrupt = 0;
        let mut told = |result: Result<(), Error>| {
            assert!(self.is_unchanged(), "bytes under a guard have changed");
            match result {
                Ok(()) => {}
                Err(Error::Corrupt { .. }) => corrupt += 1,
                Err(other) => panic!("{other}"),
            }
        };
        for round in 0..6 {
            let name = format!("new {round}");
            told(
                store.open_or_create(&name).and_then(|new| new.append(&[0xEE; 30 * PAGE as usize])).map(drop),
            );
            for other in others {
                let Ok(object) = store.open(other) else { continue };
                told(object.append(&[0xDD; 3 * PAGE as usize + 9]).map(drop));
                told(object.punch_hole(0, PAGE));
                let mut batch = store.batch();
                told(batch.write_at(&object, object.len(), &[0xCC; 5000]).and_then(|()| batch.commit()));
            }
            if round % 2 == 1 && store.exists(&name).unwrap().is_some() {
                told(store.unlink(&name));
            }
            told(store.sync());
        }
        corrupt
    }
}

#[test]
fn a_frame_that_the_bitmap_calls_free_is_not_given_to_others_under_a_guard() {
    let region = Region::new(|store| drop((filled(store, "a", 40), filled(store, "b", 3))));
    let mut damaged = 0;
    region.edit(|image| {
        damaged = frame(image, "a", 7);
        call_free(image, damaged);
        mend_tally(image);
    });
    let store = region.open();
    let guarded = Guarded::new(&store, "a", 7).unwrap();
    assert_eq!(
        guarded.beside(&store, &["b"]),
        1,
        "the call that meets the frame is an error, and from then on the frame is out of use"
    );
    assert_eq!(store.stats().set_aside, 1);
    let report = store.check().unwrap();
    assert!(names(&report).contains(&"set-aside") && names(&report).contains(&"frame-used-but-free"));
    // A pin without a latch protects the frame too, even one from before.
    drop((guarded, store));
    for held in [true, false] {
        let store = region.open();
        let page = pin(&store.open("a").unwrap(), 7);
        let page = held.then_some(page);
        let refused = store.create("again").and_then(|object| object.append(&vec![1; 400 * PAGE as usize]));
        assert!(is_corrupt(refused), "held: {held}");
        assert_eq!(content(&store.open("a").unwrap())[7 * PAGE as usize], 8);
        drop(page);
        store.unlink("again").unwrap();
    }
}

#[test]
fn a_rotten_bitmap_gives_and_takes_nothing_and_no_other_call_fails() {
    let region = Region::new(|store| drop((filled(store, "a", 40), filled(store, "b", 3))));
    region.edit(|image| {
        let rotten = frame(image, "a", 7);
        call_free(image, rotten);
    });
    let store = region.open();
    assert!(names(&store.check().unwrap()).contains(&"group-tally"));
    let before = content(&store.open("a").unwrap());
    // New pages are taken from the next group.
    drop((filled(&store, "c", 30), filled(&store, "d", 3)));
    store.open("a").unwrap().write_at(3, b"in place").unwrap();
    store.open("b").unwrap().append(&[7; 9 * PAGE as usize]).unwrap();
    store.rename("d", "e").unwrap();
    use_it(&store, "c");
    assert_eq!(content(&store.open("a").unwrap())[PAGE as usize..], before[PAGE as usize..]);
    let aside = store.stats().set_aside;
    assert_eq!(aside, 1, "the group");
    // What is cut off there goes from its object, and its frames stay taken.
    let a = store.open("a").unwrap();
    a.punch_hole(2 * PAGE, 3 * PAGE).unwrap();
    a.set_len(9 * PAGE + 5).unwrap();
    a.set_len(20 * PAGE).unwrap();
    a.append(&[5; 2 * PAGE as usize]).unwrap();
    assert!(content(&a)[2 * PAGE as usize..5 * PAGE as usize].iter().all(|byte| *byte == 0));
    drop(a);
    store.unlink("a").unwrap();
    assert_eq!(store.stats().set_aside, 1);
    use_it(&store, "c");
    store.close().unwrap();
    let store = region.open();
    use_it(&store, "c");
    let report = store.check().unwrap();
    let found = names(&report);
    assert_eq!(found.iter().filter(|name| **name == "group-tally").count(), 1);
    assert!(found.contains(&"frame-leaked"), "{found:?}");
    store.close().unwrap();
}

#[test]
fn a_page_whose_frame_is_a_structure_is_refused_or_its_guard_keeps_the_structure_as_it_is() {
    let make = || Region::new(|store| drop((filled(store, "a", 40), filled(store, "b", 3))));
    let leaf_of_b = |image: &[u8]| (leaf(image, "b").1 / PAGE as usize) as u64;
    let records = |image: &[u8]| (record(image, "b") / PAGE as usize) as u64;
    let own_leaf = |image: &[u8]| (leaf(image, "a").1 / PAGE as usize) as u64;
    for structure in [&leaf_of_b as &dyn Fn(&[u8]) -> u64, &records, &own_leaf] {
        let region = make();
        region.edit(|image| {
            let structure = structure(image);
            map_to(image, "a", 9, structure);
        });
        // First the guard, then the change: what would change the structure is refused.
        let store = region.open();
        let guarded = Guarded::new(&store, "a", 9);
        if let Ok(guarded) = guarded {
            let corrupt = guarded.beside(&store, &["a", "b"]);
            assert!(corrupt > 0);
        }
        drop(store);
        // First the change, then the page: it is refused by its object, by its number and by its address.
        let store = region.open();
        store.create("c").unwrap();
        for name in ["b", "a"] {
            let _ = store.open(name).unwrap().append(&[1; 2 * PAGE as usize]);
        }
        assert!(Guarded::new(&store, "a", 9).is_err_and(|error| matches!(error, Error::Corrupt { .. })));
        let mut bytes = [0; 9];
        assert!(is_corrupt(store.open("a").unwrap().read_at(9 * PAGE, &mut bytes)));
        assert!(is_corrupt(store.open("a").unwrap().write_at(9 * PAGE, &bytes)));
    }
}

#[test]
fn a_busy_table_that_names_a_page_frees_nothing_under_its_guard() {
    let region = Region::new(|store| drop((filled(store, "a", 3), filled(store, "b", 40))));
    let store = region.open();
    let object = store.open("a").unwrap();
    let _pins = (pin(&object, 1), pin(&object, 2));
    object.set_len(PAGE).unwrap();
    pass(&store);
    let mut image = std::fs::read(&region.path).unwrap();
    let busy = offset(Seal::value(root(&image, RootWord::BusyTable)));
    let entry = (1..512).map(|n| busy + n * 8).find(|at| Seal::value(word(&image, *at)) != 0).unwrap();
    let page = frame(&image, "b", 5);
    let sealed = Seal::Place(entry as u64).close(salt(&image), page);
    set_word(&mut image, entry, sealed);
    let copy = region.path.with_extension("copy");
    std::fs::write(&copy, &image).unwrap();
    let store = Store::options().open(&copy).unwrap();
    let guarded = Guarded::new(&store, "b", 5).unwrap();
    guarded.beside(&store, &["a"]);
    assert!(guarded.is_unchanged());
}

#[test]
fn two_objects_that_name_one_frame_do_not_wait_for_each_other_nor_share_it() {
    let region = Region::new(|store| drop((filled(store, "a", 40), filled(store, "b", 40))));
    region.edit(|image| {
        let shared = frame(image, "a", 7);
        map_to(image, "b", 8, shared);
    });
    let store = region.open();
    let guarded = Guarded::new(&store, "a", 7).unwrap();
    assert!(is_corrupt(store.open("b").unwrap().write_at(8 * PAGE, b"into the other's page")));
    assert!(guarded.is_unchanged());
    // The first object is freed, and its frame with it: then the other object's page is a free frame.
    drop(guarded);
    let b = store.open("b").unwrap();
    store.unlink("a").unwrap();
    for round in 0..4 {
        store.open_or_create("c").unwrap().append(&[round; 60 * PAGE as usize]).ok();
        store.sync().unwrap();
        if let Ok(Some(page)) = b.pin(pagestone::units::PageIndex(8)) {
            let guard = page.read().unwrap();
            let before = guard.to_vec();
            store.open_or_create("d").unwrap().append(&[round; 60 * PAGE as usize]).ok();
            assert_eq!(guard[..], before);
        }
    }
}

/// A region whose process died with an object without a name, `first`, on the list of orphans; changed by `edit`.
fn with_an_orphan(edit: impl FnOnce(&mut Vec<u8>)) -> (Region, Store) {
    let region = Region::new(|store| drop((filled(store, "first", 3), filled(store, "other", 9))));
    let store = region.open();
    let _open = store.open("first").unwrap();
    store.unlink("first").unwrap();
    pass(&store);
    let mut image = recovered(&region.path);
    edit(&mut image);
    let copy = region.path.with_extension("copy");
    std::fs::write(&copy, &image).unwrap();
    (region, Store::options().open(copy).unwrap())
}

#[test]
fn a_list_that_cannot_be_read_keeps_nothing_from_being_put_on_it() {
    type Edit = fn(&mut Vec<u8>);
    let edits: [(&str, Edit); 3] = [
        ("the head of the orphans", |image| flip_root(image, RootWord::Orphans)),
        ("the record of the first orphan", |image| {
            let first = record(image, "first");
            flip(image, first + 16);
        }),
        ("the head of the free slots", |image| flip_root(image, RootWord::FreeSlots)),
    ];
    for (what, edit) in edits {
        let (_region, store) = with_an_orphan(edit);
        println!("{what}");
        let other = store.open("other").unwrap();
        // Each of these puts an object on the list of orphans: a cut, an unlink, a replaced name.
        other.set_len(5 * PAGE).unwrap();
        drop((filled(&store, "gone", 3), filled(&store, "old", 3), filled(&store, "new", 3)));
        store.unlink("gone").unwrap();
        store.rename("new", "old").unwrap();
        use_it(&store, "other");
        // More objects than there are slots in a frame.
        for n in 0..20 {
            drop(filled(&store, &format!("made {n}"), 1));
        }
        (0..20).for_each(|n| store.unlink(format!("made {n}")).unwrap());
        assert_eq!(store.check().unwrap().counts.orphans, 0, "what can be freed is");
        assert_eq!(content(&store.open("old").unwrap()).len() as u64, 3 * PAGE);
        drop(other);
        store.close().unwrap();
    }
}

#[test]
fn the_first_free_slot_is_rotten_and_objects_are_made() {
    let region = Region::new(|store| drop(filled(store, "other", 4)));
    region.edit(|image| {
        let slot = Seal::value(root(image, RootWord::FreeSlots));
        flip(image, slot as usize * 512 + 64);
    });
    let store = region.open();
    (0..30).for_each(|n| drop(filled(&store, &format!("made {n}"), 1)));
    (0..30).for_each(|n| store.unlink(format!("made {n}")).unwrap());
    use_it(&store, "other");
    assert_eq!(store.stats().set_aside, 0);
    store.close().unwrap();
}

#[test]
fn a_used_frame_that_the_allocator_meets_while_something_is_freed_says_nothing_of_that() {
    let region = Region::new(|store| {
        drop((filled(store, "a", 40), filled(store, "b", 3), filled(store, "c", 3)));
    });
    region.edit(|image| {
        for page in [6, 7] {
            let used = frame(image, "a", page);
            call_free(image, used);
        }
        mend_tally(image);
    });
    let store = region.open();
    let a = store.open("a").unwrap();
    let _pins = (pin(&a, 6), pin(&a, 7));
    store.unlink("b").unwrap();
    let c = store.open("c").unwrap();
    c.set_len(PAGE).unwrap();
    c.punch_hole(0, PAGE).unwrap();
    assert_eq!(store.check().unwrap().counts.orphans, 0);
    assert_eq!(store.stats().set_aside, 2, "the two frames, and no object");
}

#[test]
fn a_frame_that_is_known_to_be_a_structure_is_not_freed_as_a_page() {
    let leaf_of_b = |image: &[u8]| (leaf(image, "b").1 / PAGE as usize) as u64;
    let records = |image: &[u8]| (record(image, "b") / PAGE as usize) as u64;
    for structure in [&leaf_of_b as &dyn Fn(&[u8]) -> u64, &records] {
        let region = Region::new(|store| drop((filled(store, "a", 40), filled(store, "b", 40))));
        region.edit(|image| {
            let structure = structure(image);
            map_to(image, "a", 9, structure);
        });
        let store = region.open();
        let b = store.open("b").unwrap();
        // This append changes the structure.
        b.append(b"more").unwrap();
        store.unlink("a").unwrap();
        assert_eq!(store.stats().set_aside, 1);
        for n in 0..4 {
            pass(&store);
            store.create(format!("new {n}")).unwrap().append(&vec![0xEE; 60 * PAGE as usize]).unwrap();
        }
        let mut expected: Vec<u8> = (1..=40).flat_map(|page| [page; PAGE as usize]).collect();
        expected.extend(b"more");
        assert!(content(&b) == expected);
        b.append(b"and more").unwrap();
    }
}
