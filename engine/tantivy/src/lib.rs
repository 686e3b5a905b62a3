//! The search engine library [tantivy](https://docs.rs/tantivy) on Pagestone.
//!
//! A [`PagestoneDirectory`] keeps the files of an index as objects of a region, which may have other objects, indexes
//! and databases. Reads do not copy: tantivy gets the pages in place, pinned until it drops them.
//!
//! ```
//! use pagestone::Store;
//! use pagestone_tantivy::PagestoneDirectory;
//! use tantivy::collector::Count;
//! use tantivy::query::QueryParser;
//! use tantivy::schema::{Schema, TEXT};
//! use tantivy::{Index, IndexSettings, doc};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("library.pgs");
//! let mut schema = Schema::builder();
//! let title = schema.add_text_field("title", TEXT);
//!
//! let store = Store::options().create(true).open(&path)?;
//! let directory = PagestoneDirectory::open(&store, "books")?;
//! let index = Index::create(directory.clone(), schema.build(), IndexSettings::default())?;
//! let mut writer = index.writer_with_num_threads(1, 15_000_000)?;
//! writer.add_document(doc!(title => "The Old Man and the Sea"))?;
//! writer.add_document(doc!(title => "Of Mice and Men"))?;
//! writer.commit()?;
//!
//! let query = QueryParser::for_index(&index, vec![title]).parse_query("sea")?;
//! assert_eq!(index.reader()?.searcher().search(&query, &Count)?, 1);
//! assert_eq!(directory.reads().copied_bytes, 0);
//! # Ok(())
//! # }
//! ```
//!
//! # What survives
//! A commit of tantivy that returned survives the death of the process, and a power loss as far as the region's
//! medium does. A file that was terminated or replaced survives the death of the process at once, and a power loss
//! after `sync_directory` or the next commit.
//!
//! # Locks
//! One process owns a region, so tantivy's locks are kept in memory, and a process that died leaves none behind. All
//! directories of one process with the same region and name share them.
//!
//! # Limits
//! If the frames of a range are not adjacent in memory, its bytes are copied; [`PagestoneDirectory::reads`] counts
//! them. Slices of the same pages of a file share a pin and a latch, so a searcher may keep any number of slices. No
//! other caller can write to a file of the index while tantivy reads it: the write waits for the readers and fails
//! after two seconds.
#![deny(unsafe_code)]

mod bytes;
mod directory;
mod file;
mod locks;
mod reads;
mod slices;
mod writer;

pub use directory::PagestoneDirectory;
pub use reads::Reads;
