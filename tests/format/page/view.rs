//! An image, read by the names of the page.

use super::checks::{Seals, sum};
use super::tables::Page;
use super::{Result, same};

/// The bytes of a region and the page that describes them.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub page: &'a Page,
    pub image: &'a [u8],
    pub salt: u64,
    pub seals: Seals,
    /// Bytes of a frame, and of a word.
    pub frame: u64,
    pub word: u64,
    /// Byte offsets of the first superblock and of the roots.
    pub superblock: u64,
    pub roots: [u64; 2],
}

impl<'a> View<'a> {
    /// The view of an image whose first superblock is whole.
    pub fn new(page: &'a Page, image: &'a [u8]) -> Result<Self> {
        let (frame, word) = (page.value("frame size")?, page.value("word size")?);
        let superblock = page.frame("superblock A")? * frame;
        let seals = Seals::of(page, 0)?;
        let mut view = Self { page, image, salt: 0, seals, frame, word, superblock, roots: [0; 2] };
        view.salt = view.field("Superblock", superblock, "salt")?;
        view.seals = Seals::of(page, view.salt)?;
        for (n, name) in ["root A", "root B"].into_iter().enumerate() {
            let named = view.field("Superblock", superblock, name)?;
            same(name, named, page.frame(name)?)?;
            view.roots[n] = named * frame;
        }
        Ok(view)
    }

    /// These bytes.
    pub fn bytes(&self, at: u64, len: u64) -> Result<&'a [u8]> {
        let range = at.checked_add(len).map(|end| at as usize..end as usize);
        let bytes = range.and_then(|range| self.image.get(range));
        bytes.ok_or_else(|| format!("{len} bytes from {at:#x} on are not in the region"))
    }

    /// The number in these bytes.
    pub fn number(&self, at: u64, len: u64) -> Result<u64> {
        if len > 8 {
            return Err(format!("a number of {len} bytes"));
        }
        Ok(self.bytes(at, len)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// The word at `at`.
    pub fn word(&self, at: u64) -> Result<u64> {
        self.number(at, self.word)
    }

    /// All words of a frame, with their byte offsets.
    pub fn words(&self, frame: u64) -> Result<Vec<(u64, u64)>> {
        let first = frame.checked_mul(self.frame).ok_or("no such frame")?;
        (0..self.frame / self.word)
            .map(|n| Ok((first + n * self.word, self.word(first + n * self.word)?)))
            .collect()
    }

    /// A field of the structure at `base`.
    pub fn field(&self, structure: &str, base: u64, name: &str) -> Result<u64> {
        let row = self.page.row(structure, name)?;
        self.number(base + row.offset, row.size)
    }

    /// The bytes of a field.
    pub fn field_bytes(&self, structure: &str, base: u64, name: &str) -> Result<&'a [u8]> {
        let row = self.page.row(structure, name)?;
        self.bytes(base + row.offset, row.size)
    }

    /// Checks that reserved fields are zero.
    pub fn reserved(&self, structure: &str, base: u64) -> Result {
        for row in self.page.rows.get(structure).ok_or("no such structure")? {
            if row.name.starts_with("zero") {
                let bytes = self.bytes(base + row.offset, row.size)?;
                same(&format!("{structure}: {}", row.name), bytes.iter().all(|byte| *byte == 0), true)?;
            }
        }
        Ok(())
    }

    /// Checks that the sector at the beginning of this frame is whole and that the rest of the frame is zero.
    pub fn sector(&self, structure: &str, frame: &str, magic: &str) -> Result<u64> {
        let base = self.page.frame(frame)? * self.frame;
        same(frame, self.field(structure, base, "magic")?, self.page.value(magic)?)?;
        let row = self.page.row(structure, "sum")?;
        let expected = sum(&[base], self.bytes(base, row.offset)?);
        same(&format!("the sum of {frame}"), self.field(structure, base, "sum")?, expected)?;
        self.reserved(structure, base)?;
        let sector = self.page.value("sector size")?;
        let rest = self.bytes(base + sector, self.frame - sector)?;
        same(&format!("the rest of {frame}"), rest.iter().all(|byte| *byte == 0), true)?;
        Ok(base)
    }

    /// A word of the root that is not sealed.
    pub fn root(&self, name: &str) -> Result<u64> {
        self.field("Root words", self.roots[0], name)
    }

    /// The value of a sealed word of the root.
    pub fn sealed_root(&self, name: &str) -> Result<u64> {
        let row = self.page.row("Root words", name)?;
        let seed = self.seals.place(row.offset);
        self.seals.open(self.root(name)?, seed).map_err(|why| format!("{name}: {why}"))
    }

    /// The value of a word that is sealed for its place.
    pub fn placed(&self, at: u64, word: u64) -> Result<u64> {
        self.seals.open(word, self.seals.place(at)).map_err(|why| format!("at {at:#x}: {why}"))
    }
}
