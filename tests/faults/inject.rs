//! A real process whose system calls fail, are cut short, or are its last: `strace -e inject`.

use crate::bench::{Bench, Case};
use crate::child::{BEGIN, Ended, finish};
use crate::door::ending;
use crate::script::script;
use crate::store::{Player, options, told};
use crate::world::{Ending, History, after};
use pagestone::units::Durability;
use pagestone_kit::child::{again, say, under};
use pagestone_kit::disk::quick;
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub const CASES: &[Case] = &[
    Case { name: "strace: each system call fails", run: errors },
    Case { name: "strace: calls are interrupted, cut short, slow: no caller notices", run: nuisances },
    Case { name: "strace: SIGKILL at each system call", run: kills },
    Case {
        name: "strace: a file that another process fills before it is locked is that process's",
        run: overtaken,
    },
];

/// System calls and the errors that they are made to return.
const ERRORS: &[(&str, &[&str])] = &[
    ("fdatasync", &["EIO", "ENOSPC", "EDQUOT"]),
    ("pwritev2", &["EIO", "ENOSPC"]),
    ("fallocate", &["ENOSPC", "EIO", "EPERM", "EFBIG"]),
    ("statx", &["EIO"]),
    ("lseek", &["EIO"]),
    ("openat", &["EMFILE", "ENOMEM", "EIO", "EACCES"]),
    ("fcntl", &["ENOLCK", "EIO"]),
    ("mmap", &["ENOMEM"]),
    ("madvise", &["ENOMEM"]),
    ("mprotect", &["ENOMEM"]),
    ("statfs", &["EIO"]),
    ("fsync", &["EIO", "ENOSPC"]),
    ("fadvise64", &["EIO"]),
];

/// Disturbances that the engine must handle by itself.
const NUISANCES: &[(&str, &str)] = &[
    ("fdatasync", "error=EINTR"),
    ("pwritev2", "error=EINTR"),
    ("pwritev2", "retval=7"),
    ("fallocate", "error=EINTR"),
    ("fallocate", "error=EOPNOTSUPP"),
    ("openat", "error=EINTR"),
    ("fdatasync", "delay_enter=30000"),
    ("pwritev2", "delay_enter=30000"),
];

/// The system calls of a run without faults. Those before the script do not count.
struct Calls {
    /// By name: the number of calls before the script, and the lines of the trace from then on.
    calls: BTreeMap<String, (usize, Vec<String>)>,
}

pub fn available(bench: &Bench, what: &str) -> bool {
    let works = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "-e", "inject=fdatasync:error=EIO", "true"])
        .status()
        .is_ok_and(|status| status.success());
    if !works {
        bench.skip(what, "strace cannot be used here (package strace, and the right to trace)");
    }
    works
}

impl Calls {
    fn of_script(folder: &Path) -> Self {
        let (path, log) = (folder.join("traced"), folder.join("trace"));
        let log_text = log.to_string_lossy();
        let options = ["-qq", "-o", &*log_text];
        let ended = finish(under("strace", &options, &again("script", &path)));
        let ended = ended.expect("the script ends");
        assert!(
            ended.status.success() && ended.said.last().is_some_and(|last| last == "left"),
            "{}",
            ended.complained
        );
        let text = std::fs::read_to_string(&log).expect("strace writes its log");
        let mut calls = BTreeMap::<String, (usize, Vec<String>)>::new();
        let mut begun = false;
        for line in text.lines() {
            let Some((name, _)) = line.split_once('(') else { continue };
            let (before, after) = calls.entry(name.to_owned()).or_default();
            if begun {
                after.push(line.to_owned())
            } else {
                *before += 1
            }
            begun |= line.contains(BEGIN);
        }
        assert!(begun, "the script looks for {BEGIN}");
        std::fs::remove_file(path).expect("the script has made it");
        Self { calls }
    }

