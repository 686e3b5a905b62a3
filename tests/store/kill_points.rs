//! A process dies at a named place between two stores, and the next opening must understand what it left. This is tried
//! for each place and each operation of a script, and again in the opening that follows.

use pagestone::store::{Object, Options, Store};
use pagestone::sync::Step;
use pagestone::units::{Durability, MediumKind};
use pagestone_kit::child::{Child, Role, again_as, role, say};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const PAGE: usize = 4096;
const TEST: &str = "kill_points::a_process_may_die_at_any_step";
const CLASSES: [Durability; 2] = [Durability::Fdatasync, Durability::CacheLine];
/// The passage through a place at which a process dies. They are tried in turn, up to the first that the script does not
/// reach.
const PASSAGES: [u64; 6] = [1, 2, 5, 13, 30, 200];

/// The content of a store's objects, by their names.
type Content = BTreeMap<&'static str, Vec<u8>>;

/// One change of the store and of its expected content. After a death each is there whole, or not at all.
struct Operation {
    on_store: fn(&Store) -> pagestone::Result,
    on_content: fn(&mut Content),
}

fn object(store: &Store, name: &str) -> pagestone::Result<Object> {
    store.open(name)
}

fn bytes(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|n| seed ^ (n / 7) as u8).collect()
}

fn batch(store: &Store, len: usize) -> pagestone::Result {
    let mut batch = store.batch();
    batch.write_at(&object(store, "a")?, 0, &bytes(5, len))?;
    batch.write_at(&object(store, "b")?, 100, &bytes(6, len))?;
    batch.commit()
}

fn batched(content: &mut Content, len: usize) {
    for (name, at, seed) in [("a", 0, 5), ("b", 100, 6)] {
        let object = content.get_mut(name).expect("it was created");
        object.resize(object.len().max(at + len), 0);
        object[at..at + len].copy_from_slice(&bytes(seed, len));
    }
}

const SCRIPT: &[Operation] = &[
    Operation { on_store: |s| s.create("a").map(drop), on_content: |c| _ = c.insert("a", vec![]) },
    Operation { on_store: |s| s.create("b").map(drop), on_content: |c| _ = c.insert("b", vec![]) },
    Operation {
        on_store: |s| object(s, "a")?.append(&bytes(1, 3 * PAGE + 100)).map(drop),
        on_content: |c| c.entry("a").or_default().extend(bytes(1, 3 * PAGE + 100)),
    },
    Operation { on_store: |s| batch(s, 500), on_content: |c| batched(c, 500) },
    Operation {
        on_store: |s| object(s, "a")?.punch_hole(PAGE as u64, PAGE as u64),
        on_content: |c| c.entry("a").or_default()[PAGE..2 * PAGE].fill(0),
    },
    Operation { on_store: Store::sync, on_content: |_| () },
    Operation {
        on_store: |s| object(s, "a")?.set_len(PAGE as u64 + 50),
        on_content: |c| c.entry("a").or_default().truncate(PAGE + 50),
    },
    Operation {
        on_store: |s| object(s, "a")?.append(&bytes(2, 5000)).map(drop),
        on_content: |c| c.entry("a").or_default().extend(bytes(2, 5000)),
    },
    Operation {
        on_store: |s| object(s, "a")?.move_pages(0..8, Duration::ZERO).map(drop),
        on_content: |_| (),
    },
    // More than fits into a record, and more than the region has.
    Operation { on_store: |s| batch(s, 100_000), on_content: |c| batched(c, 100_000) },
    Operation { on_store: |s| s.create("large").map(drop), on_content: |c| _ = c.insert("large", vec![]) },
    Operation {
        on_store: |s| object(s, "large")?.append(&bytes(3, 3 << 20)).map(drop),
        on_content: |c| c.entry("large").or_default().extend(bytes(3, 3 << 20)),
    },
    Operation {
        on_store: |s| s.rename("b", "c"),
        on_content: |c| {
            let moved = c.remove("b").expect("it was created");
            c.insert("c", moved);
        },
    },
    Operation { on_store: Store::sync, on_content: |_| () },
    Operation { on_store: |s| s.unlink("large"), on_content: |c| _ = c.remove("large") },
    Operation { on_store: |s| s.compact().map(drop), on_content: |_| () },
];

/// The expected content after `done` operations of the script.
fn content(done: usize) -> Content {
    let mut content = Content::new();
    SCRIPT[..done].iter().for_each(|operation| (operation.on_content)(&mut content));
    content
}

fn options(class: Durability) -> Options {
    Store::options().create(true).log_frames(16).assume(class)
}

