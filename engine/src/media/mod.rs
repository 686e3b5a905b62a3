//! The medium: what lies on it, and how it changes.
//!
//! Everything on the medium except the bytes of objects is made of 8-byte words, and a word changes in one way only:
//! a record of the redo log carries its new value, and the log stores it home once the record is durable.
//! `layout` says where things lie, `superblock` and `lease` identify the region and its owner, `log` changes words,
//! and the structures above it (bitmap, tree, records, directory, orphans) give the words their meaning.
#![forbid(unsafe_code)]

pub mod format;
pub mod layout;
pub mod lease;
pub mod log;
pub mod rules;
pub mod sector;
pub mod superblock;
