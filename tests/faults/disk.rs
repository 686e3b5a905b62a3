//! Disks that are full, and a disk that has less room than it says.

use crate::bench::{Bench, Case};
use crate::door::assert_clear;
use crate::script::{PAGE, script};
use crate::store::{Player, options};
use crate::world::{Ending, applies, matches};
use pagestone::Error;
use pagestone::region::{Difference, Region, RegionOptions, Source};
use pagestone::store::{Object, Options, Store};
use pagestone::units::{Durability, PageIndex};
use pagestone_kit::disk::{Mounted, bytes_on_disk, make_ext4, mend_ext4, quick};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const CASES: &[Case] = &[
    Case { name: "disk: full, ext4", run: |b| full_disk(b, "a full ext4", true) },
    Case { name: "disk: full, tmpfs", run: |b| full_disk(b, "a full tmpfs", false) },
    Case { name: "disk: the script on a disk of each size", run: sizes_of_disk },
    Case { name: "disk: the script in a region of each maximum", run: sizes_of_region },
    Case { name: "disk: write-back fails for real", run: thin_disk },
    Case { name: "disk: mounted again, it is another mount", run: mounted_again },
];

const MIB: u64 = 1 << 20;

fn full_disk(bench: &Bench, what: &str, ext4: bool) {
    if !bench.may_mount(what) {
        return;
    }
    let folder = quick();
    let at = folder.path().join("disk");
    let mounted = if ext4 {
        let image = folder.path().join("image");
        make_ext4(&image, 24 * MIB, &[]).and_then(|()| Mounted::loop_on(&image, &at))
    } else {
        Mounted::tmpfs(&at, 24 * MIB)
    };
    let mounted = match mounted {
        Ok(mounted) => mounted,
        Err(error) => return bench.skip(what, &error.to_string()),
    };
    for class in [Durability::Fdatasync, Durability::CacheLine] {
        fill(mounted.path(), class);
        bench.state();
    }
}