/// The life of a process that dies at a step: `work CLASS STEP NTH` begins the script, `open CLASS STEP NTH` opens what
/// another process left.
fn live(role: &Role) {
    let words: Vec<_> = role.about.split(' ').collect();
    let [class, step, nth] = words[..] else { panic!("{role:?}") };
    let class = CLASSES[class.parse::<usize>().expect("a number")];
    let step = Step::ALL.iter().find(|known| format!("{known:?}") == step).expect("a step");
    let nth = nth.parse().expect("a number");
    if role.name == "open" {
        step.is_the_end(nth);
    }
    let store = options(class).open(&role.place).expect("it can be opened");
    if role.name == "work" {
        step.is_the_end(nth);
        for (n, operation) in SCRIPT.iter().enumerate() {
            say(&format!("begin {n}"));
            (operation.on_store)(&store).expect("there is room");
        }
    } else {
        store.create("of the second life").expect("there is room");
    }
    say("done");
    store.close().expect("nothing is pinned");
    say("closed");
}

/// Runs a life. Returns how many operations it had begun, and whether it came to its end.
fn run(name: &str, class: usize, step: Step, nth: u64, place: &Path) -> (usize, bool) {
    let mut child = Child::start(&mut again_as(TEST, &format!("{name} {class} {step:?} {nth}"), place));
    let (mut begun, mut done, mut closed) = (0, false, false);
    for line in child.rest() {
        match line.strip_prefix("begin ") {
            Some(n) => begun = n.parse::<usize>().expect("a number") + 1,
            None => (done, closed) = (done || line == "done", closed || line == "closed"),
        }
    }
    // The test's harness prints only after the life has ended.
    assert!(closed || child.end().code().is_none(), "{name} {step:?} {nth}: it failed");
    (if done { SCRIPT.len() + 1 } else { begun }, closed)
}

/// Opens what a process left that had begun so many operations, and goes on with it.
fn judge(class: usize, begun: usize, place: &Path, case: &str) {
    let store = options(CLASSES[class]).open(place).unwrap_or_else(|error| panic!("{case}: {error}"));
    let report = store.check().unwrap_or_else(|error| panic!("{case}: {error}"));
    assert!(report.is_clean(), "{case}: {report:#?}");
    let mut found: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for entry in store.list().unwrap() {
        let name = String::from_utf8(entry.name).unwrap();
        let mut bytes = vec![0; entry.len as usize];
        store.open(&name).unwrap().read_at(0, &mut bytes).unwrap();
        found.insert(name, bytes);
    }
    found.remove("of the second life");
    let is = |done: usize| {
        let wanted = content(done.min(SCRIPT.len()));
        wanted.len() == found.len() && wanted.iter().all(|(name, bytes)| found.get(*name) == Some(bytes))
    };
    assert!(is(begun.saturating_sub(1)) || is(begun), "{case}: neither what was before nor what comes after");
    // The next life works.
    let object = store.open_or_create("of the judge").unwrap();
    object.append(&bytes(9, 300_000)).unwrap();
    store.sync().unwrap();
    drop(object);
    store.unlink("of the judge").unwrap();
    assert!(store.check().unwrap().is_clean(), "{case}: after more work");
    store.close().unwrap();
}

#[test]
fn a_process_may_die_at_any_step() {
    if let Some(role) = role() {
        return live(&role);
    }
    let folder = tempfile::tempdir().unwrap();
    let (first, copy) = (folder.path().join("first"), folder.path().join("copy"));
    let mut passed = Vec::new();
    for (class, name) in CLASSES.iter().enumerate() {
        for &step in Step::ALL {
            for nth in PASSAGES {
                let _ = std::fs::remove_file(&first);
                let (begun, ended) = run("work", class, step, nth, &first);
                if ended {
                    break;
                }
                passed.push(step);
                std::fs::copy(&first, &copy).unwrap();
                judge(class, begun, &first, &format!("{name:?}, {step:?} {nth}"));
                // The opening after one death dies too: once at each of its places.
                if [(Step::RecordWritten, 30), (Step::HomeStored, 13)].contains(&(step, nth)) {
                    die_again(class, begun, &copy, &first, &mut passed);
                }
            }
        }
    }
    // A DAX file loses blocks 2 MiB at a time, and this life frees no run of that length.
    let whole = Store::options().open(&first).unwrap().info().kind == MediumKind::DaxFile;
    let comes = |step: &Step| passed.contains(step) || (whole && *step == Step::BlocksReturned);
    let missed: Vec<_> = Step::ALL.iter().filter(|step| !comes(step)).collect();
    assert!(missed.is_empty(), "no process came to these: {missed:?}");
}

/// Lets openings of copies of `left` die at each step that they reach.
fn die_again(class: usize, begun: usize, left: &Path, place: &Path, passed: &mut Vec<Step>) {
    for &step in Step::ALL {
        for nth in PASSAGES {
            std::fs::copy(left, place).unwrap();
            let (_, ended) = run("open", class, step, nth, place);
            if ended {
                break;
            }
            passed.push(step);
            judge(class, begun, place, &format!("{:?}, again at {step:?} {nth}", CLASSES[class]));
        }
    }
}
