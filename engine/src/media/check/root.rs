//! The roots: each line, and a comparison with the superblock.

use super::{Report, Walk};
use crate::error::{Error, Result};
use crate::media::layout::{AREA_LINES, COUNTER_MAX, ROOT_LINES, RootWord, file_bytes, initial_frames};
use crate::media::log::Log;
use crate::media::root::Line;
use crate::media::superblock::Superblock;
use crate::media::words::Words;
use crate::units::{FRAME_SIZE, LINE_SIZE};

/// Checks both roots at one moment of the log. Returns how many frames the region has: never more than the file.
pub(super) fn check(log: &Log, superblock: Option<&Superblock>, report: &mut Report) -> Result<u64> {
    let roots = log.roots();
    let lost = "the two roots say different things here: a write was lost, the later one counts";
    let bad = "one root does not hold together here; the next change writes it";
    for number in 0..ROOT_LINES {
        match roots.line(number, |at, into| log.read_run(at, into)) {
            Ok(found) => {
                match roots.differing() >> number & 1 {
                    _ if found.in_both => {}
                    0 => report.remark("root-copy", place(log, number), bad),
                    _ => report.find("root-copy", place(log, number), lost),
                }
                reserved(log, report, number, &found.line);
            }
            Err(Error::Corrupt { at, why, .. }) => report.find("root-line", at, why),
            Err(error) => return Err(error),
        }
    }
    if let Some(superblock) = superblock {
        repeated(log, report, superblock)?;
    }
    if log.root(RootWord::NextObject)? >= COUNTER_MAX {
        report.find("root-word", roots.at(RootWord::NextObject), "impossible number of the next object");
    }
    let (least, at) = (u64::from(initial_frames(log.frames())), roots.at(RootWord::Frames));
    let room = (log.region().len_bytes() / FRAME_SIZE as u64).saturating_sub(1);
    let frames = log.root(RootWord::Frames)?;
    if !(least..=room).contains(&frames) {
        let file = file_bytes(room);
        let detail = format!("{frames} frames, at least {least}, in a file of {file} bytes");
        report.find("frames-word", at, detail);
    }
    Ok(frames.clamp(least.min(room), room))
}

impl<W: Words> Walk<'_, W> {
    /// Claims the roots, if they are not in the fixed frames.
    pub(super) fn roots(&mut self) {
        for root in self.words.roots().anchor().roots {
            if self.shape.ordinary(root) {
                self.claim(root, "a root");
            }
        }
    }
}

/// Where a line lies in the first root.
fn place(log: &Log, number: u64) -> u64 {
    log.roots().anchor().places(number * LINE_SIZE as u64)[0]
}

/// Checks that unused words are zero.
fn reserved(log: &Log, report: &mut Report, number: u64, line: &Line) {
    let used = match number {
        0 => 6,
        1 => 7,
        2 => 5,
        _ => 0,
    };
    let reserved = [RootWord::Shares, RootWord::PageSums];
    for (n, _) in line.words.iter().enumerate().filter(|&(_, &word)| word != 0) {
        let here = |word: &RootWord| (word.line(), word.place()) == (number, n);
        if n >= used || reserved.iter().any(here) {
            let what = if AREA_LINES.contains(&number) { "an area of no feature" } else { "not zero" };
            report.find("root-word", place(log, number) + n as u64 * 8, what);
        }
    }
}

/// Checks the words of the superblock that the roots repeat for a repair.
fn repeated(log: &Log, report: &mut Report, superblock: &Superblock) -> Result {
    for (word, expected) in superblock.repeated() {
        if log.root(word)? != expected {
            let at = log.roots().at(word);
            report.find("root-word", at, format!("the superblock says {expected:#x}"));
        }
    }
    Ok(())
}
