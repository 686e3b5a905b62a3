//! The log's header: where the live records begin. Two copies, each in its own sector, written alternately; one is
//! not touched before the other is durable.

use crate::error::{Error, Result};
use crate::media::layout::{COUNTER_MAX, LOG_HEADER_OFFSETS};
use crate::media::log::record::{Link, Sequence};
use crate::media::rules::{Rule, Rules};
use crate::media::sector::Sector;
use crate::region::Memory;

const MAGIC: &[u8; 8] = b"PGSLOGHD";
/// How often a format writes the header: each copy once.
pub const FORMAT_WRITES: u64 = LOG_HEADER_OFFSETS.len() as u64;

/// Where the log's live part begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tail {
    /// What the first live record must say of itself.
    pub link: Link,
    /// Its position: a byte count that only grows; modulo the log's size it is a place in the log.
    pub position: u64,
}

/// The header as the log keeps it.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Where the log begins.
    pub tail: Tail,
    /// Grows with each write: tells the newer copy from the older.
    counter: u64,
    /// Which copy is the newer.
    live: usize,
    /// Whether the other copy is not whole.
    pub other_bad: bool,
}

impl Header {
    /// The header of a fresh region, not yet written.
    #[must_use]
    pub fn fresh(epoch: u64) -> Self {
        let link = Link { epoch, sequence: Sequence(1), predecessor: 0 };
        Self { tail: Tail { link, position: 0 }, counter: 0, live: 1, other_bad: true }
    }

    /// What a format writes to a copy.
    #[must_use]
    pub fn of_format(epoch: u64, copy: usize) -> Sector {
        encode(copy as u64 + 1, Self::fresh(epoch).tail)
    }

    /// Reads the newer whole copy.
    pub fn read(memory: &Memory) -> Result<Self> {
        let mut copies = [None, None];
        for (copy, offset) in LOG_HEADER_OFFSETS.into_iter().enumerate() {
            copies[copy] = Sector::read(memory, offset, MAGIC)?.whole().map(|s| (s.u64(8), decode(&s)));
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
        Ok(Self { tail, counter, live, other_bad: copies[1 - live].is_none() })
    }

    /// Whether a copy says more than a format writes.
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
    /// Durable on return; if the power fails before, the former tail stands.
    pub fn advance(&mut self, memory: &Memory, tail: Tail, rules: Rules) -> Result {
        self.counter += 1;
        self.tail = tail;
        let target = if rules.broken(Rule::HeaderTorn) { self.live } else { 1 - self.live };
        let sector = encode(self.counter, tail);
        if rules.broken(Rule::TailNotDurable) {
            sector.store(memory, LOG_HEADER_OFFSETS[target])?;
        } else {
            sector.write(memory, LOG_HEADER_OFFSETS[target])?;
        }
        (self.live, self.other_bad) = (target, false);
        Ok(())
    }
}

impl Tail {
    /// Refuses numbers that no log has: it begins with record 1 at position 0, and records are whole words.
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

fn encode(counter: u64, tail: Tail) -> Sector {
    let mut s = Sector::new(MAGIC);
    s.put_u64(8, counter);
    s.put_u64(16, tail.link.epoch);
    s.put_u64(24, tail.link.sequence.0);
    s.put_u32(32, tail.link.predecessor);
    s.put_u64(40, tail.position);
    s
}

fn decode(s: &Sector) -> Tail {
    let link = Link { epoch: s.u64(16), sequence: Sequence(s.u64(24)), predecessor: s.u32(32) };
    Tail { link, position: s.u64(40) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::{Region, RegionOptions, Source};

    #[test]
    fn numbers_that_no_log_has_are_refused() {
        let image = Source::Image(vec![0; 5 * crate::units::FRAME_SIZE]);
        let region = Region::attach(image, &RegionOptions::default()).unwrap();
        let read = |counter, sequence, position| {
            let link = Link { epoch: 1, sequence: Sequence(sequence), predecessor: 0 };
            let sector = encode(counter, Tail { link, position });
            sector.store(region.memory(), LOG_HEADER_OFFSETS[0]).unwrap();
            Header::read(region.memory())
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
        let mut header = Header::fresh(3);
        assert!(Header::read(memory).is_err(), "neither copy was ever written");
        for sequence in 1..6 {
            let live = header.live;
            header.advance(memory, tail(sequence), Rules::default()).unwrap();
            assert_ne!(header.live, live);
            let read = Header::read(memory).unwrap();
            assert_eq!((read.tail, read.live, read.counter), (tail(sequence), header.live, sequence));
            assert_eq!(read.other_bad, sequence == 1, "the first write leaves one copy blank");
        }
        // The newer copy rots: the older stands, and says that the other is bad.
        memory.store(LOG_HEADER_OFFSETS[header.live] + 16, 0).unwrap();
        let read = Header::read(memory).unwrap();
        assert_eq!((read.tail, read.live, read.other_bad), (tail(4), 1 - header.live, true));
    }

    #[test]
    fn a_header_was_moved_when_it_was_written_more_often_than_by_a_format() {
        let region = region();
        let mut header = Header::fresh(3);
        for written in 0..2 * FORMAT_WRITES {
            assert_eq!(Header::was_moved(region.memory()).unwrap(), written > FORMAT_WRITES, "{written}");
            header.advance(region.memory(), tail(1), Rules::default()).unwrap();
        }
    }
}
