//! tantivy's contract with its directory, promise by promise.

use pagestone::{PageIndex, Store};
use pagestone_tantivy::PagestoneDirectory;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tantivy::HasLen;
use tantivy::directory::error::{DeleteError, OpenReadError, OpenWriteError};
use tantivy::directory::{Directory, Lock, OwnedBytes, TerminatingWrite, WatchCallback};

const FRAME: usize = 4096;

fn memory() -> Store {
    Store::options().open_memory(1 << 20).unwrap()
}

fn directory(store: &Store) -> PagestoneDirectory {
    PagestoneDirectory::open(store, "index").unwrap()
}

fn path() -> &'static Path {
    Path::new("segment.store")
}

/// Bytes that differ from page to page.
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n / FRAME * 7 + n) as u8).collect()
}

fn write(directory: &PagestoneDirectory, path: &Path, bytes: &[u8]) {
    let mut writer = directory.open_write(path).unwrap();
    writer.write_all(bytes).unwrap();
    writer.terminate().unwrap();
}

fn read(directory: &PagestoneDirectory, path: &Path) -> OwnedBytes {
    directory.open_read(path).unwrap().read_bytes().unwrap()
}

fn lock(name: &str, is_blocking: bool) -> Lock {
    Lock { filepath: PathBuf::from(name), is_blocking }
}

#[test]
fn what_was_written_and_terminated_is_read_without_a_copy() {
    let store = memory();
    let directory = directory(&store);
    let bytes = content(100 * FRAME + 17);
    write(&directory, path(), &bytes);
    let file = directory.open_read(path()).unwrap();
    assert_eq!(file.len(), bytes.len());
    for range in [0..1, FRAME - 1..FRAME + 1, 5 * FRAME..90 * FRAME + 3, 0..bytes.len()] {
        assert_eq!(file.read_bytes_slice(range.clone()).unwrap().as_slice(), &bytes[range]);
    }
    let reads = directory.reads();
    assert_eq!((reads.pinned, reads.copied), (4, 0));
    assert_eq!(reads.pinned_bytes, (1 + 2 + 85 * FRAME + 3 + bytes.len()) as u64);
}

#[test]
fn scattered_pages_are_copied_and_counted() {
    let store = memory();
    let directory = directory(&store);
    // Each page of one file lies behind a page of the other: 1 MiB at a time is too coarse for that.
    let (one, other) = (store.create("index/one").unwrap(), store.create("index/other").unwrap());
    for n in 0..4u8 {
        one.append(&[n; FRAME]).unwrap();
        other.append(&[n; FRAME]).unwrap();
    }
    drop((one, other));
    let file = directory.open_read(Path::new("one")).unwrap();
    let whole = file.read_bytes().unwrap();
    assert!((0..4).all(|n| whole[n * FRAME..][..FRAME].iter().all(|&byte| byte == n as u8)));
    let within = file.read_bytes_slice(2 * FRAME + 5..3 * FRAME).unwrap();
    assert_eq!(within.len(), FRAME - 5);
    let reads = directory.reads();
    assert_eq!((reads.copied, reads.copied_bytes), (1, 4 * FRAME as u64));
    assert_eq!((reads.pinned, reads.pinned_bytes), (1, FRAME as u64 - 5));
}

#[test]
fn pinned_bytes_stay_after_the_file_is_deleted_and_its_space_is_wanted() {
    let store = Store::options().max_size(4 << 20).open_memory(4 << 20).unwrap();
    let directory = directory(&store);
    let bytes = content(200 * FRAME);
    write(&directory, path(), &bytes);
    let held = read(&directory, path());
    directory.delete(path()).unwrap();
    assert!(!directory.exists(path()).unwrap());
    // Everything that is free is written over, until nothing is.
    let filler = store.create("filler").unwrap();
    while filler.append(&[0xff; FRAME]).is_ok() {}
    assert_eq!(held.as_slice(), bytes, "another object was given these frames");
    drop(held);
    // The frames come back with the last pin.
    let again = (0..200).take_while(|_| filler.append(&[0xff; FRAME]).is_ok()).count();
    assert!(again > 150, "only {again} frames came back");
}

#[test]
fn pinned_bytes_stay_after_a_truncate_and_after_the_store_was_dropped() {
    let store = memory();
    let directory = directory(&store);
    let bytes = content(10 * FRAME);
    write(&directory, path(), &bytes);
    let held = read(&directory, path());
    let object = store.open("index/segment.store").unwrap();
    object.set_len(0).unwrap();
    object.set_len(10 * FRAME as u64).unwrap();
    object.write_at(0, &[1; 10 * FRAME]).unwrap();
    assert_eq!(held.as_slice(), bytes);
    drop((object, directory, store));
    assert_eq!(held.as_slice(), bytes);
}

#[test]
fn a_write_to_bytes_that_are_read_waits_for_the_reader() {
    let store = memory();
    let directory = directory(&store);
    write(&directory, path(), &content(3 * FRAME));
    let held = read(&directory, path());
    let object = store.open("index/segment.store").unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| object.write_at(FRAME as u64, b"behind tantivy's back").unwrap());
        thread::sleep(Duration::from_millis(50));
        assert!(!writer.is_finished());
        assert_eq!(held.as_slice(), content(3 * FRAME));
        drop(held);
        writer.join().unwrap();
    });
}

