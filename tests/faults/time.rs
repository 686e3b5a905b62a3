//! A slow disk, an owner that is stopped, clocks that jump.

use crate::bench::{Bench, Case};
use crate::child::finish;
use crate::script::PAGE;
use crate::store::options;
use pagestone::Error;
use pagestone::persist::{Event, Recorder};
use pagestone::store::Store;
use pagestone::units::{Durability, PageIndex};
use pagestone_kit::child::{Child, again, say, under, wait_for_death};
use pagestone_kit::disk::quick;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case { name: "time: what needs no disk waits for no slow one", run: slow },
    Case { name: "time: a stopped owner is an owner, a dead one is none", run: stopped },
    Case { name: "time: an owner's clocks do not matter", run: clocks },
];

const CLASS: Durability = Durability::Fdatasync;

/// How long the disk takes for a sync.
const SLOW: Duration = Duration::from_millis(600);

/// While one thread waits for a sync of the slow disk, another one reads, pins, stores and makes objects.
fn slow(bench: &Bench) {
    for wanted in [
        |event: &Event| matches!(event, Event::SyncBegin { .. }),
        |event: &Event| matches!(event, Event::WriteThroughBegin { .. }),
    ] {
        let (folder, recorder) = (quick(), Recorder::new());
        let store = options(CLASS).recorder(recorder.clone()).open(folder.path().join("slow.pgs")).unwrap();
        let object = store.create("a").unwrap();
        object.write_at(0, &[1; 8 * PAGE as usize]).unwrap();
        store.sync().unwrap();
        let during = std::sync::Arc::new(AtomicBool::new(false));
        let flag = during.clone();
        recorder.on_event(move |event| {
            if wanted(event) {
                flag.store(true, Ordering::SeqCst);
                thread::sleep(SLOW);
                flag.store(false, Ordering::SeqCst);
            }
        });
        object.append(&[2; PAGE as usize]).unwrap();
        thread::scope(|scope| {
            let syncer = scope.spawn(|| store.sync());
            while !during.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            let longest = work_beside(&store, &during);
            assert!(longest < SLOW / 2, "a call waited {longest:?} for the disk");
            syncer.join().unwrap().unwrap();
        });
        assert!(store.check().unwrap().is_clean());
        bench.state();
    }
}

/// The longest time that any call took while `during` was true.
fn work_beside(store: &Store, during: &AtomicBool) -> Duration {
    let object = store.open("a").unwrap();
    let (mut longest, mut rounds) = (Duration::ZERO, 0);
    while during.load(Ordering::SeqCst) {
        let start = Instant::now();
        let page = object.pin(PageIndex(rounds % 8)).unwrap().unwrap();
        page.write_range(0..8).unwrap().copy_from_slice(&rounds.to_le_bytes());
        drop(page);
        object.read_at(0, &mut [0; 100]).unwrap();
        object.write_at(PAGE, b"in place").unwrap();
        if rounds < 20 {
            object.append(&[3; 100]).unwrap();
            drop(store.create(format!("object {rounds}")).unwrap());
        }
        longest = longest.max(start.elapsed());
        rounds += 1;
    }
    assert!(rounds > 20, "only {rounds} rounds, {longest:?}");
    longest
}

/// Opens a store, leaves something unsynced in it, prints a line, and waits for its end.
pub fn hold(path: &Path) -> ! {
    let store = options(CLASS).open(path).unwrap();
    let object = store.open_or_create("held").unwrap();
    object.append(b"synced. ").unwrap();
    store.sync().unwrap();
    object.append(b"not synced. ").unwrap();
    say("held");
    wait_for_death()
}

/// A child that holds the store.
fn owner(mut command: Command) -> Child {
    let mut owner = Child::start(&mut command);
    owner.hears("held").expect("it gets the store");
    owner
}

fn succeeds(path: &Path, lives: usize) {
    let store = options(CLASS).open(path).unwrap_or_else(|error| panic!("the owner is dead: {error}"));
    let object = store.open("held").unwrap();
    let mut bytes = vec![0; 1000];
    let n = object.read_at(0, &mut bytes).unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes[..n]), "synced. not synced. ".repeat(lives));
    assert!(store.check().unwrap().is_clean());
}

fn refused(path: &Path, pid: u32) {
    match options(CLASS).open(path) {
        Err(error @ Error::InUse { .. }) => {
            let text = error.to_string();
            assert!(text.contains(&pid.to_string()) && text.contains("close it there first"), "{text}");
        }
        other => panic!("the store is in use: {other:?}"),
    }
}

fn stopped(bench: &Bench) {
    let folder = quick();
    let path = folder.path().join("held.pgs");
    let mut owner = owner(again("hold", &path));
    let pid = owner.id();
    owner.signal(libc::SIGSTOP);
    let start = Instant::now();
    refused(&path, pid);
    assert!(start.elapsed() < Duration::from_secs(5), "a refusal does not wait for the owner");
    thread::sleep(Duration::from_millis(200));
    refused(&path, pid);
    owner.kill().unwrap();
    succeeds(&path, 1);
    bench.state();
}

/// Three owners follow each other: by its clock, one lives years after the boot, one just after it, and one at our time.
/// Each succeeds the one before, and a living owner is never taken for dead.
fn clocks(bench: &Bench) {
    const TEN_YEARS: &str = "315360000";
    let folder = quick();
    let path = folder.path().join("held.pgs");
    let later = ["--time", "--boottime", TEN_YEARS, "--monotonic", TEN_YEARS, "--fork", "--kill-child"];
    if !Command::new("unshare").args(later).arg("true").status().is_ok_and(|status| status.success()) {
        return bench.skip("clocks that jump", "needs a time name space (unshare --time, root)");
    }
    for (life, shifted) in [true, false, true].into_iter().enumerate() {
        let hold = again("hold", &path);
        let mut owner = owner(if shifted { under("unshare", &later, &hold) } else { hold });
        let claimed = matches!(options(CLASS).open(&path), Err(Error::InUse { .. }));
        assert!(claimed, "life {life}");
        // And the other way round: a process that looks from another time.
        let looker = under("unshare", &later, &again("limited fsize 9999999999", &path));
        let looked = finish(looker).expect("it does not hang");
        assert!(
            looked.said.iter().any(|line| line.contains("is in use by")),
            "{:?} {}",
            looked.said,
            looked.complained
        );
        owner.kill().unwrap();
        wait_until_free(&path);
        succeeds(&path, life + 1);
        bench.state();
    }
}

/// The owner in the name space dies a moment after its parent.
fn wait_until_free(path: &Path) {
    let start = Instant::now();
    while matches!(options(CLASS).open(path), Err(Error::InUse { .. })) {
        assert!(start.elapsed() < Duration::from_secs(20), "it does not die");
        thread::sleep(Duration::from_millis(5));
    }
}
