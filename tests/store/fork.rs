//! Forks at any moment of other threads' work. This test is alone in its process, because it forks.

use pagestone::Error;
use pagestone::page::{PageRef, PinnedRange, ReadGuard, ReadRange, WriteGuard};
use pagestone::store::{Batch, Object, Store, View};
use pagestone::units::{PageIndex, PfnRange};
use pagestone_kit::fork::in_child;
use pagestone_kit::limit::Limit;
use pagestone_kit::memory::addresses;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How many forks copy the state of the parent's threads as it happens to be.
const FORKS: u64 = 200;
/// A child that takes longer, even on a busy machine, waits for a thread that it does not have.
const HANGS: u32 = 60;

/// Opens, changes, lists and closes stores, so that every process-wide lock is taken often.
fn churn(folder: &Path, stop: &AtomicBool) {
    let path = folder.join("churn");
    let mut rounds = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let store = Store::options().create(true).open(&path).unwrap();
        let object = store.open_or_create("a").unwrap();
        object.write_at(rounds % 100_000, b"some bytes").unwrap();
        let page = object.pin_mut(PageIndex(0)).unwrap();
        // Every other time the region outlives its store, and a later opening lets it go.
        if rounds % 2 == 0 {
            drop((object, store, page));
        } else {
            drop((object, store));
            drop(page);
        }
        rounds += 1;
    }
}

/// Works on a store that stays open while the process forks.
fn work(store: &Store, object: &Object, stop: &AtomicBool, done: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        let round = done.fetch_add(1, Ordering::Relaxed);
        object.write_at(round % 50 * 4096, &[7; 5000]).unwrap();
        object.set_len(round % 40 * 4096 + 1).unwrap();
        let other = store.open_or_create(format!("other {}", round % 3)).unwrap();
        other.append(&[1; 100]).unwrap();
        drop(other);
        store.unlink(format!("other {}", round % 3)).ok();
        let _ = pagestone::page::frames_at(object.pin_mut(PageIndex(0)).unwrap().address(), 1);
    }
}

/// What a child inherits from the thread that forks.
struct Inherited<'p> {
    store: Store,
    object: Object,
    page: &'p PageRef,
    /// One guard in each of many objects. So whichever part of the parent's notes of dirt is locked, one of them is noted
    /// there.
    writers: Vec<WriteGuard<'p>>,
    reader: ReadGuard<'p>,
    range: PinnedRange,
    kept: ReadRange,
    /// Of the object that another thread cuts and writes.
    view: &'p View,
    batch: Batch,
    /// The only handles of an object with a name, and of one without.
    last: [Object; 2],
}

/// The answer of each call on what was inherited. No call touches a byte of it.
fn refusals(inherited: &Inherited<'_>) -> Vec<(&'static str, Option<Error>)> {
    let Inherited { store, object, page, view, .. } = inherited;
    let mut batch = store.batch();
    let staged = batch.write_at(object, 0, b"x");
    vec![
        ("pin", object.pin(PageIndex(0)).err()),
        ("pin_mut", object.pin_mut(PageIndex(0)).err()),
        ("pin_range", object.pin_range(0, 0).err()),
        ("read_at", object.read_at(0, &mut [0; 8]).err()),
        ("write_at", object.write_at(0, b"x").err()),
        ("append", object.append(b"x").err()),
        ("view", object.view(0..1).err()),
        ("view_mut", object.view_mut(0..1).err()),
        ("read of a view", view.read(0..1).err()),
        ("write of a view", view.write(0..1).err()),
        ("pin of a view", view.pin(0..1).err()),
        ("address of a view", pagestone::store::frames_at(view.address(), 1).err().map(|_| Error::Forked)),
        ("set_len", object.set_len(3).err()),
        ("set_len_wait", object.set_len_wait(3, Duration::MAX).err()),
        ("allocate", object.allocate(0, 1 << 20).err()),
        ("punch_hole", object.punch_hole(0, 4096).err()),
        ("punch_hole_wait", object.punch_hole_wait(0, 4096, Duration::MAX).err()),
        ("sync", object.sync().err()),
        ("sync_range", object.sync_range(0, 10).err()),
        ("mapped", object.mapped().err()),
        ("commit", staged.and_then(|()| batch.commit()).err()),
        ("create", store.create("b").err()),
        ("open", store.open("a").err()),
        ("open_or_create", store.open_or_create("a").err()),
        ("exists", store.exists("b").err()),
        ("list", store.list().err()),
        ("list_prefix", store.list_prefix("a").err()),
        ("rename", store.rename("a", "b").err()),
        ("unlink", store.unlink("a").err()),
        ("sync of all", store.sync().err()),
        ("check", store.check().err()),
        ("check_length", store.check_length().err()),
        ("compact", store.compact().err()),
        ("frames", store.frames(PfnRange::new(page.pfn(), 1)).err()),
        ("close", store.clone().close().err().map(Error::from)),
        ("read", page.read().err()),
        ("try_read", page.try_read().err()),
        ("read_optimistic", page.read_optimistic(&mut [0; 4096]).err()),
        ("write", page.write().err()),
        ("write_range", page.write_range(0..8).err()),
        ("try_write", page.try_write().err()),
        ("try_clone", page.try_clone().err()),
    ]
}

