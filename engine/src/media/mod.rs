//! The medium: what lies on it, and how it changes.
//!
//! Everything on the medium except the bytes of objects is made of 8-byte words, and a word changes in one way only: a
//! record of the redo log carries its new value, and the log stores it home once the record is durable. `layout` defines
//! the places, `superblock` and `lease` identify the region and its owner, `seal` tells words from damage, `log` changes
//! words, `root` holds the words from which all others are found, and the structures above it (bitmap, tree, records,
//! directory, orphans) give the words their meaning.
#![forbid(unsafe_code)]

mod allocator;
mod batch;
mod bitmap;
mod blocks;
mod busy;
pub mod check;
mod claim;
mod content;
mod directory;
pub mod ending;
pub mod format;
mod groups;
mod growth;
mod holes;
pub mod layout;
pub mod lease;
mod ledger;
mod loaded;
pub mod log;
mod map_seal;
mod names;
mod orphans;
mod owned;
mod record;
mod relocate;
pub mod repair;
pub mod root;
pub mod rules;
mod runs;
pub mod seal;
pub mod sector;
mod shrinking;
mod slots;
mod steps;
mod structures;
pub mod superblock;
mod tree;
mod uses;
mod words;

#[cfg(test)]
mod tests;

pub use batch::{BatchPart, Images};
pub use content::Moment;
pub use ledger::Ledger;
pub use names::Renamed;
pub use record::{NAME_MAX, ObjectKind, ObjectRecord, ObjectSlot, SIZE_MAX};
pub use steps::{AskFate, Fate};
pub use structures::Structures;
pub use tree::{Move, PAGES_MAX};
