//! Changes to an image: aimed at structures, and repaired so that their check sums do not stop them at the door.

use crate::anatomy::{Anatomy, Bond, Place, SECTORS};
use crate::fixture;
use crate::format::{RECORD, Seal, mend_record, mend_sector, set_word, word};
use arbitrary::Arbitrary;
use pagestone::media::layout::{LOG_FRAMES_MIN, SECTOR_SIZE};
use pagestone::units::FRAME_SIZE;
use std::sync::LazyLock;

/// What an image is made from.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Base {
    /// Closed in order.
    Closed,
    /// Left by a killed process.
    Killed,
}

static CLOSED: LazyLock<Anatomy> = LazyLock::new(|| Anatomy::of(fixture::closed(), LOG_FRAMES_MIN));
static KILLED: LazyLock<Anatomy> = LazyLock::new(|| Anatomy::of(fixture::killed(), LOG_FRAMES_MIN));

impl Base {
    /// Its bytes.
    #[must_use]
    pub fn image(self) -> Vec<u8> {
        match self {
            Self::Closed => fixture::closed().to_vec(),
            Self::Killed => fixture::killed().to_vec(),
        }
    }

    /// Its structures.
    #[must_use]
    pub fn anatomy(self) -> &'static Anatomy {
        match self {
            Self::Closed => &CLOSED,
            Self::Killed => &KILLED,
        }
    }
}

/// One change.
#[derive(Arbitrary, Clone, Debug)]
pub struct Edit {
    target: Target,
    value: Value,
    /// Give the word the check bits that it should have.
    sealed: bool,
    /// Repair the check sum of what holds it.
    mended: bool,
}

#[derive(Arbitrary, Clone, Debug)]
enum Target {
    /// A word that means something.
    Place(u16),
    /// Any word.
    Word(u16),
}

#[derive(Arbitrary, Clone, Debug)]
enum Value {
    Raw(u64),
    Small(u8),
    Add(i8),
    Flip(u8),
    /// A frame of the region, or one just behind it.
    Frame(u8),
    /// A record's slot.
    Slot(u8),
    /// A chain of the directory that begins with this record.
    Chain(u8),
    /// A node of the directory.
    Node(u8),
    /// The root of a map.
    Root(u8, u8),
    /// What another place says.
    Copy(u16),
}

impl Value {
    fn of(&self, old: u64, image: &[u8], anatomy: &Anatomy) -> u64 {
        let frame = |n: u8| u64::from(n) % (anatomy.frames + 4);
        let slot = |n: u8| (pick(&anatomy.records, n.into()).copied().unwrap_or(0) / RECORD) as u64;
        match *self {
            Self::Raw(value) => value,
            Self::Small(value) => value.into(),
            Self::Add(n) => old.wrapping_add_signed(n.into()),
            Self::Flip(bit) => old ^ 1 << (bit % 64),
            Self::Frame(n) => frame(n),
            Self::Slot(n) => slot(n),
            Self::Chain(n) => 1 << 46 | slot(n),
            Self::Node(n) => 2 << 46 | frame(n),
            Self::Root(height, n) => u64::from(height % 8) << 40 | frame(n),
            Self::Copy(n) => {
                pick(&anatomy.places, n.into()).map_or(0, |place| Seal::value(word(image, place.at)))
            }
        }
    }
}

fn pick<T>(from: &[T], n: usize) -> Option<&T> {
    n.checked_rem(from.len()).and_then(|n| from.get(n))
}

impl Edit {
    /// Makes the change.
    pub fn apply(&self, image: &mut [u8], anatomy: &Anatomy) {
        let Some(place) = self.place(image.len(), anatomy) else { return };
        let value = self.value.of(place.bond.value(word(image, place.at)), image, anatomy);
        set_word(image, place.at, if self.sealed { place.bond.close(value) } else { value });
        if self.mended {
            mend(image, anatomy, place.at);
        }
    }

    /// What it aims at.
    pub fn place(&self, len: usize, anatomy: &Anatomy) -> Option<Place> {
        match self.target {
            Target::Place(n) => pick(&anatomy.places, n.into()).copied(),
            Target::Word(n) => {
                let at = (n as usize * (len / 8) / (usize::from(u16::MAX) + 1)) * 8;
                Some(Place { at, bond: Bond::Seal(Seal::Place(at as u64)) })
            }
        }
    }
}

/// Repairs what vouches for the word at `at`.
fn mend(image: &mut [u8], anatomy: &Anatomy, at: usize) {
    if let Some(sector) = SECTORS.iter().find(|sector| (**sector..**sector + SECTOR_SIZE).contains(&at)) {
        mend_sector(image, *sector);
    }
    let frame = at / FRAME_SIZE * FRAME_SIZE;
    if anatomy.records.contains(&frame) {
        mend_record(image, at / RECORD * RECORD);
    }
}

/// An image: a valid one, edited.
#[must_use]
pub fn edited(base: Base, edits: &[Edit]) -> Vec<u8> {
    let mut image = base.image();
    edits.iter().for_each(|edit| edit.apply(&mut image, base.anatomy()));
    image
}
