//! Recovery: from what a crash left to a region without live records (LOG rules 8 and 9).
//!
//! The steps are: accept, mark, store home, flush, new epoch. Each is durable before the next, and each may be repeated,
//! so that recovery can begin again after a crash anywhere.

use super::header::{Header, Tail};
use super::homes::Homes;
use super::record::Extent;
use super::record::{Content, Entry, Link, MARK_BYTES, Refused, Sequence, claimed_bytes, decode, encode};
use super::ring::Ring;
use super::{behind, cursor, new_epoch, payload};
use crate::error::{Error, Result};
use crate::media::ending::{Ending, Recovery, Why};
use crate::media::layout::{FIRST_MOVABLE, LOG_FRAME, WORD_SIZE};
use crate::media::lease::{Lease, State};
use crate::media::root::Anchor;
use crate::media::rules::{Rule, Rules};
use crate::media::sector::Found;
use crate::media::words::Shape;
use crate::region::Region;
use crate::sync::Step;
use crate::units::{FRAME_SIZE, FrameNo};
use std::collections::HashSet;
use std::ops::Range;

/// A valid record of the chain.
struct Valid {
    sequence: Sequence,
    content: Content,
    end: u64,
    checksum: u32,
}

/// Recovers the region's log. For a region that is open read-only, only the homes are stored, into its private mapping
/// (LOG rule 14).
///
/// # Durability
/// The recovered state is durable on return, unless the region is read-only. After a crash meanwhile the next opening
/// recovers again.
pub fn recover(region: &Region, ring: Ring, anchor: Anchor, rules: Rules) -> Result<(Header, Recovery)> {
    let (memory, salt) = (region.memory(), anchor.salt.drawn());
    let mut lease = Lease::read(region)?;
    let refused = written_back(region, &lease, rules).is_err();
    if refused {
        lease = note_refusal(region);
    }
    let failed = matches!(&lease, Found::Whole(l) if l.state == State::Failed);
    if failed && !region.read_only() && !rules.broken(Rule::IgnoreFailure) {
        memory.drop_page_cache()?;
    }
    if region.is_fixed() && !Lease::left_in_caches(&lease, region) {
        memory.inherit_nothing();
    }
    let mut header = Header::read(memory, ring.frames())?;
    let mut records = scan(region, ring, header.tail)?;
    let operations = records.iter().filter(|r| r.changes().is_some()).count() as u64;
    let (ending, why) = Lease::ending(&lease, region, header.tail.link.epoch, operations > 0, rules);
    let why = if refused { Why::FailedWriteback } else { why };
    let cursor = cursor::read(memory, salt, header.tail, rules)?;
    // Without the cursor it is not known which bytes were stored since without the log.
    let blind = ending == Ending::ProcessDeath && operations > 0 && cursor.is_none();
    let (ending, why) = if blind { (Ending::PowerLoss, Why::Unreadable) } else { (ending, why) };
    let death = ending == Ending::ProcessDeath;
    let trusted = (death || rules.broken(Rule::CursorAlways)) && !rules.broken(Rule::CursorIgnored);
    let believed = cursor.filter(|_| trusted).unwrap_or(Sequence(0));
    let covered = records.iter().filter_map(Valid::covers).max().unwrap_or(Sequence(0));
    if !death {
        let kept = records.iter().rposition(|r| r.covers().is_some()).map_or(0, |last_mark| last_mark + 1);
        records.truncate(kept);
    }
    let accepted = |r: &Valid| death || r.sequence <= covered;
    let replayed = records.iter().filter(|r| r.changes().is_some() && accepted(r)).count() as u64;
    // After a loss of power records may be there in any order.
    let behind = if death {
        behind::operations(memory, ring, next(header.tail, &records), header.tail.position + ring.bytes())?
    } else {
        0
    };
    let recovery = Recovery { ending, why, replayed, dropped: operations - replayed + behind };
    // What a caller disowns must be gone for good: otherwise the next opening would find it again.
    if replayed == 0 && why != Why::Assumed {
        return Ok((header, recovery));
    }
    let targets = check_targets(region, ring, anchor, &records, accepted)?;
    if region.read_only() {
        store_homes(region, anchor, &records, accepted, believed)?;
        return Ok((header, recovery));
    }
    region.fill_gaps(targets.bytes())?;
    if rules.broken(Rule::LeaseFirst) {
        Lease::of(region, State::Open, header.tail.link.epoch).write(region)?;
    }
    // Only what is accepted is marked. A record that was appended between the noted head and its mark lies before that
    // mark and is not covered by it. After a power loss no mark may ever cover it, since what it publishes may not be
    // durable.
    let unmarked = (death || rules.broken(Rule::RecoveryMarksAll))
        && records.iter().any(|r| r.changes().is_some() && r.sequence > covered);
    let mut replay = || -> Result {
        let mut end = secure(region, ring, header.tail, &records, unmarked, rules)?;
        if records.is_empty() {
            end.link.epoch = new_epoch()?;
        }
        Step::LogSecured.reach();
        let mut homes = store_homes(region, anchor, &records, accepted, believed)?;
        if !rules.broken(Rule::RecoveryNotFlushed) {
            homes.flush(memory)?;
            memory.fence();
            memory.sync_file()?;
        }
        Step::ReplayFlushed.reach();
        header.advance(memory, end, rules)?;
        Step::TailRecovered.reach();
        cursor::store(memory, salt, end.link.epoch, Sequence(end.link.sequence.0 - 1))?;
        Step::CursorRecovered.reach();
        Ok(())
    };
    if let Err(error) = replay() {
        // If it can be written: what the page cache shows from now on may not be on the medium (LOG rule 11).
        let _ = Lease::note_failure(region);
        return Err(error);
    }
    if !rules.broken(Rule::LeaseFirst) {
        let lease = Lease::of(region, State::Clean, header.tail.link.epoch);
        header.settle(region, &lease, rules)?;
    }
    Ok((header, recovery))
}

