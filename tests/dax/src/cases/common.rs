//! Promises that hold for DAX files and for devdax.

use pagestone::Error;
use pagestone::region::{Region, RegionOptions, Source};
use pagestone::store::{Options, Store};
use pagestone::units::{Durability, FRAME_SIZE, FrameNo, MediumKind, PageIndex};
use pagestone_kit::child::{Child, say, wait_for_death};
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

const MIB: u64 = 1 << 20;

/// The region of a case: a file in the directory, or the device.
pub fn region_at(place: &Path) -> PathBuf {
    if is_device(place) { place.into() } else { place.join("region") }
}

pub fn is_device(place: &Path) -> bool {
    std::fs::metadata(place).unwrap().file_type().is_char_device()
}

pub fn creating() -> Options {
    Store::options().create(true)
}

/// The lines of smaps about the mapping that holds `address`.
pub fn mapping_of(address: *const u8) -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut lines = text.lines().map(str::to_owned);
    let holds = |line: &String| {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let hex = |text| u64::from_str_radix(text, 16).unwrap_or(0);
        range.is_some_and(|(from, to)| (hex(from)..hex(to)).contains(&(address.addr() as u64)))
    };
    assert!(lines.any(|line| holds(&line)), "{address:p} is not mapped");
    let ours: Vec<_> = lines
        .scan(false, |end, line| (!std::mem::replace(end, line.starts_with("VmFlags"))).then_some(line))
        .collect();
    println!("{}", ours.join("\n"));
    ours
}

/// Whether a mapping has a flag in smaps.
pub fn has_flag(mapping: &[String], flag: &str) -> bool {
    mapping
        .iter()
        .filter_map(|line| line.strip_prefix("VmFlags:"))
        .any(|flags| flags.split(' ').any(|one| one == flag))
}

pub fn synchronous_mappings_are_in_force(place: &Path) {
    let region = region_at(place);
    let store = creating().require(Durability::CacheLine).open(&region).unwrap();
    let info = store.info();
    println!("{info:?}");
    let kind = if is_device(place) { MediumKind::DevDax } else { MediumKind::DaxFile };
    assert_eq!(
        (info.kind, info.medium, info.durability),
        (kind, Durability::CacheLine, Durability::CacheLine)
    );
    assert!(!info.assumed && !info.caches_survive);
    let object = store.create("object").unwrap();
    let page = object.pin_mut(PageIndex(0)).unwrap();
    page.write().unwrap().fill(7);
    let before = store.stats();
    object.sync().unwrap();
    let after = store.stats();
    assert!(after.lines_flushed > before.lines_flushed && after.fences > before.fences);
    let through_the_kernel = after.file_syncs - before.file_syncs + after.write_throughs;
    assert_eq!(through_the_kernel, 0, "a sync needs no system call");
    let mapping = mapping_of(page.address());
    assert!(has_flag(&mapping, "sf"), "no MAP_SYNC");
    if is_device(place) {
        assert!(mapping.iter().any(|line| line.starts_with("KernelPageSize:") && line.contains("2048 kB")));
    }
}

/// Faults of this process that needed no disk.
fn minor_faults() -> i64 {
    // SAFETY: zeros are a usage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: room for the answer.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) }, 0);
    usage.ru_minflt
}

/// For DAX, smaps does not show the size of the pages. So faults are counted.
pub fn two_mebibytes_are_one_fault(place: &Path) {
    const BYTES: u64 = 64 * MIB;
    let path = region_at(place);
    let options = RegionOptions { create: true, ..Default::default() };
    let attach = || Region::attach(Source::File { path: path.clone() }, &options).unwrap();
    // Twice: while a file grows, and in the same file later. While it grows, only whole blocks count.
    for round in ["new", "old"] {
        let region = attach();
        region.grow_to(BYTES).unwrap();
        assert_eq!(region.address(FrameNo(0)).addr() % (2 << 20), 0);
        let before = minor_faults();
        for offset in (0..BYTES).step_by(FRAME_SIZE) {
            region.memory().store(offset, offset).unwrap();
        }
        let faults = minor_faults() - before;
        println!("@@note {BYTES} bytes of the {round} region stored to: {faults} faults");
        assert!(faults <= (BYTES / (2 * MIB)) as i64 + 8, "{faults} faults");
        region.close();
    }
}

/// The disk beside the persistent memory.
fn disk() -> File {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open("/dev/vda").unwrap()
}

