//! How an owner's life ended. An opening relies on what a dead process had stored only where that is certainly there, and
//! it says how the life ended.

use crate::bench::{Bench, Case};
use crate::child::{Ended, finish};
use crate::disk::ThinDisk;
use crate::script::PAGE;
use crate::store::options;
use pagestone::store::{Object, Options, Store};
use pagestone::units::Durability;
use pagestone_kit::child::{Child, again, say, under, wait_for_death};
use pagestone_kit::disk::{Mounted, make_btrfs, make_ext4, make_xfs, quick};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

pub const CASES: &[Case] = &[
    Case { name: "ending: a death is one, by whatever mount the region is opened", run: kept },
    Case { name: "ending: the file system was unmounted", run: |b| lost(b, "OtherMounting", remounted) },
    Case {
        name: "ending: the disk was put back to an earlier image",
        run: |b| lost(b, "OtherMounting", put_back),
    },
    Case { name: "ending: a copy was renamed into place", run: |b| lost(b, "OtherFile", copied) },
    Case { name: "ending: a snapshot has the file's number again", run: |b| lost(b, "OtherFile", restored) },
    Case { name: "ending: a folder without /proc is the root", run: |b| lost(b, "OtherBoot", rooted) },
    Case { name: "ending: bytes were put back under the same file", run: |b| lost(b, "Assumed", assumed) },
    Case { name: "ending: write-back is refused after a death", run: |b| refused(b, FORGET) },
    Case {
        name: "ending: another program is told first of a write-back that is refused",
        run: |b| refused(b, "for n in 1 2 3 4 5 6; do sync -f \"$1\" 2>&1 && break; done"),
    },
];

/// The number of records and objects that a life leaves, none of them synced.
const RECORDS: u64 = 1000;
const OBJECTS: usize = 10;
/// Pages of each of the two objects that a batch changes.
const PAGES: u64 = 24;

/// A store that finds out its medium's class by itself.
fn plain() -> Options {
    Store::options().create(true).copy_on_write(true)
}

/// Makes many changes, syncs nothing, and waits for its death.
pub fn life(path: &Path) {
    let store = plain().open(path).expect("it opens");
    let records = store.create("records").expect("room");
    for number in 0..RECORDS {
        records.append(&number.to_le_bytes()).expect("room");
    }
    let objects: Vec<Object> =
        (0..OBJECTS).map(|n| store.create(format!("object {n}")).expect("room")).collect();
    objects.iter().for_each(|object| object.write_at(0, &[7; 100]).expect("room"));
    say("ready");
    wait_for_death();
}

/// Commits one batch after the other, each over all pages of two objects. If `how` says so, waits for a line before the
/// first.
pub fn batches(path: &Path, how: &str) {
    // With a small log the bytes of a batch lie outside the log, on blocks that a thin disk may not have.
    let thin = options(Durability::Fdatasync).log_frames(640);
    let options = if how == "thin" { thin } else { plain().log_frames(16) };
    let store = options.open(path).expect("it opens");
    let both = ["a", "b"].map(|name| store.create(name).expect("room"));
    // The region grows by more than this needs, so that pages of a batch lie on blocks that were never written.
    store.create("c").and_then(|c| c.write_at(0, &[1; 60 * PAGE as usize])).expect("room");
    store.sync().expect("a disk");
    say("ready");
    if how == "thin" {
        std::io::stdin().lines().next();
    }
    for number in 1_u8.. {
        let mut batch = store.batch();
        for object in &both {
            batch.write_at(object, 0, &[number; (PAGES * PAGE) as usize]).expect("room");
        }
        batch.commit().expect("a disk");
        say(&format!("batch {number}"));
        if how == "thin" || number == u8::MAX {
            wait_for_death();
        }
    }
}

/// Opens the region that a life left, as the words of `how` say, and prints what is there.
pub fn look(path: &Path, how: &str) {
    let has = |word: &str| how.split(' ').any(|one| one == word);
    let path = match path.parent().filter(|_| has("rooted")) {
        Some(root) => {
            std::os::unix::fs::chroot(root).and_then(|()| std::env::set_current_dir("/")).expect("root may");
            Path::new("/").join(path.file_name().expect("it has a name"))
        }
        None => path.to_owned(),
    };
    let options = if has("thin") { options(Durability::Fdatasync) } else { plain() };
    let options = options.create(false).read_only(has("read")).assume_power_loss(has("assume"));
    let store = match options.open(&path) {
        Ok(store) => store,
        Err(error) => return say(&format!("error {error}")),
    };
    let found = store.recovery();
    say(&format!("{:?} {:?} replayed {} dropped {}", found.ending, found.why, found.replayed, found.dropped));
    say(&format!("clean {}", store.check().expect("it can be read").is_clean()));
    say(&format!("records {}", records(&store)));
    say(&format!("batch {}", batch(&store)));
}

