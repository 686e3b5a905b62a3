//! Promises that hold for devices.

use super::common::{creating, start, start_owner};
use pagestone::Error;
use pagestone::region::{Region, RegionOptions, Source};
use pagestone::store::Store;
use pagestone::units::{FRAME_SIZE, FrameNo};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

fn device_size(device: &Path) -> u64 {
    let name = device.file_name().unwrap().to_str().unwrap();
    let text = std::fs::read_to_string(format!("/sys/bus/dax/devices/{name}/size")).unwrap();
    text.trim().parse().unwrap()
}

pub fn a_device_is_as_large_as_it_says(device: &Path) {
    let size = device_size(device);
    let region = Region::attach(Source::File { path: device.into() }, &RegionOptions::default()).unwrap();
    assert!(region.is_fixed());
    assert_eq!(region.len_bytes(), size);
    assert_eq!(region.address(FrameNo(0)).addr() % (2 << 20), 0);
    region.memory().store(size - 8, 1).unwrap();
    assert!(matches!(region.memory().load(size), Err(Error::Corrupt { .. })));
    region.grow_to(size).unwrap();
    assert!(matches!(region.grow_to(size + 1), Err(Error::NoSpace { .. })));
    region.check_length().unwrap();
    region.memory().store(size - 8, 0).unwrap();
    region.close();
    drop(region);
    // A store takes it all, and then says so.
    let store = creating().open(device).unwrap();
    let object = store.create("all").unwrap();
    let (chunk, mut len) = (vec![0x55; 8 << 20], 0);
    let error = loop {
        match object.write_at(len, &chunk) {
            Ok(()) => len += chunk.len() as u64,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    assert!(len > size - (24 << 20), "{len} of {size}");
    drop(object);
    assert_eq!(store.check().unwrap().findings, []);
    store.close().unwrap();
}

/// Stores bytes on the bare device.
fn scribble(device: &Path, offset: u64, bytes: &[u8]) {
    let region = Region::attach(Source::File { path: device.into() }, &RegionOptions::default()).unwrap();
    region.memory().write_nt(offset, bytes).unwrap();
    region.memory().fence();
    region.close();
}

fn bytes_at(device: &Path, offset: u64, len: usize) -> Vec<u8> {
    let options = RegionOptions { read_only: true, ..Default::default() };
    let region = Region::attach(Source::File { path: device.into() }, &options).unwrap();
    let mut bytes = vec![0; len];
    region.memory().read(offset, &mut bytes).unwrap();
    bytes
}

pub fn a_device_that_holds_something_is_refused(device: &Path) {
    let far = device_size(device) - 2 * FRAME_SIZE as u64;
    for offset in [0, 5 * FRAME_SIZE as u64, far] {
        scribble(device, offset, b"something of value");
        let before = bytes_at(device, 0, 1 << 20);
        match creating().open(device) {
            Err(Error::NotARegion { hint, .. }) => assert!(hint.contains("overwrite"), "{hint}"),
            other => panic!("{offset:#x}: {other:?}"),
        }
        assert!(bytes_at(device, 0, 1 << 20) == before, "{offset:#x}: it was changed");
        scribble(device, offset, &[0; 18]);
    }
    // Old bytes everywhere, then a store over them: none shows.
    for offset in (0..32 << 20).step_by(1 << 20) {
        scribble(device, offset, &vec![0xdd; 1 << 20]);
    }
    for _ in 0..2 {
        let store = creating().overwrite(true).open(device).unwrap();
        assert_eq!(store.list().unwrap(), []);
        let object = store.create("sparse").unwrap();
        object.write_at(12 << 20, b"x").unwrap();
        object.allocate(0, 4 << 20).unwrap();
        let mut found = vec![1; 12 << 20];
        object.read_at(0, &mut found).unwrap();
        assert!(found.iter().all(|&byte| byte == 0), "bytes of the former owner");
        drop(object);
        assert_eq!(store.check().unwrap().findings, []);
        store.close().unwrap();
    }
    // Without `create`, the store that is there is opened.
    assert_eq!(creating().open(device).unwrap().exists("sparse").unwrap(), Some((12 << 20) + 1));
}

/// Another name of the same device, as a container may have one.
fn second_name(device: &Path) -> std::path::PathBuf {
    let other = Path::new("/tmp/other-name").to_path_buf();
    let name = CString::new(other.as_os_str().as_bytes()).unwrap();
    let device = std::fs::metadata(device).unwrap().rdev();
    // SAFETY: a NUL-terminated path.
    let rc = unsafe { libc::mknod(name.as_ptr(), libc::S_IFCHR | 0o600, device) };
    assert!(rc == 0 || std::io::Error::last_os_error().raw_os_error() == Some(libc::EEXIST));
    other
}

fn claimed_by(outcome: pagestone::Result<Store>) -> String {
    match outcome {
        Err(Error::InUse { by, .. }) => by,
        other => panic!("not claimed: {other:?}"),
    }
}

pub fn one_owner_whatever_the_name(device: &Path) {
    let other = second_name(device);
    let mut owner = start_owner(device);
    for name in [device, &other] {
        for options in [creating(), creating().overwrite(true), Store::options().read_only(true)] {
            let by = claimed_by(options.open(name));
            assert!(by.contains(&format!("process {} (dax)", owner.id())), "{name:?}: {by}");
        }
    }
    owner.kill().unwrap();
    let store = Store::options().open(&other).unwrap();
    assert_eq!(store.exists("kept").unwrap(), Some(24));
    // Nothing was changed yet. Still no other opening is let in, not even one of this process.
    for name in [device, &other] {
        assert_eq!(claimed_by(creating().open(name)), "this process");
        let said = start("racer", name).line();
        assert_eq!(said.as_deref(), Some("lost"), "{name:?}: another process comes in");
    }
    store.close().unwrap();
    Store::options().open(device).unwrap();
}

const HELD: &str = "/tmp/held";

/// Opens the device, and says whether that worked. If two processes have it at once, they find each other's file.
pub fn race(device: &Path) {
    match creating().open(device) {
        Ok(store) => {
            let alone = std::fs::File::create_new(HELD).is_ok();
            std::thread::sleep(std::time::Duration::from_millis(300));
            println!("{}", if alone && std::fs::remove_file(HELD).is_ok() { "won" } else { "overlapped" });
            drop(store);
        }
        Err(Error::InUse { .. }) => println!("lost"),
        Err(error) => panic!("{error}"),
    }
}

pub fn of_many_that_race_one_wins(device: &Path) {
    for _ in 0..3 {
        let racers: Vec<_> = (0..6).map(|_| start("racer", device)).collect();
        let said: Vec<_> = racers.into_iter().map(|mut racer| racer.rest().concat()).collect();
        let count = |word: &str| said.iter().filter(|said| *said == word).count();
        let (won, lost) = (count("won"), count("lost"));
        println!("@@note {won} won one after the other, {lost} lost");
        assert!(won >= 1 && lost >= 1 && won + lost == 6, "{said:?}");
    }
}

/// Zeroes the device, so that nothing of a case is left.
pub fn zero(device: &Path) {
    let region = Region::attach(Source::File { path: device.into() }, &RegionOptions::default()).unwrap();
    region.memory().zero_nt(0, region.len_bytes() as usize).unwrap();
    region.memory().fence();
    region.close();
}
