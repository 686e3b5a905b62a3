//! The file changes under an open store: it is removed, replaced, no longer writable, or cut.

use crate::bench::{Bench, Case};
use crate::child::finish;
use crate::script::PAGE;
use crate::store::options;
use crate::world::matches;
use pagestone::Error;
use pagestone::store::{Object, Store};
use pagestone::units::{Durability, PageIndex};
use pagestone_kit::child::{again, say};
use pagestone_kit::disk::quick;
use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

pub const CASES: &[Case] = &[
    Case { name: "file: removed while it is open", run: removed },
    Case { name: "file: replaced while it is open", run: replaced },
    Case { name: "file: no longer writable while it is open", run: forbidden },
    Case { name: "file: cut while it is open, seen by each kind of access", run: cut },
];

const CLASS: Durability = Durability::Fdatasync;
const PAGES: u64 = 250;

fn filled(path: &Path, byte: u8) -> (Store, Object) {
    let store = options(CLASS).open(path).expect("it opens");
    let object = store.create("a").expect("it is new");
    object.write_at(0, &vec![byte; (PAGES * PAGE) as usize]).expect("there is room");
    store.sync().expect("it syncs");
    (store, object)
}

/// Everything works: reads, stores, growth, syncs, a check.
fn works(store: &Store, object: &Object, byte: u8) {
    assert!(matches(object, &vec![byte; object.len() as usize]));
    object.write_at(5, &[byte; 100]).unwrap();
    object.append(&vec![byte; 600 * PAGE as usize]).unwrap();
    store.open_or_create("b").and_then(|b| b.sync()).unwrap();
    store.sync().unwrap();
    assert!(store.check().unwrap().is_clean());
}

fn removed(bench: &Bench) {
    let folder = quick();
    let path = folder.path().join("r.pgs");
    let (store, object) = filled(&path, 1);
    std::fs::remove_file(&path).unwrap();
    works(&store, &object, 1);
    // The name is free: a store that is made there is a new one.
    let (other, content) = filled(&path, 2);
    works(&store, &object, 1);
    works(&other, &content, 2);
    drop((object, content));
    store.close().unwrap();
    other.close().unwrap();
    let again = Store::options().open(&path).unwrap();
    assert!(matches(&again.open("a").unwrap(), &vec![2; ((PAGES + 600) * PAGE) as usize]));
    std::fs::remove_file(&path).unwrap();
    drop(again);
    match Store::options().open(&path) {
        Err(error @ Error::Io { .. }) => assert!(error.to_string().contains("r.pgs"), "{error}"),
        other => panic!("{other:?}"),
    }
    bench.state();
}

fn replaced(bench: &Bench) {
    let folder = quick();
    let (path, new) = (folder.path().join("r.pgs"), folder.path().join("new.pgs"));
    let (other, content) = filled(&new, 9);
    drop(content);
    other.close().unwrap();
    let before = std::fs::read(&new).unwrap();
    let (store, object) = filled(&path, 1);
    std::fs::rename(&new, &path).unwrap();
    works(&store, &object, 1);
    drop(object);
    store.close().unwrap();
    assert!(std::fs::read(&path).unwrap() == before, "the owner of the old file has written to the new one");
    let store = Store::options().open(&path).unwrap();
    assert!(matches(&store.open("a").unwrap(), &vec![9; (PAGES * PAGE) as usize]));
    bench.state();
}

fn forbidden(bench: &Bench) {
    let folder = quick();
    let path = folder.path().join("r.pgs");
    let (store, object) = filled(&path, 1);
    std::fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
    works(&store, &object, 1);
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    bench.state();
}

/// What a child does to a store whose file was cut, and whether it may end by the operating system's signal.
const ACCESSES: &[(&str, bool)] = &[
    ("sync", false),
    ("sync of the object", false),
    ("look-up of a page", false),
    ("growth", false),
    ("growth by a pin", false),
    ("allocation", false),
    ("cut of the object", false),
    ("hole", false),
    ("new object", false),
    ("opening of an object", false),
    ("rename", false),
    ("unlink", false),
    ("list", false),
    ("check", false),
    ("check_length", false),
    ("close", false),
    ("drop of an unlinked object", false),
    ("read through a page that is known", true),
    ("write through a page that is known", true),
    ("read through a pin", true),
];

fn cut(bench: &Bench) {
    for &(access, may_die) in ACCESSES {
        let folder = quick();
        let path = folder.path().join("r.pgs");
        let ended = finish(again(&format!("cut {access}"), &path));
        let ended = ended.unwrap_or_else(|| panic!("{access}: it hangs"));
        let died = ended.status.signal() == Some(libc::SIGBUS);
        let told = ended.said.iter().any(|line| line.contains("was cut"));
        assert!(
            ended.status.success() || (died && may_die),
            "{access}: {:?} {}",
            ended.status,
            ended.complained
        );
        assert!(told || may_die, "{access}: {:?}", ended.said);
        // Nothing opens a file that was cut, and nothing writes to it.
        let before = std::fs::read(&path).unwrap();
        match options(CLASS).open(&path) {
            Err(error @ Error::Truncated { .. }) => {
                assert!(error.to_string().contains("restore it"), "{error}")
            }
            other => panic!("{access}: {other:?}"),
        }
        assert!(std::fs::read(&path).unwrap() == before);
        bench.state();
    }
}

pub fn in_child(access: &str, path: &Path) {
    let (store, object) = filled(path, 1);
    let pin = object.pin(PageIndex(PAGES - 1)).unwrap().unwrap();
    object.write_at(0, b"not synced").unwrap();
    drop(store.create("b").unwrap());
    if access == "drop of an unlinked object" {
        store.unlink("a").unwrap();
    }
    let file = OpenOptions::new().write(true).open(path).unwrap();
    halve(&file);
    let last = (PAGES - 1) * PAGE;
    let result = match access {
        "sync" => store.sync(),
        "sync of the object" => object.sync(),
        "look-up of a page" => {
            drop((pin, object));
            store.open("a").and_then(|object| object.pin(PageIndex(PAGES - 1))).map(drop)
        }
        "growth" => object.append(&vec![1; 4000 * PAGE as usize]).map(drop),
        "growth by a pin" => object.pin_mut(PageIndex(PAGES + 9)).map(drop),
        "allocation" => object.allocate(PAGES * PAGE, 1 << 20),
        "cut of the object" => object.set_len(10),
        "hole" => object.punch_hole(0, 100 * PAGE),
        "new object" => store.create("c").map(drop),
        "opening of an object" => store.open("b").map(drop),
        "rename" => store.rename("b", "c"),
        "unlink" => store.unlink("b"),
        "list" => store.list().map(drop),
        "check" => store.check().map(drop),
        "check_length" => store.check_length(),
        "close" => {
            drop((pin, object));
            store.close().map_err(Error::from)
        }
        "drop of an unlinked object" => {
            drop((pin, object));
            store.sync()
        }
        "read through a page that is known" => object.read_at(last, &mut [0; 8]).map(drop),
        "write through a page that is known" => object.write_at(last, &[1; 8]),
        "read through a pin" => pin.read().map(|page| assert_eq!(page[0], 1)),
        other => panic!("no such access: {other}"),
    };
    match result {
        Err(error) => say(&error.to_string()),
        Ok(()) => say("it went well"),
    }
}

fn halve(file: &File) {
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
}
