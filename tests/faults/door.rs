//! The n-th operation on the file fails, inside the engine's `persist`: for every n and every kind, once and for good.

use crate::bench::{Bench, Case};
use crate::script::script;
use crate::store::{Player, options};
use crate::world::{Ending, History};
use pagestone::Error;
use pagestone::persist::{FileOperation, Recorder};
use pagestone::region::Identity;
use pagestone::store;
use pagestone::store::Options;
use pagestone::units::Durability;
use pagestone_kit::disk::quick;
use std::path::Path;

pub const CASES: &[Case] = &[
    Case { name: "door: each file operation fails once (EIO)", run: |b| sweep(b, libc::EIO, false) },
    Case { name: "door: each file operation fails once (ENOSPC)", run: |b| sweep(b, libc::ENOSPC, false) },
    Case { name: "door: from each file operation on all fail (EIO)", run: |b| sweep(b, libc::EIO, true) },
    Case {
        name: "door: from each file operation on all fail (ENOSPC)",
        run: |b| sweep(b, libc::ENOSPC, true),
    },
    Case { name: "door: each file operation of a recovery fails", run: recovery },
];

const CLASSES: [Durability; 3] = [Durability::Fdatasync, Durability::CacheLine, Durability::Volatile];
/// The lease's state and the word for a region that failed.
const LEASE_STATE: usize = pagestone::media::layout::LEASE_OFFSET as usize + 8;
const FAILED: u8 = 3;

/// What the last owner left, as the file's lease says.
pub fn ending(path: &Path) -> Ending {
    let bytes = std::fs::read(path).unwrap_or_default();
    if bytes.get(LEASE_STATE) == Some(&FAILED) { Ending::FailedFlush } else { Ending::Death }
}

/// Asserts that an error names the file, and that a store that failed says what to do next.
pub fn assert_clear(error: &Error, path: &Path) {
    let (text, name) = (error.to_string(), path.file_name().unwrap_or_default().to_string_lossy());
    match error {
        Error::Io { .. } | Error::NoSpace { .. } => assert!(text.contains(&*name), "which file? {text}"),
        Error::Poisoned { .. } => assert!(text.contains("open it again") && text.contains(&*name), "{text}"),
        other => panic!("a failed file operation became {other:?}"),
    }
}

/// The result of a run with a failing operation.
struct Run {
    operations: Vec<FileOperation>,
    /// The first error, and what it meant.
    error: Option<(Error, Meaning)>,
    player: Player,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Meaning {
    /// There is no store yet, or it was closed.
    NotOpened,
    /// What failed can be tried again.
    Local,
    /// The store takes no more changes.
    Final,
}

fn sweep(bench: &Bench, error: i32, lasting: bool) {
    let folder = quick();
    for class in CLASSES {
        let path = folder.path().join(format!("{class}-whole"));
        let whole = play(class, &path, |_| {});
        assert!(whole.error.is_none(), "{class}: without a fault {:?}", whole.error);
        for n in picks(bench, &whole.operations) {
            let path = folder.path().join(format!("{class}-{n}"));
            let run = play(class, &path, |recorder| recorder.break_down(n, error, lasting));
            judge(run, whole.operations[n], error, lasting)
                .unwrap_or_else(|why| panic!("{class}, operation {n} ({:?}): {why}", whole.operations[n]));
            bench.state();
            std::fs::remove_file(&path).expect("the file is there");
        }
    }
}

/// Some operations of each kind, or all.
fn picks(bench: &Bench, operations: &[FileOperation]) -> Vec<usize> {
    use FileOperation::{Allocate, FileSystem, Length, Look, Punch, Sync, WriteBack, WriteThrough};
    let of = |kind| (0..operations.len()).filter(|n| operations[*n] == kind).collect::<Vec<_>>();
    let some = |places: Vec<usize>| {
        bench.sweep(places.len(), 4).into_iter().map(move |i| places[i]).collect::<Vec<_>>()
    };
    [Allocate, FileSystem, Length, Look, Punch, Sync, WriteBack, WriteThrough]
        .into_iter()
        .flat_map(|kind| some(of(kind)))
        .collect()
}

/// Plays the script. After the first error the step is tried again and the script goes on, unless the store has failed
/// for good.
fn play(class: Durability, path: &Path, plan: impl FnOnce(&Recorder)) -> Run {
    let recorder = Recorder::new();
    plan(&recorder);
    let mut player = Player::new(options(class).recorder(recorder.clone()), path);
    let mut first = None;
    'script: for (number, op) in script().iter().enumerate() {
        while let Err(error) = player.play(number, op) {
            assert_clear(&error, path);
            let meaning = match player.poisoned() {
                true => Meaning::Final,
                false if player.is_open() => Meaning::Local,
                false => Meaning::NotOpened,
            };
            let again = first.is_none() && meaning != Meaning::Final;
            first.get_or_insert((error, meaning));
            if !again {
                break 'script;
            }
        }
    }
    player.leave();
    Run { operations: recorder.file_operations(), error: first, player }
}

