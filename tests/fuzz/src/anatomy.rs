//! Where the structures of a valid image lie. Edits aim at them; at random they would mostly hit free frames.

use crate::format::{HEIGHT, RECORD, Seal, TAG, offset, root, roots, salt, word};
use pagestone::media::layout::{
    BITMAP_FRAMES, CURSOR_OFFSET, GROUP_ROOT_FRAME, GROUP_TABLE_FRAME, LEASE_OFFSET, LOG_HEADER_OFFSETS,
    RootWord, SUPERBLOCK_OFFSETS,
};
use pagestone::units::FRAME_SIZE;
use std::collections::BTreeSet;

/// Sectors that have a check sum of their own.
pub const SECTORS: [usize; 5] = [
    SUPERBLOCK_OFFSETS[0] as usize,
    SUPERBLOCK_OFFSETS[1] as usize,
    LEASE_OFFSET as usize,
    LOG_HEADER_OFFSETS[0] as usize,
    LOG_HEADER_OFFSETS[1] as usize,
];
/// Words of a node, beyond those in use, that are worth an edit.
const SPARE_WORDS: usize = 4;

/// What the check bits of a word are bound to.
#[derive(Clone, Copy, Debug)]
pub enum Bond {
    /// There are none.
    Bare,
    /// A seal.
    Seal(Seal),
    /// The root of this object's map: the word itself says its level.
    Root(u64),
}

impl Bond {
    /// The word with the value `value`.
    #[must_use]
    pub fn close(self, salt: u64, value: u64) -> u64 {
        match self {
            Self::Bare => value,
            Self::Seal(seal) => seal.close(salt, value),
            Self::Root(id) => {
                Seal::Map { id, prefix: 0, level: (value >> HEIGHT) as u32 & 7 }.close(salt, value)
            }
        }
    }

    /// The value of `word`.
    #[must_use]
    pub const fn value(self, word: u64) -> u64 {
        match self {
            Self::Bare => word,
            Self::Seal(_) | Self::Root(_) => Seal::value(word),
        }
    }
}

/// What a word names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holds {
    /// Nothing: a count, a size, bits, part of a name.
    Number,
    /// A frame.
    Frame,
    /// An object's record.
    Slot,
    /// A record or a node of the directory.
    Bucket,
    /// The height and the root node of a map.
    Root,
}

/// One word that has a meaning.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its byte offset.
    pub at: usize,
    /// What it is bound to.
    pub bond: Bond,
    /// What it names.
    pub holds: Holds,
}

/// The structures of an image.
#[derive(Clone, Debug, Default)]
pub struct Anatomy {
    /// Every word that has a meaning.
    pub places: Vec<Place>,
    /// Those of them that name something.
    pub links: Vec<Place>,
    /// Byte offsets of object records, free ones included.
    pub records: Vec<usize>,
    /// Frames of the region.
    pub frames: u64,
    /// What its checks are bound to.
    pub salt: u64,
}

