//! Recovery: from what a crash left to a region without live records (LOG rules 8 and 9).
//!
//! Accept, mark, store home, flush, new epoch: each step durable before the next, and each harmless when a crash
//! repeats it, so that recovery may die anywhere and begin again.

use super::commit::{note_home, store_home};
use super::header::{Header, Tail};
use super::new_epoch;
use super::record::{Content, Entry, Link, MARK_BYTES, Sequence, claimed_bytes, decode, encode};
use super::ring::Ring;
use crate::error::{Error, Result};
use crate::media::layout::{CURSOR_OFFSET, LOG_FRAME, ROOT_FRAME, WORD_SIZE};
use crate::media::lease::{Lease, State};
use crate::media::rules::{Rule, Rules};
use crate::media::sector::Found;
use crate::region::Region;
use crate::units::{FRAME_SIZE, LINE_SIZE};
use std::collections::BTreeSet;

/// How the last owner's life ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// In order, or with nothing in the log.
    Clean,
    /// The process died; the page cache has kept what it stored.
    ProcessDeath,
    /// The power failed, or that cannot be ruled out.
    PowerLoss,
}

/// What recovery found and did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recovery {
    /// How the last life ended.
    pub ending: Ending,
    /// Operations replayed.
    pub replayed: u64,
}

/// A valid record of the chain.
struct Valid {
    sequence: Sequence,
    content: Content,
    end: u64,
    checksum: u32,
}

/// Recovers the region's log. On a region that is open read-only the homes are stored into its private mapping, and
/// nothing else is done (LOG rule 14).
///
/// # Durability
/// The recovered state is durable on return, unless the region is read-only. A crash within repeats the recovery.
pub fn recover(region: &Region, ring: Ring, rules: Rules) -> Result<(Header, Recovery)> {
    let memory = region.memory();
    let lease = Lease::read(region)?;
    let failed = matches!(&lease, Found::Whole(l) if l.state == State::Failed);
    if failed && !region.read_only() && !rules.broken(Rule::IgnoreFailure) {
        memory.drop_page_cache()?;
    }
    if region.is_fixed() && !Lease::left_in_caches(&lease, region) {
        memory.inherit_nothing();
    }
    let mut header = Header::read(memory)?;
    let death = Lease::survived_in_cache(&lease, region, header.tail.link.epoch, rules);
    let mut records = scan(region, ring, header.tail)?;
    let covered = records.iter().filter_map(Valid::covers).max().unwrap_or(Sequence(0));
    if !death {
        let kept = records.iter().rposition(|r| r.covers().is_some()).map_or(0, |last_mark| last_mark + 1);
        records.truncate(kept);
    }
    let accepted = |r: &Valid| death || r.sequence <= covered;
    let replayed = records.iter().filter(|r| r.changes().is_some() && accepted(r)).count() as u64;
    let ending = match (replayed, death) {
        (0, _) => Ending::Clean,
        (_, true) => Ending::ProcessDeath,
        (_, false) => Ending::PowerLoss,
    };
    if replayed == 0 {
        return Ok((header, Recovery { ending, replayed }));
    }
    check_targets(region, ring, &records)?;
    if region.read_only() {
        store_homes(region, &records, accepted, death)?;
        return Ok((header, Recovery { ending, replayed }));
    }
    if rules.broken(Rule::LeaseFirst) {
        Lease::of(region, State::Open, header.tail.link.epoch).write(region)?;
    }
    // Only what is accepted: after a power loss a record that was appended between the noted head and its mark lies
    // before that mark and is not covered, since what it publishes may not be durable. No mark may ever cover it.
    let unmarked = (death || rules.broken(Rule::RecoveryMarksAll))
        && records.iter().any(|r| r.changes().is_some() && r.sequence > covered);
    let mut replay = || -> Result {
        let end = secure(region, ring, header.tail, &records, unmarked, rules)?;
        let homes = store_homes(region, &records, accepted, death || rules.broken(Rule::CursorAlways))?;
        if !rules.broken(Rule::RecoveryNotFlushed) {
            for line in homes {
                memory.flush(line, LINE_SIZE)?;
            }
            memory.fence();
            memory.sync_file()?;
        }
        header.advance(memory, end, rules)?;
        memory.store(CURSOR_OFFSET, end.link.sequence.0 - 1)
    };
    if let Err(error) = replay() {
        // Best effort: what the page cache shows from here on may not be on the medium (LOG rule 11).
        let _ = Lease::of(region, State::Failed, 0).write(region);
        return Err(error);
    }
    if !rules.broken(Rule::LeaseFirst) {
        Lease::of(region, State::Clean, header.tail.link.epoch).write(region)?;
    }
    Ok((header, Recovery { ending, replayed }))
}

