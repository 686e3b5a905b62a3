//! The owner word of a descriptor: the page that a frame holds.

use crate::units::PageIndex;

/// Bits of the page's index; the other bits are the object's number.
const INDEX_BITS: u32 = 36;
const OBJECT_MASK: u64 = (1 << (64 - INDEX_BITS)) - 1;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;

/// A page of an object, as a descriptor remembers it.
///
/// It is a hint: it says under which object a frame's dirty lines are noted and which page a frame shows. The word 0
/// means "unknown". It keeps only the low 28 bits of an object's number, so two objects may look alike after 2^28
/// creations. A sync of one then flushes the other's dirty lines too.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct PageId {
    object: u32,
    index: u64,
}

impl PageId {
    /// Maximum number of pages of an object.
    pub const PAGES_MAX: u64 = 1 << INDEX_BITS;

    /// Page `index` of the object with number `object`.
    #[must_use]
    pub const fn new(object: u64, index: PageIndex) -> Self {
        Self { object: (object & OBJECT_MASK) as u32, index: index.0 & INDEX_MASK }
    }
    /// Low bits of the object's number.
    #[must_use]
    pub const fn object(self) -> u32 {
        self.object
    }
    /// The page.
    #[must_use]
    pub const fn index(self) -> PageIndex {
        PageIndex(self.index)
    }
    /// The word as the descriptor stores it.
    #[must_use]
    pub const fn word(self) -> u64 {
        (self.object as u64) << INDEX_BITS | self.index
    }
    /// From a descriptor's word; `None` if it is unknown or shared by several.
    #[must_use]
    pub const fn of_word(word: u64) -> Option<Self> {
        match word >> INDEX_BITS {
            0 => None,
            _ if word == u64::MAX => None,
            object => Some(Self { object: object as u32, index: word & INDEX_MASK }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_page_survives_its_word(object in 1..OBJECT_MASK, index in 0..=INDEX_MASK) {
            let page = PageId::new(object, PageIndex(index));
            prop_assert_eq!(PageId::of_word(page.word()), Some(page));
        }
    }

    #[test]
    fn unknown_and_shared_words_name_no_page() {
        assert_eq!(PageId::of_word(0), None);
        assert_eq!(PageId::of_word(7), None);
        assert_eq!(PageId::of_word(u64::MAX), None);
    }
}
