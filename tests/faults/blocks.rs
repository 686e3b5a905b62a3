//! Files with fewer blocks than bytes, or with blocks that another file has too, on a disk that is full. A store to such a
//! byte would end this process with `SIGBUS`.

use crate::bench::{Bench, Case};
use crate::child::finish;
use crate::door::assert_clear;
use crate::store::options;
use crate::world::matches;
use pagestone::persist::{FileOperation, Recorder};
use pagestone::region::{Region, RegionOptions, Source};
use pagestone::store::{Object, Options, Store, Why};
use pagestone::units::{Durability, PageIndex};
use pagestone::{Error, Result};
use pagestone_kit::child::{again, say, under};
use pagestone_kit::disk::{Mounted, bytes_on_disk, make_ext4, make_xfs, quick};
use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub const CASES: &[Case] = &[
    Case { name: "blocks: a sparse copy on a full disk", run: sparse_copy },
    Case { name: "blocks: a sparse copy of an unclean region on a full disk", run: sparse_unclean_copy },
    Case { name: "blocks: a sparse copy on a full tmpfs", run: sparse_copy_in_memory },
    Case { name: "blocks: a sparse file that becomes a region", run: sparse_file },
    Case { name: "blocks: a reflinked region on a full XFS", run: reflinked },
    Case {
        name: "blocks: holes within frames, on a file system that allocates nothing ahead",
        run: holes_in_frames,
    },
    Case {
        name: "blocks: a reflinked region on a full file system that unshares nothing",
        run: never_unshared,
    },
    Case {
        name: "blocks: a sync that fails before the first change of a reflinked region",
        run: fails_before_a_change,
    },
    Case { name: "blocks: holes of a tmpfs that gives 2 MiB at a time", run: huge_pages },
    Case { name: "blocks: a failed transaction on a small disk", run: failed_transaction },
    Case { name: "blocks: free space gives way to other files, and comes back", run: compacted },
];

const MIB: u64 = 1 << 20;
const PAGE: u64 = 4096;

/// A disk of ext4.
fn ext4(bench: &Bench, what: &str, folder: &Path, bytes: u64) -> Option<Mounted> {
    let (image, at) = (folder.join("image"), folder.join("disk"));
    match make_ext4(&image, bytes, &["-m", "0"]).and_then(|()| Mounted::loop_on(&image, &at)) {
        Ok(mounted) => Some(mounted),
        Err(error) => {
            bench.skip(what, &error.to_string());
            None
        }
    }
}

/// Takes all the room on a disk.
fn fill_disk(folder: &Path) {
    let mut ballast = File::create(folder.join("ballast")).expect("a name");
    for step in [1 << 20, 4096] {
        let bytes = vec![7; step];
        loop {
            match ballast.write_all(&bytes).and_then(|()| ballast.sync_data()) {
                Ok(()) => {}
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{error}");
                    break;
                }
            }
        }
    }
}