/// Whether all that a dead owner stored is on the medium now, or the medium never refused any of it.
fn written_back(region: &Region, lease: &Found<Lease>, rules: Rules) -> Result {
    if Lease::left_in_page_cache(lease, region, rules) && !rules.broken(Rule::IgnoreFailure) {
        region.memory().sync_file_system()?;
    }
    Ok(())
}

/// Notes in the lease, if it can be written, that a write was refused: the kernel tells this opening, and no later one.
fn note_refusal(region: &Region) -> Found<Lease> {
    let _ = Lease::note_failure(region);
    Found::Whole(Lease::of(region, State::Failed, 0))
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

/// Where the chain ends, and what the next record would say of itself.
fn next(tail: Tail, records: &[Valid]) -> Tail {
    let Some(last) = records.last() else { return tail };
    let link = Link { sequence: last.sequence.next(), predecessor: last.checksum, ..tail.link };
    Tail { link, position: last.end }
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
        let (content, checksum) = match decode(&record) {
            Ok(decoded) => decoded,
            Err(Refused::NoRecord) => return Ok(records),
            Err(Refused::Unknown(kind)) => {
                let why = format!(
                    "record {} has a change of kind {kind}, which this release does not know: open the region with the one \
                     that wrote it",
                    link.sequence.0
                );
                return Err(Error::corrupt("log", LOG_FRAME.offset(), why));
            }
        };
        position += bytes;
        records.push(Valid { sequence: link.sequence, content, end: position, checksum });
        link = Link { sequence: link.sequence.next(), predecessor: checksum, ..link };
    }
}

