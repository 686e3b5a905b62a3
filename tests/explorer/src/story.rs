//! A failing crash, told so that a reader can follow it.

use crate::Event;
use crate::explore::{Judge, Trace};
use crate::pick::Open;
use std::collections::BTreeMap;
use std::fmt::Write;

/// How many events before the crash are told. Flushes of neighbouring lines count as one.
const TOLD: usize = 80;

/// Which stores of which cells survived.
pub struct Survivors<'a> {
    /// The cells.
    pub open: &'a [Open],
    /// Stores kept, per cell.
    pub pick: &'a [u32],
}

/// The story of a store that the recorder does not know.
#[must_use]
pub fn bypass(trace: &Trace, point: usize, judge: &dyn Judge) -> String {
    let what = tell(&trace.events[point], judge);
    format!(
        "{what}, found at event {point}: no crash image of this run tells the truth\n{}",
        tail(trace, point, judge)
    )
}

/// The story of a process death.
#[must_use]
pub fn death(trace: &Trace, point: usize, judge: &dyn Judge, why: &str) -> String {
    format!(
        "{why}\n  after PROCESS DEATH (page cache intact) at event {point}\n{}",
        tail(trace, point, judge)
    )
}

/// The story of a power loss.
#[must_use]
pub fn power(trace: &Trace, point: usize, survivors: &Survivors<'_>, judge: &dyn Judge, why: &str) -> String {
    let mut out = format!("{why}\n  after POWER LOSS at event {point} ({})\n", trace.class);
    let mut places: BTreeMap<u64, (usize, usize, usize, u64)> = BTreeMap::new();
    for (cell, &kept) in survivors.open.iter().zip(survivors.pick) {
        let place = places.entry(cell.offset / 4096).or_insert((0, 0, 0, cell.offset));
        match kept {
            0 => place.0 += 1,
            n if n == cell.stores => place.2 += 1,
            _ => place.1 += 1,
        }
    }
    for (frame, (none, some, all, offset)) in places {
        let name = judge.place(offset);
        let _ =
            writeln!(out, "    frame {frame} ({name}): cells lost {none}, partly kept {some}, kept {all}");
    }
    if survivors.open.len() <= 48 {
        for (cell, &kept) in survivors.open.iter().zip(survivors.pick) {
            let _ = writeln!(out, "      cell {:#x}: {kept} of {} stores kept", cell.offset, cell.stores);
        }
    }
    out + &tail(trace, point, judge)
}

fn tail(trace: &Trace, point: usize, judge: &dyn Judge) -> String {
    let mut out = String::from("  marks so far:\n");
    let marks = trace.events[..point].iter().filter_map(|e| match e {
        Event::Mark { thread, label } => Some((thread, label)),
        _ => None,
    });
    for (thread, label) in marks {
        let _ = writeln!(out, "    thread {thread}: {}", judge.label(*label));
    }
    let _ = writeln!(out, "  the last events before it:");
    let runs: Vec<&[Event]> = trace.events[..point].chunk_by(continues).collect();
    let mut at = point - runs.iter().rev().take(TOLD).map(|run| run.len()).sum::<usize>();
    for run in runs.iter().skip(runs.len().saturating_sub(TOLD)) {
        let more = if run.len() > 1 { format!(", and {} more", run.len() - 1) } else { String::new() };
        let _ = writeln!(out, "    {at:6} {}{more}", tell(&run[0], judge));
        at += run.len();
    }
    if let Some(next) = trace.events.get(point) {
        let _ = writeln!(out, "    {point:6} (not any more) {}", tell(next, judge));
    }
    out
}

/// Whether `b` goes on with the flush that `a` has begun.
fn continues(a: &Event, b: &Event) -> bool {
    match (a, b) {
        (Event::Flush { thread: s, line_offset: x }, Event::Flush { thread: t, line_offset: y }) => {
            s == t && x + 64 == *y && x / 4096 == y / 4096
        }
        _ => false,
    }
}

fn tell(event: &Event, judge: &dyn Judge) -> String {
    match event {
        Event::Store { thread, offset, bytes, non_temporal } => {
            let kind = if *non_temporal { "streams" } else { "stores" };
            let shown: Vec<String> = bytes.chunks(8).take(4).map(word).collect();
            let more = if bytes.len() > 32 { " .." } else { "" };
            let place = judge.place(*offset);
            format!(
                "thread {thread} {kind} {} at {offset:#x} ({place}): {}{more}",
                bytes.len(),
                shown.join(" ")
            )
        }
        Event::Flush { thread, line_offset } => {
            format!("thread {thread} flushes line {line_offset:#x} ({})", judge.place(*line_offset))
        }
        Event::Fence { thread } => format!("thread {thread} fences"),
        Event::SyncBegin { thread } => format!("thread {thread} begins fdatasync"),
        Event::SyncEnd { thread } => format!("thread {thread} ends fdatasync"),
        Event::WriteThroughBegin { thread, offset, len } => {
            format!(
                "thread {thread} begins to write {len} bytes at {offset:#x} through ({})",
                judge.place(*offset)
            )
        }
        Event::WriteThroughEnd { thread, .. } => format!("thread {thread} ends the write-through"),
        Event::Grow { bytes } => format!("the file is {bytes} bytes long, durably"),
        Event::Cut { bytes } => format!("the file is cut to {bytes} bytes, durably"),
        Event::Punch { thread, offset, len } => {
            format!("thread {thread} punches {len} bytes at {offset:#x} ({})", judge.place(*offset))
        }
        Event::Mark { thread, label } => format!("thread {thread}: *** {} ***", judge.label(*label)),
        Event::Bypass { offset, len, .. } => {
            format!("{len} bytes at {offset:#x} ({}) were stored PAST THE DOOR", judge.place(*offset))
        }
    }
}

fn word(bytes: &[u8]) -> String {
    let mut out = String::from("0x");
    for byte in bytes.iter().rev() {
        let _ = write!(out, "{byte:02x}");
    }
    out
}