fn let_go(folder: &Path) {
    std::fs::remove_file(folder.join("ballast")).expect("it is there");
    // XFS frees the blocks a moment after the removal.
    for _ in 0..400 {
        if available(folder) > 2 * MIB {
            return;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("the disk has no room, and nothing in it");
}

/// Bytes that a disk has room for.
fn available(folder: &Path) -> u64 {
    let path = CString::new(folder.as_os_str().as_bytes()).expect("a path has no NUL");
    let mut answer = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: a string that ends in NUL, and room for the answer.
    assert_eq!(unsafe { libc::statvfs(path.as_ptr(), answer.as_mut_ptr()) }, 0);
    // SAFETY: the call succeeded, so it filled the answer in.
    let answer = unsafe { answer.assume_init() };
    answer.f_bavail * answer.f_frsize
}

/// A region with an object of which half the pages are zeros, and with free space.
fn make(path: &Path, options: &Options) {
    let store = options.clone().create(true).open(path).expect("it is made");
    let object = store.create("o").expect("a name");
    let gone = store.create("gone").expect("a name");
    gone.write_at(0, &vec![0; 2 << 20]).expect("room");
    for page in 0..64 {
        object.write_at(page * PAGE, &[(page % 2) as u8; PAGE as usize]).expect("room");
    }
    store.unlink("gone").expect("it is there");
    drop((object, gone));
    store.close().expect("it closes");
}

fn content() -> Vec<u8> {
    (0..64 * PAGE).map(|at| (at / PAGE % 2) as u8).collect()
}

fn copy(how: &[&str], from: &Path, to: &Path) {
    let copied = Command::new("cp").args(how).args([from, to]).status().expect("cp runs");
    assert!(copied.success(), "cp {how:?}");
}

/// A change of a store that is open, and its name.
type Change = (&'static str, fn(&Store, &Object) -> Result);

/// Each of them is made once as the first change of an opening.
const CHANGES: [Change; 8] = [
    ("append", |_, object| object.append(&[1; 8 * PAGE as usize]).map(drop)),
    ("overwrite", |_, object| object.write_at(0, &[3; PAGE as usize])),
    ("guard", |_, object| {
        let page = object.pin(PageIndex(2))?.expect("no hole");
        page.write()?.fill(3);
        Ok(())
    }),
    ("try_write", |_, object| {
        let page = object.pin(PageIndex(4))?.expect("no hole");
        page.try_write()?.expect("it is not latched").fill(3);
        Ok(())
    }),
    ("batch", |store, object| {
        let mut batch = store.batch();
        batch.write_at(object, 6 * PAGE, &[3; PAGE as usize])?;
        batch.commit()
    }),
    ("create", |store, _| store.create("other").map(drop)),
    ("cut", |_, object| object.set_len(3 * PAGE + 5)),
    ("compact", |store, _| store.compact().map(drop)),
];

/// On a full disk the change is refused and changes nothing. When there is room, it succeeds.
fn refused_then_done(options: &Options, path: &Path, (name, change): Change) {
    let disk = path.parent().expect("a folder");
    fill_disk(disk);
    let store = options.open(path).expect("a full disk is no reason not to open");
    let object = store.open("o").expect("it is there");
    assert!(matches(&object, &content()), "{name}");
    match change(&store, &object) {
        Err(error @ Error::NoSpace { .. }) => assert_clear(&error, path),
        other => panic!("{name} on a full disk: {other:?}"),
    }
    assert!(store.poisoned().is_none(), "{name}: what can be tried again is not final");
    assert!(matches(&object, &content()), "{name}: nothing was changed");
    let_go(disk);
    change(&store, &object).unwrap_or_else(|error| panic!("{name}, with room: {error}"));
    store.sync().expect("it syncs");
    object.set_len(100 * PAGE).expect("it grows");
    object.write_at(0, &vec![9; 100 * PAGE as usize]).expect("all of it can be stored to");
    assert!(store.check().expect("it reads").is_clean(), "{name}");
    drop(object);
    store.close().expect("it closes");
    std::fs::remove_file(path).expect("it is there");
}

fn sparse_copy(bench: &Bench) {
    let what = "a sparse copy on a full disk";
    if !bench.may_mount(what) {
        return;
    }
    let folder = quick();
    let Some(disk) = ext4(bench, what, folder.path(), 24 * MIB) else { return };
    let original = folder.path().join("original.pgs");
    for class in [Durability::Fdatasync, Durability::CacheLine] {
        let options = options(class);
        make(&original, &options);
        for change in CHANGES {
            let path = disk.path().join("copy.pgs");
            copy(&["--sparse=always"], &original, &path);
            refused_then_done(&options, &path, change);
            bench.state();
        }
        // The holes were the reason for the refusals: a copy without holes takes changes that need no room.
        let path = disk.path().join("copy.pgs");
        copy(&["--sparse=never"], &original, &path);
        fill_disk(disk.path());
        let store = options.open(&path).expect("a full disk is no reason not to open");
        let object = store.open("o").expect("it is there");
        for (name, change) in &CHANGES[1..4] {
            change(&store, &object).unwrap_or_else(|error| panic!("{name} of a copy without holes: {error}"));
        }
        drop((object, store));
        let_go(disk.path());
        std::fs::remove_file(&path).and_then(|()| std::fs::remove_file(&original)).expect("they are there");
        bench.state();
    }
}

/// A recovery stores, too, and needs blocks for that.
fn sparse_unclean_copy(bench: &Bench) {
    let what = "a sparse copy of an unclean region";
    if !bench.may_mount(what) {
        return;
    }
    let folder = quick();
    let Some(disk) = ext4(bench, what, folder.path(), 24 * MIB) else { return };
    let (original, path) = (folder.path().join("original.pgs"), disk.path().join("copy.pgs"));
    let options = options(Durability::Fdatasync);
    let store = options.clone().create(true).open(&original).expect("it is made");
    let object = store.create("o").expect("a name");
    object.write_at(0, &content()).expect("room");
    let mut batch = store.batch();
    batch.write_at(&object, 70 * PAGE, &[5; PAGE as usize]).expect("it is staged");
    batch.commit().expect("room");
    store.sync().expect("it syncs");
    copy(&["--sparse=always"], &original, &path);
    fill_disk(disk.path());
    match options.open(&path) {
        Err(error @ Error::NoSpace { .. }) => assert_clear(&error, &path),
        other => panic!("a recovery without room: {other:?}"),
    }
    let_go(disk.path());
    let copied = options.open(&path).expect("there is room");
    let mut found = vec![0; PAGE as usize];
    copied.open("o").expect("it is there").read_at(70 * PAGE, &mut found).expect("it reads");
    assert_eq!(found, [5; PAGE as usize]);
    assert!(copied.check().expect("it reads").is_clean());
    bench.state();
}

/// On tmpfs even a load from a hole takes a page. An opening that only reads must not need any.
fn sparse_copy_in_memory(bench: &Bench) {
    let what = "a sparse copy on a full tmpfs";
    if !bench.may_mount(what) {
        return;
    }
    let folder = quick();
    let disk = match Mounted::tmpfs(&folder.path().join("disk"), 24 * MIB) {
        Ok(disk) => disk,
        Err(error) => return bench.skip(what, &error.to_string()),
    };
    let (original, path) = (folder.path().join("original.pgs"), disk.path().join("copy.pgs"));
    for class in [Durability::Fdatasync, Durability::CacheLine] {
        let options = options(class);
        make(&original, &options);
        for change in CHANGES {
            copy(&["--sparse=always"], &original, &path);
            reads_without_room(&options, &path, &content());
            refused_then_done(&options, &path, change);
            bench.state();
        }
        let store = options.open(&original).expect("it opens");
        let object = store.open("o").expect("it is there");
        let mut batch = store.batch();
        batch.write_at(&object, 63 * PAGE, &[5; PAGE as usize]).expect("it is staged");
        batch.commit().expect("room");
        store.sync().expect("it syncs");
        copy(&["--sparse=always"], &original, &path);
        let changed = [content()[..63 * PAGE as usize].to_vec(), vec![5; PAGE as usize]].concat();
        reads_without_room(&options, &path, &changed);
        let copied = options.open(&path).expect("there is room");
        let object_of_copy = copied.open("o").expect("it is there");
        object_of_copy.write_at(0, &vec![9; 64 * PAGE as usize]).expect("all of it can be stored to");
        assert!(copied.check().expect("it reads").is_clean());
        drop((object, object_of_copy, store, copied));
        std::fs::remove_file(&path).and_then(|()| std::fs::remove_file(&original)).expect("they are there");
        bench.state();
    }
}

/// A region on a full disk is read and checked, and its file takes no room for that.
fn reads_without_room(options: &Options, path: &Path, content: &[u8]) {
    let disk = path.parent().expect("a folder");
    fill_disk(disk);
    let before = bytes_on_disk(path);
    assert!(before < path.metadata().expect("it is there").len(), "it has holes");
    let store = options.clone().create(false).read_only(true).open(path).expect("it is read");
    let object = store.open("o").expect("it is there");
    assert!(matches(&object, content));
    assert!(store.check().expect("it reads").is_clean());
    drop((object, store));
    assert_eq!(bytes_on_disk(path), before);
    let_go(disk);
}

fn sparse_file(bench: &Bench) {
    let what = "a sparse file that becomes a region";
    if !bench.may_mount(what) {
        return;
    }
    let folder = quick();
    let Some(disk) = ext4(bench, what, folder.path(), 24 * MIB) else { return };
    let path = disk.path().join("new.pgs");
    File::create(&path).and_then(|file| file.set_len(120 * PAGE)).expect("a hole");
    fill_disk(disk.path());
    let options = Store::options().create(true);
    match options.open(&path) {
        Err(error @ Error::NoSpace { .. }) => assert_clear(&error, &path),
        other => panic!("a format without room: {other:?}"),
    }
    let_go(disk.path());
    options.open(&path).and_then(|store| store.create("o").map(drop)).expect("there is room");
    bench.state();
}

fn reflinked(bench: &Bench) {
    let what = "a reflinked region on a full XFS";
    if !bench.may_mount(what) {
        return;
    }
    let folder = quick();
    let (image, at) = (folder.path().join("image"), folder.path().join("disk"));
    let disk = match make_xfs(&image, 320 * MIB).and_then(|()| Mounted::loop_on(&image, &at)) {
        Ok(disk) => disk,
        Err(error) => return bench.skip(what, &error.to_string()),
    };
    let options = options(Durability::Fdatasync);
    for change in CHANGES {
        let (path, backup) = (disk.path().join("r.pgs"), disk.path().join("backup.pgs"));
        make(&path, &options);
        copy(&["--reflink=always"], &path, &backup);
        refused_then_done(&options, &path, change);
        // The copy still holds what the region held.
        let store = options.open(&backup).expect("it is a region");
        assert!(matches(&store.open("o").expect("it is there"), &content()));
        drop(store);
        std::fs::remove_file(&backup).expect("it is there");
        bench.state();
    }
}

/// A copy with a hole wherever `block` bytes are zeros.
fn copy_with_holes(from: &Path, to: &Path, block: usize) {
    let bytes = std::fs::read(from).expect("it can be read");
    let copy = File::create(to).expect("a name");
    copy.set_len(bytes.len() as u64).expect("a hole");
    for (number, part) in bytes.chunks(block).enumerate().filter(|(_, part)| part.iter().any(|&b| b != 0)) {
        copy.write_all_at(part, (number * block) as u64).expect("room");
    }
    copy.sync_all().expect("a disk");
}

fn holes_in_frames(bench: &Bench) {
    let what = "holes within frames";
    if !bench.may_mount(what) {
        return;
    }
    let folder = quick();
    let (image, at) = (folder.path().join("image"), folder.path().join("disk"));
    let old = ["-m", "0", "-O", "^extents,^64bit,^metadata_csum", "-b", "1024"];
    let disk = match make_ext4(&image, 24 * MIB, &old).and_then(|()| Mounted::loop_on(&image, &at)) {
        Ok(disk) => disk,
        Err(error) => return bench.skip(what, &error.to_string()),
    };
    let original = folder.path().join("original.pgs");
    let options = options(Durability::Fdatasync);
    make(&original, &options);
    let store = options.open(&original).expect("it is a region");
    let object = store.create("partly").expect("a name");
    for page in 0..64 {
        object.write_at(page * PAGE + page % 4 * 1024, &[5; 100]).expect("room");
    }
    let mut partly = vec![0; object.len() as usize];
    object.read_at(0, &mut partly).expect("it reads");
    drop(object);
    store.close().expect("it closes");
    for change in CHANGES {
        let path = disk.path().join("copy.pgs");
        copy_with_holes(&original, &path, 1024);
        let store = options.open(&path).expect("it is a region");
        let object = store.open("o").expect("it is there");
        (change.1)(&store, &object).unwrap_or_else(|error| panic!("{}: {error}", change.0));
        assert!(
            matches(&store.open("partly").expect("it is there"), &partly),
            "{}: bytes are lost",
            change.0
        );
        assert!(store.check().expect("it reads").is_clean(), "{}", change.0);
        drop((object, store));
        std::fs::remove_file(&path).expect("it is there");
        copy_with_holes(&original, &path, 1024);
        refused_then_done(&options, &path, change);
        bench.state();
    }
}

/// Runs in a process of its own: changes a region in place.
pub fn change(path: &Path) {
    let store = options(Durability::Fdatasync).open(path).expect("a full disk is no reason not to open");
    let object = store.open("o").expect("it is there");
    for page in 0..64 {
        if let Err(error) = object.write_at(page * PAGE, &[3; PAGE as usize]) {
            return say(&format!("error {error}"));
        }
    }
    say("changed");
}

/// A full disk of XFS with a region and a copy of it that shares its blocks.
fn full_of_reflinks(bench: &Bench, what: &str, folder: &Path) -> Option<(Mounted, PathBuf, PathBuf)> {
    let (image, at) = (folder.join("image"), folder.join("disk"));
    let disk = match make_xfs(&image, 320 * MIB).and_then(|()| Mounted::loop_on(&image, &at)) {
        Ok(disk) => disk,
        Err(error) => {
            bench.skip(what, &error.to_string());
            return None;
        }
    };
    let (path, backup) = (disk.path().join("r.pgs"), disk.path().join("backup.pgs"));
    make(&path, &options(Durability::Fdatasync));
    copy(&["--reflink=always"], &path, &backup);
    fill_disk(disk.path());
    Some((disk, path, backup))
}

/// A file system as ocfs2, which shares blocks and has no call that gives a file blocks of its own.
fn never_unshared(bench: &Bench) {
    let what = "a file system that unshares nothing";
    if !bench.may_mount(what) || !crate::inject::available(bench, what) {
        return;
    }
    let folder = quick();
    let Some((disk, path, backup)) = full_of_reflinks(bench, what, folder.path()) else { return };
    let injected =
        ["-qq", "-o", "/dev/null", "-e", "trace=fallocate", "-e", "inject=fallocate:error=EOPNOTSUPP"];
    let change = || {
        let ended = finish(under("strace", &injected, &again("change", &path)));
        let ended = ended.expect("it ends");
        assert!(ended.status.success(), "{:?} {}", ended.status, ended.complained);
        ended.said.join("; ")
    };
    let said = change();
    assert!(said.starts_with("error no space"), "on a full disk: {said}");
    let_go(disk.path());
    assert_eq!(change(), "changed");
    let store = options(Durability::Fdatasync).open(&backup).expect("it is a region");
    assert!(matches(&store.open("o").expect("it is there"), &content()), "the copy is what the region was");
    bench.state();
}

/// A flush fails before the region has blocks of its own: the lease says so all the same.
fn fails_before_a_change(bench: &Bench) {
    let what = "a sync that fails before the first change";
    if !bench.may_mount(what) {
        return;
    }
    let folder = quick();
    let Some((disk, path, backup)) = full_of_reflinks(bench, what, folder.path()) else { return };
    for full in [true, false] {
        let recorder = Recorder::new();
        let store = options(Durability::Fdatasync).recorder(recorder.clone()).open(&path).expect("it opens");
        recorder.fail_next(FileOperation::Sync, 0);
        store.sync().expect_err("the disk has refused it");
        assert!(store.poisoned().is_some());
        drop(store);
        if full {
            let_go(disk.path());
        }
    }
    let store = options(Durability::Fdatasync).open(&path).expect("it opens");
    assert_eq!(store.recovery().why, Why::FailedFlush, "the lease was written where there was room");
    assert!(matches(&store.open("o").expect("it is there"), &content()));
    let store = options(Durability::Fdatasync).open(&backup).expect("it is a region");
    assert_eq!(store.recovery().why, Why::Closed, "the copy is what the region was");
    bench.state();
}

fn huge_pages(bench: &Bench) {
    let what = "a tmpfs that gives 2 MiB at a time";
    if !bench.may_mount(what) {
        return;
    }
    let folder = quick();
    let disk = match Mounted::tmpfs_with(&folder.path().join("disk"), "size=64m,huge=always") {
        Ok(disk) => disk,
        Err(error) => return bench.skip(what, &error.to_string()),
    };
    let path = disk.path().join("r.pgs");
    let options = RegionOptions { create: true, ..RegionOptions::default() };
    let region = Region::attach(Source::File { path: path.clone() }, &options).expect("it attaches");
    region.grow_to(2 * MIB + PAGE).expect("room");
    region.memory().write(0, &vec![1; (2 * MIB + PAGE) as usize]).expect("it has blocks");
    region.take_blocks(MIB..MIB + 64 * PAGE).expect("tmpfs makes holes");
    let hidden = bytes_on_disk(&path) >= 2 * MIB + PAGE;
    let gaps = region.gaps(0..2 * MIB + PAGE).expect("they are told");
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].bytes, MIB..MIB + 64 * PAGE);
    region.close();
    if !hidden {
        return bench.skip(what, "this kernel gave no huge page");
    }
    bench.state();
}

fn failed_transaction(bench: &Bench) {
    let what = "a failed transaction on a small disk";
    if !bench.may_mount(what) {
        return;
    }
    let folder = quick();
    let Some(disk) = ext4(bench, what, folder.path(), 16 * MIB) else { return };
    let path = disk.path().join("r.pgs");
    let store = options(Durability::Fdatasync).create(true).open(&path).expect("it is made");
    let object = store.create("o").expect("a name");
    object.write_at(0, &content()).expect("room");
    store.sync().expect("it syncs");
    let before = bytes_on_disk(&path);
    let refused = object.write_at(object.len(), &vec![1; 64 << 20]);
    assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
    assert!(matches(&object, &content()));
    assert!(
        bytes_on_disk(&path) <= before + 3 * MIB / 2,
        "{} KiB before, {} KiB after",
        before >> 10,
        bytes_on_disk(&path) >> 10
    );
    // Room is taken piece by piece, and given back by a cut.
    while object.append(&[1; 64 * PAGE as usize]).is_ok() {}
    object.set_len(64 * PAGE).expect("a cut needs no room");
    assert!(
        bytes_on_disk(&path) <= before + 3 * MIB / 2,
        "{} KiB before, {} KiB after",
        before >> 10,
        bytes_on_disk(&path) >> 10
    );
    assert!(matches(&object, &content()));
    // Too much room is asked for ahead.
    let refused = object.allocate(object.len(), 64 << 20);
    assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
    assert!(
        bytes_on_disk(&path) <= before + 3 * MIB / 2,
        "{} KiB before, {} KiB after",
        before >> 10,
        bytes_on_disk(&path) >> 10
    );
    assert!(store.check().expect("it reads").is_clean());
    bench.state();
}

fn compacted(bench: &Bench) {
    let what = "free space that gives way";
    if !bench.may_mount(what) {
        return;
    }
    let folder = quick();
    let Some(disk) = ext4(bench, what, folder.path(), 24 * MIB) else { return };
    let path = disk.path().join("r.pgs");
    let options = options(Durability::Fdatasync).create(true);
    let store = options.open(&path).expect("it is made");
    let object = store.create("o").expect("a name");
    object.write_at(0, &content()).expect("room");
    store.create("big").expect("a name").write_at(0, &vec![1; 12 << 20]).expect("room");
    // It keeps the file from being cut: what is free becomes holes.
    store.create("behind").expect("a name").write_at(0, &content()).expect("room");
    store.unlink("big").expect("it is there");
    assert!(store.compact().expect("ext4 makes holes") >= 12 * MIB);
    assert!(path.metadata().expect("the file").len() > 12 * MIB, "there are holes");
    assert!(bytes_on_disk(&path) < 2 * MIB, "{} KiB", bytes_on_disk(&path) >> 10);
    for life in 0..2 {
        // Another file takes the room. Then a write is an error, and no signal.
        fill_disk(disk.path());
        let big = store.create("big").expect("a few frames are kept");
        let refused = big.write_at(0, &vec![2; 8 << 20]);
        assert!(matches!(refused, Err(Error::NoSpace { .. })), "{life}: {refused:?}");
        object.write_at(0, &content()).expect("in place");
        store.unlink("big").expect("it is there");
        drop(big);
        let_go(disk.path());
        let big = store.create("big").expect("room");
        big.write_at(0, &vec![2; 8 << 20]).expect("there is room again");
        assert!(matches(&big, &vec![2; 8 << 20]) && matches(&object, &content()));
        assert!(store.check().expect("it reads").is_clean());
        store.unlink("big").expect("it is there");
        drop(big);
        store.compact().expect("ext4 makes holes");
        bench.state();
    }
}