#[test]
fn slices_of_one_page_share_one_latch_whichever_handle_they_come_from() {
    let store = memory();
    let directory = directory(&store);
    let bytes = content(3 * FRAME);
    write(&directory, path(), &bytes);
    let handles: Vec<_> = (0..5000).map(|_| directory.open_read(path()).unwrap()).collect();
    let slices: Vec<_> = handles
        .iter()
        .enumerate()
        .map(|(n, file)| file.read_bytes_slice(FRAME + n % 4000..FRAME + n % 4000 + 9).unwrap())
        .collect();
    for (n, slice) in slices.iter().enumerate() {
        assert_eq!(slice.as_slice(), &bytes[FRAME + n % 4000..][..9]);
    }
    let reads = directory.reads();
    assert_eq!((reads.pinned, reads.copied), (5000, 0));
    let object = store.open("index/segment.store").unwrap();
    let page = object.pin(PageIndex(1)).unwrap().unwrap();
    assert_eq!((page.info().shared, page.info().pins), (1, 2));
    // The last slice gives it back, and the next takes it anew.
    drop(slices);
    assert_eq!((page.info().shared, page.info().pins), (0, 1));
    let again = handles[0].read_bytes_slice(FRAME..FRAME + 1).unwrap();
    assert_eq!((again.as_slice(), page.info().shared), (&bytes[FRAME..FRAME + 1], 1));
}

#[test]
fn handles_of_a_file_that_has_grown_each_see_what_it_was_when_they_were_opened() {
    let store = memory();
    let directory = directory(&store);
    write(&directory, path(), &content(9));
    let object = store.open("index/segment.store").unwrap();
    // From this growth on it is known that zeros follow, and the next one stores none under the latch.
    object.set_len(10).unwrap();
    let short = directory.open_read(path()).unwrap();
    let first = short.read_bytes_slice(0..10).unwrap();
    object.set_len(20).unwrap();
    let long = directory.open_read(path()).unwrap();
    assert_eq!(long.read_bytes_slice(15..20).unwrap().as_slice(), [0; 5]);
    assert_eq!(long.read_bytes_slice(0..20).unwrap()[..9], content(9));
    assert_eq!(first[..9], content(9));
    assert_eq!(short.read_bytes_slice(3..9).unwrap().as_slice(), &content(9)[3..]);
}

/// Runs of pages that overlap have a latch each; where a page has no room for another, bytes are copied.
#[test]
fn where_a_page_has_no_room_for_another_latch_its_bytes_are_copied() {
    let store = memory();
    let directory = directory(&store);
    let bytes = content(80 * FRAME);
    write(&directory, path(), &bytes);
    let file = directory.open_read(path()).unwrap();
    // Seven hundred runs that all have the fortieth page.
    let range = |n: usize| n % 28 * FRAME..(41 + n / 28) * FRAME;
    let slices: Vec<_> = (0..700).map(|n| file.read_bytes_slice(range(n)).unwrap()).collect();
    assert!(slices.iter().enumerate().all(|(n, slice)| slice.as_slice() == &bytes[range(n)]));
    let reads = directory.reads();
    assert_eq!((reads.pinned, reads.copied), (511, 189));
}

#[test]
fn a_handle_that_was_opened_goes_on_reading_a_file_that_is_deleted_or_replaced() {
    let store = memory();
    let directory = directory(&store);
    let meta = Path::new("meta.json");
    write(&directory, path(), &content(FRAME));
    directory.atomic_write(meta, b"old").unwrap();
    let (file, old) = (directory.open_read(path()).unwrap(), directory.open_read(meta).unwrap());
    directory.delete(path()).unwrap();
    directory.atomic_write(meta, b"newer").unwrap();
    assert_eq!(file.read_bytes().unwrap().as_slice(), content(FRAME));
    assert_eq!(old.read_bytes().unwrap().as_slice(), b"old");
    assert_eq!(read(&directory, meta).as_slice(), b"newer");
}

