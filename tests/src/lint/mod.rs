//! What can be found in the flushes and fences of a recorded run without crashing it. Each finding has a name.
//!
//! A finding of the first kind is a broken promise, whether or not an explored crash shows it:
//!
//! | finding | a store, flush or fence that |
//! |---|---|
//! | `unfenced-publish` | was not durable when a record or mark published its frame, or when a sync that promised it returned |
//! | `unwritten-publish` | is missing: a frame was linked whose bytes were not all stored since it was free |
//! | `early-home` | stored a word home before a durable mark covered its record |
//! | `early-tail` | moved the log's tail past homes that were not durable |
//! | `live-copy-written` | stored over the copy of superblock or log header that a recovery would read |
//! | `unflushed-at-close` | was not durable after a close in order |
//! | `past-the-door` | the recorder was not told of |
//!
//! A finding of the second kind costs time for nothing:
//!
//! | finding | a flush or fence |
//! |---|---|
//! | `redundant-flush` | of a line, or write-through of a range, without a store since it was flushed last |
//! | `wasted-flush` | whose line the same thread stored to again before its fence |
//! | `idle-fence` | or file sync with nothing to make durable |

mod chain;
mod copies;
mod frames;
pub mod known;
mod lines;
mod promises;

use crate::crash::oracle::Oracle;
use crate::crash::place;
use chain::{Chain, Stored};
use copies::Copies;
use frames::Frames;
use lines::Lines;
use pagestone::units::FRAME_SIZE;
use pagestone_explorer::{Event, Trace};
use promises::{Promises, Run};
use std::fmt;

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Its name, from the tables above.
    pub name: &'static str,
    /// The kind of structure it is about: `log`, `superblock copy`, `frame` ...
    pub place: String,
    /// The event at which it shows.
    pub at: usize,
    /// The byte it is about.
    pub offset: u64,
    /// What happened.
    pub why: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, place, at, offset, why } = self;
        write!(f, "{name} at event {at}, byte {offset:#x} ({place}): {why}")
    }
}

/// What is known of a run besides its events.
#[derive(Clone, Copy, Default)]
pub struct Setting<'a> {
    /// Frames of the log.
    pub log_frames: u32,
    /// What was promised, where the run's marks say which operations began and returned.
    pub oracle: Option<&'a Oracle>,
    /// Whether the run ended with a close in order.
    pub closed: bool,
    /// Whether a crash came before the run: what it began with may not be durable.
    pub inherited: bool,
}

/// The findings so far.
#[derive(Default)]
struct Findings {
    at: usize,
    log_frames: u32,
    found: Vec<Finding>,
}

impl Findings {
    /// Adds a finding about one byte.
    fn add(&mut self, name: &'static str, offset: u64, why: impl Into<String>) {
        let place = kind(&place::name(offset, self.log_frames));
        self.found.push(Finding { name, place, at: self.at, offset, why: why.into() });
    }

    /// Adds a finding that is about no byte.
    fn add_nowhere(&mut self, name: &'static str, why: impl Into<String>) {
        let (place, offset) = ("nowhere".to_owned(), 0);
        self.found.push(Finding { name, place, at: self.at, offset, why: why.into() });
    }
}

/// The structure without its number: `frame 12` is a `frame`.
fn kind(place: &str) -> String {
    let words = place.split(' ').filter(|word| !word.starts_with(|c: char| c.is_ascii_digit()));
    words.filter(|word| *word != "byte").collect::<Vec<_>>().join(" ")
}

/// All findings of a run. A failed file operation ends it: nothing is promised afterwards.
#[must_use]
pub fn lint(trace: &Trace, setting: Setting<'_>) -> Vec<Finding> {
    let mut findings = Findings { log_frames: setting.log_frames, ..Findings::default() };
    let mut lines = Lines::new(trace.class, setting.inherited);
    let mut chain = Chain::new(trace.class, setting.log_frames);
    let mut frames = Frames::new(&trace.base, setting.log_frames);
    let mut copies = Copies::new(&trace.base);
    let mut promises = Promises::new(setting.oracle, setting.log_frames);
    let failed = pagestone_explorer::medium::failures(&trace.events).into_iter().min();
    let events = &trace.events[..failed.unwrap_or(trace.events.len())];
    for (at, event) in events.iter().enumerate() {
        findings.at = at;
        let mut op = promises.running(event);
        match event {
            Event::Store { thread, offset, bytes, .. } => {
                copies.store(*offset, bytes, &lines, &mut findings);
                let (thread, offset) = (*thread, *offset);
                chain.store(Stored { thread, op, offset, bytes }, &lines, &mut frames, &mut findings);
                frames.store(offset, bytes);
                op = op.filter(|_| !chain.is_applying(thread));
            }
            Event::Mark { thread, label } => {
                let mut run = Run { lines: &lines, frames: &frames, chain: &mut chain };
                promises.mark(*thread, *label, &mut run, &mut findings);
            }
            Event::Punch { offset, len, .. } => frames.punch(*offset..offset + len, &mut findings),
            Event::Cut { bytes } => frames.cut(*bytes, &mut findings),
            Event::Bypass { offset, len, .. } => {
                findings.add(
                    "past-the-door",
                    *offset,
                    format!("{len} bytes differ from all that was recorded"),
                );
            }
            _ => {}
        }
        lines.step(at, event, op, &mut findings);
    }
    if setting.closed && failed.is_none() {
        let seen = |offset: &u64| !frames.is_free((offset / FRAME_SIZE as u64) as u32);
        for offset in lines.open_cells().filter(seen) {
            findings.add("unflushed-at-close", offset, "the store was closed in order");
        }
    }
    findings.found
}
