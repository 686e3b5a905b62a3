//! Regions that the engine makes, and what its calls say of them.

use super::facts::Facts;
use super::walk::Object;
use pagestone::Error;
use pagestone::media::layout::{COUNTER_MAX, LEASE_OFFSET, initial_frames};
use pagestone::media::lease::Lease;
use pagestone::media::rules::Rules;
use pagestone::media::{Ledger, format};
use pagestone::page::PageRef;
use pagestone::region::{Holder, Identity, Region, RegionOptions, Source};
use pagestone::store::{self, Options, Store};
use pagestone::units::{Durability, FRAME_SIZE, PageIndex};
use pagestone_fuzzing::contents::crowd;
use pagestone_fuzzing::format::{name_key, word};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

const PAGE: u64 = FRAME_SIZE as u64;
const LOG_FRAMES: u32 = 20;
/// All parts are different, so that none can stand for another one.
const IDENTITY: Identity = Identity {
    boot: *b"0123456789abcdef",
    device: 0x11,
    inode: 0x22,
    generation: 0x1_0000_0033,
    birth: 0x44,
    volume: 0x55,
    mount: 0x66,
    mounting: 0x77,
};

/// Images of one region at three times, and what is said of each.
#[derive(Debug)]
pub struct World {
    images: Vec<(&'static str, Vec<u8>, Facts)>,
    /// The region after a flush that failed.
    pub failed: Vec<u8>,
}

impl World {
    /// Makes them.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("region");
        let store = options().create(true).log_frames(LOG_FRAMES).open(&path).unwrap();
        let hint = u64::from(initial_frames(LOG_FRAMES));
        let (pin, gone) = fill(&store, &path);
        let first = store.info().pfns.start.get();
        let mut facts = facts(&store, hint, false);
        facts.busy = BTreeSet::from([pin.pfn().get() - first]);
        facts.orphans = vec![object(&store, &gone, b"gone".to_vec(), 1)];
        let killed = std::fs::read(&path).unwrap();
        facts.operations = options().open_image(killed.clone()).unwrap().recovery().replayed;
        assert!(facts.operations > 0, "there is nothing in the log");
        let mut images = vec![("killed", killed, facts)];
        drop((pin, gone));
        store.close().unwrap();
        let closed = std::fs::read(&path).unwrap();
        let store = options().read_only(true).open(&path).unwrap();
        let facts = self::facts(&store, hint, true);
        drop(store);
        images.push(("closed", closed.clone(), facts.clone()));
        images.push(cut(closed.clone(), facts.clone()));
        images.push(repaired(closed.clone(), facts));
        let region = attach(closed);
        Lease::note_failure(&region).unwrap();
        Self { images, failed: bytes(&region) }
    }

    /// The images with names and facts.
    pub fn images(&self) -> impl Iterator<Item = (&str, &Vec<u8>, &Facts)> {
        self.images.iter().map(|(name, image, facts)| (*name, image, facts))
    }
}

fn options() -> Options {
    Store::options().assume(Durability::CacheLine).identity(IDENTITY)
}

/// A bit of everything: a page that was cut off while it is pinned, and an object without a name.
fn fill(store: &Store, path: &Path) -> (PageRef, store::Object) {
    let write = |name: &[u8], pages: &[u64]| {
        let object = store.create(name).unwrap();
        let bytes = |page: u64| vec![page as u8 | 1; PAGE as usize];
        pages.iter().for_each(|page| object.write_at(page * PAGE, &bytes(*page)).unwrap());
        object
    };
    let many: Vec<_> = (0..600).collect();
    store.create("greeting").unwrap().append(b"hello").unwrap();
    drop((write(b"many", &many), write(b"far", &[0, 3, 600, 300_000]), write(b"empty", &[])));
    // More names in one bucket of the directory than a chain takes.
    for name in crowd(&name_key(&std::fs::read(path).unwrap())) {
        write(&name, &[0]);
    }
    let (cut, gone) = (write(b"cut", &[0, 1, 2]), write(b"gone", &[0, 1]));
    store.sync().unwrap();
    let pin = cut.pin(PageIndex(2)).unwrap().unwrap();
    cut.set_len(100).unwrap();
    let mut batch = store.batch();
    batch.write_at(&cut, 7, b"a line").unwrap();
    batch.commit().unwrap();
    let mut batch = store.batch();
    batch.write_at(&store.open("many").unwrap(), 0, &vec![9; 9 * PAGE as usize]).unwrap();
    batch.commit().unwrap();
    store.unlink("gone").unwrap();
    write(b"last", &[5]);
    (pin, gone)
}

