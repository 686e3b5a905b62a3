//! Limits of the process: addresses, open files, sizes of files, memory.

use crate::bench::{Bench, Case};
use crate::child::{Ended, finish};
use crate::script::{PAGE, script};
use crate::store::{Player, options};
use crate::world::Ending;
use pagestone::units::{Durability, PageIndex};
use pagestone_kit::child::{again, say};
use pagestone_kit::disk::quick;
use pagestone_kit::limit::Limit;
use pagestone_kit::memory::{self, resident};
use std::fs;
use std::path::{Path, PathBuf};

pub const CASES: &[Case] = &[
    Case { name: "limits: addresses (RLIMIT_AS)", run: addresses },
    Case { name: "limits: addresses for an odd length (RLIMIT_AS)", run: odd_length },
    Case { name: "limits: addresses for a large batch (RLIMIT_AS)", run: large_batch },
    Case { name: "limits: locked memory (mlockall, in a cgroup)", run: locked_memory },
    Case { name: "limits: open files (RLIMIT_NOFILE)", run: open_files },
    Case { name: "limits: sizes of files (RLIMIT_FSIZE)", run: file_sizes },
    Case { name: "limits: memory (cgroup) smaller than the working set", run: memory },
];

const CLASS: Durability = Durability::Fdatasync;

/// Runs a child that plays the script under a limit. It must end without a signal, whatever errors it got.
fn limited(limit: &str, value: u64, path: &Path) -> Ended {
    let ended = finish(again(&format!("limited {limit} {value}"), path));
    let ended = ended.unwrap_or_else(|| panic!("{limit} {value}: it hangs"));
    assert!(ended.status.success(), "{limit} {value}: {:?} {}", ended.status, ended.complained);
    ended
}

fn said<'e>(ended: &'e Ended, what: &str) -> Option<&'e str> {
    ended.said.iter().find_map(|line| line.strip_prefix(what))
}

/// The store that a limited child has left opens without the limit.
fn sound(path: &Path) {
    if path.exists() {
        let player = Player::new(options(CLASS), path);
        let store = options(CLASS).open(path).unwrap_or_else(|error| panic!("{error}"));
        assert!(store.check().unwrap().is_clean());
        drop((store, player));
    }
}

fn addresses(bench: &Bench) {
    let folder = quick();
    // Mebibytes more than the program has already. With fewer, the allocator ends the program.
    for more in (12..if bench.long { 80 } else { 20 }).chain([100, 500, 3 << 10, 1 << 20]) {
        let path = folder.path().join(format!("as-{more}"));
        let ended = limited("as", more << 20, &path);
        assert_eq!(said(&ended, "error "), None, "{more} MiB are enough");
        sound(&path);
        bench.state();
    }
    let path = folder.path().join("middling");
    drop(options(CLASS).open(&path).unwrap());
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(128 << 20).unwrap();
    let ended = limited("as", 900 << 20, &path);
    assert_eq!(said(&ended, "error "), None, "900 MiB are enough for 128");
    sound(&path);
    let path = folder.path().join("large");
    drop(options(CLASS).open(&path).unwrap());
    // These bytes are not the region's, but are mapped with it.
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(4 << 30).unwrap();
    for (more, enough) in [(64, false), (1 << 10, false), (5 << 10, true), (1 << 20, true)] {
        let ended = limited("as", more << 20, &path);
        let error = said(&ended, "error ");
        assert_eq!(error.is_none(), enough, "{more} MiB: {error:?}");
        assert!(
            error.is_none_or(|error| error.contains("addresses for the region")),
            "{more} MiB: {error:?}"
        );
        sound(&path);
        bench.state();
    }
}

/// A region whose length is no whole number of blocks of addresses, and too few addresses for it: an error, and no
/// endless loop.
fn odd_length(bench: &Bench) {
    let folder = quick();
    let path = folder.path().join("odd");
    drop(options(CLASS).open(&path).unwrap());
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len((300 << 20) + PAGE).unwrap();
    for (more, enough) in [(150, false), (200, false), (290, false), (500, true)] {
        let ended = limited("as", more << 20, &path);
        let error = said(&ended, "error ");
        assert_eq!(error.is_none(), enough, "{more} MiB: {error:?}");
        assert!(
            error.is_none_or(|error| error.contains("addresses for the region")),
            "{more} MiB: {error:?}"
        );
        sound(&path);
        bench.state();
    }
}

/// The caller decides how much memory a batch takes. Too much is an error, and the batch and the store go on.
fn large_batch(bench: &Bench) {
    let folder = quick();
    let path = folder.path().join("batch");
    for (more, enough) in [(48, false), (100, false), (1 << 10, true)] {
        let ended = finish(again(&format!("large-batch {}", more << 20), &path));
        let ended = ended.expect("it does not hang");
        assert!(ended.status.success(), "{more}: {:?} {}", ended.status, ended.complained);
        let error = said(&ended, "error ");
        assert_eq!(error.is_none(), enough, "{more} MiB: {error:?}");
        assert!(error.is_none_or(|error| error.contains("memory for a batch")), "{more} MiB: {error:?}");
        sound(&path);
        bench.state();
    }
}