/// How many records there are, all in order, and objects with their bytes.
fn records(store: &Store) -> String {
    let Ok(records) = store.open("records") else { return "none".to_owned() };
    let mut bytes = vec![0; records.len() as usize];
    records.read_at(0, &mut bytes).expect("it can be read");
    let whole = bytes.chunks(8).enumerate().all(|(n, one)| one == (n as u64).to_le_bytes());
    let there = |n: &usize| {
        let mut bytes = [0; 100];
        let object = store.open(format!("object {n}"));
        object.is_ok_and(|object| object.read_at(0, &mut bytes).is_ok() && bytes == [7; 100])
    };
    format!("{} whole {whole} objects {}", bytes.len() / 8, (0..OBJECTS).filter(there).count())
}

/// The batch that is there, or a note that none is there whole.
fn batch(store: &Store) -> String {
    let mut all = Vec::new();
    for object in ["a", "b"].iter().filter_map(|name| store.open(name).ok()) {
        let mut bytes = vec![0; object.len() as usize];
        object.read_at(0, &mut bytes).expect("it can be read");
        all.push(bytes);
    }
    let first = all.first().and_then(|bytes| bytes.first().copied());
    let whole =
        |bytes: &Vec<u8>| bytes.len() as u64 == PAGES * PAGE && bytes.iter().all(|&b| Some(b) == first);
    match first {
        None if all.iter().all(Vec::is_empty) => "0".to_owned(),
        Some(number) if all.iter().all(whole) => number.to_string(),
        _ => "torn".to_owned(),
    }
}

/// A process that owns a region.
struct Owner(Child);

impl Owner {
    fn start(mut command: Command) -> Self {
        let mut child = Child::start(&mut command);
        assert_eq!(child.line().as_deref(), Some("ready"));
        Self(child)
    }

    /// The number of the last of `count` more batches.
    fn batches(&mut self, count: usize) -> u8 {
        (0..count).map(|_| self.0.line().as_deref().and_then(number).expect("a batch")).last().expect("some")
    }

    /// Kills the owner. Returns the last batch that it had printed.
    fn kill(mut self) -> u8 {
        self.0.kill().unwrap();
        self.0.rest().iter().rev().find_map(|line| number(line)).unwrap_or(0)
    }
}

/// The number of the batch that a line names.
fn number(line: &str) -> Option<u8> {
    line.strip_prefix("batch ")?.parse().ok()
}

/// What `look` prints, run under a program with its options, or without a program.
fn looks(program: &[&str], path: &Path, how: &str) -> String {
    let look = again(&format!("look {how}"), path);
    let command = match program.split_first() {
        Some((program, options)) => under(program, options, &look),
        None => look,
    };
    let Ended { status, said, complained } = finish(command).expect("it ends");
    assert!(status.success(), "{complained}");
    said.join("; ")
}

/// A folder on a disk, not in memory.
fn on_disk() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("there is room for a folder")
}

/// Binds one place to another in a name space of its own, and goes on there.
const BIND: &str = "mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"";

