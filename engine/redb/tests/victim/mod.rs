//! A process that is this test again, works, says what it did, and is killed. The kill test of `pagestone-tantivy` uses
//! it too.

use std::env;
use std::ffi::OsStr;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, RandomState};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

const SIGKILL: i32 = 9;
const REGION: &str = "PAGESTONE_KILL_REGION";
const LINES: &str = "PAGESTONE_KILL_LINES";
const MANNER: &str = "PAGESTONE_KILL_MANNER";

/// What a round, or its victim, works with.
pub struct Orders {
    pub region: PathBuf,
    /// Whether to take the region for cache lines that can be flushed.
    pub lines: bool,
    /// Something that differs from round to round.
    pub manner: usize,
}

/// What a victim said before it was killed.
#[derive(Debug)]
pub struct Said {
    /// The last transaction begun; 0: none.
    pub begun: u64,
    /// The last transaction acknowledged by this victim or one before it.
    pub acknowledged: u64,
}

impl Said {
    fn enter(&mut self, line: &str) {
        match line.split_once(' ').and_then(|(what, number)| Some((what, number.parse().ok()?))) {
            Some(("begin", number)) => self.begun = number,
            Some(("ack", number)) => self.acknowledged = number,
            _ => (),
        }
    }

    /// Whether a transaction may be the last that is there.
    pub fn allows(&self, head: u64) -> Outcome {
        if head < self.acknowledged || (self.begun != 0 && head > self.begun) {
            return Err(format!("transaction {head} is the last that is there; {self:?}").into());
        }
        Ok(())
    }
}

/// Says that a transaction begins, or has returned. A line is one write: what was said was said whole.
pub fn say(what: &str, number: u64) -> io::Result<()> {
    io::stdout().lock().write_all(format!("{what} {number}\n").as_bytes())
}

/// As a victim, works until it is killed. Otherwise plays rounds: kills a victim, then `weigh` says which transaction is
/// the last, or what is wrong. The variable `rounds` says how many.
pub fn play(
    rounds: &str,
    work: impl Fn(&Orders) -> Outcome,
    weigh: impl Fn(&Orders, &Said) -> Outcome<u64>,
) -> Outcome {
    if let Some(region) = env::var_os(REGION) {
        let manner = env::var(MANNER)?.parse()?;
        return work(&Orders { region: region.into(), lines: env::var_os(LINES).is_some(), manner });
    }
    let rounds: usize = env::var(rounds).map_or(Ok(10), |rounds| rounds.parse())?;
    let seed = RandomState::new().hash_one(std::process::id());
    println!("seed {seed:#x}");
    let (disk, memory) = (tempfile::tempdir()?, tempfile::tempdir_in("/dev/shm"));
    // By medium: what is there.
    let mut heads = [0; 2];
    for round in 0..rounds {
        let lines = round % 2 == 1 && memory.is_ok();
        let folder = memory.as_ref().ok().filter(|_| lines).unwrap_or(&disk);
        let orders = Orders { region: folder.path().join("kill.pgs"), lines, manner: round / 2 };
        let head = &mut heads[usize::from(lines)];
        let chance = BuildHasherDefault::<DefaultHasher>::default().hash_one((seed, round));
        let said = live_and_die(&orders, *head, chance)?;
        *head = weigh(&orders, &said).map_err(|why| format!("round {round}: {why}"))?;
    }
    println!("{rounds} kills, {} transactions, none lost", heads[0] + heads[1]);
    Ok(())
}

/// A life of a victim in which transaction `head` is the last that is known to be there.
fn live_and_die(orders: &Orders, head: u64, chance: u64) -> Outcome<Said> {
    let lines: &[(&str, &OsStr)] = if orders.lines { &[(LINES, OsStr::new("yes"))] } else { &[] };
    let mut victim = Command::new(env::current_exe()?)
        .envs([(REGION, orders.region.as_os_str()), (MANNER, OsStr::new(&orders.manner.to_string()))])
        .envs(lines.iter().copied())
        .stdout(Stdio::piped())
        .spawn()?;
    let heard = listen(victim.stdout.take().ok_or("no pipe")?);
    let mut said = Said { begun: 0, acknowledged: head };
    // So many lines later, soon: where there are none, it opens, or recovers from the last kill.
    for _ in 0..chance % 8 {
        said.enter(&heard.recv_timeout(Duration::from_secs(120))?);
    }
    thread::sleep(Duration::from_micros(chance >> 8 & 0xffff));
    victim.kill()?;
    let status = victim.wait()?;
    if status.signal() != Some(SIGKILL) {
        return Err(format!("the victim ended by itself: {status}").into());
    }
    heard.iter().for_each(|line| said.enter(&line));
    Ok(said)
}

/// Whole lines only: what the kill tore off was not said.
fn listen(pipe: ChildStdout) -> Receiver<String> {
    let (say, heard) = mpsc::channel();
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = String::new();
        while pipe.read_line(&mut line).is_ok_and(|n| n > 0) && line.ends_with('\n') {
            if say.send(line.trim_end().to_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    heard
}

/// Whether a victim was killed before it made the region.
pub fn unborn(region: &Path, said: &Said) -> bool {
    said.acknowledged == 0 && !region.exists()
}