    /// The numbers, for `when=`, of the calls of this name in the script that `fit`.
    fn numbers(&self, name: &str, fit: impl Fn(&str) -> bool) -> Vec<usize> {
        let Some((before, after)) = self.calls.get(name) else { return Vec::new() };
        after.iter().enumerate().filter(|(_, line)| fit(line)).map(|(i, _)| before + i + 1).collect()
    }
}

/// Runs the script with one injection. Returns how it ended, and the history as far as it was printed.
fn run(folder: &Path, injection: &str) -> (Ended, History) {
    let path = folder.join("traced");
    let _ = std::fs::remove_file(&path);
    let inject = format!("inject={injection}");
    let call = injection.split_once(':').map_or(injection, |(call, _)| call);
    let trace = format!("trace={call}");
    let options = ["-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    let ended = finish(under("strace", &options, &again("script", &path)));
    let ended = ended.unwrap_or_else(|| panic!("{injection}: it hangs"));
    let (mut history, script) = (History::new(), script());
    let done = ended.said.iter().filter(|line| line.starts_with("ok ")).count();
    for (number, op) in script.iter().enumerate().take(done) {
        let after = after(op, history.now(), number);
        told(&mut history, op, after);
    }
    if let Some(op) = script.get(done) {
        let after = after(op, history.now(), done);
        history.doubt(after);
    }
    (ended, history)
}

fn judge(folder: &Path, history: History, injection: &str, ending: Ending) {
    let options = options(Durability::Fdatasync);
    let player = Player::after(history, options.clone(), &folder.join("traced"));
    player.judge(&options, ending).unwrap_or_else(|why| panic!("{injection}: {why}"));
}

/// Whether the engine made this call. Of calls for memory, most are the allocator's.
fn is_ours(call: &str, line: &str) -> bool {
    call != "mmap" || line.contains("MAP_NORESERVE") || line.contains("MAP_SHARED")
}

fn errors(bench: &Bench) {
    if !available(bench, "failing system calls") {
        return;
    }
    let folder = quick();
    let calls = Calls::of_script(folder.path());
    for &(call, errors) in ERRORS {
        let numbers = calls.numbers(call, |line| is_ours(call, line));
        for pick in bench.sweep(numbers.len(), 3) {
            for error in errors.iter().take(if bench.long { errors.len() } else { 1 }) {
                let injection = format!("{call}:error={error}:when={}", numbers[pick]);
                let (ended, history) = run(folder.path(), &injection);
                assert!(ended.status.success(), "{injection}: {:?}, {}", ended.status, ended.complained);
                assert!(
                    ended.said.last().is_some_and(|last| last == "left"),
                    "{injection}: {:?}",
                    ended.said
                );
                let told = ended.said.iter().find_map(|line| line.strip_prefix("error "));
                if let Some(told) = told {
                    assert!(told.len() > 30, "{injection}: {told}");
                }
                if matches!(call, "fdatasync" | "pwritev2") && history.opened() {
                    let heard = told.is_some_and(|told| told.starts_with("final "));
                    // The drop of the last handle syncs too. It can note a failure only in the lease.
                    let dropping =
                        told.is_none() && ending(&folder.path().join("traced")) == Ending::FailedFlush;
                    assert!(heard || dropping, "{injection}: {told:?}");
                }
                judge(folder.path(), history, &injection, ending(&folder.path().join("traced")));
                bench.state();
            }
        }
    }
}

fn nuisances(bench: &Bench) {
    if !available(bench, "interrupted and slow system calls") {
        return;
    }
    let folder = quick();
    let calls = Calls::of_script(folder.path());
    for &(call, nuisance) in NUISANCES {
        let numbers = calls.numbers(call, |_| true);
        for pick in bench.sweep(numbers.len(), 2) {
            let injection = format!("{call}:{nuisance}:when={}", numbers[pick]);
            let (ended, history) = run(folder.path(), &injection);
            assert!(ended.status.success(), "{injection}: {}", ended.complained);
            let complaint = ended.said.iter().find(|line| line.starts_with("error"));
            assert!(complaint.is_none(), "{injection}: {complaint:?}");
            judge(folder.path(), history, &injection, Ending::Death);
            bench.state();
        }
    }
}

fn kills(bench: &Bench) {
    if !available(bench, "SIGKILL at system calls") {
        return;
    }
    let folder = quick();
    let calls = Calls::of_script(folder.path());
    let plain = |name: &&String| name.chars().all(|c| c.is_alphanumeric() || c == '_');
    // The number of growths of the heap depends on its address, which differs from run to run.
    for name in calls.calls.keys().filter(plain).filter(|name| *name != "brk") {
        let numbers = calls.numbers(name, |_| true);
        for pick in bench.sweep(numbers.len(), 3) {
            let injection = format!("{name}:signal=SIGKILL:when={}", numbers[pick]);
            let (ended, history) = run(folder.path(), &injection);
            let killed = ended.status.signal() == Some(libc::SIGKILL)
                || ended.status.code() == Some(128 + libc::SIGKILL);
            // `exit_group` comes after everything.
            assert!(killed || name == "exit_group", "{injection}: {:?} {}", ended.status, ended.complained);
            judge(folder.path(), history, &injection, ending(&folder.path().join("traced")));
            bench.state();
        }
    }
}

/// How long the process that makes a file is held up before it can lock the file.
const HELD_UP: Duration = Duration::from_secs(2);

/// Runs in a process of its own: makes a store, as the words of `how` say.
pub fn make(path: &Path, how: &str) {
    let _ = std::fs::metadata(BEGIN);
    match options(Durability::Fdatasync).create_new(how == "new").open(path) {
        Ok(store) => say(&format!("made with {} objects", store.list().expect("it reads").len())),
        Err(error) => say(&format!("error {error}")),
    }
}

/// Puts another process's bytes into the file.
type Filling = fn(&Path);

fn overtaken(bench: &Bench) {
    let what = "a file that is filled before its maker can lock it";
    if !available(bench, what) {
        return;
    }
    let folder = quick();
    let log = folder.path().join("trace");
    let traced = |options: &[&str], name: &str, how: &str| {
        let path = folder.path().join(name);
        let log = log.to_string_lossy();
        let options = [&["-qq", "-o", &*log, "-e", "trace=openat"], options].concat();
        under("strace", &options, &again(&format!("make {how}"), &path))
    };
    let store: Filling = |path| {
        let store = options(Durability::Fdatasync).open(path).expect("nothing has locked it");
        store.create("theirs").expect("room");
    };
    let other: Filling = |path| std::fs::write(path, b"no region").expect("room");
    for (number, (how, filling, says)) in [
        ("new", store, "which must not be there"),
        ("old", store, "made with 1 objects"),
        ("old", other, "is not a Pagestone region"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("overtaken-{number}");
        finish(traced(&[], &format!("{name}-before"), how)).expect("it ends");
        let text = std::fs::read_to_string(&log).expect("strace writes its log");
        let making = text.lines().position(|line| line.contains("O_EXCL")).expect("it makes the file");
        let delay = format!("inject=openat:delay_exit={}:when={}", HELD_UP.as_micros(), making + 1);
        let path = folder.path().join(&name);
        let maker = traced(&["-e", &delay], &name, how);
        let maker = std::thread::spawn(move || finish(maker).expect("it ends"));
        while !path.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        filling(&path);
        let bytes = std::fs::read(&path).expect("it is there");
        assert!(!maker.is_finished(), "it was not held up");
        let ended = maker.join().expect("it ends");
        assert!(
            ended.said.iter().any(|line| line.contains(says)),
            "{how}: {:?} {}",
            ended.said,
            ended.complained
        );
        let left = std::fs::read(&path).unwrap_or_else(|error| panic!("{how}: {error}: {:?}", ended.said));
        assert!(left == bytes || says.starts_with("made"), "{how}: its bytes were changed");
        bench.state();
    }
}