/// The facts that the store reports.
fn facts(store: &Store, hint_frames: u64, closed: bool) -> Facts {
    let (info, report) = (store.info(), store.check().unwrap());
    assert!(report.is_clean(), "{:?}", report.findings);
    let entries = store.list().unwrap().into_iter();
    let named = entries.map(|entry| {
        let opened = store.open(&entry.name).unwrap();
        let object = object(store, &opened, entry.name.clone(), entry.kind.into());
        assert_eq!((object.number, object.size), (entry.id, entry.len));
        (entry.name, object)
    });
    let Holder { pid, start_time, space } = Holder::this_process();
    Facts {
        closed,
        frames: info.frames - 1,
        hint_frames,
        log_frames: info.log_frames.into(),
        uuid: info.uuid,
        generation: info.generation,
        operations: 0,
        named: named.collect(),
        orphans: Vec::new(),
        busy: BTreeSet::new(),
        used: report.counts.used,
        lost: report.counts.lost,
        damaged: report.counts.damaged,
        identity: IDENTITY,
        process: [pid.into(), start_time, space],
    }
}

/// The facts that the store reports about an object.
fn object(store: &Store, object: &store::Object, name: Vec<u8>, kind: u64) -> Object {
    let first = store.info().pfns.start.get();
    let mut pages = BTreeMap::new();
    // Of an object with lost pages each is asked for.
    let ranges: Result<Vec<_>, _> = object.mapped_ranges(0..u64::MAX).collect();
    let all = ranges.unwrap_or_else(|_| std::iter::once(0..object.len()).collect());
    for page in all.iter().flat_map(|range| range.start / PAGE..range.end.div_ceil(PAGE)) {
        match object.pin(PageIndex(page)) {
            Ok(pin) => _ = pages.insert(page, pin.expect("no hole").pfn().get() - first),
            Err(error) => assert!(matches!(error, Error::Corrupt { .. }), "{error}"),
        }
    }
    assert_eq!(object.mapped().unwrap(), pages.len() as u64);
    let birth = object.created().unwrap().duration_since(UNIX_EPOCH).unwrap();
    let birth = birth.as_nanos().try_into().unwrap();
    let (number, size, unlinked) = (object.id(), object.len(), object.is_unlinked());
    assert!(number < COUNTER_MAX);
    Object { number, name, size, kind, birth, unlinked, damaged: false, cut: None, pages }
}

/// The region after the beginning of a truncate.
fn cut(closed: Vec<u8>, mut facts: Facts) -> (&'static str, Vec<u8>, Facts) {
    let region = attach(closed);
    let (log, _) = format::open(Arc::clone(&region), Rules::default()).unwrap();
    let ledger = Ledger::new(Arc::new(log)).unwrap();
    let slot = ledger.lookup(b"many").unwrap().unwrap();
    ledger.begin_truncate(slot, 5 * PAGE + 1).unwrap();
    ledger.log().checkpoint().unwrap();
    let record = ledger.record(slot).unwrap();
    let many = facts.named.get_mut(&b"many"[..]).unwrap();
    (many.size, many.cut) = (record.size, record.truncating);
    assert_eq!(many.cut, Some(6));
    facts.closed = false;
    facts.generation += 1;
    facts.hint_frames = facts.frames;
    ("cut", bytes(&region), facts)
}

/// The region after a leaf of the map of `many` and the topmost node of that of `far` were lost, and the rest repaired.
fn repaired(mut closed: Vec<u8>, before: Facts) -> (&'static str, Vec<u8>, Facts) {
    let region = attach(closed.clone());
    let (log, _) = format::open(Arc::clone(&region), Rules::default()).unwrap();
    let ledger = Ledger::new(Arc::new(log)).unwrap();
    let slot = |name: &[u8]| ledger.lookup(name).unwrap().unwrap().offset() as usize;
    let named = |at: usize| word(&closed, at) as u32 as usize * PAGE as usize;
    // The node of the pages from 512 on is in the second word of the one above it.
    let nodes = [named(named(slot(b"many") + 24) + 8), named(slot(b"far") + 24)];
    for node in nodes {
        closed[node..node + PAGE as usize].fill(0);
    }
    let (done, image) = options().repair_image(closed).unwrap();
    assert!(done.left.is_empty() && !done.repairs.is_empty(), "{done:?}");
    let store = options().read_only(true).open_image(image.clone()).unwrap();
    let mut facts = facts(&store, before.frames, true);
    assert!(facts.lost > 0 && facts.damaged == 2);
    for name in [&b"many"[..], b"far"] {
        facts.named.get_mut(name).unwrap().damaged = true;
    }
    ("repaired", image, facts)
}

/// Whether a region opens.
pub fn opens(image: &[u8], read_only: bool) -> bool {
    options().read_only(read_only).open_image(image.to_vec()).is_ok()
}

fn attach(image: Vec<u8>) -> Arc<Region> {
    let options = RegionOptions { identity: Some(IDENTITY), ..RegionOptions::default() };
    Region::attach(Source::Image(image), &options).unwrap()
}

fn bytes(region: &Region) -> Vec<u8> {
    let mut bytes = vec![0; region.len_bytes() as usize];
    region.memory().read(0, &mut bytes).unwrap();
    assert_eq!(bytes[LEASE_OFFSET as usize], b'P');
    bytes
}