/// Stages as much as there is memory for, at most 200 MiB, and then commits a batch for which the memory is enough.
pub fn batch_under_a_limit(value: &str, path: &Path) {
    const PIECE: u64 = 1 << 20;
    let store = options(CLASS).open(path).unwrap();
    let object = store.open_or_create("staged").unwrap();
    let piece = vec![7; PIECE as usize];
    set_limit(libc::RLIMIT_AS, memory::addresses() + value.parse::<u64>().expect("a number"));
    let mut batch = store.batch();
    for n in 0..200 {
        // The write crosses the border of two pieces: all of it is staged, or nothing.
        if let Err(error) = batch.write_at(&object, n * PIECE + 5000, &piece) {
            assert_eq!(batch.staged_bytes(), n * PIECE);
            say(&format!("error {error}"));
            break;
        }
    }
    drop(batch);
    let mut batch = store.batch();
    batch.write_at(&object, 0, &piece).unwrap();
    batch.commit().unwrap();
}

const LOCKED_LIMIT: u64 = 1 << 30;

fn locked_memory(bench: &Bench) {
    let folder = quick();
    let path = folder.path().join("locked");
    match Group::new(LOCKED_LIMIT) {
        Err(why) => bench.skip("locked memory", &why),
        Ok(group) => {
            let role = format!("locked {}", group.processes().display());
            let ended = finish(again(&role, &path)).expect("it does not hang");
            if let Some(why) = said(&ended, "skip ") {
                return bench.skip("locked memory", why);
            }
            assert!(ended.status.success(), "{:?} {}", ended.status, ended.complained);
            sound(&path);
            bench.state();
        }
    }
}

/// Locks all its memory, present and future, and then opens stores.
pub fn lock(path: &Path, processes: &str) {
    fs::write(processes, std::process::id().to_string()).expect("the group takes this process");
    // SAFETY: it changes how this process's memory is kept, and no bytes.
    if unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) } != 0 {
        return say(&format!("skip mlockall: {}", std::io::Error::last_os_error()));
    }
    let file = options(CLASS).open(path).unwrap();
    let memory = options(Durability::Volatile).open_memory(1 << 20).unwrap();
    for store in [&file, &memory] {
        let object = store.create("locked").unwrap();
        object.append(&[1; 3 * PAGE as usize]).unwrap();
        assert!(object.pin(PageIndex(2)).unwrap().is_some());
        store.sync().unwrap();
    }
    drop((file, memory));
    // A region that is opened to be read is copied into pages of its own, and would get all of them at once.
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(4 * LOCKED_LIMIT).unwrap();
    let looked = options(CLASS).create(false).read_only(true).open(path).unwrap();
    assert_eq!(looked.exists("locked").unwrap(), Some(3 * PAGE));
    let bytes = resident();
    assert!(bytes < LOCKED_LIMIT / 2, "{} KiB are resident", bytes >> 10);
}

fn open_files(bench: &Bench) {
    let folder = quick();
    let (mut refused, mut played) = (0, 0);
    for more in 0..8 {
        let path = folder.path().join(format!("files-{more}"));
        let ended = limited("nofile", more, &path);
        match said(&ended, "error ") {
            Some(error) => {
                assert!(error.contains("Too many open files"), "{more}: {error}");
                refused += 1;
            }
            None => played += 1,
        }
        sound(&path);
        bench.state();
    }
    assert!(refused > 0 && played > 0, "{refused} refused, {played} played");
}

fn file_sizes(bench: &Bench) {
    let folder = quick();
    for n in bench.sweep(200, 14) {
        let bytes = (n as u64 * 3 + 1) * PAGE;
        let path = folder.path().join("sizes");
        let ended = limited("fsize", bytes, &path);
        if let Some(error) = said(&ended, "error ") {
            assert!(error.contains("no space") && error.contains("File too large"), "{bytes}: {error}");
        }
        sound(&path);
        // The same limit for a region that is larger already: an error, and no signal at the first write beyond.
        let (fresh, large) = (folder.path().join("fresh"), folder.path().join("large"));
        let _ = (fs::remove_file(&fresh), fs::remove_file(&large));
        let mut player = Player::new(options(CLASS), &large);
        for (number, op) in script().iter().enumerate() {
            player.play(number, op).unwrap();
        }
        player.leave();
        let len = fs::metadata(&large).unwrap().len();
        let ended = limited("fsize", bytes, &large);
        let error = said(&ended, "error ");
        assert_eq!(error.is_some(), bytes < len, "{bytes} of {len}: {error:?}");
        assert!(error.is_none_or(|error| error.contains("RLIMIT_FSIZE")), "{bytes}: {error:?}");
        player.judge(&options(CLASS), Ending::Death).unwrap_or_else(|why| panic!("{bytes}: {why}"));
        let _ = fs::remove_file(&path);
        bench.state();
    }
}

