//! `pagestone demo`: the main purpose, on real data, in one command.

mod identity;
mod ledger;
mod proof;
mod report;
mod unicode;
pub mod worker;

use crate::args::{Demo, Opening};
use crate::failure::{DEFECT, Failure};
use crate::import::{self, Allowed};
use crate::place::{self, Place};
use crate::sqlite;
use ledger::{Ledger, Message};
use pagestone::PageIndex;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The kill comes this long after the readers and writers have started, plus a random part.
const WORK: Duration = Duration::from_millis(700);
const WORK_RANDOM: Duration = Duration::from_millis(900);
/// A worker that is silent for this long is stuck.
const SILENCE: Duration = Duration::from_secs(120);
const SIGKILL: i32 = 9;

/// What the worker did.
struct Life {
    ledger: Ledger,
    worked: Duration,
    import: Duration,
}

pub fn run(args: &Demo) -> Result<u8, Failure> {
    pagestone_sqlite::register().map_err(Failure::Other)?;
    let temporary = tempfile::Builder::new()
        .prefix("pagestone-demo-")
        .tempdir()
        .map_err(|e| Failure::Other(e.to_string()))?;
    let directory = args.keep.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(directory).map_err(Failure::file(directory))?;
    let region = directory.join("demo.pgs");
    if region.exists() {
        return Err(Failure::Other(format!(
            "{} exists already: remove it, or choose another directory",
            region.display()
        )));
    }
    let seed = args.seed.unwrap_or_else(|| RandomState::new().hash_one(std::process::id()));
    let own = args.db.as_deref().map(|file| bring(file, &region)).transpose()?;
    let life = live_and_die(&region, own.is_some(), seed)?;
    let proof = proof::prove(&region, &life.ledger, own.as_ref().map(|o| &o.counts))?;
    let store = place::look(&region, Opening::default())?;
    let durability = store.info().medium;
    let findings = store.check()?.findings;
    let object = store.open(sqlite::MAIN)?;
    let identity =
        identity::three_ways(&store, &object, 1.min(PageIndex::pages_for(object.len()).saturating_sub(1)))?;
    drop(object);
    place::close(store)?;
    let original_untouched = own.as_ref().is_none_or(Own::untouched);
    let holds = proof.holds() && findings.is_empty() && identity.holds() && original_untouched;
    report::print_results(&report::Results {
        region: &region,
        durability,
        own: own.as_ref(),
        seed,
        life: &life,
        proof: &proof,
        findings: &findings,
        identity: &identity,
        holds,
    })?;
    if args.keep.is_some() {
        crate::output::print(&format!("kept: {}\n", region.display()))?;
    }
    Ok(if holds { 0 } else { DEFECT })
}

/// The user's own database, imported.
struct Own {
    file: PathBuf,
    counts: proof::Counts,
    bytes: u64,
    stamp: (u64, Option<std::time::SystemTime>),
}

impl Own {
    /// Whether the original is as it was.
    fn untouched(&self) -> bool {
        stamp(&self.file).is_ok_and(|s| s == self.stamp)
    }
}

fn stamp(file: &Path) -> Result<(u64, Option<std::time::SystemTime>), Failure> {
    let m = File::open(file).and_then(|f| f.metadata()).map_err(Failure::file(file))?;
    Ok((m.len(), m.modified().ok()))
}

fn bring(file: &Path, region: &Path) -> Result<Own, Failure> {
    if !sqlite::is_database(file)? {
        return Err(Failure::Other(format!("{} is not a SQLite database", file.display())));
    }
    let stamp = stamp(file)?;
    let to = Place { region: region.to_owned(), object: Some(sqlite::MAIN.into()) };
    let imported = import::import(file, &to, Allowed::default(), Opening::default())?;
    let bytes = imported.iter().map(|i| i.bytes).sum();
    let counts = proof::count(&worker::connect(region)?)?;
    Ok(Own { file: file.to_owned(), counts, bytes, stamp })
}

/// Starts the worker, reads its messages, and kills it at a moment drawn from `seed`.
fn live_and_die(region: &Path, own: bool, seed: u64) -> Result<Life, Failure> {
    let mut worker = start(region, own)?;
    let messages = listen(worker.stdout.take());
    let start = Instant::now();
    let mut ledger = Ledger::default();
    let mut import = Duration::ZERO;
    let mut deadline: Option<Instant> = None;
    // However many messages arrive, they do not delay the kill.
    while deadline.is_none_or(|d| Instant::now() < d) {
        let wait = deadline.map_or(SILENCE, |d| d.saturating_duration_since(Instant::now()));
        match messages.recv_timeout(wait) {
            Ok(Message::Ready) => {
                ledger.enter(Message::Ready);
                import = start.elapsed();
                let random = WORK_RANDOM.mul_f64((seed % 1000) as f64 / 1000.0);
                deadline = Some(Instant::now() + WORK + random);
            }
            Ok(message) => ledger.enter(message),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    // SIGKILL: the worker cannot clean up.
    worker.kill().map_err(|e| Failure::Other(format!("killing the worker: {e}")))?;
    let status = worker.wait().map_err(|e| Failure::Other(format!("waiting for the worker: {e}")))?;
    // Its last messages are still in the pipe.
    messages.iter().for_each(|m| ledger.enter(m));
    match &ledger.failed {
        Some(why) => Err(Failure::Other(format!("the worker failed: {why}"))),
        // The proof is about a kill. A worker that crashed by itself is a defect.
        None if status.signal() != Some(SIGKILL) => {
            Err(Failure::Other(format!("the worker ended by itself: {status}")))
        }
        None if !ledger.ready => Err(Failure::Other("the worker ended before its work began".into())),
        None => Ok(Life { worked: start.elapsed() - import, ledger, import }),
    }
}

fn start(region: &Path, own: bool) -> Result<Child, Failure> {
    let program =
        std::env::current_exe().map_err(|e| Failure::Other(format!("finding this program: {e}")))?;
    let mut command = Command::new(program);
    command.arg("demo-worker").arg(region).stdin(Stdio::null()).stdout(Stdio::piped());
    if own {
        command.arg("--own");
    }
    command.spawn().map_err(|e| Failure::Other(format!("starting the worker: {e}")))
}

/// The worker's messages; the channel closes with its pipe.
fn listen(pipe: Option<ChildStdout>) -> Receiver<Message> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let lines = pipe.into_iter().flat_map(|p| BufReader::new(p).split(b'\n'));
        for line in lines.map_while(Result::ok) {
            let Some(message) = Message::parse(&String::from_utf8_lossy(&line)) else { continue };
            if send.send(message).is_err() {
                break;
            }
        }
    });
    receive
}
