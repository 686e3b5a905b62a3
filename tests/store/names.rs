//! Names, and objects without them.

use crate::{PAGE, check, content, filled, pin, shown, store};
use pagestone::Error;
use pagestone::store::Store;
use pagestone_fuzzing::format::{name_hash, name_key};

#[test]
fn an_unlinked_open_object_lives_until_its_last_handle() {
    let store = store();
    let object = filled(&store, "a", 3);
    let second = store.open("a").unwrap();
    store.unlink("a").unwrap();
    assert!(object.is_unlinked());
    assert_eq!(store.exists("a").unwrap(), None);
    assert!(matches!(store.open("a"), Err(Error::NotFound { .. })));
    let fresh = store.create("a").unwrap();
    assert_ne!(fresh.id(), object.id());
    object.write_at(3 * PAGE, b"still here").unwrap();
    drop(object);
    assert_eq!(second.len(), 3 * PAGE + 10);
    let held = pin(&second, 1);
    drop(second);
    assert!(held.is_detached());
    assert_eq!(shown(&held), [2; PAGE as usize]);
    assert_eq!(fresh.len(), 0);
    assert_eq!(store.stats().open_objects, 1);
}

#[test]
fn a_prefix_lists_the_names_that_begin_with_it_in_order() {
    let store = store();
    for name in ["log/2", "log", "logs", "log/10", "data", "log/1"] {
        store.create(name).unwrap();
    }
    let listed = |prefix: &[u8]| {
        let names = store.list_prefix(prefix).unwrap().into_iter().map(|entry| entry.name);
        names.map(|name| String::from_utf8(name).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(listed(b"log/"), ["log/1", "log/10", "log/2"]);
    assert_eq!(listed(b"log/1"), ["log/1", "log/10"]);
    assert_eq!(listed(b"nothing"), [""; 0]);
    assert_eq!(listed(b"").len(), store.list().unwrap().len());
}

#[test]
fn a_rename_replaces_an_open_object() {
    let store = store();
    let old = filled(&store, "old", 1);
    let new = filled(&store, "new", 2);
    store.rename("new", "old").unwrap();
    assert!(old.is_unlinked());
    assert_eq!(content(&old), [1; PAGE as usize]);
    assert_eq!(store.open("old").unwrap().id(), new.id());
    assert_eq!(store.exists("new").unwrap(), None);
    assert_eq!(store.list().unwrap().len(), 1);
    store.rename("old", "old").unwrap();
    assert!(!new.is_unlinked());
    assert!(matches!(store.rename("none", "x"), Err(Error::NotFound { .. })));
}

#[test]
fn names_are_bytes_within_limits() {
    let store = store();
    for bad in [&b""[..], b"a\0b", &[b'x'; 256]] {
        assert!(matches!(store.create(bad), Err(Error::BadName { .. })));
        assert!(matches!(store.open(bad), Err(Error::BadName { .. })));
    }
    for good in [&b"\xff\xfe"[..], b"a/b", &[b'x'; 255]] {
        drop(store.create(good).unwrap());
        assert_eq!(store.exists(good).unwrap(), Some(0));
    }
    assert!(matches!(store.create("a/b"), Err(Error::Exists { .. })));
    assert!(matches!(store.unlink("no"), Err(Error::NotFound { .. })));
}

#[test]
fn a_list_is_complete_and_in_order() {
    let store = store();
    for n in (0..300).rev() {
        store.create(format!("object {n:03}")).unwrap().set_len(n).unwrap();
    }
    let entries = store.list().unwrap();
    assert_eq!(entries.len(), 300);
    for (n, entry) in entries.iter().enumerate() {
        assert_eq!((entry.name.as_slice(), entry.len), (format!("object {n:03}").as_bytes(), n as u64));
    }
}

#[test]
fn two_handles_are_one_object() {
    let store = store();
    let one = store.create("a").unwrap();
    let two = store.open_or_create("a").unwrap();
    one.write_at(5, b"hello").unwrap();
    assert_eq!(two.len(), 10);
    assert_eq!(content(&two), b"\0\0\0\0\0hello");
    let page = pin(&two, 0);
    one.write_at(0, b"HEY").unwrap();
    assert_eq!(&shown(&page)[..10], b"HEY\0\0hello", "a pin shows a write at once");
    assert_eq!(pin(&one, 0).pfn(), page.pfn());
    two.set_len(1).unwrap();
    assert_eq!(content(&one), b"H");
}

#[test]
fn a_chain_is_never_longer_than_one_record_can_spread() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = Store::options().create(true).max_size(2 << 20).log_frames(4).open(&path).unwrap();
    let key = name_key(&std::fs::read(&path).unwrap());
    // There are free slots and no free frame: the directory gets no node to spread names over.
    let some: Vec<_> = (0..64).map(|n| store.create(format!("for a moment {n}")).unwrap()).collect();
    (0..64).for_each(|n| store.unlink(format!("for a moment {n}")).unwrap());
    drop(some);
    let filler = store.create("filler").unwrap();
    for pages in [64, 8, 1] {
        while filler.append(&vec![1; pages * 4096]).is_ok() {}
    }
    let names = (0..).map(|n: u32| n.to_string()).filter(|name| name_hash(&key, name.as_bytes()) % 512 == 7);
    let mut names = names.take(70);
    let mut made: Vec<_> = names.by_ref().take_while(|name| store.create(name).is_ok()).collect();
    assert!((8..60).contains(&made.len()), "{} names", made.len());
    let next = names.next().unwrap();
    let refused = store.create(&next).err();
    assert!(matches!(&refused, Some(Error::NoSpace { why }) if why.contains("spread")), "{refused:?}");
    // With frames again, one record spreads them.
    filler.set_len(0).unwrap();
    made.push(next);
    made.extend(names);
    made.iter().for_each(|name| drop(store.open_or_create(name).unwrap()));
    assert!(made.iter().all(|name| store.exists(name).unwrap() == Some(0)));
    assert_eq!(store.list().unwrap().len(), made.len() + 1);
    check(&store);
}
