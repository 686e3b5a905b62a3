//! An import and an export cost what there is to copy, and not the length.

use super::Scene;
use super::mistakes::{pagestone, run_for};
use pagestone::store::Store;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::Duration;

const LEN: u64 = 1 << 40;
const AT: [u64; 3] = [5 << 30, 500 << 30, LEN - 1];

fn ends(s: &Scene, args: &[&str]) {
    let out = run_for(s, Duration::from_secs(20), &mut pagestone(args));
    let out = out.unwrap_or_else(|| panic!("{args:?} does not end"));
    assert!(out.status.success(), "{args:?}: {}", super::text(&out.stderr));
}

#[test]
fn holes_are_not_read_to_be_imported() {
    let s = Scene::new();
    let file = File::create(s.path("x")).expect("a file");
    AT.iter().try_for_each(|&at| file.write_all_at(b"x", at)).expect("written");
    file.set_len(LEN + 5000).expect("a hole at the end");
    ends(&s, &["import", "x", "r.pgs"]);
    let store = Store::options().read_only(true).open(s.path("r.pgs")).expect("open here");
    let object = store.open("x").expect("the object");
    assert_eq!(object.len(), LEN + 5000);
    let mapped = object.mapped().expect("a map");
    assert!((3..100).contains(&mapped), "{mapped}");
    for at in AT {
        let mut bytes = [1; 3];
        object.read_at(at - 1, &mut bytes).expect("read");
        assert_eq!(&bytes, b"\0x\0", "{at}");
    }
}

#[test]
fn holes_are_not_read_to_be_exported() {
    let s = Scene::new();
    let store = Store::options().create(true).open(s.path("r.pgs")).expect("create here");
    let object = store.create("x").expect("an object");
    AT.iter().try_for_each(|&at| object.write_at(at, b"x")).expect("written");
    object.set_len(LEN + 5000).expect("a hole at the end");
    drop(object);
    store.close().expect("closed");
    ends(&s, &["export", "r.pgs:x", "x"]);
    let file = File::open(s.path("x")).expect("the file");
    let meta = file.metadata().expect("its length");
    assert_eq!(meta.len(), LEN + 5000);
    assert!(meta.blocks() < 1000, "{}", meta.blocks());
    for at in AT {
        let mut bytes = [1; 3];
        file.read_exact_at(&mut bytes, at - 1).expect("read");
        assert_eq!(&bytes, b"\0x\0", "{at}");
    }
}
