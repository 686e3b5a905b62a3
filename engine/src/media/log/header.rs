//! The log's header: where the live records begin. There are two copies, each a sector in a frame of its own, written in
//! turn. One is not touched before the other is durable. In a region that was closed both have the same tail.
//!
//! ```text
//!  0 magic      16 epoch       32 predecessor (32 bits)   48 log: first frame, 52 frames (32 bits each)
//!  8 counter    24 sequence    40 position               508 checksum
//! ```

use crate::error::{Error, Result};
use crate::media::layout::{COUNTER_MAX, LEASE_OFFSET, LOG_FRAME, LOG_HEADER_OFFSETS, SECTOR_SIZE};
use crate::media::lease::Lease;
use crate::media::log::record::{Link, Sequence};
use crate::media::rules::{Rule, Rules};
use crate::media::sector::Sector;
use crate::region::{Memory, Region};

const MAGIC: &[u8; 8] = b"PGSLOGHD";
/// How often a format writes the header: once for each copy.
pub const FORMAT_WRITES: u64 = LOG_HEADER_OFFSETS.len() as u64;

/// Where the log's live part begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tail {
    /// What must stand in the head of the first live record.
    pub link: Link,
    /// Its position: a count of bytes that only grows. Modulo the log's size it is a place in the log.
    pub position: u64,
}

/// The header as the log keeps it.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Where the log begins.
    pub tail: Tail,
    /// Frames of the log.
    frames: u32,
    /// Grows with each write, so that the newer copy can be told from the older one.
    counter: u64,
    /// Which copy is the newer.
    live: usize,
    /// Whether the other copy is not whole.
    pub other_bad: bool,
}

impl Header {
    /// The header of a fresh region with a log of `frames` frames, not yet written.
    #[must_use]
    pub fn fresh(epoch: u64, frames: u32) -> Self {
        let link = Link { epoch, sequence: Sequence(1), predecessor: 0 };
        Self { tail: Tail { link, position: 0 }, frames, counter: 0, live: 1, other_bad: true }
    }

    /// The sector that a format writes as this copy.
    #[must_use]
    pub fn of_format(epoch: u64, frames: u32, copy: usize) -> Sector {
        encode(copy as u64 + 1, Self::fresh(epoch, frames).tail, frames)
    }

    /// Reads the newer whole copy. A copy of a log that does not have `frames` frames does not count.
    pub fn read(memory: &Memory, frames: u32) -> Result<Self> {
        let mut copies = [None, None];
        for (copy, offset) in LOG_HEADER_OFFSETS.into_iter().enumerate() {
            let whole = Sector::read(memory, offset, MAGIC)?.whole();
            let ours = whole.filter(|s| (s.u32(48), s.u32(52)) == (LOG_FRAME.0, frames));
            copies[copy] = ours.map(|s| (s.u64(8), decode(&s)));
        }
        let (live, (counter, tail)) = match copies {
            [Some(a), Some(b)] if b.0 > a.0 => (1, b),
            [Some(a), _] => (0, a),
            [None, Some(b)] => (1, b),
            [None, None] => {
                return Err(Error::corrupt("log header", LOG_HEADER_OFFSETS[0], "neither copy is whole"));
            }
        };
        tail.check(counter, LOG_HEADER_OFFSETS[live])?;
        Ok(Self { tail, frames, counter, live, other_bad: copies[1 - live].is_none() })
    }

    /// The sector that a repair writes as this copy where none is whole: that of an empty log.
    #[must_use]
    pub(in crate::media) fn anew(epoch: u64, frames: u32, copy: usize) -> Sector {
        encode(FORMAT_WRITES + 1 + copy as u64, Self::fresh(epoch, frames).tail, frames)
    }

    /// How many frames the log has and how often the header was written, from a whole copy: for a region without a
    /// superblock.
    pub(in crate::media) fn said(memory: &Memory) -> Result<Option<(u32, u64)>> {
        let mut said = None;
        for offset in LOG_HEADER_OFFSETS {
            let whole = Sector::read(memory, offset, MAGIC)?.whole();
            let ours = whole.filter(|s| s.u32(48) == LOG_FRAME.0 && s.u64(8) < COUNTER_MAX);
            said = ours.map(|s| (s.u32(52), s.u64(8))).into_iter().chain(said).max_by_key(|said| said.1);
        }
        Ok(said)
    }

