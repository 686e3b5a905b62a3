//! Changes to an image. They are aimed at structures, and check sums are mostly repaired, so that the changes get past
//! them.

use crate::anatomy::{Anatomy, Bond, Holds, Place, SECTORS};
use crate::fixture;
use crate::format::{
    HEIGHT, RECORD, Seal, TAG, mend_record, mend_root, mend_sector, mend_tally, set_word, word,
};
use arbitrary::Arbitrary;
use pagestone::media::layout::{BITMAP_FRAMES, SECTOR_SIZE};
use pagestone::units::FRAME_SIZE;
use std::sync::LazyLock;

/// What an image is made from.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Base {
    /// Closed in order.
    Closed,
    /// Left by a killed process.
    Killed,
    /// The same, with batches in the log.
    Batched,
}

static CLOSED: LazyLock<Anatomy> = LazyLock::new(|| Anatomy::of(fixture::closed()));
static KILLED: LazyLock<Anatomy> = LazyLock::new(|| Anatomy::of(fixture::killed()));

static BATCHED: LazyLock<Anatomy> = LazyLock::new(|| Anatomy::of(fixture::batched()));

impl Base {
    /// Its bytes.
    #[must_use]
    pub fn image(self) -> Vec<u8> {
        match self {
            Self::Closed => fixture::closed().to_vec(),
            Self::Killed => fixture::killed().to_vec(),
            Self::Batched => fixture::batched().to_vec(),
        }
    }

    /// Its structures.
    #[must_use]
    pub fn anatomy(self) -> &'static Anatomy {
        match self {
            Self::Closed => &CLOSED,
            Self::Killed => &KILLED,
            Self::Batched => &BATCHED,
        }
    }
}

/// One change.
#[derive(Arbitrary, Clone, Debug)]
pub struct Edit {
    target: Target,
    value: Value,
    /// In one of eight cases the word gets wrong check bits. In one of eight cases the check sum of its line or sector is
    /// not repaired.
    flaws: u8,
}

#[derive(Arbitrary, Clone, Debug)]
enum Target {
    /// A word that names something.
    Link(u16),
    /// A word that has a meaning.
    Place(u16),
    /// Any word.
    Word(u16),
}

#[derive(Arbitrary, Clone, Debug)]
enum Value {
    /// Another thing of the kind that the word names.
    Fitting(u8),
    /// The same, chosen among more.
    FittingAny(u16),
    Raw(u64),
    Small(u8),
    /// A power of two, or just below one.
    Power(u8, bool),
    Add(i8),
    Flip(u8),
    /// The value of another place.
    Copy(u16),
}

impl Value {
    fn of(&self, old: u64, holds: Holds, image: &[u8], anatomy: &Anatomy) -> u64 {
        match *self {
            Self::Fitting(n) => fitting(n.into(), old, holds, anatomy),
            Self::FittingAny(n) => fitting(n.into(), old, holds, anatomy) ^ u64::from(n),
            Self::Raw(value) => value,
            Self::Small(value) => value.into(),
            Self::Power(bit, below) => (1_u64 << (bit % 64)).wrapping_sub(below.into()),
            Self::Add(n) => old.wrapping_add_signed(n.into()),
            Self::Flip(bit) => old ^ 1 << (bit % 64),
            Self::Copy(n) => {
                pick(&anatomy.places, n.into()).map_or(0, |place| Seal::value(word(image, place.at)))
            }
        }
    }
}

/// A value that such a word may have. A frame may lie just behind the region.
fn fitting(n: usize, old: u64, holds: Holds, anatomy: &Anatomy) -> u64 {
    let frame = n as u64 % (anatomy.frames + 2);
    let slot = (pick(&anatomy.records, n).copied().unwrap_or(0) / RECORD) as u64;
    match holds {
        Holds::Number => old.wrapping_add(n as u64),
        Holds::Frame => frame,
        Holds::Slot => slot,
        Holds::Bucket if n.is_multiple_of(2) => 1 << TAG | slot,
        Holds::Bucket => 2 << TAG | frame,
        Holds::Root => (n as u64 / 7 % 6) << HEIGHT | frame,
    }
}

fn pick<T>(from: &[T], n: usize) -> Option<&T> {
    n.checked_rem(from.len()).and_then(|n| from.get(n))
}

impl Edit {
    /// Makes the change.
    pub fn apply(&self, image: &mut [u8], anatomy: &Anatomy) {
        let Some(place) = self.place(image.len(), anatomy) else { return };
        let old = place.bond.value(word(image, place.at));
        let value = self.value.of(old, place.holds, image, anatomy);
        let sealed = place.bond.close(anatomy.salt, value);
        set_word(image, place.at, if self.flaws % 8 == 1 { value } else { sealed });
        if self.flaws / 8 % 8 != 1 {
            mend(image, anatomy, place.at);
        }
    }

    /// The place that the edit aims at.
    pub fn place(&self, len: usize, anatomy: &Anatomy) -> Option<Place> {
        match self.target {
            Target::Link(n) => pick(&anatomy.links, n.into()).copied(),
            Target::Place(n) => pick(&anatomy.places, n.into()).copied(),
            Target::Word(n) => {
                let at = (n as usize * (len / 8) / (usize::from(u16::MAX) + 1)) * 8;
                Some(Place { at, bond: Bond::Seal(Seal::Place(at as u64)), holds: Holds::Number })
            }
        }
    }
}

/// Repairs the check sum over the word at `at`.
fn mend(image: &mut [u8], anatomy: &Anatomy, at: usize) {
    if let Some(sector) = SECTORS.iter().find(|sector| (**sector..**sector + SECTOR_SIZE).contains(&at)) {
        mend_sector(image, *sector);
    }
    mend_root(image, at);
    let frame = at / FRAME_SIZE * FRAME_SIZE;
    if anatomy.records.contains(&frame) {
        mend_record(image, at / RECORD * RECORD);
    }
    if frame == BITMAP_FRAMES[0].offset() as usize {
        mend_tally(image);
    }
}

/// A valid image, edited.
#[must_use]
pub fn edited(base: Base, edits: &[Edit]) -> Vec<u8> {
    let mut image = base.image();
    edits.iter().for_each(|edit| edit.apply(&mut image, base.anatomy()));
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_that_changes_nothing_repairs_nothing() {
        for base in [Base::Closed, Base::Killed, Base::Batched] {
            let (mut image, anatomy) = (base.image(), base.anatomy());
            assert!(anatomy.places.len() > 300 && anatomy.links.len() > 100);
            for place in &anatomy.places {
                let found = word(&image, place.at);
                let value = place.bond.value(found);
                assert_eq!(place.bond.close(anatomy.salt, value), found, "check bits at {:#x}", place.at);
                mend(&mut image, anatomy, place.at);
            }
            assert!(image == base.image(), "a check sum is another one");
        }
    }
}
