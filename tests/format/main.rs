//! What every release must go on opening: regions that the first release of each format left.
//!
//! The fixtures are data, and never made again: their check sums are here.

mod damage;
mod page;

use pagestone::media::check::Report;
use pagestone::store::{Object, Options, Store};
use pagestone::units::PageIndex;
use pagestone_fuzzing::format::name_key;
use pagestone_fuzzing::{contents, fixture};
use std::collections::BTreeMap;
use std::fs;

/// Names and what they name.
type Objects = BTreeMap<Vec<u8>, Content>;

/// Length, and the pages that hold something: one object has room for a gigabyte of nothing.
#[derive(Clone, Default, PartialEq, Debug)]
struct Content {
    len: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

const PAGE: usize = 4096;

impl Content {
    fn of(pieces: &[(u64, Vec<u8>)]) -> Self {
        let mut content = Self::default();
        pieces.iter().for_each(|(at, bytes)| content.write(*at, bytes));
        content
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        self.len = self.len.max(at + bytes.len() as u64);
        for (byte, at) in bytes.iter().zip(at..) {
            let page = self.pages.entry(at / PAGE as u64).or_insert_with(|| vec![0; PAGE]);
            page[at as usize % PAGE] = *byte;
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        self.write(self.len, bytes);
    }

    fn read(object: &Object) -> Self {
        let len = object.len();
        let mut content = Self { len, ..Self::default() };
        for page in 0..len.div_ceil(PAGE as u64) {
            if object.pin(PageIndex(page)).unwrap().is_none() {
                continue;
            }
            // Nothing is written past what was read.
            let (at, mut bytes) = (page * PAGE as u64, vec![0xEE; PAGE]);
            let n = object.read_at(at, &mut bytes).unwrap();
            assert_eq!(n as u64, (len - at).min(PAGE as u64));
            assert!(bytes[n..].iter().all(|byte| *byte == 0xEE));
            bytes[n..].fill(0);
            if bytes.iter().any(|byte| *byte != 0) {
                content.pages.insert(page, bytes);
            }
        }
        content
    }
}

/// What was synced before the owner was killed.
fn synced() -> Objects {
    // The three fixtures are one region.
    let key = name_key(fixture::closed());
    let named = contents::synced().into_iter().map(|(name, pieces)| (name.into(), Content::of(&pieces)));
    let mut objects: Objects = named.collect();
    objects.extend(contents::crowd(&key).into_iter().map(|name| (name.clone(), Content::of(&[(0, name)]))));
    objects.insert(b"cut".to_vec(), Content::of(&[(0, vec![7; 3 * PAGE])]));
    objects.insert(b"gone".to_vec(), Content::of(&[(0, vec![8; 3 * PAGE])]));
    objects
}

/// What the owner had done when it was killed.
fn done() -> Objects {
    let mut objects = synced();
    objects.insert(b"cut".to_vec(), Content::of(&[(0, vec![7; PAGE + 100])]));
    objects.remove(&b"gone"[..]);
    let renamed = objects.remove(&b"before"[..]).expect("it was synced");
    objects.insert(b"after".to_vec(), renamed);
    let unsynced = b"not synced, and yet it survives the death of the process";
    objects.insert(b"unsynced".to_vec(), Content::of(&[(0, unsynced.to_vec())]));
    objects
}

/// What the owner had done after two batches more, without its last write.
fn batched() -> Objects {
    let mut objects = done();
    for (name, at, bytes) in contents::batches().into_iter().flatten() {
        objects.get_mut(name.as_bytes()).expect("it was synced").write(at, &bytes);
    }
    objects
}

fn objects(store: &Store) -> Objects {
    let read = |entry: pagestone::store::Entry| {
        let object = store.open(&entry.name).unwrap();
        assert_eq!(object.len(), entry.len);
        (entry.name, Content::read(&object))
    };
    store.list().unwrap().into_iter().map(read).collect()
}

fn check(store: &Store) -> Report {
    let report = store.check().unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
    report
}

fn assert_holds(store: &Store, expected: &Objects) {
    let found = objects(store);
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, content) in expected {
        assert!(found[name] == *content, "{}", String::from_utf8_lossy(name));
    }
}

#[test]
fn fixtures_are_the_bytes_that_were_released() {
    assert_eq!(crc32c::crc32c(fixture::killed()), KILLED_CRC);
    assert_eq!(crc32c::crc32c(fixture::batched()), BATCHED_CRC);
    assert_eq!(crc32c::crc32c(fixture::closed()), CLOSED_CRC);
}

const KILLED_CRC: u32 = 0x3da9_069c;
const BATCHED_CRC: u32 = 0x24e9_bf8d;
const CLOSED_CRC: u32 = 0x3d39_0acc;

#[test]
fn format_1_closed_in_order_opens_checks_and_reads() {
    for read_only in [false, true] {
        let store = Options::new().read_only(read_only).open_image(fixture::closed().to_vec()).unwrap();
        assert_eq!(store.stats().log_recovered, 0);
        let counts = check(&store).counts;
        assert_eq!((counts.orphans, counts.busy), (0, 0));
        assert_holds(&store, &done());
    }
}

#[test]
fn format_1_left_by_a_killed_process_is_recovered_whole() {
    for read_only in [false, true] {
        let options = Options::new().read_only(read_only).identity(fixture::IDENTITY);
        let store = options.open_image(fixture::killed().to_vec()).unwrap();
        assert_ne!(store.stats().log_recovered, 0);
        let counts = check(&store).counts;
        assert_eq!((counts.orphans, counts.busy), (1, 1), "its work is not done before the first change");
        assert_holds(&store, &done());
    }
}

#[test]
fn format_1_left_by_a_power_loss_has_what_was_synced() {
    let store = Options::new().open_image(fixture::killed().to_vec()).unwrap();
    check(&store);
    assert_holds(&store, &synced());
}

#[test]
fn format_1_batches_are_replayed_after_a_power_loss_and_not_over_what_a_death_left() {
    for read_only in [false, true] {
        let options = Options::new().read_only(read_only);
        let store = options.open_image(fixture::batched().to_vec()).unwrap();
        assert_ne!(store.stats().log_recovered, 0);
        check(&store);
        assert_holds(&store, &batched());
        let store =
            options.clone().identity(fixture::IDENTITY).open_image(fixture::batched().to_vec()).unwrap();
        check(&store);
        let mut expected = batched();
        let (name, at, bytes) = contents::LAST;
        expected.get_mut(name.as_bytes()).expect("it was synced").write(at, bytes);
        assert_holds(&store, &expected);
    }
}

#[test]
fn format_1_goes_on_working() {
    let folder = tempfile::tempdir().unwrap();
    for (name, image) in [("killed", fixture::killed()), ("closed", fixture::closed())] {
        let path = folder.path().join(name);
        fs::write(&path, image).unwrap();
        let options = Options::new().identity(fixture::IDENTITY);
        let store = options.open(&path).unwrap();
        let mut expected = done();
        for (name, content) in &mut expected {
            let object = store.open(name).unwrap();
            object.append(b" and more").unwrap();
            content.append(b" and more");
        }
        store.create("new").unwrap().write_at(10_000, b"new").unwrap();
        expected.insert(b"new".to_vec(), Content::of(&[(10_000, b"new".to_vec())]));
        store.unlink("pages").unwrap();
        expected.remove(&b"pages"[..]);
        store.close().unwrap();
        let store = options.open(&path).unwrap();
        let counts = check(&store).counts;
        assert_eq!((counts.orphans, counts.busy), (0, 0));
        assert_holds(&store, &expected);
    }
}