/// A record of the engine changes only words of the roots, of structures and of maps, and bytes of data frames; and no
/// frame is both in live records (LOG rule 2). Anything else is a forgery, and is refused before anything is stored.
fn check_targets<'r>(
    region: &'r Region,
    ring: Ring,
    anchor: Anchor,
    records: &[Valid],
    accepted: impl Fn(&Valid) -> bool,
) -> Result<Targets<'r>> {
    let mut targets = Targets::new(region, ring, anchor);
    for record in records {
        for entry in record.changes().unwrap_or_default() {
            let lawful = match entry {
                Entry::Word(offset, _) => targets.word(*offset),
                Entry::Zero(frame) => targets.zero(*frame),
                Entry::Node(frame, _) => targets.node(*frame),
                // Each offset in a root is a word of it.
                Entry::Root(..) => true,
                Entry::Lines(offset, _) => targets.lines(*offset),
                // Without a durable mark the payload's frames may hold anything.
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
        return Ok(targets);
    }
    Err(Error::corrupt("log", LOG_FRAME.offset(), "a frame is data to one record and a structure to another"))
}

/// What records change.
struct Targets<'r> {
    region: &'r Region,
    anchor: Anchor,
    log: Range<u64>,
    shape: Shape,
    structure: HashSet<FrameNo>,
    data: HashSet<FrameNo>,
    /// Frames made zero: data or structures.
    zeroed: HashSet<FrameNo>,
    /// Frames with the payload of one record each, so that no more is read than there is.
    payload: HashSet<FrameNo>,
}

impl<'r> Targets<'r> {
    fn new(region: &'r Region, ring: Ring, anchor: Anchor) -> Self {
        let log = LOG_FRAME.offset()..LOG_FRAME.offset() + ring.bytes();
        let frames = (region.len_bytes() / FRAME_SIZE as u64).saturating_sub(1);
        let shape = Shape { log_frames: (ring.bytes() / FRAME_SIZE as u64) as u32, frames };
        let empty = HashSet::new;
        let (structure, data, zeroed, payload) = (empty(), empty(), empty(), empty());
        Self { region, anchor, log, shape, structure, data, zeroed, payload }
    }

    fn inside(&self, offset: u64, bytes: u64) -> bool {
        let inside = offset.checked_add(bytes).is_some_and(|end| end <= self.region.len_bytes());
        let root = frame_of(offset).is_some_and(|frame| self.anchor.roots.contains(&frame));
        inside && !root && offset >= FIRST_MOVABLE.offset() && !self.log.contains(&offset)
    }

    fn word(&mut self, offset: u64) -> bool {
        self.structure.extend(frame_of(offset));
        self.inside(offset, WORD_SIZE)
    }

    fn node(&mut self, frame: FrameNo) -> bool {
        self.structure.insert(frame);
        self.inside(frame.offset(), FRAME_SIZE as u64)
    }

    fn zero(&mut self, frame: FrameNo) -> bool {
        self.zeroed.insert(frame);
        self.inside(frame.offset(), FRAME_SIZE as u64)
    }

    /// What a recovery stores to: the head of the region, the log, and the records' homes.
    fn bytes(&self) -> Vec<Range<u64>> {
        let mut frames: Vec<_> =
            self.structure.iter().chain(&self.data).chain(&self.zeroed).map(|f| f.0).collect();
        frames.extend(0..(self.log.end / FRAME_SIZE as u64) as u32);
        frames.extend(self.anchor.roots.map(|root| root.0));
        frames.sort_unstable();
        frames.dedup();
        let runs = frames.chunk_by(|a, b| a + 1 == *b);
        runs.map(|run| FrameNo(run[0]).offset()..FrameNo(run[0]).offset() + (run.len() * FRAME_SIZE) as u64)
            .collect()
    }

    fn lines(&mut self, offset: u64) -> bool {
        self.data.extend(frame_of(offset));
        frame_of(offset).is_some_and(|frame| self.shape.ordinary(frame))
    }

    fn payload(&mut self, extent: Extent) -> Result<bool> {
        let frames = u64::from(extent.bytes).div_ceil(FRAME_SIZE as u64);
        let mut run = u64::from(extent.frame.0)..u64::from(extent.frame.0) + frames;
        let mut is_new = |frame| self.shape.ordinary(frame) && self.payload.insert(frame);
        if !run.all(|frame| u32::try_from(frame).is_ok_and(|frame| is_new(FrameNo(frame)))) {
            return Ok(false);
        }
        Ok(payload::read(self.region.memory(), extent)?.iter().all(|(offset, _)| self.lines(*offset)))
    }
}

