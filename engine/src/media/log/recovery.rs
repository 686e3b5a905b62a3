//! Recovery: from what a crash left to a region without live records (LOG rules 8 and 9).
//!
//! Accept, mark, store home, flush, new epoch: each step durable before the next, and each harmless when a crash
//! repeats it, so that recovery may die anywhere and begin again.

use super::header::{Header, Tail};
use super::homes::Homes;
use super::record::Extent;
use super::record::{Content, Entry, Link, MARK_BYTES, Sequence, claimed_bytes, decode, encode};
use super::ring::Ring;
use super::{new_epoch, payload};
use crate::error::{Error, Result};
use crate::media::layout::{CURSOR_OFFSET, LOG_FRAME, ROOT_FRAME, WORD_SIZE};
use crate::media::lease::{Lease, State};
use crate::media::rules::{Rule, Rules};
use crate::media::sector::Found;
use crate::media::words::Shape;
use crate::region::Region;
use crate::units::{FRAME_SIZE, FrameNo};
use std::collections::HashSet;

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
    check_targets(region, ring, &records, accepted)?;
    if region.read_only() {
        store_homes(region, &records, accepted, death, rules)?;
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
        let mut homes =
            store_homes(region, &records, accepted, death || rules.broken(Rule::CursorAlways), rules)?;
        if !rules.broken(Rule::RecoveryNotFlushed) {
            homes.flush(memory)?;
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

/// A record of ours changes only words of the root, of structures and of maps, and bytes of data frames, and no frame
/// is both in live records (LOG rule 2): anything else is a forgery, and is refused before anything is stored.
fn check_targets(
    region: &Region,
    ring: Ring,
    records: &[Valid],
    accepted: impl Fn(&Valid) -> bool,
) -> Result {
    let mut targets = Targets::new(region, ring);
    for record in records {
        for entry in record.changes().unwrap_or_default() {
            let lawful = match entry {
                Entry::Word(offset, _) => targets.word(*offset),
                Entry::Zero(frame) => targets.inside(frame.offset(), FRAME_SIZE as u64),
                Entry::Lines(offset, _) => targets.lines(*offset),
                // Without a durable mark its frames may hold anything.
                Entry::Payload(_) if !accepted(record) => true,
                Entry::Payload(extent) => targets.payload(*extent)?,
            };
            if !lawful {
                let why = format!("record {} changes what it may not: {entry:.60?}", record.sequence.0);
                return Err(Error::corrupt("log", LOG_FRAME.offset(), why));
            }
        }
    }
    if targets.data.is_disjoint(&targets.structure) {
        return Ok(());
    }
    Err(Error::corrupt("log", LOG_FRAME.offset(), "a frame is data to one record and a structure to another"))
}

/// What records change.
struct Targets<'r> {
    region: &'r Region,
    log: std::ops::Range<u64>,
    shape: Shape,
    structure: HashSet<FrameNo>,
    data: HashSet<FrameNo>,
}

impl<'r> Targets<'r> {
    fn new(region: &'r Region, ring: Ring) -> Self {
        let log = LOG_FRAME.offset()..LOG_FRAME.offset() + ring.bytes();
        let frames = (region.len_bytes() / FRAME_SIZE as u64).saturating_sub(1);
        let shape = Shape { log_frames: (ring.bytes() / FRAME_SIZE as u64) as u32, frames };
        Self { region, log, shape, structure: HashSet::new(), data: HashSet::new() }
    }

    fn inside(&self, offset: u64, bytes: u64) -> bool {
        let inside = offset.checked_add(bytes).is_some_and(|end| end <= self.region.len_bytes());
        inside && offset >= ROOT_FRAME.offset() && !self.log.contains(&offset)
    }

    fn word(&mut self, offset: u64) -> bool {
        self.structure.extend(frame_of(offset));
        self.inside(offset, WORD_SIZE)
    }

    fn lines(&mut self, offset: u64) -> bool {
        self.data.extend(frame_of(offset));
        frame_of(offset).is_some_and(|frame| self.shape.ordinary(frame))
    }

    fn payload(&mut self, extent: Extent) -> Result<bool> {
        let frames = u64::from(extent.bytes).div_ceil(FRAME_SIZE as u64);
        let mut run = u64::from(extent.frame.0)..u64::from(extent.frame.0) + frames;
        if !run.all(|frame| u32::try_from(frame).is_ok_and(|frame| self.shape.ordinary(FrameNo(frame)))) {
            return Ok(false);
        }
        Ok(payload::read(self.region.memory(), extent)?.iter().all(|(offset, _)| self.lines(*offset)))
    }
}

fn frame_of(offset: u64) -> Option<FrameNo> {
    u32::try_from(offset / FRAME_SIZE as u64).ok().map(FrameNo)
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

/// Stores the homes of what was accepted. Words are stored always; a frame is zeroed again, and bytes of one are stored
/// again, after a process death only beyond the cursor: what came later was stored without the log.
fn store_homes(
    region: &Region,
    records: &[Valid],
    accepted: impl Fn(&Valid) -> bool,
    death: bool,
    rules: Rules,
) -> Result<Homes> {
    let memory = region.memory();
    let trusted = death && !rules.broken(Rule::CursorIgnored);
    let cursor = if trusted { Sequence(memory.load(CURSOR_OFFSET)?) } else { Sequence(0) };
    let mut homes = Homes::default();
    for record in records.iter().filter(|r| accepted(r)) {
        for entry in record.changes().unwrap_or_default() {
            // What was stored by the dead is flushed like the rest, and not stored again.
            if matches!(entry, Entry::Word(..)) || record.sequence > cursor {
                homes.store(memory, entry)?;
            } else {
                homes.note(memory, entry)?;
            }
        }
    }
    Ok(homes)
}