fn kept(bench: &Bench) {
    let what = "mounts of a region that a dead process left";
    if !bench.may_mount(what) {
        return;
    }
    let (disk, memory) = (on_disk(), quick());
    let at = |name: &str| disk.path().join(name);
    let image = |name: &str| at(&format!("{name}.image"));
    let made = |name: &str, made: std::io::Result<()>| match made
        .and_then(|()| Mounted::loop_on(&image(name), &at(name)))
    {
        Ok(mounted) => Some(mounted),
        Err(error) => {
            bench.skip(&format!("a death on {name}"), &error.to_string());
            None
        }
    };
    let ext4 = made("ext4", make_ext4(&image("ext4"), 24 << 20, &[]));
    let xfs = made("xfs", make_xfs(&image("xfs"), 310 << 20));
    let btrfs = made("btrfs", make_btrfs(&image("btrfs"), 200 << 20));
    let mounted = [ext4, xfs, btrfs];
    let mut folders = vec![disk.path().to_owned(), memory.path().to_owned()];
    folders.extend(mounted.iter().flatten().map(|mounted| mounted.path().to_owned()));
    for folder in folders {
        let path = folder.join("r.pgs");
        let (other, file) = (folder.join("other"), folder.join("file"));
        std::fs::create_dir(&other).expect("there is room");
        std::fs::write(&file, b"").expect("there is room");
        let text = |path: &Path| path.to_str().expect("paths are text").to_owned();
        let bind = |from: &Path, to: &Path| {
            ["unshare", "-m", "sh", "-c", BIND, "sh", &text(from), &text(to)].map(str::to_owned).to_vec()
        };
        let alone = vec!["unshare".to_owned(), "-m".to_owned()];
        for (program, opened) in [
            (vec![], path.clone()),
            (alone, path.clone()),
            (bind(&folder, &other), other.join("r.pgs")),
            (bind(&path, &file), file.clone()),
        ] {
            let owner = Owner::start(under("unshare", &["-m"], &again("life", &path)));
            owner.kill();
            let program: Vec<&str> = program.iter().map(String::as_str).collect();
            for how in ["read", "write"] {
                let said = looks(&program, &opened, how);
                assert!(said.starts_with("ProcessDeath Kept "), "{folder:?} {program:?}: {said}");
                assert!(said.contains(" dropped 0; clean true"), "{folder:?} {program:?}: {said}");
                let all = format!("records {RECORDS} whole true objects {OBJECTS}");
                assert!(said.contains(&all), "{folder:?} {program:?}: {said}");
            }
            std::fs::remove_file(&path).expect("it can be removed");
            bench.state();
        }
    }
}

/// A region on a disk of its own, with an owner.
struct Scene {
    folder: TempDir,
    mounted: Option<Mounted>,
    owner: Option<Owner>,
}

impl Scene {
    fn new() -> std::io::Result<Self> {
        let mut scene = Self { folder: on_disk(), mounted: None, owner: None };
        make_ext4(&scene.image(), 12 << 20, &[])?;
        scene.mount()?;
        let path = scene.path();
        scene.owner = Some(Owner::start(again("batches plain", &path)));
        Ok(scene)
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("disk/r.pgs")
    }

    fn mount(&mut self) -> std::io::Result<()> {
        self.mounted = Some(Mounted::loop_on(&self.image(), &self.folder.path().join("disk"))?);
        Ok(())
    }

    fn owner(&mut self) -> &mut Owner {
        self.owner.as_mut().expect("it has an owner")
    }

    /// Copies what the disk holds while the owner is stopped. Returns the last batch that it had printed before.
    fn snapshot(&mut self, to: &Path, batches: usize) -> u8 {
        let last = self.owner().batches(batches);
        self.owner().0.signal(libc::SIGSTOP);
        std::fs::copy(self.image(), to).expect("there is room");
        self.owner().0.signal(libc::SIGCONT);
        last
    }

    fn kill(&mut self, batches: usize) -> u8 {
        let last = if batches == 0 { 0 } else { self.owner().batches(batches) };
        self.owner.take().map_or(0, Owner::kill).max(last)
    }
}

/// Makes a life end in some way, and opens the region again. Returns the batch that must be there at least, and what the
/// opening printed.
type Way = fn(&mut Scene, usize) -> std::io::Result<(u8, String)>;

fn remounted(scene: &mut Scene, batches: usize) -> std::io::Result<(u8, String)> {
    let last = scene.kill(batches);
    scene.mounted = None;
    scene.mount()?;
    Ok((last, looks(&[], &scene.path(), "write")))
}

fn put_back(scene: &mut Scene, batches: usize) -> std::io::Result<(u8, String)> {
    let snapshot = scene.folder.path().join("snapshot");
    let last = scene.snapshot(&snapshot, batches);
    scene.kill(3);
    scene.mounted = None;
    std::fs::copy(snapshot, scene.image())?;
    scene.mount()?;
    Ok((last, looks(&[], &scene.path(), "write")))
}

fn copied(scene: &mut Scene, batches: usize) -> std::io::Result<(u8, String)> {
    let last = scene.kill(batches);
    let (path, copy) = (scene.path(), scene.path().with_extension("copy"));
    std::fs::copy(&path, &copy)?;
    std::fs::rename(&copy, &path)?;
    Ok((last, looks(&[], &path, "write")))
}

