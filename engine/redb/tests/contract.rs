//! redb's contract with its storage, promise by promise.

use pagestone::persist::{FileOperation, Recorder};
use pagestone::{Durability, Store};
use pagestone_redb::Backend;
use redb::{Builder, ConcurrencyMode, Database, ReadableDatabase, StorageBackend, TableDefinition};
use std::io::ErrorKind;
use std::ops::Bound;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("table");
const ALL: (Bound<u64>, Bound<u64>) = (Bound::Unbounded, Bound::Unbounded);

fn memory() -> Store {
    Store::options().open_memory(1 << 20).unwrap()
}

fn backend(store: &Store) -> Backend {
    Backend::open(store, "database").unwrap()
}

fn bytes(from: u64, to: u64) -> (Bound<u64>, Bound<u64>) {
    (Bound::Included(from), Bound::Excluded(to))
}

fn try_lock(backend: &Backend, range: (Bound<u64>, Bound<u64>)) -> bool {
    backend.try_lock_range(range.0, range.1).unwrap()
}

fn try_share(backend: &Backend, range: (Bound<u64>, Bound<u64>)) -> bool {
    backend.try_lock_shared_range(range.0, range.1).unwrap()
}

#[test]
fn a_read_past_the_end_is_an_error_and_never_short_or_zeros() {
    let store = memory();
    let backend = backend(&store);
    backend.set_len(10_000).unwrap();
    backend.write(9_990, b"0123456789").unwrap();
    let mut ten = [0; 10];
    backend.read(9_990, &mut ten).unwrap();
    assert_eq!(&ten, b"0123456789");
    for offset in [9_991, 10_000, 10_001, 1 << 40, u64::MAX] {
        let refused = backend.read(offset, &mut ten).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::UnexpectedEof, "{offset}: {refused}");
    }
    backend.read(10_000, &mut []).unwrap();
    assert!(backend.read(10_001, &mut []).is_err());
}

#[test]
fn new_bytes_are_zeros_also_where_a_longer_life_left_data() {
    let store = memory();
    let backend = backend(&store);
    backend.set_len(3 << 20).unwrap();
    backend.write(0, &vec![7; 3 << 20]).unwrap();
    backend.set_len(5_000).unwrap();
    backend.set_len(3 << 20).unwrap();
    let mut all = vec![1; 3 << 20];
    backend.read(0, &mut all).unwrap();
    assert!(all[..5_000].iter().all(|&byte| byte == 7));
    assert_eq!(all[5_000..].iter().position(|&byte| byte != 0), None);
}

#[test]
fn a_write_past_the_end_extends_the_storage_and_leaves_zeros_before_it() {
    let store = memory();
    let backend = backend(&store);
    backend.write(2_500_000, b"end").unwrap();
    assert_eq!(backend.len().unwrap(), 2_500_003);
    let mut before = [1; 100];
    backend.read(2_499_900, &mut before).unwrap();
    assert_eq!(before, [0; 100]);
}

#[test]
fn a_write_at_the_last_offsets_there_are_is_an_error_and_changes_nothing() {
    let store = memory();
    let backend = backend(&store);
    backend.write(0, b"first").unwrap();
    for offset in [u64::MAX, u64::MAX - 5, u64::MAX - (1 << 20), 1 << 63] {
        assert!(backend.write(offset, b"0123456789").is_err(), "{offset:#x}");
        assert!(backend.set_len(offset).is_err(), "{offset:#x}");
    }
    assert_eq!(backend.len().unwrap(), 5);
}

#[test]
fn every_handle_sees_the_length_as_it_is_now() {
    let store = memory();
    let (one, other) = (backend(&store), backend(&store));
    one.set_len(1 << 20).unwrap();
    assert_eq!(other.len().unwrap(), 1 << 20);
    other.write(2 << 20, b"x").unwrap();
    assert_eq!(one.len().unwrap(), (2 << 20) + 1);
    one.set_len(5).unwrap();
    assert!(other.read(4, &mut [0; 2]).is_err());
    // What one handle has filled ahead and the other cut off is written all the same.
    other.set_len(2 << 20).unwrap();
    one.set_len(0).unwrap();
    other.write(1 << 20, b"again").unwrap();
    let mut again = [0; 5];
    one.read(1 << 20, &mut again).unwrap();
    assert_eq!(&again, b"again");
}

