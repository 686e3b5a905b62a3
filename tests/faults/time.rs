//! A disk that takes its time, an owner that is stopped, clocks that jump.

use crate::bench::{Bench, Case};
use crate::child::{command, command_under, finish, say};
use crate::script::PAGE;
use crate::store::options;
use pagestone::Error;
use pagestone::persist::{Event, Recorder};
use pagestone::store::Store;
use pagestone::units::{Durability, PageIndex};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case { name: "time: nobody who needs no disk waits for a slow one", run: slow },
    Case { name: "time: a stopped owner is an owner, a dead one is none", run: stopped },
    Case { name: "time: an owner's clocks do not matter", run: clocks },
];

const CLASS: Durability = Durability::Fdatasync;

/// How long the disk takes.
const SLOW: Duration = Duration::from_millis(600);

/// While one thread syncs, and its disk takes its time, another one reads, pins, stores and makes objects.
fn slow(bench: &Bench) {
    for wanted in [
        |event: &Event| matches!(event, Event::SyncBegin { .. }),
        |event: &Event| matches!(event, Event::WriteThroughBegin { .. }),
    ] {
        let (folder, recorder) = (bench.folder(), Recorder::new());
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
            assert!(longest < SLOW / 2, "somebody waited {longest:?} for the disk");
            syncer.join().unwrap().unwrap();
        });
        assert!(store.check().unwrap().is_clean());
        bench.state();
    }
}

/// The longest that any call took, of those made while `during`.
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

/// Opens a store, leaves something unsynced in it, says so, and waits for its end.
pub fn hold(path: &Path) {
    let store = options(CLASS).open(path).unwrap();
    let object = store.open_or_create("held").unwrap();
    object.append(b"synced. ").unwrap();
    store.sync().unwrap();
    object.append(b"not synced. ").unwrap();
    say("held");
    loop {
        thread::park();
    }
}

/// A child that holds the store. Killed when dropped.
struct Owner(Child);

impl Owner {
    fn start(mut command: Command) -> Self {
        let mut child = Self(command.stdout(Stdio::piped()).spawn().expect("a child can be started"));
        let out = BufReader::new(child.0.stdout.take().expect("it was asked for"));
        let held = out.lines().map_while(Result::ok).any(|line| line == "held");
        if !held {
            child.end();
            panic!("the owner did not get the store");
        }
        child
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.end();
    }
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
    let folder = bench.folder();
    let path = folder.path().join("held.pgs");
    let mut owner = Owner::start(command("hold", &[&path.to_string_lossy()]));
    let pid = owner.0.id();
    // SAFETY: a signal to a child of ours that has not been waited for.
    assert!(unsafe { libc::kill(pid as libc::pid_t, libc::SIGSTOP) } == 0);
    let start = Instant::now();
    refused(&path, pid);
    assert!(start.elapsed() < Duration::from_secs(5), "a refusal does not wait for the owner");
    thread::sleep(Duration::from_millis(200));
    refused(&path, pid);
    owner.end();
    succeeds(&path, 1);
    bench.state();
}

/// An owner lives years after its boot, the next one just after it, a third where we are: each takes over from the one
/// before, and a living one is never taken for dead.
fn clocks(bench: &Bench) {
    const TEN_YEARS: &str = "315360000";
    let folder = bench.folder();
    let path = folder.path().join("held.pgs");
    let name = path.to_string_lossy();
    let later = ["--time", "--boottime", TEN_YEARS, "--monotonic", TEN_YEARS, "--fork", "--kill-child"];
    if !Command::new("unshare").args(later).arg("true").status().is_ok_and(|status| status.success()) {
        return bench.skip("clocks that jump", "needs a time name space (unshare --time, root)");
    }
    for (life, shifted) in [true, false, true].into_iter().enumerate() {
        let owner = if shifted {
            command_under("unshare", &later, "hold", &[&name])
        } else {
            command("hold", &[&name])
        };
        let mut owner = Owner::start(owner);
        let claimed = matches!(options(CLASS).open(&path), Err(Error::InUse { .. }));
        assert!(claimed, "life {life}");
        // And the other way round: a process that looks from another time.
        let looker = command_under("unshare", &later, "limited", &["fsize", "9999999999", &name]);
        let looked = finish(looker).expect("it does not hang");
        assert!(
            looked.said.iter().any(|line| line.contains("is in use by")),
            "{:?} {}",
            looked.said,
            looked.complained
        );
        owner.end();
        wait_until_free(&path);
        succeeds(&path, life + 1);
        bench.state();
    }
}

/// The one in the name space dies with its parent, a moment later.
fn wait_until_free(path: &Path) {
    let start = Instant::now();
    while matches!(options(CLASS).open(path), Err(Error::InUse { .. })) {
        assert!(start.elapsed() < Duration::from_secs(20), "it does not die");
        thread::sleep(Duration::from_millis(5));
    }
}