/// The work of a child. An error says why it failed.
fn child(inherited: Inherited<'_>, path: &Path) -> Result<(), String> {
    for (call, error) in refusals(&inherited) {
        if !matches!(error, Some(Error::Forked)) {
            return Err(format!("{call} says {error:?}"));
        }
    }
    let Inherited { store, object, page, writers, reader, range, kept, view, batch, last } = inherited;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    if let Some(mapped) = maps.lines().find(|line| line.ends_with("/parent")) {
        return Err(format!("the parent's region is mapped: {mapped}"));
    }
    // Calls that cannot fail have an answer.
    let (info, stats) = (store.info(), store.stats());
    if info.frames == 0
        || stats.open_objects != 0
        || !page.is_detached()
        || (view.taken(), view.pieces()) != (0, 0)
    {
        return Err(format!("{info:?}, {stats:?}, {view:?}"));
    }
    let shown = format!("{store:?} {object:?} {page:?} {batch:?} {kept:?} {:?}", page.info());
    if shown.is_empty() || store.poisoned().is_some() || !store.recovery().replayed.eq(&0) {
        return Err(shown);
    }
    match range.try_read() {
        Err(Error::Forked) => {}
        other => return Err(format!("a range says {other:?}")),
    }
    drop((writers, reader, kept, batch, last));
    drop((object, store));
    let own = || -> pagestone::Result<usize> {
        let store = Store::options().create(true).open(path)?;
        let object = store.open_or_create("own")?;
        object.write_at(0, b"the child's own")?;
        let pages = pagestone::page::frames_at(object.pin_mut(PageIndex(0))?.address(), 1)?;
        let found = pages.len();
        drop((pages, object));
        store.close()?;
        Ok(found)
    };
    match own() {
        Ok(1) => Ok(()),
        other => Err(format!("its own store: {other:?}")),
    }
}

#[test]
fn a_child_forked_at_any_moment_never_hangs_and_opens_regions_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::options().create(true).open(folder.path().join("parent")).unwrap();
    let object = store.create("a").unwrap();
    object.append(&[7; 60 * 4096]).unwrap();
    let view = object.view_mut(0..60 * 4096).unwrap();
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let churned = tempfile::tempdir().unwrap();
    let held = store.create("held").unwrap();
    held.append(&[1; 3 * 4096]).unwrap();
    let page = |n| held.pin(PageIndex(n)).unwrap().unwrap();
    let (page, read) = (page(0), page(1));
    let written = |n| store.create(format!("written {n}")).unwrap().pin_mut(PageIndex(0)).unwrap();
    let written: Vec<_> = (0..16).map(written).collect();
    std::thread::scope(|scope| {
        for n in 0..2 {
            let folder = churned.path().join(n.to_string());
            std::fs::create_dir(&folder).unwrap();
            let stop = &stop;
            scope.spawn(move || churn(&folder, stop));
        }
        scope.spawn(|| work(&store, &object, &stop, &done));
        let mut failures = Vec::new();
        for n in 0..FORKS {
            let own = folder.path().join("child");
            let last = ["named", "unlinked"].map(|name| store.create(name).unwrap());
            last.iter().for_each(|last| last.write_at(0, &[1; 5000]).unwrap());
            store.unlink("unlinked").unwrap();
            let range = || held.pin_range(2 * 4096, 4096).unwrap().pinned().unwrap();
            let mut batch = store.batch();
            batch.write_at(&held, 0, b"never").unwrap();
            let inherited = Inherited {
                store: store.clone(),
                object: object.clone(),
                page: &page,
                writers: written.iter().map(|page| page.write_range(0..8).unwrap()).collect(),
                reader: read.read().unwrap(),
                range: range(),
                kept: range().try_read().unwrap().unwrap(),
                view: &view,
                batch,
                last,
            };
            // The parent drops its own when the child has ended.
            let mut inherited = Some(inherited);
            let ended =
                in_child(HANGS, || inherited.take().map_or(Ok(()), |inherited| child(inherited, &own)));
            failures.extend(ended.err().map(|(signal, status)| (n, signal, status)));
            drop(inherited);
            store.unlink("named").unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        assert!(failures.is_empty(), "of {FORKS} children (number, signal, status): {failures:?}");
    });
    assert!(done.load(Ordering::Relaxed) > 0);
    assert!(object.len() < u64::MAX, "the parent goes on");
}

/// The child's table is smaller than the parent's: the numbers of the parent's frames lie beyond its end.
#[test]
fn a_child_with_few_addresses_drops_what_it_inherited() {
    let mut stores = Vec::new();
    let store = loop {
        let store = Store::options().open_memory(1 << 20).unwrap();
        if store.info().pfns.start.get() > 1 << 19 {
            break store;
        }
        stores.push(store);
    };
    let object = store.create("a").unwrap();
    object.append(&[1; 4 * 4096]).unwrap();
    let pages: Vec<_> = (0..3).map(|n| object.pin(PageIndex(n)).unwrap().unwrap()).collect();
    let (reader, writer) = (pages[0].read().unwrap(), pages[1].write().unwrap());
    let kept = object.pin_range(3 * 4096, 4096).unwrap().pinned().unwrap().try_read().unwrap().unwrap();
    let mut inherited = Some((reader, writer, kept));
    let ended = in_child(HANGS, || {
        Limit::set(libc::RLIMIT_AS, addresses() + (24 << 20)).map_err(|error| error.to_string())?.for_good();
        drop(inherited.take());
        Ok(())
    });
    assert_eq!(ended, Ok(()), "(signal, status)");
    drop(inherited);
}
