//! Free space that goes back to the file system.

use crate::{PAGE, check, content};
use pagestone::Error;
use pagestone::persist::{Event, Recorder};
use pagestone::store::{Options, Store};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

const MIB: u64 = 1 << 20;

/// A new store in a file.
fn fresh(path: &Path) -> Store {
    Store::options().create(true).open(path).unwrap()
}

fn close(store: Store) {
    store.close().map_err(|(_, error)| error).unwrap();
}

fn on_disk(path: &Path) -> u64 {
    path.metadata().unwrap().blocks() * 512
}

fn file_len(path: &Path) -> u64 {
    path.metadata().unwrap().len()
}

/// Bytes that were given back since the last call.
fn punched(recorder: &Recorder) -> u64 {
    let bytes = |event| if let Event::Punch { len, .. } = event { len } else { 0 };
    recorder.take().into_iter().map(bytes).sum()
}

fn recorded() -> (Store, Arc<Recorder>) {
    let recorder = Recorder::new();
    (Options::new().recorder(Arc::clone(&recorder)).open_memory(1 << 20).unwrap(), recorder)
}

#[test]
fn a_compact_gives_all_free_space_back_and_what_is_kept_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (path, empty) = (folder.path().join("r.pgs"), folder.path().join("empty.pgs"));
    close(fresh(&empty));
    let store = fresh(&path);
    let kept = store.create("kept").unwrap();
    let bytes: Vec<u8> = (0..40 * PAGE).map(|at| (at % 251) as u8).collect();
    for part in 0..10u64 {
        // Runs of what is kept and what goes, in turn.
        store.create(format!("gone{part}")).unwrap().write_at(0, &vec![7; MIB as usize]).unwrap();
        let range = (part * 4 * PAGE) as usize..((part + 1) * 4 * PAGE) as usize;
        kept.append(&bytes[range]).unwrap();
    }
    (0..10).for_each(|part| store.unlink(format!("gone{part}")).unwrap());
    assert!(store.compact().unwrap() >= 10 * MIB);
    assert!(on_disk(&path) < on_disk(&empty) + MIB, "{} KiB", on_disk(&path) >> 10);
    assert_eq!(store.compact().unwrap(), 0, "it is gone already");
    assert_eq!(content(&kept), bytes);
    check(&store);
    // Used again, now and by the next opening: the file grows for neither.
    let len = file_len(&path);
    let again = store.create("again").unwrap();
    again.write_at(0, &vec![8; 3 * MIB as usize]).unwrap();
    assert!(on_disk(&path) >= 3 * MIB);
    drop((kept, again));
    close(store);
    let store = Store::options().open(&path).unwrap();
    let again = store.open("again").unwrap();
    again.append(&vec![8; 4 * MIB as usize]).unwrap();
    assert_eq!(content(&again), vec![8; 7 * MIB as usize]);
    assert_eq!(content(&store.open("kept").unwrap()), bytes);
    assert_eq!(file_len(&path), len);
    check(&store);
}

#[test]
fn what_is_free_beyond_sixteen_mebibytes_goes_back_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.pgs");
    let store = fresh(&path);
    let big = store.create("big").unwrap();
    big.write_at(0, &vec![1; 48 << 20]).unwrap();
    store.sync().unwrap();
    assert!(on_disk(&path) >= 48 * MIB);
    big.set_len(0).unwrap();
    store.sync().unwrap();
    assert!(on_disk(&path) <= 18 * MIB, "{} KiB", on_disk(&path) >> 10);
    big.write_at(0, &vec![2; 48 << 20]).unwrap();
    assert_eq!(content(&big), vec![2; 48 << 20]);
    check(&store);
}

#[test]
fn a_journal_that_comes_and_goes_punches_nothing() {
    let (store, recorder) = recorded();
    let database = store.create("db").unwrap();
    database.write_at(0, &vec![1; 4 << 20]).unwrap();
    store.sync().unwrap();
    for _ in 0..40 {
        let journal = store.create("journal").unwrap();
        journal.write_at(0, &vec![2; 1 << 20]).unwrap();
        journal.sync().unwrap();
        store.unlink("journal").unwrap();
        drop(journal);
        store.sync().unwrap();
    }
    assert_eq!(punched(&recorder), 0);
}

/// Small frees at the limit are gathered: not each is a call of the file system.
#[test]
fn pages_freed_one_by_one_go_back_in_large_runs() {
    let (store, recorder) = recorded();
    let big = store.create("big").unwrap();
    big.write_at(0, &vec![1; 32 << 20]).unwrap();
    store.sync().unwrap();
    let calls = |recorder: &Recorder| {
        recorder.take().iter().filter(|event| matches!(event, Event::Punch { .. })).count()
    };
    let _ = recorder.take();
    let mut len = big.len();
    while len > 0 {
        len -= 64 * PAGE;
        big.set_len(len).unwrap();
        store.sync().unwrap();
    }
    let calls = calls(&recorder);
    assert!((1..=16).contains(&calls), "{calls} calls for 128 cuts");
}

#[test]
fn a_pinned_page_that_was_cut_off_keeps_its_bytes() {
    let (store, _recorder) = recorded();
    let object = store.create("o").unwrap();
    object.write_at(0, &vec![5; 64 * PAGE as usize]).unwrap();
    let page = crate::pin(&object, 3);
    object.set_len(0).unwrap();
    store.compact().unwrap();
    assert_eq!(crate::shown(&page), [5; PAGE as usize]);
    drop(page);
    object.write_at(0, &vec![6; 64 * PAGE as usize]).unwrap();
    assert_eq!(content(&object), vec![6; 64 * PAGE as usize]);
    check(&store);
}

#[test]
fn room_that_was_asked_for_ahead_and_refused_is_room_for_others() {
    let store = Store::options().max_size(4 * MIB).open_memory(1 << 20).unwrap();
    let (one, other) = (store.create("one").unwrap(), store.create("other").unwrap());
    one.write_at(0, b"one").unwrap();
    one.allocate(PAGE, 4 * PAGE).unwrap();
    let refused = one.allocate(PAGE, 8 * MIB);
    assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
    other.write_at(0, &vec![1; 3 * MIB as usize]).unwrap();
    assert_eq!(one.mapped().unwrap().0, 5, "what was had before stays");
    assert_eq!(content(&one), b"one");
    one.append(&[2; PAGE as usize]).unwrap();
    check(&store);
}

#[test]
fn who_reads_only_gives_nothing_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.pgs");
    close(fresh(&path));
    let store = Store::options().read_only(true).open(&path).unwrap();
    assert!(matches!(store.compact(), Err(Error::ReadOnly)));
}
