//! The bits of a handle: its kind, the entry it belongs to, and which use of that entry.
//!
//! In the header a handle is a pointer to an incomplete type, and its bits are this number. So programs that were
//! compiled against an older library still work, and the compiler still tells a store from an object. A struct would
//! be as well typed, but would break every program that stores a function's address, compares a handle with NULL, or
//! keeps it in a `void *`. Nothing dereferences a handle, not even the library. Its highest bits never occur in an
//! address of a process, so a program that dereferences a handle stops at once.

use std::fmt;
use std::ptr;

const _: () = assert!(usize::BITS == 64, "a handle is 64 bits in the place of a pointer");

/// The kind of a handle. The numbers are part of the handles that C holds; 0 is no kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    /// `pgs_store`.
    Store = 1,
    /// `pgs_object`.
    Object = 2,
    /// `pgs_batch`.
    Batch = 3,
    /// `pgs_view`.
    View = 4,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Store => "a store",
            Self::Object => "an object",
            Self::Batch => "a batch",
            Self::View => "a view",
        })
    }
}

/// From the highest bit: 4 bits of the kind, 36 of the generation, 24 of the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Value(pub(crate) u64);

const INDEX_BITS: u32 = 24;
const KIND_SHIFT: u32 = 60;

impl Value {
    /// Number of entries. The first is never used.
    pub(crate) const INDEXES: u32 = 1 << INDEX_BITS;
    /// The last generation, which no handle has. An entry that reaches it is retired, so that no handle value
    /// returns.
    pub(crate) const LAST: u64 = (1 << (KIND_SHIFT - INDEX_BITS)) - 1;

    /// The handle for this use of an entry.
    pub(crate) const fn of(kind: Kind, generation: u64, index: u32) -> Self {
        Self((kind as u64) << KIND_SHIFT | Self::unused(generation, index).0)
    }

    /// The word of an unused entry: the generation of its next handle.
    pub(crate) const fn unused(generation: u64, index: u32) -> Self {
        Self(generation << INDEX_BITS | index as u64)
    }

    /// The value of a handle that C passed.
    #[inline]
    pub(crate) fn from_c<T>(pointer: *const T) -> Self {
        Self(pointer.addr() as u64)
    }

    /// The handle that C gets.
    pub(crate) fn to_c<T>(self) -> *mut T {
        ptr::without_provenance_mut(self.0 as usize)
    }

    /// Whether its kind is this one.
    #[inline]
    pub(crate) const fn is_of(self, kind: Kind) -> bool {
        self.0 >> KIND_SHIFT == kind as u64
    }

    /// Its kind; `None` if its bits name no kind.
    pub(crate) fn kind(self) -> Option<Kind> {
        [Kind::Store, Kind::Object, Kind::Batch, Kind::View].into_iter().find(|kind| self.is_of(*kind))
    }

    /// The generation: counts the uses of its entry.
    pub(crate) const fn generation(self) -> u64 {
        self.0 >> INDEX_BITS & Self::LAST
    }

    /// Its entry.
    #[inline]
    pub(crate) const fn index(self) -> u32 {
        self.0 as u32 & (Self::INDEXES - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_its_parts_and_no_address() {
        for kind in [Kind::Store, Kind::Object, Kind::Batch, Kind::View] {
            for (generation, index) in [(0, 1), (1, 0), (Value::LAST - 1, Value::INDEXES - 1)] {
                let value = Value::of(kind, generation, index);
                assert_eq!(
                    (value.kind(), value.generation(), value.index()),
                    (Some(kind), generation, index)
                );
                assert_eq!(Value::from_c(value.to_c::<u8>()), value);
                // No address of a process has one of the seven highest bits.
                assert!(value.0 >> 57 != 0);
            }
        }
        let word = 0_u64;
        assert_eq!(Value::from_c(&raw const word).kind(), None);
        assert_eq!(Value(0).kind(), None);
    }
}