/// The region's bytes in a snapshot of the disk.
fn region_in(scene: &Scene, snapshot: &Path, to: &Path) -> std::io::Result<()> {
    let beside = Mounted::loop_on(snapshot, &scene.folder.path().join("beside"))?;
    std::fs::copy(beside.path().join("r.pgs"), to).map(drop)
}

fn restored(scene: &mut Scene, batches: usize) -> std::io::Result<(u8, String)> {
    let (snapshot, bytes) = (scene.folder.path().join("snapshot"), scene.folder.path().join("bytes"));
    let last = scene.snapshot(&snapshot, batches);
    scene.kill(3);
    region_in(scene, &snapshot, &bytes)?;
    let (path, copy) = (scene.path(), scene.path().with_extension("copy"));
    let number = std::fs::metadata(&path)?.ino();
    std::fs::remove_file(&path)?;
    std::fs::copy(&bytes, &copy)?;
    std::fs::rename(&copy, &path)?;
    assert_eq!(std::fs::metadata(&path)?.ino(), number, "the number was not given out again");
    Ok((last, looks(&[], &path, "write")))
}

fn rooted(scene: &mut Scene, batches: usize) -> std::io::Result<(u8, String)> {
    let last = scene.kill(batches);
    Ok((last, looks(&[], &scene.path(), "write rooted")))
}

fn assumed(scene: &mut Scene, batches: usize) -> std::io::Result<(u8, String)> {
    let (snapshot, bytes) = (scene.folder.path().join("snapshot"), scene.folder.path().join("bytes"));
    let last = scene.snapshot(&snapshot, batches);
    scene.kill(3);
    region_in(scene, &snapshot, &bytes)?;
    let put_back = std::fs::read(&bytes)?;
    std::fs::OpenOptions::new().write(true).open(scene.path())?.write_all(&put_back)?;
    let looked = looks(&[], &scene.path(), "read assume");
    let said = looks(&[], &scene.path(), "write assume");
    assert_eq!(looked, said, "a read-only opening decides nothing");
    let after = looks(&[], &scene.path(), "write");
    assert_eq!(found(&after), found(&said), "what was decided is final: {after}");
    Ok((last, said))
}

/// The batch that was found.
fn found(said: &str) -> u8 {
    said.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{said}"))
}

fn lost(bench: &Bench, why: &str, way: Way) {
    let what = "a disk that is lost and found";
    if !bench.may_mount(what) {
        return;
    }
    for round in bench.sweep(20, 3) {
        let ended = Scene::new().and_then(|mut scene| way(&mut scene, 5 + round * 7));
        let (last, said) = match ended {
            Ok(ended) => ended,
            Err(error) => return bench.skip(what, &error.to_string()),
        };
        assert!(said.starts_with(&format!("PowerLoss {why} ")), "round {round}: {said}");
        assert!(said.contains("clean true"), "round {round}: {said}");
        assert!(found(&said) >= last, "round {round}: batch {last} was acknowledged: {said}");
        bench.state();
    }
}

/// Bytes that the disk refused leave memory, and no program is told: neither command asks for errors.
const FORGET: &str = "sync; echo 3 > /proc/sys/vm/drop_caches";

/// The disk has refused the bytes of a batch. Either they come from the log, or the opening is an error. A shell runs
/// `before` the opening, with the region's path.
fn refused(bench: &Bench, before: &str) {
    let what = "write-back that is refused after a death";
    if !bench.may_mount(what) {
        return;
    }
    for order in [["read thin", "write thin"], ["write thin", "write thin"]] {
        let folder = quick();
        let mut disk = match ThinDisk::new(folder.path(), 1200 * PAGE) {
            Ok(disk) => disk,
            Err(error) => return bench.skip(what, &error.to_string()),
        };
        let path = disk.path();
        let mut owner = Owner::start(again("batches thin", &path));
        disk.fill().expect("a disk");
        owner.0.tell("go on");
        assert_eq!(owner.batches(1), 1);
        owner.kill();
        Command::new("sh").args(["-c", before, "sh"]).arg(&path).status().expect("a shell");
        for how in order {
            let said = looks(&[], &path, how);
            assert!(said.starts_with("error ") || found(&said) == 1, "{order:?}, {how}: {said}");
            assert!(!said.starts_with("ProcessDeath"), "{order:?}, {how}: {said}");
        }
        disk.heal().expect("a disk that has room again can be mounted");
        bench.state();
    }
}
