//! Rounds in which a process commits, prints what it did, and is killed. The process, the victim, is this program once
//! more.

use crate::child::{Child, again, role, say};
use crate::disk;
use crate::random::{Random, fresh_seed};
use std::env;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// The result of work, or of a look at it.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// The orders for a round and its victim.
#[derive(Debug)]
pub struct Orders {
    /// The region's file.
    pub region: PathBuf,
    /// Whether to take the region for cache lines that can be flushed.
    pub lines: bool,
    /// Something that differs from round to round.
    pub manner: usize,
}

/// What a victim printed before it was killed.
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
    ///
    /// # Errors
    /// When it was never begun, or a later one was acknowledged.
    pub fn allows(&self, head: u64) -> Outcome {
        if head < self.acknowledged || (self.begun != 0 && head > self.begun) {
            return Err(format!("transaction {head} is the last that is there; {self:?}").into());
        }
        Ok(())
    }
}

/// Prints that a transaction begins.
pub fn begin(number: u64) {
    say(&format!("begin {number}"));
}

/// Prints that a transaction has returned.
pub fn acknowledge(number: u64) {
    say(&format!("ack {number}"));
}

/// As a victim, works until it is killed. Otherwise plays rounds: kills a victim, then `weigh` says which transaction is
/// the last, or what is wrong. The variable `rounds` says how many.
///
/// # Errors
/// What is wrong.
pub fn play(
    rounds: &str,
    work: impl Fn(&Orders) -> Outcome,
    weigh: impl Fn(&Orders, &Said) -> Outcome<u64>,
) -> Outcome {
    if let Some(role) = role() {
        return work(&Orders {
            region: role.place,
            lines: role.name == "lines",
            manner: role.about.parse()?,
        });
    }
    let rounds: usize = env::var(rounds).map_or(Ok(10), |rounds| rounds.parse())?;
    let seed = fresh_seed();
    println!("seed {seed:#x}");
    let (disk, memory) = (tempfile::tempdir()?, disk::memory());
    // By medium: the last transaction that is known to be there.
    let mut heads = [0; 2];
    for round in 0..rounds {
        let lines = round % 2 == 1 && memory.is_some();
        let folder = memory.as_ref().filter(|_| lines).unwrap_or(&disk);
        let orders = Orders { region: folder.path().join("kill.pgs"), lines, manner: round / 2 };
        let head = &mut heads[usize::from(lines)];
        let said = live_and_die(&orders, *head, Random::of(seed, round as u64))?;
        *head = weigh(&orders, &said).map_err(|why| format!("round {round}: {why}"))?;
    }
    println!("{rounds} kills, {} transactions, none lost", heads[0] + heads[1]);
    Ok(())
}

/// A life of a victim in which transaction `head` is the last that is known to be there.
fn live_and_die(orders: &Orders, head: u64, mut chance: Random) -> Outcome<Said> {
    let medium = if orders.lines { "lines" } else { "file" };
    let mut victim = Child::start(&mut again(&format!("{medium} {}", orders.manner), &orders.region));
    let mut said = Said { begun: 0, acknowledged: head };
    // The kill comes some lines later. After no line at all, the victim is still opening or recovering.
    for _ in 0..chance.below(8) {
        said.enter(&victim.line().ok_or("the victim says nothing more")?);
    }
    thread::sleep(Duration::from_micros(chance.below(1 << 16)));
    victim.kill()?;
    victim.rest().iter().for_each(|line| said.enter(line));
    Ok(said)
}

/// Whether a victim was killed before it made the region.
#[must_use]
pub fn unborn(region: &Path, said: &Said) -> bool {
    said.acknowledged == 0 && !region.exists()
}