fn frame_of(offset: u64) -> Option<FrameNo> {
    u32::try_from(offset / FRAME_SIZE as u64).ok().map(FrameNo)
}

/// Makes what was accepted durable in the log, under a new mark if some of it is `unmarked`. Returns where the log ends:
/// there the epoch of the new life begins.
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
    // Not only after a process death: a power loss is also assumed in cases where the page cache may have survived.
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

/// Stores the homes of what was accepted. Words are always stored. Where the cursor counts, frames are zeroed and bytes
/// are stored only for records beyond it: after the others, bytes may have been stored without the log.
fn store_homes(
    region: &Region,
    anchor: Anchor,
    records: &[Valid],
    accepted: impl Fn(&Valid) -> bool,
    cursor: Sequence,
) -> Result<Homes> {
    let memory = region.memory();
    let mut homes = Homes::new(anchor);
    for record in records.iter().filter(|r| accepted(r)) {
        for entry in record.changes().unwrap_or_default() {
            // What the dead process stored is not stored again, but flushed like the rest.
            if matches!(entry, Entry::Word(..) | Entry::Root(..)) || record.sequence > cursor {
                homes.store(memory, entry)?;
            } else {
                homes.note(memory, entry)?;
            }
            Step::HomeReplayed.reach();
        }
    }
    Ok(homes)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{LOG_FRAMES, fresh, image, region, reopen, set, word};
    use super::*;
    use crate::media::format::format;
    use crate::media::layout::first_free_frame;
    use crate::media::seal::Salt;
    use crate::media::superblock::Superblock;
    use crate::persist::{Event, Recorder};
    use crate::region::{RegionOptions, Source};
    use crate::units::{Durability, LINE_SIZE};
    use std::sync::Arc;

    const RING: Ring = Ring::new(2);
    const LINK: Link = Link { epoch: 7, sequence: Sequence(3), predecessor: 9 };
    /// A bit more than twice around the ring.
    const TAIL: Tail = Tail { link: LINK, position: 2 * 2 * FRAME_SIZE as u64 + 40 };

    const ANCHOR: Anchor = Anchor { salt: Salt::new(7, Rules::KEPT), roots: [FrameNo(6), FrameNo(7)] };

    fn anchor_of(region: &Region) -> Anchor {
        Superblock::read(region).unwrap().unwrap().newest.anchor(Rules::KEPT)
    }

    fn blank() -> Arc<Region> {
        region(Some(vec![0; 20 * FRAME_SIZE]), 1, None)
    }

    /// Writes records of these sizes from [`TAIL`] on; the last is a mark if it has a mark's size. Returns where they end.
    fn write_chain(region: &Region, sizes: &[u64]) -> u64 {
        let (mut link, mut position) = (LINK, TAIL.position);
        for &bytes in sizes {
            let content = match (bytes - MARK_BYTES) / 16 {
                0 => Content::Mark(LINK.sequence),
                words => Content::Changes((0..words).map(|n| Entry::Word(word(n), n)).collect()),
            };
            let (encoded, checksum) = encode(link, &content);
            assert_eq!(encoded.len() as u64, bytes);
            RING.write(region.memory(), position, &encoded).unwrap();
            position += bytes;
            link = Link { sequence: link.sequence.next(), predecessor: checksum, ..link };
        }
        position
    }

    fn found(sizes: &[u64]) -> Vec<u64> {
        let region = blank();
        write_chain(&region, sizes);
        let records = scan(&region, RING, TAIL).unwrap();
        let starts = [TAIL.position].into_iter().chain(records.iter().map(|r| r.end));
        records.iter().zip(starts).map(|(record, start)| record.end - start).collect()
    }

    #[test]
    fn a_chain_is_followed_around_the_ring_until_it_is_full() {
        let most = RING.record_bytes_max();
        for whole in [&[][..], &[64, 48, 80, 48], &[most; 4], &[most, most, most, most - 48, 48]] {
            assert_eq!(found(whole), whole);
        }
        assert_eq!(found(&[48, most + 16, 48]), [48], "a record that is too large for this log");
        let region = blank();
        let end = write_chain(&region, &[64, 64, 64]);
        RING.write(region.memory(), end - 64 - 8, &[0xff]).unwrap();
        assert_eq!(scan(&region, RING, TAIL).unwrap().len(), 1, "the second is torn");
    }

    #[test]
    fn a_record_may_change_words_behind_the_head_and_outside_of_roots_and_log() {
        let region = blank();
        let len = region.len_bytes();
        let (first, log) = (FrameNo(8).offset(), LOG_FRAME.offset());
        let behind = log + RING.bytes();
        for (offset, lawful) in [
            (0, false),
            (FIRST_MOVABLE.offset() - 8, false),
            (first - 8, false),
            (first, true),
            (log - 8, true),
            (log, false),
            (behind - 8, false),
            (behind, true),
            (len - 8, true),
            (len - 4, false),
            (len, false),
            (u64::MAX - 3, false),
        ] {
            let mut targets = Targets::new(&region, RING, ANCHOR);
            assert_eq!(targets.word(offset), lawful, "a word at {offset:#x}");
        }
        let targets = Targets::new(&region, RING, ANCHOR);
        assert!(targets.inside(len - FRAME_SIZE as u64, FRAME_SIZE as u64));
        assert!(!targets.inside(len - 8, 16));
    }

    #[test]
    fn lines_and_payloads_are_of_data_frames_and_structures_are_told_from_them() {
        let region = blank();
        // Frames 16 and 17 are the log, those before 13 are fixed, 19 is the spare one at the end.
        let data = |frame: u32| FrameNo(frame).offset();
        let mut targets = Targets::new(&region, RING, ANCHOR);
        let lawful: Vec<u32> = (0..22).filter(|&frame| targets.lines(data(frame) + 128)).collect();
        assert_eq!(lawful, [13, 14, 15, 18]);
        assert_eq!(targets.data.len(), 22);
        targets.word(data(18) + 64);
        assert!(targets.structure.contains(&FrameNo(18)) && targets.structure.len() == 1);
        assert_eq!(frame_of(data(18) - 1), Some(FrameNo(17)));
        assert_eq!(frame_of(u64::MAX), None);
    }

    /// An extent in the frames from this one on, with these lines, and the last frame that it takes.
    fn extent(region: &Region, frame: u32, lines: &[(u64, usize)]) -> Extent {
        let mut bytes = Vec::new();
        for &(offset, count) in lines {
            super::super::record::encode_lines(&mut bytes, offset, &vec![5; count * LINE_SIZE]);
        }
        region.memory().write(FrameNo(frame).offset(), &bytes).unwrap();
        Extent { frame: FrameNo(frame), bytes: bytes.len() as u32, checksum: crc32c::crc32c(&bytes) }
    }

    #[test]
    fn a_payload_lies_in_data_frames_whole_and_holds_lines_of_such() {
        let region = region(Some(vec![0; 23 * FRAME_SIZE]), 1, None);
        // Frames 18 to 21 may hold data; 22 is the spare one.
        let target = FrameNo(18).offset();
        let lawful = |extent| Targets::new(&region, RING, ANCHOR).payload(extent).unwrap();
        assert!(lawful(extent(&region, 19, &[(target, 3)])));
        assert!(lawful(extent(&region, 20, &[(target, 64), (target, 60)])), "two frames, to the last");
        assert!(!lawful(extent(&region, 21, &[(target, 64), (target, 1)])), "it would take the spare frame");
        assert!(!lawful(extent(&region, 17, &[(target, 1)])), "it begins in a structure");
        assert!(!lawful(extent(&region, 19, &[(target, 1), (LOG_FRAME.offset(), 1)])));
        assert!(!lawful(Extent { frame: FrameNo(u32::MAX), bytes: 8192, checksum: 0 }));
        let rotten = Extent { checksum: 1, ..extent(&region, 19, &[(target, 1)]) };
        assert!(Targets::new(&region, RING, ANCHOR).payload(rotten).is_err());
    }

    #[test]
    fn what_has_no_mark_gets_one_where_there_is_room_and_the_new_life_begins_behind_it() {
        let most = RING.record_bytes_max();
        let checksum_of = |region: &Region, start: u64, bytes: u64| {
            let mut record = vec![0; bytes as usize];
            RING.read(region.memory(), start, &mut record).unwrap();
            decode(&record).unwrap()
        };
        for (sizes, fits) in [
            (&[64][..], true),
            (&[most, most, most, most - 48], true),
            (&[most, most, most, most - 32], false),
        ] {
            let region = blank();
            let end = write_chain(&region, sizes);
            let records = scan(&region, RING, TAIL).unwrap();
            assert_eq!(records.len(), sizes.len());
            let last = records.last().unwrap().sequence;
            let secured = secure(&region, RING, TAIL, &records, true, Rules::default());
            if !fits {
                assert!(matches!(secured, Err(Error::Corrupt { what: "log", .. })));
                continue;
            }
            let secured = secured.unwrap();
            let (mark, checksum) = checksum_of(&region, end, MARK_BYTES);
            assert_eq!(mark, Content::Mark(last));
            assert_eq!((secured.position, secured.link.predecessor), (end + MARK_BYTES, checksum));
            assert_eq!(secured.link.sequence, last.next().next());
            assert_ne!(secured.link.epoch, LINK.epoch);
            let marked = scan(&region, RING, TAIL).unwrap();
            assert_eq!(marked.last().unwrap().covers(), Some(last), "the mark continues the chain");
            // With a mark already, the log stays as it is.
            let secured = secure(&region, RING, TAIL, &marked, false, Rules::default()).unwrap();
            assert_eq!((secured.position, secured.link.sequence), (end + MARK_BYTES, last.next().next()));
            assert_eq!(secured.link.predecessor, checksum);
        }
        let region = blank();
        assert_eq!(secure(&region, RING, TAIL, &[], true, Rules::default()).unwrap(), TAIL);
    }

    #[test]
    fn a_recovery_marks_only_what_no_mark_covers_and_moves_the_cursor_to_its_end() {
        for (unmarked, boot, marks) in [(false, 1, 0), (false, 2, 0), (true, 1, 1), (true, 2, 0)] {
            let log = fresh();
            log.commit(set(&log, 0, 1)).unwrap();
            if unmarked {
                set(&log, 1, 2);
            }
            let recorder = Recorder::new();
            let region = region(Some(image(&log)), boot, Some(Arc::clone(&recorder)));
            let _ = recorder.take();
            let (header, recovery) =
                recover(&region, Ring::new(LOG_FRAMES), anchor_of(&region), Rules::default()).unwrap();
            assert_eq!(recovery.replayed, 1 + u64::from(unmarked && boot == 1));
            let ring = LOG_FRAME.offset()..first_free_frame(LOG_FRAMES).offset();
            let in_ring = |e: &Event| matches!(e, Event::Store { offset, .. } if ring.contains(offset));
            assert_eq!(
                recorder.take().iter().filter(|e| in_ring(e)).count(),
                marks,
                "{unmarked}, boot {boot}"
            );
            let cursor =
                cursor::read(region.memory(), anchor_of(&region).salt.drawn(), header.tail, Rules::default())
                    .unwrap();
            assert_eq!(cursor, Some(Sequence(header.tail.link.sequence.0 - 1)));
            let lease = Lease::read(&region).unwrap().whole().unwrap();
            assert_eq!(lease.state, State::Clean, "nothing is left for the next opening");
        }
    }

    /// An opening after a power loss that finds a record of a word, a record with this payload, and a mark that covers
    /// the first of them, or both.
    fn with_payload(extent: Extent, both: bool) -> Result<u64> {
        let log = fresh();
        let first = set(&log, 0, 7);
        let ((), second) = log.append(|txn| txn.payload(extent)).unwrap();
        log.push(&mut log.chain.lock(), Content::Mark(if both { second } else { first })).unwrap();
        let (log, recovery) = reopen(image(&log), 2)?;
        assert_eq!(log.read(word(0)).unwrap(), 7);
        Ok(recovery.replayed)
    }

    #[test]
    fn a_payload_is_looked_at_where_its_record_is_marked_and_only_there() {
        let empty = Extent { frame: first_free_frame(LOG_FRAMES), bytes: 0, checksum: 0 };
        assert_eq!(with_payload(empty, true).unwrap(), 2);
        assert_eq!(with_payload(empty, false).unwrap(), 1);
        let rotten = Extent { checksum: 1, ..empty };
        assert!(matches!(with_payload(rotten, true), Err(Error::Corrupt { what: "payload of the log", .. })));
        assert_eq!(with_payload(rotten, false).unwrap(), 1, "its bytes may not have reached the medium");
        let forged = Extent { frame: LOG_FRAME, bytes: 8, checksum: 1 };
        assert!(matches!(with_payload(forged, true), Err(Error::Corrupt { what: "log", .. })));
    }

    /// How many files are synced by an opening of a region that was closed in this state.
    fn files_synced(state: State, read_only: bool) -> usize {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("region");
        let attach = |recorder: Option<&Arc<Recorder>>, read_only| {
            let options = RegionOptions {
                create: recorder.is_none(),
                read_only,
                assume: Some(Durability::Fdatasync),
                recorder: recorder.cloned(),
                ..RegionOptions::default()
            };
            Region::attach(Source::File { path: path.clone() }, &options).unwrap()
        };
        let region = attach(None, false);
        format(&region, LOG_FRAMES).unwrap();
        Lease::of(&region, state, 1).write(&region).unwrap();
        region.close();
        drop(region);
        let recorder = Recorder::new();
        let region = attach(Some(&recorder), read_only);
        let (_, recovery) =
            recover(&region, Ring::new(LOG_FRAMES), anchor_of(&region), Rules::default()).unwrap();
        let ending = match state {
            State::Clean => (Ending::Clean, Why::Closed),
            State::Open => (Ending::ProcessDeath, Why::Kept),
            State::Failed => (Ending::PowerLoss, Why::FailedFlush),
        };
        assert_eq!((recovery.ending, recovery.why), ending);
        assert_eq!((recovery.replayed, recovery.dropped), (0, 0));
        recorder.take().iter().filter(|event| matches!(event, Event::SyncEnd { .. })).count()
    }

    #[test]
    fn the_page_cache_is_doubted_after_a_failure_and_only_then() {
        assert_eq!(files_synced(State::Failed, false), 1);
        for (state, read_only) in [(State::Clean, false), (State::Open, false), (State::Failed, true)] {
            assert_eq!(files_synced(state, read_only), 0, "{state:?}");
        }
    }

    #[test]
    fn after_a_death_all_zeros_beyond_the_cursor_are_stored_again() {
        let log = fresh();
        log.commit(set(&log, 0, 1)).unwrap();
        let first = first_free_frame(LOG_FRAMES).0 + 1;
        for frame in first..first + 3 {
            log.append(|txn| txn.zero(FrameNo(frame))).unwrap();
        }
        let mut bytes = image(&log);
        let homes = FrameNo(first).offset() as usize..FrameNo(first + 3).offset() as usize;
        bytes[homes.clone()].fill(7);
        let (after, _) = reopen(bytes, 1).unwrap();
        assert!(image(&after)[homes].iter().all(|&byte| byte == 0));
    }
}
