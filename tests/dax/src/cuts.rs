//! Power cuts: a machine works, loses its power, is judged, works on, and so on.

use crate::judge::{JUDGING, VERDICT};
use crate::load::WORKED;
use crate::machine::Machine;
use crate::plan::{Medium, Tally};
use pagestone_kit::random::Random;
use std::path::Path;
use std::time::Duration;

/// The most operations of a machine before its power is cut. Operations are counted, so that on a busy host the cut comes
/// later and not after less work.
const LIFE: u64 = 160;
/// The most microseconds between the cue and the cut, in which the machine works on, or recovers.
const AFTER_US: u64 = 300_000;
/// Emulators that may die by themselves in one chain of cuts.
const DEATHS: u32 = 5;

/// When the power is cut.
struct Cut {
    /// The line to wait for, and how often it must appear.
    cue: &'static str,
    times: u32,
    /// The time from then to the cut.
    after: Duration,
}

/// The results of one life.
struct Life {
    console: Vec<String>,
    /// What the judge said of the life before.
    verdict: Option<String>,
    /// How often the line came after which the power was to be cut.
    cues: u32,
}

/// Cuts the power of one machine `cuts` times. Every fourth cut hits the recovery from the one before.
pub fn cut_power(
    medium: Medium,
    cuts: u32,
    seed: u64,
    program: &Path,
    tally: &mut Tally,
) -> Result<(), String> {
    let machine = Machine::new(medium.memory(), &[program])?;
    let (mut before, mut deaths, mut n) = (0, 0, 0);
    while n <= cuts {
        let (last, recovery) = (n == cuts, n % 4 == 3);
        let (cue, most) = if recovery { (JUDGING, 2) } else { (WORKED, LIFE) };
        let mut random = Random::of(seed, u64::from(n));
        let times = 1 + random.below(most) as u32;
        let cut = Cut { cue, times, after: Duration::from_micros(random.below(AFTER_US)) };
        let life = match live(&machine, &task(medium, n, last), (!last).then_some(&cut))? {
            Ok(life) => life,
            Err(how) if deaths < DEATHS => {
                println!("        {:12} {how}: boot again", medium.name());
                deaths += 1;
                continue;
            }
            Err(how) => return Err(format!("{}: {how}, for the {DEATHS}th time", medium.name())),
        };
        if n > 0 {
            tally.cuts += 1;
        }
        let hit_recovery = recovery && !last;
        let judged = n == 0 || hit_recovery || weigh(medium, n, &life, &mut before, tally);
        if !judged || (!last && life.cues < times) {
            println!("FAILED  {:12} after cut {n}", medium.name());
            life.console.iter().for_each(|line| println!("        | {line}"));
            tally.failures += 1;
            return Ok(());
        }
        if hit_recovery {
            println!(
                "        {:12} cut {}: {} ms into opening {times}",
                medium.name(),
                n + 1,
                cut.after.as_millis()
            );
        }
        n += 1;
    }
    Ok(())
}

/// What a machine does in its `n`th life.
fn task(medium: Medium, n: u32, last: bool) -> String {
    let region = medium.region();
    let of = if medium == Medium::PageCache { "--page-cache" } else { "" };
    let first = if n == 0 { medium.make() } else { "true".into() };
    let judge = if n == 0 { "true".into() } else { format!("dax judge {of} {region}") };
    let work = if last { "true".into() } else { format!("dax load {of} {region}") };
    format!("{first} && {} && {judge} && {work}\n", medium.mount())
}

/// Boots, listens, and cuts the power some time after the cue. The inner error: the emulator died by itself.
fn live(machine: &Machine, task: &str, cut: Option<&Cut>) -> Result<Result<Life, String>, String> {
    let mut running = machine.boot(task)?;
    let mut life = Life { console: Vec::new(), verdict: None, cues: 0 };
    while let Some(line) = running.line() {
        life.verdict = line.strip_prefix(VERDICT).map(str::to_owned).or(life.verdict);
        match cut {
            Some(cut) if line == cut.cue => life.cues += 1,
            _ => life.console.push(line),
        }
        if cut.is_some_and(|cut| life.cues == cut.times) {
            break;
        }
    }
    match cut {
        Some(cut) if life.cues == cut.times => {
            std::thread::sleep(cut.after);
            running.cut();
        }
        _ => {
            if let Some(how) = running.killed_itself() {
                return Ok(Err(how));
            }
        }
    }
    Ok(Ok(life))
}

/// Looks at the judge's verdict. False: something is lost or broken.
fn weigh(medium: Medium, n: u32, life: &Life, before: &mut u64, tally: &mut Tally) -> bool {
    let said = |word| life.verdict.as_deref().and_then(|verdict| number(verdict, word));
    let (Some(acknowledged), Some(0)) = (said("acknowledged="), said("findings=")) else { return false };
    let done = acknowledged.saturating_sub(*before);
    *before = acknowledged;
    tally.acknowledged += done;
    println!(
        "ok      {:12} cut {n}: {done} operations were acknowledged since the last, all there",
        medium.name()
    );
    true
}

/// The number behind a word.
fn number(text: &str, word: &str) -> Option<u64> {
    text.split(' ').find_map(|part| part.strip_prefix(word)).and_then(|number| number.parse().ok())
}