/// A limit of this process from here on.
fn set_limit(what: libc::__rlimit_resource_t, value: u64) {
    Limit::set(what, value).expect("it may").for_good();
}

pub fn in_child(limit: &str, path: &Path) {
    let (limit, value) = limit.split_once(' ').expect("which limit, and how much");
    let value: u64 = value.parse().expect("a number");
    match limit {
        "as" => set_limit(libc::RLIMIT_AS, memory::addresses() + value),
        "nofile" => set_limit(libc::RLIMIT_NOFILE, lowest_free_descriptor() + value),
        // The signal keeps its default action, which would end the process: it must not come.
        "fsize" => set_limit(libc::RLIMIT_FSIZE, value),
        other => panic!("no such limit: {other}"),
    }
    let mut player = Player::new(options(CLASS), path);
    if path.exists() {
        // The region that is there was not made by the script.
        match player.store().and_then(|store| {
            store.create("more").and_then(|more| more.append(&[1; 100])).and_then(|_| store.sync())
        }) {
            Err(error) => say(&format!("error {error}")),
            Ok(()) => assert!(player.store().and_then(|store| store.unlink("more")).is_ok()),
        }
    } else {
        for (number, op) in script().iter().enumerate() {
            if let Err(error) = player.play(number, op) {
                say(&format!("error {error}"));
                break;
            }
        }
    }
    player.leave();
}

/// The number that the next file gets.
fn lowest_free_descriptor() -> u64 {
    std::os::fd::AsRawFd::as_raw_fd(&fs::File::open("/dev/null").expect("it is there")) as u64
}

/// A memory cgroup of our own; removed when dropped.
struct Group(PathBuf);

impl Group {
    /// Makes one with a limit of `bytes`, in either hierarchy of cgroups.
    fn new(bytes: u64) -> Result<Self, String> {
        let name = format!("pagestone-faults-{}", std::process::id());
        let roots = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
            ("/sys/fs/cgroup/unified", "memory.max"),
        ];
        for (root, file) in roots {
            let group = Self(Path::new(root).join(&name));
            if fs::create_dir(&group.0).is_ok() && fs::write(group.0.join(file), bytes.to_string()).is_ok() {
                return Ok(group);
            }
        }
        Err("no memory cgroup can be made (root, and a memory controller)".to_owned())
    }

    fn processes(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

const LIMIT: u64 = 16 << 20;
const WORKING_SET: u64 = 32 << 20;

fn memory(bench: &Bench) {
    let what = "little memory";
    // On a disk: a file in memory would count as memory.
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let path = folder.path().join("large.pgs");
    let group = match Group::new(LIMIT) {
        Ok(group) => group,
        Err(why) => return bench.skip(what, &why),
    };
    if matches!(options(CLASS).open(&path).map(|store| store.info().medium), Ok(Durability::Volatile)) {
        return bench.skip(what, "the temporary folder lies in memory");
    }
    fs::remove_file(&path).expect("it was made");
    let ended = finish(again(&format!("working-set {}", group.processes().display()), &path));
    let ended = ended.expect("it does not hang");
    assert!(ended.status.success(), "{:?} {}", ended.status, ended.complained);
    let store = options(CLASS).open(&path).unwrap();
    assert!(store.check().unwrap().is_clean());
    assert_eq!(store.open("large").unwrap().len(), WORKING_SET);
    bench.state();
}

/// Stores, syncs and reads three times the memory it may have; a pin keeps its page meanwhile.
pub fn work(path: &Path, processes: &str) {
    fs::write(processes, std::process::id().to_string()).expect("the group takes this process");
    let store = options(CLASS).open(path).unwrap();
    let object = store.create("large").unwrap();
    let pages = WORKING_SET / PAGE;
    let byte = |page: u64, round: u64| (page * 7 + round) as u8;
    for round in 0..2 {
        for page in 0..pages {
            object.write_at(page * PAGE, &[byte(page, round); PAGE as usize]).unwrap();
        }
        object.sync().unwrap();
        let pinned = object.pin(PageIndex(17)).unwrap().unwrap();
        for n in 0..pages / 4 {
            // In an order that no read-ahead knows.
            let page = n * 7919 % pages;
            let shown = object.pin(PageIndex(page)).unwrap().unwrap();
            assert_eq!(shown.read().unwrap()[..], [byte(page, round); PAGE as usize]);
        }
        assert_eq!(pinned.read().unwrap()[0], byte(17, round));
    }
    drop(object);
    store.close().unwrap();
}