#[test]
fn threads_read_write_and_grow_at_once() {
    const PIECE: u64 = 300_000;
    let store = memory();
    let backend = backend(&store);
    let begin = Barrier::new(4);
    thread::scope(|scope| {
        for n in 0..4u8 {
            let (backend, begin) = (&backend, &begin);
            scope.spawn(move || {
                begin.wait();
                for round in 0..4 {
                    let at = (round * 4 + u64::from(n)) * PIECE;
                    backend.write(at, &vec![n + 1; PIECE as usize]).unwrap();
                    let mut piece = vec![0; PIECE as usize];
                    backend.read(at, &mut piece).unwrap();
                    assert!(piece.iter().all(|&byte| byte == n + 1));
                    backend.sync_data().unwrap();
                }
            });
        }
    });
    assert_eq!(backend.len().unwrap(), 16 * PIECE);
}

#[test]
fn a_sync_that_failed_is_told_and_no_later_one_hides_it() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::new();
    let options = Store::options().create(true).assume(Durability::Fdatasync).recorder(recorder.clone());
    let store = options.open(folder.path().join("r.pgs")).unwrap();
    let backend = backend(&store);
    backend.write(0, b"first").unwrap();
    backend.sync_data().unwrap();
    recorder.fail_next(FileOperation::Sync, 0);
    backend.write(0, b"other").unwrap();
    let failed = backend.sync_data().unwrap_err();
    assert!(backend.sync_data().is_err(), "after {failed}");
    assert!(backend.write(0, b"third").is_err());
    assert!(backend.set_len(1 << 20).is_err());
}

#[test]
fn after_close_the_locks_are_free_and_nothing_is_done_any_more() {
    let store = memory();
    let (old, new) = (backend(&store), backend(&store));
    assert!(try_lock(&old, ALL) && !try_lock(&new, ALL));
    old.close().unwrap();
    assert!(try_lock(&new, ALL));
    assert!(old.write(0, b"late").is_err() && old.set_len(9).is_err() && old.sync_data().is_err());
    assert_eq!(new.len().unwrap(), 0);
}

#[test]
fn a_database_closes_its_storage_once_it_is_dropped() {
    let store = memory();
    let database = Builder::new().create_with_backend(backend(&store)).unwrap();
    assert!(Builder::new().create_with_backend(backend(&store)).is_err(), "a writer is there");
    drop(database);
    drop(Builder::new().create_with_backend(backend(&store)).unwrap());
    store.close().expect("nothing is left open");
}

#[test]
fn locks_exclude_each_other_where_they_overlap_and_one_is_exclusive() {
    let store = memory();
    let (a, b) = (backend(&store), backend(&store));
    let far = 1 << 62;
    assert!(try_lock(&a, bytes(far, far + 10)));
    assert!(try_lock(&b, bytes(far + 10, far + 11)), "beside it");
    assert!(!try_lock(&b, bytes(far + 9, far + 10)) && !try_share(&b, bytes(0, u64::MAX)));
    assert!(b.query_lock_range(Bound::Included(far), Bound::Unbounded).unwrap());
    assert!(!b.query_lock_range(Bound::Unbounded, Bound::Excluded(far)).unwrap());
    a.unlock_range(Bound::Included(far), Bound::Excluded(far + 10)).unwrap();
    assert!(try_share(&a, bytes(0, 5)) && try_share(&b, bytes(4, 9)) && !try_lock(&b, bytes(3, 4)));
}