    /// Byte offset of the copy that does not count.
    #[must_use]
    pub const fn other(&self) -> u64 {
        LOG_HEADER_OFFSETS[1 - self.live]
    }

    /// Byte offset of the copy that does not count, if it is whole and has another tail.
    pub fn older_tail_at(&self, memory: &Memory) -> Result<Option<u64>> {
        let other = Sector::read(memory, self.other(), MAGIC)?.whole();
        Ok(other.is_some_and(|s| decode(&s) != self.tail).then(|| self.other()))
    }

    /// Whether the header was written since the format.
    pub fn was_moved(memory: &Memory) -> Result<bool> {
        for offset in LOG_HEADER_OFFSETS {
            if Sector::read(memory, offset, MAGIC)?.whole().is_some_and(|s| s.u64(8) > FORMAT_WRITES) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Moves the tail: writes the copy that is not live.
    ///
    /// # Durability
    /// Durable on return. If the power fails before, the former tail counts.
    pub fn advance(&mut self, memory: &Memory, tail: Tail, rules: Rules) -> Result {
        self.counter += 1;
        self.tail = tail;
        // Broken: each copy is written twice in a row.
        let torn = rules.broken(Rule::HeaderTorn);
        let target = if torn { (self.counter >> 1) as usize & 1 } else { 1 - self.live };
        let sector = encode(self.counter, tail, self.frames);
        if rules.broken(Rule::TailNotDurable) {
            sector.store(memory, LOG_HEADER_OFFSETS[target])?;
        } else {
            sector.write(memory, LOG_HEADER_OFFSETS[target])?;
        }
        (self.live, self.other_bad) = (target, false);
        Ok(())
    }

    /// Writes the same tail to both copies, then the lease with the state in which the region is left. Waits for the
    /// medium once.
    ///
    /// # Durability
    /// Durable on return. If the power fails before, the tail is the same.
    pub fn settle(&mut self, region: &Region, lease: &Lease, rules: Rules) -> Result {
        let memory = region.memory();
        if rules.broken(Rule::OneHeader) {
            return lease.write(region);
        }
        let target = LOG_HEADER_OFFSETS[1 - self.live];
        self.counter += 1;
        encode(self.counter, self.tail, self.frames).store(memory, target)?;
        lease.store(region)?;
        memory.flush(target, SECTOR_SIZE)?;
        memory.flush(LEASE_OFFSET, SECTOR_SIZE)?;
        memory.fence();
        memory.sync_file()?;
        (self.live, self.other_bad) = (1 - self.live, false);
        Ok(())
    }
}

impl Tail {
    /// Refuses numbers that no log has: a log begins with record 1 at position 0, and records are whole words.
    fn check(self, counter: u64, at: u64) -> Result {
        let (sequence, position) = (self.link.sequence.0, self.position);
        let possible = (1..COUNTER_MAX).contains(&sequence) && position < COUNTER_MAX && position % 8 == 0;
        if possible && counter < COUNTER_MAX {
            return Ok(());
        }
        let why = format!("impossible numbers: record {sequence}, position {position:#x}, write {counter}");
        Err(Error::corrupt("log header", at, why))
    }
}

fn encode(counter: u64, tail: Tail, frames: u32) -> Sector {
    let mut s = Sector::new(MAGIC);
    s.put_u64(8, counter);
    s.put_u64(16, tail.link.epoch);
    s.put_u64(24, tail.link.sequence.0);
    s.put_u32(32, tail.link.predecessor);
    s.put_u64(40, tail.position);
    s.put_u32(48, LOG_FRAME.0);
    s.put_u32(52, frames);
    s
}

fn decode(s: &Sector) -> Tail {
    let link = Link { epoch: s.u64(16), sequence: Sequence(s.u64(24)), predecessor: s.u32(32) };
    Tail { link, position: s.u64(40) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::lease::State;
    use crate::region::{RegionOptions, Source};

    const FRAMES: u32 = 4;

    #[test]
    fn numbers_that_no_log_has_are_refused() {
        let image = Source::Image(vec![0; 5 * crate::units::FRAME_SIZE]);
        let region = Region::attach(image, &RegionOptions::default()).unwrap();
        let read = |counter, sequence, position| {
            let link = Link { epoch: 1, sequence: Sequence(sequence), predecessor: 0 };
            let sector = encode(counter, Tail { link, position }, FRAMES);
            sector.store(region.memory(), LOG_HEADER_OFFSETS[0]).unwrap();
            Header::read(region.memory(), FRAMES)
        };
        assert!(read(1, 1, 0).is_ok());
        assert!(read(COUNTER_MAX - 1, COUNTER_MAX - 1, COUNTER_MAX - 8).is_ok());
        for (counter, sequence, position) in [
            (u64::MAX, 1, 0),
            (1, 0, 0),
            (1, u64::MAX, 0),
            (1, 1, u64::MAX - 7),
            (1, 1, 4),
            (COUNTER_MAX, 1, 0),
            (1, COUNTER_MAX, 0),
            (1, 1, COUNTER_MAX),
        ] {
            assert!(matches!(read(counter, sequence, position), Err(Error::Corrupt { .. })));
        }
    }

    fn region() -> std::sync::Arc<Region> {
        let image = Source::Image(vec![0; 5 * crate::units::FRAME_SIZE]);
        Region::attach(image, &RegionOptions::default()).unwrap()
    }

    fn tail(sequence: u64) -> Tail {
        Tail { link: Link { epoch: 3, sequence: Sequence(sequence), predecessor: 4 }, position: sequence * 8 }
    }

    #[test]
    fn the_newer_copy_counts_and_the_older_is_the_next_to_be_written() {
        let region = region();
        let memory = region.memory();
        let mut header = Header::fresh(3, FRAMES);
        assert!(Header::read(memory, FRAMES).is_err(), "neither copy was ever written");
        for sequence in 1..6 {
            let live = header.live;
            header.advance(memory, tail(sequence), Rules::default()).unwrap();
            assert_ne!(header.live, live);
            let read = Header::read(memory, FRAMES).unwrap();
            assert_eq!((read.tail, read.live, read.counter), (tail(sequence), header.live, sequence));
            assert_eq!(read.other_bad, sequence == 1, "the first write leaves one copy blank");
        }
        // The newer copy rots: the older one counts, and the other is reported as bad.
        memory.store(LOG_HEADER_OFFSETS[header.live] + 16, 0).unwrap();
        let read = Header::read(memory, FRAMES).unwrap();
        assert_eq!((read.tail, read.live, read.other_bad), (tail(4), 1 - header.live, true));
    }

    #[test]
    fn a_header_of_another_log_is_none() {
        let region = region();
        Header::fresh(3, FRAMES).advance(region.memory(), tail(1), Rules::default()).unwrap();
        assert!(Header::read(region.memory(), FRAMES).is_ok());
        assert!(matches!(Header::read(region.memory(), FRAMES + 1), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn at_rest_both_copies_say_the_same_and_neither_was_in_danger() {
        for writes in [2, 3] {
            let region = region();
            let memory = region.memory();
            let mut header = Header::fresh(3, FRAMES);
            for sequence in 1..=writes {
                header.advance(memory, tail(sequence), Rules::default()).unwrap();
            }
            let lease = Lease::of(&region, State::Clean, 3);
            header.settle(&region, &lease, Rules::default()).unwrap();
            assert_eq!(Lease::read(&region).unwrap().whole(), Some(lease));
            for copy in LOG_HEADER_OFFSETS {
                let whole = memory.load(copy + 16).unwrap();
                memory.store(copy + 16, 0).unwrap();
                assert_eq!(Header::read(memory, FRAMES).unwrap().tail, tail(writes));
                memory.store(copy + 16, whole).unwrap();
            }
        }
    }

    #[test]
    fn a_header_was_moved_when_it_was_written_more_often_than_by_a_format() {
        let region = region();
        let mut header = Header::fresh(3, FRAMES);
        for written in 0..2 * FORMAT_WRITES {
            assert_eq!(Header::was_moved(region.memory()).unwrap(), written > FORMAT_WRITES, "{written}");
            header.advance(region.memory(), tail(1), Rules::default()).unwrap();
        }
    }
}
