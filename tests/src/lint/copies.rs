//! The live copies of superblock and log header: a copy that a recovery would read must not be stored over.

use super::Findings;
use super::lines::Lines;
use pagestone::media::layout::{LOG_HEADER_OFFSETS, SECTOR_SIZE, SUPERBLOCK_OFFSETS};

/// A structure with two copies: their places, and the place of the counter in each.
struct Pair {
    places: [u64; 2],
    counter_at: usize,
    /// Counter of each copy that was stored whole.
    counters: [Option<u64>; 2],
}

/// Superblock and log header.
pub struct Copies([Pair; 2]);

impl Copies {
    /// The copies on the medium before the run.
    pub fn new(base: &[u8]) -> Self {
        let pair = |places: [u64; 2], counter_at| {
            let counters = places.map(|place| counter(base.get(place as usize..)?, counter_at));
            Pair { places, counter_at, counters }
        };
        Self([pair(SUPERBLOCK_OFFSETS, 40), pair(LOG_HEADER_OFFSETS, 8)])
    }

    /// Bytes are about to be stored.
    pub fn store(&mut self, offset: u64, bytes: &[u8], lines: &Lines, findings: &mut Findings) {
        for pair in &mut self.0 {
            pair.store(offset, bytes, lines, findings);
        }
    }
}

impl Pair {
    fn store(&mut self, offset: u64, bytes: &[u8], lines: &Lines, findings: &mut Findings) {
        let sector = SECTOR_SIZE as u64;
        let touches = |place: &u64| offset < place + sector && place < &(offset + bytes.len() as u64);
        let Some(target) = self.places.iter().position(touches) else { return };
        if self.live(lines) == Some(target) {
            let why = "it is the newest copy that is durable: a torn store would leave an older one, or none";
            findings.add("live-copy-written", offset, why);
        }
        let whole = offset == self.places[target] && bytes.len() == SECTOR_SIZE;
        self.counters[target] = whole.then(|| counter(bytes, self.counter_at)).flatten();
    }

    /// The copy that a recovery is sure to find: the newest durable one.
    fn live(&self, lines: &Lines) -> Option<usize> {
        let durable = |copy: usize| {
            let place = self.places[copy];
            lines.open_in(place..place + SECTOR_SIZE as u64).next().is_none()
        };
        match [0, 1].map(|copy| self.counters[copy].filter(|_| durable(copy))) {
            [None, None] => None,
            [a, b] => Some(usize::from(b > a)),
        }
    }
}

/// The counter in a sector; none where there is none yet.
fn counter(sector: &[u8], at: usize) -> Option<u64> {
    sector.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes).filter(|&counter| counter != 0)
}