pub fn other_disks_read_and_write_pages_directly(place: &Path) {
    const LEN: usize = 1 << 20;
    const AT: libc::off_t = 64 << 20;
    let store = creating().open(region_at(place)).unwrap();
    let (from, to) = (store.create("from").unwrap(), store.create("to").unwrap());
    let pattern: Vec<u8> = (0..LEN).map(|i| (i / 7 % 251) as u8).collect();
    from.write_at(0, &pattern).unwrap();
    to.write_at(0, &vec![0xee; LEN]).unwrap();
    let disk = disk();
    let whole = from.pin_range(0, LEN).unwrap().pinned().unwrap();
    // SAFETY: pinned and mapped bytes, which no thread writes meanwhile.
    let n = unsafe { libc::pwrite(disk.as_raw_fd(), whole.address().cast(), LEN, AT) };
    assert_eq!(n, LEN as isize, "{}", std::io::Error::last_os_error());
    // Page by page into the other object, under its latches, as a cache is filled.
    for n in 0..(LEN / FRAME_SIZE) as u64 {
        let page = to.pin_mut(PageIndex(n)).unwrap();
        let mut bytes = page.write().unwrap();
        let at = AT + (n * FRAME_SIZE as u64) as libc::off_t;
        // SAFETY: the page's bytes, which this guard owns.
        let n = unsafe { libc::pread(disk.as_raw_fd(), bytes.as_mut_ptr().cast(), FRAME_SIZE, at) };
        assert_eq!(n, FRAME_SIZE as isize, "{}", std::io::Error::last_os_error());
    }
    to.sync().unwrap();
    let mut found = vec![0; LEN];
    to.read_at(0, &mut found).unwrap();
    assert!(found == pattern);
}

pub fn a_full_medium_is_an_error_and_no_signal(place: &Path) {
    const CHUNK: usize = 4 << 20;
    let path = region_at(place);
    let limited = 96 * MIB;
    let store = creating().max_size(limited).open(&path).unwrap();
    let object = store.create("all").unwrap();
    let chunk = |n: u64| vec![n as u8 + 1; CHUNK];
    let mut whole = 0;
    let error = loop {
        match object.write_at(whole * CHUNK as u64, &chunk(whole)) {
            Ok(()) => whole += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, Error::NoSpace { .. }), "{error}");
    assert!(whole * CHUNK as u64 > limited * 3 / 4, "{whole}");
    for n in 0..whole {
        let mut found = vec![0; CHUNK];
        object.read_at(n * CHUNK as u64, &mut found).unwrap();
        assert!(found == chunk(n), "chunk {n}");
    }
    object.set_len(0).unwrap();
    object.write_at(0, &chunk(5)).unwrap();
    drop(object);
    assert_eq!(store.check().unwrap().findings, []);
    store.close().unwrap();
}

/// Starts a part of a case, as a process of this program.
pub fn start(part: &str, region: &Path) -> Child {
    Child::start(Command::new(std::env::current_exe().unwrap()).args(["part", part]).arg(region))
}

/// Starts an owner and waits until it has done something.
pub fn start_owner(region: &Path) -> Child {
    let mut owner = start("owner", region);
    assert_eq!(owner.line().as_deref(), Some("owned"));
    owner
}

/// Makes changes that are in the log alone: nothing is synced or closed.
pub fn own_until_killed(region: &Path) -> ! {
    let store = creating().open(region).unwrap();
    let object = store.create("kept").unwrap();
    object.write_at(0, b"written and never synced").unwrap();
    say("owned");
    wait_for_death()
}

pub fn a_killed_owner_loses_nothing_that_returned(place: &Path) {
    let path = region_at(place);
    let mut owner = start_owner(&path);
    for options in [creating(), Store::options().read_only(true)] {
        match options.open(&path) {
            Err(Error::InUse { by, .. }) => assert!(by.contains(&owner.id().to_string()), "{by}"),
            other => panic!("{other:?}"),
        }
    }
    owner.kill().unwrap();
    let store = Store::options().open(&path).unwrap();
    assert!(store.stats().log_recovered > 0);
    let mut found = [0; 24];
    store.open("kept").unwrap().read_at(0, &mut found).unwrap();
    assert_eq!(&found, b"written and never synced");
}

pub fn looking_at_an_unclean_region_changes_nothing(place: &Path) {
    let path = region_at(place);
    start_owner(&path).kill().unwrap();
    let before = snapshot(&path);
    let reading = || Store::options().read_only(true).open(&path).unwrap();
    // Readers share the region, and each replays the log for itself.
    for store in [reading(), reading()] {
        assert!(store.stats().log_recovered > 0, "the region is not unclean");
        assert_eq!(store.exists("kept").unwrap(), Some(24));
        assert_eq!(store.check().unwrap().findings, []);
        assert!(matches!(store.create("more"), Err(Error::ReadOnly)));
        store.close().unwrap();
    }
    assert!(snapshot(&path) == before, "the medium was changed");
}

/// The first bytes of a region, as far as these cases write. A device is mapped, because it cannot be read.
fn snapshot(path: &Path) -> Vec<u8> {
    let options = RegionOptions { read_only: true, ..Default::default() };
    let region = Region::attach(Source::File { path: path.into() }, &options).unwrap();
    let mut bytes = vec![0; region.len_bytes().min(8 * MIB) as usize];
    region.memory().read(0, &mut bytes).unwrap();
    bytes
}