#[test]
fn a_range_that_is_not_there_is_an_error() {
    let store = memory();
    let directory = directory(&store);
    write(&directory, path(), b"short");
    let handle = directory.get_file_handle(path()).unwrap();
    for range in [0..6, 6..6, 6..7, usize::MAX - 1..usize::MAX] {
        assert_eq!(handle.read_bytes(range).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }
    assert!(handle.read_bytes(5..5).unwrap().is_empty());
}

#[test]
fn an_empty_file_is_a_file() {
    let store = memory();
    let directory = directory(&store);
    write(&directory, path(), b"");
    assert!(directory.exists(path()).unwrap());
    assert!(read(&directory, path()).is_empty());
}

#[test]
fn a_file_is_written_once() {
    let store = memory();
    let directory = directory(&store);
    assert!(matches!(directory.open_read(path()), Err(OpenReadError::FileDoesNotExist(_))));
    let writer = directory.open_write(path()).unwrap();
    assert!(directory.exists(path()).unwrap());
    assert!(matches!(directory.open_write(path()), Err(OpenWriteError::FileAlreadyExists(_))));
    writer.terminate().unwrap();
    assert!(matches!(directory.open_write(path()), Err(OpenWriteError::FileAlreadyExists(_))));
}

#[test]
fn what_is_deleted_is_gone_and_what_is_not_there_cannot_be_deleted() {
    let store = memory();
    let directory = directory(&store);
    write(&directory, path(), b"bytes");
    directory.delete(path()).unwrap();
    assert!(directory.open_read(path()).is_err());
    assert!(matches!(directory.delete(path()), Err(DeleteError::FileDoesNotExist(_))));
    assert!(matches!(directory.delete(Path::new("other")), Err(DeleteError::FileDoesNotExist(_))));
}

#[test]
fn a_replacement_is_whole_shorter_or_longer_and_leaves_nothing_behind() {
    let store = memory();
    let directory = directory(&store);
    let meta = Path::new("meta.json");
    for len in [5, 3 * FRAME, 1, 0, 2 << 20] {
        directory.atomic_write(meta, &content(len)).unwrap();
        assert_eq!(directory.atomic_read(meta).unwrap(), content(len));
    }
    let names: Vec<_> = store.list().unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, [b"index/meta.json"]);
}

#[test]
fn the_rest_of_a_replacement_that_was_cut_off_does_no_harm() {
    let store = memory();
    let directory = directory(&store);
    store.create("index/.replacing").unwrap().append(b"half").unwrap();
    directory.atomic_write(Path::new("meta.json"), b"whole").unwrap();
    assert_eq!(directory.atomic_read(Path::new("meta.json")).unwrap(), b"whole");
    assert_eq!(store.list().unwrap().len(), 1);
}

#[test]
fn readers_of_a_file_that_is_being_replaced_see_the_old_or_the_new() {
    let store = memory();
    let directory = directory(&store);
    let meta = Path::new("meta.json");
    directory.atomic_write(meta, &[0; 10_000]).unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            (1..100u8).for_each(|n| directory.atomic_write(meta, &vec![n; 10_000 + usize::from(n)]).unwrap());
        });
        while !writer.is_finished() {
            let seen = directory.atomic_read(meta).unwrap();
            assert_eq!(seen.len(), 10_000 + usize::from(seen[0]));
            assert!(seen.iter().all(|byte| byte == &seen[0]));
        }
    });
}

#[test]
fn watchers_hear_of_each_commit_until_they_go() {
    let store = memory();
    let (directory, writer) = (directory(&store), directory(&store));
    let (tell, heard) = mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let watch = directory.watch(WatchCallback::new(move || tell.lock().unwrap().send(()).unwrap())).unwrap();
    writer.atomic_write(Path::new("meta.json"), b"1").unwrap();
    heard.recv_timeout(Duration::from_secs(20)).unwrap();
    writer.atomic_write(Path::new(".managed.json"), b"no commit").unwrap();
    assert!(heard.recv_timeout(Duration::from_millis(100)).is_err());
    drop(watch);
    writer.atomic_write(Path::new("meta.json"), b"2").unwrap();
    assert!(heard.recv_timeout(Duration::from_millis(100)).is_err());
}

#[test]
fn a_lock_is_held_once_whichever_way_the_directory_was_opened() {
    let store = memory();
    let (one, other) = (directory(&store), directory(&store));
    let held = one.acquire_lock(&lock("a.lock", false)).unwrap();
    assert!(other.acquire_lock(&lock("a.lock", false)).is_err());
    other.acquire_lock(&lock("b.lock", false)).unwrap();
    let elsewhere = PagestoneDirectory::open(&store, "other index").unwrap();
    elsewhere.acquire_lock(&lock("a.lock", false)).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| other.acquire_lock(&lock("a.lock", true)).map(drop).unwrap());
        thread::sleep(Duration::from_millis(50));
        assert!(!waiting.is_finished());
        drop(held);
        waiting.join().unwrap();
    });
    let held = one.acquire_lock(&lock("a.lock", false)).unwrap();
    // Also when no directory is left.
    drop((one, other));
    let again = directory(&store);
    assert!(again.acquire_lock(&lock("a.lock", false)).is_err());
    drop(held);
    again.acquire_lock(&lock("a.lock", false)).unwrap();
}

#[test]
fn directories_of_other_names_have_other_files() {
    let store = memory();
    let (one, other) = (directory(&store), PagestoneDirectory::open(&store, "other index").unwrap());
    write(&one, path(), b"one");
    assert!(!other.exists(path()).unwrap());
    write(&other, path(), b"other");
    assert_eq!(read(&one, path()).as_slice(), b"one");
}

#[test]
fn a_name_too_long_is_refused() {
    assert!(PagestoneDirectory::open(&memory(), "x".repeat(300)).is_err());
    let store = memory();
    let refused = directory(&store).open_write(Path::new(&"x".repeat(300)));
    assert!(matches!(refused, Err(OpenWriteError::IoError { .. })));
}
