//! Lines of the root that are whole in neither root. They are rebuilt from the superblock, from the file's length, and
//! from the records.

use super::super::ending::Recovery;
use super::super::format;
use super::super::layout::{ROOT_LINES, RootWord};
use super::super::log::Log;
use super::super::root::{self, Anchor, Line};
use super::super::rules::Rules;
use super::super::seal::Salt;
use super::super::superblock::{Copies, Superblock};
use super::{Repairs, anchor, records};
use crate::error::Result;
use crate::region::Region;
use std::sync::Arc;

/// How many numbers after the highest one found are left out, since a lost object may have had one of them.
pub(super) const NUMBERS_LEFT_OUT: u64 = 1 << 32;

/// The log of a region, recovered. Its roots are whole on return.
///
/// # Durability
/// As [`format::open`]; lines that are rebuilt are durable on return.
pub(super) fn recovered(
    region: &Arc<Region>,
    superblock: Copies,
    rules: Rules,
    repairs: &mut Repairs,
) -> Result<Log> {
    let newest = superblock.newest.clone();
    let mend = |anchor| rebuild(region, &newest, anchor, repairs);
    let (log, _): (_, Recovery) = format::open_as(Arc::clone(region), superblock, rules, mend)?;
    Ok(log)
}

fn rebuild(region: &Region, superblock: &Superblock, anchor: Anchor, repairs: &mut Repairs) -> Result {
    let memory = region.memory();
    let lost: Vec<u64> = root::lost_lines(memory, anchor)?;
    if lost.is_empty() {
        return Ok(());
    }
    anchor::fill(region, superblock.log_frames, superblock.roots)?;
    for number in lost {
        let mut line = Line::new(Default::default());
        for (word, value) in words(region, superblock, anchor.salt, number)? {
            line.words[word.place()] = value;
        }
        let at = anchor.places(number * crate::units::LINE_SIZE as u64)[0];
        repairs.say(
            "root-line",
            at,
            format!("line {number} is written anew in both roots: {}", what(number)),
        );
        root::set_line(memory, anchor, number, &line)?;
    }
    memory.fence();
    if region.read_only() { Ok(()) } else { memory.sync_file() }
}

const fn what(number: u64) -> &'static str {
    match number {
        0 => "length of the file, a number that no object can have had, and lists that are rebuilt",
        1 | 2 => "what the superblock says",
        _ => "nothing uses it",
    }
}

/// The words of the line. All others are zero. Lists and counts are rebuilt later; until then their words are not sealed,
/// so that reading them is an error.
fn words(region: &Region, superblock: &Superblock, salt: Salt, number: u64) -> Result<Vec<(RootWord, u64)>> {
    debug_assert!(number < ROOT_LINES);
    let mut words: Vec<_> = superblock.repeated().into_iter().collect();
    let hints = superblock.hints;
    words.push((RootWord::Directory, hints.directory.into()));
    words.push((RootWord::GroupRoot, hints.groups.into()));
    if number == 0 {
        words.push((RootWord::Frames, super::frames_of_file(region)));
        let highest = records::highest_number(region, salt)?;
        words.push((RootWord::NextObject, highest + NUMBERS_LEFT_OUT));
    }
    words.retain(|(word, _)| word.line() == number);
    Ok(words)
}