impl Valid {
    fn covers(&self) -> Option<Sequence> {
        match self.content {
            Content::Mark(covers) => Some(covers),
            Content::Changes(_) => None,
        }
    }
    fn changes(&self) -> Option<&[Entry]> {
        match &self.content {
            Content::Changes(entries) => Some(entries),
            Content::Mark(_) => None,
        }
    }
}

/// Follows the chain from the tail to the first record that does not continue it.
fn scan(region: &Region, ring: Ring, tail: Tail) -> Result<Vec<Valid>> {
    let memory = region.memory();
    let (mut link, mut position) = (tail.link, tail.position);
    let mut records = Vec::new();
    loop {
        let left = ring.bytes() - (position - tail.position);
        if left < MARK_BYTES {
            return Ok(records);
        }
        let mut head = [0; 24];
        ring.read(memory, position, &mut head)?;
        let Some(bytes) = claimed_bytes(&head, link).filter(|&b| b <= left && b <= ring.record_bytes_max())
        else {
            return Ok(records);
        };
        let mut record = vec![0; bytes as usize];
        ring.read(memory, position, &mut record)?;
        let Some((content, checksum)) = decode(&record) else { return Ok(records) };
        position += bytes;
        records.push(Valid { sequence: link.sequence, content, end: position, checksum });
        link = Link { sequence: link.sequence.next(), predecessor: checksum, ..link };
    }
}

/// A record of ours changes only words of the root, of structures and of maps: anything else is a forgery, and is
/// refused before anything is stored.
fn check_targets(region: &Region, ring: Ring, records: &[Valid]) -> Result {
    let log = LOG_FRAME.offset()..LOG_FRAME.offset() + ring.bytes();
    for record in records {
        for entry in record.changes().unwrap_or_default() {
            let (offset, bytes) = match *entry {
                Entry::Word(offset, _) => (offset, WORD_SIZE),
                Entry::Zero(frame) => (frame.offset(), FRAME_SIZE as u64),
            };
            let inside = offset.checked_add(bytes).is_some_and(|end| end <= region.len_bytes());
            if !inside || offset < ROOT_FRAME.offset() || log.contains(&offset) {
                let why = format!("record {} changes byte {offset:#x}", record.sequence.0);
                return Err(Error::corrupt("log", LOG_FRAME.offset(), why));
            }
        }
    }
    Ok(())
}

/// Makes what was accepted durable in the log, under a mark if some of it is `unmarked`, and says where the log ends; the
/// new life's epoch begins there.
fn secure(
    region: &Region,
    ring: Ring,
    tail: Tail,
    records: &[Valid],
    unmarked: bool,
    rules: Rules,
) -> Result<Tail> {
    let memory = region.memory();
    let Some(last) = records.last() else { return Ok(tail) };
    let mut link =
        Link { epoch: tail.link.epoch, sequence: last.sequence.next(), predecessor: last.checksum };
    let mut position = last.end;
    // Not only after a process death: a power loss is also assumed where the page cache may have survived unseen.
    if !rules.broken(Rule::DisownCopies) {
        memory.sync_inherited()?;
    }
    if unmarked && !rules.broken(Rule::RecoveryNoMark) {
        let (bytes, checksum) = encode(link, &Content::Mark(last.sequence));
        if position - tail.position + MARK_BYTES > ring.bytes() {
            return Err(Error::corrupt("log", LOG_FRAME.offset(), "no room for recovery's mark"));
        }
        ring.write(memory, position, &bytes)?;
        position += MARK_BYTES;
        link = Link { sequence: link.sequence.next(), predecessor: checksum, ..link };
    }
    ring.persist(memory, tail.position, position)?;
    if !rules.broken(Rule::SameEpoch) {
        link.epoch = new_epoch()?;
    }
    Ok(Tail { link, position })
}

/// Stores the homes of what was accepted. Words are stored always; a frame is zeroed again after a process death only
/// beyond the cursor: what came later was stored without the log.
fn store_homes(
    region: &Region,
    records: &[Valid],
    accepted: impl Fn(&Valid) -> bool,
    death: bool,
) -> Result<BTreeSet<u64>> {
    let memory = region.memory();
    let cursor = if death { Sequence(memory.load(CURSOR_OFFSET)?) } else { Sequence(0) };
    let mut homes = BTreeSet::new();
    for record in records.iter().filter(|r| accepted(r)) {
        for &entry in record.changes().unwrap_or_default() {
            note_home(&mut homes, entry);
            // What was stored by the dead is flushed like the rest, and not stored again.
            if matches!(entry, Entry::Zero(_)) && record.sequence <= cursor {
                continue;
            }
            store_home(memory, entry)?;
        }
    }
    Ok(homes)
}