#[test]
fn a_lock_that_was_refused_or_not_taken_changes_nothing() {
    let store = memory();
    let (a, b) = (backend(&store), backend(&store));
    assert!(try_lock(&a, bytes(0, 10)));
    assert!(!try_lock(&b, bytes(5, 15)));
    assert!(try_lock(&a, bytes(10, 15)), "the refused lock holds nothing");
    assert!(b.unlock_range(Bound::Included(5), Bound::Excluded(15)).is_err());
    assert!(a.try_lock_range(Bound::Included(5), Bound::Excluded(5)).is_err(), "no byte");
    assert!(a.try_lock_range(Bound::Excluded(u64::MAX), Bound::Unbounded).is_err(), "no byte");
}

#[test]
fn locks_of_other_objects_do_not_matter() {
    let (store, elsewhere) = (memory(), memory());
    let a = backend(&store);
    let b = Backend::open(&store, "another").unwrap();
    let c = backend(&elsewhere);
    assert!(try_lock(&a, ALL) && try_lock(&b, ALL) && try_lock(&c, ALL));
}

#[test]
fn a_lock_that_must_wait_is_taken_when_the_other_one_goes() {
    let store = memory();
    let (a, b) = (backend(&store), backend(&store));
    assert!(try_share(&a, ALL));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            b.lock_shared_range(Bound::Included(7), Bound::Included(7)).unwrap();
            b.lock_range(Bound::Included(0), Bound::Included(3)).unwrap();
        });
        thread::sleep(Duration::from_millis(30));
        assert!(!waiting.is_finished(), "these bytes are locked shared");
        a.close().unwrap();
        waiting.join().unwrap();
    });
}

#[test]
fn the_databases_of_one_process_share_an_object_in_redbs_modes() {
    let store = memory();
    let mode = |mode| {
        let mut builder = Database::builder();
        builder.set_concurrency_mode(mode);
        builder
    };
    let writer = mode(ConcurrencyMode::SingleWriter).create_with_backend(backend(&store)).unwrap();
    for n in 0..20u64 {
        let change = writer.begin_write().unwrap();
        change.open_table(TABLE).unwrap().insert(n, &b"value"[..]).unwrap();
        change.commit().unwrap();
        let reader =
            mode(ConcurrencyMode::SingleWriter).open_read_only_with_backend(backend(&store)).unwrap();
        let look = reader.begin_read().unwrap();
        assert!(look.open_table(TABLE).unwrap().get(n).unwrap().is_some());
    }
}

#[test]
fn a_store_that_is_open_for_reading_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.pgs");
    {
        let store = Store::options().create(true).open(&path).unwrap();
        let database = Builder::new().create_with_backend(backend(&store)).unwrap();
        let change = database.begin_write().unwrap();
        change.open_table(TABLE).unwrap().insert(1, &b"one"[..]).unwrap();
        change.commit().unwrap();
    }
    let store = Store::options().read_only(true).open(&path).unwrap();
    assert!(Backend::open(&store, "missing").is_err());
    let database = Builder::new().open_read_only_with_backend(backend(&store)).unwrap();
    let look = database.begin_read().unwrap();
    assert_eq!(look.open_table(TABLE).unwrap().get(1).unwrap().unwrap().value(), b"one");
}

#[test]
fn a_full_region_fails_a_commit_and_keeps_the_database() {
    let store = Store::options().max_size(3 << 20).open_memory(1 << 20).unwrap();
    let insert = |database: &Database, n: u64, len: usize| -> Result<(), redb::Error> {
        let change = database.begin_write()?;
        change.open_table(TABLE)?.insert(n, &vec![n as u8; len][..])?;
        Ok(change.commit()?)
    };
    {
        let database = Builder::new().create_with_backend(backend(&store)).unwrap();
        insert(&database, 1, 1_000).unwrap();
        let full = (2..200).find_map(|n| insert(&database, n, 100_000).err());
        assert!(full.is_some(), "3 MiB do not hold 20 MB");
    }
    let database = Builder::new().create_with_backend(backend(&store)).unwrap();
    let look = database.begin_read().unwrap();
    assert_eq!(look.open_table(TABLE).unwrap().get(1).unwrap().unwrap().value(), [1; 1_000]);
}