impl Anatomy {
    /// The structures of a valid image.
    #[must_use]
    pub fn of(image: &[u8]) -> Self {
        let frames = root(image, RootWord::Frames);
        let mut found = Self { frames, salt: salt(image), ..Self::default() };
        for sector in SECTORS {
            found.bare(sector, 16);
        }
        found.bare(CURSOR_OFFSET as usize, 1);
        // Three lines, a reserved line and an area.
        for n in (0..24).chain([40, 80]) {
            let sealed = [RootWord::FreeSlots, RootWord::Orphans, RootWord::BusyTable];
            let seal = sealed.iter().any(|word| *word as u64 == n);
            let bond = if seal { Bond::Seal(Seal::Place(n * 8)) } else { Bond::Bare };
            let holds = [(Holds::Frame, RootWord::Directory), (Holds::Frame, RootWord::BusyTable)];
            let holds = holds.iter().find(|(_, word)| *word as u64 == n);
            let holds = holds.map_or(if seal { Holds::Slot } else { Holds::Number }, |(holds, _)| *holds);
            found.add(roots(image)[0] + n as usize * 8, bond, holds);
        }
        found.bare(BITMAP_FRAMES[0].offset() as usize, 4);
        let table = GROUP_TABLE_FRAME.offset() as usize;
        for at in [GROUP_ROOT_FRAME.offset() as usize, table, table + 16] {
            found.add(at, Bond::Seal(Seal::Place(at as u64)), Holds::Frame);
        }
        found.bare(table + 8, 1);
        found.bare(table + 24, 1);
        let mut slots = BTreeSet::new();
        found.directory(image, root(image, RootWord::Directory), &mut slots);
        for list in [RootWord::FreeSlots, RootWord::Orphans] {
            slots.insert(Seal::value(root(image, list)));
        }
        let frames: BTreeSet<u64> = slots.iter().filter(|slot| **slot != 0).map(|slot| slot / 8).collect();
        for record in frames.iter().flat_map(|frame| (0..8).map(|n| offset(*frame) + n * RECORD)) {
            found.record(image, record);
        }
        let busy = Seal::value(root(image, RootWord::BusyTable));
        if busy != 0 {
            found.node(image, busy, Holds::Frame, |_, at| Bond::Seal(Seal::Place(at as u64)));
        }
        found.links = found.places.iter().filter(|place| place.holds != Holds::Number).copied().collect();
        found
    }

    fn add(&mut self, at: usize, bond: Bond, holds: Holds) {
        self.places.push(Place { at, bond, holds });
    }

    fn bare(&mut self, at: usize, words: usize) {
        (0..words).for_each(|n| self.add(at + n * 8, Bond::Bare, Holds::Number));
    }

    /// Adds the used words of a node and some others. Returns the values of the used ones.
    fn node(
        &mut self,
        image: &[u8],
        frame: u64,
        holds: Holds,
        bond: impl Fn(u64, usize) -> Bond,
    ) -> Vec<(u64, u64)> {
        let (mut used, mut spare) = (Vec::new(), SPARE_WORDS);
        for n in 0..FRAME_SIZE / 8 {
            let at = offset(frame) + n * 8;
            let value = Seal::value(word(image, at));
            if value != 0 {
                used.push((n as u64, value));
            } else if spare > 0 {
                spare -= 1;
            } else {
                continue;
            }
            self.add(at, bond(n as u64, at), holds);
        }
        used
    }

    fn directory(&mut self, image: &[u8], node: u64, slots: &mut BTreeSet<u64>) {
        for (_, value) in self.node(image, node, Holds::Bucket, |_, at| Bond::Seal(Seal::Place(at as u64))) {
            let bare = value & ((1 << TAG) - 1);
            if value >> TAG == 1 {
                slots.insert(bare);
            } else {
                self.directory(image, bare, slots);
            }
        }
    }

    fn record(&mut self, image: &[u8], at: usize) {
        self.records.push(at);
        // A free slot has the number 0, and no map.
        let (id, live) = (word(image, at), word(image, at) != 0);
        // The rest is zeros, check sums and the middle of names.
        for n in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 16, 48] {
            let holds = match n {
                3 => Holds::Root,
                6..=8 => Holds::Slot,
                _ => Holds::Number,
            };
            self.add(at + n * 8, if n == 3 && live { Bond::Root(id) } else { Bond::Bare }, holds);
        }
        let root = Seal::value(word(image, at + 24));
        if root != 0 {
            self.map(image, id, root & ((1 << HEIGHT) - 1), 0, (root >> HEIGHT) as u32);
        }
    }

    /// A node of an object's map whose words are of `level - 1`.
    fn map(&mut self, image: &[u8], id: u64, node: u64, prefix: u64, level: u32) {
        let Some(level) = level.checked_sub(1) else { return };
        let seal = |n: u64| Seal::Map { id, prefix: prefix << 9 | n, level };
        for (n, frame) in self.node(image, node, Holds::Frame, |n, _| Bond::Seal(seal(n))) {
            self.map(image, id, frame, prefix << 9 | n, level);
        }
    }
}
