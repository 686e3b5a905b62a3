//! Opening arbitrary bytes, to read, to write or to make a region: the result is an error or a store, never anything else.

use crate::anatomy::SECTORS;
use crate::format::{
    Seal, empty_node, mend_root, mend_sector, roots, salt, set_root, set_word, write_groups,
};
use crate::lives::{self, blames_the_medium};
use crate::{Many, decode};
use arbitrary::Arbitrary;
use pagestone::Error;
use pagestone::media::layout::{
    DIRECTORY_FRAME, GROUP_ROOT_FRAME, LOG_FRAME, LOG_FRAMES_MIN, ROOT_FRAMES, RootWord, initial_frames,
};

/// Bytes of an image at most.
const LEN_MAX: usize = 1 << 19;
/// Frames of a fresh region with the smallest log.
const FRAMES: u32 = initial_frames(LOG_FRAMES_MIN);
const MAGICS: [&[u8; 8]; 5] = [b"PAGESTN\x01", b"PAGESTN\x01", b"PGSLEASE", b"PGSLOGHD", b"PGSLOGHD"];

#[derive(Arbitrary, Debug)]
struct Input {
    create: bool,
    /// Start from a fresh region.
    fresh: bool,
    len: Len,
    sectors: Many<Sector>,
    /// Words of the root frame.
    root: Many<(u8, u64)>,
    pieces: Vec<(u32, Vec<u8>)>,
    /// The front of the image.
    raw: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
enum Len {
    /// As many as a fresh region has.
    Fresh,
    Any(u32),
}

/// A sector with a right check sum and any values; values that are not given are those of a fresh region.
#[derive(Arbitrary, Debug)]
struct Sector {
    which: u8,
    fields: Many<(u8, Field)>,
}

#[derive(Arbitrary, Debug)]
enum Field {
    /// The word of a fresh region, with one bit flipped.
    Power(u8),
    Small(u8),
    Word(u64),
}

impl Input {
    fn image(&self) -> Vec<u8> {
        let len = match self.len {
            Len::Fresh => (FRAMES as usize + 1) * 4096,
            Len::Any(len) => len as usize % (LEN_MAX + 1),
        };
        let mut image = vec![0; len];
        let mut copy = |at: usize, bytes: &[u8]| {
            let n = bytes.len().min(len.saturating_sub(at));
            if n > 0 {
                image[at..at + n].copy_from_slice(&bytes[..n]);
            }
        };
        copy(0, &self.raw);
        for (at, bytes) in &self.pieces {
            copy(*at as usize, bytes);
        }
        if self.fresh {
            (0..SECTORS.len())
                .for_each(|which| Sector { which: which as u8, fields: Many(vec![]) }.write(&mut image));
        }
        for sector in self.sectors.0.iter().take(8) {
            sector.write(&mut image);
        }
        // Words that are bound to the salt come last.
        if self.fresh {
            fresh(&mut image);
        }
        let root = roots(&image)[0];
        for (n, value) in &self.root.0 {
            set_word(&mut image, root + usize::from(*n) * 8, *value);
            mend_root(&mut image, root + usize::from(*n) * 8);
        }
        image
    }
}

impl Sector {
    fn write(&self, image: &mut [u8]) {
        let which = usize::from(self.which) % SECTORS.len();
        let at = SECTORS[which];
        let Some(sector) = image.get_mut(at..at + 512) else { return };
        sector[..8].copy_from_slice(MAGICS[which]);
        (1..16).for_each(|n| set_word(sector, n * 8, usual(which, n)));
        for (n, field) in &self.fields.0 {
            let n = usize::from(*n) % 16;
            let value = match field {
                Field::Power(bit) => usual(which, n) ^ 1 << (bit % 64),
                Field::Small(value) => (*value).into(),
                Field::Word(value) => *value,
            };
            set_word(sector, n * 8, value);
        }
        mend_sector(image, at);
    }
}

/// Roots and directory of a fresh region.
fn fresh(image: &mut [u8]) {
    let salt = salt(image);
    let heads = [RootWord::FreeSlots, RootWord::Orphans, RootWord::BusyTable];
    let heads = heads.map(|head| (head, Seal::Place(head.offset()).close(salt, 0)));
    let own = [
        (RootWord::Frames, FRAMES.into()),
        (RootWord::NextObject, 1),
        (RootWord::Directory, DIRECTORY_FRAME.0.into()),
        (RootWord::GroupRoot, GROUP_ROOT_FRAME.0.into()),
        (RootWord::Salt, salt),
    ];
    own.into_iter().chain(heads).for_each(|(which, value)| set_root(image, which, value));
    let root = roots(image)[0];
    (0..4096).step_by(64).for_each(|line| mend_root(image, root.saturating_add(line)));
    write_groups(image, LOG_FRAMES_MIN);
    let node = empty_node(salt, DIRECTORY_FRAME.0.into(), 0, 0);
    let at = DIRECTORY_FRAME.offset() as usize;
    if let Some(frame) = image.get_mut(at..at + node.len()) {
        frame.copy_from_slice(&node);
    }
}

/// The `n`-th word of a fresh region's sector.
const fn usual(which: usize, n: usize) -> u64 {
    match (which, n) {
        (0 | 1, 1) => 1 | 4096 << 32,
        (0 | 1, 9) => 32768 | (ROOT_FRAMES[0].0 as u64) << 32,
        (0 | 1, 10) => ROOT_FRAMES[1].0 as u64 | (LOG_FRAME.0 as u64) << 32,
        (0 | 1, 11) => LOG_FRAMES_MIN as u64,
        (2, 1) => 2,
        (3 | 4, 3) => 1,
        (3 | 4, 6) => LOG_FRAME.0 as u64 | (LOG_FRAMES_MIN as u64) << 32,
        _ => 0,
    }
}

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let Some(input) = decode::<Input>(bytes) else { return };
    let image = input.image();
    let examined = lives::examine(&image);
    match lives::options().create(input.create).open_image(image.clone()) {
        Ok(store) => {
            let _ = store.check();
            let _ = store.list();
            // If the region was there before, and not made just now, an opening that only reads succeeds as well.
            let made = input.create && store.info().generation == 0;
            assert!(made || examined.is_ok(), "only a writer can open this: {:?}", examined.err());
        }
        Err(error) => {
            assert!(blames_the_medium(&error) || matches!(error, Error::NoSpace { .. }), "{error}");
            let silent = examined.as_ref().is_ok_and(|report| report.is_clean());
            assert!(!silent, "check finds nothing, and opening says: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_for_a_fresh_region_is_one() {
        let input = Input {
            create: false,
            fresh: true,
            len: Len::Fresh,
            sectors: Many(vec![]),
            root: Many(vec![]),
            pieces: vec![],
            raw: vec![],
        };
        let report = lives::examine(&input.image()).expect("a region");
        assert!(report.is_clean(), "{:?}", report.findings);
    }
}