fn judge(run: Run, failed: FileOperation, error: i32, lasting: bool) -> Result<(), String> {
    use FileOperation::{Allocate, Cut, FileSystem, Length, Look, Punch, Sync, WriteBack, WriteThrough};
    let ending = ending(&run.player.path);
    match (failed, &run.error) {
        (Sync | WriteThrough | WriteBack | Length, Some((error, Meaning::Local))) if !lasting => {
            return Err(format!("a failed flush is final, and not only {error}"));
        }
        (Allocate, Some((error, Meaning::Final))) if !lasting => {
            return Err(format!("a growth that was refused changes nothing, and is not final: {error}"));
        }
        (Allocate, Some((told, _)))
            if !lasting && error == libc::ENOSPC && !matches!(told, Error::NoSpace { .. }) =>
        {
            return Err(format!("a disk without room is no space, and not {told}"));
        }
        (Sync | WriteThrough | WriteBack | Length, Some((_, Meaning::Final)))
            if ending != Ending::FailedFlush =>
        {
            return Err("the lease does not say that a flush failed".into());
        }
        (Sync | WriteThrough | WriteBack | Length | Allocate | Look | Punch | Cut | FileSystem, _) => {}
    }
    run.player.judge(&plain(&run.player.options), ending)?;
    Ok(())
}

/// The same options without a recorder.
fn plain(options: &Options) -> Options {
    options.clone().recorder(Recorder::new())
}

/// The places where the script stops, to leave something to recover.
const STOPS: [usize; 5] = [4, 17, 26, 60, 93];

fn recovery(bench: &Bench) {
    let (folder, identity) = (quick(), Identity::plain([7; 16], 1, 2, 3));
    for class in CLASSES {
        for (stop, (bytes, history)) in STOPS.into_iter().zip(unclean(class, folder.path(), identity)) {
            let path = folder.path().join("crashed");
            let options = options(class).identity(identity);
            let reopen = |plan: &dyn Fn(&Recorder)| {
                std::fs::write(&path, &bytes).expect("there is room");
                let recorder = Recorder::new();
                plan(&recorder);
                let opened = options.clone().recorder(recorder.clone()).open(&path);
                (opened.map(|store| store.recovery().ending), recorder.file_operations().len())
            };
            let (opened, count) = reopen(&|_| {});
            let found = opened.unwrap_or_else(|error| panic!("{class}, stopped after {stop}: {error}"));
            assert_eq!(found, store::Ending::ProcessDeath, "{class}, stopped after {stop}");
            for n in bench.sweep(count, 12) {
                for lasting in [false, true] {
                    let (opened, _) = reopen(&|recorder| recorder.break_down(n, libc::EIO, lasting));
                    if let Err(error) = &opened {
                        assert_clear(error, &path);
                    }
                    // A file system that refuses an operation after a death: the opening counts the death as a power loss.
                    let doubted = matches!(opened, Ok(store::Ending::PowerLoss));
                    let ending = if doubted { Ending::FailedFlush } else { ending(&path) };
                    let player = Player::after(history.clone(), options.clone(), &path);
                    let judged = player.judge(&options, ending);
                    judged.unwrap_or_else(|why| panic!("{class}, after {stop}, operation {n}: {why}"));
                    bench.state();
                }
            }
        }
    }
}

/// What a process leaves if it dies after each of the `STOPS`, and its history until then.
fn unclean(class: Durability, folder: &Path, identity: Identity) -> Vec<(Vec<u8>, History)> {
    let path = folder.join(format!("{class}-dies"));
    let mut player = Player::new(options(class).identity(identity), &path);
    let mut left = Vec::new();
    for (number, op) in script().iter().enumerate() {
        player.play(number, op).unwrap_or_else(|error| panic!("{op:?}: {error}"));
        if STOPS.contains(&(number + 1)) {
            left.push((std::fs::read(&path).expect("the file is there"), player.history.clone()));
        }
    }
    player.leave();
    left
}