/// Fills the object until the disk is full.
fn append_until_full(object: &Object, path: &Path) -> u64 {
    let mut pages = 0;
    for step in [64, 1] {
        let bytes = vec![0xB1; step * PAGE as usize];
        loop {
            match object.append(&bytes) {
                Ok(_) => pages += step as u64,
                Err(error @ Error::NoSpace { .. }) => {
                    assert_clear(&error, path);
                    assert!(error.to_string().contains("No space left on device"), "{error}");
                    break;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    pages
}

fn fill(folder: &Path, class: Durability) {
    let (path, ballast) = (folder.join("full.pgs"), folder.join("ballast"));
    let store = options(class).open(&path).unwrap();
    let keep = store.create("keep").unwrap();
    keep.write_at(0, &[1; 4 * PAGE as usize]).unwrap();
    store.sync().unwrap();
    std::fs::write(&ballast, vec![0; 12 << 20]).unwrap();
    let big = store.create("big").unwrap();
    let pages = append_until_full(&big, &path);
    assert!(matches(&big, &vec![0xB1; (pages * PAGE) as usize]));
    // Writes that need no room go on.
    keep.write_at(PAGE, b"in place").unwrap();
    keep.sync().unwrap();
    store.rename("keep", "kept").unwrap();
    store.sync().unwrap();
    assert!(store.check().unwrap().is_clean());
    // A page is pinned while its object is unlinked: its frame is freed later, the other frames at once.
    let page = big.pin(PageIndex(3)).unwrap().unwrap();
    store.unlink("big").unwrap();
    drop(big);
    keep.append(&[2; 10 * PAGE as usize]).unwrap();
    assert_eq!(page.read().unwrap()[..], [0xB1; PAGE as usize]);
    drop((page, keep));
    store.close().unwrap();
    // A full disk opens, and recovers, without room.
    let store = options(class).open(&path).unwrap();
    let kept = store.open("kept").unwrap();
    assert_eq!(kept.len(), 14 * PAGE);
    let pages = append_until_full(&kept, &path);
    std::fs::remove_file(ballast).unwrap();
    kept.append(&vec![3; 4 << 20]).unwrap();
    assert_eq!(kept.len(), (14 + pages) * PAGE + (4 << 20));
    assert!(store.check().unwrap().is_clean());
    drop((kept, store));
    std::fs::remove_file(path).unwrap();
}

/// Plays as much of the script as there is room for.
fn play_in_little_room(options: &Options, path: &Path) -> Result<Player, String> {
    let mut player = Player::new(options.clone(), path);
    for (number, op) in script().iter().enumerate() {
        if !applies(op, player.history.now()) {
            continue;
        }
        match player.play(number, op) {
            Ok(()) => {}
            Err(error @ Error::NoSpace { .. }) => {
                assert_clear(&error, path);
                if !player.history.opened() {
                    break;
                }
                player.refused().map_err(|why| format!("operation {number}, {op:?}: {why}"))?;
            }
            Err(other) => return Err(format!("operation {number}, {op:?}: {other}")),
        }
    }
    player.leave();
    Ok(player)
}

fn sizes_of_disk(bench: &Bench) {
    let what = "a disk of each size";
    if !bench.may_mount(what) {
        return;
    }
    let folder = quick();
    let disk = match Mounted::tmpfs(&folder.path().join("disk"), MIB) {
        Ok(mounted) => mounted,
        Err(error) => return bench.skip(what, &error.to_string()),
    };
    let path = disk.path().join("small.pgs");
    for n in bench.sweep(160, 24) {
        let bytes = (16 + n as u64 * 3) * PAGE;
        disk.resize(bytes).unwrap();
        let class = [Durability::Fdatasync, Durability::CacheLine][n % 2];
        let options = options(class);
        let player =
            play_in_little_room(&options, &path).unwrap_or_else(|why| panic!("{bytes} bytes: {why}"));
        disk.resize(64 * MIB).unwrap();
        player.judge(&options, Ending::Death).unwrap_or_else(|why| panic!("{bytes} bytes: {why}"));
        std::fs::remove_file(&path).unwrap();
        bench.state();
    }
}

fn sizes_of_region(bench: &Bench) {
    let folder = quick();
    let path = folder.path().join("small.pgs");
    for n in bench.sweep(480, 30) {
        let bytes = (16 + n as u64) * PAGE;
        let options = options(Durability::Fdatasync);
        let limited = options.clone().max_size(bytes);
        let player =
            play_in_little_room(&limited, &path).unwrap_or_else(|why| panic!("{bytes} bytes: {why}"));
        player.judge(&options, Ending::Death).unwrap_or_else(|why| panic!("{bytes} bytes: {why}"));
        std::fs::remove_file(&path).unwrap();
        bench.state();
    }
}

/// A file system on a device that has fewer blocks than it says: stores and growth succeed, and write-back fails.
///
/// It has a journal. Without one, this file system was seen to lose bytes that `fdatasync` had acknowledged when a later
/// write-back failed, even for a plain program.
pub struct ThinDisk {
    // The order of the fields matters: the file system is dropped before the device under it.
    top: Option<Mounted>,
    below: Mounted,
    folder: PathBuf,
}

impl ThinDisk {
    /// A device with room for the empty file system and `spare` bytes.
    pub fn new(folder: &Path, spare: u64) -> io::Result<Self> {
        let below = Mounted::tmpfs(&folder.join("below"), 64 * MIB)?;
        let mut disk = Self { top: None, below, folder: folder.to_owned() };
        // The device has the blocks of the journal. Otherwise the journal would always be the first to fail.
        std::fs::write(disk.image(), vec![0; 8 << 20])?;
        make_ext4(&disk.image(), 48 * MIB, &["-J", "size=4", "-E", "nodiscard"])?;
        disk.top = Some(Mounted::loop_on(&disk.image(), &disk.folder.join("top"))?);
        let used = bytes_on_disk(&disk.image());
        disk.below.resize(used + spare)?;
        Ok(disk)
    }

    fn image(&self) -> PathBuf {
        self.below.path().join("image")
    }

    /// From now on the device takes no new block.
    pub fn fill(&mut self) -> io::Result<()> {
        let used = bytes_on_disk(&self.image());
        self.below.resize(used)
    }

    /// Where the store lies.
    pub fn path(&self) -> PathBuf {
        self.folder.join("top/thin.pgs")
    }

    /// From now on the device has room. The file system has seen failures, so it is repaired and mounted again.
    pub fn heal(&mut self) -> io::Result<()> {
        self.below.resize(128 * MIB)?;
        drop(self.top.take());
        mend_ext4(&self.image())?;
        self.top = Some(Mounted::loop_on(&self.image(), &self.folder.join("top"))?);
        Ok(())
    }
}

fn thin_disk(bench: &Bench) {
    let what = "failing write-back";
    if !bench.may_mount(what) {
        return;
    }
    let mut failed = 0;
    for n in bench.sweep(60, 8) {
        let folder = quick();
        let spare = (4 + n as u64 * 2) * PAGE;
        let mut disk = match ThinDisk::new(folder.path(), spare) {
            Ok(disk) => disk,
            Err(error) => return bench.skip(what, &error.to_string()),
        };
        let path = disk.path();
        let mut player = Player::new(options(Durability::Fdatasync), &path);
        for (number, op) in script().iter().enumerate() {
            let Err(error) = player.play(number, op) else { continue };
            assert_clear(&error, &path);
            assert!(
                player.poisoned() || !player.history.opened(),
                "{spare}: a failed flush is final: {error}"
            );
            failed += 1;
            break;
        }
        player.leave();
        disk.heal().expect("a disk that has room again can be mounted");
        // The lease does not matter here: its write may have failed too, and the unmount has dropped the rest.
        let judged = player.judge(&options(Durability::Fdatasync), Ending::FailedFlush);
        judged.unwrap_or_else(|why| panic!("{spare} bytes to spare: {why}"));
        bench.state();
    }
    assert!(failed > 2, "the device must fail at least in some runs");
}

/// An unmount drops what a dead process has left in the page cache. The kernel gives the numbers of mounts out again.
fn mounted_again(bench: &Bench) {
    let what = "a disk that is mounted again";
    if !bench.may_mount(what) {
        return;
    }
    let folder = quick();
    let (image, at) = (folder.path().join("image"), folder.path().join("disk"));
    let identity = || {
        let mounted = Mounted::loop_on(&image, &at)?;
        let options = RegionOptions { create: true, ..RegionOptions::default() };
        let region = Region::attach(Source::File { path: mounted.path().join("r.pgs") }, &options);
        let region = region.expect("it attaches");
        // A region that is still mapped would keep the file system alive without a mount.
        region.close();
        io::Result::Ok(region.identity())
    };
    let mut seen = Vec::new();
    for _ in 0..12 {
        let made = if image.exists() { Ok(()) } else { make_ext4(&image, 8 * MIB, &[]) };
        match made.and_then(|()| identity()) {
            Ok(identity) => seen.push(identity),
            Err(error) => return bench.skip(what, &error.to_string()),
        }
        // The kernel frees the number a moment later.
        std::thread::sleep(Duration::from_millis(30));
    }
    assert!(seen.iter().all(|one| (one.boot, one.inode) == (seen[0].boot, seen[0].inode)));
    for pair in seen.windows(2) {
        assert_eq!(pair[1].difference(&pair[0]), Some(Difference::Mounting), "{pair:?}");
    }
    if seen[0].mount == 0 {
        return bench.skip(what, "Linux before 6.8 gives numbers of mounts out again");
    }
    let distinct: BTreeSet<_> = seen.iter().map(|one| one.mount).collect();
    assert_eq!(distinct.len(), seen.len(), "{distinct:?}");
    bench.state();
}

/// A store on a thin disk.
pub fn store_on(disk: &ThinDisk) -> pagestone::Result<Store> {
    options(Durability::Fdatasync).open(disk.path())
}
